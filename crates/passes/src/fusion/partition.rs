//! A graph divided into regions.

use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{Graph, NodeId, Region, ValueId};
use thiserror::Error;

use super::is_work;

/// Regions in execution order. [`Partition::check`] says whether they cover a graph properly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    regions: Vec<Region>,
}

/// Why regions are no partition of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// A node that no region computes.
    #[error("no region computes node {node:?} `{name}`; add it to one or give it its own")]
    Missing {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A node that two regions compute.
    #[error("node {node:?} is computed by two regions; take it out of one")]
    Twice {
        /// The node.
        node: NodeId,
    },
    /// Something that is no region of this graph: an inner value is read outside, a node is no work or does
    /// not exist.
    #[error("the nodes {nodes:?} of rule {rule} are no region of this graph")]
    NoRegion {
        /// The rule.
        rule: &'static str,
        /// Its nodes.
        nodes: Vec<NodeId>,
    },
    /// A region that reads a value computed after it.
    #[error("the region that computes {output:?} reads {input:?} before any region computed it")]
    Order {
        /// What the region computes.
        output: ValueId,
        /// What it reads.
        input: ValueId,
    },
}

impl Partition {
    /// A partition of these regions, put in execution order.
    ///
    /// A region has one result, which all its nodes lead to, so the order of the results in the graph is an
    /// order of the regions: no two regions can wait for each other.
    pub fn new(graph: &Graph, mut regions: Vec<Region>) -> Partition {
        let position: BTreeMap<NodeId, usize> =
            graph.topo().into_iter().enumerate().map(|(i, n)| (n, i)).collect();
        regions.sort_by_key(|r| position.get(&r.output.node()).copied().unwrap_or(usize::MAX));
        Partition { regions }
    }

    /// The regions, in execution order.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The regions, in execution order: every node but inputs and constants in exactly one.
    pub fn into_regions(self) -> Vec<Region> {
        self.regions
    }

    /// Whether every node but inputs and constants is in exactly one region, every region is one of this
    /// graph, and each reads only what earlier ones compute.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, graph: &Graph) -> Result<(), PartitionError> {
        let mut covered: BTreeSet<NodeId> = BTreeSet::new();
        let mut ready: BTreeSet<ValueId> = BTreeSet::new();
        for region in &self.regions {
            let known = region.nodes.iter().all(|&n| graph.contains(n) && is_work(graph, n));
            if !known || Region::new(region.rule, graph, &region.nodes).as_ref() != Some(region) {
                return Err(PartitionError::NoRegion { rule: region.rule, nodes: region.nodes.clone() });
            }
            if let Some(&node) = region.nodes.iter().find(|&&n| !covered.insert(n)) {
                return Err(PartitionError::Twice { node });
            }
            let early = region.inputs.iter().find(|v| is_work(graph, v.node()) && !ready.contains(v));
            if let Some(&input) = early {
                return Err(PartitionError::Order { output: region.output, input });
            }
            ready.insert(region.output);
        }
        match graph.node_ids().find(|&n| is_work(graph, n) && !covered.contains(&n)) {
            Some(node) => Err(PartitionError::Missing { node, name: graph.node(node).name.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
