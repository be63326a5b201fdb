//! The largest regions first, whatever their anchors.

use std::cmp::Reverse;

use tactician_ir::Graph;

use super::{FusionPolicy, Partition, Proposal, by_rank};

/// Regions of many nodes before regions of few, over the whole graph, as long as their nodes are free.
///
/// Unlike [`super::Greedy`] it knows no order of anchors: a long chain of pointwise nodes that starts at a sum takes
/// the sum away from the convolution before it, if no region of the convolution is as long. Among regions of one size
/// the heavier anchor goes first, then the later one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Largest;

impl FusionPolicy for Largest {
    fn name(&self) -> &str {
        "largest"
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        by_rank(graph, proposals, |p| Reverse(p.nodes().len()))
    }
}
