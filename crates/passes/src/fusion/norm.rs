//! Regions of normalisations.

use tactician_ir::{Op, Problem};

use super::spread::by_channel_or_column;
use super::{Rule, Weight};

/// A normalisation, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct Norm;

impl Rule for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(
            op,
            Op::BatchNorm(_)
                | Op::LayerNorm(_)
                | Op::RmsNorm(_)
                | Op::InstanceNorm(_)
                | Op::GroupNorm(_)
                | Op::Lrn(_)
        )
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_channel_or_column(problem)
    }
}
