//! Equal computations are done once.

use std::collections::BTreeMap;

use tactician_ir::{DType, Graph, NodeId, Op, ValueId};

use crate::pipeline::GraphPass;
use crate::util::may_become;

/// Nodes of equal operation and operands become the first of them; so do equal constants.
#[derive(Debug)]
pub struct CommonSubexpressions;

/// Cheap to compare and ordered; equal nodes have equal keys.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    op: &'static str,
    inputs: Vec<ValueId>,
    constant: Option<(DType, Vec<usize>, Vec<u8>)>,
}

/// Bytes of a constant that go into its key; the rest is compared only among equals so far.
const PREFIX: usize = 32;

impl GraphPass for CommonSubexpressions {
    fn name(&self) -> &'static str {
        "common_subexpressions"
    }

    fn run(&self, graph: &mut Graph) -> usize {
        let mut seen: BTreeMap<Key, Vec<NodeId>> = BTreeMap::new();
        let mut changes = 0;
        for id in graph.topo() {
            let node = graph.node(id);
            if node.op == Op::Input || node.outputs().len() != 1 {
                continue;
            }
            let constant = node.as_constant().map(|t| {
                let bytes = t.bytes();
                (t.dtype(), t.sizes().to_vec(), bytes[..bytes.len().min(PREFIX)].to_vec())
            });
            let key = Key { op: node.op.name(), inputs: node.inputs().to_vec(), constant };
            let same = seen.entry(key).or_default();
            let first = same.iter().copied().find(|&n| graph.node(n).op == graph.node(id).op);
            match first {
                Some(first) if may_become(graph, id.value(), first.value()) => {
                    if graph.replace(id.value(), first.value()).is_ok() {
                        changes += 1;
                    }
                }
                Some(_) => {}
                None => same.push(id),
            }
        }
        if changes > 0 {
            graph.remove_dead();
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::{Binary, Unary};

    #[test]
    fn merges_whole_equal_branches() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 2]);
        let sides: Vec<ValueId> = (0..2)
            .map(|_| {
                let c = constant(&mut g, &[2, 2], 7);
                let m = binary(&mut g, Binary::Mul, x, c);
                unary(&mut g, Unary::Tanh, m)
            })
            .collect();
        let y = binary(&mut g, Binary::Add, sides[0], sides[1]);
        g.mark_output("y", y);
        let after = check("common_subexpressions", &g);
        assert_eq!(ops(&after), ["const", "pointwise", "pointwise", "pointwise"]);
    }

    #[test]
    fn differences_matter() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[20]);
        // Equal beginnings, other ends.
        let mut values = [1.0f32; 20];
        let a = g.add_constant("a", tactician_ir::Tensor::new(&[20], &values).unwrap());
        values[19] = 2.0;
        let b = g.add_constant("b", tactician_ir::Tensor::new(&[20], &values).unwrap());
        for c in [a, b] {
            let y = binary(&mut g, Binary::Sub, x, c);
            let z = binary(&mut g, Binary::Sub, c, x);
            g.mark_output(&format!("y{c:?}"), y);
            g.mark_output(&format!("z{c:?}"), z);
        }
        unchanged("common_subexpressions", &g);
    }

    #[test]
    fn two_outputs_keep_a_value_each() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[3]);
        let a = unary(&mut g, Unary::Exp, x);
        let b = unary(&mut g, Unary::Exp, x);
        g.mark_output("a", a);
        g.mark_output("b", b);
        unchanged("common_subexpressions", &g);
    }
}
