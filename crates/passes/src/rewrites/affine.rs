//! Pointwise nodes that scale and shift one operand by constants.

use tactician_ir::{Binary, Expr, ExprNode, Graph, NodeId, Op, Unary, ValueId};

use crate::util::{along, pointwise};

/// `x·scale + shift` with one value a position of one axis.
pub(super) struct Affine {
    /// The operand that is scaled.
    pub(super) x: ValueId,
    /// Factors.
    pub(super) scale: Vec<f64>,
    /// Summands.
    pub(super) shift: Vec<f64>,
}

/// A value inside the expression: `x·scale + shift`; `scale` is absent where `x` does not come in.
#[derive(Clone)]
struct Linear {
    scale: Option<Vec<f64>>,
    shift: Vec<f64>,
}

/// The node as a scaled and shifted `x`, where `x` is the operand that is no constant, of the node's own
/// type, and read by nothing but this node. `axis` names the one axis of a result of some rank over which
/// constants may vary.
pub(super) fn affine_of(graph: &Graph, id: NodeId, axis: impl Fn(usize) -> usize) -> Option<Affine> {
    let expr = pointwise(graph, id)?;
    let node = graph.node(id);
    let mut variable = node.inputs().iter().filter(|&&v| graph.constant(v).is_none());
    let x = *variable.next()?;
    let times = 1 + variable.clone().count();
    if variable.any(|&v| v != x) || graph.use_count(x) != times || graph.ty(x) != graph.ty(id.value()) {
        return None;
    }
    let ty = graph.ty(x);
    if !ty.dtype.is_float() {
        return None;
    }
    let axis = axis(ty.rank());
    let count = crate::util::size(ty, axis)?;
    // Of a tensor without elements any axis may be as long as it likes.
    if ty.shape.dims().iter().any(|d| d.is(0)) {
        return None;
    }
    let mut inputs = Vec::with_capacity(node.inputs().len());
    for &v in node.inputs() {
        inputs.push(match graph.constant(v) {
            Some(t) => Linear { scale: None, shift: along(t, ty.rank(), axis, count)? },
            None => Linear { scale: Some(vec![1.0; count]), shift: vec![0.0; count] },
        });
    }
    let result = evaluate(expr, &inputs, count)?;
    Some(Affine { x, scale: result.scale?, shift: result.shift })
}

fn evaluate(expr: &Expr, inputs: &[Linear], count: usize) -> Option<Linear> {
    // Affine expressions are short; a long one is something else.
    if expr.nodes().len() > 32 {
        return None;
    }
    let mut values: Vec<Linear> = Vec::with_capacity(expr.nodes().len());
    for node in expr.nodes() {
        let at = |i: &u16| values.get(usize::from(*i));
        let value = match node {
            ExprNode::Input(i) => inputs.get(usize::from(*i))?.clone(),
            ExprNode::Const(c) if c.dtype.is_float() => {
                Linear { scale: None, shift: vec![c.as_f64(); count] }
            }
            ExprNode::Unary(Unary::Neg, a) => at(a)?.map(|v| -v),
            ExprNode::Binary(Binary::Add, a, b) => sum(at(a)?, at(b)?),
            ExprNode::Binary(Binary::Sub, a, b) => sum(at(a)?, &at(b)?.map(|v| -v)),
            ExprNode::Binary(Binary::Mul, a, b) => match (at(a)?, at(b)?) {
                (x, Linear { scale: None, shift }) | (Linear { scale: None, shift }, x) => {
                    x.each(shift, |v, by| v * by)
                }
                _ => return None,
            },
            ExprNode::Binary(Binary::Div, a, b) => match (at(a)?, at(b)?) {
                (x, Linear { scale: None, shift }) if shift.iter().all(|&v| v != 0.0) => {
                    x.each(shift, |v, by| v / by)
                }
                _ => return None,
            },
            _ => return None,
        };
        values.push(value);
    }
    values.pop()
}

impl Linear {
    fn map(&self, f: impl Fn(f64) -> f64) -> Linear {
        let all = |v: &Vec<f64>| v.iter().map(|&v| f(v)).collect();
        Linear { scale: self.scale.as_ref().map(all), shift: all(&self.shift) }
    }

    fn each(&self, by: &[f64], f: impl Fn(f64, f64) -> f64) -> Linear {
        let all = |v: &Vec<f64>| v.iter().zip(by).map(|(&v, &by)| f(v, by)).collect();
        Linear { scale: self.scale.as_ref().map(all), shift: all(&self.shift) }
    }
}

fn sum(a: &Linear, b: &Linear) -> Linear {
    let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f64>>();
    let scale = match (&a.scale, &b.scale) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    Linear { scale, shift: add(&a.shift, &b.shift) }
}

/// The values of a convolution's bias: zeros where there is none. `None` when it is no constant.
pub(super) fn bias_values(graph: &Graph, conv: NodeId, count: usize) -> Option<Vec<f64>> {
    match graph.node(conv).inputs().get(2) {
        None => Some(vec![0.0; count]),
        Some(&b) => along(graph.constant(b)?, 1, 0, count).filter(|v| v.len() == count),
    }
}

/// Whether a value comes from a convolution of either kind.
pub(super) fn is_conv(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.producer(v).op, Op::Conv(_) | Op::ConvTranspose(_))
}

#[cfg(test)]
#[path = "affine_tests.rs"]
mod tests;
