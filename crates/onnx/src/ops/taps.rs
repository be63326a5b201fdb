//! What a sample between elements reads: places along each axis with their weights.
//!
//! Places are clamped to the tensor before anything is read, whatever the coordinates are (NaN included).

use tactician_ir::{Binary, DType, Unary, ValueId};

use super::compose::{Compose, Made};

/// Keys' coefficient of cubic interpolation, as ONNX fixes it for grids.
const CUBIC: f64 = -0.75;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Method {
    Nearest,
    Linear,
    Cubic,
}

/// What lies outside.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Outside {
    Zeros,
    Border,
    /// Mirrored at the middles of the last elements, or at their edges.
    Reflect {
        middles: bool,
    },
}

/// One element that a sample reads along an axis: its place (inside), and its weight; with zeros outside, whether it
/// was inside.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) place: ValueId,
    pub(super) weight: Option<ValueId>,
    pub(super) inside: Option<ValueId>,
}

/// Mirrors at `low` and at the other end of `0..n`.
fn reflect(c: &mut Compose<'_, '_>, v: ValueId, n: usize, middles: bool) -> Made {
    let (low, range) = if middles { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64) };
    if range <= 0.0 {
        return c.with(Binary::Mul, v, 0.0);
    }
    // `low + range − |range − (v − low) mod 2·range|`.
    let t = c.with(Binary::Sub, v, low)?;
    let t = c.with(Binary::Mod, t, 2.0 * range)?;
    let t = c.with(Binary::Sub, t, range)?;
    let t = c.unary(Unary::Abs, t)?;
    let t = c.unary(Unary::Neg, t)?;
    c.with(Binary::Add, t, low + range)
}

/// Elements read at coordinates `at` of an axis of `n`.
pub(super) fn taps(
    c: &mut Compose<'_, '_>,
    at: ValueId,
    n: usize,
    method: Method,
    outside: Outside,
) -> Result<Vec<Tap>, String> {
    let top = n as f64 - 1.0;
    let mut at = match outside {
        Outside::Zeros => at,
        Outside::Border => {
            let v = c.with(Binary::Max, at, 0.0)?;
            c.with(Binary::Min, v, top)?
        }
        Outside::Reflect { middles } => reflect(c, at, n, middles)?,
    };
    // Far enough outside to read nothing, near enough to be an integer.
    at = c.with(Binary::Max, at, -4.0)?;
    at = c.with(Binary::Min, at, n as f64 + 4.0)?;
    let first = c.unary(if method == Method::Nearest { Unary::Round } else { Unary::Floor }, at)?;
    let t = c.binary(Binary::Sub, at, first)?;
    let steps: &[f64] = match method {
        Method::Nearest => &[0.0],
        Method::Linear => &[0.0, 1.0],
        Method::Cubic => &[-1.0, 0.0, 1.0, 2.0],
    };
    let mut list = Vec::new();
    for &step in steps {
        let weight = match method {
            Method::Nearest => None,
            Method::Linear if step == 0.0 => {
                let v = c.unary(Unary::Neg, t)?;
                Some(c.with(Binary::Add, v, 1.0)?)
            }
            Method::Linear => Some(t),
            Method::Cubic => Some(cubic(c, t, step)?),
        };
        let mut place = c.with(Binary::Add, first, step)?;
        let mut inside = None;
        match outside {
            Outside::Zeros => {
                let (above, below) = (c.with(Binary::Ge, place, 0.0)?, c.with(Binary::Le, place, top)?);
                inside = Some(c.binary(Binary::And, above, below)?);
            }
            Outside::Border => {}
            Outside::Reflect { middles } => {
                place = reflect(c, place, n, middles)?;
            }
        }
        let place = c.cast(place, DType::I64)?;
        let place = c.with(Binary::Max, place, 0.0)?;
        let place = c.with(Binary::Min, place, top)?;
        list.push(Tap { place, weight, inside });
    }
    Ok(list)
}

/// Weight of the element `step` after the one at or before the sample, which lies `t` after that.
fn cubic(c: &mut Compose<'_, '_>, t: ValueId, step: f64) -> Made {
    // The distance, positive.
    let d = if step <= 0.0 {
        c.with(Binary::Sub, t, step)?
    } else {
        let v = c.unary(Unary::Neg, t)?;
        c.with(Binary::Add, v, step)?
    };
    // Horner, by falling powers of the distance.
    let of = if step == 0.0 || step == 1.0 {
        [CUBIC + 2.0, -(CUBIC + 3.0), 0.0, 1.0]
    } else {
        [CUBIC, -5.0 * CUBIC, 8.0 * CUBIC, -4.0 * CUBIC]
    };
    let mut v = c.with(Binary::Mul, d, of[0])?;
    for (k, &a) in of[1..].iter().enumerate() {
        v = c.with(Binary::Add, v, a)?;
        if k < 2 {
            v = c.binary(Binary::Mul, v, d)?;
        }
    }
    Ok(v)
}

fn both(
    c: &mut Compose<'_, '_>,
    op: Binary,
    a: Option<ValueId>,
    b: Option<ValueId>,
) -> Result<Option<ValueId>, String> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(c.binary(op, a, b)?),
        (a, b) => a.or(b),
    })
}

/// All combinations of the axes' taps: places in the flattened axes, products of the weights.
pub(super) fn combine(
    c: &mut Compose<'_, '_>,
    axes: &[Vec<Tap>],
    sizes: &[usize],
) -> Result<Vec<Tap>, String> {
    let mut list: Vec<Tap> = axes.first().cloned().unwrap_or_default();
    for (axis, &n) in axes.iter().zip(sizes).skip(1) {
        let mut next = Vec::with_capacity(list.len() * axis.len());
        for a in &list {
            let row = c.with(Binary::Mul, a.place, n as f64)?;
            for b in axis {
                next.push(Tap {
                    place: c.binary(Binary::Add, row, b.place)?,
                    weight: both(c, Binary::Mul, a.weight, b.weight)?,
                    inside: both(c, Binary::And, a.inside, b.inside)?,
                });
            }
        }
        list = next;
    }
    Ok(list)
}

/// What taps of `[lead…, 1, P]` read of `x [lead…, C, S]`, each with its weight: `[lead…, C, P]` each.
pub(super) fn read(c: &mut Compose<'_, '_>, x: ValueId, list: &[Tap]) -> Result<Vec<ValueId>, String> {
    let (sizes, dtype) = (c.sizes(x)?, c.dtype(x));
    let rank = sizes.len();
    let mut out = Vec::new();
    for t in list {
        let mut wide = c.sizes(t.place)?;
        wide[rank - 2] = sizes[rank - 2];
        let place = c.expand(t.place, &wide)?;
        let mut v = c.gather_elements(x, place, rank - 1)?;
        if let Some(w) = t.weight {
            let w = c.cast(w, dtype)?;
            v = c.binary(Binary::Mul, v, w)?;
        }
        if let Some(inside) = t.inside {
            let zero = c.numbers(DType::F64, &[], &[0.0])?;
            let zero = c.cast(zero, dtype)?;
            v = c.select(inside, v, zero)?;
        }
        out.push(v);
    }
    Ok(out)
}

pub(super) fn total(c: &mut Compose<'_, '_>, op: Binary, list: &[ValueId]) -> Made {
    let (&first, rest) = list.split_first().ok_or("nothing to read")?;
    rest.iter().try_fold(first, |a, &b| c.binary(op, a, b))
}
