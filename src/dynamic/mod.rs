//! Shapes that are known only when a plan runs.
//!
//! ```text
//!  Builder::profile(min, opt, max) ─▶ TunedProfiles (measured at opt) ─▶ Plan: steps at opt, choices, the network
//!                                                                             │
//!  inputs of some shape ─▶ DynamicContext ─▶ DynamicEngine ─ the first time ──┴▶ Recipe: network bound to the shapes,
//!                                              └ later: the engine made then        regions and tactics as chosen at opt
//! ```
//!
//! Steps of plans know their sizes: kernels are chosen, and on a GPU compiled, for them. So a plan for open shapes keeps the
//! network and what was chosen, and steps for a shape are made when it first comes. What makes them is the build side; a
//! program that links [`tactician_runtime`] alone runs such a plan at the first profile's `opt`.

mod build;
mod engine;
pub(crate) mod kept;
mod profile;
mod recipe;

pub use build::TunedProfiles;
pub use engine::{DynamicContext, DynamicEngine, DynamicError};
pub use profile::Profile;

pub(crate) use profile::shapes_at;
