//! Operators that read boxes of images.

use tactician_ir::{Binary, DType, ReduceKind, Unary, ValueId};

use super::compose::{Compose, Made};
use super::taps::{Method, Outside, Tap, combine, read, taps, total};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest table of places or elements that these make: 64 Mi.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("RoiAlign", roi_align), ("MaxRoiPool", max_roi_pool)];

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

/// The largest elements of `x [N, C, H, W]` in the bins that divide boxes `[R, 5]` (image, x, y, x, y); bins without elements
/// give zeros. Bounds of boxes are rounded, halves away from zero, and both belong to them.
fn max_roi_pool(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, rois) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let out = n.sizes("pooled_shape", 2, 0)?;
    let scale = f64::from(n.float("spatial_scale", 1.0));
    let mut c = Compose { import: i, name: n.label };
    let (xs, rs) = (c.sizes(x)?, c.sizes(rois)?);
    let (&[_, channels, height, width], &[count, 5]) = (xs.as_slice(), rs.as_slice()) else {
        return Err(format!("it needs [N, C, H, W] and [R, 5], found {} and {}", c.ty(x), c.ty(rois)));
    };
    let inner = out[0].max(1).checked_mul(height).and_then(|v| v.checked_mul(width));
    let most = inner.and_then(|v| v.checked_mul(out[1].max(1))).and_then(|v| v.checked_mul(count * channels));
    if out.contains(&0) || most.is_none_or(|m| m > MOST) {
        return Err(format!("bins {out:?} of {count} boxes of {} are too many, or none", c.ty(x)));
    }
    let image = c.slice(rois, 1, 0, 1)?;
    let image = c.reshape(image, &[count])?;
    let image = c.cast(image, DType::I64)?;
    let part = c.gather(x, image, 0)?;
    let dtype = c.dtype(x);
    if !dtype.is_float() {
        return Err(format!("boxes of {dtype}"));
    }
    // One axis after the other: the largest of a bin is that of its columns' largest.
    let columns = bins(&mut c, rois, (1, 3), width, out[1], scale)?;
    let columns = c.reshape(columns, &[count, 1, 1, out[1], width])?;
    let wide = c.reshape(part, &[count, channels, height, 1, width])?;
    let least = lowest(&mut c, dtype)?;
    let wide = c.select(columns, wide, least)?;
    let rows = c.reduce(ReduceKind::Max, wide, &[4], false)?;
    let places = bins(&mut c, rois, (2, 4), height, out[0], scale)?;
    let places = c.reshape(places, &[count, 1, out[0], height, 1])?;
    let rows = c.reshape(rows, &[count, channels, 1, height, out[1]])?;
    let rows = c.select(places, rows, least)?;
    let y = c.reduce(ReduceKind::Max, rows, &[3], false)?;
    let none = c.binary(Binary::Eq, y, least)?;
    let zero = c.numbers(dtype, &[], &[0.0])?;
    one(c.select(none, zero, y)?)
}

fn lowest(c: &mut Compose<'_, '_>, dtype: DType) -> Made {
    c.numbers(dtype, &[], &[f64::NEG_INFINITY])
}

/// Which of `size` places along an axis each of `count` bins of a box has: `bool [R, count, size]`. `ends` are the columns of the
/// box's bounds.
fn bins(
    c: &mut Compose<'_, '_>,
    rois: ValueId,
    ends: (usize, usize),
    size: usize,
    count: usize,
    scale: f64,
) -> Made {
    let boxes = c.sizes(rois)?[0];
    let mut bound = |column: usize| {
        let v = c.slice(rois, 1, column, 1)?;
        let v = c.with(Binary::Mul, v, scale)?;
        // Halves away from zero: sign · floor(|v| + 1/2).
        let (sign, v) = (c.unary(Unary::Sign, v)?, c.unary(Unary::Abs, v)?);
        let v = c.with(Binary::Add, v, 0.5)?;
        let v = c.unary(Unary::Floor, v)?;
        let v = c.binary(Binary::Mul, v, sign)?;
        c.reshape(v, &[boxes, 1, 1])
    };
    let (first, last) = (bound(ends.0)?, bound(ends.1)?);
    let length = c.binary(Binary::Sub, last, first)?;
    let length = c.with(Binary::Add, length, 1.0)?;
    let length = c.with(Binary::Max, length, 1.0)?;
    let step = c.with(Binary::Div, length, count as f64)?;
    let to = c.dtype(rois);
    let numbers = c.counted(&[1, count, 1])?;
    let numbers = c.cast(numbers, to)?;
    let start = c.binary(Binary::Mul, numbers, step)?;
    let start = c.unary(Unary::Floor, start)?;
    let next = c.with(Binary::Add, numbers, 1.0)?;
    let end = c.binary(Binary::Mul, next, step)?;
    let end = c.unary(Unary::Ceil, end)?;
    let (start, end) = (c.binary(Binary::Add, start, first)?, c.binary(Binary::Add, end, first)?);
    let places = c.counted(&[1, 1, size])?;
    let places = c.cast(places, to)?;
    let (from, below) = (c.binary(Binary::Ge, places, start)?, c.binary(Binary::Lt, places, end)?);
    c.binary(Binary::And, from, below)
}
