use tactician_ir::{GraphError, VerifyErrors};
use tactician_onnx::ImportError;
use tactician_select::SelectError;
use tactician_tactics::EmitError;
use tactician_tune::{TableError, TuneError};
use thiserror::Error;

/// A network cannot be built into a plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The ONNX model cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// An operation does not accept its operands.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// No input of that name.
    #[error("the network has no input `{name}`; its inputs are: {known}")]
    NoInput {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A shape that contradicts the network.
    #[error("input `{name}` is declared as {declared}; {given} does not fit")]
    Shape {
        /// The input.
        name: String,
        /// Its declared shape.
        declared: String,
        /// The shape given.
        given: String,
    },
    /// A value that an input cannot take.
    #[error("input `{name}` cannot be given this value: {problem}")]
    Value {
        /// The input.
        name: String,
        /// Why not.
        problem: String,
    },
    /// Open sizes that nobody bound.
    #[error(
        "the sizes {symbols} are open: give the shapes of {inputs}, with `.shape(..)` or `--shape NAME=1x3x224x224`, or a range of \
         them with `.profile(..)` or `--profile NAME=LEAST:USUAL:LARGEST`"
    )]
    Unbound {
        /// The symbols.
        symbols: String,
        /// The inputs that have them.
        inputs: String,
    },
    /// A profile that contradicts itself or the network.
    #[error("the profile's input `{name}`: {problem}")]
    Profile {
        /// The input.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// No profile was given.
    #[error("there is no profile to tune for: give one with `.profile(..)` or `--profile NAME=MIN:OPT:MAX`")]
    NoProfile,
    /// A plan that keeps no network.
    #[error("the plan of `{network}` is for fixed shapes; build it with profiles for others")]
    FixedShapes {
        /// The network's name.
        network: String,
    },
    /// The network that a plan keeps cannot be read.
    #[error("the network in the plan is damaged: {what}; build the plan again")]
    Kept {
        /// What is wrong.
        what: String,
    },
    /// Profiles that do not fit the plan: our mistake.
    #[error(transparent)]
    Plan(#[from] tactician_plan::LoadError),
    /// An operation that computes with a tensor without elements, which no kernel is made for.
    #[error("`{node}` reads `{name}` of shape {shape}, which has no elements; build for sizes of at least 1")]
    Empty {
        /// The node that reads it.
        node: String,
        /// The value that is empty.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// The network does not fit the precision asked for.
    #[error(transparent)]
    Precision(#[from] tactician_passes::LowerError),
    /// Measuring failed.
    #[error(transparent)]
    Tune(#[from] TuneError),
    /// No selection fits.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A policy chose a region that was not measured.
    #[error(
        "the policy `{policy}` makes a region of `{region}` that was not measured; name the policy when measuring"
    )]
    NotMeasured {
        /// The policy.
        policy: String,
        /// The region's anchor.
        region: String,
    },
    /// The tactic table cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A tactic cannot pack its constants.
    #[error("`{region}`: {source}")]
    Emit {
        /// The region.
        region: String,
        /// Why.
        source: EmitError,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] tactician_device::DeviceError),
    /// The plan that was made cannot be loaded to be measured.
    #[error(transparent)]
    Engine(#[from] tactician_runtime::EngineError),
    /// The plan that was made does not run.
    #[error(transparent)]
    Run(#[from] tactician_runtime::RunError),
    /// The graph breaks its contract: our mistake.
    #[error("this is a mistake of tactician, please report it: {0}")]
    Invalid(#[from] VerifyErrors),
    /// Something that cannot happen happened: our mistake.
    #[error("this is a mistake of tactician, please report it: {what}")]
    Bug {
        /// What.
        what: String,
    },
}
