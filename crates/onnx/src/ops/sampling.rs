//! Operators that read between elements at computed places: made of pointwise coordinates, gathers and sums.
//!
//! Places are clamped to the tensor before anything is read, whatever the coordinates are (NaN included).

use tactician_ir::{Binary, DType, ReduceKind, Unary, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest grid of constant coordinates: 64 Mi numbers.
const MOST: usize = 1 << 26;

/// Keys' coefficient of cubic interpolation, as ONNX fixes it for grids.
const CUBIC: f64 = -0.75;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("GridSample", grid_sample),
    ("AffineGrid", affine_grid),
    ("RoiAlign", roi_align),
    ("DeformConv", deform_conv),
];

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Nearest,
    Linear,
    Cubic,
}

/// What lies outside.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
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
struct Tap {
    place: ValueId,
    weight: Option<ValueId>,
    inside: Option<ValueId>,
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
fn taps(
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
fn combine(c: &mut Compose<'_, '_>, axes: &[Vec<Tap>], sizes: &[usize]) -> Result<Vec<Tap>, String> {
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
fn read(c: &mut Compose<'_, '_>, x: ValueId, list: &[Tap]) -> Result<Vec<ValueId>, String> {
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

fn total(c: &mut Compose<'_, '_>, op: Binary, list: &[ValueId]) -> Made {
    let (&first, rest) = list.split_first().ok_or("nothing to read")?;
    rest.iter().try_fold(first, |a, &b| c.binary(op, a, b))
}

/// `x [N, C, spatial…]` at `grid [N, out…, axes]`, whose coordinates run from −1 to 1, the last axis first.
fn grid_sample(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, grid) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let method = match n.text("mode", "linear")?.as_str() {
        "nearest" => Method::Nearest,
        "linear" | "bilinear" => Method::Linear,
        "cubic" | "bicubic" => Method::Cubic,
        other => return Err(format!("mode `{other}` is unknown")),
    };
    let middles = n.int("align_corners", 0) != 0;
    let outside = match n.text("padding_mode", "zeros")?.as_str() {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflect { middles },
        other => return Err(format!("padding_mode `{other}` is unknown")),
    };
    let mut c = Compose { import: i, name: n.label };
    let (xs, gs) = (c.sizes(x)?, c.sizes(grid)?);
    let axes = xs.len().saturating_sub(2);
    if axes == 0 || axes > 3 || gs.len() != xs.len() || gs[0] != xs[0] || gs[axes + 1] != axes {
        return Err(format!("a grid {} does not fit {}", c.ty(grid), c.ty(x)));
    }
    if xs[2..].contains(&0) {
        return Err(format!("{} has nothing to sample", c.ty(x)));
    }
    if method != Method::Nearest && !c.dtype(x).is_float() {
        return Err(format!("interpolating {} is not defined", c.ty(x)));
    }
    let points: usize = gs[1..=axes].iter().product();
    let short = matches!(c.dtype(grid), DType::F16 | DType::BF16);
    let grid = if short { c.cast(grid, DType::F32)? } else { grid };
    let grid = c.reshape(grid, &[gs[0], 1, points, axes])?;
    let mut all = Vec::new();
    for a in 0..axes {
        let size = xs[2 + a] as f64;
        let g = c.slice(grid, 3, axes - 1 - a, 1)?;
        let g = c.reshape(g, &[gs[0], 1, points])?;
        // −1 and 1 are the middles of the last elements, or their outer edges.
        let by = if middles { (size - 1.0) / 2.0 } else { size / 2.0 };
        let at = c.with(Binary::Mul, g, by)?;
        let at = c.with(Binary::Add, at, (size - 1.0) / 2.0)?;
        all.push(taps(&mut c, at, xs[2 + a], method, outside)?);
    }
    let list = combine(&mut c, &all, &xs[2..])?;
    let flat = c.reshape(x, &[xs[0], xs[1], xs[2..].iter().product()])?;
    let parts = read(&mut c, flat, &list)?;
    let v = total(&mut c, Binary::Add, &parts)?;
    one(c.reshape(v, &[&xs[..2], &gs[1..=axes]].concat())?)
}

/// The grid that `theta [N, D, D + 1]` makes of evenly spaced coordinates from −1 to 1.
fn affine_grid(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let theta = n.tensor(0, i)?;
    let size = n.known_ints(1, i)?.ok_or("its size is missing")?;
    let middles = n.int("align_corners", 0) != 0;
    let mut c = Compose { import: i, name: n.label };
    let ts = c.sizes(theta)?;
    let spatial: Vec<usize> = size.iter().skip(2).filter_map(|&s| usize::try_from(s).ok()).collect();
    let axes = spatial.len();
    if axes + 2 != size.len()
        || !matches!(axes, 2 | 3)
        || size[0] != ts[0] as i64
        || ts[1..] != [axes, axes + 1]
    {
        return Err(format!("theta {} and size {size:?} do not fit", c.ty(theta)));
    }
    let points = spatial.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&p| p <= MOST / 4);
    let points = points.ok_or_else(|| format!("a grid of {spatial:?} is too large"))?;
    let mut values = Vec::with_capacity(points * (axes + 1));
    for p in 0..points {
        let mut rest = p;
        for a in (0..axes).rev() {
            let (k, len) = ((rest % spatial[a]) as f64, spatial[a] as f64);
            rest /= spatial[a];
            values.push(match (middles, spatial[a]) {
                (true, 1) => 0.0,
                (true, _) => 2.0 * k / (len - 1.0) - 1.0,
                (false, _) => (2.0 * k + 1.0) / len - 1.0,
            });
        }
        values.push(1.0);
    }
    let dtype = c.dtype(theta);
    let base = c.numbers(dtype, &[points, axes + 1], &values)?;
    let turned = c.transpose(theta, vec![0, 2, 1])?;
    let v = c.matmul(base, turned)?;
    one(c.reshape(v, &[&ts[..1], &spatial[..], &[axes]].concat())?)
}

/// Samples `x [N, C, H, W]` in boxes `[R, 4]` (x, y, x, y) of the images that the third operand names.
fn roi_align(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, rois, images) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let half = i.opset >= 16 && n.text("coordinate_transformation_mode", "half_pixel")? == "half_pixel";
    let largest = n.text("mode", "avg")? == "max";
    let scale = f64::from(n.float("spatial_scale", 1.0));
    let whole = |name: &str, default: i64| {
        usize::try_from(n.int(name, default))
            .ok()
            .filter(|&v| v <= 1 << 12)
            .ok_or(format!("attribute `{name}`"))
    };
    let out = [whole("output_height", 1)?, whole("output_width", 1)?];
    let samples = whole("sampling_ratio", 0)?;
    if samples == 0 {
        return Err(
            "a number of samples that depends on each box is not supported; set sampling_ratio".into()
        );
    }
    let mut c = Compose { import: i, name: n.label };
    let xs = c.sizes(x)?;
    let rs = c.sizes(rois)?;
    let ([images_n, channels, h, w], [boxes, 4]) = (&xs[..], &rs[..]) else {
        return Err(format!("boxes {} of {}", c.ty(rois), c.ty(x)));
    };
    let (images_n, channels, size, boxes) = (*images_n, *channels, [*h, *w], *boxes);
    if size.contains(&0) || images_n == 0 || out.contains(&0) || c.sizes(images)? != [boxes] {
        return Err(format!("boxes {} of {} in images {}", c.ty(rois), c.ty(x), c.ty(images)));
    }
    let dtype = c.dtype(rois);
    let mut axes = Vec::new();
    for a in 0..2 {
        let mut edge = |k: usize| -> Made {
            let v = c.slice(rois, 1, k, 1)?;
            let v = c.with(Binary::Mul, v, scale)?;
            c.with(Binary::Sub, v, if half { 0.5 } else { 0.0 })
        };
        let (from, to) = (edge(1 - a)?, edge(3 - a)?);
        let mut length = c.binary(Binary::Sub, to, from)?;
        if !half {
            length = c.with(Binary::Max, length, 1.0)?;
        }
        let count = out[a] * samples;
        let places: Vec<f64> = (0..count).map(|k| (k as f64 + 0.5) / count as f64).collect();
        let places = c.numbers(dtype, &[1, count], &places)?;
        let at = c.binary(Binary::Mul, length, places)?;
        let at = c.binary(Binary::Add, at, from)?;
        // More than one element outside counts nothing; nearer ones are as the edge.
        let (above, below) = (c.with(Binary::Ge, at, -1.0)?, c.with(Binary::Le, at, size[a] as f64)?);
        let near = c.binary(Binary::And, above, below)?;
        let mut list = taps(&mut c, at, size[a], Method::Linear, Outside::Border)?;
        let shape = if a == 0 { [boxes, count, 1] } else { [boxes, 1, count] };
        for t in &mut list {
            t.inside = Some(c.reshape(near, &shape)?);
            t.place = c.reshape(t.place, &shape)?;
            t.weight = t.weight.map(|w| c.reshape(w, &shape)).transpose()?;
        }
        axes.push(list);
    }
    let list = combine(&mut c, &axes, &size)?;
    let plane = size[0] * size[1];
    let images = c.cast(images, DType::I64)?;
    let images = c.with(Binary::Max, images, 0.0)?;
    let images = c.with(Binary::Min, images, images_n as f64 - 1.0)?;
    let images = c.with(Binary::Mul, images, plane as f64)?;
    let images = c.reshape(images, &[boxes, 1, 1])?;
    let points = out[0] * samples * out[1] * samples;
    let turned = c.transpose(x, vec![1, 0, 2, 3])?;
    let flat = c.reshape(turned, &[channels, images_n * plane])?;
    let mut placed = Vec::new();
    for t in list {
        let place = c.binary(Binary::Add, t.place, images)?;
        let mut flatten = |v: ValueId| {
            let v = c.expand(v, &[boxes, out[0] * samples, out[1] * samples])?;
            c.reshape(v, &[1, boxes * points])
        };
        let weight = t.weight.map(&mut flatten).transpose()?;
        placed.push(Tap { place: flatten(place)?, weight, inside: t.inside.map(&mut flatten).transpose()? });
    }
    let parts = read(&mut c, flat, &placed)?;
    // Of each sample the largest weighted neighbour, or their sum.
    let v = total(&mut c, if largest { Binary::Max } else { Binary::Add }, &parts)?;
    let v = c.reshape(v, &[channels, boxes, out[0], samples, out[1], samples])?;
    let kind = if largest { ReduceKind::Max } else { ReduceKind::Mean };
    let v = c.reduce(kind, v, &[3, 5], false)?;
    one(c.transpose(v, vec![1, 0, 2, 3])?)
}

/// A convolution whose windows read at moved places, each with its factor: samples, then a product.
fn deform_conv(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, w, offset) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let bias = if n.given(3) { Some(n.tensor(3, i)?) } else { None };
    let mask = if n.given(4) { Some(n.tensor(4, i)?) } else { None };
    let (strides, dilations) = (n.sizes("strides", 2, 1)?, n.sizes("dilations", 2, 1)?);
    let pads = match n.ints("pads") {
        Some(p) if p.len() == 4 => [p[0], p[1]],
        Some(p) => return Err(format!("{} pads for 2 axes", p.len())),
        None => [0, 0],
    };
    let count =
        |name: &str| usize::try_from(n.int(name, 1)).ok().filter(|&v| v > 0).ok_or(format!("`{name}`"));
    let (groups, moved) = (count("group")?, count("offset_group")?);
    let mut c = Compose { import: i, name: n.label };
    let (xs, ws, os) = (c.sizes(x)?, c.sizes(w)?, c.sizes(offset)?);
    let ([images, channels, h, wd], [filters, per_group, kh, kw], [_, _, oh, ow]) =
        (&xs[..], &ws[..], &os[..])
    else {
        return Err("only images of two axes are supported".into());
    };
    let (images, channels, filters, size, out) = (*images, *channels, *filters, [*h, *wd], [*oh, *ow]);
    let window = [*kh, *kw];
    let taps_n = window[0] * window[1];
    let points = out[0] * out[1];
    if channels % groups != 0
        || filters % groups != 0
        || channels % moved != 0
        || per_group * groups != channels
        || os[0] != images
        || os[1] != moved * taps_n * 2
        || size.contains(&0)
    {
        return Err(format!("offsets {} and weights {} do not fit {}", c.ty(offset), c.ty(w), c.ty(x)));
    }
    if taps_n.checked_mul(points).is_none_or(|p| p > MOST) {
        return Err("it reads at too many places".into());
    }
    let dtype = c.dtype(x);
    let offset = c.reshape(offset, &[images, moved, taps_n, 2, points])?;
    let mut axes = Vec::new();
    for a in 0..2 {
        let mut base = Vec::with_capacity(taps_n * points);
        for tap in 0..taps_n {
            for p in 0..points {
                let (r, o) =
                    if a == 0 { (tap / window[1], p / out[1]) } else { (tap % window[1], p % out[1]) };
                base.push((o * strides[a] + r * dilations[a]) as f64 - pads[a] as f64);
            }
        }
        let base = c.numbers(dtype, &[1, 1, taps_n, 1, points], &base)?;
        let own = c.slice(offset, 3, a, 1)?;
        let at = c.binary(Binary::Add, own, base)?;
        let at = c.reshape(at, &[images, moved, 1, taps_n * points])?;
        axes.push(taps(&mut c, at, size[a], Method::Linear, Outside::Zeros)?);
    }
    let list = combine(&mut c, &axes, &size)?;
    let flat = c.reshape(x, &[images, moved, channels / moved, size[0] * size[1]])?;
    let parts = read(&mut c, flat, &list)?;
    let mut v = total(&mut c, Binary::Add, &parts)?;
    if let Some(m) = mask {
        let m = c.reshape(m, &[images, moved, 1, taps_n * points])?;
        v = c.binary(Binary::Mul, v, m)?;
    }
    let columns = c.reshape(v, &[images, groups, per_group * taps_n, points])?;
    let rows = c.reshape(w, &[1, groups, filters / groups, per_group * taps_n])?;
    let v = c.matmul(rows, columns)?;
    let mut v = c.reshape(v, &[images, filters, out[0], out[1]])?;
    if let Some(b) = bias {
        let b = c.reshape(b, &[filters, 1, 1])?;
        v = c.binary(Binary::Add, v, b)?;
    }
    one(v)
}
