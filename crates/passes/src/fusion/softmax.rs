//! Regions of softmax.

use tactician_ir::{Op, Problem};

use super::spread::by_channel_or_column;
use super::{Rule, Weight};

/// A softmax or its logarithm, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct Softmax;

impl Rule for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::Softmax(_))
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_channel_or_column(problem)
    }
}
