//! `attention.flash`: attention of `f32` in blocks of queries and keys, by the register tiles of matrix products.
//!
//! ```text
//!  for block of queries ─▶ for block of keys ─▶ pack kᵀ ─▶ scores = q·kᵀ ─▶ weights, largest and sum ─▶ out += weights·v
//! ```

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use super::AttentionShape;
use crate::gemm::micro::{self, Tile};
use crate::gemm::pack::{Right, RowTiles, Strided, panel};
use crate::gemm::simd::check_lanes;
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::level::{Level, per_level};
use crate::threads::{SharedMut, Threads};
use crate::vmath;

/// Attention of `f32`. Inputs: q, k, v, mask if there is one. Scratch: for each thread a block of scores, the packed keys
/// and values of a block, and two numbers a query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlashAttention {
    /// Sizes and parameters.
    pub shape: AttentionShape,
    /// Floats in a vector: 16 or 8.
    pub lanes: u8,
    /// Queries of a block.
    pub rows: usize,
    /// Keys of a block, a multiple of a panel's columns.
    pub columns: usize,
}

/// Where the parts of a thread's scratch begin, in floats.
struct Parts {
    keys: usize,
    values: usize,
    tops: usize,
    sums: usize,
    all: usize,
}

impl FlashAttention {
    fn parts(&self) -> Option<Parts> {
        let s = &self.shape;
        let width = panel(self.lanes as usize);
        let keys = self.rows.checked_mul(self.columns)?;
        let values = keys.checked_add(s.size.checked_mul(self.columns)?)?;
        let padded = s.value_size.checked_next_multiple_of(width)?;
        let tops = values.checked_add(padded.checked_mul(self.columns)?)?;
        let sums = tops.checked_add(self.rows)?;
        Some(Parts { keys, values, tops, sums, all: sums.checked_add(self.rows)? })
    }

    /// One block of queries.
    ///
    /// # Safety
    /// `out` is the first of the block's rows, `scratch` as long as [`Parts::all`]; the level has vectors of `lanes` floats; inputs are
    /// as long as the shape says.
    unsafe fn block(
        &self,
        level: Level,
        input: &Inputs<'_>,
        matrix: usize,
        queries: std::ops::Range<usize>,
        out: *mut f32,
        scratch: &mut [f32],
        parts: &Parts,
    ) {
        let s = &self.shape;
        let (lanes, d, dv) = (self.lanes as usize, s.size, s.value_size);
        let width = panel(lanes);
        let count = queries.len();
        let tiles = RowTiles::new(count, lanes);
        let [q_row, k_row, v_row, y_row] = [0, 1, 2, 3].map(|which| s.strides(which).row);
        let [of_q, of_k, of_v] = [0, 1, 2].map(|which| s.start(which, matrix));
        let (scores, rest) = scratch.split_at_mut(parts.keys);
        let (keys, rest) = rest.split_at_mut(parts.values - parts.keys);
        let (values, rest) = rest.split_at_mut(parts.tops - parts.values);
        let (tops, sums) = rest.split_at_mut(parts.sums - parts.tops);
        tops.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        // SAFETY: the caller's rows, one at a time.
        let row = |r: usize| unsafe { std::slice::from_raw_parts_mut(out.add(r * y_row), dv) };
        (0..count).for_each(|r| row(r).fill(0.0));
        let seen = s.seen(queries.end - 1);
        for k0 in (0..seen).step_by(self.columns) {
            let n = self.columns.min(seen - k0);
            let key = input.k.as_ptr().wrapping_add(of_k + k0 * k_row);
            let transposed = Strided { at: key, step: 1, column: k_row, n, in_place: false };
            let value = input.v.as_ptr().wrapping_add(of_v + k0 * v_row);
            let right = Strided { at: value, step: v_row, column: 1, n: dv, in_place: true };
            for (p, j) in (0..n).step_by(width).enumerate() {
                // SAFETY: keys of this block; `keys` holds `columns / width` panels of `d` steps.
                unsafe {
                    let to = keys.as_mut_ptr().add(p * width * d);
                    transposed.pack(0, d, j, (n - j).min(width), width, to);
                }
            }
            for t in 0..tiles.count {
                let (first, m) = (tiles.start(t), tiles.start(t + 1) - tiles.start(t));
                let q = input.q.as_ptr().wrapping_add(of_q + (queries.start + first) * q_row);
                for (p, j) in (0..n).step_by(width).enumerate() {
                    // SAFETY: rows of this block, a packed panel, and their scores.
                    unsafe {
                        let tile = Tile {
                            a: q,
                            a_row: q_row,
                            a_step: 1,
                            b: keys.as_ptr().add(p * width * d),
                            b_step: width,
                            steps: d,
                            c: scores.as_mut_ptr().add(first * self.columns + j),
                            c_row: self.columns,
                            columns: (n - j).min(width),
                            add: false,
                        };
                        micro::tile(level, lanes, m, &tile);
                    }
                }
            }
            for r in 0..count {
                let i = queries.start + r;
                let scores = &mut scores[r * self.columns..][..n];
                let visible = s.seen(i).saturating_sub(k0).min(n);
                let mask = input.mask_row(s, matrix, i, k0, visible);
                let (top, sum) = (&mut tops[r], &mut sums[r]);
                weigh(level, s.scale, s.softcap, scores, visible, mask, top, sum, row(r));
            }
            for (p, j) in (0..dv).step_by(width).enumerate() {
                let (b, b_step) = right.in_place(0, j, width).unwrap_or_else(|| {
                    let to = values.as_mut_ptr().wrapping_add(p * width * self.columns);
                    // SAFETY: values of this block; `values` holds all panels of `columns` steps.
                    unsafe { right.pack(0, n, j, (dv - j).min(width), width, to) };
                    (to.cast_const(), width)
                });
                for t in 0..tiles.count {
                    let (first, m) = (tiles.start(t), tiles.start(t + 1) - tiles.start(t));
                    // SAFETY: weights of this block, its values, and the caller's rows.
                    unsafe {
                        let tile = Tile {
                            a: scores.as_ptr().add(first * self.columns),
                            a_row: self.columns,
                            a_step: 1,
                            b,
                            b_step,
                            steps: n,
                            c: out.add(first * y_row + j),
                            c_row: y_row,
                            columns: (dv - j).min(width),
                            add: true,
                        };
                        micro::tile(level, lanes, m, &tile);
                    }
                }
            }
        }
        for (r, sum) in sums[..count].iter().enumerate() {
            let factor = if *sum == 0.0 { 0.0 } else { 1.0 / sum };
            row(r).iter_mut().for_each(|v| *v *= factor);
        }
    }
}

struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    mask: &'a [f32],
    steps: [usize; 4],
}

impl<'a> Inputs<'a> {
    /// What the mask adds to scores `k0..k0 + n` of a query.
    fn mask_row(&self, s: &AttentionShape, matrix: usize, i: usize, k0: usize, n: usize) -> Mask<'a> {
        if s.mask.is_none() || n == 0 {
            return Mask::One(0.0);
        }
        let [b, h, q, k] = self.steps;
        let at = matrix / s.heads * b + matrix % s.heads * h + i * q + k0 * k;
        if k == 0 { Mask::One(self.mask[at]) } else { Mask::Each(&self.mask[at..at + n]) }
    }
}

#[derive(Clone, Copy)]
enum Mask<'a> {
    One(f32),
    Each(&'a [f32]),
}

per_level! {
    /// Turns the scores of a query into weights relative to the largest score so far: those from `visible` on become zero.
    /// `top` and `sum` are brought up to date, and the sums of values with them.
    fn weigh(scale: f32, cap: f32, scores: &mut [f32], visible: usize, mask: Mask<'_>, top: &mut f32, sum: &mut f32, row: &mut [f32]) = weigh_body
}

#[inline(always)]
fn weigh_body<const FMA: bool>(
    scale: f32,
    cap: f32,
    scores: &mut [f32],
    visible: usize,
    mask: Mask<'_>,
    top: &mut f32,
    sum: &mut f32,
    row: &mut [f32],
) {
    let (scores, hidden) = scores.split_at_mut(visible);
    hidden.fill(0.0);
    scores.iter_mut().for_each(|s| *s *= scale);
    if cap > 0.0 {
        scores.iter_mut().for_each(|s| *s = cap * vmath::tanh::<FMA>(*s / cap));
    }
    match mask {
        Mask::One(0.0) => {}
        Mask::One(m) => scores.iter_mut().for_each(|s| *s += m),
        Mask::Each(m) => scores.iter_mut().zip(m).for_each(|(s, m)| *s += m),
    }
    // Lanes of their own, so that neither search nor sum waits for itself.
    let mut lanes = [*top; 16];
    let (whole, tail) = scores.as_chunks::<16>();
    for chunk in whole {
        for (l, s) in lanes.iter_mut().zip(chunk) {
            *l = vmath::max(*l, *s);
        }
    }
    let most = lanes.iter().chain(tail).fold(*top, |m, &s| vmath::max(m, s));
    if most == f32::NEG_INFINITY {
        scores.fill(0.0);
        return;
    }
    let mut lanes = [0.0f32; 16];
    let (whole, tail) = scores.as_chunks_mut::<16>();
    for chunk in whole {
        for (l, s) in lanes.iter_mut().zip(chunk) {
            *s = vmath::exp::<FMA>(*s - most);
            *l += *s;
        }
    }
    for (l, s) in lanes.iter_mut().zip(tail) {
        *s = vmath::exp::<FMA>(*s - most);
        *l += *s;
    }
    let added: f32 = lanes.iter().sum();
    if *top == most {
        *sum += added;
        return;
    }
    let shrink = vmath::exp::<FMA>(*top - most);
    *sum = *sum * shrink + added;
    *top = most;
    row.iter_mut().for_each(|v| *v *= shrink);
}

impl Kernel for FlashAttention {
    const NAME: &'static str = "attention.flash";

    fn sizes(&self, threads: usize) -> Result<ArgSizes, KernelError> {
        if !matches!(self.lanes, 8 | 16) {
            return Err(format!("vectors of {} floats", self.lanes));
        }
        let width = panel(self.lanes as usize);
        if self.rows == 0 || self.columns == 0 || !self.columns.is_multiple_of(width) {
            return Err(format!("blocks of {} queries and {} keys", self.rows, self.columns));
        }
        let lens = self.shape.lens()?;
        let mut inputs = lens.into_iter().map(|n| size_of_f32(Some(n))).collect::<Result<Vec<u64>, _>>()?;
        let outputs = inputs.pop().into_iter().collect();
        let scratch = self.parts().and_then(|p| p.all.checked_mul(threads));
        Ok(ArgSizes { inputs, outputs, scratch: size_of_f32(scratch)? })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.lanes as usize)
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let s = &self.shape;
        let Some(parts) = self.parts() else { return };
        let input = Inputs {
            q: args.input(0),
            k: args.input(1),
            v: args.input(2),
            mask: if s.mask.is_some() { args.input(3) } else { &[] },
            steps: s.mask_steps(),
        };
        let out = SharedMut::new(args.output::<f32>(0));
        let scratch = SharedMut::new(args.scratch::<f32>());
        if s.value_size == 0 || s.queries == 0 {
            return;
        }
        let blocks = s.queries.div_ceil(self.rows);
        threads.for_each_range(s.batches * s.heads * blocks, threads.count(), |part, range| {
            for unit in range {
                let (matrix, block) = (unit / blocks, unit % blocks);
                // Blocks as even as they can be: a short last one would waste its packing.
                let at = |b: usize| (s.queries as u128 * b as u128 / blocks as u128) as usize;
                let queries = at(block)..at(block + 1);
                // SAFETY: a part has its own scratch, a unit its own rows of the output, which `sizes` made long enough;
                // `prepare` checked the vectors.
                unsafe {
                    let out = out.ptr(s.start(3, matrix) + queries.start * s.strides(3).row);
                    let scratch = scratch.slice(part * parts.all, parts.all);
                    self.block(threads.level(), &input, matrix, queries, out, scratch, &parts);
                }
            }
        });
    }
}
