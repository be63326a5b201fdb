//! Matrix products read transposed operands themselves.

use tactician_ir::{Change, Graph, MatMul, NodeId, Op, Patch, PatchValue, ValueId};

use crate::pipeline::Rewrite;
use crate::util::op_of;

/// `matmul(a, transpose(b))` with the last two axes swapped becomes `matmul(a, b)` with `trans_b` flipped,
/// and the same for `a`. The transpose stays for other readers, if any.
#[derive(Debug)]
pub struct TransposeIntoMatMul;

impl Rewrite for TransposeIntoMatMul {
    fn name(&self) -> &'static str {
        "transpose_into_matmul"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (&Op::MatMul(m), &[a, b]) = (&node.op, node.inputs()) else { return None };
        let (from_a, from_b) = (swapped(graph, a), swapped(graph, b));
        if from_a.is_none() && from_b.is_none() {
            return None;
        }
        let op = MatMul { trans_a: m.trans_a ^ from_a.is_some(), trans_b: m.trans_b ^ from_b.is_some() };
        let operands: [PatchValue; 2] = [from_a.unwrap_or(a).into(), from_b.unwrap_or(b).into()];
        let mut patch = Patch::new(graph);
        let new = patch.add(Op::MatMul(op), &operands, &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// What a value swaps the last two axes of.
fn swapped(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let Op::Transpose(t) = op_of(graph, v) else { return None };
    let mut perm: Vec<usize> = (0..t.perm.len()).collect();
    let n = perm.len().checked_sub(2)?;
    perm.swap(n, n + 1);
    if t.perm == perm { graph.producer(v).inputs().first().copied() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::Transpose;

    fn product(perm: &[usize], trans_b: bool) -> Graph {
        let mut g = Graph::new("t");
        let (a, b) = (input(&mut g, "a", &[3, 3, 3]), input(&mut g, "b", &[3, 3, 3]));
        let t = g.add(Op::Transpose(Transpose { perm: perm.to_vec() }), &[b], "t").unwrap();
        let m = g.add(Op::MatMul(MatMul { trans_a: false, trans_b }), &[a, t], "m").unwrap();
        g.mark_output("y", m);
        g
    }

    #[test]
    fn flips_the_flag() {
        for trans_b in [false, true] {
            let after = check("transpose_into_matmul", &product(&[0, 2, 1], trans_b));
            assert_eq!(ops(&after), ["matmul"]);
            let Op::MatMul(m) = op_of(&after, after.outputs()[0].1) else { panic!() };
            assert_eq!((m.trans_a, m.trans_b), (false, !trans_b));
        }
    }

    #[test]
    fn other_permutations_stay() {
        unchanged("transpose_into_matmul", &product(&[2, 1, 0], false));
        unchanged("transpose_into_matmul", &product(&[1, 0, 2], false));
    }
}
