//! Convolution kernels, one file a family.

mod depthwise;
mod direct;
mod geometry;
mod rows;
mod simd;
#[cfg(test)]
pub(crate) mod testing;
mod tile;
mod winograd;
mod winograd_math;

pub use depthwise::DepthwiseConv;
pub use direct::DirectConv;
pub use geometry::ConvGeometry;
pub use winograd::WinogradConv;
