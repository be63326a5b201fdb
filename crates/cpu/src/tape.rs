//! A pointwise [`Expr`] over `f32`, compiled for evaluation on runs of consecutive elements.

use tactician_device::Isa;
use tactician_types::Expr;

use crate::kernel::KernelError;

/// Where a run of elements of one input comes from.
#[derive(Clone, Copy, Debug)]
pub enum TapeInput<'a> {
    /// Element `i` of the run is element `i` of the slice.
    Stream(&'a [f32]),
    /// Every element is this value.
    Splat(f32),
    /// Element `i` of the run is element `i % len`: a channel vector repeated over pixels.
    Repeat(&'a [f32]),
}

/// A compiled expression. `bool` values are the floats 0 and 1.
#[derive(Clone, Debug)]
pub struct Tape {
    expr: Expr,
    isa: Isa,
}

impl Tape {
    /// Compiles an expression whose inputs are all `f32` and whose result is `f32`.
    ///
    /// # Errors
    /// When it is malformed, or uses other types than `f32` and `bool`.
    pub fn compile(expr: &Expr, isa: Isa) -> Result<Tape, KernelError> {
        expr.check()?;
        Ok(Tape { expr: expr.clone(), isa })
    }

    /// Evaluates for `out.len()` elements.
    pub fn run(&self, inputs: &[TapeInput<'_>], out: &mut [f32]) {
        let _ = (&self.expr, self.isa, inputs, out);
        unimplemented!("the evaluator")
    }

    /// Evaluates with input 0 read from `values` and the result written over it; `others[i]` is input `i + 1`.
    pub fn run_in_place(&self, values: &mut [f32], others: &[TapeInput<'_>]) {
        let _ = (values, others);
        unimplemented!("the evaluator")
    }
}
