//! cuDNN 9: an operation with what follows it, as one operation graph a step.
//!
//! ```text
//!  GraphSpec + CudaInfo ──candidates──▶ [Candidate {engine, knobs, workspace, notes}]     nothing compiled
//!  CudnnStep {GraphSpec, engine, knobs} ──prepare──▶ execution plan ──enqueue──▶ cudnnBackendExecute
//! ```
//!
//! A step keeps its graph, engine and knobs, from which any cuDNN that has them rebuilds the plan. For engines that
//! are compiled when a plan is made it keeps cuDNN's own form of the plan too, with the machine code inside: as with
//! every plan file, its code is run as it is.

mod check;
mod descriptor;
mod engines;
mod graph;
mod handle;
mod plan;
mod spec;
mod step;
mod target;

#[cfg(test)]
mod cudnn_tests;
#[cfg(test)]
mod nodes_tests;
#[cfg(test)]
mod support_tests;

pub(crate) use handle::Handle;
pub(crate) use step::prepare;

pub use engines::{Candidate, answers, candidates, recall};
pub use spec::{
    ArgBytes, Function, GraphSpec, NodeSpec, NormKind, PoolKind, ReduceKind, Role, TENSOR_ALIGNMENT,
    TensorSpec,
};
pub use step::CudnnStep;

/// The kernel name of steps that cuDNN runs.
pub const NAME: &str = "cudnn.graph";

/// The version of cuDNN on the loader path, such as 91400; `None` when it cannot be used.
pub fn version() -> Option<u32> {
    u32::try_from(tactician_cudnn_sys::Cudnn::get().ok()?.version()).ok()
}
