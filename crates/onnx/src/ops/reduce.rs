//! Reductions and softmax.

use tactician_ir::{ArgReduce, Op, Reduce, ReduceKind, Reshape, Shape, Softmax};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("ReduceSum", |i, n| reduce(i, n, ReduceKind::Sum)),
    ("ReduceMean", |i, n| reduce(i, n, ReduceKind::Mean)),
    ("ReduceMax", |i, n| reduce(i, n, ReduceKind::Max)),
    ("ReduceMin", |i, n| reduce(i, n, ReduceKind::Min)),
    ("ReduceProd", |i, n| reduce(i, n, ReduceKind::Prod)),
    ("ReduceSumSquare", |i, n| reduce(i, n, ReduceKind::SumSquare)),
    ("ReduceL1", |i, n| reduce(i, n, ReduceKind::L1)),
    ("ReduceL2", |i, n| reduce(i, n, ReduceKind::L2)),
    ("ReduceLogSum", |i, n| reduce(i, n, ReduceKind::LogSum)),
    ("ReduceLogSumExp", |i, n| reduce(i, n, ReduceKind::LogSumExp)),
    ("ArgMax", |i, n| arg(i, n, true)),
    ("ArgMin", |i, n| arg(i, n, false)),
    ("Softmax", |i, n| softmax(i, n, false)),
    ("LogSoftmax", |i, n| softmax(i, n, true)),
];

/// Axes as an attribute or (opset 13 for sums, 18 for the rest) an operand; none means all.
fn reduce(i: &mut Import<'_>, n: &Node<'_>, kind: ReduceKind) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let rank = i.ty(x).rank();
    let given = match n.ints("axes") {
        Some(a) => Some(a.to_vec()),
        None => n.known_ints(1, i)?.filter(|a| !a.is_empty()),
    };
    let axes = match given {
        Some(a) => n.axes(&a, rank)?,
        None if n.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
        None => (0..rank).collect(),
    };
    let keep_dims = n.int("keepdims", 1) != 0;
    one(i.add(Op::Reduce(Reduce { kind, axes, keep_dims }), &[x], n.label)?)
}

fn arg(i: &mut Import<'_>, n: &Node<'_>, largest: bool) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let axis = n.axis(n.int("axis", 0), i.ty(x).rank())?;
    let op = ArgReduce {
        largest,
        axis,
        keep_dims: n.int("keepdims", 1) != 0,
        last: n.int("select_last_index", 0) != 0,
    };
    one(i.add(Op::ArgReduce(op), &[x], n.label)?)
}

/// Until opset 12 over everything from `axis` on, since then along `axis`.
fn softmax(i: &mut Import<'_>, n: &Node<'_>, log: bool) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let ty = i.ty(x);
    let rank = ty.rank();
    if i.opset >= 13 {
        let axis = n.axis(n.int("axis", -1), rank)?;
        return one(i.add(Op::Softmax(Softmax { axis, log }), &[x], n.label)?);
    }
    let axis = n.axis(n.int("axis", 1), rank.max(1))?;
    if axis + 1 == rank {
        return one(i.add(Op::Softmax(Softmax { axis, log }), &[x], n.label)?);
    }
    let dims = ty.shape.dims();
    let part = |d: &[tactician_ir::Dim]| d.iter().cloned().collect::<Shape>().elements();
    let flat: Shape = [part(&dims[..axis]), part(&dims[axis..])].into_iter().collect();
    let v = i.add(Op::Reshape(Reshape { shape: flat }), &[x], n.label)?;
    let v = i.add(Op::Softmax(Softmax { axis: 1, log }), &[v], n.label)?;
    one(i.add(Op::Reshape(Reshape { shape: ty.shape }), &[v], n.label)?)
}
