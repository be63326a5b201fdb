//! What a plan says: the types of its metadata. A boundary of their own: nothing here is shared with the graph.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tactician_types::DType;

/// Everything in a plan but the constants' bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanMeta {
    /// The network's name.
    pub network: String,
    /// Program and version that made the plan.
    pub producer: String,
    /// The device it was made for.
    pub target: Target,
    /// Build options, for the record.
    pub options: BTreeMap<String, String>,
    /// Inputs, in order.
    pub inputs: Vec<Port>,
    /// Outputs, in order.
    pub outputs: Vec<Port>,
    /// Constants, by section.
    pub constants: Vec<Constant>,
    /// Size of a context's arena: activations and scratch.
    pub arena_bytes: u64,
    /// Largest scratch of any step: the workspace in use.
    pub scratch_bytes: u64,
    /// Predicted time of a run in microseconds.
    pub predicted_us: f64,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Where values live, for reports.
    pub values: Vec<ValueLife>,
    /// Bytes of the build's record, which lies behind the metadata: see [`crate::Plan::record`].
    pub record_bytes: u64,
    /// The ranges of shapes that it serves. Empty for a plan of fixed shapes; the steps are those of the first one's `opt`.
    pub profiles: Vec<Profile>,
    /// What the network is kept as, behind the constants, to make steps for other shapes from: see [`crate::Plan::network`].
    pub network_form: NetworkForm,
    /// Bytes of the network.
    pub network_bytes: u64,
}

/// What a network is kept as in a plan whose shapes are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkForm {
    /// Not at all: shapes are fixed.
    #[default]
    None,
    /// As an ONNX model.
    Onnx,
    /// As a graph's text and its constants.
    Graph,
}

/// An optimization profile: the shapes that inputs may have, those that were measured, and what was chosen for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Of each input, in order, the sizes of its axes.
    pub inputs: Vec<Vec<SizeRange>>,
    /// Arena of a context at the largest sizes: activations and scratch.
    pub arena_bytes: u64,
    /// Largest scratch of any step at the largest sizes.
    pub scratch_bytes: u64,
    /// The tactics that were chosen at `opt`.
    pub choices: Vec<Choice>,
}

/// The sizes that an axis may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRange {
    /// The least.
    pub min: u64,
    /// What was measured.
    pub opt: u64,
    /// The largest.
    pub max: u64,
}

/// A region of the fused network with its tactic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Names of the region's nodes, in order.
    pub nodes: Vec<String>,
    /// The tactic's stable name.
    pub tactic: String,
}

impl SizeRange {
    /// Whether a size is one of them.
    pub fn contains(&self, size: u64) -> bool {
        (self.min..=self.max).contains(&size)
    }
}

impl std::fmt::Display for SizeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.min == self.max {
            true => write!(f, "{}", self.min),
            false => write!(f, "{}..={}", self.min, self.max),
        }
    }
}

/// The device that a plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Kind of device, such as `cpu`.
    pub kind: String,
    /// Instruction set or architecture that the steps use.
    pub isa: String,
    /// Threads that scratch sizes were computed for.
    pub threads: u64,
    /// Other facts of the device, for warnings.
    pub facts: BTreeMap<String, String>,
}

/// A network input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes of the axes; the binding is row-major.
    pub shape: Vec<u64>,
}

/// A constant's place in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// What it is and how it is laid out.
    pub note: String,
    /// Offset from the start of the constant section, a multiple of [`crate::ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A memory range that a step reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Constant number.
    Constant {
        /// Which.
        index: u32,
    },
    /// Bytes of the arena.
    Arena {
        /// Offset, a multiple of [`crate::ALIGNMENT`].
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The whole of an input binding.
    Input {
        /// Which.
        index: u32,
    },
    /// The whole of an output binding.
    Output {
        /// Which.
        index: u32,
    },
}

/// One step: a kernel and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the graph node that it computes, or of what it prepares.
    pub name: String,
    /// What it does, for people: `conv + add + relu`.
    pub op: String,
    /// The problem solved, as the tactic table names it; empty for copies.
    pub problem: String,
    /// The tactic's stable name.
    pub tactic: String,
    /// Kernel name, for the device.
    pub kernel: String,
    /// Kernel parameters, for the device.
    pub params: Vec<u8>,
    /// Arguments read.
    pub inputs: Vec<Place>,
    /// Arguments written.
    pub outputs: Vec<Place>,
    /// Scratch.
    pub scratch: Option<Place>,
    /// The constant that holds its machine code.
    pub code: Option<u32>,
    /// Predicted time in microseconds.
    pub predicted_us: f64,
}

/// What runs a step, beside the plan's own device and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Needs {
    /// Nothing: code in the plan, or the CPU's kernels in a plan for the CPU.
    Nothing,
    /// The library cuDNN.
    Cudnn,
    /// The library cuBLASLt.
    CublasLt,
    /// The CPU, in a plan for a GPU.
    Host,
}

impl Needs {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Needs::Nothing => "nothing else",
            Needs::Cudnn => "cuDNN",
            Needs::CublasLt => "cuBLASLt",
            Needs::Host => "the host's CPU",
        }
    }
}

impl Step {
    /// What it needs beside the plan's device.
    pub fn needs(&self) -> Needs {
        match self.kernel.split_once('.') {
            Some(("cudnn", _)) => Needs::Cudnn,
            Some(("cublaslt", _)) => Needs::CublasLt,
            Some(("host", _)) => Needs::Host,
            _ => Needs::Nothing,
        }
    }
}

/// Where a value lives and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueLife {
    /// Name of the node that computes it, with the layout.
    pub name: String,
    /// Arena offset.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// First step that touches it.
    pub first: u32,
    /// Last step that touches it.
    pub last: u32,
}

impl Port {
    /// Size of the binding in bytes; `None` when it overflows.
    pub fn bytes(&self) -> Option<u64> {
        let n = self.shape.iter().try_fold(1u64, |a, &b| a.checked_mul(b))?;
        n.checked_mul(self.dtype.size() as u64).filter(|&b| b <= i64::MAX as u64)
    }
}

impl PlanMeta {
    /// Bytes of all constants; as many as there can be where metadata that was not checked says more.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.iter().fold(0, |sum, c| sum.saturating_add(c.len))
    }

    /// Length in bytes of what a place names; `None` when there is no such thing.
    pub fn len_of(&self, place: Place) -> Option<u64> {
        match place {
            Place::Constant { index } => self.constants.get(index as usize).map(|c| c.len),
            Place::Arena { len, .. } => Some(len),
            Place::Input { index } => self.inputs.get(index as usize)?.bytes(),
            Place::Output { index } => self.outputs.get(index as usize)?.bytes(),
        }
    }
}
