//! `softmax`: softmax or its logarithm along one axis, `f32`.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::level::per_level;
use crate::ops::grid::{GridExpr, ReadyGrid, product};
use crate::threads::{SharedMut, Threads};
use crate::vmath;

/// Softmax over the middle axis of `[outer, n, inner]`, the largest element subtracted first. Inputs: `x`, epilogue
/// operands. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Softmax {
    /// Axes before, multiplied.
    pub outer: usize,
    /// Length of the axis.
    pub n: usize,
    /// Axes after, multiplied.
    pub inner: usize,
    /// Whether the logarithm is meant.
    pub log: bool,
    /// What follows.
    pub epilogue: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<SoftmaxReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct SoftmaxReady(Option<ReadyGrid>);

/// Columns that are worked on together.
const WIDTH: usize = 64;

/// Checks a kernel over `[a, b, c]` that keeps its shape, with an epilogue.
pub(crate) fn sizes_over(axes: [usize; 3], epilogue: &GridExpr) -> Result<ArgSizes, KernelError> {
    product(&axes.map(|s| s.max(1)))?;
    let len = product(&axes)?;
    let mut inputs = vec![size_of_f32(Some(len))?];
    inputs.extend(epilogue.epilogue_bytes(len)?);
    Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(len))?], scratch: 0 })
}

impl Kernel for Softmax {
    const NAME: &'static str = "softmax";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        sizes_over([self.outer, self.n, self.inner], &self.epilogue)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(SoftmaxReady(self.epilogue.epilogue(isa)?));
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let SoftmaxReady(epilogue) = self.ready.as_ref().expect("prepared");
        let (n, inner) = (self.n, self.inner);
        let (x, out) = (args.input::<f32>(0), SharedMut::new(args.output::<f32>(0)));
        if self.outer * n * inner == 0 {
            return;
        }
        let (level, log) = (threads.level(), self.log);
        let per_outer = inner.div_ceil(WIDTH);
        let small = self.outer * n * inner < 1 << 12;
        let parts = if threads.count() == 1 || small { 1 } else { threads.count() * 4 };
        threads.for_each_range(self.outer * per_outer, parts, |_, range| {
            for unit in range {
                let (outer, at) = (unit / per_outer, unit % per_outer * WIDTH);
                let (from, len) = (outer * n * inner + at, WIDTH.min(inner - at));
                let finish = |start: usize, len: usize| {
                    if let Some(e) = epilogue {
                        // SAFETY: units are disjoint: a unit's rows lie `inner` apart and end before the next unit's
                        // columns; all are inside the output, whose length `sizes` gave.
                        let values = unsafe { out.slice(start, len) };
                        e.finish(start, values, &|i| args.input::<f32>(1 + i));
                    }
                };
                if inner == 1 {
                    // SAFETY: as above.
                    let values = unsafe { out.slice(from, n) };
                    softmax_row(level, log, &x[from..from + n], values);
                    finish(from, n);
                    continue;
                }
                let x = &x[from..];
                // SAFETY: as above; the columns lie inside `n` rows from `from` on.
                unsafe {
                    let out = out.ptr(from);
                    match len {
                        WIDTH => columns::<WIDTH>(level, log, n, inner, x, out),
                        len => {
                            for at in 0..len / 8 {
                                columns::<8>(level, log, n, inner, &x[at * 8..], out.add(at * 8));
                            }
                            for at in len / 8 * 8..len {
                                columns::<1>(level, log, n, inner, &x[at..], out.add(at));
                            }
                        }
                    }
                }
                for j in 0..n {
                    finish(from + j * inner, len);
                }
            }
        });
    }
}

per_level! {
    fn softmax_row(log: bool, x: &[f32], out: &mut [f32]) = row_body
}

#[inline(always)]
fn row_body<const FMA: bool>(log: bool, x: &[f32], out: &mut [f32]) {
    const LANES: usize = 32;
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for v in whole {
        for l in 0..LANES {
            most[l] = vmath::max(most[l], v[l]);
        }
    }
    let mut m = f32::NEG_INFINITY;
    for &v in most.iter().chain(rest) {
        m = vmath::max(m, v);
    }
    let mut sums = [0.0; LANES];
    let (to, to_rest) = out.as_chunks_mut::<LANES>();
    for (v, o) in whole.iter().zip(to) {
        for l in 0..LANES {
            o[l] = vmath::exp::<FMA>(v[l] - m);
        }
        for l in 0..LANES {
            sums[l] += o[l];
        }
    }
    let mut sum = 0.0;
    for (v, o) in rest.iter().zip(to_rest) {
        *o = vmath::exp::<FMA>(v - m);
        sum += *o;
    }
    let sum = sum + sums.iter().sum::<f32>();
    if log {
        let shift = sum.ln();
        for (o, v) in out.iter_mut().zip(x) {
            *o = (v - m) - shift;
        }
    } else {
        let scale = 1.0 / sum;
        out.iter_mut().for_each(|o| *o *= scale);
    }
}

/// `L` columns of `n` rows that lie `inner` apart.
///
/// # Safety
/// Every row has `L` elements at `out`, which nothing else touches.
unsafe fn columns<const L: usize>(
    level: crate::Level,
    log: bool,
    n: usize,
    inner: usize,
    x: &[f32],
    out: *mut f32,
) {
    softmax_columns::<L>(level, log, n, inner, x, Rows(out));
}

/// Rows of output whose writing the caller of [`columns`] answers for.
#[derive(Clone, Copy)]
struct Rows(*mut f32);

per_level! {
    fn softmax_columns[const L: usize](log: bool, n: usize, inner: usize, x: &[f32], out: Rows) = columns_body[L]
}

#[inline(always)]
fn columns_body<const FMA: bool, const L: usize>(log: bool, n: usize, inner: usize, x: &[f32], out: Rows) {
    let row = |j: usize| x[j * inner..].first_chunk::<L>().expect("rows are inside the input");
    // SAFETY: row `j < n` of the output has `L` elements, as the caller of `columns` promised.
    let to = |j: usize| unsafe { &mut *out.0.add(j * inner).cast::<[f32; L]>() };
    let mut most = [f32::NEG_INFINITY; L];
    for j in 0..n {
        let v = row(j);
        for l in 0..L {
            most[l] = vmath::max(most[l], v[l]);
        }
    }
    let mut sums = [0.0; L];
    for j in 0..n {
        let (v, o) = (row(j), to(j));
        for l in 0..L {
            let e = vmath::exp::<FMA>(v[l] - most[l]);
            o[l] = e;
            sums[l] += e;
        }
    }
    for j in 0..n {
        let (v, o) = (row(j), to(j));
        if log {
            for l in 0..L {
                o[l] = (v[l] - most[l]) - vmath::log::<FMA>(sums[l]);
            }
        } else {
            for l in 0..L {
                o[l] /= sums[l];
            }
        }
    }
}

#[cfg(test)]
#[path = "softmax_tests.rs"]
mod tests;
