//! `attention.any`: attention by its definition over any float type: slow, for what no fast kernel takes.

use serde::{Deserialize, Serialize};
use tactician_types::DType;

use super::AttentionShape;
use crate::float::{Float, per_float};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::threads::{SharedMut, Threads};

/// Values of a result that are summed at one time.
const TOGETHER: usize = 64;

/// Attention of any float type, computed in `f64`. Inputs: q, k, v, mask if there is one. No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlainAttention {
    /// Element type.
    pub dtype: DType,
    /// Sizes and parameters.
    pub shape: AttentionShape,
}

impl PlainAttention {
    fn run_typed<T: Float>(&self, args: &Args<'_>, threads: &Threads) {
        let s = &self.shape;
        let (q, k, v) = (args.input::<T>(0), args.input::<T>(1), args.input::<T>(2));
        let mask: &[T] = if s.mask.is_some() { args.input(3) } else { &[] };
        let steps = s.mask_steps();
        let out = SharedMut::new(args.output::<T>(0));
        let (scale, cap) = (f64::from(s.scale), f64::from(s.softcap));
        let rows = s.batches * s.heads * s.queries;
        let rows_of = [0, 1, 2, 3].map(|which| s.strides(which).row);
        if s.value_size == 0 {
            return;
        }
        threads.for_each_range(rows, threads.count() * 4, |_, range| {
            for row in range {
                let (matrix, i) = (row / s.queries, row % s.queries);
                let [of_q, of_k, of_v, of_y] = [0, 1, 2, 3].map(|which| s.start(which, matrix));
                let masked = matrix / s.heads * steps[0] + matrix % s.heads * steps[1] + i * steps[2];
                let seen = s.seen(i);
                let score = |j: usize| {
                    let q = &q[of_q + i * rows_of[0]..][..s.size];
                    let k = &k[of_k + j * rows_of[1]..][..s.size];
                    let mut x = q.iter().zip(k).map(|(a, b)| a.wide() * b.wide()).sum::<f64>() * scale;
                    if cap > 0.0 {
                        x = cap * (x / cap).tanh();
                    }
                    if mask.is_empty() { x } else { x + mask[masked + j * steps[3]].wide() }
                };
                let (mut top, mut sum) = (f64::NEG_INFINITY, 0.0);
                for j in 0..seen {
                    let x = score(j);
                    if x > top || x.is_nan() {
                        sum *= if top == f64::NEG_INFINITY { 0.0 } else { (top - x).exp() };
                        top = x;
                    }
                    if x != f64::NEG_INFINITY {
                        sum += (x - top).exp();
                    }
                }
                // SAFETY: this row's outputs, inside the output.
                let out = unsafe { out.slice(of_y + i * rows_of[3], s.value_size) };
                for (at, out) in out.chunks_mut(TOGETHER).enumerate() {
                    let mut sums = [0.0; TOGETHER];
                    for j in 0..seen {
                        let x = score(j);
                        if x == f64::NEG_INFINITY {
                            continue;
                        }
                        let w = (x - top).exp() / sum;
                        let values = &v[of_v + j * rows_of[2] + at * TOGETHER..];
                        for (sum, v) in sums[..out.len()].iter_mut().zip(values) {
                            *sum += w * v.wide();
                        }
                    }
                    for (o, sum) in out.iter_mut().zip(sums) {
                        *o = T::round(sum);
                    }
                }
            }
        });
    }
}

impl Kernel for PlainAttention {
    const NAME: &'static str = "attention.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        if !self.dtype.is_float() {
            return Err(format!("attention of {}", self.dtype));
        }
        let mut inputs: Vec<u64> =
            self.shape.lens()?.into_iter().map(|n| (n * self.dtype.size()) as u64).collect();
        let outputs = inputs.pop().into_iter().collect();
        Ok(ArgSizes { inputs, outputs, scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        per_float!(self.dtype, self.run_typed(args, threads));
    }
}
