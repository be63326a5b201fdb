//! What a report is made of. Its JSON form is the machine form of a report, and is embedded in the page.
//!
//! Everything may be missing: a field that is left at its default is left out of the page. Times are microseconds,
//! sizes are bytes. Steps are named by their position in [`ReportData::steps`], nodes by theirs in [`Graph::nodes`];
//! a position that names nothing is ignored.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

/// A build, as a report tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportData {
    /// The network's name.
    pub network: String,
    /// Program and version that built the plan.
    pub producer: String,
    /// What the plan was built for and measured on.
    pub device: DeviceFacts,
    /// Build options by name.
    pub options: BTreeMap<String, String>,
    /// The plan in a few numbers.
    pub totals: Totals,
    /// What memory buys.
    pub curve: Curve,
    /// The plan's steps, in the order they run.
    pub steps: Vec<Step>,
    /// The network as it was imported, before fusion.
    pub graph: Graph,
    /// Where activations and scratch lie.
    pub memory: MemoryPlan,
    /// The same network under several policies, to compare.
    pub policies: Vec<Policy>,
    /// What changed when the build was repeated.
    pub churn: Option<Churn>,
}

/// A device and the libraries beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceFacts {
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Anything else known of it, by name.
    pub facts: BTreeMap<String, String>,
    /// Versions of drivers and libraries, by name.
    pub libraries: BTreeMap<String, String>,
}

/// A plan in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Sum of what the steps took when measured alone, and of layout changes.
    pub predicted_us: f64,
    /// Median of whole runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_us: Option<f64>,
    /// Launches of one run.
    pub launches: u64,
    /// Bytes that the steps of one run read and write, constants included.
    pub bytes_moved: u64,
    /// Size of a context's arena: activations and scratch.
    pub arena_bytes: u64,
    /// Size of all constants.
    pub constant_bytes: u64,
    /// Largest scratch of any step.
    pub workspace_bytes: u64,
    /// Scratch that any step was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
}

/// What memory buys: the best plan for every budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curve {
    /// By workspace, ascending: each breakpoint is the least workspace at which its plan becomes possible.
    pub workspace: Vec<Breakpoint>,
    /// By all memory of a context: arena and constants.
    pub memory: Vec<Breakpoint>,
}

/// From this much memory on, another plan is best.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breakpoint {
    /// The memory.
    pub bytes: u64,
    /// Predicted time of a run.
    pub predicted_us: f64,
    /// Measured time of a run, where this plan was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_us: Option<f64>,
    /// What differs from the plan of the breakpoint before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// A step that runs by another tactic than before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The step's name.
    pub step: String,
    /// The tactic before.
    pub from: String,
    /// The tactic from here on.
    pub to: String,
    /// Time that this saves; negative where the step got slower so that others could gain.
    pub saves_us: f64,
}

/// A step of the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it does, such as `conv + add + relu`.
    pub op: String,
    /// Names of the graph nodes that were fused into it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fused: Vec<String>,
    /// Why these nodes are one step, and no others with them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The tactic that was chosen.
    pub tactic: String,
    /// Time when the tactic was measured alone.
    pub predicted_us: f64,
    /// Time inside the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Share of the whole, 0 to 1; computed from the steps' times where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Scratch in bytes.
    pub workspace_bytes: u64,
    /// Launches.
    pub launches: u32,
    /// What it needs beside the device and its driver, such as `cuDNN`; empty for nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// All tactics that were considered, the chosen one included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Position of an earlier step whose candidates are also this one's, instead of saying them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates_of: Option<u32>,
}

/// Times of repeated runs of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// The fastest.
    pub min_us: f64,
    /// The median.
    pub median_us: f64,
    /// Median absolute deviation.
    pub mad_us: f64,
    /// How many there were.
    pub samples: u32,
}

/// A tactic that could have been chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Candidate {
    /// The tactic's name.
    pub id: String,
    /// Its times, unless it was never timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Scratch in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub workspace_bytes: u64,
    /// Relative error of its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// How it ended, for colours and order; `lost` where it is not said.
    #[serde(skip_serializing_if = "is_lost")]
    pub outcome: Outcome,
    /// Why, in words: `lost by 1.3 us`, `over budget by 2 MiB`, `wrong: ...`.
    pub verdict: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_lost(o: &Outcome) -> bool {
    *o == Outcome::Lost
}

/// How a candidate ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was chosen.
    Chosen,
    /// As fast as the chosen one, as far as measuring can tell.
    Tie,
    /// It was slower, by itself or with the layouts that it asks for.
    #[default]
    Lost,
    /// It needs more memory than is allowed.
    OverBudget,
    /// Its output was wrong.
    Wrong,
    /// It could not run.
    Failed,
}

/// The network before fusion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// From producer to consumer, by position in `nodes`.
    pub edges: Vec<(u32, u32)>,
}

/// A node of the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its operation.
    pub op: String,
    /// Shape and type of its output, such as `f16[1,64,56,56]`.
    pub shape: String,
    /// Position of the step that computes it; none for inputs, and for what was computed when building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
}

/// Where activations and scratch lie, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryPlan {
    /// What lies in the arena.
    pub buffers: Vec<Buffer>,
    /// Size of the arena.
    pub arena_bytes: u64,
    /// Size of all constants, which lie elsewhere.
    pub constant_bytes: u64,
}

/// A range of the arena over some steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Buffer {
    /// What it holds.
    pub name: String,
    /// First byte.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
    /// First step that touches it.
    pub first: u32,
    /// Last step that touches it.
    pub last: u32,
    /// What it is for.
    pub kind: BufferKind,
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferKind {
    /// A value on its way from one step to others.
    #[default]
    Activation,
    /// Workspace of one step.
    Scratch,
}

/// The network built under one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Its name, such as `own kernels only`.
    pub name: String,
    /// Predicted time of a run.
    pub predicted_us: f64,
    /// Measured time of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_us: Option<f64>,
    /// Largest scratch of any step.
    pub workspace_bytes: u64,
    /// Steps of the plan.
    pub steps: u32,
    /// Anything to add.
    pub note: String,
}

/// What changed when the build was repeated with new measurements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Churn {
    /// The builds.
    pub builds: Vec<ChurnBuild>,
    /// The steps that did not always run by the same tactic.
    pub steps: Vec<ChurnStep>,
}

/// One of several equal builds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChurnBuild {
    /// Predicted time of a run.
    pub predicted_us: f64,
    /// Measured time of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_us: Option<f64>,
    /// Steps whose tactic differs from the first build's.
    pub changed: u32,
}

/// A step whose tactic is not the same in all builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChurnStep {
    /// The step's name.
    pub step: String,
    /// Tactics, and in how many builds each was chosen.
    pub tactics: Vec<(String, u32)>,
}

impl ReportData {
    /// The candidates of the step at a position.
    pub fn candidates(&self, step: usize) -> &[Candidate] {
        let Some(s) = self.steps.get(step) else { return &[] };
        match s.candidates_of.and_then(|other| self.steps.get(other as usize)) {
            Some(other) if s.candidates.is_empty() => &other.candidates,
            _ => &s.candidates,
        }
    }

    /// The same data, saying equal candidates once: a network has many equal layers.
    pub(crate) fn pooled(&self) -> ReportData {
        let mut out = self.clone();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for (i, s) in out.steps.iter_mut().enumerate().filter(|(_, s)| !s.candidates.is_empty()) {
            match seen.entry(format!("{:?}", s.candidates)) {
                Entry::Vacant(new) => _ = new.insert(i as u32),
                Entry::Occupied(old) => {
                    s.candidates.clear();
                    s.candidates_of = Some(*old.get());
                }
            }
        }
        out
    }
}

impl Step {
    /// The time to show: measured inside the plan, or else predicted. Not below zero; zero for what is no number.
    pub fn time_us(&self) -> f64 {
        let us = self.timing.map_or(self.predicted_us, |t| t.median_us);
        if us.is_finite() { us.max(0.0) } else { 0.0 }
    }
}
