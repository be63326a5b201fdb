//! Regions of pools.

use tactician_ir::{Op, Problem};

use super::spread::by_channel;
use super::{Rule, Weight};

/// A pool, with pointwise work behind it.
#[derive(Debug)]
pub(super) struct Pool;

impl Rule for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::Pool(_))
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn accepts(&self, problem: &Problem) -> bool {
        problem.result.dtype.is_float() && by_channel(problem)
    }
}
