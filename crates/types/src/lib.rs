//! Vocabulary shared by the graph (build side) and the plan (run side) of `tactician`: element types, memory
//! layouts, byte sizes.
//!
//! A private dependency of the public crate. It exists so that the runtime can talk about element types and
//! layouts without linking the graph.

mod bytes;
mod dtype;
mod layout;

pub use bytes::{Bytes, ParseBytesError};
pub use dtype::{DType, ParseDTypeError};
pub use layout::{Layout, ParseLayoutError};
