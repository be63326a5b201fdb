//! Attention out of its steps.

use tactician_ir::{
    Attention as AttentionOp, Binary, Change, Expr, ExprNode, Graph, NodeId, Op, Patch, PatchValue, Reshape,
    Scalar, Shape, Transpose, Unary, ValueId,
};

use crate::pipeline::Rewrite;
use crate::util::{is_binary, op_of, pointwise, read_once};

/// `matmul(softmax(matmul(q, kᵀ)·scale + mask), v)` becomes `attention(q, k, v, mask)`. The scale may be a product or a
/// quotient, of the scores or of either operand, in several steps; the mask comes behind it, as a sum or as a choice between the
/// scores and (nearly) minus infinity, or there is none. Zeros in the place of weights that are NaN, because a query sees no
/// key, are what attention gives anyway. Matrices are of rank 3 or 4 without broadcasting. It stays as it is where a step
/// between has another reader.
#[derive(Debug)]
pub struct Attention;

impl Rewrite for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (&Op::MatMul(second), &[weights, v]) = (&node.op, node.inputs()) else { return None };
        let rank = node.outputs()[0].rank();
        let inner = |v: ValueId| read_once(graph, v) && !graph.is_output(v);
        let guarded = without_nan(graph, weights);
        let weights = guarded.unwrap_or(weights);
        let Op::Softmax(softmax) = op_of(graph, weights) else { return None };
        if second.trans_a
            || !matches!(rank, 3 | 4)
            || softmax.log
            || softmax.axis != rank - 1
            || (guarded.is_none() && !inner(weights))
        {
            return None;
        }
        let mut at = *graph.producer(weights).inputs().first()?;
        let (mut scale, mut mask) = (1.0, None);
        let (product, operands) = loop {
            if !inner(at) {
                return None;
            }
            let node = graph.producer(at);
            match &node.op {
                Op::MatMul(m) => break (*m, node.inputs()),
                Op::Pointwise(e) => {
                    if let Some(factor) = factor(e) {
                        scale *= factor;
                        at = *node.inputs().first()?;
                    } else if mask.is_none() && scale == 1.0 && is_binary(e, Binary::Add) {
                        let &[a, b] = node.inputs() else { return None };
                        let scores = |v: ValueId| {
                            graph.ty(v) == graph.ty(at) && inner(v) && leads_to_product(graph, v)
                        };
                        let (next, other) = if scores(a) { (a, b) } else { (b, a) };
                        if !scores(next) {
                            return None;
                        }
                        mask = Some(Mask::Added(other));
                        at = next;
                    } else if mask.is_none() && scale == 1.0 {
                        let (chosen, next) = choice(graph, at)?;
                        mask = Some(chosen);
                        at = next;
                    } else {
                        return None;
                    }
                }
                _ => return None,
            }
        };
        let &[mut q, mut k] = operands else { return None };
        if product.trans_a || !graph.ty(q).dtype.is_float() {
            return None;
        }
        for operand in [&mut q, &mut k] {
            while let Some((factor, from)) = scaled(graph, *operand) {
                scale *= factor;
                *operand = from;
            }
        }
        let lead = |v: ValueId| graph.ty(v).sizes().map(|s| s[..s.len().saturating_sub(2)].to_vec());
        if [q, k, v].iter().any(|&x| graph.ty(x).rank() != rank || lead(x).is_none() || lead(x) != lead(q)) {
            return None;
        }
        let scale = scale as f32;
        if !scale.is_finite() {
            return None;
        }
        let mut patch = Patch::new(graph);
        let name = &node.name;
        let rows = |patch: &mut Patch<'_>, v: ValueId, lies: bool| -> Option<PatchValue> {
            let mut value = PatchValue::from(v);
            if !lies {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(rank - 2, rank - 1);
                value = patch.add(Op::Transpose(Transpose { perm }), &[value], name).ok()?;
            }
            if rank == 3 {
                let sizes = patch.ty(value).sizes()?;
                let shape = Shape::known(&[&[1], &sizes[..]].concat());
                value = patch.add(Op::Reshape(Reshape { shape }), &[value], name).ok()?;
            }
            Some(value)
        };
        let mut inputs = vec![
            rows(&mut patch, q, true)?,
            rows(&mut patch, k, product.trans_b)?,
            rows(&mut patch, v, !second.trans_b)?,
        ];
        match mask {
            None => {}
            Some(Mask::Added(mask)) => inputs.push(mask.into()),
            Some(Mask::Chosen { condition, seen, hidden }) => {
                let mut e = Expr::empty();
                let c = e.push(ExprNode::Input(0));
                let zero = e.push(ExprNode::Const(Scalar::float(hidden.dtype, 0.0)));
                let hidden = e.push(ExprNode::Const(hidden));
                let (yes, no) = if seen { (zero, hidden) } else { (hidden, zero) };
                e.push(ExprNode::Select(c, yes, no));
                inputs.push(patch.add(Op::Pointwise(e), &[condition.into()], name).ok()?);
            }
        }
        let op = AttentionOp::new(scale);
        let mut new = patch.add(Op::Attention(op), &inputs, name).ok()?;
        if rank == 3 {
            let shape = node.outputs()[0].shape.clone();
            new = patch.add(Op::Reshape(Reshape { shape }), &[new], name).ok()?;
        }
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// What decides which keys a query sees.
#[derive(Clone, Copy)]
enum Mask {
    /// Scores are added to.
    Added(ValueId),
    /// Keys are seen where the condition is `seen`, elsewhere their scores are `hidden`.
    Chosen { condition: ValueId, seen: bool, hidden: Scalar },
}

/// A score of at most this, or minus infinity, hides a key: a sum of it and any score is the same number in `f32`.
const HIDDEN: f64 = -1e30;

/// The mask and the scores of a choice between scores and something that hides a key.
fn choice(graph: &Graph, v: ValueId) -> Option<(Mask, ValueId)> {
    let e = pointwise(graph, v.node())?;
    let ExprNode::Select(c, a, b) = *e.nodes().get(usize::from(e.root()))? else { return None };
    let operand = |n: u16| match e.nodes()[usize::from(n)] {
        ExprNode::Input(i) => graph.producer(v).inputs().get(usize::from(i)).copied(),
        _ => None,
    };
    let hidden = |n: u16| match e.nodes()[usize::from(n)] {
        ExprNode::Const(c) if c.as_f64() <= HIDDEN => Some(c),
        _ => None,
    };
    let condition = operand(c)?;
    let (scores, seen, hidden) = match (operand(a), hidden(b), hidden(a), operand(b)) {
        (Some(scores), Some(hidden), ..) => (scores, true, hidden),
        (.., Some(hidden), Some(scores)) => (scores, false, hidden),
        _ => return None,
    };
    (graph.ty(scores) == graph.ty(v)).then_some((Mask::Chosen { condition, seen, hidden }, scores))
}

/// The weights that `v` is, with zeros in the place of NaNs, if nothing else reads them.
fn without_nan(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let e = pointwise(graph, v.node())?;
    let ExprNode::Select(c, a, b) = *e.nodes().get(usize::from(e.root()))? else { return None };
    let at = |n: u16| e.nodes()[usize::from(n)];
    let inputs = graph.producer(v).inputs();
    let operand = |n: u16| match at(n) {
        ExprNode::Input(i) => inputs.get(usize::from(i)).copied(),
        _ => None,
    };
    let weights = operand(b)?;
    let zero = matches!(at(a), ExprNode::Const(z) if z.as_f64() == 0.0);
    let (is_nan, readers) = match at(c) {
        ExprNode::Unary(Unary::IsNan, x) => (operand(x) == Some(weights), 1),
        _ => {
            let test = operand(c)?;
            let tests = pointwise(graph, test.node())?.nodes()
                == [ExprNode::Input(0), ExprNode::Unary(Unary::IsNan, 0)];
            let alone = read_once(graph, test) && graph.producer(test).inputs() == [weights];
            (tests && alone, 2)
        }
    };
    let alone = graph.use_count(weights) == readers && !graph.is_output(weights) && read_once(graph, v);
    (zero && is_nan && alone && graph.ty(weights) == graph.ty(v)).then_some(weights)
}

/// What an expression of one input multiplies it by.
fn factor(e: &Expr) -> Option<f64> {
    let ExprNode::Binary(op, a, b) = *e.nodes().get(e.root() as usize)? else { return None };
    let constant = |n: u16| match e.nodes()[n as usize] {
        ExprNode::Const(c) => Some(c.as_f64()),
        _ => None,
    };
    let input = |n: u16| matches!(e.nodes()[n as usize], ExprNode::Input(0));
    let factor = match op {
        Binary::Mul if input(a) => constant(b)?,
        Binary::Mul if input(b) => constant(a)?,
        Binary::Div if input(a) => 1.0 / constant(b)?,
        _ => return None,
    };
    factor.is_finite().then_some(factor)
}

/// What a value that nothing else reads is a multiple of, and the factor.
fn scaled(graph: &Graph, v: ValueId) -> Option<(f64, ValueId)> {
    let factor = factor(pointwise(graph, v.node())?)?;
    let &[from] = graph.producer(v).inputs() else { return None };
    (read_once(graph, v) && graph.ty(from) == graph.ty(v)).then_some((factor, from))
}

/// Whether a value is a product of matrices, perhaps scaled.
fn leads_to_product(graph: &Graph, mut v: ValueId) -> bool {
    while let Some((_, from)) = scaled(graph, v) {
        v = from;
    }
    matches!(op_of(graph, v), Op::MatMul(_))
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
