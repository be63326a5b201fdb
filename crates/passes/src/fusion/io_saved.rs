//! The regions that save most memory traffic first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{Graph, NodeId, ValueId};

use super::{FusionPolicy, Partition, Proposal, by_rank};

/// Regions in the order of the bytes that they keep from being written and read again, over the whole graph, as long as
/// their nodes are free.
///
/// Computed node by node, each value inside a region would be written once and read once by each of its readers, and an
/// operand that several nodes of the region read would be read by each; as one region neither happens. [`super::Greedy`]
/// and [`super::Largest`] count nodes instead. As the values of a region are of one shape, regions that want the same node
/// differ in score by their readers, their shared operands and their types. What fusion costs (registers, a worse kernel)
/// is not in the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoSaved {
    /// What one launch less is worth, in bytes: about the memory's bandwidth times the time of a launch. Zero counts
    /// traffic alone.
    pub launch_bytes: u64,
}

impl IoSaved {
    /// Bytes of traffic that computing the proposal as one region saves, and its launches at their worth.
    ///
    /// A value of unknown size counts nothing.
    pub fn score(&self, graph: &Graph, proposal: &Proposal) -> u64 {
        let nodes: BTreeSet<NodeId> = proposal.nodes().iter().copied().collect();
        let bytes = |v: ValueId| graph.ty(v).bytes().unwrap_or(0);
        // How many nodes of the region read a value.
        let mut readers: BTreeMap<ValueId, u64> = BTreeMap::new();
        for &n in &nodes {
            let read: BTreeSet<ValueId> = graph.node(n).inputs().iter().copied().collect();
            read.into_iter().for_each(|v| *readers.entry(v).or_default() += 1);
        }
        let mut saved = 0u64;
        for (v, count) in readers {
            // Inside: one writing and every reading. Outside: every reading but one.
            let times = if nodes.contains(&v.node()) { count + 1 } else { count - 1 };
            saved = saved.saturating_add(bytes(v).saturating_mul(times));
        }
        let launches = nodes.len().saturating_sub(1) as u64;
        saved.saturating_add(self.launch_bytes.saturating_mul(launches))
    }
}

impl FusionPolicy for IoSaved {
    fn name(&self) -> &str {
        "io-saved"
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        by_rank(graph, proposals, |p| Reverse(self.score(graph, p)))
    }
}
