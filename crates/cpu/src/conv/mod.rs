//! Convolution kernels, one file a family.

mod geometry;

pub use geometry::ConvGeometry;
