//! A transpose that moves no element is a reshape.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, Reshape};

use crate::pipeline::Rewrite;

/// A transpose that moves only axes of size 1 becomes a reshape, which costs nothing.
#[derive(Debug)]
pub struct TransposeToReshape;

impl Rewrite for TransposeToReshape {
    fn name(&self) -> &'static str {
        "transpose_to_reshape"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::Transpose(t), &[x]) = (&node.op, node.inputs()) else { return None };
        let dims = graph.ty(x).shape.dims();
        let long: Vec<usize> =
            t.perm.iter().copied().filter(|&p| dims.get(p).is_some_and(|d| !d.is(1))).collect();
        if !long.is_sorted() {
            return None;
        }
        let shape = graph.ty(id.value()).shape.clone();
        let mut patch = Patch::new(graph);
        let new = patch.add(Op::Reshape(Reshape { shape }), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::Transpose;

    fn transposed(sizes: &[usize], perm: &[usize]) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", sizes);
        let t = g.add(Op::Transpose(Transpose { perm: perm.to_vec() }), &[x], "t").unwrap();
        g.mark_output("y", t);
        g
    }

    #[test]
    fn moves_axes_of_one() {
        let after = check("transpose_to_reshape", &transposed(&[1, 5, 1, 3], &[1, 2, 3, 0]));
        assert_eq!(ops(&after), ["reshape"]);
        assert_eq!(after.ty(after.outputs()[0].1).sizes().unwrap(), [5, 1, 3, 1]);
    }

    #[test]
    fn a_real_transpose_stays() {
        unchanged("transpose_to_reshape", &transposed(&[1, 5, 1, 3], &[0, 3, 2, 1]));
    }
}
