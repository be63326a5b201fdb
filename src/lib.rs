//! Builds the fastest inference plan that fits a memory budget, and says why.
//!
//! ```text
//!  .onnx or NetworkBuilder ─▶ Network ─▶ Builder ─▶ Plan (a file) ─▶ Engine ─▶ Context ─▶ outputs
//! ```
//!
//! The build fuses the network into regions, measures every tactic that could run each of them on this machine,
//! compares every output with a reference interpreter, keeps all measurements in a table, and chooses tactics and
//! layouts together so that predicted time is least within the scratch memory that the caller allows.

mod assemble;
mod builder;
mod cache;
mod devices;
mod dynamic;
mod error;
mod explain;
pub mod export;
mod instance;
mod network;
mod paper;
mod policies;
mod random;
mod record;
mod refine;
mod regions;
mod session;
mod settle;
mod tuned;
pub mod zoo;

#[cfg(test)]
mod memory_tests;

pub use builder::{BuildTimes, Builder, DEFAULT_WORKSPACE, HostRegion};
pub use devices::DeviceName;
pub use dynamic::{DynamicContext, DynamicEngine, DynamicError, Profile, TunedProfiles};
pub use error::BuildError;
pub use explain::breakpoints;
pub use network::{InputInfo, Network};
pub use paper::PaperDevice;
pub use random::random_input;
pub use record::{RecordError, record_of};
pub use refine::{RefineOptions, RefineProgress, Refined, Swap};
pub use session::{Session, SessionError};

pub use settle::{Beside, Rival, Settled, time_steps};
pub use tactician_cpu::{CpuDevice, available_isas as isas};
pub use tactician_cuda as cuda;
pub use tactician_device::{Device, DeviceError, DeviceInfo, Isa};
pub use tactician_onnx::{ImportError, StageError};
pub use tactician_passes as passes;
pub use tactician_passes::{
    FusionPolicy, Greedy, IoSaved, Largest, NoFusion, POLICIES, TensorRt, policy_named,
};
pub use tactician_plan::{
    LoadError, MAGIC as PLAN_MAGIC, Needs, Place, Plan, PlanMeta, SaveError, SizeRange, Step,
};
pub use tactician_reference as reference;
pub use tactician_report as report;
pub use tactician_runtime as runtime;
pub use tactician_runtime::{Context, Engine, EngineError, RunError, Tensor};
pub use tactician_select as selection;
pub use tactician_select::{Budget, Certificate, Selection};
pub use tactician_tactics as tactics;
pub use tactician_tactics::TacticFilter;
pub use tactician_tune as tuning;
pub use tactician_types::{Bytes, DType, Layout, write_file};
pub use tuned::Tuned;

pub use tactician_ir as ir;
pub use tactician_ir::{NetworkBuilder, Weights};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the page for researchers, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/research.md")]
struct Research;
