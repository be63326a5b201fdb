//! Matrix products by cuBLASLt: which algorithms there are, and the plan step `cublaslt.matmul` that runs one.
//!
//! The library is loaded at run time and needs a GPU to say anything; without either there are no algorithms, and
//! preparing a step fails with a message. An algorithm in a plan is bytes of the library's own, good for the version
//! that made them: another version means building the plan again.

mod config;
mod descriptors;
mod enumerate;
mod execute;
mod gemm;
mod handle;
mod names;

pub use config::Config;
pub use enumerate::{algorithms, answers, recall};
pub use execute::prepare;
pub use gemm::{Activation, Algorithm, Extents, Factor, Gemm, Inputs, MatmulStep, Place};

#[cfg(test)]
mod tests;
