//! Lower precision: the same network with its `f32` values stored in 16 bits.

use std::collections::{BTreeMap, BTreeSet};

use half::{bf16, f16};
use tactician_ir::{
    Binary, DType, Expr, ExprId, ExprNode, Graph, GraphError, Node, NodeId, Op, PadMode, ReduceKind, Scalar,
    Tensor, Unary, ValueId,
};
use tactician_types::{bf16_of, f16_of};
use thiserror::Error;

use crate::util::{float_tensor, floats, is_binary};

/// A network cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LowerError {
    /// A type that networks are not lowered to.
    #[error("networks are lowered to f16 or bf16, not to {dtype}")]
    Type {
        /// The type asked for.
        dtype: DType,
    },
    /// A number beyond the type.
    #[error(
        "`{name}` holds {value}, the largest value of {dtype} is {largest}: build for bf16 or f32, or scale the weights"
    )]
    Overflow {
        /// The constant, or the operation that has the number in its expression.
        name: String,
        /// The number.
        value: String,
        /// The type.
        dtype: DType,
        /// Its largest value.
        largest: String,
    },
    /// An operation does not accept its operands in the lower type.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The same network with its `f32` values in `dtype`, which is `f16` or `bf16` (`f32` changes nothing).
///
/// Inputs and outputs of the network keep `f32`, with a cast behind each input and before each output. Constants are
/// converted. Values of other types stay as they are. Kernels add up in `f32` whatever they store, so sums, softmax and
/// normalisations lose nothing inside; what stays `f32` is what 16 bits might not hold, or hold too coarsely:
///
/// - reductions whose result grows with the number of elements (sums, products, norms), and means of squares;
/// - pointwise operations that only those read, or that read only them: `x² → mean → + epsilon → √`;
/// - pointwise operations that turn integers into floats, since `f16` counts to 2048 only, and powers of two of `f8e8m0`;
/// - pointwise operations with a constant that would become zero, such as an epsilon of `1e-12`;
/// - what reads bits as another type, or gives such.
///
/// A constant beyond the type is an error, but for limits (operands of minima, maxima, comparisons and selections) and for
/// numbers that hide scores from a softmax, which become the largest value, or the least.
///
/// # Errors
/// When a constant overflows, or the type is another.
pub fn lower(graph: &Graph, dtype: DType) -> Result<Graph, LowerError> {
    match dtype {
        DType::F32 => return Ok(graph.clone()),
        DType::F16 | DType::BF16 => {}
        _ => return Err(LowerError::Type { dtype }),
    }
    let wide = wide(graph, dtype);
    let mut out = Lowered { graph: Graph::new(&graph.name), old: graph, dtype, values: BTreeMap::new() };
    // Inputs keep their order.
    for &id in graph.inputs() {
        let node = graph.node(id);
        let made = out.graph.add_input(&node.name, node.outputs()[0].clone())?;
        out.made(id.value(), made);
    }
    for id in graph.topo() {
        let node = graph.node(id);
        if matches!(node.op, Op::Input | Op::Constant(_)) {
            continue;
        }
        let want = if wide.contains(&id) { DType::F32 } else { dtype };
        let inputs = node
            .inputs()
            .iter()
            .map(|&v| out.value(v, want))
            .collect::<Result<Vec<ValueId>, LowerError>>()?;
        let op = if want == DType::F32 { node.op.clone() } else { out.op(node)? };
        let made = out.graph.add(op, &inputs, &node.name)?;
        for slot in 0..node.outputs().len() {
            out.made(id.output(slot), made.node().output(slot));
        }
    }
    for (name, v) in graph.outputs() {
        let value = out.value(*v, DType::F32)?;
        out.graph.mark_output(name, value);
    }
    Ok(out.graph)
}

/// The new graph as far as it is made.
struct Lowered<'g> {
    graph: Graph,
    old: &'g Graph,
    dtype: DType,
    /// Values of the old graph in each type that the new one has them in.
    values: BTreeMap<(ValueId, DType), ValueId>,
}

impl Lowered<'_> {
    fn made(&mut self, old: ValueId, new: ValueId) {
        self.values.insert((old, self.graph.ty(new).dtype), new);
    }

    /// An old value; one of `f32` in the type wanted, converted when there is need.
    fn value(&mut self, old: ValueId, want: DType) -> Result<ValueId, LowerError> {
        let own = self.old.ty(old).dtype;
        let want = if own == DType::F32 { want } else { own };
        if let Some(&v) = self.values.get(&(old, want)) {
            return Ok(v);
        }
        let node = self.old.producer(old);
        let made = match &node.op {
            Op::Constant(t) => {
                let t = match want == own {
                    true => t.clone(),
                    false => converted(t, want, &node.name, hides_scores(self.old, old, 4))?,
                };
                self.graph.add_constant(&node.name, t)
            }
            _ => {
                let other = if want == DType::F32 { self.dtype } else { DType::F32 };
                let from = self.values.get(&(old, other)).copied().ok_or_else(|| GraphError::NoValue {
                    name: node.name.clone(),
                    op: node.op.name(),
                    value: format!("{old:?}"),
                })?;
                let mut cast = Expr::identity();
                cast.push(ExprNode::Cast(want, 0));
                self.graph.add(Op::Pointwise(cast), &[from], &format!("{} as {want}", node.name))?
            }
        };
        self.values.insert((old, want), made);
        Ok(made)
    }

    /// An operation on values of the lower type.
    fn op(&self, node: &Node) -> Result<Op, LowerError> {
        Ok(match &node.op {
            Op::Pointwise(e) => Op::Pointwise(lower_expr(e, self.dtype, &node.name)?),
            Op::Pad(p) => {
                let mut p = p.clone();
                if let PadMode::Constant(c) = p.mode
                    && c.dtype == DType::F32
                {
                    p.mode = PadMode::Constant(limited(c, self.dtype));
                }
                Op::Pad(p)
            }
            op => op.clone(),
        })
    }
}

/// Operations that stay `f32`, as [`lower`] says.
fn wide(graph: &Graph, dtype: DType) -> BTreeSet<NodeId> {
    let order = graph.topo();
    let is_f32 = |id: NodeId| graph.ty(id.value()).dtype == DType::F32;
    let mut wide: BTreeSet<NodeId> = BTreeSet::new();
    for &id in &order {
        let node = graph.node(id);
        let stays = match &node.op {
            Op::Reduce(r) => match r.kind {
                ReduceKind::Max | ReduceKind::Min | ReduceKind::LogSumExp => false,
                ReduceKind::Mean => node.inputs().iter().any(|v| squares(&graph.producer(*v).op)),
                _ => true,
            },
            Op::Pointwise(e) => counts(graph, node, e) || vanishes(e, dtype),
            _ => false,
        };
        // The bits of an `f32` are those of no other type.
        if stays && is_f32(id) || matches!(node.op, Op::BitCast(_)) {
            wide.insert(id);
        }
    }
    // What only they read.
    for &id in order.iter().rev() {
        let users = graph.users(id.value());
        let only_wide = !users.is_empty()
            && !graph.is_output(id.value())
            && users.iter().all(|(u, _)| wide.contains(u) && !counts_at(graph, *u));
        if only_wide && is_f32(id) && matches!(graph.node(id).op, Op::Pointwise(_)) {
            wide.insert(id);
        }
    }
    // What reads only them, but for constants.
    for &id in &order {
        let node = graph.node(id);
        let follows = matches!(node.op, Op::Pointwise(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_));
        let computed = || node.inputs().iter().filter(|&&v| graph.constant(v).is_none());
        if follows
            && is_f32(id)
            && computed().next().is_some()
            && computed().all(|v| wide.contains(&v.node()))
        {
            wide.insert(id);
        }
    }
    wide
}

/// Whether an operation gives squares or other powers.
fn squares(op: &Op) -> bool {
    let Op::Pointwise(e) = op else { return false };
    e.nodes().iter().any(|n| match *n {
        ExprNode::Binary(Binary::Mul, a, b) => a == b,
        ExprNode::Binary(Binary::Pow, ..) | ExprNode::Unary(Unary::Exp, _) => true,
        _ => false,
    })
}

/// Whether an expression turns integers, or what has the exponents of `f32`, into `f32`.
fn counts(graph: &Graph, node: &Node, expr: &Expr) -> bool {
    let inputs: Vec<DType> = node.inputs().iter().map(|&v| graph.ty(v).dtype).collect();
    let Ok(types) = expr.dtypes(&inputs) else { return false };
    let wide = |t: DType| t.is_int() || t == DType::F8E8M0;
    expr.nodes().iter().any(|n| matches!(*n, ExprNode::Cast(DType::F32, a) if wide(types[usize::from(a)])))
}

fn counts_at(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(&node.op, Op::Pointwise(e) if counts(graph, node, e))
}

/// Whether a constant of an expression would become zero.
fn vanishes(expr: &Expr, dtype: DType) -> bool {
    let zero = |c: Scalar| c.dtype == DType::F32 && c.as_f64() != 0.0 && rounded(dtype, c.as_f64()) == 0.0;
    expr.nodes().iter().any(|n| matches!(*n, ExprNode::Const(c) if zero(c)))
}

fn rounded(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F16 => f16_of(value).to_f64(),
        DType::BF16 => bf16_of(value).to_f64(),
        _ => value,
    }
}

fn largest(dtype: DType) -> f64 {
    if dtype == DType::F16 { f16::MAX.to_f64() } else { bf16::MAX.to_f64() }
}

fn overflow(name: &str, value: f64, dtype: DType) -> LowerError {
    LowerError::Overflow {
        name: name.to_owned(),
        value: format!("{value:e}"),
        dtype,
        largest: format!("{:e}", largest(dtype)),
    }
}

/// Whether a value is only ever added to scores that a softmax reads, a few steps on at most.
fn hides_scores(graph: &Graph, v: ValueId, steps: usize) -> bool {
    let users = graph.users(v);
    let next = |user: NodeId| steps > 0 && hides_scores(graph, user.value(), steps - 1);
    !users.is_empty()
        && !graph.is_output(v)
        && users.iter().all(|&(user, slot)| match &graph.node(user).op {
            Op::Attention(_) => slot == 3,
            Op::Softmax(_) => true,
            Op::Slice(_) | Op::Reshape(_) | Op::Expand(_) | Op::Transpose(_) => next(user),
            Op::Pointwise(e) => is_binary(e, Binary::Add) && next(user),
            _ => false,
        })
}

/// A constant in the lower type; one that hides scores as far below zero as that goes.
fn converted(t: &Tensor, dtype: DType, name: &str, hides: bool) -> Result<Tensor, LowerError> {
    let mut values = floats(t).unwrap_or_default();
    if hides {
        let least = -largest(dtype);
        values.iter_mut().filter(|v| v.is_finite() && **v < least).for_each(|v| *v = least);
    }
    float_tensor(dtype, t.sizes(), &values).ok_or_else(|| {
        let beyond = values.iter().find(|v| v.is_finite() && !rounded(dtype, **v).is_finite());
        overflow(name, beyond.copied().unwrap_or(f64::NAN), dtype)
    })
}

/// A limit in the lower type: at most its largest value.
fn limited(c: Scalar, dtype: DType) -> Scalar {
    let v = c.as_f64();
    let fits = !v.is_finite() || rounded(dtype, v).is_finite();
    Scalar::float(dtype, if fits { v } else { largest(dtype).copysign(v) })
}

/// An expression over values of the lower type.
fn lower_expr(expr: &Expr, dtype: DType, name: &str) -> Result<Expr, LowerError> {
    let only_limits = |id: usize| {
        expr.nodes().iter().filter(|n| n.operands().any(|o| usize::from(o) == id)).all(|n| match *n {
            ExprNode::Binary(op, ..) => matches!(op, Binary::Max | Binary::Min) || op.compares(),
            ExprNode::Select(..) => true,
            _ => false,
        })
    };
    let mut out = Expr::empty();
    let mut map: Vec<ExprId> = Vec::with_capacity(expr.nodes().len());
    for (id, node) in expr.nodes().iter().enumerate() {
        let at = |o: ExprId| map[usize::from(o)];
        let new = match *node {
            ExprNode::Const(c) if c.dtype == DType::F32 => {
                let low = limited(c, dtype);
                if low.as_f64() != c.as_f64() && !c.as_f64().is_nan() && !only_limits(id) {
                    return Err(overflow(name, c.as_f64(), dtype));
                }
                ExprNode::Const(low)
            }
            ExprNode::Cast(DType::F32, a) => ExprNode::Cast(dtype, at(a)),
            ExprNode::Input(_) | ExprNode::Const(_) => *node,
            ExprNode::Unary(op, a) => ExprNode::Unary(op, at(a)),
            ExprNode::Binary(op, a, b) => ExprNode::Binary(op, at(a), at(b)),
            ExprNode::Select(c, a, b) => ExprNode::Select(at(c), at(a), at(b)),
            ExprNode::Cast(t, a) => ExprNode::Cast(t, at(a)),
        };
        map.push(out.push(new));
    }
    Ok(out.finish(map[usize::from(expr.root())]))
}

#[cfg(test)]
#[path = "precision_tests.rs"]
mod tests;
