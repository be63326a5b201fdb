//! `pointwise`: an `f32` expression over operands that broadcast, in any layout.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::ops::grid::{GridExpr, ReadyGrid};
use crate::tape::Tape;
use crate::threads::{SharedMut, Threads};

/// Evaluates an expression for every element of a grid. Inputs: its operands. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pointwise {
    /// The expression and the grid.
    pub expr: GridExpr,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<PointwiseReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct PointwiseReady(ReadyGrid);

impl Pointwise {
    /// The kernel of an expression.
    pub fn new(expr: GridExpr) -> Self {
        Pointwise { expr, ready: None }
    }
}

/// Elements that are worth another thread.
const PART: usize = 8192;
/// Parts begin at multiples of this.
const UNIT: usize = 64;

/// Calls `body(start, end)` for ranges of `0..n` elements, over the threads.
pub(crate) fn for_each_part(threads: &Threads, n: usize, body: impl Fn(usize, usize) + Sync) {
    let parts = if threads.count() == 1 { 1 } else { (threads.count() * 4).min(n / PART + 1) };
    threads.for_each_range(n.div_ceil(UNIT), parts, |_, r| {
        body(r.start * UNIT, (r.end * UNIT).min(n));
    });
}

impl Kernel for Pointwise {
    const NAME: &'static str = "pointwise";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let lens = self.expr.grid.operand_lens()?;
        self.expr.expr.check()?;
        if self.expr.expr.arity() > lens.len() {
            return Err("the expression uses an operand that it does not have".into());
        }
        // Whether it compiles is the same for every instruction set.
        Tape::compile(&self.expr.expr, Isa::Portable)?;
        Ok(ArgSizes {
            inputs: lens.into_iter().map(|n| size_of_f32(Some(n))).collect::<Result<_, _>>()?,
            outputs: vec![size_of_f32(Some(self.expr.grid.elements()?))?],
            scratch: 0,
        })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        self.ready = Some(PointwiseReady(ReadyGrid::new(&self.expr, isa)?));
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let PointwiseReady(ready) = self.ready.as_ref().expect("prepared");
        let n: usize = self.expr.grid.sizes.iter().product();
        let out = SharedMut::new(args.output::<f32>(0));
        for_each_part(threads, n, |start, end| {
            // SAFETY: parts are disjoint and inside the output, whose length `sizes` gave.
            let out = unsafe { out.slice(start, end - start) };
            ready.run(start, out, &|i| args.input::<f32>(i));
        });
    }
}

#[cfg(test)]
#[path = "pointwise_tests.rs"]
pub(crate) mod tests;
