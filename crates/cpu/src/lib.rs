//! The CPU backend of `tactician`: kernels, threads, and the [`tactician_device::Device`] that runs them.
//!
//! ```text
//!  Step {kernel: "conv.winograd", params} ──registry──▶ Box<dyn Kernel> ──check──▶ CpuExecutable
//! ```
//!
//! A private dependency of the public crate. A kernel is a parameter struct that implements [`Kernel`]: it says how
//! long its arguments must be, and runs on them. Parameters come from a plan file and are untrusted: whatever they
//! hold, `check` must make out-of-bounds access impossible.

pub mod attention;
mod conv;
mod copy;
mod cpuinfo;
mod device;
mod epilogue;
mod executable;
mod float;
pub mod gemm;
mod isa;
mod kernel;
mod level;
pub mod movement;
pub mod ops;
mod registry;
mod tape;
mod threads;
mod vmath;

pub use conv::{ConvGeometry, DepthwiseConv, DirectConv, WinogradConv};
pub use copy::Copy;
pub use device::CpuDevice;
pub use epilogue::{Activation, CompiledEpilogue, Epilogue, EpilogueOperand, MAX_OPERANDS};
pub use isa::{available_isas, detect_isa};
pub use kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
pub use level::Level;
pub use registry::KERNELS;
pub use tape::{Tape, TapeInput};
pub use threads::{SharedMut, Threads};
