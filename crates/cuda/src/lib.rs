//! The CUDA backend of `tactician`: driver, streams, recorded graphs, and the steps that plans run on an NVIDIA GPU.
//!
//! A private dependency of the public crate. Builds without CUDA; every library is found at run time.

mod launch;

pub use launch::{Launch, LaunchArg, Launches, TensorMap};
