//! Reads ONNX models.
//!
//! ```text
//!  .onnx ──proto──▶ ModelProto ──import (opset 6 to current, shape arithmetic folded)──▶ Graph
//! ```
//!
//! A private dependency of the public crate. Weights stay in the mapped file: constants point into it.

mod control;
mod error;
mod external;
mod import;
mod model;
mod node;
mod ops;
mod proto;
mod tensor;
mod walk;

pub use error::{ImportError, UnsupportedNode};
pub use model::{Model, ModelInput, ShapeBindings};
pub use tensor::read_tensor;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod composed_tests;
#[cfg(test)]
mod control_tests;
