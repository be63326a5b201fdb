//! Operators that read between elements at computed places: made of pointwise coordinates, gathers and sums.

use tactician_ir::{Binary, DType};

use super::compose::Compose;
use super::taps::{Method, Outside, combine, read, taps, total};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest grid of constant coordinates: 64 Mi numbers.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("GridSample", grid_sample), ("AffineGrid", affine_grid)];

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
