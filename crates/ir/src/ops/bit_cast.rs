//! Bits read as another type.

use tactician_types::DType;

use crate::tensor::TensorType;

/// The bits of each element as one of another type of the same size. Nothing becomes `bool`, which has two values only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitCast {
    /// The type of the result.
    pub to: DType,
}

impl BitCast {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        // A byte that holds fewer bits holds them as the type likes: a negative `i4` is not the byte of any `u4`.
        let known = x.dtype == self.to || x.dtype.bits() == self.to.bits() && self.to.bits() >= 8;
        if !known || self.to == DType::Bool && x.dtype != DType::Bool {
            return Err(format!("the bits of {x} are none of {}", self.to));
        }
        Ok(TensorType { dtype: self.to, shape: x.shape.clone() })
    }
}
