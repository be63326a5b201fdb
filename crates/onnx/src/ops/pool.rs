//! Pools.

use tactician_ir::{
    ArgReduce, Binary, DType, Dim, Expr, ExprNode, Op, Pad, PadMode, Pool, PoolKind, Reduce, ReduceKind,
    Scalar, Shape, Slice, SliceAxis, Unary, ValueId,
};

use super::compose::Compose;
use super::conv::{dilated, pads};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("MaxPool", |i, n| {
        if n.proto.output.get(1).is_none_or(String::is_empty) {
            return pool(i, n, PoolKind::Max);
        }
        max_with_places(i, n)
    }),
    ("AveragePool", |i, n| pool(i, n, PoolKind::Average { count_pad: n.int("count_include_pad", 0) != 0 })),
    ("LpPool", |i, n| {
        let p = u32::try_from(n.int("p", 2)).map_err(|_| "attribute `p` must be positive".to_owned())?;
        pool(i, n, PoolKind::Lp { p })
    }),
    ("GlobalAveragePool", |i, n| global(i, n, ReduceKind::Mean)),
    ("GlobalMaxPool", |i, n| global(i, n, ReduceKind::Max)),
    ("GlobalLpPool", |i, n| match n.int("p", 2) {
        1 => global(i, n, ReduceKind::L1),
        2 => global(i, n, ReduceKind::L2),
        p if p > 2 => {
            let x = n.tensor(0, i)?;
            let mut c = Compose { import: i, name: n.label };
            let axes: Vec<usize> = (2..c.ty(x).rank()).collect();
            let size = c.unary(Unary::Abs, x)?;
            let power = c.with(Binary::Pow, size, p as f64)?;
            let sum = c.reduce(ReduceKind::Sum, power, &axes, true)?;
            one(c.with(Binary::Pow, sum, 1.0 / p as f64)?)
        }
        p => Err(format!("p = {p} is not defined")),
    }),
];

fn pool(i: &mut Import<'_>, n: &Node<'_>, kind: PoolKind) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let op = parameters(i, n, x, kind)?;
    one(i.add(Op::Pool(op), &[x], n.label)?)
}

fn parameters(i: &Import<'_>, n: &Node<'_>, x: ValueId, kind: PoolKind) -> Result<Pool, String> {
    let axes = n.ints("kernel_shape").ok_or("attribute `kernel_shape` is missing")?.len();
    if i.ty(x).rank() != axes + 2 {
        return Err(format!("a window of {axes} axes over a tensor of rank {}", i.ty(x).rank()));
    }
    let window = n.sizes("kernel_shape", axes, 1)?;
    let (strides, dilations) = (n.sizes("strides", axes, 1)?, n.sizes("dilations", axes, 1)?);
    if strides.contains(&0) {
        return Err("a stride is 0".into());
    }
    let shape: Shape = i.ty(x).shape;
    let pads = pads(n, &shape, &dilated(&window, &dilations)?, &strides)?;
    Ok(Pool { kind, window, strides, pads, dilations, ceil: n.int("ceil_mode", 0) != 0 })
}

/// Most places of a window whose numbers are asked for.
const MOST_TAPS: usize = 1 << 10;

/// The largest elements, and their places in the whole tensor counted along its axes, the last fastest, or with
/// `storage_order` 1 the first of the spatial ones: of every place of the window a slice, and which of them is the largest.
fn max_with_places(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let op = parameters(i, n, x, PoolKind::Max)?;
    let y = i.add(Op::Pool(op.clone()), &[x], n.label)?;
    let mut c = Compose { import: i, name: n.label };
    let (xs, ys, dtype) = (c.sizes(x)?, c.sizes(y)?, c.dtype(x));
    let axes = op.window.len();
    let count = op.window.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&c| c <= MOST_TAPS);
    let count = count.ok_or_else(|| format!("places in a window of {:?} are too many", op.window))?;
    let mut steps = vec![1i64; axes];
    match n.int("storage_order", 0) {
        0 => (0..axes - 1).rev().for_each(|a| steps[a] = steps[a + 1] * xs[a + 3] as i64),
        1 => (1..axes).for_each(|a| steps[a] = steps[a - 1] * xs[a + 1] as i64),
        other => return Err(format!("storage_order is {other}, expected 0 or 1")),
    }
    // Padding enough for the last windows, which with `ceil_mode` may reach beyond the given one.
    let least = match dtype {
        t if t.is_float() => Scalar::float(t, f64::NEG_INFINITY),
        DType::I8 => Scalar::int(dtype, i64::from(i8::MIN)),
        DType::U8 => Scalar::int(dtype, 0),
        t => return Err(format!("places of the largest {t} are not supported")),
    };
    let mut pads = vec![(0, 0); 2];
    for a in 0..axes {
        let reach = (ys[2 + a].max(1) - 1) * op.strides[a] + (op.window[a] - 1) * op.dilations[a] + 1;
        let after = reach.saturating_sub(op.pads[a].0 + xs[2 + a]);
        pads.push((op.pads[a].0, after.max(op.pads[a].1)));
    }
    let padded = c.op(Op::Pad(Pad { pads, mode: PadMode::Constant(least) }), &[x])?;
    let places = ys[2..].iter().product::<usize>();
    let (mut parts, mut offsets, mut first) = (Vec::new(), Vec::new(), vec![None; places]);
    for tap in 0..count {
        let mut rest = tap;
        let mut at = vec![0; axes];
        for a in (0..axes).rev() {
            (at[a], rest) = (rest % op.window[a] * op.dilations[a], rest / op.window[a]);
        }
        let slices = (0..axes).map(|a| SliceAxis {
            axis: 2 + a,
            start: Dim::from(at[a]),
            len: Dim::from(ys[2 + a]),
            step: op.strides[a] as i64,
        });
        let part = c.op(Op::Slice(Slice { axes: slices.collect() }), &[padded])?;
        parts.push(c.reshape(part, &[&[1], &ys[..]].concat())?);
        offsets.push((0..axes).map(|a| at[a] as i64 * steps[a]).sum());
        for (place, first) in first.iter_mut().enumerate() {
            let mut rest = place;
            let inside = (0..axes).rev().all(|a| {
                let v = rest % ys[2 + a] * op.strides[a] + at[a];
                rest /= ys[2 + a];
                (op.pads[a].0..op.pads[a].0 + xs[2 + a]).contains(&v)
            });
            if inside && first.is_none() {
                *first = Some(tap as i64);
            }
        }
    }
    let all = c.concat(0, &parts)?;
    let arg = ArgReduce { largest: true, axis: 0, keep_dims: false, last: false };
    let best = c.op(Op::ArgReduce(arg), &[all])?;
    // Where nothing is above the padding, the first place inside is meant.
    let spatial = [&[1, 1], &ys[2..]].concat();
    let first: Vec<i64> = first.into_iter().map(|f| f.unwrap_or(0)).collect();
    let first = c.ints(&spatial, &first)?;
    let mut e = Expr::identity();
    let bound = e.push(ExprNode::Const(least));
    e.push(ExprNode::Binary(Binary::Eq, 0, bound));
    let none = c.op(Op::Pointwise(e), &[y])?;
    let best = c.select(none, first, best)?;
    let offsets = c.ints(&[count], &offsets)?;
    let offset = c.gather(offsets, best, 0)?;
    let starts: Vec<i64> = (0..places)
        .map(|place| {
            let mut rest = place;
            let along = |a: usize| {
                let v = (rest % ys[2 + a] * op.strides[a]) as i64 - op.pads[a].0 as i64;
                rest /= ys[2 + a];
                v * steps[a]
            };
            (0..axes).rev().map(along).sum()
        })
        .collect();
    let starts = c.ints(&spatial, &starts)?;
    let mut lead = vec![1; axes + 2];
    lead[..2].copy_from_slice(&xs[..2]);
    let images = c.counted(&lead)?;
    let images = c.with(Binary::Mul, images, xs[2..].iter().product::<usize>() as f64)?;
    let at = c.binary(Binary::Add, offset, starts)?;
    let at = c.binary(Binary::Add, at, images)?;
    Ok([y, at].map(Val::Tensor).to_vec())
}

fn global(i: &mut Import<'_>, n: &Node<'_>, kind: ReduceKind) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let axes: Vec<usize> = (2..i.ty(x).rank()).collect();
    one(i.add(Op::Reduce(Reduce { kind, axes, keep_dims: true }), &[x], n.label)?)
}
