//! No fusion at all.

use tactician_ir::Graph;

use super::{FusionPolicy, Partition, Proposal};

/// Every node its own region: what fusion is measured against.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFusion;

impl FusionPolicy for NoFusion {
    fn name(&self) -> &str {
        "none"
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        let alone = proposals.iter().filter(|p| p.nodes().len() == 1);
        Partition::new(graph, alone.map(|p| p.region.clone()).collect())
    }
}
