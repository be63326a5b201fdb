//! `top_k`: places of the largest or smallest elements of an axis, best first.

use bytemuck::Pod;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use tactician_types::DType;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::ops::grid::product;
use crate::ops::pointwise_any::size_of_any;
use crate::threads::{SharedMut, Threads};

/// The places, as `i64`, of the `k` largest (smallest) elements of each line, best first; among equals the earlier.
/// NaN is above every number. Input: `x` of `[outer, n, inner]`. Output: `[outer, k, inner]`. No scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    /// Type of the elements.
    pub dtype: DType,
    /// Axes before, multiplied.
    pub outer: usize,
    /// Length of the axis.
    pub n: usize,
    /// Axes after, multiplied.
    pub inner: usize,
    /// How many, at most `n`.
    pub k: usize,
    /// Largest rather than smallest.
    pub largest: bool,
}

impl Kernel for TopK {
    const NAME: &'static str = "top_k";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        if self.k > self.n {
            return Err(format!("{} of {} elements", self.k, self.n));
        }
        if self.dtype.is_narrow() {
            return Err(format!("there is no order of {}", self.dtype));
        }
        product(&[self.outer, self.n, self.inner].map(|s| s.max(1)))?;
        Ok(ArgSizes {
            inputs: vec![size_of_any(self.dtype, product(&[self.outer, self.n, self.inner])?)?],
            outputs: vec![size_of_any(DType::I64, product(&[self.outer, self.k, self.inner])?)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        match self.dtype {
            DType::F32 => self.search::<f32>(args, threads),
            DType::F16 => self.search::<f16>(args, threads),
            DType::BF16 => self.search::<bf16>(args, threads),
            DType::F64 => self.search::<f64>(args, threads),
            DType::I8 => self.search::<i8>(args, threads),
            DType::I16 => self.search::<i16>(args, threads),
            DType::I32 => self.search::<i32>(args, threads),
            DType::I64 => self.search::<i64>(args, threads),
            DType::U16 => self.search::<u16>(args, threads),
            DType::U32 => self.search::<u32>(args, threads),
            DType::U64 => self.search::<u64>(args, threads),
            // `u8`, and `bool` stored as such.
            _ => self.search::<u8>(args, threads),
        }
    }
}

impl TopK {
    /// Each line's output holds a heap of the best so far, the worst of them at the root, and is sorted in the end.
    fn search<T: Pod + PartialOrd + Sync>(&self, args: &Args<'_>, threads: &Threads) {
        let (n, k, inner) = (self.n, self.k, self.inner);
        let lines = self.outer * inner;
        if k == 0 || lines == 0 {
            return;
        }
        let (x, out) = (args.input::<T>(0), SharedMut::new(args.output::<i64>(0)));
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        threads.for_each_range(lines, parts, |_, range| {
            for line in range {
                let (outer, column) = (line / inner, line % inner);
                let (from, to) = (outer * n * inner + column, outer * k * inner + column);
                // SAFETY: places of this line alone, inside the output, whose length `sizes` gave.
                let slot = |j: usize| unsafe { out.ptr(to + j * inner) };
                // SAFETY: as above; no reference to it is kept.
                let (get, set) = (|j: usize| unsafe { *slot(j) }, |j: usize, v: i64| unsafe { *slot(j) = v });
                let worse = |a: i64, b: i64| {
                    let (u, v) = (&x[from + a as usize * inner], &x[from + b as usize * inner]);
                    let order = u.partial_cmp(v).unwrap_or_else(|| nan(u).cmp(&nan(v)));
                    let order = if self.largest { order } else { order.reverse() };
                    order.then(b.cmp(&a)).is_lt()
                };
                let sink = |len: usize| {
                    let mut at = 0;
                    loop {
                        let mut worst = at;
                        for child in [2 * at + 1, 2 * at + 2] {
                            if child < len && worse(get(child), get(worst)) {
                                worst = child;
                            }
                        }
                        if worst == at {
                            break;
                        }
                        let (a, b) = (get(at), get(worst));
                        set(at, b);
                        set(worst, a);
                        at = worst;
                    }
                };
                for i in 0..n as i64 {
                    if (i as usize) < k {
                        let mut at = i as usize;
                        set(at, i);
                        while at > 0 && worse(get(at), get((at - 1) / 2)) {
                            let (a, b) = (get(at), get((at - 1) / 2));
                            set(at, b);
                            set((at - 1) / 2, a);
                            at = (at - 1) / 2;
                        }
                    } else if worse(get(0), i) {
                        set(0, i);
                        sink(k);
                    }
                }
                for len in (1..k).rev() {
                    let (a, b) = (get(0), get(len));
                    set(0, b);
                    set(len, a);
                    sink(len);
                }
            }
        });
    }
}

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn nan<T: PartialOrd>(v: &T) -> bool {
    v != v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::movement::testing::{Random, check, hostile};

    #[test]
    fn sorts_as_a_stable_sort_does() {
        let mut random = Random::new(11);
        for round in 0..200 {
            let (outer, n, inner) = (random.size(1, 3), random.size(1, 40), random.size(1, 4));
            let (k, largest) = (random.size(0, n), round % 2 == 0);
            let count = outer * n * inner;
            let x: Vec<f32> = (0..count)
                .map(|_| match random.size(0, 30) {
                    0 => f32::NAN,
                    v => (v % 12) as f32 - 6.0,
                })
                .collect();
            let mut want = vec![0i64; outer * k * inner];
            for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
                let at = |p: usize| x[(o * n + p) * inner + i];
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| {
                    let key = |p: usize| (at(p).is_nan(), if at(p).is_nan() { 0.0 } else { at(p) });
                    let by = key(a).partial_cmp(&key(b)).unwrap();
                    if largest { by.reverse() } else { by }
                });
                (0..k).for_each(|j| want[(o * k + j) * inner + i] = order[j] as i64);
            }
            let kernel = TopK { dtype: DType::F32, outer, n, inner, k, largest };
            check(&kernel, &[bytemuck::cast_slice(&x)], bytemuck::cast_slice(&want), &format!("{kernel:?}"));
        }
    }

    #[test]
    fn survives_hostile_parameters() {
        hostile(&TopK { dtype: DType::I16, outer: 2, n: 5, inner: 3, k: 2, largest: true });
    }
}
