//! Constants read and written as `f64`, and what it takes to replace a value.

use half::{bf16, f16};
use tactician_ir::{DType, Expr, ExprNode, Graph, NodeId, Op, Scalar, Tensor, TensorType, ValueId};
use tactician_types::{bf16_of, f16_of};

/// The elements of a float tensor.
pub(crate) fn floats(t: &Tensor) -> Option<Vec<f64>> {
    Some(match t.dtype() {
        DType::F32 => t.values::<f32>()?.iter().map(|&v| f64::from(v)).collect(),
        DType::F64 => t.values::<f64>()?.to_vec(),
        DType::F16 => t.values::<f16>()?.iter().map(|v| v.to_f64()).collect(),
        DType::BF16 => t.values::<bf16>()?.iter().map(|v| v.to_f64()).collect(),
        _ => return None,
    })
}

/// A float tensor from values, rounded to its type. `None` when a finite value overflows the type, the type
/// is no float, or the count does not fit.
pub(crate) fn float_tensor(dtype: DType, sizes: &[usize], values: &[f64]) -> Option<Tensor> {
    fn all<T: tactician_ir::Element>(
        sizes: &[usize],
        values: &[f64],
        round: impl Fn(f64) -> T,
        back: impl Fn(T) -> f64,
    ) -> Option<Tensor> {
        let rounded: Vec<T> = values.iter().map(|&v| round(v)).collect();
        let overflow = values.iter().zip(&rounded).any(|(&v, &r)| v.is_finite() && !back(r).is_finite());
        if overflow { None } else { Tensor::new(sizes, &rounded).ok() }
    }
    match dtype {
        DType::F32 => all(sizes, values, |v| v as f32, f64::from),
        DType::F64 => all(sizes, values, |v| v, |v| v),
        DType::F16 => all(sizes, values, f16_of, f16::to_f64),
        DType::BF16 => all(sizes, values, bf16_of, bf16::to_f64),
        _ => None,
    }
}

/// The value that every element of a tensor has. `None` for tensors that are empty or hold more than one
/// value (compared by bits).
pub(crate) fn splat(t: &Tensor) -> Option<Scalar> {
    let size = t.dtype().size();
    let first = t.bytes().get(..size)?;
    if t.bytes().chunks_exact(size).any(|c| c != first) {
        return None;
    }
    let dtype = t.dtype();
    let one = Tensor::from_bytes(dtype, &[], first.to_vec()).ok()?;
    if dtype.is_float() {
        return Some(Scalar::float(dtype, *floats(&one)?.first()?));
    }
    let int = match dtype {
        DType::I8 => i64::from(*one.values::<i8>()?.first()?),
        DType::I16 => i64::from(*one.values::<i16>()?.first()?),
        DType::I32 => i64::from(*one.values::<i32>()?.first()?),
        DType::I64 => *one.values::<i64>()?.first()?,
        DType::U8 | DType::Bool => i64::from(*one.values::<u8>()?.first()?),
        DType::U16 => i64::from(*one.values::<u16>()?.first()?),
        DType::U32 => i64::from(*one.values::<u32>()?.first()?),
        DType::U64 => *one.values::<u64>()?.first()? as i64,
        t if t.is_narrow() => {
            let byte = i64::from(*first.first()?);
            t.wrapped(byte).unwrap_or(byte)
        }
        _ => return None,
    };
    Some(Scalar::int(dtype, int))
}

/// The values of a float constant that varies over one `axis` of a result of rank `rank` at most, `count` of
/// them. `None` when it varies over another axis or has more axes than the result.
pub(crate) fn along(t: &Tensor, rank: usize, axis: usize, count: usize) -> Option<Vec<f64>> {
    let lead = rank.checked_sub(t.sizes().len())?;
    for (i, &n) in t.sizes().iter().enumerate() {
        if n != 1 && !(i + lead == axis && n == count) {
            return None;
        }
    }
    let values = floats(t)?;
    match values.as_slice() {
        [one] => Some(vec![*one; count]),
        _ if values.len() == count => Some(values),
        _ => None,
    }
}

/// The expression of a pointwise node.
pub(crate) fn pointwise(graph: &Graph, id: NodeId) -> Option<&Expr> {
    match &graph.node(id).op {
        Op::Pointwise(e) => Some(e),
        _ => None,
    }
}

/// The operation of the node that produces a value.
pub(crate) fn op_of(graph: &Graph, value: ValueId) -> &Op {
    &graph.producer(value).op
}

/// Whether exactly one operand, and no network output, reads the value.
pub(crate) fn read_once(graph: &Graph, value: ValueId) -> bool {
    graph.use_count(value) == 1
}

/// Whether readers of `old` may read the existing value `new`. A network output must stay a value that a node
/// computes and that is no other output, so that every output has a place of its own.
pub(crate) fn may_become(graph: &Graph, old: ValueId, new: ValueId) -> bool {
    let computed = !matches!(op_of(graph, new), Op::Input | Op::Constant(_));
    graph.ty(old) == graph.ty(new) && (!graph.is_output(old) || (computed && !graph.is_output(new)))
}

/// The number of elements along an axis, if known.
pub(crate) fn size(ty: &TensorType, axis: usize) -> Option<usize> {
    ty.shape.dims().get(axis)?.as_usize()
}

/// `[1, …, count, …, 1]` without leading ones: the shape of a constant that varies over `axis` of `rank`.
pub(crate) fn along_shape(rank: usize, axis: usize, count: usize) -> Vec<usize> {
    let mut sizes = vec![1; rank.saturating_sub(axis)];
    if let Some(first) = sizes.first_mut() {
        *first = count;
    }
    sizes
}

/// The operands of `expr(0, 1)` when it is that binary operation of two inputs and nothing else.
pub(crate) fn is_binary(expr: &Expr, op: tactician_ir::Binary) -> bool {
    let [ExprNode::Input(a), ExprNode::Input(b), ExprNode::Binary(o, x, y)] = expr.nodes() else {
        return false;
    };
    *o == op
        && a != b
        && x != y
        && a + b == 1
        && (op.commutes() || (expr.nodes()[*x as usize] == ExprNode::Input(0)))
}
