//! `softmax.any`, `norm.any`, `lrn.any`: what the kernels of `f32` are, for every float type, in plain layout. Computed in `f64`
//! and without vectors: for types that networks rarely compute with on a CPU.

use serde::{Deserialize, Serialize};
use tactician_types::DType;

use crate::float::{Float, per_float};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::ops::any::parts;
use crate::ops::grid::{Grid, product};
use crate::ops::norm::LrnShape;
use crate::ops::pointwise_any::size_of_any;
use crate::threads::{SharedMut, Threads};

fn float(dtype: DType) -> Result<(), KernelError> {
    match dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => Ok(()),
        t => Err(format!("{t} is no float that is computed with")),
    }
}

/// An operation that keeps the shape `[a, b, c]`.
fn same(dtype: DType, axes: [usize; 3]) -> Result<ArgSizes, KernelError> {
    float(dtype)?;
    product(&axes.map(|s| s.max(1)))?;
    let bytes = size_of_any(dtype, product(&axes)?)?;
    Ok(ArgSizes { inputs: vec![bytes], outputs: vec![bytes], scratch: 0 })
}

/// Softmax over the middle axis of `[outer, n, inner]`. Input: `x`. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoftmaxAny {
    /// Element type.
    pub dtype: DType,
    /// Axes before, multiplied.
    pub outer: usize,
    /// Length of the axis.
    pub n: usize,
    /// Axes after, multiplied.
    pub inner: usize,
    /// Whether the logarithm is meant.
    pub log: bool,
}

impl SoftmaxAny {
    fn run_typed<T: Float>(&self, args: &Args<'_>, threads: &Threads) {
        let (x, out) = (args.input::<T>(0), SharedMut::new(args.output::<T>(0)));
        let (n, inner) = (self.n, self.inner);
        if n == 0 {
            return;
        }
        threads.for_each_range(self.outer * inner, parts(threads), |_, range| {
            for lane in range {
                let first = lane / inner * n * inner + lane % inner;
                let at = |i: usize| x[first + i * inner].wide();
                let top = (0..n).map(at).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..n).map(|i| (at(i) - top).exp()).sum();
                for i in 0..n {
                    let below = at(i) - top;
                    let y = if self.log { below - sum.ln() } else { below.exp() / sum };
                    // SAFETY: lanes are disjoint and inside the output, whose length `sizes` gave.
                    unsafe { out.ptr(first + i * inner).write(T::round(y)) };
                }
            }
        });
    }
}

impl Kernel for SoftmaxAny {
    const NAME: &'static str = "softmax.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        same(self.dtype, [self.outer, self.n, self.inner])
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        per_float!(self.dtype, self.run_typed(args, threads));
    }
}

/// `(x − mean)/√(variance + epsilon)` of each row of `n` elements, or with `rms` `x/√(mean square + epsilon)`, times a scale, plus a
/// bias. Inputs: `x`, the parameters. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NormAny {
    /// Element type.
    pub dtype: DType,
    /// The axes of `x`, and which of them each parameter has: none, a scale, or a scale and a bias.
    pub grid: Grid,
    /// Length of a row, which divides the elements.
    pub n: usize,
    /// Whether the mean stays.
    pub rms: bool,
    /// Added under the root.
    pub epsilon: f32,
}

impl NormAny {
    fn run_typed<T: Float>(&self, args: &Args<'_>, threads: &Threads) {
        let (x, out) = (args.input::<T>(0), SharedMut::new(args.output::<T>(0)));
        let n = self.n;
        if x.is_empty() || n == 0 {
            return;
        }
        let parameters: Vec<(&[T], Vec<usize>)> =
            (0..self.grid.operands.len()).map(|i| (args.input::<T>(1 + i), self.strides(i))).collect();
        threads.for_each_range(x.len() / n, parts(threads), |_, range| {
            for row in range {
                let x = &x[row * n..][..n];
                let mean = if self.rms { 0.0 } else { x.iter().map(|v| v.wide()).sum::<f64>() / n as f64 };
                let square = x.iter().map(|v| (v.wide() - mean).powi(2)).sum::<f64>() / n as f64;
                let factor = 1.0 / (square + f64::from(self.epsilon)).sqrt();
                for (i, v) in x.iter().enumerate() {
                    let mut y = (v.wide() - mean) * factor;
                    for (which, (values, strides)) in parameters.iter().enumerate() {
                        let p = values[self.place(row * n + i, strides)].wide();
                        y = if which == 0 { y * p } else { y + p };
                    }
                    // SAFETY: rows are disjoint and inside the output, whose length `sizes` gave.
                    unsafe { out.ptr(row * n + i).write(T::round(y)) };
                }
            }
        });
    }

    /// Elements of a parameter from one to the next along each axis of `x`; 0 along those that it does not have.
    fn strides(&self, which: usize) -> Vec<usize> {
        let mut step = 1;
        let mut strides = vec![0; self.grid.sizes.len()];
        for (a, stride) in strides.iter_mut().enumerate().rev() {
            if self.grid.operands[which] >> a & 1 == 1 {
                *stride = step;
                step *= self.grid.sizes[a];
            }
        }
        strides
    }

    /// Where the parameter of an element lies.
    fn place(&self, mut element: usize, strides: &[usize]) -> usize {
        let mut at = 0;
        for (size, stride) in self.grid.sizes.iter().zip(strides).rev() {
            at += element % size * stride;
            element /= size;
        }
        at
    }
}

impl Kernel for NormAny {
    const NAME: &'static str = "norm.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        float(self.dtype)?;
        let (all, lens) = (self.grid.elements()?, self.grid.operand_lens()?);
        if lens.len() > 2 {
            return Err(format!("{} parameters of a normalisation", lens.len()));
        }
        if all > 0 && (self.n == 0 || !all.is_multiple_of(self.n)) {
            return Err(format!("{all} elements are no rows of {}", self.n));
        }
        let bytes = size_of_any(self.dtype, all)?;
        let mut inputs = vec![bytes];
        for n in lens {
            inputs.push(size_of_any(self.dtype, n)?);
        }
        Ok(ArgSizes { inputs, outputs: vec![bytes], scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        per_float!(self.dtype, self.run_typed(args, threads));
    }
}

/// Local response normalisation, as [`super::Lrn`]. Input: `x`. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LrnAny {
    /// Element type.
    pub dtype: DType,
    /// What is computed.
    pub shape: LrnShape,
}

impl LrnAny {
    fn run_typed<T: Float>(&self, args: &Args<'_>, threads: &Threads) {
        let (x, out) = (args.input::<T>(0), SharedMut::new(args.output::<T>(0)));
        let LrnShape { channels: c, inner, size, alpha, beta, bias, .. } = self.shape;
        let alpha = f64::from(alpha) / size as f64;
        threads.for_each_range(x.len(), parts(threads), |_, range| {
            for at in range {
                let (image, channel, i) = (at / inner / c, at / inner % c, at % inner);
                let near = self.shape.neighbours(channel);
                let sum: f64 = near.map(|k| x[(image * c + k) * inner + i].wide().powi(2)).sum();
                let y = x[at].wide() / (f64::from(bias) + alpha * sum).powf(f64::from(beta));
                // SAFETY: elements are disjoint and inside the output, whose length `sizes` gave.
                unsafe { out.ptr(at).write(T::round(y)) };
            }
        });
    }
}

impl Kernel for LrnAny {
    const NAME: &'static str = "lrn.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        same(self.dtype, self.shape.axes()?)
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        per_float!(self.dtype, self.run_typed(args, threads));
    }
}

#[cfg(test)]
#[path = "any_rows_tests.rs"]
mod tests;
