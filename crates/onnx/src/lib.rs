//! Reads ONNX models.
//!
//! ```text
//!  .onnx ──proto──▶ ModelProto ──import (every opset, shape arithmetic folded)──▶ Graph
//! ```
//!
//! A private dependency of the public crate. Weights stay in the mapped file: constants point into it.

mod control;
mod data;
mod error;
mod external;
mod flex;
mod function;
mod import;
mod inputs;
mod model;
mod node;
mod ops;
mod proto;
mod stages;
mod tensor;
mod walk;

pub use data::{Value, read_value};
pub use error::{ImportError, UnsupportedNode};
pub use inputs::{ModelInput, ShapeBindings, ValueKind};
pub use model::Model;
pub use stages::{Backend, Driver, StageError};

/// The operators that are imported, with their domains unless that is ONNX's own, sorted.
pub fn operators() -> Vec<&'static str> {
    let mut names: Vec<&str> = ops::names().chain(control::OPERATORS.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod composed_tests;
#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod function_tests;
#[cfg(test)]
mod inputs_tests;
#[cfg(test)]
mod narrow_tests;
#[cfg(test)]
mod odd_tests;
