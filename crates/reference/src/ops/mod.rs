//! Every operation by its definition.

pub(crate) mod attention;
mod conv;
mod matmul;
mod movement;
mod norm;
mod pool;
pub(crate) mod recurrent;
mod reduce;
mod resize;

use tactician_ir::Op;

use crate::expr;
use crate::value::Value;

/// Computes an operation without a final rounding. `sizes` are the output's. With `exact`, the floats inside
/// pointwise expressions are not rounded either.
pub(crate) fn eval(op: &Op, inputs: &[&Value], sizes: &[usize], exact: bool) -> Result<Value, String> {
    let x = inputs.first().copied();
    let x = || x.ok_or_else(|| "an operand is missing".to_owned());
    Ok(match op {
        Op::Input => return Err("a network input has no value of its own".into()),
        Op::Constant(t) => Value::of(t),
        Op::Conv(c) => conv::conv(c, inputs, sizes),
        Op::ConvTranspose(c) => conv::conv_transpose(c, inputs, sizes),
        Op::MatMul(m) => matmul::matmul(*m, inputs[0], inputs[1], sizes),
        Op::Pointwise(e) => expr::eval(e, inputs, sizes, exact)?,
        Op::Pool(p) => pool::pool(p, x()?, sizes),
        Op::Reduce(r) => reduce::reduce(r, x()?, sizes),
        Op::ArgReduce(r) => reduce::arg_reduce(r, x()?, sizes),
        Op::Softmax(s) => reduce::softmax(s, x()?),
        Op::Attention(a) => attention::attention(a, inputs, sizes),
        Op::BatchNorm(n) => norm::batch_norm(n.epsilon, inputs),
        Op::LayerNorm(n) => norm::tail_norm(n.axis, n.epsilon, true, inputs),
        Op::RmsNorm(n) => norm::tail_norm(n.axis, n.epsilon, false, inputs),
        Op::InstanceNorm(n) => norm::group_norm(inputs[0].sizes[1], n.epsilon, inputs),
        Op::GroupNorm(n) => norm::group_norm(n.groups, n.epsilon, inputs),
        Op::Lrn(l) => norm::lrn(l, x()?),
        Op::Reshape(_) => Value { sizes: sizes.to_vec(), ..x()?.clone() },
        Op::BitCast(b) => movement::bit_cast(b, x()?, sizes)?,
        Op::Transpose(t) => movement::transpose(t, x()?, sizes),
        Op::Expand(_) => movement::expand(x()?, sizes),
        Op::Concat(c) => movement::concat(c.axis, inputs, sizes),
        Op::Slice(s) => movement::slice(s, x()?, sizes)?,
        Op::Pad(p) => movement::pad(p, x()?, sizes),
        Op::Gather(g) => movement::gather(g.axis, inputs[0], inputs[1], sizes)?,
        Op::GatherElements(g) => movement::gather_elements(g.axis, inputs[0], inputs[1], sizes)?,
        Op::ScatterElements(s) => movement::scatter_elements(s, inputs)?,
        Op::TopK(t) => reduce::top_k(t, x()?, sizes),
        Op::Resize(r) => resize::resize(r, x()?, sizes),
        Op::Recurrent(o) => recurrent::recurrent(o, inputs, sizes),
        other => return Err(format!("`{}` is unknown to it", other.name())),
    })
}
