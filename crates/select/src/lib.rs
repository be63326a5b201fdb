//! Choosing what is fused, a tactic for every region and layouts for every value, under budgets; placing buffers in an
//! arena.
//!
//! ```text
//!  regions × candidates (time, scratch, constants, layouts) ─┐
//!  reformat costs ───────────────────────────────────────────┼─ select ─▶ Selection ─▶ place ─▶ arena offsets
//!  budgets of workspace and memory ──────────────────────────┘
//! ```
//!
//! A private dependency of the public crate. Works on numbers alone: no device, no graph. `docs/selection.md` tells the
//! problem and the method.

mod bounds;
mod budget;
mod changes;
mod compact;
mod edges;
mod explain;
mod footprint;
mod front;
mod greedy;
mod interval;
mod labels;
mod live;
mod memory;
mod memory_front;
mod model;
mod pareto;
mod solve;
mod states;
mod weights;
mod wide;

pub use front::{Change, FrontPoint, differences, workspace_front};
pub use greedy::greedy;
pub use memory::{Buffer, Placement, place};
pub use memory_front::{memory_front, memory_front_of};
pub use model::{
    Budget, Candidate, Certificate, Choice, Footprint, Instance, Reformat, RegionChoices, SelectError,
    Selection, ValueChoices,
};
pub use pareto::useful;
pub use solve::{select, select_partition};

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod solve_tests;
