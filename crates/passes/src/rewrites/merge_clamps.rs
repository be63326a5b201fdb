//! Clamps of clamps, and clamps of what is inside their bounds already.

use tactician_ir::{Binary, Change, DType, Expr, ExprId, ExprNode, Graph, NodeId, Op, Patch, Scalar, Unary};

use crate::pipeline::Rewrite;
use crate::util::{may_become, pointwise, read_once};

/// A ReLU or clip of floats whose operand lies inside its bounds for certain (a ReLU of a ReLU or sigmoid)
/// goes; one whose operand is a ReLU or clip with no other reader becomes one clamp with it.
#[derive(Debug)]
pub struct MergeClamps;

/// Bounds that a value keeps to. NaN stays NaN and counts as inside.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    low: f64,
    high: f64,
}

const OPEN: Bounds = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };

impl Rewrite for MergeClamps {
    fn name(&self) -> &'static str {
        "merge_clamps"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (expr, &[inner]) = (pointwise(graph, id)?, node.inputs()) else { return None };
        let dtype = graph.ty(inner).dtype;
        let outer = clamp(expr).filter(|&b| b != OPEN && dtype.is_float())?;
        let before = pointwise(graph, inner.node())?;
        let mut patch = Patch::new(graph);

        let range = range(before);
        if range.low >= outer.low && range.high <= outer.high && may_become(graph, id.value(), inner) {
            patch.replace(id.value(), inner).ok()?;
            return Some(patch.finish());
        }
        let first = clamp(before)?;
        let &[x] = graph.producer(inner).inputs() else { return None };
        if first == OPEN || !read_once(graph, inner) {
            return None;
        }
        let both = Bounds { low: outer.apply(first.low), high: outer.apply(first.high) };
        let new = patch.add(Op::Pointwise(both.expr(dtype)), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

impl Bounds {
    fn apply(self, v: f64) -> f64 {
        v.max(self.low).min(self.high)
    }

    fn expr(self, dtype: DType) -> Expr {
        let mut e = Expr::identity();
        let mut at = 0;
        if self.low == 0.0 && self.high == f64::INFINITY {
            return Expr::unary(Unary::Relu);
        }
        if self.low != f64::NEG_INFINITY {
            let c = e.push(ExprNode::Const(Scalar::float(dtype, self.low)));
            at = e.push(ExprNode::Binary(Binary::Max, at, c));
        }
        if self.high != f64::INFINITY {
            let c = e.push(ExprNode::Const(Scalar::float(dtype, self.high)));
            at = e.push(ExprNode::Binary(Binary::Min, at, c));
        }
        e.finish(at)
    }
}

/// The bounds of an expression that is nothing but a clamp of its only input. The bounds are in order: `low
/// <= high`.
fn clamp(expr: &Expr) -> Option<Bounds> {
    if expr.nodes().len() > 16 || expr.arity() != 1 {
        return None;
    }
    let mut id = expr.root();
    let mut steps = Vec::new();
    loop {
        id = match *expr.nodes().get(usize::from(id))? {
            ExprNode::Input(0) => break,
            ExprNode::Unary(Unary::Relu, a) => {
                steps.push((Binary::Max, 0.0));
                a
            }
            ExprNode::Binary(op @ (Binary::Max | Binary::Min), a, b) => {
                let (a, c) = constant(expr, b).map(|c| (a, c)).or_else(|| Some((b, constant(expr, a)?)))?;
                steps.push((op, c));
                a
            }
            _ => return None,
        };
    }
    let apply = |v: f64| {
        steps.iter().rev().fold(v, |v, &(op, c)| if op == Binary::Max { v.max(c) } else { v.min(c) })
    };
    Some(Bounds { low: apply(f64::NEG_INFINITY), high: apply(f64::INFINITY) })
}

fn constant(expr: &Expr, id: ExprId) -> Option<f64> {
    match expr.nodes().get(usize::from(id))? {
        ExprNode::Const(c) if c.dtype.is_float() => Some(c.as_f64()).filter(|v| !v.is_nan()),
        _ => None,
    }
}

/// Bounds of an expression's result, whatever its inputs.
fn range(expr: &Expr) -> Bounds {
    let mut all: Vec<Bounds> = Vec::with_capacity(expr.nodes().len());
    for node in expr.nodes() {
        let at = |i: ExprId| all.get(usize::from(i)).copied().unwrap_or(OPEN);
        let positive = Bounds { low: 0.0, ..OPEN };
        all.push(match *node {
            ExprNode::Const(c) if c.dtype.is_float() && !c.as_f64().is_nan() => {
                Bounds { low: c.as_f64(), high: c.as_f64() }
            }
            ExprNode::Unary(Unary::Relu, a) => Bounds { low: at(a).low.max(0.0), high: at(a).high.max(0.0) },
            ExprNode::Unary(Unary::Sigmoid, _) => Bounds { low: 0.0, high: 1.0 },
            ExprNode::Unary(Unary::Tanh | Unary::Erf, _) => Bounds { low: -1.0, high: 1.0 },
            ExprNode::Unary(Unary::Exp | Unary::Abs | Unary::Sqrt | Unary::Softplus, _) => positive,
            ExprNode::Binary(Binary::Max, a, b) => {
                Bounds { low: at(a).low.max(at(b).low), high: at(a).high.max(at(b).high) }
            }
            ExprNode::Binary(Binary::Min, a, b) => {
                Bounds { low: at(a).low.min(at(b).low), high: at(a).high.min(at(b).high) }
            }
            _ => OPEN,
        });
    }
    all.last().copied().unwrap_or(OPEN)
}

#[cfg(test)]
#[path = "merge_clamps_tests.rs"]
mod tests;
