//! Operators that move elements.

use tactician_ir::{
    Concat, Dim, Expand, Gather, GatherElements, Op, Pad, PadMode, Reshape, Scalar, Shape, Slice, SliceAxis,
    ValueId,
};

use super::compose::Compose;
use super::conv::transpose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("Transpose", |i, n| {
        let x = n.tensor(0, i)?;
        let rank = i.ty(x).rank();
        let perm = match n.ints("perm") {
            Some(p) => p.iter().map(|&a| n.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        one(transpose(i, x, perm, n.label)?)
    }),
    ("Concat", concat),
    ("Split", split),
    ("Slice", slice),
    ("Pad", pad),
    ("Gather", gather),
    ("GatherElements", |i, n| {
        let (x, indices) = (n.tensor(0, i)?, n.tensor(1, i)?);
        let axis = n.axis(n.int("axis", 0), i.ty(x).rank())?;
        one(i.add(Op::GatherElements(GatherElements { axis }), &[x, indices], n.label)?)
    }),
    ("DepthToSpace", |i, n| blocks(i, n, true)),
    ("SpaceToDepth", |i, n| blocks(i, n, false)),
    ("Tile", tile),
];

fn concat(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let any_open = n.inputs.iter().flatten().any(|v| matches!(v, Val::Dims { .. }));
    if any_open {
        let parts: Option<Vec<Vec<Dim>>> = n.inputs.iter().flatten().map(|v| i.dims(v)).collect();
        if let Some(parts) = parts {
            return Ok(vec![Val::Dims { dims: parts.concat(), scalar: false }]);
        }
    }
    let inputs = n.tensors(i)?;
    let first = *inputs.first().ok_or("it has no operands")?;
    let axis = n.axis(n.int("axis", 0), i.ty(first).rank())?;
    one(i.add(Op::Concat(Concat { axis }), &inputs, n.label)?)
}

/// Part of one axis.
fn part(
    i: &mut Import<'_>,
    x: ValueId,
    axis: usize,
    start: Dim,
    len: Dim,
    step: i64,
    name: &str,
) -> Result<ValueId, String> {
    i.add(Op::Slice(Slice { axes: vec![SliceAxis { axis, start, len, step }] }), &[x], name)
}

fn split(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let axis = n.axis(n.int("axis", 0), shape.rank())?;
    let given = match n.ints("split") {
        Some(s) => Some(s.to_vec()),
        None => n.known_ints(1, i)?,
    };
    let count = n.proto.output.len();
    let lengths: Vec<i64> = match given {
        Some(l) if l.len() == count => l,
        Some(l) => return Err(format!("{} lengths for {count} outputs", l.len())),
        None => {
            let size = shape.dims()[axis]
                .as_i64()
                .ok_or_else(|| format!("axis {axis} is open; give the input shapes (--shape)"))?;
            let each = (size + count as i64 - 1) / count.max(1) as i64;
            (0..count as i64).map(|k| each.min(size - k * each).max(0)).collect()
        }
    };
    let mut out = Vec::new();
    let mut start = 0i64;
    for (k, len) in lengths.into_iter().enumerate() {
        if len < 0 {
            return Err(format!("a length of {len}"));
        }
        let name = n.proto.output[k].clone();
        out.push(Val::Tensor(part(i, x, axis, Dim::known(start), Dim::known(len), 1, &name)?));
        start += len;
    }
    if shape.dims()[axis].as_i64().is_some_and(|s| s != start) {
        return Err(format!("its parts have {start} elements, axis {axis} of {shape} has others"));
    }
    Ok(out)
}

/// Start, length and step of a slice of `size` elements, by ONNX's clamping rules.
fn bounds(start: i64, end: i64, step: i64, size: i64) -> (i64, i64) {
    let wrap = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = wrap(start).clamp(low.max(0), high.max(0));
    let end = if end <= i64::MIN + size { low } else { wrap(end).clamp(low, high.max(low)) };
    let span = if step > 0 { end - start } else { start - end };
    let count = if span <= 0 {
        0
    } else {
        (span as i128 + step.unsigned_abs() as i128 - 1) / step.unsigned_abs() as i128
    };
    (start, if size == 0 { 0 } else { count as i64 })
}

/// Attributes until opset 9, operands since.
fn slice(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = |at: usize, name: &str| match n.ints(name) {
        Some(l) => Ok(Some(l.iter().map(|&v| Dim::known(v)).collect::<Vec<_>>())),
        None => n.dims(at, i),
    };
    let starts = list(1, "starts")?.ok_or("its starts are missing")?;
    let ends = list(2, "ends")?.ok_or("its ends are missing")?;
    let axes = list(3, "axes")?;
    let steps = if i.opset < 10 { None } else { n.known_ints(4, i)? };
    let known = |d: &Dim| {
        d.as_i64().ok_or_else(|| "it depends on open sizes; give the input shapes (--shape)".to_owned())
    };
    let axes: Vec<i64> = match axes {
        Some(a) => a.iter().map(known).collect::<Result<_, _>>()?,
        None => (0..starts.len() as i64).collect(),
    };
    if ends.len() != starts.len()
        || axes.len() != starts.len()
        || steps.as_ref().is_some_and(|s| s.len() != starts.len())
    {
        return Err("its starts, ends, axes and steps differ in length".into());
    }
    let step = |k: usize| steps.as_ref().map_or(1, |s| s[k]);
    if let Val::Dims { dims, scalar: false } = n.val(0)? {
        let (start, count) = match (starts.first(), ends.first()) {
            (Some(s), Some(e)) if starts.len() == 1 && step(0) != 0 => {
                bounds(known(s)?, known(e)?, step(0), dims.len() as i64)
            }
            _ => return Err("it slices sizes along several axes".into()),
        };
        let picked = (0..count).map(|k| dims[(start + k * step(0)) as usize].clone()).collect();
        return Ok(vec![Val::Dims { dims: picked, scalar: false }]);
    }
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let mut parts = Vec::new();
    for k in 0..starts.len() {
        let axis = n.axis(axes[k], shape.rank())?;
        let by = step(k);
        if by == 0 {
            return Err("a step is 0".into());
        }
        let dim = &shape.dims()[axis];
        match (dim.as_i64(), starts[k].as_i64(), ends[k].as_i64()) {
            (Some(size), Some(s), Some(e)) => {
                let (start, len) = bounds(s, e, by, size);
                if (start, len, by) != (0, size, 1) {
                    parts.push(SliceAxis { axis, start: Dim::known(start), len: Dim::known(len), step: by });
                }
            }
            // From the start to the end of an open axis, or but for a few elements at its end.
            (None, Some(s), Some(e)) if s >= 0 && by == 1 && (e == i64::MAX || e == i64::from(i32::MAX)) => {
                if s > 0 {
                    parts.push(SliceAxis {
                        axis,
                        start: Dim::known(s),
                        len: dim.clone() - Dim::known(s),
                        step: 1,
                    });
                }
            }
            _ => return Err(format!("axis {axis} is open; give the input shapes (--shape)")),
        }
    }
    parts.sort_by_key(|p| p.axis);
    one(i.add(Op::Slice(Slice { axes: parts }), &[x], n.label)?)
}

/// Attributes until opset 10, operands since; negative pads cut.
fn pad(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut x = n.tensor(0, i)?;
    let ty = i.ty(x);
    let rank = ty.rank();
    let (given, value) = if i.opset < 11 {
        (n.ints("pads").ok_or("its pads are missing")?.to_vec(), f64::from(n.float("value", 0.0)))
    } else {
        let value = n.known_floats(2, i)?.and_then(|v| v.first().copied()).unwrap_or(0.0);
        (n.known_ints(1, i)?.ok_or("its pads are missing")?, value)
    };
    let axes = match n.known_ints(3, i)? {
        Some(a) => a.iter().map(|&a| n.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() || given.iter().any(|p| p.unsigned_abs() > 1 << 31) {
        return Err(format!("pads {given:?} for {} axes", axes.len()));
    }
    let mode = match n.text("mode", "constant")?.as_str() {
        "constant" => PadMode::Constant(Scalar::of(ty.dtype, value)),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(format!("mode `{other}` is unknown")),
    };
    let mut pads = vec![(0usize, 0usize); rank];
    for (k, &axis) in axes.iter().enumerate() {
        let (before, after) = (given[k], given[k + axes.len()]);
        if before < 0 || after < 0 {
            let cut = (-before).max(0) + (-after).max(0);
            let len = i.ty(x).shape.dims()[axis].clone() - Dim::known(cut);
            x = part(i, x, axis, Dim::known((-before).max(0)), len, 1, n.label)?;
        }
        pads[axis] = (before.max(0) as usize, after.max(0) as usize);
    }
    if pads.iter().all(|p| *p == (0, 0)) {
        return one(x);
    }
    one(i.add(Op::Pad(Pad { pads, mode }), &[x], n.label)?)
}

fn gather(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if let Val::Dims { dims, scalar: false } = n.val(0)?
        && let Some(at) = n.known_ints(1, i)?
    {
        let scalar = match n.val(1)? {
            Val::Tensor(v) => i.ty(*v).rank() == 0,
            Val::Dims { scalar, .. } => *scalar,
            Val::Sequence(_) | Val::Nothing | Val::Missing | Val::Poison => false,
        };
        let picked =
            at.iter().map(|&k| n.axis(k, dims.len()).map(|k| dims[k].clone())).collect::<Result<_, _>>()?;
        return Ok(vec![Val::Dims { dims: picked, scalar }]);
    }
    let (x, indices) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let axis = n.axis(n.int("axis", 0), i.ty(x).rank())?;
    // One known position is a slice.
    if let (Some([at]), Some(size), 0) =
        (i.ints_of(indices).as_deref(), i.ty(x).shape.dims()[axis].as_usize(), i.ty(indices).rank())
    {
        let at = n.axis(*at, size)?;
        let v = part(i, x, axis, Dim::from(at), Dim::known(1), 1, n.label)?;
        let mut shape = i.ty(v).shape;
        shape.0.remove(axis);
        return one(i.add(Op::Reshape(Reshape { shape }), &[v], n.label)?);
    }
    one(i.add(Op::Gather(Gather { axis }), &[x, indices], n.label)?)
}

/// Channels to pixels or back: reshape, transpose, reshape.
fn blocks(i: &mut Import<'_>, n: &Node<'_>, to_space: bool) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    if shape.rank() != 4 {
        return Err(format!("it needs rank 4, found {shape}"));
    }
    let b = n.int("blocksize", 0);
    let known = |a: usize| {
        shape.dims()[a].as_i64().ok_or_else(|| format!("axis {a} is open; give the input shapes (--shape)"))
    };
    let (batch, c, h, w) = (shape.dims()[0].clone(), known(1)?, known(2)?, known(3)?);
    if !(1..=1 << 15).contains(&b) {
        return Err(format!("a block size of {b}"));
    }
    let (wide, perm, out): (Vec<i64>, Vec<usize>, Vec<i64>) = if to_space {
        if c % (b * b) != 0 {
            return Err(format!("{c} channels do not divide into blocks of {b}"));
        }
        let rest = c / (b * b);
        let out = vec![rest, h * b, w * b];
        if n.text("mode", "DCR")? == "CRD" {
            (vec![rest, b, b, h, w], vec![0, 1, 4, 2, 5, 3], out)
        } else {
            (vec![b, b, rest, h, w], vec![0, 3, 4, 1, 5, 2], out)
        }
    } else {
        if h % b != 0 || w % b != 0 {
            return Err(format!("{h} by {w} does not divide into blocks of {b}"));
        }
        (vec![c, h / b, b, w / b, b], vec![0, 3, 5, 1, 2, 4], vec![c * b * b, h / b, w / b])
    };
    let of = |l: &[i64]| -> Shape {
        [batch.clone()].into_iter().chain(l.iter().map(|&d| Dim::known(d))).collect()
    };
    let v = i.add(Op::Reshape(Reshape { shape: of(&wide) }), &[x], n.label)?;
    let v = transpose(i, v, perm, n.label)?;
    one(i.add(Op::Reshape(Reshape { shape: of(&out) }), &[v], n.label)?)
}

/// Repeats from which a `Tile` is no concatenation.
const CONCATENATED: usize = 9;

/// Most parts of a concatenation that a `Tile` becomes where sizes are open.
const MOST_PARTS: usize = 1024;

fn tile(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut v = n.tensor(0, i)?;
    let repeats = n.known_ints(1, i)?.ok_or("its repeats are missing")?;
    if repeats.len() != i.ty(v).rank() {
        return Err(format!("{} repeats for rank {}", repeats.len(), i.ty(v).rank()));
    }
    let mut c = Compose { import: i, name: n.label };
    for (axis, &r) in repeats.iter().enumerate() {
        let r = usize::try_from(r).map_err(|_| format!("{r} repeats"))?;
        let mut dims = c.ty(v).shape;
        v = match (r, dims.dims()[axis].as_usize(), c.ty(v).sizes()) {
            (1, _, _) => v,
            (0, _, _) => c.slice(v, axis, 0, 0)?,
            (_, Some(1), _) => {
                dims.0[axis] = Dim::from(r);
                c.op(Op::Expand(Expand { shape: dims }), &[v])?
            }
            (CONCATENATED.., _, Some(sizes)) => {
                // The same part over and over, along an axis of its own.
                let outer: usize = sizes[..axis].iter().product();
                let part: usize = sizes[axis..].iter().product();
                let apart = c.reshape(v, &[outer, 1, part])?;
                let apart = c.expand(apart, &[outer, r, part])?;
                let mut sizes = sizes;
                sizes[axis] = sizes[axis].checked_mul(r).ok_or("its result is too large")?;
                c.reshape(apart, &sizes)?
            }
            (..=MOST_PARTS, _, _) => c.op(Op::Concat(Concat { axis }), &vec![v; r])?,
            _ => return Err(format!("{r} repeats of an open size; give the input shapes (--shape)")),
        };
    }
    one(v)
}
