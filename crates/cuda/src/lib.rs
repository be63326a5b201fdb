//! The CUDA backend of `tactician`: driver, streams, recorded graphs, and the steps that plans run on an NVIDIA GPU.
//!
//! ```text
//!  CodeSource ──compile (NVRTC)──▶ CUBIN, kept in the plan
//!  step {"cuda.launch", params, CUBIN} ──registry──▶ check ──▶ load ──▶ LaunchStep ──enqueue──▶ cuLaunchKernelEx
//! ```
//!
//! A private dependency of the public crate. Builds without CUDA; every library is found at run time, and [`probe()`]
//! says in words what is missing.
//!
//! The features `nvrtc` (compiling, to build plans), `cudnn` and `cublaslt` (steps of those libraries) are on by default.
//! Without them the crate needs the driver alone, and refuses what needs them by the feature's name.

#[cfg(feature = "nvrtc")]
mod compile;
mod copy;
#[cfg(feature = "cublaslt")]
pub mod cublaslt;
#[cfg(feature = "cudnn")]
pub mod cudnn;
mod device;
mod driver;
mod elf;
mod host_call;
mod host_run;
mod launch;
mod launch_check;
mod launch_step;
mod memory;
mod module;
mod probe;
mod registry;
mod stream;

#[cfg(feature = "nvrtc")]
pub use compile::{Compiled, Usage, compile_for};
pub use copy::Copy;
pub use device::CudaDevice;
pub use driver::Context;
pub use host_run::{HOST_THREADS, HostInput, HostRun, host_threads};
pub use launch::{Launch, LaunchArg, Launches, TensorMap, WindowMap};
pub use probe::{Lib, LibraryProbe, Loaded, Probe, library, obstacle, probe};
pub use stream::CudaStream;
