//! Kernels of the operations that are neither convolution, matrix product nor movement.
//!
//! They see tensors as stored: a list of axes, outermost first, whatever the layout (`N, ⌈C/b⌉, H, W, b` for blocked
//! images). What follows an operation is a [`GridExpr`]: an expression whose operands each span some of these axes.

mod any;
mod any_rows;
mod cell;
mod grid;
mod norm;
mod pointwise;
mod pointwise_any;
mod pool;
mod recurrent;
mod reduce;
mod reduce_fold;
mod softmax;
#[cfg(test)]
pub(crate) mod testing;
mod top_k;

pub use any::{ArgReduce, PoolAny, ReduceAny};
pub use any_rows::{LrnAny, NormAny, SoftmaxAny};
pub use grid::{Grid, GridExpr, MAX_GRID_AXES, MAX_GRID_OPERANDS};
pub use norm::{Lrn, LrnShape, Norm};
pub use pointwise::Pointwise;
pub use pointwise_any::PointwiseAny;
pub use pool::{Pool, PoolKind, PoolWindows};
pub use recurrent::Recurrent;
pub use reduce::{Reduce, ReduceKind};
pub use softmax::Softmax;
pub use top_k::TopK;
