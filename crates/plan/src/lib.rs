//! The plan file of `tactician`: what the build side writes and the runtime reads.
//!
//! ```text
//!  header (64 bytes: magic, version, offsets, blake3) │ metadata (postcard) │ record │ constants, each at a multiple of 256
//!  │ the network, where shapes are open
//! ```
//!
//! A private dependency of the public crate. Never touches a device. Loading maps the file and checks everything
//! before any use; hostile bytes give a [`LoadError`], never a panic. What a step's parameters mean is for the device
//! backend, which checks them in turn when it prepares the step.

mod file;
mod meta;
mod target;
mod validate;

pub use file::{Draft, FORMAT_VERSION, HEADER_LEN, LoadError, MAGIC, Plan, SaveError, Section};
pub use meta::{
    Choice, Constant, Needs, NetworkForm, Place, PlanMeta, Port, Profile, SizeRange, Step, Target, ValueLife,
};
pub use target::Mismatch;

/// Alignment of constants and of arena offsets in bytes.
pub const ALIGNMENT: u64 = 256;
