//! Rewrites and fusion rules of `tactician`.
//!
//! ```text
//! Graph ──canonicalize──▶ Verified<Graph> ──proposals──▶ [Proposal] ──FusionPolicy──▶ Partition ──▶ [Region]
//! ```
//!
//! A [`Rewrite`] is a pure function from a place in a graph to a patch; [`PIPELINE`] lists them all.
//! [`canonicalize`] runs them until nothing changes; [`lower`] makes a network of 16-bit floats of it. Fusion then says which nodes one tactic computes
//! together: every [`Rule`] proposes regions, a [`FusionPolicy`] picks among them.

pub mod fusion;
mod pipeline;
mod precision;
pub mod rewrites;
mod util;
mod views;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod testing;

pub use fusion::{
    FusionPolicy, Greedy, IoSaved, Largest, NoFusion, POLICIES, Partition, PartitionError, Proposal, RULES,
    Rule, TensorRt, policy_named, proposals,
};
pub use pipeline::{
    GRAPH_PASSES, GraphPass, MAX_ROUNDS, PIPELINE, PassReport, PassStat, Rewrite, canonicalize, run_named,
};
pub use precision::{LowerError, lower};
