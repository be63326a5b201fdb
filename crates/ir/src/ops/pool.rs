//! Pooling.

use crate::dim::Dim;
use crate::ops::conv::window_output;
use crate::tensor::TensorType;

/// What a pool makes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Largest; padding is minus infinity.
    Max,
    /// Mean; over the window's elements inside the input, or with `count_pad` over those in the input and its
    /// padding (never beyond the padding).
    Average {
        /// Whether padding counts in the divisor.
        count_pad: bool,
    },
    /// `(Σ |x|^p)^(1/p)`.
    Lp {
        /// The exponent.
        p: u32,
    },
}

/// Pooling of each channel over windows of the spatial axes: `x [N, C, spatial…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// What is computed.
    pub kind: PoolKind,
    /// Window sizes, one a spatial axis.
    pub window: Vec<usize>,
    /// Step between windows.
    pub strides: Vec<usize>,
    /// Padding before and after.
    pub pads: Vec<(usize, usize)>,
    /// Step inside a window.
    pub dilations: Vec<usize>,
    /// Whether a last, partial window counts.
    pub ceil: bool,
}

impl Pool {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        let n = self.window.len();
        if n == 0 || x.rank() != n + 2 {
            return Err(format!("a pool over {n} spatial axes needs rank {}, found {x}", n + 2));
        }
        if self.strides.len() != n || self.pads.len() != n || self.dilations.len() != n {
            return Err(format!("attributes need one entry for each of {n} spatial axes"));
        }
        if self.strides.contains(&0) || self.dilations.contains(&0) || self.window.contains(&0) {
            return Err("windows, strides and dilations must be at least 1".into());
        }
        if matches!(self.kind, PoolKind::Lp { p: 0 }) {
            return Err("an Lp pool needs p of at least 1".into());
        }
        if !(x.dtype.is_float() || self.kind == PoolKind::Max && x.dtype.is_int()) {
            return Err(format!("this pool does not apply to {}", x.dtype));
        }
        let mut shape = x.shape.clone();
        for i in 0..n {
            shape.0[2 + i] = window_output(
                &x.shape.0[2 + i],
                &Dim::from(self.window[i]),
                self.strides[i],
                self.pads[i],
                self.dilations[i],
                self.ceil,
            )?;
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}
