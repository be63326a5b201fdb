//! The last word on a plan: it runs beside the one that heuristics alone would give, and the faster stays.

use std::time::Duration;

use tactician_plan::Plan;
use tactician_report::{ReportData, Timing};
use tactician_runtime::Context;
use tactician_select::{Budget, Selection};

use crate::error::BuildError;
use crate::record::{packed, record_of};
use crate::refine::{RefineOptions, faster, measure, median};
use crate::tuned::Tuned;

/// What running a plan came to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The plan that was faster.
    pub plan: Plan,
    /// How that one came about, with its times inside the whole.
    pub record: ReportData,
    /// Median latency of the plan that was selected from measurements, in microseconds.
    pub selected_us: f64,
    /// Median latency of the plan of heuristics alone; `None` where it is the same plan, or does not run.
    pub untuned_us: Option<f64>,
    /// What that one was predicted to take.
    pub untuned_predicted_us: Option<f64>,
    /// What the plan of heuristics is the plan of, where that one was clearly faster, and so is the one that stays.
    pub untuned: Option<Selection>,
}

/// Length of the measurement of whole runs.
const WHOLE: Duration = Duration::from_millis(200);

/// Length of the measurement of steps.
const STEPS: Duration = Duration::from_millis(400);

impl Tuned {
    /// Runs the plan of a selection beside that of [`Tuned::select_untuned`], in turns, and keeps the faster: the latter
    /// when it is so in nearly every pair, which no sum of measurements of steps alone can rule out. Also measures every
    /// step of what stays inside the whole.
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
            untuned_us: None,
            untuned_predicted_us: None,
            untuned: None,
        };
        if let Some((untuned, other)) = self.untuned_beside(&settled.plan, budget)
            && let Ok(mut rival) = self.ready(&other)
        {
            settled.untuned_predicted_us = Some(untuned.predicted_us);
            measure(&mut rival, WHOLE / 4)?;
            settled.untuned_us = Some(median(&mut measure(&mut rival, WHOLE)?));
            let options = RefineOptions { sample: WHOLE / 8, ..RefineOptions::default() };
            if faster(&mut context, &mut rival, &options)?.is_some() {
                settled.record = self.explain(&untuned, budget, &other);
                settled.plan = other.with_record(packed(&settled.record));
                settled.untuned = Some(untuned);
                context = rival;
            }
        }
        let whole = if settled.untuned.is_some() { settled.untuned_us } else { Some(selected_us) };
        settled.record.totals.measured_us = whole;
        time_steps(&mut settled.record, &mut context, whole.unwrap_or(selected_us))?;
        Ok(settled)
    }

    /// The plan of heuristics, unless it does the same as `plan` or there is none.
    fn untuned_beside(&self, plan: &Plan, budget: Budget) -> Option<(Selection, Plan)> {
        let untuned = self.select_untuned(budget).ok()?;
        let other = self.plan_of(&untuned, budget, None).ok()?;
        let does = |p: &Plan| -> Vec<(String, Vec<u8>)> {
            p.meta.steps.iter().map(|s| (s.kernel.clone(), s.params.clone())).collect()
        };
        (does(&other) != does(plan)).then_some((untuned, other))
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
