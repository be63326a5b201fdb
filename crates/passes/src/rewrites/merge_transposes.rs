//! Two transposes in a row are one.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, Transpose};

use crate::pipeline::Rewrite;
use crate::util::op_of;

/// `transpose(transpose(x))` becomes one transpose of `x`. The inner one may have other readers: it stays for
/// them.
#[derive(Debug)]
pub struct MergeTransposes;

impl Rewrite for MergeTransposes {
    fn name(&self) -> &'static str {
        "merge_transposes"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::Transpose(outer), &[inner]) = (&node.op, node.inputs()) else { return None };
        let Op::Transpose(before) = op_of(graph, inner) else { return None };
        let perm: Option<Vec<usize>> = outer.perm.iter().map(|&p| before.perm.get(p).copied()).collect();
        let x = *graph.producer(inner).inputs().first()?;
        let mut patch = Patch::new(graph);
        let new = patch.add(Op::Transpose(Transpose { perm: perm? }), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn permuted(perms: &[&[usize]]) -> Graph {
        let mut g = Graph::new("t");
        let mut v = input(&mut g, "x", &[2, 3, 4]);
        for p in perms {
            v = g.add(Op::Transpose(Transpose { perm: p.to_vec() }), &[v], "t").unwrap();
        }
        g.mark_output("y", v);
        g
    }

    #[test]
    fn composes_the_permutations() {
        let before = permuted(&[&[1, 2, 0], &[0, 2, 1]]);
        let after = check("merge_transposes", &before);
        assert_eq!(ops(&after), ["transpose"]);
        let Op::Transpose(t) = op_of(&after, after.outputs()[0].1) else { panic!() };
        // Outer axis i is inner axis [0,2,1][i], which is x's axis [1,2,0][...].
        assert_eq!(t.perm, [1, 0, 2]);
    }

    #[test]
    fn an_inner_transpose_with_another_reader_stays_for_it() {
        let mut g = permuted(&[&[1, 2, 0], &[2, 0, 1]]);
        let inner = g.producer(g.outputs()[0].1).inputs()[0];
        g.mark_output("z", inner);
        let after = check("merge_transposes", &g);
        assert_eq!(ops(&after), ["transpose", "transpose"]);
        assert_eq!(op_of(&after, after.producer(after.outputs()[0].1).inputs()[0]), &Op::Input);
    }

    #[test]
    fn one_transpose_is_left_alone() {
        unchanged("merge_transposes", &permuted(&[&[1, 2, 0]]));
    }
}
