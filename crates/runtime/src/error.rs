use tactician_device::DeviceError;
use tactician_plan::{LoadError, Mismatch};
use thiserror::Error;

/// A plan cannot be made ready on a device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The file is unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plan is for another device.
    #[error("this plan cannot run here:{}", lines(.0))]
    Target(Vec<Mismatch>),
    /// A step cannot be prepared.
    #[error("step {index} `{name}` ({tactic}): {source}")]
    Step {
        /// Its number.
        index: usize,
        /// Its name.
        name: String,
        /// Its tactic.
        tactic: String,
        /// Why.
        source: DeviceError,
    },
    /// The device fails.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The plan needs a GPU and there is none.
    #[error("the plan was built for an NVIDIA GPU, and none can be used here: {reason}")]
    NoGpu {
        /// What stands in the way.
        reason: String,
    },
    /// The plan needs a part that this program was built without.
    #[error(
        "this program was built without {what}: build it with the feature `{feature}` of tactician-runtime, {remedy}"
    )]
    LeftOut {
        /// What is missing.
        what: String,
        /// The feature that brings it.
        feature: &'static str,
        /// What else to do about it.
        remedy: &'static str,
    },
    /// No backend of this program runs the plan's kind of device.
    #[error("the plan was built for device kind `{kind}`, which this program has no backend for")]
    NoBackend {
        /// The kind.
        kind: String,
    },
}

fn lines(list: &[Mismatch]) -> String {
    list.iter().map(|m| format!("\n  {m}")).collect()
}

/// A run cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// No input of that name.
    #[error("the plan has no input `{name}`; its inputs are: {known}")]
    NoInput {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No output of that name.
    #[error("the plan has no output `{name}`; its outputs are: {known}")]
    NoOutput {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An input that was not given.
    #[error("input `{name}` ({expected}) was not given")]
    MissingInput {
        /// Its name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// A tensor of another type or shape.
    #[error(
        "`{name}` is {expected} in this plan, but {found} was given; convert it, or build a plan for that shape"
    )]
    Mismatch {
        /// The input or output.
        name: String,
        /// What the plan has.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A binding too short or not aligned to its element type.
    #[error("the memory bound to `{name}` is unfit: {problem}")]
    Binding {
        /// The input or output.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The device fails.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
