//! Resampling, as ONNX `Resize` defines it.

use crate::dim::Dim;
use crate::ops::{check_axis, check_float, check_not_narrow};
use crate::tensor::TensorType;

/// How an output coordinate maps to an input coordinate (ONNX names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ONNX defines these by name")]
pub enum CoordinateMode {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// How `Nearest` rounds (ONNX names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ONNX defines these by name")]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// The interpolation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(NearestMode),
    /// Linear in each resized axis.
    Linear {
        /// Whether to widen the kernel when shrinking.
        antialias: bool,
    },
    /// Cubic convolution in each resized axis.
    Cubic {
        /// Keys' `a`, usually -0.75 or -0.5.
        coefficient: f32,
        /// Whether neighbours outside the input count nothing, the rest being renormalised.
        exclude_outside: bool,
        /// Whether to widen the kernel when shrinking.
        antialias: bool,
    },
}

/// How one axis is resized.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeAxis {
    /// The axis.
    pub axis: usize,
    /// Output size.
    pub size: Dim,
    /// Output size over input size, as coordinates use it (given scales are used as given).
    pub scale: f32,
    /// Region of interest in units of the axis, for `TfCropAndResize`.
    pub roi: (f32, f32),
}

/// Resamples some axes; the others stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// The resized axes, ascending.
    pub axes: Vec<ResizeAxis>,
    /// The interpolation.
    pub mode: ResizeMode,
    /// The coordinate mapping.
    pub coordinates: CoordinateMode,
    /// Value outside the input, for `TfCropAndResize`.
    pub extrapolation: f32,
}

impl Resize {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        check_not_narrow(x)?;
        if !matches!(self.mode, ResizeMode::Nearest(_)) {
            check_float(x)?;
        }
        let mut shape = x.shape.clone();
        for (i, a) in self.axes.iter().enumerate() {
            check_axis(a.axis, x.rank())?;
            if i > 0 && self.axes[i - 1].axis >= a.axis {
                return Err("resized axes must ascend".into());
            }
            if !(a.scale.is_finite() && a.scale > 0.0) {
                return Err(format!("axis {} has scale {}, expected a positive number", a.axis, a.scale));
            }
            if x.shape.0[a.axis].is(0) && !a.size.is(0) {
                return Err(format!("axis {} of {x} is empty and cannot be resized to {}", a.axis, a.size));
            }
            shape.0[a.axis] = a.size.clone();
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}
