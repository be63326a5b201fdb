//! Takes tensors without elements out of the graph, for which no kernel is made.

use tactician_ir::{
    Change, Concat, Expand, Expr, Graph, NodeId, Op, PadMode, Patch, Reduce, Scalar, Tensor, TensorType,
    ValueId,
};
use tactician_reference::eval_op;

use crate::pipeline::Rewrite;
use crate::util::may_become;

/// A value without elements becomes a constant, network outputs included: there is only one such value of a type. What
/// elements are made of none is filled in: reductions over nothing give what they start from, products of no terms zero,
/// attention to no key zero, padding around nothing its value. Joining leaves empty parts out, and scattering no updates
/// changes nothing.
///
/// Other operations that make elements of none, such as a recurrent layer of no steps from a given state, stay.
#[derive(Debug)]
pub struct Empty;

impl Rewrite for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let [ty] = node.outputs() else { return None };
        if matches!(node.op, Op::Input | Op::Constant(_)) {
            return None;
        }
        let mut patch = Patch::new(graph);
        if ty.elements() == Some(0) {
            let none = Tensor::from_bytes(ty.dtype, &ty.sizes()?, vec![]).ok()?;
            let none = patch.constant(&node.name, none);
            patch.replace(id.value(), none).ok()?;
            return Some(patch.finish());
        }
        let empty = |v: &ValueId| graph.ty(*v).elements() == Some(0);
        if !node.inputs().iter().any(empty) {
            return None;
        }
        let new = match &node.op {
            Op::Concat(Concat { axis }) => {
                let parts: Vec<_> = node.inputs().iter().filter(|v| !empty(v)).map(|&v| v.into()).collect();
                patch.add(Op::Concat(Concat { axis: *axis }), &parts, &node.name).ok()?
            }
            Op::ScatterElements(_) => {
                let &x = node.inputs().first()?;
                if may_become(graph, id.value(), x) {
                    x.into()
                } else {
                    patch.add(Op::Pointwise(Expr::identity()), &[x.into()], &node.name).ok()?
                }
            }
            op => {
                let fill = patch.constant(&node.name, fill(op, ty)?);
                patch.add(Op::Expand(Expand { shape: ty.shape.clone() }), &[fill], &node.name).ok()?
            }
        };
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// The one number that an operation makes of operands without elements, if that is so.
fn fill(op: &Op, ty: &TensorType) -> Option<Tensor> {
    match op {
        Op::Reduce(r) => {
            let none = Tensor::from_bytes(ty.dtype, &[0], vec![]).ok()?;
            eval_op(&Op::Reduce(Reduce { kind: r.kind, axes: vec![0], keep_dims: false }), &[&none]).ok()
        }
        Op::MatMul(_) | Op::Attention(_) => scalar(Scalar::of(ty.dtype, 0.0)),
        Op::Pad(p) => match p.mode {
            PadMode::Constant(value) => scalar(value),
            _ => None,
        },
        _ => None,
    }
}

fn scalar(value: Scalar) -> Option<Tensor> {
    let mut e = Expr::empty();
    e.push(tactician_ir::ExprNode::Const(value));
    // A constant expression takes its shape from an operand.
    let any = Tensor::from_bytes(tactician_ir::DType::U8, &[], vec![0]).ok()?;
    eval_op(&Op::Pointwise(e), &[&any]).ok()
}

#[cfg(test)]
#[path = "empty_tests.rs"]
mod tests;
