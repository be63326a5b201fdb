//! Measuring tactics: filters, numerics gate, timing, and the table that keeps every result.
//!
//! ```text
//!  problems ─▶ tactics ─▶ filters ─▶ gate (reference, guard zones, poison) ─▶ race ─▶ TacticTable ─▶ file
//! ```
//!
//! A private dependency of the public crate. Works on any [`tactician_device::Device`]; the replay device tests it.

mod checker;
mod cold;
mod expected;
mod gate;
mod images;
mod measure;
mod offer;
mod sandbox;
mod sets;
mod spent;
mod table;
mod timing;
mod trial;
mod tuner;

pub use offer::{Catalogue, allowed, offered};
pub use spent::CheckTimes;
pub use table::{Purpose, Row, TABLE_VERSION, TableError, TacticTable, Timing, Verdict};
pub use timing::TimingOptions;
pub use tuner::{
    Progress, Spared, TuneError, TuneOptions, TuneReport, TuneTimes, facts, filtered, tune, tune_with,
};

#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod memory_tests;
