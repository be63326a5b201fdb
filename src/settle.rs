//! The last word on a plan: it runs beside others that may be faster, and the fastest stays.

use std::time::Duration;

use tactician_passes::Greedy;
use tactician_plan::Plan;
use tactician_report::{ReportData, Timing};
use tactician_runtime::Context;
use tactician_select::{Budget, Selection};

use crate::error::BuildError;
use crate::record::{packed, record_of};
use crate::refine::{RefineOptions, faster, measure, median};
use crate::tuned::Tuned;

/// A plan that may be faster than the one that sums of steps are the least for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// What heuristics alone give ([`Tuned::select_untuned`]).
    Heuristics,
    /// The best of the division that fuses all that can be ([`Greedy`]), where it is predicted to take hardly longer: it has
    /// fewer steps, and whatever put more of them ahead may be less than measurements vary.
    Fused,
}

/// How a rival did.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// Which one.
    pub rival: Rival,
    /// What it was predicted to take, in microseconds.
    pub predicted_us: f64,
    /// Its median latency.
    pub measured_us: f64,
}

/// What running a plan came to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The plan that was the fastest.
    pub plan: Plan,
    /// How that one came about, with its times inside the whole.
    pub record: ReportData,
    /// Median latency of the plan that was selected from measurements, in microseconds.
    pub selected_us: f64,
    /// The rivals that are other plans, and run.
    pub beside: Vec<Beside>,
    /// The rival that was clearly faster and so stays, and what its plan is the plan of.
    pub stays: Option<(Rival, Selection)>,
}

impl Settled {
    /// How a rival did, if it was another plan.
    pub fn of(&self, rival: Rival) -> Option<&Beside> {
        self.beside.iter().find(|b| b.rival == rival)
    }
}

/// Length of the measurement of whole runs.
const WHOLE: Duration = Duration::from_millis(200);

/// Length of the measurement of steps.
const STEPS: Duration = Duration::from_millis(400);

/// How much longer than the selected plan one of fewer steps may be predicted to take, to be run all the same.
const HARDLY: f64 = 1.02;

impl Tuned {
    /// Runs the plan of a selection beside its rivals, in turns, and keeps the fastest: a rival when it is so in nearly every
    /// pair, which no sum of measurements of steps alone can rule out. Also measures every step of what stays inside the whole.
    ///
    /// # Errors
    /// When the selected plan does not run.
    pub fn settle(&self, plan: Plan, budget: Budget) -> Result<Settled, BuildError> {
        let mut context = self.ready(&plan)?;
        measure(&mut context, WHOLE / 4)?;
        let selected_us = median(&mut measure(&mut context, WHOLE)?);
        let mut settled = Settled {
            record: record_of(&plan).unwrap_or_default(),
            plan,
            selected_us,
            beside: Vec::new(),
            stays: None,
        };
        let mut whole_us = selected_us;
        for rival in [Rival::Heuristics, Rival::Fused] {
            let Some((selection, other)) = self.rival_of(rival, &settled.plan, budget) else { continue };
            let Ok(mut its) = self.ready(&other) else { continue };
            measure(&mut its, WHOLE / 4)?;
            let measured_us = median(&mut measure(&mut its, WHOLE)?);
            settled.beside.push(Beside { rival, predicted_us: selection.predicted_us, measured_us });
            let options = RefineOptions { sample: WHOLE / 8, ..RefineOptions::default() };
            if faster(&mut context, &mut its, &options)?.is_some() {
                settled.record = self.explain(&selection, budget, &other);
                settled.plan = other.with_record(packed(&settled.record));
                settled.stays = Some((rival, selection));
                (context, whole_us) = (its, measured_us);
            }
        }
        settled.record.totals.measured_us = Some(whole_us);
        time_steps(&mut settled.record, &mut context, whole_us)?;
        Ok(settled)
    }

    /// The plan of a rival, unless it does the same as `plan`, has no better prospects, or there is none.
    fn rival_of(&self, rival: Rival, plan: &Plan, budget: Budget) -> Option<(Selection, Plan)> {
        let selection = match rival {
            Rival::Heuristics => self.select_untuned(budget).ok()?,
            Rival::Fused => {
                let predicted_us = self.select(budget).ok()?.predicted_us;
                let fused = self.select_by(&Greedy, budget).ok()?;
                (fused.predicted_us <= predicted_us * HARDLY).then_some(fused)?
            }
        };
        let other = self.plan_of(&selection, budget, None).ok()?;
        let does = |p: &Plan| -> Vec<(String, Vec<u8>)> {
            p.meta.steps.iter().map(|s| (s.kernel.clone(), s.params.clone())).collect()
        };
        (does(&other) != does(plan)).then_some((selection, other))
    }
}

/// Measures every step of a plan inside the whole, into its record.
///
/// # Errors
/// When a step fails.
pub fn time_steps(record: &mut ReportData, context: &mut Context, whole_us: f64) -> Result<(), BuildError> {
    let micros =
        |samples: &[Duration]| -> Vec<f64> { samples.iter().map(|d| d.as_secs_f64() * 1e6).collect() };
    let told: Vec<Timing> = match context.profile_recorded(STEPS)? {
        Some(ends) => {
            // Samples of one round follow each other closely: their differences are what a step adds.
            let ends: Vec<Vec<f64>> = ends.iter().map(|e| micros(e)).collect();
            let added = |i: usize| -> Vec<f64> {
                let before = |k: usize| if i == 0 { 0.0 } else { ends[i - 1].get(k).copied().unwrap_or(0.0) };
                ends[i].iter().enumerate().map(|(k, e)| e - before(k)).collect()
            };
            (0..ends.len()).map(|i| timing(added(i))).collect()
        }
        None => {
            let runs = ((STEPS.as_secs_f64() * 1e6 / whole_us.max(1.0)) as usize).clamp(3, 200);
            context.profile(runs)?.iter().map(|s| timing(micros(s))).collect()
        }
    };
    for (step, t) in record.steps.iter_mut().zip(told) {
        step.timing = Some(t);
    }
    Ok(())
}

fn timing(mut us: Vec<f64>) -> Timing {
    let samples = us.len() as u32;
    let median_us = median(&mut us);
    let min_us = us.first().copied().unwrap_or(0.0);
    let mut off: Vec<f64> = us.iter().map(|t| (t - median_us).abs()).collect();
    Timing { min_us, median_us, mad_us: median(&mut off), samples }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tactician_device::replay::ReplayDevice;

    use super::*;
    use crate::{Builder, tuning::TuneOptions, zoo};

    /// Pointwise steps that take next to nothing by themselves, and much in a plan, lose to fusing them.
    #[test]
    fn a_plan_of_fewer_steps_stays_where_more_are_slow_in_the_whole() {
        let slow = Arc::new(AtomicBool::new(false));
        let known = slow.clone();
        let device = ReplayDevice::new().timer(move |call| {
            if call.kernel.starts_with("pointwise") {
                let us = if known.load(Ordering::Relaxed) { 50_000 } else { 100 };
                return Duration::from_nanos(us);
            }
            // A longer epilogue has longer parameters.
            Duration::from_nanos(100_000 + 20 * call.params.len() as u64)
        });
        let options = TuneOptions { gate: false, ..TuneOptions::default() };
        let builder = Builder::new().device(Arc::new(device)).tuning(options).exhaustive(true);
        let tuned = builder.tune(&zoo::tiny(1)).unwrap();
        let budget = Budget::workspace(1 << 20);
        let plan = tuned.plan_within(budget).unwrap();
        let fused = tuned.select_by(&Greedy, budget).unwrap();
        let predicted = tuned.select(budget).unwrap().predicted_us;
        assert!(predicted < fused.predicted_us && fused.predicted_us < predicted * HARDLY, "{predicted}");

        let settled = tuned.settle(plan.clone(), budget).unwrap();
        assert!(settled.stays.is_none() && settled.of(Rival::Fused).is_some(), "{:?}", settled.beside);
        assert_eq!(settled.plan.meta.steps.len(), plan.meta.steps.len());

        slow.store(true, Ordering::Relaxed);
        let settled = tuned.settle(plan.clone(), budget).unwrap();
        // What heuristics choose is fused greedily too, and here takes as long.
        assert!(settled.stays.is_some(), "{:?}", settled.beside);
        assert!(settled.plan.meta.steps.len() < plan.meta.steps.len());
        let whole = settled.record.totals.measured_us.unwrap();
        assert!(
            whole < settled.selected_us && Some(whole) == settled.of(Rival::Fused).map(|b| b.measured_us)
        );
    }
}
