//! What one region computes, in the terms of cuDNN's operation graphs: the part of a step that is kept in plans.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tactician_types::DType;

/// An operation graph. Node order is execution order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphSpec {
    /// Every tensor, virtual ones included; nodes name them by index.
    pub tensors: Vec<TensorSpec>,
    /// The operations.
    pub nodes: Vec<NodeSpec>,
}

/// A tensor of an operation graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// `f32`, `f16` or `bf16`; of what is never in memory also `i32` or `bool`.
    pub dtype: DType,
    /// Elements along each axis, in logical order (`N, C, spatial…`).
    pub sizes: Vec<u64>,
    /// Elements from one to the next along each axis.
    pub strides: Vec<u64>,
    /// Elements before the first, of an input that is more than this tensor.
    pub offset: u64,
    /// Where it comes from.
    pub role: Role,
}

/// Where a tensor of an operation graph comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Input `i` of the step.
    Input(u16),
    /// Output `i` of the step.
    Output(u16),
    /// Never in memory.
    Virtual,
    /// One `f32` or `i32`, given by its bits, that is passed by value.
    Value(u32),
    /// Written to the step's scratch, and read by nobody: what cuDNN computes whether it is wanted or not.
    Discarded,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeSpec {
    /// Cross-correlation of `x [N, C, …]` with `w [K, C/groups, …]`; the sizes say how many groups.
    Convolution {
        /// Input tensor.
        x: u16,
        /// Weights.
        w: u16,
        /// Result.
        y: u16,
        /// Zeros before and after each spatial axis.
        pads: Vec<(u32, u32)>,
        /// Step between windows.
        strides: Vec<u32>,
        /// Step inside a window.
        dilations: Vec<u32>,
    },
    /// A function of the elements at each position.
    Pointwise {
        /// The function.
        function: Function,
        /// First operand, of the result's sizes.
        x: u16,
        /// Second operand of functions of two, each size the result's or 1.
        b: Option<u16>,
        /// Result.
        y: u16,
    },
    /// Largest element or mean of each window of `x [N, C, …]`.
    Pool {
        /// What is computed.
        kind: PoolKind,
        /// Input tensor.
        x: u16,
        /// Result.
        y: u16,
        /// Window sizes.
        window: Vec<u32>,
        /// Padding before and after each spatial axis: minus infinity for the largest element, zeros for the mean.
        pads: Vec<(u32, u32)>,
        /// Step between windows.
        strides: Vec<u32>,
    },
    /// `a [B, M, K] · b [B, K, N]`; the batch of either may be 1. Strides say how they are stored. With another axis before
    /// the rows, `a [B, H, M, K] · b [B, H', K, N]`, several matrices in a row may share one of `b`.
    MatMul {
        /// Left factor.
        a: u16,
        /// Right factor.
        b: u16,
        /// Result.
        y: u16,
    },
    /// Normalisation of `x [N, C, …]`, then times `scale`, plus `bias`, each of which has `C` elements.
    Normalize {
        /// Over which elements, and how.
        kind: NormKind,
        /// Input tensor.
        x: u16,
        /// Factor.
        scale: u16,
        /// Term.
        bias: Option<u16>,
        /// What is added to the variance, or the mean square: a tensor that is passed by value.
        epsilon: u16,
        /// Result.
        y: u16,
    },
    /// Sum or largest element along axes of `x`, which the result has with size 1.
    Reduce {
        /// What is computed.
        kind: ReduceKind,
        /// Input tensor.
        x: u16,
        /// Result.
        y: u16,
    },
    /// `x` where `condition` holds, else `b`, whose sizes are the result's or 1.
    Select {
        /// Taken where the condition holds.
        x: u16,
        /// Taken elsewhere.
        b: u16,
        /// The condition, `bool`.
        condition: u16,
        /// Result.
        y: u16,
    },
}

/// What a reduction makes of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReduceKind {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// The largest element; NaN stays.
    Max,
    /// The mean of the elements.
    Mean {
        /// Whether padding counts in the divisor.
        count_pad: bool,
    },
}

/// What a normalisation goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormKind {
    /// The elements of an image; there are no spatial axes longer than 1.
    Layer,
    /// The same by the root mean square, without a mean.
    Rms,
    /// The spatial axes of each channel of an image.
    Instance,
}

/// Pointwise functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Function {
    /// `x + b`.
    Add,
    /// `x · b`.
    Mul,
    /// `max(x, 0)`, and no more than `upper` if that is given.
    Relu {
        /// Upper bound.
        upper: Option<f64>,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Swish,
    /// `x - b`.
    Sub,
    /// `x / b`.
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// `-x`.
    Neg,
    /// Absolute value.
    Abs,
    /// `1 / x`.
    Reciprocal,
    /// Square root.
    Sqrt,
    /// e to the x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Error function.
    Erf,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// The position along an axis, as `i32`; the operand gives the sizes alone.
    Index {
        /// The axis.
        axis: u32,
    },
    /// Whether `x >= b`, as `bool`.
    AtLeast,
}

impl Function {
    /// Whether it takes two operands.
    pub const fn is_binary(self) -> bool {
        use Function::*;
        matches!(self, Add | Mul | Sub | Div | Max | Min | AtLeast)
    }
}

/// Bytes that every tensor in memory is aligned to, as graphs promise to cuDNN.
pub const TENSOR_ALIGNMENT: u64 = 16;

impl TensorSpec {
    /// A tensor whose channels (axis 1) lie innermost, without gaps.
    pub fn channels_last(dtype: DType, sizes: &[u64], role: Role) -> TensorSpec {
        let mut strides = vec![1; sizes.len()];
        let mut step = sizes.get(1).copied().unwrap_or(1);
        for axis in (2..sizes.len()).rev() {
            strides[axis] = step;
            step = step.saturating_mul(sizes[axis]);
        }
        if let Some(first) = strides.first_mut() {
            *first = step;
        }
        TensorSpec { dtype, sizes: sizes.to_vec(), strides, offset: 0, role }
    }

    /// A tensor in row-major order, without gaps.
    pub fn plain(dtype: DType, sizes: &[u64], role: Role) -> TensorSpec {
        let mut strides = vec![1; sizes.len()];
        for axis in (1..sizes.len()).rev() {
            strides[axis - 1] = sizes[axis].saturating_mul(strides[axis]);
        }
        TensorSpec { dtype, sizes: sizes.to_vec(), strides, offset: 0, role }
    }

    /// A number that is passed by value, for a graph whose tensors have `rank` axes.
    pub fn value(rank: usize, value: f32) -> TensorSpec {
        TensorSpec {
            dtype: DType::F32,
            sizes: vec![1; rank],
            strides: vec![1; rank],
            offset: 0,
            role: Role::Value(value.to_bits()),
        }
    }

    /// The same of an `i32`.
    pub fn integer(rank: usize, value: i32) -> TensorSpec {
        TensorSpec {
            dtype: DType::I32,
            role: Role::Value(value.cast_unsigned()),
            ..TensorSpec::value(rank, 0.0)
        }
    }
}

/// Bytes that each input and each output of a step must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgBytes {
    /// Of the inputs, in order.
    pub inputs: Vec<u64>,
    /// Of the outputs, in order.
    pub outputs: Vec<u64>,
}

impl GraphSpec {
    /// Where each discarded tensor begins in the step's scratch, and where cuDNN's own begins behind them, in bytes.
    pub(crate) fn discarded(&self) -> (BTreeMap<usize, u64>, u64) {
        let (mut offsets, mut end) = (BTreeMap::new(), 0u64);
        for (i, t) in self.tensors.iter().enumerate().filter(|(_, t)| t.role == Role::Discarded) {
            offsets.insert(i, end);
            // No step has that much scratch.
            let bytes = t.bytes().unwrap_or(u64::MAX / 2);
            end = end.saturating_add(bytes).checked_next_multiple_of(256).unwrap_or(u64::MAX);
        }
        (offsets, end)
    }
}

impl NodeSpec {
    /// Indices of what it reads, and of what it writes.
    pub(crate) fn tensors(&self) -> (Vec<usize>, usize) {
        let (reads, y) = match self {
            NodeSpec::Convolution { x, w, y, .. } => (vec![*x, *w], *y),
            NodeSpec::Pointwise { x, b, y, .. } => ([Some(*x), *b].into_iter().flatten().collect(), *y),
            NodeSpec::Pool { x, y, .. } => (vec![*x], *y),
            NodeSpec::MatMul { a, b, y } => (vec![*a, *b], *y),
            NodeSpec::Reduce { x, y, .. } => (vec![*x], *y),
            NodeSpec::Select { x, b, condition, y } => (vec![*x, *b, *condition], *y),
            NodeSpec::Normalize { x, scale, bias, epsilon, y, .. } => {
                ([Some(*x), Some(*scale), *bias, Some(*epsilon)].into_iter().flatten().collect(), *y)
            }
        };
        (reads.into_iter().map(usize::from).collect(), usize::from(y))
    }
}
