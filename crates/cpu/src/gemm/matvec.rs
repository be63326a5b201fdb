//! `matvec`: products of a matrix and a vector, as fast as the matrix can be read.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::gemm::finish::{Finish, ReadyFinish, bounded};
use crate::gemm::simd::{Body, Simd, with_lanes};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::threads::{SharedMut, Threads};

/// Matrices times vectors: `y[p, j] = Σ_i x[p, i] · w[p, i, j]`. Inputs: the two operands, epilogue operands. No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MatVec {
    /// How many products.
    pub products: usize,
    /// Outputs of each.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Whether a matrix is stored `[n, k]` rather than `[k, n]`.
    pub dots: bool,
    /// Whether the matrix is the first input.
    pub matrix_first: bool,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<ReadyFinish>,
}

impl MatVec {
    /// The kernel for a shape.
    pub fn new(
        products: usize,
        n: usize,
        k: usize,
        dots: bool,
        matrix_first: bool,
        finish: Finish,
    ) -> MatVec {
        MatVec { products, n, k, dots, matrix_first, finish, ready: None }
    }
}

/// Outputs of a unit of work: a few pages of the matrix for common lengths.
const CHUNK: usize = 512;
/// Rows that are added, and dot products that are formed, at one time.
const TOGETHER: usize = 8;

impl Kernel for MatVec {
    const NAME: &'static str = "matvec";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        bounded(&[self.products, self.n, self.k])?;
        let matrix = size_of_f32(Some(self.products * self.n * self.k))?;
        let vector = size_of_f32(Some(self.products * self.k))?;
        let mut inputs = if self.matrix_first { vec![matrix, vector] } else { vec![vector, matrix] };
        let out = self.products * self.n;
        inputs.extend(self.finish.operand_bytes(out)?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(out))?], scratch: 0 })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(self.finish.ready(isa)?);
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let finish = self.ready.as_ref().expect("prepared");
        let operands = finish.operands(args, 2);
        let (w, x) = if self.matrix_first { (0, 1) } else { (1, 0) };
        let (w, x) = (args.input::<f32>(w), args.input::<f32>(x));
        let out = SharedMut::new(args.output::<f32>(0));
        // Threads take whole runs of columns: short ones where there are few columns.
        let chunk = CHUNK.min((self.n.div_ceil(threads.count() * 2)).next_multiple_of(16));
        let chunks = self.n.div_ceil(chunk.max(1));
        let lanes = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
        threads.for_each_range(self.products * chunks, threads.count() * 4, |_, range| {
            for unit in range {
                let (p, from) = (unit / chunks, unit % chunks * chunk);
                let len = chunk.min(self.n - from);
                let at = p * self.n + from;
                // SAFETY: this unit's outputs, inside the output.
                let y = unsafe { out.slice(at, len) };
                let x = &x[p * self.k..(p + 1) * self.k];
                let w = &w[p * self.k * self.n..(p + 1) * self.k * self.n];
                // SAFETY: the level has these vectors.
                unsafe {
                    if self.dots {
                        with_lanes(threads.level(), lanes, Dots { w: &w[from * self.k..], x, y });
                    } else {
                        with_lanes(threads.level(), lanes, Sums { w, n: self.n, from, x, y });
                    }
                }
                finish.apply(at, y, &operands);
            }
        });
    }
}

/// `y[j] = x · (row j of w)`.
struct Dots<'a> {
    w: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Dots<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let k = self.x.len();
        let mut rows = self.w.chunks_exact(k.max(1));
        if k == 0 {
            self.y.fill(0.0);
            return;
        }
        let (fours, rest) = self.y.as_chunks_mut::<4>();
        for y in fours {
            let rows: [&[f32]; 4] = std::array::from_fn(|_| rows.next().unwrap_or(&[]));
            // SAFETY: by contract.
            *y = unsafe { dots::<S, 4>(self.x, rows) };
        }
        for (y, row) in rest.iter_mut().zip(rows) {
            // SAFETY: by contract.
            [*y] = unsafe { dots::<S, 1>(self.x, [row]) };
        }
    }
}

#[inline(always)]
unsafe fn dots<S: Simd, const R: usize>(x: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let k = rows.iter().fold(x.len(), |k, r| k.min(r.len()));
    // SAFETY: reads stay below `k`, to which all are long.
    unsafe {
        // Two sums each hide the time that a multiply-add takes.
        let mut acc = [[S::splat(0.0); 2]; R];
        let step = 2 * S::LANES;
        let whole = k / step * step;
        for p in (0..whole).step_by(step) {
            for i in 0..2 {
                let at = p + i * S::LANES;
                let v = S::load(x.as_ptr().add(at));
                for (acc, row) in acc.iter_mut().zip(&rows) {
                    acc[i] = S::fma(v, S::load(row.as_ptr().add(at)), acc[i]);
                }
            }
        }
        let mut out = [0.0; R];
        for ((out, acc), row) in out.iter_mut().zip(&acc).zip(&rows) {
            let mut lanes = [0.0f32; 16];
            S::store(lanes.as_mut_ptr(), S::add(acc[0], acc[1]));
            // Pairwise, so that the error does not grow with the lanes.
            for half in [8, 4, 2, 1] {
                for i in 0..half {
                    lanes[i] += lanes[i + half];
                }
            }
            *out = lanes[0] + x[whole..k].iter().zip(&row[whole..k]).map(|(a, b)| a * b).sum::<f32>();
        }
        out
    }
}

/// `y[j] = Σ_i x[i] · w[i·n + from + j]`, some rows at a time.
struct Sums<'a> {
    w: &'a [f32],
    n: usize,
    from: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Sums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        self.y.fill(0.0);
        let len = self.y.len();
        let whole = len / S::LANES * S::LANES;
        let (x, tail) = self.x.as_chunks::<TOGETHER>();
        let row = |i: usize| &self.w[i * self.n + self.from..][..len];
        for (i, x) in x.iter().enumerate() {
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(|r| row(i * TOGETHER + r));
            // SAFETY: reads and writes stay below `whole`, to which all are long.
            unsafe {
                for j in (0..whole).step_by(S::LANES) {
                    let mut even = S::load(self.y.as_ptr().add(j));
                    let mut odd = S::splat(0.0);
                    for r in (0..TOGETHER).step_by(2) {
                        even = S::fma(S::splat(x[r]), S::load(rows[r].as_ptr().add(j)), even);
                        odd = S::fma(S::splat(x[r + 1]), S::load(rows[r + 1].as_ptr().add(j)), odd);
                    }
                    S::store(self.y.as_mut_ptr().add(j), S::add(even, odd));
                }
            }
            for j in whole..len {
                self.y[j] += x.iter().zip(&rows).map(|(x, r)| x * r[j]).sum::<f32>();
            }
        }
        let done = x.len() * TOGETHER;
        for (i, x) in tail.iter().enumerate() {
            for (y, w) in self.y.iter_mut().zip(row(done + i)) {
                *y += x * w;
            }
        }
    }
}

#[cfg(test)]
#[path = "matvec_tests.rs"]
mod tests;
