//! Operators that pick, mark or mask places: made of gathers, comparisons and selections.

use tactician_ir::{ArgReduce, Binary, DType, Op, Tensor, ValueId};

use super::compose::Compose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

/// Largest table of places that these make: 64 Mi entries.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("GatherND", gather_nd),
    ("OneHot", one_hot),
    ("Trilu", trilu),
    ("EyeLike", eye_like),
    ("ReverseSequence", reverse_sequence),
    ("CenterCropPad", center_crop_pad),
    ("Hardmax", hardmax),
    ("ai.onnx.ml.ArrayFeatureExtractor", |i, n| {
        let (x, at) = (n.tensor(0, i)?, n.tensor(1, i)?);
        let mut c = Compose { import: i, name: n.label };
        let count = c.sizes(at)?.iter().product();
        let last = c.ty(x).rank().checked_sub(1).ok_or("its operand is a scalar")?;
        let at = c.reshape(at, &[count])?;
        let v = c.gather(x, at, last)?;
        one(if last == 0 { c.reshape(v, &[1, count])? } else { v })
    }),
];

fn bounded(sizes: &[usize]) -> Result<usize, String> {
    sizes
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b))
        .filter(|&n| n <= MOST)
        .ok_or_else(|| format!("a table of sizes {sizes:?} is too large"))
}

/// Positions along each index tuple become positions in the flattened leading axes.
fn gather_nd(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, indices) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let mut c = Compose { import: i, name: n.label };
    let (xs, is) = (c.sizes(x)?, c.sizes(indices)?);
    let b = usize::try_from(n.int("batch_dims", 0)).map_err(|_| "batch_dims must not be negative")?;
    let depth = *is.last().ok_or("its indices are a scalar")?;
    if b >= is.len() || b + depth > xs.len() || xs[..b] != is[..b] {
        return Err(format!("indices of sizes {is:?} do not fit data of sizes {xs:?} with {b} batch axes"));
    }
    let batch = bounded(&xs[..b])?;
    let (tuples, tail) = (bounded(&is[b..is.len() - 1])?, &xs[b + depth..]);
    let flat = c.reshape(indices, &[batch, tuples, depth])?;
    let mut at: Option<ValueId> = None;
    for k in 0..depth {
        let part = c.slice(flat, 2, k, 1)?;
        let part = c.counted_from_end(part, xs[b + k])?;
        at = Some(match at {
            None => part,
            Some(v) => {
                let v = c.with(Binary::Mul, v, xs[b + k] as f64)?;
                c.binary(Binary::Add, v, part)?
            }
        });
    }
    let plane: usize = xs[b..b + depth].iter().product();
    let mut at = at.ok_or("its index tuples are empty")?;
    if batch > 1 {
        let starts: Vec<i64> = (0..batch as i64).map(|k| k * plane as i64).collect();
        let starts = c.ints(&[batch, 1, 1], &starts)?;
        at = c.binary(Binary::Add, at, starts)?;
    }
    let at = c.reshape(at, &[batch * tuples])?;
    let inner: usize = tail.iter().product();
    let rows = c.reshape(x, &[batch * plane, inner])?;
    let v = c.gather(rows, at, 0)?;
    one(c.reshape(v, &[&is[..is.len() - 1], tail].concat())?)
}

/// `values[1]` where the index is the place, else `values[0]`; indices outside mark nothing.
fn one_hot(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (indices, values) = (n.tensor(0, i)?, n.tensor(2, i)?);
    let depth = match n.known_ints(1, i) {
        Ok(Some(l)) if l.len() == 1 => l[0],
        _ => {
            let l = n.known_floats(1, i)?.unwrap_or_default();
            *l.first().ok_or("its depth is missing")? as i64
        }
    };
    let depth =
        usize::try_from(depth).ok().filter(|&d| d > 0 && d <= MOST).ok_or(format!("a depth of {depth}"))?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(indices)?;
    let axis = n.axis(n.int("axis", -1), sizes.len() + 1)?;
    let at = c.cast(indices, DType::I64)?;
    let at = c.counted_from_end(at, depth)?;
    let mut wide = sizes.clone();
    wide.insert(axis, 1);
    let at = c.reshape(at, &wide)?;
    let mut along = vec![1; wide.len()];
    along[axis] = depth;
    let places = c.counted(&along)?;
    let hit = c.binary(Binary::Eq, at, places)?;
    let (off, on) = (c.slice(values, 0, 0, 1)?, c.slice(values, 0, 1, 1)?);
    let (off, on) = (c.reshape(off, &[])?, c.reshape(on, &[])?);
    one(c.select(hit, on, off)?)
}

/// Keeps one side of the `k`th diagonal, zeros elsewhere.
fn trilu(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let k = n.known_ints(1, i)?.and_then(|l| l.first().copied()).unwrap_or(0);
    let upper = n.int("upper", 1) != 0;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let [.., h, w] = sizes[..] else { return Err(format!("it needs rank 2 or more, found {}", c.ty(x))) };
    let mut keep = Vec::with_capacity(bounded(&[h, w])?);
    for row in 0..h as i64 {
        for column in 0..w as i64 {
            let side = (column - row).cmp(&k);
            keep.push(if upper { side.is_ge() } else { side.is_le() });
        }
    }
    let keep = Tensor::bools(&[h, w], &keep).map_err(|e| e.to_string())?;
    let keep = c.import.constant(n.label, keep);
    let zero = c.numbers(DType::F64, &[], &[0.0])?;
    let zero = {
        let to = c.dtype(x);
        c.cast(zero, to)?
    };
    one(c.select(keep, x, zero)?)
}

fn eye_like(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let k = n.int("k", 0);
    let dtype = match i32::try_from(n.int("dtype", 0)) {
        Ok(0) => i.ty(x).dtype,
        Ok(t) => tensor::dtype(t)?,
        Err(_) => return Err("attribute `dtype` is no type".into()),
    };
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let [h, w] = sizes[..] else { return Err(format!("it needs rank 2, found {}", c.ty(x))) };
    let mut ones = vec![false; bounded(&[h, w])?];
    for row in 0..h {
        let column = (row as i64).saturating_add(k);
        if let Some(column) = usize::try_from(column).ok().filter(|&column| column < w) {
            ones[row * w + column] = true;
        }
    }
    let t = Tensor::bools(&[h, w], &ones).map_err(|e| e.to_string())?;
    let v = c.import.constant(n.label, t);
    one(c.cast(v, dtype)?)
}

/// The first `lens[b]` elements in reverse, the rest as they are.
fn reverse_sequence(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, lens) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let (batch, time) =
        (n.axis(n.int("batch_axis", 1), sizes.len())?, n.axis(n.int("time_axis", 0), sizes.len())?);
    if batch == time || c.sizes(lens)? != [sizes[batch]] {
        return Err(format!("lengths {} for axis {batch} of {}", c.ty(lens), c.ty(x)));
    }
    let along = |axis: usize| -> Vec<usize> {
        (0..sizes.len()).map(|a| if a == axis { sizes[a] } else { 1 }).collect()
    };
    let t = c.counted(&along(time))?;
    let lens = c.cast(lens, DType::I64)?;
    let lens = c.reshape(lens, &along(batch))?;
    let inside = c.binary(Binary::Lt, t, lens)?;
    let last = c.with(Binary::Sub, lens, 1.0)?;
    let back = c.binary(Binary::Sub, last, t)?;
    let at = c.select(inside, back, t)?;
    let at = c.expand(at, &sizes)?;
    one(c.gather_elements(x, at, time)?)
}

/// Crops or pads axes to a shape, half on each side; the odd element goes to the end.
fn center_crop_pad(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut x = n.tensor(0, i)?;
    let shape = n.known_ints(1, i)?.ok_or("its shape is missing")?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let axes = match n.ints("axes") {
        Some(a) => a.iter().map(|&a| n.axis(a, sizes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..sizes.len()).collect(),
    };
    if axes.len() != shape.len() {
        return Err(format!("a shape of {} sizes for {} axes", shape.len(), axes.len()));
    }
    let mut pads = vec![(0, 0); sizes.len()];
    for (&axis, &to) in axes.iter().zip(&shape) {
        let to = usize::try_from(to).ok().filter(|&t| t <= MOST).ok_or_else(|| format!("a size of {to}"))?;
        let from = sizes[axis];
        if from > to {
            x = c.slice(x, axis, (from - to) / 2, to)?;
        } else {
            let more = to - from;
            pads[axis] = (more / 2, more - more / 2);
        }
    }
    if pads.iter().any(|&p| p != (0, 0)) {
        let fill = tactician_ir::Scalar::of(c.dtype(x), 0.0);
        let pad = tactician_ir::Pad { pads, mode: tactician_ir::PadMode::Constant(fill) };
        x = c.op(Op::Pad(pad), &[x])?;
    }
    one(x)
}

/// 1 at the first largest element along an axis (until opset 12: of everything from the axis on), else 0.
fn hardmax(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let old = i.opset < 13;
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let axis = n.axis(n.int("axis", if old { 1 } else { -1 }), sizes.len())?;
    let (v, work, axis) = if old {
        let flat = [sizes[..axis].iter().product(), sizes[axis..].iter().product()];
        (c.reshape(x, &flat)?, flat.to_vec(), 1)
    } else {
        (x, sizes.clone(), axis)
    };
    let at = c.op(Op::ArgReduce(ArgReduce { largest: true, axis, keep_dims: true, last: false }), &[v])?;
    let mut along = vec![1; work.len()];
    along[axis] = work[axis];
    let places = c.counted(&along)?;
    let hit = c.binary(Binary::Eq, at, places)?;
    let to = c.dtype(x);
    let v = c.cast(hit, to)?;
    one(c.reshape(v, &sizes)?)
}
