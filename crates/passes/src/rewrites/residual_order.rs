//! Per-channel constants are added before residuals.

use tactician_ir::{Binary, Change, Graph, NodeId, Op, Patch, ValueId};

use crate::pipeline::Rewrite;
use crate::util::{along, is_binary, op_of, pointwise, read_once, size};

/// `(conv + residual) + constant`, the constant one value a channel (a column for matrix products), becomes
/// `(conv + constant) + residual`, so that the constant can go into the bias. The anchor and the first sum
/// must have no other reader.
#[derive(Debug)]
pub struct ResidualOrder;

impl Rewrite for ResidualOrder {
    fn name(&self) -> &'static str {
        "residual_order"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let (a, b) = summands(graph, id)?;
        let (first, constant) = if graph.constant(b).is_some() { (a, b) } else { (b, a) };
        let values = graph.constant(constant)?;
        let (x, y) = summands(graph, first.node())?;
        let (anchor, residual) = if is_anchor(graph, x) { (x, y) } else { (y, x) };
        if !is_anchor(graph, anchor)
            || graph.constant(residual).is_some()
            || !read_once(graph, first)
            || !read_once(graph, anchor)
            || graph.ty(anchor) != graph.ty(id.value())
        {
            return None;
        }
        let ty = graph.ty(anchor);
        let axis = if matches!(op_of(graph, anchor), Op::MatMul(_)) { ty.rank().checked_sub(1)? } else { 1 };
        along(values, ty.rank(), axis, size(ty, axis)?)?;

        let add = || Op::Pointwise(tactician_ir::Expr::binary(Binary::Add));
        let mut patch = Patch::new(graph);
        let biased = patch.add(add(), &[anchor.into(), constant.into()], &graph.node(id).name).ok()?;
        let new = patch.add(add(), &[biased, residual.into()], &graph.producer(first).name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

fn summands(graph: &Graph, id: NodeId) -> Option<(ValueId, ValueId)> {
    if !is_binary(pointwise(graph, id)?, Binary::Add) {
        return None;
    }
    match graph.node(id).inputs() {
        &[a, b] => Some((a, b)),
        _ => None,
    }
}

fn is_anchor(graph: &Graph, v: ValueId) -> bool {
    matches!(op_of(graph, v), Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn sum(constant_shape: &[usize], constant_first: bool, spare_reader: bool) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[1, 2, 4, 4]);
        let r = input(&mut g, "r", &[1, 3, 4, 4]);
        let c = conv(&mut g, x, 3, 3, false);
        let s = binary(&mut g, Binary::Add, r, c);
        let k = constant(&mut g, constant_shape, 9);
        let y = if constant_first {
            binary(&mut g, Binary::Add, k, s)
        } else {
            binary(&mut g, Binary::Add, s, k)
        };
        g.mark_output("y", y);
        if spare_reader {
            g.mark_output("s", s);
        }
        g
    }

    #[test]
    fn the_constant_moves_to_the_convolution() {
        for constant_first in [false, true] {
            let after = check("residual_order", &sum(&[3, 1, 1], constant_first, false));
            assert_eq!(ops(&after), ["const", "const", "conv", "pointwise", "pointwise"]);
            let y = after.producer(after.outputs()[0].1);
            assert_eq!(op_of(&after, y.inputs()[1]), &Op::Input);
            // Done once, nothing more applies; the bias then goes into the convolution.
            unchanged("residual_order", &after);
            assert_eq!(ops(&check("bias_into_conv", &after)), ["const", "const", "conv", "pointwise"]);
        }
    }

    #[test]
    fn a_constant_of_another_shape_stays() {
        unchanged("residual_order", &sum(&[1, 3, 4, 4], false, false));
        unchanged("residual_order", &sum(&[4], false, false));
    }

    #[test]
    fn a_sum_read_elsewhere_stays() {
        unchanged("residual_order", &sum(&[3, 1, 1], false, true));
    }
}
