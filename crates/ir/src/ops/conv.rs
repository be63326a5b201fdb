//! Convolutions. Layout of operands: `x [N, C, spatial…]`, `w [K, C/groups, window…]`, `bias [K]`.

use crate::dim::Dim;
use crate::ops::check_float;
use crate::tensor::{Shape, TensorType};

/// Cross-correlation as ONNX `Conv`: `y[n,k,o] = Σ_{c,r} x[n, c, o·stride + r·dilation − pad_begin] · w[k,c,r] + bias[k]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Step between windows, one a spatial axis.
    pub strides: Vec<usize>,
    /// Zeros before and after, one pair a spatial axis.
    pub pads: Vec<(usize, usize)>,
    /// Step inside a window.
    pub dilations: Vec<usize>,
    /// Channel groups.
    pub groups: usize,
}

/// Transposed convolution as ONNX `ConvTranspose`: operands `x [N, C, …]`, `w [C, K/groups, window…]`, `bias [K]`;
/// output size `(in − 1)·stride + output_padding + (window − 1)·dilation + 1 − pad_begin − pad_end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose {
    /// Step between the places that neighbouring inputs scatter to.
    pub strides: Vec<usize>,
    /// Cropped from the result before and after.
    pub pads: Vec<(usize, usize)>,
    /// Step inside a window.
    pub dilations: Vec<usize>,
    /// Added at the end of each axis.
    pub output_padding: Vec<usize>,
    /// Channel groups.
    pub groups: usize,
}

impl Conv {
    /// A convolution over `spatial` axes with stride 1, no padding, no dilation, one group.
    pub fn unit(spatial: usize) -> Conv {
        Conv {
            strides: vec![1; spatial],
            pads: vec![(0, 0); spatial],
            dilations: vec![1; spatial],
            groups: 1,
        }
    }

    /// Whether this is a plain 1x1-style convolution for the given window: no padding, stride and dilation 1.
    pub fn is_pointwise(&self, window: &[usize]) -> bool {
        window.iter().all(|&k| k == 1)
            && self.strides.iter().all(|&s| s == 1)
            && self.pads.iter().all(|&p| p == (0, 0))
    }

    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let n = check_operands(x, w, inputs.get(2).copied())?;
        check_lengths(n, &[self.strides.len(), self.pads.len(), self.dilations.len()])?;
        check_positive(&[&self.strides, &self.dilations], self.groups)?;
        let (c, per_group, k) = (&x.shape.0[1], &w.shape.0[1], &w.shape.0[0]);
        if known_differ(c, &(per_group.clone() * Dim::from(self.groups))) {
            return Err(format!(
                "x {x} has {c} channels, but w {w} in {} groups takes {}",
                self.groups,
                per_group.clone() * Dim::from(self.groups)
            ));
        }
        if k.as_usize().is_some_and(|k| k % self.groups != 0) {
            return Err(format!("{k} output channels do not divide into {} groups", self.groups));
        }
        check_bias(inputs.get(2).copied(), k)?;
        let mut shape = vec![x.shape.0[0].clone(), k.clone()];
        for i in 0..n {
            shape.push(window_output(
                &x.shape.0[2 + i],
                &w.shape.0[2 + i],
                self.strides[i],
                self.pads[i],
                self.dilations[i],
                false,
            )?);
        }
        Ok(TensorType { dtype: x.dtype, shape: shape.into_iter().collect() })
    }
}

impl ConvTranspose {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let n = check_operands(x, w, inputs.get(2).copied())?;
        check_lengths(
            n,
            &[self.strides.len(), self.pads.len(), self.dilations.len(), self.output_padding.len()],
        )?;
        check_positive(&[&self.strides, &self.dilations], self.groups)?;
        if known_differ(&x.shape.0[1], &w.shape.0[0]) {
            return Err(format!("x {x} and w {w} disagree on the number of input channels"));
        }
        if x.shape.0[1].as_usize().is_some_and(|c| c % self.groups != 0) {
            return Err(format!("{} input channels do not divide into {} groups", x.shape.0[1], self.groups));
        }
        let k = w.shape.0[1].clone() * Dim::from(self.groups);
        check_bias(inputs.get(2).copied(), &k)?;
        let mut shape: Shape = [x.shape.0[0].clone(), k].into_iter().collect();
        for i in 0..n {
            let (input, window) = (x.shape.0[2 + i].clone(), w.shape.0[2 + i].clone());
            let full = (input - Dim::known(1)) * Dim::from(self.strides[i])
                + (window - Dim::known(1)) * Dim::from(self.dilations[i])
                + Dim::known(1)
                + Dim::from(self.output_padding[i]);
            let out = full - Dim::from(self.pads[i].0) - Dim::from(self.pads[i].1);
            if out.as_i64().is_some_and(|o| o < 0) {
                return Err(format!("pads {:?} crop more than axis {i} has", self.pads[i]));
            }
            shape.0.push(out);
        }
        Ok(TensorType { dtype: x.dtype, shape })
    }
}

/// Positions of a window on a padded axis: `floor((in + pads − ((k−1)·d+1)) / s) + 1`, or the ceiling with
/// `ceil` (then the last window must start inside the input or its leading padding, as ONNX and PyTorch agree).
pub(crate) fn window_output(
    input: &Dim,
    window: &Dim,
    stride: usize,
    pads: (usize, usize),
    dilation: usize,
    ceil: bool,
) -> Result<Dim, String> {
    let span = (window.clone() - Dim::known(1)) * Dim::from(dilation) + Dim::known(1);
    let padded = input.clone() + Dim::from(pads.0) + Dim::from(pads.1);
    let free = padded.clone() - span.clone();
    if window.as_i64().is_some_and(|w| w < 1) {
        return Err("a window must have at least one element".into());
    }
    if free.as_i64().is_some_and(|f| f < 0) {
        return Err(format!("a window spanning {span} does not fit an axis of {input} padded by {pads:?}"));
    }
    let s = Dim::from(stride);
    let mut out = if ceil { free.div_ceil(&s) } else { free.div_floor(&s) } + Dim::known(1);
    if ceil && let (Some(o), Some(i)) = (out.as_usize(), input.as_usize()) {
        // A window that would start in the trailing padding is dropped.
        if o > 0 && (o - 1).saturating_mul(stride) >= i.saturating_add(pads.0) {
            out = Dim::from(o - 1);
        }
    }
    Ok(out)
}

fn check_operands(x: &TensorType, w: &TensorType, bias: Option<&TensorType>) -> Result<usize, String> {
    check_float(x)?;
    if x.dtype != w.dtype || bias.is_some_and(|b| b.dtype != x.dtype) {
        return Err(format!("x is {} but the weights are {}", x.dtype, w.dtype));
    }
    let n = x.rank().checked_sub(2).filter(|&n| n > 0);
    match n {
        Some(n) if w.rank() == x.rank() => Ok(n),
        _ => Err(format!("x {x} and w {w} need one rank of at least 3")),
    }
}

fn check_lengths(n: usize, lengths: &[usize]) -> Result<(), String> {
    if lengths.iter().all(|&l| l == n) {
        Ok(())
    } else {
        Err(format!("attributes need one entry for each of {n} spatial axes"))
    }
}

fn check_positive(lists: &[&Vec<usize>], groups: usize) -> Result<(), String> {
    if groups == 0 || lists.iter().any(|l| l.contains(&0)) {
        return Err("strides, dilations and groups must be at least 1".into());
    }
    Ok(())
}

fn check_bias(bias: Option<&TensorType>, k: &Dim) -> Result<(), String> {
    match bias {
        Some(b) if b.rank() != 1 || known_differ(&b.shape.0[0], k) => {
            Err(format!("the bias is {b}, expected {k} values"))
        }
        _ => Ok(()),
    }
}

/// Whether two sizes are certainly different.
pub(crate) fn known_differ(a: &Dim, b: &Dim) -> bool {
    matches!((a.as_i64(), b.as_i64()), (Some(x), Some(y)) if x != y)
}
