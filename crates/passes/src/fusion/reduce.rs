//! Regions of reductions.

use tactician_ir::{Op, Problem};

use super::spread::by_channel_or_column;
use super::{Rule, Weight};

/// A reduction, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct Reduce;

impl Rule for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::Reduce(_))
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_channel_or_column(problem)
    }
}
