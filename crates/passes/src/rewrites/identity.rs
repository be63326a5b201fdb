//! Removes operations that return their operand.

use tactician_ir::{Change, ExprNode, Graph, NodeId, Op, Patch, PoolKind, ReduceKind, ValueId};

use crate::pipeline::Rewrite;
use crate::util::may_become;

/// Removes identities: pointwise nodes that return an operand, reshapes and expansions to the same shape,
/// identity transposes, padding by nothing, slices of everything, joins of one operand, pools over one
/// element, reductions over no axis or axes of size 1, resizes of no axis.
#[derive(Debug)]
pub struct Identity;

impl Rewrite for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let from = passed_through(graph, id)?;
        if !may_become(graph, id.value(), from) {
            return None;
        }
        let mut patch = Patch::new(graph);
        patch.replace(id.value(), from).ok()?;
        Some(patch.finish())
    }
}

/// The operand that the node returns unchanged, if its type is the node's.
fn passed_through(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = graph.node(id);
    let first = node.inputs().first().copied();
    let same_type = first.is_some_and(|v| graph.ty(v) == graph.ty(id.value()));
    let is_identity = match &node.op {
        Op::Pointwise(e) => {
            let ExprNode::Input(i) = e.nodes().last()? else { return None };
            let from = *node.inputs().get(usize::from(*i))?;
            return (graph.ty(from) == graph.ty(id.value())).then_some(from);
        }
        Op::Reshape(_) | Op::Expand(_) => true,
        Op::Transpose(t) => t.perm.iter().enumerate().all(|(i, &p)| i == p),
        Op::Pad(p) => p.pads.iter().all(|&p| p == (0, 0)),
        Op::Slice(s) => s.axes.iter().all(|a| a.start.is(0) && a.step == 1),
        Op::Concat(_) => node.inputs().len() == 1,
        Op::Pool(p) => {
            matches!(p.kind, PoolKind::Max | PoolKind::Average { .. })
                && p.window.iter().chain(&p.strides).all(|&n| n == 1)
                && p.pads.iter().all(|&p| p == (0, 0))
        }
        Op::Reduce(r) => {
            use ReduceKind::*;
            let shape = &graph.ty(first?).shape;
            matches!(r.kind, Sum | Mean | Max | Min | Prod)
                && r.axes.iter().all(|&a| shape.dims().get(a).is_some_and(|d| d.is(1)))
        }
        Op::Resize(r) => r.axes.is_empty(),
        _ => false,
    };
    // For slices equal types mean that every axis is taken whole.
    first.filter(|_| is_identity && same_type)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
