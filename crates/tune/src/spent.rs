//! Where the time of checks goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a check does, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Packing constants and making steps.
    Pack,
    /// Compiling, or waiting for another thread that does.
    Compile,
    /// Allocating, and having the device prepare the steps.
    Prepare,
    /// Bringing operands and constants to the device.
    Fill,
    /// Waiting for a turn on the device, and running.
    Run,
    /// Reading the output and comparing it.
    Compare,
}

/// How long the parts of checking took, summed over the threads that check at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckTimes {
    /// Packing constants and making steps.
    pub pack: Duration,
    /// Compiling, or waiting for another thread that does.
    pub compile: Duration,
    /// Allocating, and having the device prepare the steps: modules of our kernels, plans of libraries.
    pub prepare: Duration,
    /// Bringing operands and constants to the device.
    pub fill: Duration,
    /// Waiting for a turn on the device, and running.
    pub run: Duration,
    /// Reading outputs and comparing them.
    pub compare: Duration,
    /// All of it by the family of the tactic.
    pub families: BTreeMap<String, Duration>,
}

/// What threads that check have spent so far.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Nanoseconds by stage.
    stages: [AtomicU64; 6],
    families: Mutex<BTreeMap<String, Duration>>,
}

impl Spent {
    /// Does a part of a stage.
    pub(crate) fn on<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stages[stage as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// Counts a whole check of a tactic of this family.
    pub(crate) fn count(&self, family: &str, took: Duration) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        *families.entry(family.to_owned()).or_default() += took;
    }

    /// Adds it to the times of a tuning pass.
    pub(crate) fn add_to(self, times: &mut CheckTimes) {
        let of = |stage: Stage| Duration::from_nanos(self.stages[stage as usize].load(Ordering::Relaxed));
        times.pack += of(Stage::Pack);
        times.compile += of(Stage::Compile);
        times.prepare += of(Stage::Prepare);
        times.fill += of(Stage::Fill);
        times.run += of(Stage::Run);
        times.compare += of(Stage::Compare);
        for (family, took) in self.families.into_inner().unwrap_or_else(PoisonError::into_inner) {
            *times.families.entry(family).or_default() += took;
        }
    }
}
