//! Regions of pointwise nodes only.

use tactician_ir::{Op, Problem};

use super::{Rule, Weight};

/// A pointwise node and the pointwise nodes around it. Any operands that broadcast, any type.
#[derive(Debug)]
pub(super) struct Pointwise;

impl Rule for Pointwise {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn anchors(&self, op: &Op) -> bool {
        matches!(op, Op::Pointwise(_))
    }

    fn weight(&self) -> Weight {
        Weight::Pointwise
    }

    fn accepts(&self, _problem: &Problem) -> bool {
        true
    }
}
