//! Loads plans and runs them. Knows the plan format and the device backends, nothing of how plans are made, so that a
//! program that only runs plans links nothing else.
//!
//! ```text
//!  Plan + Device ─▶ Engine (weights, prepared steps; shared) ─▶ Context (arena, bindings, stream; one a thread)
//!                                                        set_input, host_input, set_binding ▶ enqueue ▶ output, host_output
//! ```
//!
//! The features `cpu` and `cuda` (the backends), `cudnn` and `cublaslt` (the libraries that a GPU's plan may call) are on by
//! default. With `cuda` alone a program needs the driver and nothing else, and is a tenth of the size; a plan that needs
//! what was left out is refused with [`EngineError::LeftOut`].
//!
//! Running a plan from a stranger is as safe as the kernels' own checks: nothing in a plan is executable code on the
//! CPU, every size and offset is checked when it is loaded, and each kernel checks its parameters when it is prepared.
//! A plan for a GPU does hold machine code, which can read and write all that this process keeps on that GPU: run such a
//! plan only when you trust whoever made it.

mod binding;
mod constants;
mod context;
mod engine;
mod error;
mod npy;
mod tensor;

pub use constants::ConstantPool;
pub use context::{Arena, Context};
pub use engine::{Engine, LoadTimes, MemoryReport, device_for, target_of};
pub use error::{EngineError, RunError};
pub use npy::NpyError;
pub use tactician_device::{Device, DeviceError, Span};
pub use tactician_plan::{LoadError, Plan, PlanMeta, Port};
pub use tactician_types::DType;
pub use tensor::{Element, Tensor};
