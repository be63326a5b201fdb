//! Kernels that move elements: layouts, transposes, joins, parts, borders, gathers, resampling.
//!
//! They see tensors as stored: axes outermost first, whatever the layout. Most know no element type, only its size.

mod concat;
mod element;
mod gather;
mod pad;
mod reformat;
mod resize;
mod resize_run;
mod resize_taps;
mod scatter;
mod strided;
#[cfg(test)]
pub(crate) mod testing;
mod tile;

pub use concat::Concat;
pub use gather::{Gather, GatherElements, IndexType};
pub use pad::{Fill, Pad, PadAxis};
pub use reformat::Reformat;
pub use resize::{Resize, ResizeDim, ResizeReady};
pub use resize_taps::{Coordinates, Interpolation, Resampling, Rounding, Taps};
pub use scatter::{Combine, ScatterElements};
pub use strided::{CopyAxis, Strided};
