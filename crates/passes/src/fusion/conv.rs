//! Regions of convolutions.

use tactician_ir::{Op, Problem};

use super::spread::by_channel;
use super::{Rule, Weight};

/// A convolution, transposed or not, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct Conv;

impl Rule for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::Conv(_) | Op::ConvTranspose(_))
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_channel(problem)
    }
}
