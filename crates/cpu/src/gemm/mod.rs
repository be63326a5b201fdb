//! Matrix products, and convolutions made of them.

mod blocked;
mod columns;
mod finish;
mod im2col;
mod matmul;
mod matvec;
pub(crate) mod micro;
pub(crate) mod pack;
mod plain;
mod rows;
#[path = "../conv/simd.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "shared with the convolution kernels, each uses a part")]
pub(crate) mod simd;
#[cfg(test)]
mod testing;
mod transpose_conv;
mod typed;

pub use finish::Finish;
pub use im2col::{ColumnsForm, Im2colConv, im2col_tiles};
pub use matmul::{MatMul, MatShape, RightForm};
pub use matvec::MatVec;
pub use plain::PlainConv;
pub use transpose_conv::{TransposeConv, TransposeGemmConv, TransposeShape};
pub use typed::{TypedConv, TypedMatMul, TypedShape};
