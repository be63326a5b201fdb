//! The operations. One file a family: parameter structs and shape inference.

mod attention;
mod bind;
mod bit_cast;
mod conv;
mod matmul;
mod movement;
mod norm;
mod pointwise;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod scatter;

pub use attention::{Attention, HeadsIn};
pub use bit_cast::BitCast;
pub use conv::{Conv, ConvTranspose};
pub use matmul::MatMul;
pub use movement::{
    Concat, Expand, Gather, GatherElements, Pad, PadMode, Reshape, Slice, SliceAxis, Transpose,
};
pub use norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Lrn, RmsNorm};
pub use pointwise::broadcast;
pub use pool::{Pool, PoolKind};
pub use reduce::{ArgReduce, Reduce, ReduceKind, Softmax};
pub use resize::{CoordinateMode, NearestMode, Resize, ResizeAxis, ResizeMode};
pub use scatter::{ScatterElements, ScatterReduction, TopK};
pub use tactician_types::{
    GateActivation, GateFunction, Recurrent, RecurrentDirection, RecurrentKind, RecurrentOperand,
};

use tactician_types::Expr;

use crate::tensor::{Tensor, TensorType};

/// One operation. Attributes are static: what ONNX passes as a shape operand is an attribute here.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// A network input. No operands.
    Input,
    /// A constant. No operands.
    Constant(Tensor),
    /// N-dimensional convolution: `x, w [, bias]`.
    Conv(Conv),
    /// N-dimensional transposed convolution: `x, w [, bias]`.
    ConvTranspose(ConvTranspose),
    /// Matrix product: `a, b`.
    MatMul(MatMul),
    /// A function of the elements at each position, operands broadcast as in NumPy.
    Pointwise(Expr),
    /// Pooling over windows: `x`.
    Pool(Pool),
    /// Reduction over whole axes: `x`.
    Reduce(Reduce),
    /// Position of the largest or smallest element: `x`; gives `i64`.
    ArgReduce(ArgReduce),
    /// Softmax or its logarithm: `x`.
    Softmax(Softmax),
    /// Scaled dot-product attention: `q, k, v [, mask]`.
    Attention(Attention),
    /// Batch normalisation with given statistics: `x, scale, bias, mean, variance`.
    BatchNorm(BatchNorm),
    /// Layer normalisation: `x [, scale [, bias]]`.
    LayerNorm(LayerNorm),
    /// Root-mean-square normalisation: `x [, scale]`.
    RmsNorm(RmsNorm),
    /// Instance normalisation: `x, scale, bias`.
    InstanceNorm(InstanceNorm),
    /// Group normalisation: `x, scale, bias`.
    GroupNorm(GroupNorm),
    /// Local response normalisation over channels: `x`.
    Lrn(Lrn),
    /// The same elements under another shape: `x`.
    Reshape(Reshape),
    /// The same bits as elements of another type: `x`.
    BitCast(BitCast),
    /// Permuted axes: `x`.
    Transpose(Transpose),
    /// Broadcast to a shape: `x`.
    Expand(Expand),
    /// Joined along an axis: one or more operands.
    Concat(Concat),
    /// A strided part: `x`.
    Slice(Slice),
    /// Added borders: `x`.
    Pad(Pad),
    /// Slices picked by index along an axis: `x, indices`.
    Gather(Gather),
    /// Elements picked by index along an axis: `x, indices`.
    GatherElements(GatherElements),
    /// Elements written by index along an axis: `x, indices, updates`.
    ScatterElements(ScatterElements),
    /// Places of the largest or smallest elements, in order: `x`; gives `i64`.
    TopK(TopK),
    /// Resampling: `x`.
    Resize(Resize),
    /// LSTM, GRU or plain recurrent layer; see [`Recurrent`] for operands and result.
    Recurrent(Recurrent),
}

impl Op {
    /// The name in text forms and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Constant(_) => "const",
            Op::Conv(_) => "conv",
            Op::ConvTranspose(_) => "conv_transpose",
            Op::MatMul(_) => "matmul",
            Op::Pointwise(_) => "pointwise",
            Op::Pool(_) => "pool",
            Op::Reduce(_) => "reduce",
            Op::ArgReduce(_) => "arg_reduce",
            Op::Softmax(_) => "softmax",
            Op::Attention(_) => "attention",
            Op::BatchNorm(_) => "batch_norm",
            Op::LayerNorm(_) => "layer_norm",
            Op::RmsNorm(_) => "rms_norm",
            Op::InstanceNorm(_) => "instance_norm",
            Op::GroupNorm(_) => "group_norm",
            Op::Lrn(_) => "lrn",
            Op::Reshape(_) => "reshape",
            Op::BitCast(_) => "bit_cast",
            Op::Transpose(_) => "transpose",
            Op::Expand(_) => "expand",
            Op::Concat(_) => "concat",
            Op::Slice(_) => "slice",
            Op::Pad(_) => "pad",
            Op::Gather(_) => "gather",
            Op::GatherElements(_) => "gather_elements",
            Op::ScatterElements(_) => "scatter_elements",
            Op::TopK(_) => "top_k",
            Op::Resize(_) => "resize",
            Op::Recurrent(_) => "recurrent",
        }
    }

    /// Fewest and most operands.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Op::Input | Op::Constant(_) => (0, 0),
            Op::Conv(_) | Op::ConvTranspose(_) => (2, 3),
            Op::MatMul(_) | Op::Gather(_) | Op::GatherElements(_) => (2, 2),
            Op::Pointwise(e) => (e.arity(), usize::MAX),
            Op::BatchNorm(_) => (5, 5),
            Op::Attention(_) => (3, 4),
            Op::LayerNorm(_) => (1, 3),
            Op::RmsNorm(_) => (1, 2),
            Op::InstanceNorm(_) | Op::GroupNorm(_) | Op::ScatterElements(_) => (3, 3),
            Op::Concat(_) => (1, usize::MAX),
            Op::Recurrent(o) => (o.operands(), o.operands()),
            _ => (1, 1),
        }
    }

    /// The type of each output, given the operands' types. `declared` is the type of an [`Op::Input`].
    ///
    /// # Errors
    /// A clause that says what does not fit, with the shapes.
    pub fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let (least, most) = self.arity();
        if inputs.len() < least || inputs.len() > most {
            let want = if least == most { format!("{least}") } else { format!("at least {least}") };
            return Err(format!("{} takes {want} operands, found {}", self.name(), inputs.len()));
        }
        let one = |r: Result<TensorType, String>| r.map(|t| vec![t]);
        match self {
            Op::Input => Err("an input's type is declared, not inferred".into()),
            Op::Constant(t) => Ok(vec![t.ty()]),
            Op::Conv(o) => one(o.infer(inputs)),
            Op::ConvTranspose(o) => one(o.infer(inputs)),
            Op::MatMul(o) => one(o.infer(inputs)),
            Op::Pointwise(e) => one(pointwise::infer(e, inputs)),
            Op::Pool(o) => one(o.infer(inputs)),
            Op::Reduce(o) => one(o.infer(inputs)),
            Op::ArgReduce(o) => one(o.infer(inputs)),
            Op::Softmax(o) => one(o.infer(inputs)),
            Op::Attention(o) => one(o.infer(inputs)),
            Op::BatchNorm(o) => one(o.infer(inputs)),
            Op::LayerNorm(o) => one(o.infer(inputs)),
            Op::RmsNorm(o) => one(o.infer(inputs)),
            Op::InstanceNorm(o) => one(o.infer(inputs)),
            Op::GroupNorm(o) => one(o.infer(inputs)),
            Op::Lrn(o) => one(o.infer(inputs)),
            Op::Reshape(o) => one(o.infer(inputs)),
            Op::BitCast(o) => one(o.infer(inputs)),
            Op::Transpose(o) => one(o.infer(inputs)),
            Op::Expand(o) => one(o.infer(inputs)),
            Op::Concat(o) => one(o.infer(inputs)),
            Op::Slice(o) => one(o.infer(inputs)),
            Op::Pad(o) => one(o.infer(inputs)),
            Op::Gather(o) => one(o.infer(inputs)),
            Op::GatherElements(o) => one(o.infer(inputs)),
            Op::ScatterElements(o) => one(o.infer(inputs)),
            Op::TopK(o) => one(o.infer(inputs)),
            Op::Resize(o) => one(o.infer(inputs)),
            Op::Recurrent(o) => one(recurrent::infer(o, inputs)),
        }
    }
}

/// Refuses an axis outside the rank.
pub(crate) fn check_axis(axis: usize, rank: usize) -> Result<(), String> {
    if axis < rank { Ok(()) } else { Err(format!("axis {axis} is outside rank {rank}")) }
}

/// Refuses types that cannot be computed with.
pub(crate) fn check_not_narrow(t: &TensorType) -> Result<(), String> {
    if t.dtype.is_narrow() {
        return Err(format!("cannot compute with {t}: {} only stores numbers, convert it first", t.dtype));
    }
    Ok(())
}

/// Refuses types other than floats.
pub(crate) fn check_float(t: &TensorType) -> Result<(), String> {
    if t.dtype.is_float() { Ok(()) } else { Err(format!("needs a float tensor, found {t}")) }
}
