//! Choosing a tactic for every region and a layout for every value under a budget; placing buffers in an arena.
//!
//! ```text
//!  regions × candidates (time, scratch, layouts) ─┐
//!  reformat costs ────────────────────────────────┼─ select ─▶ Selection ─▶ place ─▶ arena offsets
//!  workspace budget ──────────────────────────────┘
//! ```
//!
//! A private dependency of the public crate. Works on numbers alone: no device, no graph.

mod elimination;
mod memory;
mod pareto;
mod solve;

pub use memory::{Buffer, Placement, place};
pub use pareto::useful;
pub use solve::{
    Candidate, Certificate, Instance, RegionChoices, SelectError, Selection, ValueChoices, select,
};
