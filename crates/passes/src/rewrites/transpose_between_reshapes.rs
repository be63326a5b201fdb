//! A transpose between reshapes that only take axes together and apart is one transpose.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, Transpose};

use crate::pipeline::Rewrite;
use crate::util::{op_of, read_once};

/// `reshape(transpose(reshape(x)))` becomes one transpose of `x`, where the first reshape takes neighbouring axes together and
/// the last one gives each its size back: `[2,3,4,5]`, `[6,4,5]`, `[6,5,4]`, `[2,3,5,4]`. Exporters transpose the last two
/// axes in this way.
#[derive(Debug)]
pub struct TransposeBetweenReshapes;

impl Rewrite for TransposeBetweenReshapes {
    fn name(&self) -> &'static str {
        "transpose_between_reshapes"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::Reshape(_), &[turned]) = (&node.op, node.inputs()) else { return None };
        let Op::Transpose(turn) = op_of(graph, turned) else { return None };
        let &[merged] = graph.producer(turned).inputs() else { return None };
        let Op::Reshape(_) = op_of(graph, merged) else { return None };
        let &[x] = graph.producer(merged).inputs() else { return None };
        if !read_once(graph, turned) {
            return None;
        }
        let sizes = graph.ty(x).sizes()?;
        let groups = groups(&sizes, &graph.ty(merged).sizes()?)?;
        let perm: Vec<usize> = turn.perm.iter().filter_map(|&p| groups.get(p)).flatten().copied().collect();
        let turned: Vec<usize> = perm.iter().map(|&p| sizes[p]).collect();
        if turned != node.outputs()[0].sizes()? {
            return None;
        }
        let mut patch = Patch::new(graph);
        let new = patch.add(Op::Transpose(Transpose { perm }), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// For each axis of `merged` the neighbouring axes of `sizes` whose product it is; all of them in order.
fn groups(sizes: &[usize], merged: &[usize]) -> Option<Vec<Vec<usize>>> {
    let mut next = 0;
    let mut out: Vec<Vec<usize>> = Vec::with_capacity(merged.len());
    for &size in merged {
        let (mut group, mut product) = (Vec::new(), 1usize);
        while product < size {
            product = product.checked_mul(*sizes.get(next)?)?;
            group.push(next);
            next += 1;
        }
        if product != size {
            return None;
        }
        out.push(group);
    }
    // What is left is of size 1.
    let rest = next..sizes.len();
    if sizes[next..].iter().any(|&s| s != 1) {
        return None;
    }
    out.last_mut()?.extend(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use tactician_ir::{Reshape, Shape};

    use super::*;
    use crate::testing::*;

    fn steps(sizes: &[usize], merged: &[usize], perm: &[usize], last: &[usize]) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", sizes);
        let reshape = |sizes: &[usize]| Op::Reshape(Reshape { shape: Shape::known(sizes) });
        let m = g.add(reshape(merged), &[x], "m").unwrap();
        let t = g.add(Op::Transpose(Transpose { perm: perm.to_vec() }), &[m], "t").unwrap();
        let y = g.add(reshape(last), &[t], "y").unwrap();
        g.mark_output("y", y);
        g
    }

    fn perm(g: &Graph) -> Vec<usize> {
        assert_eq!(ops(g), ["transpose"]);
        let Op::Transpose(t) = op_of(g, g.outputs()[0].1) else { panic!() };
        t.perm.clone()
    }

    #[test]
    fn merged_axes_move_together() {
        let pass = |sizes: &[usize], merged: &[usize], turn: &[usize], last: &[usize]| {
            perm(&check("transpose_between_reshapes", &steps(sizes, merged, turn, last)))
        };
        assert_eq!(pass(&[2, 3, 4, 5], &[6, 4, 5], &[0, 2, 1], &[2, 3, 5, 4]), [0, 1, 3, 2]);
        assert_eq!(pass(&[2, 3, 4, 5], &[6, 20], &[1, 0], &[4, 5, 2, 3]), [2, 3, 0, 1]);
        assert_eq!(pass(&[1, 3, 4, 5], &[3, 4, 5], &[0, 2, 1], &[1, 3, 5, 4]), [0, 1, 3, 2]);
        assert_eq!(pass(&[2, 3, 4, 1], &[6, 4], &[1, 0], &[4, 1, 2, 3]), [2, 3, 0, 1]);
    }

    #[test]
    fn others_stay() {
        let stays = |sizes: &[usize], merged: &[usize], turn: &[usize], last: &[usize]| {
            unchanged("transpose_between_reshapes", &steps(sizes, merged, turn, last));
        };
        // It cuts through an axis, splits one, or gives other sizes back.
        stays(&[4, 6], &[3, 8], &[1, 0], &[6, 4]);
        stays(&[6, 4], &[2, 3, 4], &[1, 0, 2], &[6, 4]);
        stays(&[2, 3, 4, 5], &[6, 4, 5], &[0, 2, 1], &[3, 2, 5, 4]);
        let mut g = steps(&[2, 3, 4, 5], &[6, 4, 5], &[0, 2, 1], &[2, 3, 5, 4]);
        let turned = g.producer(g.outputs()[0].1).inputs()[0];
        g.mark_output("turned", turned);
        unchanged("transpose_between_reshapes", &g);
    }
}
