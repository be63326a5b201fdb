//! Why nothing can be chosen.

use tactician_types::Bytes;

use crate::changes::Makings;
use crate::compact::Compact;
use crate::model::{Footprint, SelectError};
use crate::solve::{Steps, hungriest};
use crate::wide::Graph;

/// Why no selection keeps to a workspace: the least that works, or what fails whatever the workspace.
pub(crate) fn over_workspace(compact: &Compact<'_>, workspace: u64) -> SelectError {
    let sizes = compact.scratch_sizes();
    let path = |at: usize| {
        let makings = Makings::new(compact, sizes[at]);
        let graph = Graph::new(compact, &makings, sizes[at]);
        Steps::new(compact, &graph.states, &makings).shortest(sizes[at])
    };
    // The first size with a path: more scratch never hurts.
    let (mut low, mut high) = (sizes.partition_point(|&s| s <= workspace), sizes.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if path(middle).is_some() { high = middle } else { low = middle + 1 }
    }
    match sizes.get(low).and_then(|_| path(low)) {
        Some(found) => {
            let (region, _) = hungriest(compact, &found);
            SelectError::OverBudget { region, budget: Bytes(workspace), least: Bytes(sizes[low]) }
        }
        None => unconnected(compact),
    }
}

/// That nothing fits the memory, with what takes it where as little as possible is taken.
pub(crate) fn over_memory(memory: u64, least: Footprint) -> SelectError {
    SelectError::OverMemory {
        budget: Bytes(memory),
        least: Bytes(least.total()),
        constants: Bytes(least.constants),
        bindings: Bytes(least.bindings),
        arena: Bytes(least.arena),
        step: least.peak_step,
        tensors: least.peak_tensors,
    }
}

/// Why there is no selection whatever the budget.
fn unconnected(compact: &Compact<'_>) -> SelectError {
    let instance = compact.instance;
    let mut usable = vec![false; instance.nodes];
    let mut listed: Vec<Option<&str>> = vec![None; instance.nodes];
    for (r, region) in compact.regions.iter().enumerate() {
        for &n in &region.nodes {
            usable[n] |= !region.classes.is_empty();
            listed[n] = listed[n].or(Some(&instance.regions[r].name));
        }
    }
    let nodes: Vec<usize> = (0..instance.nodes).filter(|&n| listed[n].is_none()).collect();
    if !nodes.is_empty() {
        return SelectError::Uncovered { nodes };
    }
    if let Some(name) = (0..instance.nodes).find(|&n| !usable[n]).and_then(|n| listed[n]) {
        return SelectError::NoCandidate { region: name.to_owned() };
    }
    if coverable(compact) { SelectError::NoLayout } else { SelectError::NoPartition }
}

/// Whether some choice of regions computes every node once, whatever the layouts.
fn coverable(compact: &Compact<'_>) -> bool {
    // By nodes from the last: sets of nodes computed ahead by the regions chosen.
    let mut sets = std::collections::BTreeSet::from([std::collections::BTreeSet::<usize>::new()]);
    for node in (0..compact.instance.nodes).rev() {
        let mut next = std::collections::BTreeSet::new();
        for set in sets {
            if set.contains(&node) {
                next.insert(set.iter().copied().filter(|&n| n != node).collect());
                continue;
            }
            for &r in &compact.ending[node] {
                let inner = &compact.regions[r].nodes[..compact.regions[r].nodes.len() - 1];
                if inner.iter().all(|n| !set.contains(n)) {
                    next.insert(set.iter().chain(inner).copied().collect());
                }
            }
        }
        sets = next;
    }
    !sets.is_empty()
}
