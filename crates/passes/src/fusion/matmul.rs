//! Regions of matrix products.

use tactician_ir::{Op, Problem};

use super::spread::by_column;
use super::{Rule, Weight};

/// A matrix product, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct MatMul;

impl Rule for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::MatMul(_))
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_column(problem)
    }
}
