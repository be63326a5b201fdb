//! Conversions between float types leave reshapes behind, for the operation that computes or reads the value.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, ValueId};

use crate::pipeline::Rewrite;
use crate::util::{op_of, pointwise, read_once};

/// `widen(reshape(x))` becomes `reshape(widen(x))`, and `reshape(narrow(x))` becomes `narrow(reshape(x))`, where nothing
/// else reads what lies between. What computes a value may so store it wide, and what reads it may narrow it. Types of
/// equal size stay where they are.
#[derive(Debug)]
pub struct ConversionPastReshape;

impl Rewrite for ConversionPastReshape {
    fn name(&self) -> &'static str {
        "conversion_past_reshape"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let inner = *node.inputs().first()?;
        let pair = match &node.op {
            Op::Reshape(_) => growth(graph, inner.node())? < 0,
            Op::Pointwise(_) => matches!(op_of(graph, inner), Op::Reshape(_)) && growth(graph, id)? > 0,
            _ => false,
        };
        if !pair || !read_once(graph, inner) || graph.constant(inner).is_some() {
            return None;
        }
        let (first, x) = (graph.producer(inner), *graph.producer(inner).inputs().first()?);
        let mut patch = Patch::new(graph);
        let new = patch.add(node.op.clone(), &[x.into()], &node.name).ok()?;
        let new = patch.add(first.op.clone(), &[new], &first.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// By how many bytes an element grows in a node that does nothing but convert floats; `None` for other nodes.
fn growth(graph: &Graph, id: NodeId) -> Option<isize> {
    pointwise(graph, id)?.as_cast()?;
    let [from, to] = [*graph.node(id).inputs().first()?, id.value()].map(|v: ValueId| graph.ty(v).dtype);
    (from.is_float() && to.is_float()).then(|| to.size() as isize - from.size() as isize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::{DType, Expr, ExprNode, Reshape, Shape};

    fn cast(g: &mut Graph, to: DType, x: ValueId) -> ValueId {
        let e = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(to, 0)]).unwrap();
        g.add(Op::Pointwise(e), &[x], "cast").unwrap()
    }

    fn reshape(g: &mut Graph, x: ValueId) -> ValueId {
        g.add(Op::Reshape(Reshape { shape: Shape::known(&[3, 4]) }), &[x], "reshape").unwrap()
    }

    /// `x` narrowed, then reshaped; a function in between; reshaped, then widened.
    #[test]
    fn conversions_move_to_the_work() {
        for short in [DType::F16, DType::BF16] {
            let mut g = Graph::new("t");
            let x = input(&mut g, "x", &[2, 6]);
            let v = cast(&mut g, short, x);
            let v = reshape(&mut g, v);
            let v = unary(&mut g, tactician_ir::Unary::Tanh, v);
            let v = g.add(Op::Reshape(Reshape { shape: Shape::known(&[12]) }), &[v], "flat").unwrap();
            let v = cast(&mut g, DType::F32, v);
            g.mark_output("y", v);
            let after = check("conversion_past_reshape", &g);
            assert_eq!(ops(&after), ["reshape", "pointwise", "pointwise", "pointwise", "reshape"]);
        }
    }

    #[test]
    fn what_is_read_elsewhere_stays() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 6]);
        let low = cast(&mut g, DType::F16, x);
        let r = reshape(&mut g, low);
        let y = unary(&mut g, tactician_ir::Unary::Tanh, r);
        g.mark_output("low", low);
        g.mark_output("y", y);
        unchanged("conversion_past_reshape", &g);
    }

    #[test]
    fn the_other_way_round_stays() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 6]);
        let v = reshape(&mut g, x);
        let v = cast(&mut g, DType::F16, v);
        let v = unary(&mut g, tactician_ir::Unary::Tanh, v);
        let v = cast(&mut g, DType::F32, v);
        let v = g.add(Op::Reshape(Reshape { shape: Shape::known(&[12]) }), &[v], "flat").unwrap();
        g.mark_output("y", v);
        unchanged("conversion_past_reshape", &g);
    }
}
