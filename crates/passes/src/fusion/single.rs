//! Regions of one node.

use tactician_ir::{Op, Problem};

use super::{Rule, Weight};

/// Any other operation, alone: those that move elements, and positions of extremes.
#[derive(Debug)]
pub(super) struct Single;

impl Rule for Single {
    fn name(&self) -> &'static str {
        "single"
    }

    fn anchors(&self, _op: &Op) -> bool {
        true
    }

    fn weight(&self) -> Weight {
        Weight::Single
    }

    fn accepts(&self, _problem: &Problem) -> bool {
        false
    }
}
