//! Vocabulary shared by the graph (build side) and the plan (run side) of `tactician`: element types, memory
//! layouts, byte sizes, and the pointwise expression that both hold; and how both write files.
//!
//! A private dependency of the public crate. It exists so that the runtime can talk about element types and
//! layouts without linking the graph.

mod bytes;
mod dtype;
mod expr;
mod file;
mod growth;
mod layout;
mod memo;
mod narrow;
mod recent;
mod recurrent;
mod short;

pub use bytes::{Bytes, ParseBytesError};
pub use dtype::{DType, ParseDTypeError};
pub use expr::{Binary, Expr, ExprId, ExprNode, MAX_EXPR_NODES, Scalar, Unary};
pub use file::{replaceable, write_file};
pub use growth::Growth;
pub use layout::{Layout, ParseLayoutError};
pub use memo::Memo;
pub use narrow::{NarrowFloat, narrow_integer};
pub use recent::Recent;
pub use recurrent::{
    GateActivation, GateFunction, Recurrent, RecurrentDirection, RecurrentKind, RecurrentOperand,
};
pub use short::{bf16_of, f16_of};
