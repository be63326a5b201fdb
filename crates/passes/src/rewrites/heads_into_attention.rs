//! Attention reads and writes heads where products with weights have them.

use tactician_ir::{Attention, Change, Graph, NodeId, Op, Patch, PatchValue, Transpose, ValueId};

use crate::pipeline::Rewrite;
use crate::util::{op_of, read_once};

/// `attention` of a `q`, `k` or `v` that is `transpose(x)` from `[B, S, H, D]` to `[B, H, S, D]` reads `x` itself; and where
/// such a transpose is all that reads its result, it writes what that would. A transpose stays for other readers, if any.
#[derive(Debug)]
pub struct HeadsIntoAttention;

impl Rewrite for HeadsIntoAttention {
    fn name(&self) -> &'static str {
        "heads_into_attention"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        match &node.op {
            Op::Attention(old) => {
                let mut op = *old;
                let mut inputs: Vec<PatchValue> = node.inputs().iter().map(|&v| v.into()).collect();
                // Where heads lie within another tensor is counted in that one's order.
                for which in (0..3).filter(|&i| old.within[i].is_none()) {
                    if let Some(x) = turned(graph, *node.inputs().get(which)?) {
                        op.heads_inside[which] ^= true;
                        inputs[which] = x.into();
                    }
                }
                replaced(graph, id, op, *old, &inputs)
            }
            Op::Transpose(_) => {
                let attention = turned(graph, id.value())?;
                let Op::Attention(op) = op_of(graph, attention) else { return None };
                if !read_once(graph, attention) || graph.is_output(attention) {
                    return None;
                }
                let inputs: Vec<PatchValue> =
                    graph.producer(attention).inputs().iter().map(|&v| v.into()).collect();
                let mut new = *op;
                new.heads_inside[3] ^= true;
                replaced(graph, id, new, *op, &inputs)
            }
            _ => None,
        }
    }
}

/// The attention in the place of a node's value, unless nothing is new about it.
fn replaced(
    graph: &Graph,
    id: NodeId,
    new: Attention,
    old: Attention,
    inputs: &[PatchValue],
) -> Option<Change> {
    if new == old {
        return None;
    }
    let mut patch = Patch::new(graph);
    let value = patch.add(Op::Attention(new), inputs, &graph.node(id).name).ok()?;
    patch.replace(id.value(), value).ok()?;
    Some(patch.finish())
}

/// What a value is with heads and length swapped.
fn turned(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let Op::Transpose(Transpose { perm }) = op_of(graph, v) else { return None };
    (perm[..] == [0, 2, 1, 3]).then(|| graph.producer(v).inputs().first().copied())?
}

#[cfg(test)]
#[path = "heads_into_attention_tests.rs"]
mod tests;
