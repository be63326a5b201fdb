//! Operations that only move elements.

use tactician_types::{DType, Scalar};

use crate::dim::Dim;
use crate::ops::check_axis;
use crate::ops::conv::known_differ;
use crate::ops::pointwise::broadcast;
use crate::tensor::{MAX_RANK, Shape, TensorType};

/// The same elements, in row-major order, under another shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The shape, complete (no -1).
    pub shape: Shape,
}

/// Output axis `i` is input axis `perm[i]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// The permutation.
    pub perm: Vec<usize>,
}

/// NumPy broadcast to the common shape of the operand and `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expand {
    /// The shape to broadcast with.
    pub shape: Shape,
}

/// Joins operands along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

/// What a slice takes of one axis: elements `start, start + step, …`, `len` of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceAxis {
    /// The axis.
    pub axis: usize,
    /// First element.
    pub start: Dim,
    /// Number of elements.
    pub len: Dim,
    /// Step, not zero; negative runs backwards.
    pub step: i64,
}

/// A strided part of a tensor. Axes not named are taken whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// By ascending axis.
    pub axes: Vec<SliceAxis>,
}

/// What padding is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// A constant of the tensor's type.
    Constant(Scalar),
    /// Mirrored without repeating the edge.
    Reflect,
    /// The edge repeated.
    Edge,
    /// Wrapped round.
    Wrap,
}

/// Adds borders (never removes: negative pads are slices).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Before and after, one pair an axis.
    pub pads: Vec<(usize, usize)>,
    /// The filling.
    pub mode: PadMode,
}

/// `y[…, i…, …] = x[…, indices[i…], …]` along `axis`; indices `i32` or `i64`, negative ones count from the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The axis of `x` that is indexed.
    pub axis: usize,
}

/// `y[p] = x[p with its axis coordinate replaced by indices[p]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatherElements {
    /// The axis of `x` that is indexed.
    pub axis: usize,
}

impl Reshape {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        if self.shape.rank() > MAX_RANK {
            return Err(format!("rank {} is above the limit of {MAX_RANK}", self.shape.rank()));
        }
        let (from, to) = (x.shape.elements(), self.shape.elements());
        if known_differ(&from, &to) || (from.as_i64().is_some() != to.as_i64().is_some()) {
            return Err(format!("{x} has {from} elements, {} has {to}", self.shape));
        }
        Ok(TensorType { dtype: x.dtype, shape: self.shape.clone() })
    }
}

impl Transpose {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        let mut seen = vec![false; x.rank()];
        for &p in &self.perm {
            check_axis(p, x.rank())?;
            seen[p] = true;
        }
        if self.perm.len() != x.rank() || seen.contains(&false) {
            return Err(format!("{:?} is no permutation of the {} axes of {x}", self.perm, x.rank()));
        }
        let shape = self.perm.iter().map(|&p| x.shape.0[p].clone()).collect();
        Ok(TensorType { dtype: x.dtype, shape })
    }
}

impl Expand {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        Ok(TensorType { dtype: inputs[0].dtype, shape: broadcast(&[&inputs[0].shape, &self.shape])? })
    }
}

impl Concat {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let first = inputs[0];
        check_axis(self.axis, first.rank())?;
        let mut shape = first.shape.clone();
        for t in &inputs[1..] {
            if t.dtype != first.dtype || t.rank() != first.rank() {
                return Err(format!("{t} does not join {first}"));
            }
            for (i, (a, b)) in t.shape.0.iter().zip(&first.shape.0).enumerate() {
                if i != self.axis && known_differ(a, b) {
                    return Err(format!("{t} does not join {first}: axis {i} differs"));
                }
            }
            shape.0[self.axis] = shape.0[self.axis].clone() + t.shape.0[self.axis].clone();
        }
        Ok(TensorType { dtype: first.dtype, shape })
    }
}

impl Slice {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        let mut shape = x.shape.clone();
        for (i, a) in self.axes.iter().enumerate() {
            check_axis(a.axis, x.rank())?;
            if i > 0 && self.axes[i - 1].axis >= a.axis {
                return Err("slice axes must ascend".into());
            }
            if a.step == 0 {
                return Err("a slice step must not be zero".into());
            }
            if let (Some(s), Some(l), Some(n)) =
                (a.start.as_i64(), a.len.as_i64(), x.shape.0[a.axis].as_i64())
            {
                let last = i128::from(s) + (i128::from(l) - 1) * i128::from(a.step);
                let inside = |p: i128| p >= 0 && p < i128::from(n);
                if l < 0 || (l > 0 && !(inside(i128::from(s)) && inside(last))) {
                    return Err(format!(
                        "slice of axis {} (start {s}, length {l}, step {}) leaves {x}",
                        a.axis, a.step
                    ));
                }
            }
            shape.0[a.axis] = a.len.clone();
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}

impl Pad {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = inputs[0];
        if self.pads.len() != x.rank() {
            return Err(format!("{} pads for the {} axes of {x}", self.pads.len(), x.rank()));
        }
        if let PadMode::Constant(c) = self.mode
            && c.dtype != x.dtype
        {
            return Err(format!("pads {x} with a constant of type {}", c.dtype));
        }
        let mut shape = x.shape.clone();
        for (i, &(before, after)) in self.pads.iter().enumerate() {
            if let (PadMode::Reflect | PadMode::Edge | PadMode::Wrap, Some(n)) =
                (self.mode, x.shape.0[i].as_usize())
            {
                let limit = match self.mode {
                    PadMode::Reflect => n.saturating_sub(1),
                    PadMode::Wrap => n,
                    _ if n == 0 => 0,
                    _ => usize::MAX,
                };
                if before > limit || after > limit {
                    return Err(format!("axis {i} of {x} is too short for pads {before} and {after}"));
                }
            }
            shape.0[i] = shape.0[i].clone() + Dim::from(before) + Dim::from(after);
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}

pub(crate) fn check_indices(t: &TensorType) -> Result<(), String> {
    match t.dtype {
        DType::I32 | DType::I64 => Ok(()),
        other => Err(format!("indices must be i32 or i64, found {other}")),
    }
}

impl Gather {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (x, indices) = (inputs[0], inputs[1]);
        check_axis(self.axis, x.rank())?;
        check_indices(indices)?;
        let dims = &x.shape.0;
        let shape: Shape =
            dims[..self.axis].iter().chain(&indices.shape.0).chain(&dims[self.axis + 1..]).cloned().collect();
        if shape.rank() > MAX_RANK {
            return Err(format!("rank {} is above the limit of {MAX_RANK}", shape.rank()));
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}

impl GatherElements {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (x, indices) = (inputs[0], inputs[1]);
        check_axis(self.axis, x.rank())?;
        check_indices(indices)?;
        if indices.rank() != x.rank() {
            return Err(format!("indices {indices} and {x} need one rank"));
        }
        for (i, (d, n)) in indices.shape.0.iter().zip(&x.shape.0).enumerate() {
            if i != self.axis && matches!((d.as_i64(), n.as_i64()), (Some(d), Some(n)) if d > n) {
                return Err(format!("indices {indices} reach outside axis {i} of {x}"));
            }
        }
        Ok(TensorType { dtype: x.dtype, shape: indices.shape.clone() })
    }
}
