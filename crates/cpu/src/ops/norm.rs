//! `norm`: each row brought to mean 0 and variance 1 (or mean square 1), and `lrn`: division by the size of
//! neighbouring channels; `f32`.
//!
//! Scales and biases are part of the epilogue, so one kernel serves layer, instance, group and root-mean-square
//! normalisation.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::level::per_level;
use crate::ops::grid::{GridExpr, ReadyGrid};
use crate::ops::reduce_fold::{Deviation, Plan, Square, Sum, fold_row};
use crate::ops::softmax::sizes_over;
use crate::threads::{SharedMut, Threads};
use crate::vmath;

/// `(x − mean)/√(variance + epsilon)` of each row of `[rows, n]`, or with `rms` `x/√(mean square + epsilon)`; mean and
/// variance in two passes. Inputs: `x`, epilogue operands. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Norm {
    /// Number of rows.
    pub rows: usize,
    /// Length of a row.
    pub n: usize,
    /// Whether the mean stays.
    pub rms: bool,
    /// Added under the root.
    pub epsilon: f32,
    /// What follows, scale and bias included.
    pub epilogue: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<NormReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct NormReady {
    epilogue: Option<ReadyGrid>,
    plan: Plan,
}

/// Elements that are scaled and then given to the epilogue.
const CHUNK: usize = 4096;

impl Kernel for Norm {
    const NAME: &'static str = "norm";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        sizes_over([self.rows, self.n, 1], &self.epilogue)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready =
            Some(NormReady { epilogue: self.epilogue.epilogue(isa)?, plan: Plan::whole_row(self.n) });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let NormReady { epilogue, plan } = self.ready.as_ref().expect("prepared");
        let n = self.n;
        if n == 0 {
            return;
        }
        let (x, out) = (args.input::<f32>(0), SharedMut::new(args.output::<f32>(0)));
        let level = threads.level();
        let parts = if threads.count() == 1 || self.rows * n < 1 << 13 { 1 } else { threads.count() * 4 };
        threads.for_each_range(self.rows, parts, |_, range| {
            for row in range {
                let x = &x[row * n..][..n];
                let (mean, square) = if self.rms {
                    (0.0, fold_row::<Square>(level, plan, x, 0.0))
                } else {
                    let mean = fold_row::<Sum>(level, plan, x, 0.0) / n as f32;
                    (mean, fold_row::<Deviation>(level, plan, x, mean))
                };
                let scale = 1.0 / (square / n as f32 + self.epsilon).sqrt();
                for (i, x) in x.chunks(CHUNK).enumerate() {
                    let start = row * n + i * CHUNK;
                    // SAFETY: chunks are disjoint and inside the output, whose length `sizes` gave.
                    let out = unsafe { out.slice(start, x.len()) };
                    shift_scale(level, x, mean, scale, out);
                    if let Some(e) = epilogue {
                        e.finish(start, out, &|i| args.input::<f32>(1 + i));
                    }
                }
            }
        });
    }
}

per_level! {
    fn shift_scale(x: &[f32], mean: f32, scale: f32, out: &mut [f32]) = shift_scale_body
}

#[inline(always)]
fn shift_scale_body<const FMA: bool>(x: &[f32], mean: f32, scale: f32, out: &mut [f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o = (x - mean) * scale;
    }
}

/// Sizes and parameters of a local response normalisation: `x / (bias + alpha/size · Σ x²)^beta` over `size` neighbouring channels
/// of `[outer, channels, inner]`, one more after than before when `size` is even.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LrnShape {
    /// Images.
    pub outer: usize,
    /// Channels.
    pub channels: usize,
    /// Elements of a channel.
    pub inner: usize,
    /// Channels in a sum, at least 1.
    pub size: usize,
    /// Scale of the sum.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant term.
    pub bias: f32,
}

impl LrnShape {
    /// The axes, once the size is checked.
    pub(super) fn axes(&self) -> Result<[usize; 3], KernelError> {
        if self.size == 0 {
            return Err("the size must be at least 1".into());
        }
        Ok([self.outer, self.channels, self.inner])
    }

    /// The channels that are summed for one.
    pub(super) fn neighbours(&self, channel: usize) -> Range<usize> {
        let end = channel.saturating_add(self.size / 2).saturating_add(1);
        channel.saturating_sub((self.size - 1) / 2)..end.min(self.channels)
    }
}

/// Local response normalisation. Inputs: `x`, epilogue operands. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lrn {
    /// What is computed.
    pub shape: LrnShape,
    /// What follows.
    pub epilogue: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<LrnReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct LrnReady(Option<ReadyGrid>);

/// Elements of a channel that are worked on together.
const WIDTH: usize = 256;

impl Kernel for Lrn {
    const NAME: &'static str = "lrn";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        sizes_over(self.shape.axes()?, &self.epilogue)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(LrnReady(self.epilogue.epilogue(isa)?));
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let LrnReady(epilogue) = self.ready.as_ref().expect("prepared");
        let LrnShape { outer, channels: c, inner, .. } = self.shape;
        if outer * c * inner == 0 {
            return;
        }
        let (x, out) = (args.input::<f32>(0), SharedMut::new(args.output::<f32>(0)));
        let level = threads.level();
        let per_outer = inner.div_ceil(WIDTH) * c;
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        threads.for_each_range(outer * per_outer, parts, |_, range| {
            for unit in range {
                let (image, channel) = (unit / per_outer * c, unit % c);
                let at = unit % per_outer / c * WIDTH;
                let start = (image + channel) * inner + at;
                let len = WIDTH.min(inner - at);
                // SAFETY: units are disjoint and inside the output, whose length `sizes` gave.
                let out = unsafe { out.slice(start, len) };
                let near = self.shape.neighbours(channel);
                let planes = &x[(image + near.start) * inner + at..];
                lrn_piece(level, &self.shape, planes, near.len(), &x[start..start + len], out);
                if let Some(e) = epilogue {
                    e.finish(start, out, &|i| args.input::<f32>(1 + i));
                }
            }
        });
    }
}

per_level! {
    fn lrn_piece(lrn: &LrnShape, planes: &[f32], count: usize, x: &[f32], out: &mut [f32]) = lrn_body
}

#[inline(always)]
fn lrn_body<const FMA: bool>(lrn: &LrnShape, planes: &[f32], count: usize, x: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for p in 0..count {
        for (o, v) in out.iter_mut().zip(&planes[p * lrn.inner..]) {
            *o += v * v;
        }
    }
    let scale = lrn.alpha / lrn.size as f32;
    for (o, x) in out.iter_mut().zip(x) {
        *o = x * vmath::pow::<FMA>(lrn.bias + scale * *o, -lrn.beta);
    }
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
