//! Timing for benchmarks: several runs at once, and what each step adds to a recorded plan.
//!
//! On a GPU a step cannot be timed by events around it without harm: recorded events cost as much as a short kernel,
//! and without a recording the device waits for the host. So the first one, two, three ... steps are recorded, each
//! recording is timed right behind a run of the whole plan, and what a step adds is a difference of two such times.
//! The run before leaves the caches as they are when the plan runs again and again.

use std::time::{Duration, Instant};

use tactician_device::Graph;

use super::{Context, Recording, Work};
use crate::error::RunError;

/// Rounds that take place however long they take.
const LEAST_ROUNDS: usize = 5;

/// Most rounds: more do not make a median better.
const MOST_ROUNDS: usize = 201;

impl Context {
    /// The device time of `runs` runs in a row, the last one's end included: what a benchmark that chooses its own number
    /// of runs calls.
    ///
    /// # Errors
    /// When a step fails.
    pub fn time(&mut self, runs: u64) -> Result<Duration, RunError> {
        // The second run records.
        for _ in 0..2 {
            self.enqueue()?;
        }
        self.stream.synchronize()?;
        let Context { shared, stream, recording, args, starts, .. } = self;
        let work = Work { shared, args, starts };
        let time = stream.time(&mut |s| (0..runs).try_for_each(|_| work.run(recording, s)))?;
        Ok(time)
    }

    /// Samples of the device time from the start of the recorded plan to the end of each step: entry `i` is for the first
    /// `i + 1` steps, and the last for all. Rounds over all entries go on for `duration` (5 at least, 201 at most), so
    /// that changes of clock hit all alike. `None` where plans are not recorded, as on the CPU.
    ///
    /// # Errors
    /// When a step fails.
    pub fn profile_recorded(&mut self, duration: Duration) -> Result<Option<Vec<Vec<Duration>>>, RunError> {
        // The second run records.
        for _ in 0..2 {
            self.enqueue()?;
            self.stream.synchronize()?;
        }
        if !matches!(self.recording, Recording::Ready(_)) {
            return Ok(None);
        }
        let Context { shared, stream, recording, args, starts, .. } = self;
        let work = Work { shared, args, starts };
        let mut parts: Vec<Box<dyn Graph>> = Vec::with_capacity(shared.steps.len());
        for count in 1..=shared.steps.len() {
            match stream.record(&mut |s| (0..count).try_for_each(|i| work.step(i, s)))? {
                Some(graph) => parts.push(graph),
                None => return Ok(None),
            }
        }
        let mut samples = vec![Vec::new(); parts.len()];
        let start = Instant::now();
        for round in 0..MOST_ROUNDS {
            if round >= LEAST_ROUNDS && start.elapsed() >= duration {
                break;
            }
            for (part, samples) in parts.iter_mut().zip(&mut samples) {
                stream.run(&mut |s| work.run(recording, s))?;
                // SAFETY: recorded above with the present arguments, which live as long as the context.
                samples.push(stream.time(&mut |s| unsafe { part.launch(s) })?);
            }
        }
        Ok(Some(samples))
    }
}
