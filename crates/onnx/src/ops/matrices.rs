//! Determinants, columns to images, and writing into caches.

use tactician_ir::{Binary, ConvTranspose, DType, Op, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest matrix whose determinant or inverse is expanded: the number of products is its factorial.
const MOST_ROWS: usize = 4;

pub(super) const OPERATORS: &[(&str, Importer)] =
    &[("Det", det), ("Col2Im", columns_to_image), ("TensorScatter", write_cache)];

/// By minors along rows.
fn det(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let (sizes, rows) = square(&mut c, x, "determinants")?;
    let lead = &sizes[..sizes.len() - 2];
    let count = lead.iter().product::<usize>();
    let flat = c.reshape(x, &[count, rows * rows])?;
    let all: Vec<usize> = (0..rows).collect();
    let v = minor(&mut c, flat, rows, &all, &all)?;
    one(c.reshape(v, lead)?)
}

/// The sizes, and of these the number of rows, of square matrices that are small enough to be expanded.
pub(super) fn square(c: &mut Compose<'_, '_>, x: ValueId, what: &str) -> Result<(Vec<usize>, usize), String> {
    let sizes = c.sizes(x)?;
    let [.., rows, columns] = sizes[..] else { return Err(format!("{} is no matrix", c.ty(x))) };
    if rows != columns || rows == 0 || rows > MOST_ROWS {
        return Err(format!("{what} of {rows} by {columns} are not supported, only up to {MOST_ROWS} rows"));
    }
    Ok((sizes, rows))
}

/// The determinant of as many rows and columns of `flat [count, n·n]`: `[count, 1]`.
pub(super) fn minor(
    c: &mut Compose<'_, '_>,
    flat: ValueId,
    n: usize,
    rows: &[usize],
    columns: &[usize],
) -> Made {
    let (&row, below) = rows.split_first().ok_or("it is empty")?;
    let mut sum: Option<ValueId> = None;
    for (k, &column) in columns.iter().enumerate() {
        let mut term = c.slice(flat, 1, row * n + column, 1)?;
        let rest: Vec<usize> = columns.iter().copied().filter(|&o| o != column).collect();
        if !rest.is_empty() {
            let below = minor(c, flat, n, below, &rest)?;
            term = c.binary(Binary::Mul, term, below)?;
        }
        sum = Some(match sum {
            None => term,
            Some(s) => c.binary(if k % 2 == 0 { Binary::Add } else { Binary::Sub }, s, term)?,
        });
    }
    sum.ok_or_else(|| "it is empty".into())
}

/// The transposed convolution whose filters each set one place of the window.
fn columns_to_image(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let known = |k: usize| -> Result<Vec<usize>, String> {
        let l = n.known_ints(k, i)?.ok_or_else(|| format!("operand {k} is missing"))?;
        l.iter()
            .map(|&v| {
                usize::try_from(v)
                    .ok()
                    .filter(|&v| v > 0 && v < 1 << 31)
                    .ok_or_else(|| format!("sizes {l:?}"))
            })
            .collect()
    };
    let (image, window) = (known(1)?, known(2)?);
    let axes = image.len();
    let (strides, dilations) = (n.sizes("strides", axes, 1)?, n.sizes("dilations", axes, 1)?);
    let pads = match n.ints("pads") {
        None => vec![(0, 0); axes],
        Some(p) if p.len() == 2 * axes => {
            let side = |v: i64| usize::try_from(v).ok().filter(|&v| v < 1 << 31).ok_or(format!("pads {p:?}"));
            (0..axes).map(|a| Ok((side(p[a])?, side(p[a + axes])?))).collect::<Result<Vec<_>, String>>()?
        }
        Some(p) => return Err(format!("{} pads for {axes} axes", p.len())),
    };
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let [batch, rows, columns] = sizes[..] else {
        return Err(format!("{} is not [N, C·window, L]", c.ty(x)));
    };
    let taps = window.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).ok_or("its window is too large")?;
    if axes == 0
        || window.len() != axes
        || strides.contains(&0)
        || rows % taps != 0
        || rows > 1 << 16
        || taps > 1 << 10
    {
        return Err(format!("a window of {window:?} does not fit {} and an image of {image:?}", c.ty(x)));
    }
    let channels = rows / taps;
    let (mut places, mut output_padding) = (Vec::new(), Vec::new());
    for a in 0..axes {
        let span = (window[a] - 1).checked_mul(dilations[a]).ok_or("its window is too large")? + 1;
        let padded = image[a] + pads[a].0 + pads[a].1;
        let free = padded.checked_sub(span).ok_or_else(|| format!("a window of {window:?} in {image:?}"))?;
        places.push(free / strides[a] + 1);
        output_padding.push(free % strides[a]);
    }
    if places.iter().product::<usize>() != columns {
        return Err(format!("{columns} columns for {places:?} places of the window"));
    }
    let mut weights = vec![0.0; rows * taps];
    (0..rows).for_each(|r| weights[r * taps + r % taps] = 1.0);
    let dtype = c.dtype(x);
    let w = c.numbers(dtype, &[&[rows, 1][..], &window].concat(), &weights)?;
    let x = c.reshape(x, &[&[batch, rows][..], &places].concat())?;
    let op = ConvTranspose { strides, pads, dilations, output_padding, groups: channels };
    one(c.op(Op::ConvTranspose(op), &[x, w])?)
}

/// `cache` with `update` written along an axis from a place on that each batch has; circular places wrap round.
/// Elements that a place sends beyond the end of a linear cache are not written.
fn write_cache(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (cache, update) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let starts = if n.given(2) { Some(n.tensor(2, i)?) } else { None };
    let circular = match n.text("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(format!("mode `{other}` is unknown")),
    };
    let mut c = Compose { import: i, name: n.label };
    let (cs, us) = (c.sizes(cache)?, c.sizes(update)?);
    let axis = n.axis(n.int("axis", -2), cs.len())?;
    let fits = cs.len() == us.len() && (0..cs.len()).all(|a| a == axis || cs[a] == us[a]);
    if axis == 0 || !fits || us[axis] == 0 || us[axis] > cs[axis] {
        return Err(format!("an update {} does not fit {} along axis {axis}", c.ty(update), c.ty(cache)));
    }
    let rank = cs.len();
    let along = |a: usize, size: usize| (0..rank).map(|o| if o == a { size } else { 1 }).collect::<Vec<_>>();
    let places = c.counted(&along(axis, cs[axis]))?;
    let mut at = places;
    if let Some(s) = starts {
        if c.sizes(s)? != [cs[0]] {
            return Err(format!("write indices {} for {} images", c.ty(s), cs[0]));
        }
        let s = c.cast(s, DType::I64)?;
        let s = c.reshape(s, &along(0, cs[0]))?;
        at = c.binary(Binary::Sub, at, s)?;
    }
    if circular {
        at = c.with(Binary::Mod, at, cs[axis] as f64)?;
    }
    let (from, to) = (c.with(Binary::Ge, at, 0.0)?, c.with(Binary::Lt, at, us[axis] as f64)?);
    let written = c.binary(Binary::And, from, to)?;
    let at = c.with(Binary::Max, at, 0.0)?;
    let at = c.with(Binary::Min, at, us[axis] as f64 - 1.0)?;
    let at = c.expand(at, &cs)?;
    let new = c.gather_elements(update, at, axis)?;
    one(c.select(written, new, cache)?)
}
