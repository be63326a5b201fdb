//! `bench`.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tactician::report::{TraceRow, TraceStep, chrome_trace};
use tactician::{Bytes, Context, Engine, Needs, PlanMeta, Tensor};

use crate::args::Bench;
use crate::error::CliError;
use crate::output::{self, micros, table};
use crate::run;

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) runs: usize,
    pub(crate) min_us: f64,
    pub(crate) mean_us: f64,
    pub(crate) median_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p95_us: f64,
    pub(crate) p99_us: f64,
}

impl Latency {
    pub(crate) fn new(times: &[Duration]) -> Latency {
        let mut us: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1e6).collect();
        us.sort_by(f64::total_cmp);
        // The smallest value that at least this share of the runs did not exceed.
        let at = |share: f64| us[((us.len() as f64 * share).ceil() as usize).clamp(1, us.len()) - 1];
        Latency {
            runs: us.len(),
            min_us: us[0],
            mean_us: us.iter().sum::<f64>() / us.len() as f64,
            median_us: at(0.5),
            p90_us: at(0.9),
            p95_us: at(0.95),
            p99_us: at(0.99),
        }
    }
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    op: &'a str,
    tactic: &'a str,
    /// As [`Profile::how`] says. What a step adds to a recording can come out a little below zero.
    median_us: f64,
    /// What it took when its tactic was measured apart from the network.
    predicted_us: f64,
    scratch: u64,
}

/// Every step of a plan.
#[derive(Serialize)]
struct Profile<'a> {
    /// `recorded`: what each step adds to the recorded plan, the first also what it takes to start. `alone`: each timed
    /// by itself while the plan runs step by step.
    how: &'static str,
    rounds: usize,
    sum_us: f64,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Report<'a> {
    network: &'a str,
    plan: &'a Path,
    batch_per_second: f64,
    latency: Latency,
    /// The median of each turn.
    turns_us: Vec<f64>,
    predicted_us: f64,
    weight_bytes: u64,
    arena_bytes: u64,
    scratch_bytes: u64,
    binding_bytes: u64,
    #[serde(flatten)]
    profile: Option<Profile<'a>>,
}

/// Turns that several plans take.
const TURNS: u32 = 5;

/// A context with all inputs set.
pub(crate) fn ready(engine: &Engine, mut inputs: Vec<(String, Tensor)>) -> Result<Context, CliError> {
    run::fill(engine.inputs(), &mut inputs, 1);
    let mut context = engine.new_context()?;
    for (name, t) in &inputs {
        context.set_input(name, t)?;
    }
    Ok(context)
}

pub(crate) fn run(a: &Bench) -> Result<(), CliError> {
    let mut loaded = Vec::with_capacity(a.plans.len());
    for plan in &a.plans {
        let engine = match a.shapes.is_empty() {
            true => run::engine(plan)?,
            false => {
                let shapes: Vec<(&str, &[usize])> =
                    a.shapes.iter().map(|(n, s)| (n.as_str(), &s[..])).collect();
                run::dynamic(plan)?.prepare(&shapes)?
            }
        };
        let given = a.inputs.iter().map(|(name, file)| Ok((name.clone(), Tensor::read_npy(file)?)));
        let context = ready(&engine, given.collect::<Result<_, CliError>>()?)?;
        loaded.push((engine, context, Vec::new(), Vec::new()));
    }
    let turns = if loaded.len() == 1 { 1 } else { TURNS };
    let length = Duration::from_secs_f64(a.seconds) / turns;
    for _ in 0..turns {
        for (_, context, times, medians) in &mut loaded {
            let turn = context.measure(length / 5, length)?;
            medians.push(Latency::new(&turn).median_us);
            times.extend(turn);
        }
    }
    let mut reports = Vec::with_capacity(loaded.len());
    for (plan, (engine, context, times, turns_us)) in a.plans.iter().zip(&mut loaded) {
        let (meta, memory, latency) = (engine.meta(), engine.memory(), Latency::new(times));
        let profile = match a.steps {
            0 => None,
            _ => Some(profile(meta, context, a.seconds, latency.median_us)?),
        };
        if let (Some(path), Some(profile), true) = (&a.trace, &profile, reports.is_empty()) {
            output::write(path, trace(meta, profile).as_bytes())?;
        }
        reports.push(Report {
            network: &meta.network,
            plan,
            batch_per_second: 1e6 / latency.mean_us,
            latency,
            turns_us: std::mem::take(turns_us),
            predicted_us: meta.predicted_us,
            weight_bytes: memory.weights,
            arena_bytes: memory.arena,
            scratch_bytes: memory.scratch,
            binding_bytes: memory.bindings,
            profile,
        });
    }
    match (&reports[..], a.json) {
        ([one], true) => output::json(one),
        (several, true) => output::json(&several),
        (list, false) => list.iter().try_for_each(|r| print(r, a)),
    }
}

/// The timeline of one run: steps one after another, each as long as its median.
fn trace(meta: &PlanMeta, profile: &Profile<'_>) -> String {
    let mut start_us = 0.0;
    let one = |(step, timed): (&tactician::Step, &Step<'_>)| {
        let duration_us = timed.median_us.max(0.0);
        let begin = start_us;
        start_us += duration_us;
        TraceStep {
            name: step.name.clone(),
            op: step.op.clone(),
            tactic: step.tactic.clone(),
            bytes: step.inputs.iter().chain(&step.outputs).filter_map(|&p| meta.len_of(p)).sum(),
            row: if step.needs() == Needs::Host { TraceRow::Host } else { TraceRow::Device },
            start_us: begin,
            duration_us,
        }
    };
    let steps: Vec<TraceStep> = meta.steps.iter().zip(&profile.steps).map(one).collect();
    chrome_trace(&steps)
}

/// Times the steps for up to `seconds`; `whole_us` is what the plan takes.
fn profile<'a>(
    meta: &'a PlanMeta,
    context: &mut Context,
    seconds: f64,
    whole_us: f64,
) -> Result<Profile<'a>, CliError> {
    let median = |samples: &Vec<Duration>| Latency::new(samples).median_us;
    let (how, samples, times) = match context.profile_recorded(Duration::from_secs_f64(seconds))? {
        Some(ends) => {
            // What a step adds is the end of it less the end of the one before.
            let at: Vec<f64> = ends.iter().map(median).collect();
            let before = [0.0].into_iter().chain(at.iter().copied());
            let added = at.iter().zip(before).map(|(end, start)| end - start).collect();
            ("recorded", ends, added)
        }
        None => {
            let runs = ((seconds * 2e5 / whole_us) as usize).clamp(3, 200);
            let samples = context.profile(runs)?;
            let times: Vec<f64> = samples.iter().map(median).collect();
            ("alone", samples, times)
        }
    };
    let steps: Vec<Step<'a>> = meta
        .steps
        .iter()
        .zip(&times)
        .map(|(s, &median_us)| Step {
            name: &s.name,
            op: &s.op,
            tactic: &s.tactic,
            median_us,
            predicted_us: s.predicted_us,
            scratch: s.scratch.and_then(|p| meta.len_of(p)).unwrap_or(0),
        })
        .collect();
    let rounds = samples.first().map_or(0, Vec::len);
    Ok(Profile { how, rounds, sum_us: times.iter().sum(), steps })
}

fn print(r: &Report<'_>, a: &Bench) -> Result<(), CliError> {
    let latency = &r.latency;
    let plan = if a.plans.len() > 1 { format!("{}, ", r.plan.display()) } else { String::new() };
    output::line(format!("{plan}{}: {:.1} runs/s", r.network, r.batch_per_second))?;
    output::line(format!(
        "latency  min {}  mean {}  median {}  p90 {}  p95 {}  p99 {}  ({} runs, predicted {})",
        micros(latency.min_us),
        micros(latency.mean_us),
        micros(latency.median_us),
        micros(latency.p90_us),
        micros(latency.p95_us),
        micros(latency.p99_us),
        latency.runs,
        micros(r.predicted_us)
    ))?;
    output::line(format!(
        "memory   weights {}, arena {} (scratch {}), bindings {}",
        Bytes(r.weight_bytes),
        Bytes(r.arena_bytes),
        Bytes(r.scratch_bytes),
        Bytes(r.binding_bytes)
    ))?;
    let Some(profile) = &r.profile else { return Ok(()) };
    let mut steps: Vec<&Step<'_>> = profile.steps.iter().collect();
    steps.sort_by(|x, y| y.median_us.total_cmp(&x.median_us));
    let mut t = table(&["step", "what", "tactic", "time", "share", "predicted", "scratch"], &[1, 2]);
    for s in steps.iter().take(a.steps) {
        t.add_row([
            s.name.to_owned(),
            s.op.to_owned(),
            s.tactic.to_owned(),
            micros(s.median_us),
            format!("{:.1} %", s.median_us / profile.sum_us * 100.0),
            micros(s.predicted_us),
            Bytes(s.scratch).to_string(),
        ]);
    }
    let how = match profile.how {
        "recorded" => "by what each adds to the recorded plan",
        _ => "each timed by itself",
    };
    output::line(format!(
        "\nthe slowest of {} steps, {how} (all of them {}, {} rounds):\n{t}",
        steps.len(),
        micros(profile.sum_us),
        profile.rounds
    ))
}
