//! Pools.

use tactician_ir::{Binary, Op, Pool, PoolKind, Reduce, ReduceKind, Shape, Unary};

use super::compose::Compose;
use super::conv::{dilated, pads};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("MaxPool", |i, n| {
        if n.proto.output.len() > 1 && !n.proto.output[1].is_empty() {
            return Err("its second output (indices) is not supported".into());
        }
        pool(i, n, PoolKind::Max)
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
    let op = Pool { kind, window, strides, pads, dilations, ceil: n.int("ceil_mode", 0) != 0 };
    one(i.add(Op::Pool(op), &[x], n.label)?)
}

fn global(i: &mut Import<'_>, n: &Node<'_>, kind: ReduceKind) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let axes: Vec<usize> = (2..i.ty(x).rank()).collect();
    one(i.add(Op::Reduce(Reduce { kind, axes, keep_dims: true }), &[x], n.label)?)
}
