//! Two reshapes in a row are one.

use tactician_ir::{Change, Graph, NodeId, Op, Patch};

use crate::pipeline::Rewrite;
use crate::util::op_of;

/// `reshape(reshape(x))` becomes the outer reshape of `x`. The inner one may have other readers: it stays for
/// them.
#[derive(Debug)]
pub struct MergeReshapes;

impl Rewrite for MergeReshapes {
    fn name(&self) -> &'static str {
        "merge_reshapes"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::Reshape(_), &[inner]) = (&node.op, node.inputs()) else { return None };
        let Op::Reshape(_) = op_of(graph, inner) else { return None };
        let x = *graph.producer(inner).inputs().first()?;
        let mut patch = Patch::new(graph);
        let new = patch.add(node.op.clone(), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::{Dim, Reshape, Shape, TensorType};

    #[test]
    fn keeps_the_outer_shape() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3, 4]);
        let a = g.add(Op::Reshape(Reshape { shape: Shape::known(&[6, 4]) }), &[x], "a").unwrap();
        let b = g.add(Op::Reshape(Reshape { shape: Shape::known(&[4, 6]) }), &[a], "b").unwrap();
        g.mark_output("y", b);
        let after = check("merge_reshapes", &g);
        assert_eq!(ops(&after), ["reshape"]);
        assert_eq!(after.ty(after.outputs()[0].1).sizes().unwrap(), [4, 6]);
    }

    #[test]
    fn works_on_open_sizes() {
        let mut g = Graph::new("t");
        let n = Dim::symbol("N");
        let x =
            g.add_input("x", TensorType::new(tactician_ir::DType::F32, [n.clone(), Dim::known(6)])).unwrap();
        let shape: Shape = [n.clone(), Dim::known(2), Dim::known(3)].into();
        let a = g.add(Op::Reshape(Reshape { shape }), &[x], "a").unwrap();
        let shape: Shape = [n * Dim::known(6)].into();
        let b = g.add(Op::Reshape(Reshape { shape }), &[a], "b").unwrap();
        g.mark_output("y", b);
        let after = run("merge_reshapes", &g);
        assert_eq!(ops(&after), ["reshape"]);
        assert_eq!(after.ty(after.outputs()[0].1).to_string(), "f32[6*N]");
    }

    #[test]
    fn a_transpose_between_stops_it() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3]);
        let a = g.add(Op::Reshape(Reshape { shape: Shape::known(&[3, 2]) }), &[x], "a").unwrap();
        let t = g.add(Op::Transpose(tactician_ir::Transpose { perm: vec![1, 0] }), &[a], "t").unwrap();
        let b = g.add(Op::Reshape(Reshape { shape: Shape::known(&[6]) }), &[t], "b").unwrap();
        g.mark_output("y", b);
        unchanged("merge_reshapes", &g);
    }
}
