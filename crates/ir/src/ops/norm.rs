//! Normalisations. `epsilon` is added to the variance before the square root.

use crate::ops::conv::known_differ;
use crate::ops::pointwise::broadcast;
use crate::ops::{check_axis, check_float};
use crate::tensor::TensorType;

/// `scale·(x − mean)/√(variance + epsilon) + bias`, statistics given per channel (axis 1).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Normalisation over all axes from `axis` on; scale and bias broadcast over those axes.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// First normalised axis.
    pub axis: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `x / √(mean(x²) + epsilon) · scale` over all axes from `axis` on.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// First normalised axis.
    pub axis: usize,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Normalisation of each channel of each image over its spatial axes; scale and bias per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Normalisation of each group of channels of each image; scale and bias per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `x / (bias + alpha/size · Σ x²)^beta` over `size` neighbouring channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in the sum, centred (one more after than before when even).
    pub size: usize,
    /// Scale of the sum.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant term.
    pub bias: f32,
}

fn per_channel(inputs: &[&TensorType]) -> Result<TensorType, String> {
    let x = inputs[0];
    check_float(x)?;
    if x.rank() < 2 {
        return Err(format!("needs rank 2 or more, found {x}"));
    }
    for p in &inputs[1..] {
        if p.dtype != x.dtype || p.rank() != 1 || known_differ(&p.shape.0[0], &x.shape.0[1]) {
            return Err(format!("parameter {p} must be {}[{}]", x.dtype, x.shape.0[1]));
        }
    }
    Ok(x.clone())
}

fn over_tail(inputs: &[&TensorType], axis: usize) -> Result<TensorType, String> {
    let x = inputs[0];
    check_float(x)?;
    check_axis(axis, x.rank())?;
    for p in &inputs[1..] {
        let whole = broadcast(&[&x.shape, &p.shape])?;
        if p.dtype != x.dtype || whole != x.shape {
            return Err(format!("parameter {p} does not broadcast to {x}"));
        }
    }
    Ok(x.clone())
}

impl BatchNorm {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        per_channel(inputs)
    }
}

impl LayerNorm {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        over_tail(inputs, self.axis)
    }
}

impl RmsNorm {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        over_tail(inputs, self.axis)
    }
}

impl InstanceNorm {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        per_channel(inputs)
    }
}

impl GroupNorm {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let c = inputs[0].shape.0.get(1).and_then(|d| d.as_usize());
        if self.groups == 0 || c.is_some_and(|c| c % self.groups != 0) {
            return Err(format!("the channels of {} do not divide into {} groups", inputs[0], self.groups));
        }
        per_channel(inputs)
    }
}

impl Lrn {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if self.size == 0 {
            return Err("the size must be at least 1".into());
        }
        per_channel(inputs)
    }
}
