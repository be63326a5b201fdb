//! `move.gather` and `move.gather_elements`: parts picked by an index tensor.
//!
//! Negative indices count from the end. Indices outside the axis are taken as the nearest one inside.

use serde::{Deserialize, Serialize};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::movement::element::{Element, MAX_AXES, by_size, bytes_of, check_axes, in_parts, product};
use crate::threads::{SharedMut, Threads};

/// Type of the indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexType {
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
}

impl IndexType {
    pub(crate) fn bytes(self) -> u8 {
        match self {
            IndexType::I32 => 4,
            IndexType::I64 => 8,
        }
    }
}

/// `out[o, j, i] = x[o, indices[j], i]`. Inputs: `x` of `[outer, axis, inner]`, then the indices. No scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// Type of the indices.
    pub index: IndexType,
    /// Product of the axes before the indexed one.
    pub outer: usize,
    /// Size of the indexed axis, not 0.
    pub axis: usize,
    /// Number of indices.
    pub count: usize,
    /// Bytes that lie behind one index: the axes after it.
    pub inner: usize,
}

/// `out[p] = x[p, its axis coordinate replaced by indices[p]]`. Inputs: `x`, then the indices. No scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatherElements {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element: u8,
    /// Type of the indices.
    pub index: IndexType,
    /// Sizes of `x`; the indexed one is not 0.
    pub input: Vec<usize>,
    /// Sizes of the indices and the output; at most those of `x`, except along the axis.
    pub output: Vec<usize>,
    /// The indexed axis.
    pub axis: usize,
}

/// An index as a place on an axis of `n` elements.
#[inline(always)]
fn resolve(index: i64, n: usize) -> usize {
    // Sizes are below 2^44.
    let n = n as i64;
    let i = if index < 0 { index.saturating_add(n) } else { index };
    i.clamp(0, n - 1) as usize
}

impl Kernel for Gather {
    const NAME: &'static str = "move.gather";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let out = product([self.outer, self.count, self.inner])?;
        if self.axis == 0 && out > 0 {
            return Err("an empty axis has nothing to gather".into());
        }
        Ok(ArgSizes {
            inputs: vec![
                product([self.outer, self.axis, self.inner])? as u64,
                bytes_of(product([self.count])?, self.index.bytes())?,
            ],
            outputs: vec![out as u64],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        match self.index {
            IndexType::I32 => self.run_with::<i32>(args, threads),
            IndexType::I64 => self.run_with::<i64>(args, threads),
        }
    }
}

impl Gather {
    fn run_with<I: Element + Into<i64>>(&self, args: &Args<'_>, threads: &Threads) {
        let indices = &args.input::<I>(1)[..self.count];
        // As wide elements as the length of a part allows.
        let unit = [8u8, 4, 2].into_iter().find(|&u| self.inner.is_multiple_of(u as usize)).unwrap_or(1);
        by_size!(unit, T => self.copy::<T, I>(args.input(0), indices, args.output(0), threads));
    }

    fn copy<T: Element, I: Element + Into<i64>>(
        &self,
        x: &[T],
        indices: &[I],
        out: &mut [T],
        threads: &Threads,
    ) {
        let inner = self.inner / size_of::<T>();
        let rows = self.outer * self.count;
        if rows * inner == 0 {
            return;
        }
        let bytes = rows * self.inner;
        let out = SharedMut::new(&mut out[..rows * inner]);
        in_parts(threads, rows, bytes, |range| {
            for row in range {
                let (o, j) = (row / self.count, row % self.count);
                let from = (o * self.axis + resolve(indices[j].into(), self.axis)) * inner;
                // SAFETY: rows are disjoint and inside the output.
                let to = unsafe { out.slice(row * inner, inner) };
                if inner == 1 {
                    to[0] = x[from];
                } else {
                    to.copy_from_slice(&x[from..from + inner]);
                }
            }
        });
    }
}

impl Kernel for GatherElements {
    const NAME: &'static str = "move.gather_elements";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let rank = self.input.len();
        check_axes(rank)?;
        if self.output.len() != rank || self.axis >= rank {
            return Err(format!("input and indices need one rank above axis {}", self.axis));
        }
        let (n, out) = (product(self.input.iter().copied())?, product(self.output.iter().copied())?);
        for (i, (x, o)) in self.input.iter().zip(&self.output).enumerate() {
            if i != self.axis && o > x {
                return Err(format!("indices reach outside axis {i}"));
            }
        }
        if out > 0 && self.input[self.axis] == 0 {
            return Err("an empty axis has nothing to gather".into());
        }
        Ok(ArgSizes {
            inputs: vec![bytes_of(n, self.element)?, bytes_of(out, self.index.bytes())?],
            outputs: vec![bytes_of(out, self.element)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        by_size!(self.element, T => match self.index {
            IndexType::I32 => self.pick::<T, i32>(args.input(0), args.input(1), args.output(0), threads),
            IndexType::I64 => self.pick::<T, i64>(args.input(0), args.input(1), args.output(0), threads),
        });
    }
}

impl GatherElements {
    fn pick<T: Element, I: Element + Into<i64>>(
        &self,
        x: &[T],
        indices: &[I],
        out: &mut [T],
        threads: &Threads,
    ) {
        let rank = self.input.len();
        let n: usize = self.output.iter().product();
        if n == 0 {
            return;
        }
        let mut steps = [0; MAX_AXES];
        let mut step = 1;
        for i in (0..rank).rev() {
            steps[i] = step;
            step *= self.input[i];
        }
        let (size, axis_step, row) = (self.input[self.axis], steps[self.axis], self.output[rank - 1]);
        // The axis' own coordinate counts nothing.
        steps[self.axis] = 0;
        let last_step = steps[rank - 1];
        let out = SharedMut::new(&mut out[..n]);
        in_parts(threads, n, n * size_of::<T>(), |range| {
            let mut at = range.start;
            while at < range.end {
                let skip = at % row;
                let len = (row - skip).min(range.end - at);
                let mut rest = at / row;
                let mut base = skip * last_step;
                for i in (0..rank - 1).rev() {
                    base += rest % self.output[i] * steps[i];
                    rest /= self.output[i];
                }
                // SAFETY: ranges are disjoint and inside the output.
                let to = unsafe { out.slice(at, len) };
                for (k, (t, &i)) in to.iter_mut().zip(&indices[at..at + len]).enumerate() {
                    *t = x[base + k * last_step + resolve(i.into(), size) * axis_step];
                }
                at += len;
            }
        });
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
