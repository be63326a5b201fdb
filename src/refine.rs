//! Refinement in place: tactics are swapped inside the whole plan, and a swap stays when the whole is faster.
//!
//! A step by itself runs over and over next to itself. In a plan its code has to be fetched anew, its input was written
//! a moment ago, and its neighbours start early or not at all; what is fastest alone need not be fastest there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tactician_plan::Plan;
use tactician_runtime::{Context, Engine};
use tactician_select::{Budget, Candidate, Instance, Selection};

use crate::error::BuildError;
use crate::random::random_input;
use crate::record::packed;
use crate::tuned::{Made, Tuned};

/// How to refine.
#[derive(Clone, Debug)]
pub struct RefineOptions {
    /// No further swap is tried after so long; the groups that take longest come first.
    pub limit: Duration,
    /// Swaps tried for each group of equal regions.
    pub candidates: usize,
    /// Candidates slower by themselves than the best by this factor are not tried.
    pub within: f64,
    /// Length of one measurement.
    pub sample: Duration,
    /// Pairs of measurements that decide.
    pub pairs: usize,
}

impl Default for RefineOptions {
    fn default() -> Self {
        RefineOptions {
            limit: Duration::from_secs(20),
            candidates: 4,
            within: 1.6,
            sample: Duration::from_millis(6),
            pairs: 5,
        }
    }
}

/// Where refinement stands.
#[derive(Clone, Copy, Debug)]
pub struct RefineProgress {
    /// Swaps tried.
    pub done: usize,
    /// Swaps to try in all.
    pub total: usize,
    /// Median latency of the plan so far, in microseconds.
    pub latency_us: f64,
}

/// A swap that stayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// The first region of the group.
    pub region: String,
    /// Equal regions that were changed together.
    pub regions: usize,
    /// The tactic that left.
    pub from: String,
    /// The tactic that came.
    pub to: String,
    /// Microseconds that the whole plan gained, in the medians of interleaved measurements.
    pub gain_us: f64,
    /// Microseconds that it was to gain by the measurements of the tactics alone; negative when it was to lose.
    pub predicted_us: f64,
}

/// What refinement came to.
#[derive(Clone, Debug)]
pub struct Refined {
    /// The plan.
    pub plan: Plan,
    /// What it is the plan of.
    pub selection: Selection,
    /// Median latency of the plan as it was selected, in microseconds.
    pub before_us: f64,
    /// Median latency of the plan now, in microseconds.
    pub after_us: f64,
    /// Swaps tried.
    pub tried: usize,
    /// Swaps that stayed, in order.
    pub swaps: Vec<Swap>,
    /// How long it took.
    pub time: Duration,
}

/// A group of regions with one problem and one tactic, and what to try instead.
struct Group {
    /// By place in the selection.
    regions: Vec<usize>,
    candidates: Vec<usize>,
    /// Predicted time of all its regions.
    time_us: f64,
}

impl Tuned {
    /// Makes the plan for a budget of scratch bytes, then swaps tactics inside it while that makes it faster. Layouts stay
    /// as they were selected. What the plan's inputs hold is random.
    ///
    /// # Errors
    /// As [`Tuned::plan`], and when the plan does not run.
    pub fn refine(
        &self,
        budget: Budget,
        options: &RefineOptions,
        progress: &mut dyn FnMut(RefineProgress),
    ) -> Result<Refined, BuildError> {
        let start = Instant::now();
        let instance = self.instance();
        let mut selection = self.select(budget)?;
        let mut made = Made::default();
        let mut plan = self.plan_of(&selection, budget, Some(&mut made))?;
        let mut best = self.ready(&plan)?;
        measure(&mut best, 4 * options.sample)?;
        let before_us = median(&mut measure(&mut best, 4 * options.sample)?);
        let groups = self.groups(&selection, budget.workspace, options);
        let total = groups.iter().map(|g| g.candidates.len()).sum();
        let (mut tried, mut swaps, mut latency_us) = (0, Vec::new(), before_us);
        'groups: for group in &groups {
            for &candidate in &group.candidates {
                progress(RefineProgress { done: tried, total, latency_us });
                if start.elapsed() > options.limit {
                    break 'groups;
                }
                tried += 1;
                let first = group.regions[0];
                let of = |s: &Selection| candidate_of(instance, s, first);
                let mut next = selection.clone();
                group.regions.iter().for_each(|&r| next.chosen[r].candidate = candidate);
                let predicted_us = (of(&selection).time_us - of(&next).time_us) * group.regions.len() as f64;
                next.predicted_us -= predicted_us;
                next.workspace = next.workspace.max(of(&next).workspace);
                made.keep(instance, &selection);
                let next_plan = self.plan_of(&next, budget, Some(&mut made))?;
                // What cannot run beside the present plan, for want of memory say, is not tried.
                let Ok(mut other) = self.ready(&next_plan) else { continue };
                let Some((old_us, new_us)) = faster(&mut best, &mut other, options)? else { continue };
                swaps.push(Swap {
                    region: instance.regions[selection.chosen[first].region].name.clone(),
                    regions: group.regions.len(),
                    from: of(&selection).id.clone(),
                    to: of(&next).id.clone(),
                    gain_us: old_us - new_us,
                    predicted_us,
                });
                (selection, plan, best, latency_us) = (next, next_plan, other, new_us);
            }
        }
        progress(RefineProgress { done: total, total, latency_us });
        let after_us =
            if swaps.is_empty() { before_us } else { median(&mut measure(&mut best, 4 * options.sample)?) };
        let mut record = self.explain(&selection, budget, &plan);
        record.totals.measured_us = Some(after_us);
        let plan = plan.with_record(packed(&record));
        Ok(Refined { plan, selection, before_us, after_us, tried, swaps, time: start.elapsed() })
    }

    /// A context that runs a plan on random inputs.
    pub(crate) fn ready(&self, plan: &Plan) -> Result<Context, BuildError> {
        let engine = Engine::new(plan.clone(), self.device().clone())?;
        let mut context = engine.new_context()?;
        for port in engine.inputs() {
            let memory = || BuildError::Bug { what: format!("no memory for input `{}`", port.name) };
            context.set_input(&port.name, &random_input(port, 1).ok_or_else(memory)?)?;
        }
        Ok(context)
    }

    /// Groups of equal regions that have something to try, those that take longest first.
    fn groups(&self, selection: &Selection, workspace: u64, options: &RefineOptions) -> Vec<Group> {
        let instance = self.instance();
        let mut by_problem: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
        for (at, c) in selection.chosen.iter().enumerate() {
            by_problem.entry((self.problems()[c.region].to_string(), c.candidate)).or_default().push(at);
        }
        let mut groups = Vec::new();
        for ((_, chosen), regions) in by_problem {
            let all = &instance.regions[selection.chosen[regions[0]].region].candidates;
            let best = &all[chosen];
            let mut candidates: Vec<usize> = (0..all.len())
                .filter(|&i| {
                    let c = &all[i];
                    i != chosen
                        && c.inputs == best.inputs
                        && c.output == best.output
                        && c.workspace <= workspace
                        && c.time_us <= best.time_us * options.within
                })
                .collect();
            candidates
                .sort_by(|&a, &b| all[a].time_us.total_cmp(&all[b].time_us).then(all[a].id.cmp(&all[b].id)));
            candidates.truncate(options.candidates);
            if best.time_us > 0.0 && !candidates.is_empty() {
                groups.push(Group { time_us: best.time_us * regions.len() as f64, regions, candidates });
            }
        }
        groups.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
        groups
    }
}

/// The candidate that a selection has at a place.
fn candidate_of<'a>(instance: &'a Instance, selection: &Selection, at: usize) -> &'a Candidate {
    let c = selection.chosen[at];
    &instance.regions[c.region].candidates[c.candidate]
}

pub(crate) fn measure(context: &mut Context, length: Duration) -> Result<Vec<f64>, BuildError> {
    let times = context.measure(Duration::ZERO, length)?;
    Ok(times.iter().map(|t| t.as_secs_f64() * 1e6).collect())
}

pub(crate) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Median latencies of the old and the new plan when the new one is faster in nearly every pair of measurements, and
/// by more than the pairs differ.
pub(crate) fn faster(
    old: &mut Context,
    new: &mut Context,
    options: &RefineOptions,
) -> Result<Option<(f64, f64)>, BuildError> {
    // The first runs load code, and record.
    measure(new, options.sample)?;
    let (mut olds, mut news) = (Vec::new(), Vec::new());
    for pair in 0..options.pairs {
        // Which comes first changes from pair to pair.
        let (mut a, mut b) = (0.0, 0.0);
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                a = median(&mut measure(old, options.sample)?);
            } else {
                b = median(&mut measure(new, options.sample)?);
            }
        }
        olds.push(a);
        news.push(b);
        // What is clearly slower need not be measured to the end.
        if pair == 0 && b > a * 1.004 {
            return Ok(None);
        }
    }
    let wins = olds.iter().zip(&news).filter(|(a, b)| b < a).count();
    let mut gains: Vec<f64> = olds.iter().zip(&news).map(|(a, b)| a - b).collect();
    let gain = median(&mut gains);
    let mut spread: Vec<f64> = gains.iter().map(|g| (g - gain).abs()).collect();
    let sure = gain > median(&mut spread) && wins + 1 >= options.pairs;
    Ok((sure && gain > 0.0).then(|| (median(&mut olds), median(&mut news))))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tactician_device::replay::ReplayDevice;

    use super::*;
    use crate::{Builder, tuning::TuneOptions, zoo};

    /// A step that is fast by itself and slow in the plan loses its place, and nothing else changes.
    #[test]
    fn what_is_slow_in_the_plan_is_swapped() {
        let slow: Arc<Mutex<Option<(String, Vec<u8>)>>> = Arc::default();
        let known = slow.clone();
        let device = ReplayDevice::new().timer(move |call| {
            let slow = known.lock().unwrap();
            if slow.as_ref().is_some_and(|(k, p)| k == call.kernel && p == call.params) {
                return Duration::from_micros(900);
            }
            // Different for every tactic, and always the same.
            let sum = call.params.iter().fold(7u64, |s, &b| s * 31 % 1009 + u64::from(b));
            Duration::from_nanos(100_000 + sum * 10)
        });
        let options = TuneOptions { gate: false, ..TuneOptions::default() };
        let tuned = Builder::new().device(Arc::new(device)).tuning(options).tune(&zoo::tiny(1)).unwrap();
        let refine = || {
            let sample = Duration::from_micros(50);
            tuned
                .refine(
                    Budget::workspace(1 << 20),
                    &RefineOptions { sample, ..RefineOptions::default() },
                    &mut |_| {},
                )
                .unwrap()
        };
        let same = refine();
        assert!(same.tried > 0 && same.swaps.is_empty(), "{same:?}");
        let bare = |plan: &Plan| plan.clone().with_record(vec![]).meta;
        assert_eq!(bare(&same.plan), bare(&tuned.plan(1 << 20).unwrap()));

        let step = same.plan.meta.steps.iter().find(|s| s.op.contains("conv")).unwrap();
        *slow.lock().unwrap() = Some((step.kernel.clone(), step.params.clone()));
        let better = refine();
        assert!(better.before_us > better.after_us + 700.0, "{better:?}");
        assert_eq!(better.swaps.len(), 1, "{better:?}");
        let swap = &better.swaps[0];
        assert!(swap.from == step.tactic && swap.to != step.tactic && swap.predicted_us < 0.0, "{swap:?}");
        let changed = better.plan.meta.steps.iter().zip(&same.plan.meta.steps);
        assert_eq!(changed.filter(|(a, b)| a.tactic != b.tactic).count(), swap.regions);
        assert!(better.plan.meta.scratch_bytes <= 1 << 20);
    }
}
