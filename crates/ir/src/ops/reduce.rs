//! Reductions and softmax.

use tactician_types::DType;

use crate::dim::Dim;
use crate::ops::{check_axis, check_float, check_not_narrow};
use crate::tensor::TensorType;

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the definitions")]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    /// `Σ x²`.
    SumSquare,
    /// `Σ |x|`.
    L1,
    /// `√Σ x²`.
    L2,
    /// `ln Σ x`.
    LogSum,
    /// `ln Σ exp x`, without overflow.
    LogSumExp,
}

/// Reduction over whole axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Axes, ascending. None reduces nothing (`Sum` is then the identity).
    pub axes: Vec<usize>,
    /// Whether reduced axes stay with size 1.
    pub keep_dims: bool,
}

/// Index of the largest (or smallest) element along an axis, as `i64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Largest rather than smallest.
    pub largest: bool,
    /// The axis.
    pub axis: usize,
    /// Whether the axis stays with size 1.
    pub keep_dims: bool,
    /// Among equals the last rather than the first.
    pub last: bool,
}

/// `exp(x) / Σ exp(x)` along an axis, or its logarithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
    /// Whether the logarithm is meant.
    pub log: bool,
}

impl Reduce {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        use ReduceKind::*;
        let x = inputs[0];
        if self.axes.windows(2).any(|w| w[0] >= w[1]) {
            return Err(format!("reduction axes {:?} must ascend", self.axes));
        }
        self.axes.iter().try_for_each(|&a| check_axis(a, x.rank()))?;
        match self.kind {
            LogSum | LogSumExp | L2 => check_float(x)?,
            _ if x.dtype.is_narrow() => check_not_narrow(x)?,
            Max | Min => {}
            _ if x.dtype == DType::Bool => return Err("this reduction does not apply to bool".into()),
            _ => {}
        }
        let mut out = TensorType { dtype: x.dtype, shape: Default::default() };
        for (i, d) in x.shape.dims().iter().enumerate() {
            if !self.axes.contains(&i) {
                out.shape.0.push(d.clone());
            } else if self.keep_dims {
                out.shape.0.push(Dim::known(1));
            }
        }
        Ok(out)
    }
}

impl ArgReduce {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        check_not_narrow(x)?;
        check_axis(self.axis, x.rank())?;
        if x.shape.0[self.axis].is(0) {
            return Err(format!("axis {} of {x} is empty", self.axis));
        }
        let mut shape = x.shape.clone();
        if self.keep_dims {
            shape.0[self.axis] = Dim::known(1);
        } else {
            shape.0.remove(self.axis);
        }
        Ok(TensorType { dtype: DType::I64, shape })
    }
}

impl Softmax {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        check_float(inputs[0])?;
        check_axis(self.axis, inputs[0].rank())?;
        Ok(inputs[0].clone())
    }
}
