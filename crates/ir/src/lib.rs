//! The graph of `tactician`: operations, types, shape inference, verifier, text form.
//!
//! ```text
//!  importer / NetworkBuilder ──▶ Graph ──verify──▶ Verified<Graph> ──▶ passes ──▶ regions ──▶ Problem
//! ```
//!
//! A private dependency of the public crate, and the only one that names petgraph.
//!
//! # What a graph promises
//!
//! - **SSA.** A value is one output of one node ([`ValueId`]); nothing is ever assigned twice, nothing is modified in
//!   place. Operands are ordered; constants are nodes.
//! - **Types are always there.** Every value has a [`TensorType`]: element type and shape. A size is known or a
//!   polynomial in named symbols ([`Dim`]); [`Graph::bind`] puts numbers for them.
//! - **Attributes are static.** Shapes, axes and permutations are attributes, never operands.
//! - **Pointwise work is one operation** that holds an [`Expr`], so that any chain of it is one node, prints as code
//!   and maps to any back end.
//! - **Logical order.** Shapes are in logical order (`N, C, spatial…`); memory layout is no part of the graph. It is
//!   chosen later, value by value.
//! - **Iteration goes by id**, never by hash, so equal graphs build equal plans.
//!
//! Ids stay valid when other nodes come and go.

pub mod build;
pub mod dim;
mod features;
mod graph;
mod ops;
mod patch;
mod region;
mod tensor;
pub mod text;
pub mod verify;

pub use build::{ActivationKind, BuildErrors, LayerError, NetworkBuilder, ScaleMode, TensorRef, Weights};
pub use dim::{Dim, Symbols};
pub use features::{Features, ProductFeatures, WindowFeatures};
pub use graph::{Graph, GraphError, Node, NodeId, ValueId};
pub use ops::*;
pub use patch::{Change, Patch, PatchValue};
pub use region::{Operand, Problem, Region};
pub use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, Layout, NarrowFloat, Scalar, Unary};
pub use tensor::{Element, MAX_ELEMENTS, MAX_RANK, Shape, Tensor, TensorSizeError, TensorType};
pub use verify::{Verified, VerifyError, VerifyErrors, verify};
