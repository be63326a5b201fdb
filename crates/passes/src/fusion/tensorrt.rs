//! Only what TensorRT documents.

use tactician_ir::{
    Binary, DType, Expr, ExprNode, Graph, Op, Operand, Problem, ReduceKind, Shape, Tensor, Unary,
};
use tactician_reference::eval_op;

use super::greedy::largest_of_each_anchor;
use super::{FusionPolicy, Partition, Proposal};
use crate::util::floats;

/// The fusions that TensorRT's guide lists, as far as regions of this project can express them, and no others.
///
/// | listed | here |
/// |---|---|
/// | convolution and scale (uniform or per channel, constant) | a convolution takes constant scales and shifts of one value, or of one a channel |
/// | convolution and elementwise sum, minimum or maximum (no broadcast but over the batch) | then at most one of these, with an operand of the result's shape (or of batch 1, which no rule proposes so far) |
/// | convolution and ReLU, clip; in 16 bits GELU | then at most one activation, which ends the region; ReLUs and clips behind each other count as one |
/// | matrix products become convolutions | a matrix product with constant weights is treated as one, its last axis as the channels |
/// | softmax and logarithm | likewise |
/// | reductions: logarithm of a sum, L2 norm | a sum takes a logarithm, a sum of squares a square root |
/// | pointwise layers in one, scale and activation | regions of pointwise nodes without conversions, and without operations that no pointwise layer has (remainders, bits) |
///
/// Not listed, so not fused: activations such as sigmoid, SiLU or leaky ReLU behind a convolution, anything behind a
/// transposed convolution, a pool or a normalisation, a second operand, conversions between types. Listed, but other in
/// this project: paddings before convolutions, permutations and no-op scales are rewritten before fusion; regions never
/// hold a pool behind a convolution, two convolutions, or what comes before a reduction. What TensorRT does beyond its
/// guide (merging parallel convolutions, kernels of whole blocks) is not imitated.
///
/// The order is that of [`super::Greedy`], so that only the rules differ: there a convolution takes any pointwise work.
#[derive(Clone, Copy, Debug, Default)]
pub struct TensorRt;

impl FusionPolicy for TensorRt {
    fn name(&self) -> &str {
        "tensorrt"
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        largest_of_each_anchor(graph, proposals, |p| listed(graph, p))
    }
}

/// Whether a region of several nodes comes from the listed fusions.
fn listed(graph: &Graph, proposal: &Proposal) -> bool {
    let problem = proposal.region.problem(graph);
    // A conversion before the anchor.
    if proposal.nodes().first() != Some(&proposal.anchor()) {
        return false;
    }
    let constant = |i: usize| problem.operands.get(i).is_some_and(|o| o.constant);
    match &problem.anchor {
        Op::Conv(_) => convolution(&problem, 1, graph.node(proposal.anchor()).inputs().len() == 3),
        Op::MatMul(_) if constant(1) => convolution(&problem, problem.result.rank() - 1, false),
        Op::Softmax(s) => !s.log && problem.epilogue == Expr::unary(Unary::Log),
        Op::Reduce(r) => match r.kind {
            ReduceKind::Sum => problem.epilogue == Expr::unary(Unary::Log),
            ReduceKind::SumSquare => problem.epilogue == Expr::unary(Unary::Sqrt),
            _ => false,
        },
        Op::Pointwise(e) => e.nodes().iter().all(pointwise),
        _ => false,
    }
}

/// Whether a pointwise layer can have the operation.
fn pointwise(node: &ExprNode) -> bool {
    use Binary::*;
    match node {
        ExprNode::Cast(..) => false,
        ExprNode::Unary(op, _) => *op != Unary::BitNot,
        ExprNode::Binary(op, ..) => !matches!(op, Mod | Fmod | BitAnd | BitOr | BitXor | Shl | Shr),
        ExprNode::Input(_) | ExprNode::Const(_) | ExprNode::Select(..) => true,
    }
}

/// Whether the epilogue is scales and shifts, then perhaps a sum, minimum or maximum with another tensor, then perhaps an
/// activation. Looked at from its end.
fn convolution(problem: &Problem, channels: usize, bias: bool) -> bool {
    let e = &problem.epilogue;
    let node = |id: u16| e.nodes()[usize::from(id)];
    let operand = |id: u16| match node(id) {
        ExprNode::Input(i) if i > 0 => problem.epilogue_inputs().get(usize::from(i) - 1),
        _ => None,
    };
    let mut at = before_activation(e, problem.result.dtype);
    if let ExprNode::Binary(Binary::Add | Binary::Max | Binary::Min, a, b) = node(at) {
        let result = &problem.result.shape;
        let whole = |id: u16| operand(id).is_some_and(|o| same_but_batch(&o.ty.shape, result));
        match (whole(a), whole(b)) {
            (_, true) => at = a,
            (true, _) => at = b,
            _ => {}
        }
    }
    let scale = |id: u16| match node(id) {
        ExprNode::Const(_) => true,
        // The convolution's own bias need not be constant.
        ExprNode::Input(1) if bias => true,
        _ => operand(id).is_some_and(|o| per_channel(o, &problem.result.shape, channels)),
    };
    loop {
        at = match node(at) {
            ExprNode::Input(0) => return true,
            ExprNode::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, a, b) if scale(b) => a,
            ExprNode::Binary(Binary::Add | Binary::Mul, a, b) if scale(a) => b,
            _ => return false,
        };
    }
}

/// The node that the expression's activation is applied to, or the result when there is none.
fn before_activation(e: &Expr, dtype: DType) -> u16 {
    let constant = |id: u16| matches!(e.nodes()[usize::from(id)], ExprNode::Const(_));
    let mut at = e.root();
    loop {
        at = match e.nodes()[usize::from(at)] {
            ExprNode::Unary(Unary::Relu, x) => x,
            ExprNode::Binary(Binary::Max | Binary::Min, x, c) if constant(c) => x,
            ExprNode::Binary(Binary::Max | Binary::Min, c, x) if constant(c) => x,
            _ => break,
        };
    }
    let short = matches!(dtype, DType::F16 | DType::BF16);
    if at == e.root() && short { before_gelu(e).unwrap_or(at) } else { at }
}

/// The node of which the expression is the GELU. Told by its values, as there are many ways to write one.
fn before_gelu(e: &Expr) -> Option<u16> {
    let curved = |n: &ExprNode| matches!(n, ExprNode::Unary(Unary::Erf | Unary::Tanh, _));
    if !e.nodes().iter().any(curved) {
        return None;
    }
    let points: Vec<f32> = (-8..=8).map(|i| i as f32 / 2.0).collect();
    (0..e.root()).rev().find(|&x| {
        let mut nodes = e.nodes().to_vec();
        // In f32, whatever the types: only the function counts.
        for n in &mut nodes {
            match *n {
                ExprNode::Const(c) if c.dtype.is_float() => {
                    *n = ExprNode::Const(tactician_ir::Scalar::float(DType::F32, c.as_f64()));
                }
                ExprNode::Cast(to, from) if to.is_float() => *n = ExprNode::Cast(DType::F32, from),
                // Read after all: an expression of more than `x`.
                ExprNode::Input(_) => *n = ExprNode::Input(1),
                _ => {}
            }
        }
        nodes[usize::from(x)] = ExprNode::Input(0);
        let Ok(of_x) = Expr::from_nodes(nodes).map(|f| f.finish(e.root())) else { return false };
        let Ok(sample) = Tensor::new(&[points.len()], &points) else { return false };
        if of_x.uses_input(1) || !of_x.uses_input(0) {
            return false;
        }
        let values = eval_op(&Op::Pointwise(of_x), &[&sample]).ok().and_then(|t| floats(&t));
        values.is_some_and(|v| v.iter().zip(&points).all(|(y, &x)| (y - gelu(f64::from(x))).abs() < 1e-2))
    })
}

/// The approximation by the hyperbolic tangent, within 1e-3 of the exact one.
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// The result's shape, perhaps with a batch of 1.
fn same_but_batch(shape: &Shape, result: &Shape) -> bool {
    shape.rank() == result.rank()
        && shape.dims().iter().zip(result.dims()).enumerate().all(|(i, (a, b))| a == b || (i == 0 && a.is(1)))
}

/// Constants, one in all or one a channel.
fn per_channel(operand: &Operand, result: &Shape, channels: usize) -> bool {
    let shape = &operand.ty.shape;
    let Some(lead) = result.rank().checked_sub(shape.rank()) else { return false };
    operand.constant
        && shape.dims().iter().enumerate().all(|(i, d)| {
            let of_channels = i + lead == channels && result.dims().get(channels) == Some(d);
            of_channels || d.is(1)
        })
}

#[cfg(test)]
#[path = "tensorrt_tests.rs"]
mod tests;
