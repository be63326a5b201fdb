//! `pool`: largest, mean or norm of each window, `f32`, in any layout.
//!
//! Stored tensors are `[outer, D, H, W, inner]`: `inner` is 1 in plain layout, the channels in channels-last, the
//! block in blocked layout. With `inner` above 1 vectors run along it and stay in registers over the window; else
//! along the output row, a window column at a time.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::level::per_level;
use crate::ops::grid::{GridExpr, ReadyGrid, product};
use crate::threads::{SharedMut, Threads};
use crate::vmath;

/// What a pool makes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PoolKind {
    /// Largest element inside the input; minus infinity when there is none.
    Max,
    /// Mean of the elements inside the input, divided by their number, or with `count_pad` by the number of those in
    /// the input and its padding; 0 when there is none.
    Average {
        /// Whether padding counts in the divisor.
        count_pad: bool,
    },
    /// `(Σ |x|^p)^(1/p)`.
    Lp {
        /// The exponent, at least 1.
        p: u32,
    },
}

/// The windows of a pool over three axes; absent ones are 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolWindows {
    /// Stored axes before the pooled ones, multiplied.
    pub outer: usize,
    /// Stored elements after the pooled axes.
    pub inner: usize,
    /// Input sizes.
    pub input: [usize; 3],
    /// Output sizes: windows that reach beyond the padding are cut.
    pub output: [usize; 3],
    /// Window sizes.
    pub window: [usize; 3],
    /// Steps between windows.
    pub strides: [usize; 3],
    /// Padding before and after.
    pub pads: [(usize, usize); 3],
    /// Steps inside a window.
    pub dilations: [usize; 3],
}

/// Bound on every size, so that positions stay inside 63 bits.
const LIMIT: usize = 1 << 30;

impl PoolWindows {
    /// Stored elements of input and output.
    ///
    /// # Errors
    /// When sizes are out of range.
    pub fn check(&self) -> Result<(usize, usize), KernelError> {
        let steps = self.window.iter().chain(&self.strides).chain(&self.dilations);
        if steps.clone().any(|&s| s == 0) {
            return Err("windows, strides and dilations must be at least 1".into());
        }
        let sizes =
            steps.chain(&self.input).chain(&self.output).chain(self.pads.iter().flat_map(|(a, b)| [a, b]));
        if sizes.clone().any(|&s| s > LIMIT) {
            return Err(format!("sizes must be at most {LIMIT}"));
        }
        let len = |pixels: [usize; 3]| {
            let [d, h, w] = pixels;
            let axes = [self.outer, d, h, w, self.inner];
            product(&axes.map(|s| s.max(1)))?;
            product(&axes)
        };
        Ok((len(self.input)?, len(self.output)?))
    }

    /// First window element inside the input, one past the last, and the number inside input and padding.
    pub(crate) fn taps(&self, axis: usize, out: usize) -> (usize, usize, usize) {
        let (pad, after) = self.pads[axis];
        let (d, k) = (self.dilations[axis], self.window[axis]);
        let start = out * self.strides[axis];
        // Element `t` is at `start + t·d - pad`.
        let below = |limit: usize| {
            let room = (limit + pad).saturating_sub(start);
            k.min(if d == 1 { room } else { room.div_ceil(d) })
        };
        let first = if start >= pad { 0 } else { (pad - start).div_ceil(d) };
        let end = below(self.input[axis]);
        (first.min(end), end, below(self.input[axis] + after))
    }

    /// The windows that begin after the padding and end before `limit`, counted from the padding's begin.
    fn inside(&self, axis: usize, limit: usize) -> (usize, usize) {
        let span = (self.window[axis] - 1) * self.dilations[axis] + 1;
        let end = limit.checked_sub(span).map_or(0, |free| free / self.strides[axis] + 1);
        let end = end.min(self.output[axis]);
        (self.pads[axis].0.div_ceil(self.strides[axis]).min(end), end)
    }

    /// Position of element `t` of window `out`, which must be inside.
    pub(crate) fn position(&self, axis: usize, out: usize, t: usize) -> usize {
        out * self.strides[axis] + t * self.dilations[axis] - self.pads[axis].0
    }
}

/// Pooling. Inputs: `x` stored as `[outer, D, H, W, inner]`, epilogue operands. One output stored likewise, no
/// scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What is computed.
    pub kind: PoolKind,
    /// The windows.
    pub windows: PoolWindows,
    /// What follows.
    pub epilogue: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<PoolReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct PoolReady(Option<ReadyGrid>);

impl Kernel for Pool {
    const NAME: &'static str = "pool";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let (input, output) = self.windows.check()?;
        if matches!(self.kind, PoolKind::Lp { p } if p == 0 || p > i32::MAX as u32) {
            return Err("the exponent of an Lp pool is out of range".into());
        }
        let mut inputs = vec![size_of_f32(Some(input))?];
        inputs.extend(self.epilogue.epilogue_bytes(output)?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(output))?], scratch: 0 })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(PoolReady(self.epilogue.epilogue(isa)?));
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let PoolReady(epilogue) = self.ready.as_ref().expect("prepared");
        let w = &self.windows;
        let [od, oh, ow] = w.output;
        let plane = w.input.iter().product::<usize>() * w.inner;
        let x = args.input::<f32>(0);
        let out = SharedMut::new(args.output::<f32>(0));
        let row_len = ow * w.inner;
        if row_len == 0 {
            return;
        }
        let rows = w.outer * od * oh;
        let level = threads.level();
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        threads.for_each_range(rows, parts, |_, range| {
            for row in range {
                let (outer, y) = (row / (od * oh), [row / oh % od, row % oh]);
                let x = &x[outer * plane..][..plane];
                // SAFETY: rows are disjoint and inside the output, whose length `sizes` gave.
                let out = unsafe { out.slice(row * row_len, row_len) };
                match self.kind {
                    PoolKind::Max => pool_row::<Max>(level, w, 0, x, y, out),
                    PoolKind::Average { .. } => pool_row::<Sum>(level, w, 0, x, y, out),
                    PoolKind::Lp { p: 1 } => pool_row::<AbsSum>(level, w, 1, x, y, out),
                    PoolKind::Lp { p: 2 } => pool_row::<SquareSum>(level, w, 2, x, y, out),
                    PoolKind::Lp { p } => pool_row::<PowerSum>(level, w, p as i32, x, y, out),
                }
                self.scale(y, out);
                if let Some(e) = epilogue {
                    e.finish(row * row_len, out, &|i| args.input::<f32>(1 + i));
                }
            }
        });
    }
}

impl Pool {
    /// Makes means of sums, and roots of sums of powers.
    fn scale(&self, y: [usize; 2], out: &mut [f32]) {
        let w = &self.windows;
        match self.kind {
            PoolKind::Max | PoolKind::Lp { p: 1 } => {}
            PoolKind::Average { count_pad } => {
                let count = |axis: usize, out: usize| {
                    let (first, end, padded) = w.taps(axis, out);
                    if count_pad { padded } else { end - first }
                };
                let rows = count(0, y[0]) * count(1, y[1]);
                let mean = |out: &mut [f32], n: usize| {
                    let n = n.max(1) as f32;
                    out.iter_mut().for_each(|v| *v /= n);
                };
                let (lo, hi) = w.inside(2, w.pads[2].0 + w.input[2]);
                for o in (0..lo).chain(hi..w.output[2]) {
                    mean(&mut out[o * w.inner..][..w.inner], rows * count(2, o));
                }
                mean(&mut out[lo * w.inner..hi * w.inner], rows * w.window[2]);
            }
            PoolKind::Lp { p: 2 } => out.iter_mut().for_each(|v| *v = v.sqrt()),
            PoolKind::Lp { p } => out.iter_mut().for_each(|v| *v = v.powf(1.0 / p as f32)),
        }
    }
}

/// How elements of a window come together.
trait Fold {
    const START: f32;
    fn step(sum: f32, x: f32, p: i32) -> f32;
}

struct Max;
struct Sum;
struct AbsSum;
struct SquareSum;
struct PowerSum;

impl Fold for Max {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn step(sum: f32, x: f32, _p: i32) -> f32 {
        vmath::max(sum, x)
    }
}

impl Fold for Sum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(sum: f32, x: f32, _p: i32) -> f32 {
        sum + x
    }
}

impl Fold for AbsSum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(sum: f32, x: f32, _p: i32) -> f32 {
        sum + x.abs()
    }
}

impl Fold for SquareSum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(sum: f32, x: f32, _p: i32) -> f32 {
        sum + x * x
    }
}

impl Fold for PowerSum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(sum: f32, x: f32, p: i32) -> f32 {
        sum + x.abs().powi(p)
    }
}

per_level! {
    /// Folds the windows of one row of output: `x` is the plane, `y` the row's first two positions.
    fn pool_row[F: Fold](w: &PoolWindows, p: i32, x: &[f32], y: [usize; 2], out: &mut [f32]) = row_body[F]
}

#[inline(always)]
fn row_body<const FMA: bool, F: Fold>(w: &PoolWindows, p: i32, x: &[f32], y: [usize; 2], out: &mut [f32]) {
    match w.inner {
        1 => plain_row::<F>(w, p, x, y, out),
        8 => pixels::<F, 8>(w, p, x, y, 0, out),
        16 => pixels::<F, 16>(w, p, x, y, 0, out),
        _ => pixels::<F, 32>(w, p, x, y, 0, out),
    }
}

/// A row of windows in plain layout: those that are whole along the row some at a time, the others one by one.
#[inline(always)]
fn plain_row<F: Fold>(w: &PoolWindows, p: i32, x: &[f32], y: [usize; 2], out: &mut [f32]) {
    let (lo, hi) = w.inside(2, w.pads[2].0 + w.input[2]);
    pixels::<F, 1>(w, p, x, y, 0, &mut out[..lo]);
    pixels::<F, 1>(w, p, x, y, hi, &mut out[hi..]);
    let whole = &mut out[lo..hi];
    match w.strides[2] {
        1 => whole_windows::<F, 16, 16>(w, p, x, y, lo, whole),
        2 => whole_windows::<F, 16, 31>(w, p, x, y, lo, whole),
        3 => whole_windows::<F, 8, 22>(w, p, x, y, lo, whole),
        _ => pixels::<F, 1>(w, p, x, y, lo, whole),
    }
}

/// Windows from number `first` on that are whole along the row, `L` at a time, which span `SPAN` elements.
#[inline(always)]
fn whole_windows<F: Fold, const L: usize, const SPAN: usize>(
    w: &PoolWindows,
    p: i32,
    x: &[f32],
    y: [usize; 2],
    first: usize,
    out: &mut [f32],
) {
    let n = out.len();
    if n < L {
        return pixels::<F, 1>(w, p, x, y, first, out);
    }
    let (d, h) = (w.taps(0, y[0]), w.taps(1, y[1]));
    let step = (SPAN - 1) / (L - 1);
    let mut o = 0;
    loop {
        let mut sum = [F::START; L];
        for td in d.0..d.1 {
            for th in h.0..h.1 {
                let row = w.position(0, y[0], td) * w.input[1] + w.position(1, y[1], th);
                for t in 0..w.window[2] {
                    let from = row * w.input[2] + w.position(2, first + o, t);
                    let Some(x) = x[from..].first_chunk::<SPAN>() else { break };
                    for l in 0..L {
                        sum[l] = F::step(sum[l], x[l * step], p);
                    }
                }
            }
        }
        out[o..o + L].copy_from_slice(&sum);
        if o + L == n {
            return;
        }
        // The last step goes back to end at the end.
        o = (o + L).min(n - L);
    }
}

/// Windows from number `first` on pixel by pixel, `L` inner elements at a time.
#[inline(always)]
fn pixels<F: Fold, const L: usize>(
    w: &PoolWindows,
    p: i32,
    x: &[f32],
    y: [usize; 2],
    first: usize,
    out: &mut [f32],
) {
    let (d, h) = (w.taps(0, y[0]), w.taps(1, y[1]));
    let inner = w.inner;
    for (o, pixel) in (first..).zip(out.chunks_exact_mut(inner)) {
        let v = w.taps(2, o);
        let (whole, rest) = pixel.as_chunks_mut::<L>();
        for (block, sums) in whole.iter_mut().enumerate() {
            let mut sum = [F::START; L];
            for td in d.0..d.1 {
                for th in h.0..h.1 {
                    let row = w.position(0, y[0], td) * w.input[1] + w.position(1, y[1], th);
                    for tv in v.0..v.1 {
                        let from = (row * w.input[2] + w.position(2, o, tv)) * inner + block * L;
                        let Some(x) = x[from..].first_chunk::<L>() else { break };
                        for l in 0..L {
                            sum[l] = F::step(sum[l], x[l], p);
                        }
                    }
                }
            }
            *sums = sum;
        }
        if rest.is_empty() {
            continue;
        }
        rest.fill(F::START);
        let at = inner - rest.len();
        for td in d.0..d.1 {
            for th in h.0..h.1 {
                let row = w.position(0, y[0], td) * w.input[1] + w.position(1, y[1], th);
                for tv in v.0..v.1 {
                    let from = (row * w.input[2] + w.position(2, o, tv)) * inner + at;
                    for (s, &x) in rest.iter_mut().zip(&x[from..]) {
                        *s = F::step(*s, x, p);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
pub(crate) mod tests;
