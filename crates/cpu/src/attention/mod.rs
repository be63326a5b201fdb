//! Scaled dot-product attention.
//!
//! `flash` walks over blocks of keys, keeping for each query the largest score so far and the sum of the weights relative
//! to it, so that no matrix of scores is ever whole; `plain` is the definition, one query at a time, for every float type.

mod flash;
mod plain;
mod shape;
#[cfg(test)]
mod tests;

pub use flash::FlashAttention;
pub use plain::PlainAttention;
pub use shape::{AttentionShape, AttentionStrides};
