//! Computes at build time what depends on constants only.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, Tensor};
use tactician_reference::eval_op;

use crate::pipeline::Rewrite;

/// Results up to this many bytes are folded whatever their operands' size.
const SMALL: u64 = 1 << 20;

/// Larger results may have this many times the bytes of the operands.
const GROWTH: u64 = 4;

/// An operation on constants becomes its result, computed by the reference interpreter. Large results of
/// small constants, such as wide expansions, stay operations: the plan would have to store them. So do
/// network outputs, which a node must compute.
#[derive(Debug)]
pub struct ConstantFold;

impl Rewrite for ConstantFold {
    fn name(&self) -> &'static str {
        "constant_fold"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        if matches!(node.op, Op::Input | Op::Constant(_)) || node.outputs().len() != 1 {
            return None;
        }
        let operands: Option<Vec<&Tensor>> = node.inputs().iter().map(|&v| graph.constant(v)).collect();
        let operands = operands?;
        let before: u64 = operands.iter().map(|t| t.bytes().len() as u64).sum();
        let after = graph.ty(id.value()).bytes()?;
        if graph.is_output(id.value()) || after > SMALL.max(before.saturating_mul(GROWTH)) {
            return None;
        }
        let result = eval_op(&node.op, &operands).ok()?;
        let mut patch = Patch::new(graph);
        let new = patch.constant(&node.name, result);
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
#[path = "constant_fold_tests.rs"]
mod tests;
