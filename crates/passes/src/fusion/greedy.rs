//! As much fusion as possible.

use std::collections::BTreeSet;

use tactician_ir::{Graph, NodeId, Region};

use super::{FusionPolicy, Partition, Proposal, Weight};

/// The largest region of each anchor whose nodes are free: convolutions and matrix products choose first,
/// then the other anchors, then pointwise nodes.
///
/// Anchors of one rank choose in reverse execution order. A sum of two convolutions so goes to the later one,
/// which finds the other operand computed. Pointwise nodes choose in execution order, so that chains start at
/// their head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greedy;

impl FusionPolicy for Greedy {
    fn name(&self) -> &str {
        "greedy"
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        largest_of_each_anchor(graph, proposals, |_| true)
    }
}

/// What [`Greedy`] chooses among the proposals that `allowed` lets through, single nodes in any case.
pub(super) fn largest_of_each_anchor(
    graph: &Graph,
    proposals: &[Proposal],
    allowed: impl Fn(&Proposal) -> bool,
) -> Partition {
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    let mut regions: Vec<Region> = Vec::new();
    let mut groups: Vec<&[Proposal]> = proposals.chunk_by(|a, b| a.anchor() == b.anchor()).collect();
    groups.reverse();
    for weight in [Weight::Heavy, Weight::Light, Weight::Pointwise, Weight::Single] {
        if weight == Weight::Pointwise {
            groups.reverse();
        }
        for group in &groups {
            let free = |p: &&Proposal| {
                p.weight == weight
                    && !p.nodes().iter().any(|n| taken.contains(n))
                    && (p.nodes().len() == 1 || allowed(p))
            };
            // The last of the largest: proposals of one anchor come small to large.
            if let Some(best) = group.iter().filter(free).max_by_key(|p| p.nodes().len()) {
                taken.extend(best.nodes());
                regions.push(best.region.clone());
            }
        }
    }
    Partition::new(graph, regions)
}
