//! `reduce.any`, `pool.any`, `arg_reduce`: reductions and pools of every element type, in plain layout.
//!
//! The first two work on cells ([`crate::ops::cell`]): floats accumulate as `f64`, integers wrap.

use bytemuck::Pod;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::{Binary, DType, Unary};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::ops::cell;
use crate::ops::grid::{Grid, product};
use crate::ops::pointwise_any::size_of_any;
use crate::ops::pool::{PoolKind, PoolWindows};
use crate::ops::reduce::ReduceKind;
use crate::ops::reduce_fold::{Odometer, Plan, offset};
use crate::threads::{SharedMut, Threads};

/// The type that sums of a type are made in.
fn wide(t: DType) -> DType {
    match t {
        t if t.is_float() => DType::F64,
        t if t.is_signed_int() => DType::I64,
        t if t.is_int() => DType::U64,
        _ => DType::Bool,
    }
}

/// A cell that `op` leaves others unchanged by: sum, product, largest or smallest, of type `t`.
fn neutral(op: Binary, t: DType) -> u64 {
    let bits = t.size() as u32 * 8;
    match op {
        Binary::Mul if t.is_float() => 1f64.to_bits(),
        Binary::Mul => 1,
        Binary::Max if t.is_float() => f64::NEG_INFINITY.to_bits(),
        Binary::Min if t.is_float() => f64::INFINITY.to_bits(),
        Binary::Max if t.is_signed_int() => (i64::MIN >> (64 - bits)) as u64,
        Binary::Min if t.is_signed_int() => (i64::MAX >> (64 - bits)) as u64,
        Binary::Min if t.is_int() => u64::MAX >> (64 - bits),
        Binary::And => 1,
        _ => 0,
    }
}

fn binary(op: Binary, t: DType, a: u64, b: u64) -> u64 {
    let mut out = [0];
    cell::binary(op, t, &[a], &[b], &mut out);
    out[0]
}

fn unary(op: Unary, t: DType, a: u64) -> u64 {
    let mut out = [0];
    cell::unary(op, t, &[a], &mut out);
    out[0]
}

/// Parts that slow loops are divided into.
pub(super) fn parts(threads: &Threads) -> usize {
    if threads.count() == 1 { 1 } else { threads.count() * 4 }
}

/// Reduction of some axes, any type. Input: `x`. Output: the kept axes in order, of the same type; no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReduceAny {
    /// What is computed.
    pub kind: ReduceKind,
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes of the axes of `x`, and as the only operand the kept axes.
    pub kept: Grid,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<ReduceAnyReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct ReduceAnyReady(Plan);

impl Kernel for ReduceAny {
    const NAME: &'static str = "reduce.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        use ReduceKind::{L2, LogSum, LogSumExp, Max, Min};
        let [out] = self.kept.operand_lens()?[..] else {
            return Err("a reduction keeps one set of axes".into());
        };
        let fits = match self.kind {
            Max | Min => !self.dtype.is_narrow(),
            L2 | LogSum | LogSumExp => self.dtype.is_float(),
            _ => self.dtype.is_float() || self.dtype.is_int(),
        };
        if !fits {
            return Err(format!("this reduction does not apply to {}", self.dtype));
        }
        Ok(ArgSizes {
            inputs: vec![size_of_any(self.dtype, self.kept.elements()?)?],
            outputs: vec![size_of_any(self.dtype, out)?],
            scratch: 0,
        })
    }

    fn prepare(&mut self, _isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(ReduceAnyReady(Plan::new(&self.kept)));
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ReduceAnyReady(plan) = self.ready.as_ref().expect("prepared");
        let (x, out) = (args.input::<u8>(0), args.output::<u8>(0));
        let size = self.dtype.size();
        let sizes = self.kept.sizes.iter().enumerate();
        let n: usize = sizes.filter(|(a, _)| self.kept.operands[0] >> a & 1 == 1).map(|(_, s)| s).product();
        let out = SharedMut::new(out);
        threads.for_each_range(n, parts(threads), |_, range| {
            for i in range {
                // SAFETY: elements are disjoint and inside the output, whose length `sizes` gave.
                let out = unsafe { out.slice(i * size, size) };
                cell::store(self.dtype, out, 0, self.one(plan, x, i));
            }
        });
    }
}

impl ReduceAny {
    fn one(&self, plan: &Plan, x: &[u8], i: usize) -> u64 {
        let t = wide(self.dtype);
        let fold = |op: Binary, map: &dyn Fn(u64) -> u64| {
            // The extreme of nothing is the end of the element type's own range.
            let start = neutral(op, if matches!(op, Binary::Max | Binary::Min) { self.dtype } else { t });
            let mut sum = start;
            each(plan, i, |at| sum = binary(op, t, sum, map(cell::load(self.dtype, x, at))));
            sum
        };
        let same = |v: u64| v;
        let square = |v: u64| binary(Binary::Mul, t, v, v);
        let count = if t.is_float() { (plan.count as f64).to_bits() } else { plan.count as u64 };
        let result = match self.kind {
            ReduceKind::Sum => fold(Binary::Add, &same),
            ReduceKind::Mean => binary(Binary::Div, t, fold(Binary::Add, &same), count),
            ReduceKind::Max if t == DType::Bool => fold(Binary::Or, &same),
            ReduceKind::Min if t == DType::Bool => fold(Binary::And, &same),
            ReduceKind::Max => fold(Binary::Max, &same),
            ReduceKind::Min => fold(Binary::Min, &same),
            ReduceKind::Prod => fold(Binary::Mul, &same),
            ReduceKind::SumSquare => fold(Binary::Add, &square),
            ReduceKind::L1 => fold(Binary::Add, &|v| unary(Unary::Abs, t, v)),
            ReduceKind::L2 => unary(Unary::Sqrt, t, fold(Binary::Add, &square)),
            ReduceKind::LogSum => unary(Unary::Log, t, fold(Binary::Add, &same)),
            ReduceKind::LogSumExp => {
                let most = f64::from_bits(fold(Binary::Max, &same));
                let shift = if most.is_finite() { most } else { 0.0 };
                let exp = |v: u64| (f64::from_bits(v) - shift).exp().to_bits();
                (f64::from_bits(fold(Binary::Add, &exp)).ln() + shift).to_bits()
            }
        };
        cell::normal(self.dtype, result)
    }
}

/// Calls `f` with the position of each element that output `i` is made of.
fn each(plan: &Plan, i: usize, mut f: impl FnMut(usize)) {
    if plan.count == 0 {
        return;
    }
    let (from, len) = if plan.last_kept {
        (offset(&plan.kept, i / plan.last) + i % plan.last, 1)
    } else {
        (offset(&plan.kept, i), plan.last)
    };
    let mut odometer = Odometer::new(&plan.reduced);
    loop {
        (0..len).for_each(|j| f(from + odometer.at + j));
        if !odometer.step() {
            return;
        }
    }
}

/// Pooling of any type that it applies to: floats, or the largest of integers. Input: `x` stored as
/// `[outer, D, H, W, inner]`. One output stored likewise, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolAny {
    /// What is computed.
    pub kind: PoolKind,
    /// Type of the elements.
    pub dtype: DType,
    /// The windows.
    pub windows: PoolWindows,
}

impl Kernel for PoolAny {
    const NAME: &'static str = "pool.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let (input, output) = self.windows.check()?;
        if !(self.dtype.is_float() || self.kind == PoolKind::Max && self.dtype.is_int()) {
            return Err(format!("this pool does not apply to {}", self.dtype));
        }
        if matches!(self.kind, PoolKind::Lp { p: 0 }) {
            return Err("the exponent of an Lp pool is out of range".into());
        }
        let (inputs, outputs) = (size_of_any(self.dtype, input)?, size_of_any(self.dtype, output)?);
        Ok(ArgSizes { inputs: vec![inputs], outputs: vec![outputs], scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let w = &self.windows;
        let [od, oh, ow] = w.output;
        let (x, out) = (args.input::<u8>(0), SharedMut::new(args.output::<u8>(0)));
        let (n, size) = (w.outer * od * oh * ow * w.inner, self.dtype.size());
        threads.for_each_range(n, parts(threads), |_, range| {
            for i in range {
                // SAFETY: elements are disjoint and inside the output, whose length `sizes` gave.
                let out = unsafe { out.slice(i * size, size) };
                cell::store(self.dtype, out, 0, self.one(x, i));
            }
        });
    }
}

impl PoolAny {
    fn one(&self, x: &[u8], i: usize) -> u64 {
        let (w, t) = (&self.windows, self.dtype);
        let [od, oh, ow] = w.output;
        let (pixel, inner) = (i / w.inner, i % w.inner);
        let o = [pixel / (ow * oh) % od, pixel / ow % oh, pixel % ow];
        let outer = pixel / (ow * oh * od);
        let taps: [_; 3] = std::array::from_fn(|a| w.taps(a, o[a]));
        let op = if self.kind == PoolKind::Max { Binary::Max } else { Binary::Add };
        let wide = wide(t);
        let (mut sum, mut count) = (neutral(op, t), 0);
        for td in taps[0].0..taps[0].1 {
            for th in taps[1].0..taps[1].1 {
                for tw in taps[2].0..taps[2].1 {
                    let row =
                        (outer * w.input[0] + w.position(0, o[0], td)) * w.input[1] + w.position(1, o[1], th);
                    let at = (row * w.input[2] + w.position(2, o[2], tw)) * w.inner + inner;
                    let v = cell::load(t, x, at);
                    let v = match self.kind {
                        PoolKind::Lp { p } => f64::from_bits(v).abs().powf(f64::from(p)).to_bits(),
                        _ => v,
                    };
                    sum = binary(op, wide, sum, v);
                    count += 1;
                }
            }
        }
        let float = f64::from_bits(sum);
        let result = match self.kind {
            PoolKind::Max => sum,
            PoolKind::Average { count_pad } => {
                let n = if count_pad { taps.iter().map(|t| t.2).product() } else { count };
                (float / n.max(1) as f64).to_bits()
            }
            PoolKind::Lp { p } => float.powf(1.0 / f64::from(p)).to_bits(),
        };
        cell::normal(t, result)
    }
}

/// Position of the largest or smallest element along the middle axis of `[outer, n, inner]`, as `i64`; NaN is never
/// chosen unless it comes first. Input: `x`. One output `[outer, inner]`, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgReduce {
    /// Type of the elements.
    pub dtype: DType,
    /// Axes before, multiplied.
    pub outer: usize,
    /// Length of the axis, at least 1.
    pub n: usize,
    /// Axes after, multiplied.
    pub inner: usize,
    /// Largest rather than smallest.
    pub largest: bool,
    /// Among equals the last rather than the first.
    pub last: bool,
}

/// Columns that are worked on together.
const WIDTH: usize = 32;

impl Kernel for ArgReduce {
    const NAME: &'static str = "arg_reduce";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        if self.n == 0 {
            return Err("the axis is empty".into());
        }
        if self.dtype.is_narrow() {
            return Err(format!("there is no order of {}", self.dtype));
        }
        let axes = [self.outer, self.n, self.inner];
        product(&axes.map(|s| s.max(1)))?;
        Ok(ArgSizes {
            inputs: vec![size_of_any(self.dtype, product(&axes)?)?],
            outputs: vec![size_of_any(DType::I64, product(&[self.outer, self.inner])?)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        match self.dtype {
            DType::F32 => self.typed::<f32>(args, threads),
            DType::F16 => self.typed::<f16>(args, threads),
            DType::BF16 => self.typed::<bf16>(args, threads),
            DType::F64 => self.typed::<f64>(args, threads),
            DType::I8 => self.typed::<i8>(args, threads),
            DType::I16 => self.typed::<i16>(args, threads),
            DType::I32 => self.typed::<i32>(args, threads),
            DType::I64 => self.typed::<i64>(args, threads),
            DType::U16 => self.typed::<u16>(args, threads),
            DType::U32 => self.typed::<u32>(args, threads),
            DType::U64 => self.typed::<u64>(args, threads),
            // `u8`, and `bool` stored as such.
            _ => self.typed::<u8>(args, threads),
        }
    }
}

impl ArgReduce {
    fn typed<T: Pod + PartialOrd + Sync>(&self, args: &Args<'_>, threads: &Threads) {
        match (self.largest, self.last) {
            (true, false) => self.search::<T>(args, threads, |new, old| new > old),
            (true, true) => self.search::<T>(args, threads, |new, old| new >= old),
            (false, false) => self.search::<T>(args, threads, |new, old| new < old),
            (false, true) => self.search::<T>(args, threads, |new, old| new <= old),
        }
    }

    fn search<T: Pod + Sync>(
        &self,
        args: &Args<'_>,
        threads: &Threads,
        better: impl Fn(&T, &T) -> bool + Sync,
    ) {
        let (n, inner) = (self.n, self.inner);
        let (x, out) = (args.input::<T>(0), SharedMut::new(args.output::<i64>(0)));
        let per_outer = inner.div_ceil(WIDTH);
        threads.for_each_range(self.outer * per_outer, parts(threads), |_, range| {
            for unit in range {
                let (outer, at) = (unit / per_outer, unit % per_outer * WIDTH);
                let len = WIDTH.min(inner - at);
                let from = outer * n * inner + at;
                let mut best = [T::zeroed(); WIDTH];
                best[..len].copy_from_slice(&x[from..from + len]);
                let mut found = [0i64; WIDTH];
                for j in 1..n {
                    let row = &x[from + j * inner..][..len];
                    for ((v, b), f) in row.iter().zip(&mut best).zip(&mut found) {
                        if better(v, b) {
                            (*b, *f) = (*v, j as i64);
                        }
                    }
                }
                // SAFETY: units are disjoint and inside the output, whose length `sizes` gave.
                unsafe { out.slice(outer * inner + at, len) }.copy_from_slice(&found[..len]);
            }
        });
    }
}

#[cfg(test)]
#[path = "any_tests.rs"]
mod tests;
