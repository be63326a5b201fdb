//! `reduce`: sums, means, extremes, products, norms over whole axes, `f32`, in any layout.
//!
//! Stored axes that are reduced or kept together are made one, so kept and reduced axes alternate. When the last is
//! reduced, vectors run along it; when it is kept, vectors of outputs are accumulated over everything reduced. Sums
//! are made in short stretches that are then added, so that errors grow slowly.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::ops::grid::{Grid, GridExpr, ReadyGrid};
use crate::ops::reduce_fold::{
    Abs, Exp, Max, Min, Plan, Prod, Square, Sum, WIDTH, fold_columns, fold_row, offset,
};
use crate::threads::{SharedMut, Threads};

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the definitions")]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    /// `Σ x²`.
    SumSquare,
    /// `Σ |x|`.
    L1,
    /// `√Σ x²`.
    L2,
    /// `ln Σ x`.
    LogSum,
    /// `ln Σ exp x`, without overflow.
    LogSumExp,
}

/// Reduction of some stored axes. Inputs: `x`, epilogue operands. Output: the kept axes in order; no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Sizes of the stored axes of `x`, and as the only operand the kept axes.
    pub kept: Grid,
    /// What follows, over a grid with as many elements as are kept.
    pub epilogue: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<ReduceReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct ReduceReady {
    plan: Plan,
    epilogue: Option<ReadyGrid>,
}

/// Outputs of one stretch of work when the last axis is reduced.
const STRETCH: usize = 64;

impl Reduce {
    /// The kernel of a reduction: `kept` has `x`'s axes and the kept ones as operand.
    pub fn new(kind: ReduceKind, kept: Grid, epilogue: GridExpr) -> Self {
        Reduce { kind, kept, epilogue, ready: None }
    }
}

impl Kernel for Reduce {
    const NAME: &'static str = "reduce";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let [out] = self.kept.operand_lens()?[..] else {
            return Err("a reduction keeps one set of axes".into());
        };
        let mut inputs = vec![size_of_f32(Some(self.kept.elements()?))?];
        inputs.extend(self.epilogue.epilogue_bytes(out)?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(out))?], scratch: 0 })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        let plan = Plan::new(&self.kept);
        self.ready = Some(ReduceReady { plan, epilogue: self.epilogue.epilogue(isa)? });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ReduceReady { plan, epilogue } = self.ready.as_ref().expect("prepared");
        let n: usize = self.epilogue.grid.sizes.iter().product();
        let (x, out) = (args.input::<f32>(0), SharedMut::new(args.output::<f32>(0)));
        let level = threads.level();
        let finish = |start: usize, out: &mut [f32]| {
            self.post(plan.count, out);
            if let Some(e) = epilogue {
                e.finish(start, out, &|i| args.input::<f32>(1 + i));
            }
        };
        // Stretches of outputs: of one row of the last axis when that is kept, else any.
        let per_row = if plan.last_kept { plan.last.div_ceil(WIDTH) } else { 1 };
        let units = match plan.last_kept {
            true if n == 0 => 0,
            true => n / plan.last * per_row,
            false => n.div_ceil(STRETCH),
        };
        let small = n.saturating_mul(plan.count) < 1 << 14;
        let parts = if threads.count() == 1 || small { 1 } else { threads.count() * 4 };
        // Few outputs of a long reduction go one by one.
        let stretch = if units < parts { n.div_ceil(parts).max(1) } else { STRETCH };
        let units = if plan.last_kept { units } else { n.div_ceil(stretch) };
        threads.for_each_range(units, parts, |_, range| {
            for unit in range {
                let (start, len, from) = if plan.last_kept {
                    let (row, at) = (unit / per_row, unit % per_row * WIDTH);
                    (row * plan.last + at, WIDTH.min(plan.last - at), offset(&plan.kept, row) + at)
                } else {
                    let start = unit * stretch;
                    (start, stretch.min(n - start), 0)
                };
                // SAFETY: stretches are disjoint and inside the output, whose length `sizes` gave.
                let out = unsafe { out.slice(start, len) };
                if plan.count == 0 {
                    out.fill(self.kind.of_nothing());
                } else if plan.last_kept {
                    self.kind.columns(level, plan, &x[from..], out);
                } else {
                    for (i, o) in out.iter_mut().enumerate() {
                        *o = self.kind.row(level, plan, &x[offset(&plan.kept, start + i)..]);
                    }
                }
                finish(start, out);
            }
        });
    }
}

impl Reduce {
    /// What follows the folding, except of `LogSumExp`.
    fn post(&self, count: usize, out: &mut [f32]) {
        match self.kind {
            ReduceKind::Mean => out.iter_mut().for_each(|v| *v /= count as f32),
            ReduceKind::L2 => out.iter_mut().for_each(|v| *v = v.sqrt()),
            ReduceKind::LogSum => out.iter_mut().for_each(|v| *v = v.ln()),
            _ => {}
        }
    }
}

impl ReduceKind {
    /// The fold of no elements.
    fn of_nothing(self) -> f32 {
        match self {
            ReduceKind::Prod => 1.0,
            ReduceKind::Max | ReduceKind::LogSumExp => f32::NEG_INFINITY,
            ReduceKind::Min => f32::INFINITY,
            _ => 0.0,
        }
    }

    fn row(self, level: crate::Level, plan: &Plan, x: &[f32]) -> f32 {
        match self {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::LogSum => fold_row::<Sum>(level, plan, x, 0.0),
            ReduceKind::Max => fold_row::<Max>(level, plan, x, 0.0),
            ReduceKind::Min => fold_row::<Min>(level, plan, x, 0.0),
            ReduceKind::Prod => fold_row::<Prod>(level, plan, x, 0.0),
            ReduceKind::SumSquare | ReduceKind::L2 => fold_row::<Square>(level, plan, x, 0.0),
            ReduceKind::L1 => fold_row::<Abs>(level, plan, x, 0.0),
            ReduceKind::LogSumExp => {
                let shift = finite(fold_row::<Max>(level, plan, x, 0.0));
                fold_row::<Exp>(level, plan, x, shift).ln() + shift
            }
        }
    }

    fn columns(self, level: crate::Level, plan: &Plan, x: &[f32], out: &mut [f32]) {
        match self {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::LogSum => {
                fold_columns::<Sum>(level, plan, x, &[0.0; WIDTH], out);
            }
            ReduceKind::Max => fold_columns::<Max>(level, plan, x, &[0.0; WIDTH], out),
            ReduceKind::Min => fold_columns::<Min>(level, plan, x, &[0.0; WIDTH], out),
            ReduceKind::Prod => fold_columns::<Prod>(level, plan, x, &[0.0; WIDTH], out),
            ReduceKind::SumSquare | ReduceKind::L2 => {
                fold_columns::<Square>(level, plan, x, &[0.0; WIDTH], out);
            }
            ReduceKind::L1 => fold_columns::<Abs>(level, plan, x, &[0.0; WIDTH], out),
            ReduceKind::LogSumExp => {
                fold_columns::<Max>(level, plan, x, &[0.0; WIDTH], out);
                let mut shift = [0.0; WIDTH];
                shift.iter_mut().zip(&*out).for_each(|(s, &m)| *s = finite(m));
                fold_columns::<Exp>(level, plan, x, &shift, out);
                out.iter_mut().zip(&shift).for_each(|(o, s)| *o = o.ln() + s);
            }
        }
    }
}

/// A largest element as a shift of exponents: none when it is not finite, so that infinities stay.
fn finite(m: f32) -> f32 {
    if m.is_finite() { m } else { 0.0 }
}

#[cfg(test)]
#[path = "reduce_tests.rs"]
mod tests;
