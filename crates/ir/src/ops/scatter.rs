//! Writing by index, and the order of elements.

use tactician_types::DType;

use crate::dim::Dim;
use crate::ops::conv::known_differ;
use crate::ops::movement::check_indices;
use crate::ops::{check_axis, check_not_narrow};
use crate::tensor::TensorType;

/// What an update makes of the element that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterReduction {
    /// The update; of several for one place the last in row-major order.
    Replace,
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The larger; NaN if either is NaN.
    Max,
    /// The smaller; NaN if either is NaN.
    Min,
}

/// `y = x`, then for every position `p` of `updates`, in row-major order, `y[p with its axis coordinate replaced by
/// indices[p]]` and `updates[p]` become one. Indices `i32` or `i64`, negative ones count from the end; kernels leave
/// out updates whose index is outside the axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScatterElements {
    /// The axis of `x` that is indexed.
    pub axis: usize,
    /// What becomes of an element and its update.
    pub reduction: ScatterReduction,
}

/// Places along an axis of its `k` largest (smallest) elements, best first, as `i64`; among equals the earlier, NaN
/// above every number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// The axis.
    pub axis: usize,
    /// How many.
    pub k: usize,
    /// Largest rather than smallest.
    pub largest: bool,
}

impl ScatterElements {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (x, indices, updates) = (inputs[0], inputs[1], inputs[2]);
        check_axis(self.axis, x.rank())?;
        check_indices(indices)?;
        if updates.dtype != x.dtype {
            return Err(format!("updates {updates} for {x}"));
        }
        if self.reduction != ScatterReduction::Replace {
            check_not_narrow(x)?;
        }
        if x.dtype == DType::Bool && self.reduction != ScatterReduction::Replace {
            return Err("bool elements can only be replaced".into());
        }
        if indices.rank() != x.rank() || updates.rank() != x.rank() {
            return Err(format!("{x}, indices {indices} and updates {updates} need one rank"));
        }
        for (a, (i, u)) in indices.shape.0.iter().zip(&updates.shape.0).enumerate() {
            if known_differ(i, u) {
                return Err(format!("indices {indices} and updates {updates} differ on axis {a}"));
            }
            let most = &x.shape.0[a];
            if a != self.axis && matches!((i.as_i64(), most.as_i64()), (Some(i), Some(n)) if i > n) {
                return Err(format!("indices {indices} reach outside axis {a} of {x}"));
            }
        }
        Ok(x.clone())
    }
}

impl TopK {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        check_not_narrow(x)?;
        check_axis(self.axis, x.rank())?;
        if x.shape.0[self.axis].as_usize().is_some_and(|n| self.k > n) {
            return Err(format!("{} elements of axis {} of {x}", self.k, self.axis));
        }
        let mut shape = x.shape.clone();
        shape.0[self.axis] = Dim::from(self.k);
        Ok(TensorType { dtype: DType::I64, shape })
    }
}
