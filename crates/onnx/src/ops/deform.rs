//! Convolutions whose windows move.

use tactician_ir::Binary;

use super::compose::Compose;
use super::taps::{Method, Outside, combine, read, taps, total};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest grid of constant coordinates: 64 Mi numbers.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("DeformConv", deform_conv)];

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
