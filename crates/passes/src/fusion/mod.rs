//! Which nodes one tactic computes together.
//!
//! A rule knows anchors of one family and proposes regions: the anchor alone, then with more and more of the
//! pointwise nodes behind it, as long as nothing but the last value is read outside. A policy picks proposals
//! that cover the graph.

mod conv;
mod greedy;
mod grow;
mod io_saved;
mod largest;
mod matmul;
mod no_fusion;
mod norm;
mod partition;
mod pointwise;
mod pool;
mod reduce;
mod single;
mod softmax;
mod spread;
mod tensorrt;

use std::collections::BTreeSet;

use tactician_ir::{Graph, NodeId, Op, Problem, Region};

pub use greedy::Greedy;
pub use io_saved::IoSaved;
pub use largest::Largest;
pub use no_fusion::NoFusion;
pub use partition::{Partition, PartitionError};
pub use tensorrt::TensorRt;

/// Most operands that an epilogue reads.
pub const MAX_EPILOGUE_OPERANDS: usize = 8;

/// Most nodes of a region's expression: what kernels hold in registers and slots for certain.
pub const MAX_FUSED_EXPR: usize = 40;

/// How a policy should treat the anchors of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Much arithmetic a byte: first to take pointwise work.
    Heavy,
    /// Other operations that take pointwise work.
    Light,
    /// Pointwise nodes, which take what is left.
    Pointwise,
    /// Takes nothing.
    Single,
}

/// A family of anchors and what may be fused to them.
pub trait Rule: Send + Sync {
    /// The name that its regions carry.
    fn name(&self) -> &'static str;

    /// Whether it takes the operation as an anchor. The first rule of [`RULES`] that does has it.
    fn anchors(&self, op: &Op) -> bool;

    /// How anchors rank.
    fn weight(&self) -> Weight;

    /// Whether a region of more than the anchor may be computed as this problem.
    fn accepts(&self, problem: &Problem) -> bool;
}

/// Every rule. The last takes any operation, alone.
pub const RULES: &[&dyn Rule] = &[
    &conv::Conv,
    &matmul::MatMul,
    &pool::Pool,
    &reduce::Reduce,
    &softmax::Softmax,
    &norm::Norm,
    &pointwise::Pointwise,
    &single::Single,
];

/// A region that one tactic may compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The region.
    pub region: Region,
    /// How its anchor ranks.
    pub weight: Weight,
}

impl Proposal {
    /// The anchor.
    pub fn anchor(&self) -> NodeId {
        self.region.anchor
    }

    /// All nodes, operands before users, as [`Region::nodes`].
    pub fn nodes(&self) -> &[NodeId] {
        &self.region.nodes
    }
}

/// Decides what is fused.
pub trait FusionPolicy {
    /// The name in reports.
    fn name(&self) -> &str;

    /// A partition of the graph into regions, made of the proposals or of regions of its own.
    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition;
}

impl<P: FusionPolicy + ?Sized> FusionPolicy for &P {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        (**self).choose(graph, proposals)
    }
}

/// Every policy of this crate, least fusion first.
pub const POLICIES: &[&dyn FusionPolicy] =
    &[&NoFusion, &TensorRt, &Greedy, &Largest, &IoSaved { launch_bytes: 0 }];

/// The policy of [`POLICIES`] with this [`FusionPolicy::name`].
///
/// ```
/// use tactician_passes::{FusionPolicy, policy_named};
///
/// assert_eq!(policy_named("io-saved").map(|p| p.name().to_owned()).as_deref(), Some("io-saved"));
/// assert!(policy_named("magic").is_none());
/// ```
pub fn policy_named(name: &str) -> Option<&'static dyn FusionPolicy> {
    POLICIES.iter().copied().find(|p| p.name() == name)
}

/// Every proposal of every rule, by anchor in execution order, small before large.
pub fn proposals(graph: &Graph) -> Vec<Proposal> {
    let order = graph.topo();
    let mut out = Vec::new();
    for &id in &order {
        let op = &graph.node(id).op;
        if matches!(op, Op::Input | Op::Constant(_)) {
            continue;
        }
        let Some(rule) = RULES.iter().find(|r| r.anchors(op)) else { continue };
        let weight = rule.weight();
        out.extend(
            grow::regions(*rule, graph, &order, id).into_iter().map(|region| Proposal { region, weight }),
        );
    }
    out
}

/// Takes proposals in the order of `rank`, least first, as long as their nodes are free. Of one rank, the heavier anchor
/// goes first, then the later one, then the smaller region.
fn by_rank<K: Ord>(graph: &Graph, proposals: &[Proposal], rank: impl Fn(&Proposal) -> K) -> Partition {
    let mut order: Vec<(K, Weight, std::cmp::Reverse<usize>, &Proposal)> =
        Vec::with_capacity(proposals.len());
    for (at, group) in proposals.chunk_by(|a, b| a.anchor() == b.anchor()).enumerate() {
        order.extend(group.iter().map(|p| (rank(p), p.weight, std::cmp::Reverse(at), p)));
    }
    // Stable: proposals of one anchor stay small to large.
    order.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    let mut regions = Vec::new();
    for (.., p) in order {
        if !p.nodes().iter().any(|n| taken.contains(n)) {
            taken.extend(p.nodes());
            regions.push(p.region.clone());
        }
    }
    Partition::new(graph, regions)
}

/// Whether the node is computed by some region: anything but inputs and constants.
pub(crate) fn is_work(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id).op, Op::Input | Op::Constant(_))
}

#[cfg(test)]
#[path = "fusion_tests.rs"]
mod tests;

#[cfg(test)]
mod policies_tests;
