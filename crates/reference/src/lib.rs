//! A plain interpreter of the graph: the oracle that kernels, passes and plans are checked against.
//!
//! ```text
//!  Op + Tensors ──value──▶ f64 / i64 arrays ──ops──▶ arrays ──round once──▶ Tensor
//! ```
//!
//! Floats are computed in `f64` whatever their type; integers are exact and wrap at their width. Nothing here is
//! clever: every operation is its definition, written with loops. A private dependency of the public crate.

mod bound;
mod compare;
mod error;
mod expr;
mod graph;
mod operands;
mod ops;
mod problem;
mod value;

pub use bound::Exact;
pub use compare::{Comparison, compare, compare_repeated, relative_l2};
pub use error::ReferenceError;
pub use graph::{eval_graph, eval_graph_f64};
pub use operands::{adversarial_operands, random_operands};
pub use problem::{eval_op, eval_problem};

#[cfg(test)]
mod tests;
