//! The selection problem and what a solution of it says.

use std::collections::BTreeMap;

use tactician_types::{Bytes, Layout};
use thiserror::Error;

/// One measured way to run a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Stable name of the tactic.
    pub id: String,
    /// Median time in microseconds.
    pub time_us: f64,
    /// Spread of the median in microseconds; differences below it are ties.
    pub noise_us: f64,
    /// Scratch in bytes.
    pub workspace: u64,
    /// Bytes of packed weights and code that a plan holds for it.
    pub constants: u64,
    /// Whether it runs nothing: the output is the first input's bytes as they are.
    pub view: bool,
    /// Layout wanted of each input value, in the region's order.
    pub inputs: Vec<Layout>,
    /// Layout of the output.
    pub output: Layout,
}

/// A region and what may run it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionChoices {
    /// Name for messages.
    pub name: String,
    /// The nodes that it computes, ascending: numbers below [`Instance::nodes`], in execution order. The last is the node
    /// of its output. Values of the others do not exist where the region is chosen.
    pub nodes: Vec<usize>,
    /// Input values by index into [`Instance::values`], in the order of the candidates' layouts.
    pub inputs: Vec<usize>,
    /// Output value.
    pub output: usize,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
}

/// A change of layout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reformat {
    /// Median time in microseconds.
    pub time_us: f64,
    /// Scratch in bytes.
    pub workspace: u64,
    /// Bytes of code that a plan holds for it.
    pub constants: u64,
    /// Whether both layouts have the same bytes: nothing runs, and its time and scratch count as zero.
    pub view: bool,
}

/// A value and what changing its layout costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueChoices {
    /// Name for messages.
    pub name: String,
    /// Layout that the value arrives in, when no region produces it. It lies outside the arena.
    pub given: Option<Layout>,
    /// Layout in which the network's caller wants it, for outputs. In that layout it is computed in the caller's memory.
    pub wanted: Option<Layout>,
    /// Each possible change of layout. A missing pair cannot be done.
    pub reformat: BTreeMap<(Layout, Layout), Reformat>,
    /// Bytes that it takes in each layout.
    pub bytes: BTreeMap<Layout, u64>,
}

/// A selection problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    /// How many nodes the regions divide, in execution order.
    pub nodes: usize,
    /// Values by index.
    pub values: Vec<ValueChoices>,
    /// Regions, which may overlap: a selection picks some that compute every node exactly once.
    pub regions: Vec<RegionChoices>,
    /// Bytes of the network's inputs and outputs.
    pub bindings: u64,
    /// Bytes of constants that any plan holds, whatever is chosen.
    pub constants: u64,
    /// Offsets in the arena are multiples of it; 0 counts as 1.
    pub alignment: u64,
}

/// What a plan may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most scratch of any one step, in bytes.
    pub workspace: u64,
    /// Most bytes of one context in all: constants of the chosen tactics, inputs and outputs, and the arena, in which live
    /// activations and scratch lie.
    pub memory: Option<u64>,
}

impl Budget {
    /// A budget of scratch alone.
    pub fn workspace(bytes: u64) -> Budget {
        Budget { workspace: bytes, memory: None }
    }
}

/// How sure a selection is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Certificate {
    /// No selection within the budget is faster on the same numbers.
    Optimal,
    /// The search was cut short.
    Gap {
        /// No selection within the budget is faster than this.
        lower_bound_us: f64,
    },
}

/// A region of the chosen partition and its tactic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// Index into [`Instance::regions`].
    pub region: usize,
    /// Index into the region's candidates.
    pub candidate: usize,
}

/// Bytes that a selection takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Constants of the chosen tactics and reformats. A plan stores equal ones once, so it may hold fewer.
    pub constants: u64,
    /// Inputs and outputs.
    pub bindings: u64,
    /// The arena as [`place`](crate::place) lays it out.
    pub arena: u64,
    /// Largest sum of live buffers at one step: no arena is smaller.
    pub peak: u64,
    /// What runs at the step of the peak.
    pub peak_step: String,
    /// What is alive there, largest first: name and bytes.
    pub peak_tensors: Vec<(String, u64)>,
}

impl Footprint {
    /// Everything that [`Budget::memory`] limits.
    pub fn total(&self) -> u64 {
        self.constants.saturating_add(self.bindings).saturating_add(self.arena)
    }
}

/// The choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The regions that compute the network and their tactics, in execution order.
    pub chosen: Vec<Choice>,
    /// Changes of layout to run right after each value is there: `(from, to)`, in order.
    pub reformats: Vec<Vec<(Layout, Layout)>>,
    /// Predicted time in microseconds: the chosen candidates and reformats summed. A candidate that is not clearly faster
    /// than one with less scratch counts as fast as that.
    pub predicted_us: f64,
    /// Largest scratch of any chosen candidate or reformat.
    pub workspace: u64,
    /// What it takes.
    pub memory: Footprint,
    /// How sure it is.
    pub certificate: Certificate,
}

/// There is nothing to choose.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No selection keeps to the workspace.
    #[error("nothing fits a workspace of {budget}: region `{region}` takes {least} at the least")]
    OverBudget {
        /// The region that needs most where as little as possible is taken.
        region: String,
        /// The budget.
        budget: Bytes,
        /// The least workspace that works.
        least: Bytes,
    },
    /// No selection keeps to the memory.
    #[error(
        "nothing fits {budget} of memory: it takes {least} at the least, of which constants {constants}, inputs and outputs \
         {bindings}, arena {arena}; most is alive at `{step}`:{}", tensor_list(.tensors)
    )]
    OverMemory {
        /// The budget.
        budget: Bytes,
        /// The least memory that works within the workspace.
        least: Bytes,
        /// Constants of that smallest selection.
        constants: Bytes,
        /// Its inputs and outputs.
        bindings: Bytes,
        /// Its arena.
        arena: Bytes,
        /// The step where most is alive in it.
        step: String,
        /// What is alive there, largest first: name and bytes.
        tensors: Vec<(String, u64)>,
    },
    /// A region without any candidate whose nodes nothing else computes.
    #[error("region `{region}` has no tactic at all")]
    NoCandidate {
        /// The region.
        region: String,
    },
    /// Nodes that no region computes.
    #[error("no region computes the nodes {nodes:?}")]
    Uncovered {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// Regions that compute every node but not each exactly once.
    #[error("no choice of regions computes every node exactly once")]
    NoPartition,
    /// Layouts that cannot be made to meet.
    #[error("no combination of layouts connects the tactics: a change of layout is missing")]
    NoLayout,
    /// An instance that contradicts itself.
    #[error("the selection problem is not well formed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
}

fn tensor_list(tensors: &[(String, u64)]) -> String {
    tensors.iter().map(|(name, bytes)| format!("\n  {name}: {}", Bytes(*bytes))).collect()
}

impl Instance {
    /// The alignment of buffers in the arena.
    pub(crate) fn step_of(&self) -> u64 {
        self.alignment.max(1)
    }

    /// Whether numbers are in range and everything has the length that it must have.
    pub(crate) fn check(&self) -> Result<(), SelectError> {
        let fail = |what: String| Err(SelectError::Malformed { what });
        let mut output_of: BTreeMap<usize, usize> = BTreeMap::new();
        let mut node_of: BTreeMap<usize, usize> = BTreeMap::new();
        for r in &self.regions {
            let ascending = r.nodes.windows(2).all(|w| w[0] < w[1]);
            let Some(&last) = r.nodes.last().filter(|&&l| l < self.nodes && ascending) else {
                return fail(format!("region `{}` has the nodes {:?} of {}", r.name, r.nodes, self.nodes));
            };
            if r.inputs.iter().chain([&r.output]).any(|&v| v >= self.values.len()) {
                return fail(format!("region `{}` has a value that is not there", r.name));
            }
            if *output_of.entry(last).or_insert(r.output) != r.output
                || *node_of.entry(r.output).or_insert(last) != last
                || self.values[r.output].given.is_some()
            {
                return fail(format!("the output of region `{}` is not the value of its last node", r.name));
            }
            for c in &r.candidates {
                if c.inputs.len() != r.inputs.len() || (c.view && c.inputs.is_empty()) {
                    return fail(format!("tactic `{}` of region `{}` has other inputs", c.id, r.name));
                }
                if !(c.time_us >= 0.0 && c.time_us < MAX_US && c.noise_us >= 0.0 && c.noise_us < MAX_US) {
                    return fail(format!("tactic `{}` of region `{}` has no sensible time", c.id, r.name));
                }
            }
        }
        for r in &self.regions {
            let late = |v: &&usize| node_of.get(v).is_some_and(|n| r.nodes.last().is_none_or(|l| n >= l));
            if let Some(v) = r.inputs.iter().find(late) {
                return fail(format!(
                    "region `{}` reads `{}` before it is there",
                    r.name, self.values[*v].name
                ));
            }
        }
        for v in &self.values {
            if v.reformat.values().any(|r| !(r.time_us >= 0.0 && r.time_us < MAX_US)) {
                return fail(format!("a change of layout of `{}` has no sensible time", v.name));
            }
        }
        Ok(())
    }
}

/// Times are below it: a day.
const MAX_US: f64 = 86_400e6;
