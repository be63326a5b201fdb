//! `build`, and what `demo` shares with it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use tactician::{Builder, Bytes, HostRegion, Needs, Network, Plan, RefineOptions, Refined, Tuned, zoo};

use crate::args::{Build, Measuring, Precision};
use crate::error::CliError;
use crate::output::{self, Bar, micros};

/// Largest batch of the zoo's networks.
const MAX_BATCH: usize = 4096;

/// A network by its name on the command line.
pub(crate) fn network(model: &str) -> Result<Network, CliError> {
    let Some(name) = model.strip_prefix("zoo:") else {
        return Network::from_onnx(model)
            .map_err(|source| CliError::Import { model: model.to_owned(), source });
    };
    let unknown = || CliError::NoNetwork { name: name.to_owned(), known: zoo::NAMES.join(", ") };
    let (name, batch) = match name.split_once('@') {
        Some((name, batch)) => {
            (name, batch.parse().ok().filter(|b| (1..=MAX_BATCH).contains(b)).ok_or_else(unknown)?)
        }
        None => (name, 1),
    };
    zoo::by_name(name, batch).ok_or_else(unknown)
}

/// Measures a network as the command line says, with a progress bar.
pub(crate) fn tune(
    network: &Network,
    shapes: &[(String, Vec<usize>)],
    measuring: &Measuring,
) -> Result<Tuned, CliError> {
    let bar = Bar::new();
    let mut builder = Builder::new().progress(|p| bar.update(p));
    if let Some(name) = measuring.device {
        builder = builder.device_named(name);
    }
    builder = builder.precision(measuring.precision.dtype()).tf32(measuring.precision == Precision::Tf32);
    builder = builder.tactics(measuring.tactics.clone());
    if let Some(n) = measuring.threads {
        builder = builder.threads(n);
    }
    if let Some(t) = &measuring.table {
        builder = builder.table(t);
    }
    if let Some(policy) = measuring.fusion.policy() {
        builder = builder.policy(policy);
    }
    for (name, sizes) in shapes {
        builder = builder.shape(name, sizes);
    }
    let options = tactician::tuning::TuneOptions { frozen: measuring.frozen, ..Default::default() };
    let tuned = builder.tuning(options).tune(network);
    bar.done();
    let tuned = tuned?;
    for (problem, tactic, reason) in &tuned.report().rejected {
        output::warn(format!("rejected {tactic} for {problem}: {reason}"));
    }
    warn_of_host(&tuned.host_regions());
    Ok(tuned)
}

/// Most regions that the warning about CPU steps lists.
const LISTED: usize = 10;

/// Says what the CPU computes inside a plan for a GPU.
fn warn_of_host(list: &[HostRegion]) {
    if list.is_empty() {
        return;
    }
    let mut text = format!(
        "the CPU computes {} at every run, between two copies, because no kernel of the GPU does",
        if list.len() == 1 { "1 region".to_owned() } else { format!("{} regions", list.len()) }
    );
    for r in list.iter().take(LISTED) {
        let why =
            if r.rejected { "every kernel was rejected" } else { "no kernel that may be used serves it" };
        text += &format!("\n  `{}` ({}), {why}: {}", r.name, r.op, r.problem);
    }
    if list.len() > LISTED {
        text += &format!("\n  and {} more", list.len() - LISTED);
    }
    output::warn(text);
}

/// Figures of a plan.
#[derive(Serialize)]
pub(crate) struct PlanFigures {
    pub(crate) workspace_limit: u64,
    pub(crate) workspace_used: u64,
    pub(crate) arena_bytes: u64,
    pub(crate) weight_bytes: u64,
    pub(crate) steps: usize,
    pub(crate) tactics: usize,
    /// Steps that the CPU computes in a plan for a GPU, by name.
    pub(crate) host_steps: Vec<String>,
    pub(crate) predicted_us: f64,
}

impl PlanFigures {
    pub(crate) fn new(plan: &Plan, limit: u64) -> PlanFigures {
        let m = &plan.meta;
        PlanFigures {
            workspace_limit: limit,
            workspace_used: m.scratch_bytes,
            arena_bytes: m.arena_bytes,
            weight_bytes: m.constant_bytes(),
            steps: m.steps.len(),
            tactics: m.steps.iter().map(|s| &s.tactic).collect::<BTreeSet<_>>().len(),
            host_steps: m.steps.iter().filter(|s| s.needs() == Needs::Host).map(|s| s.name.clone()).collect(),
            predicted_us: m.predicted_us,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Path,
    #[serde(flatten)]
    figures: PlanFigures,
    problems: usize,
    measured: usize,
    reused: usize,
    rejected: usize,
    prepare_seconds: f64,
    tune_seconds: f64,
    /// Parts of `tune_seconds`; on a GPU the first two overlap the others.
    compile_seconds: f64,
    reference_seconds: f64,
    check_seconds: f64,
    race_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refined: Option<RefineFigures<'a>>,
}

/// What swapping tactics inside the plan came to.
#[derive(Serialize)]
struct RefineFigures<'a> {
    before_us: f64,
    after_us: f64,
    tried: usize,
    seconds: f64,
    swaps: Vec<SwapFigures<'a>>,
}

#[derive(Serialize)]
struct SwapFigures<'a> {
    region: &'a str,
    regions: usize,
    from: &'a str,
    to: &'a str,
    gain_us: f64,
    predicted_us: f64,
}

impl RefineFigures<'_> {
    fn new(r: &Refined) -> RefineFigures<'_> {
        let swaps = r.swaps.iter().map(|s| SwapFigures {
            region: &s.region,
            regions: s.regions,
            from: &s.from,
            to: &s.to,
            gain_us: s.gain_us,
            predicted_us: s.predicted_us,
        });
        RefineFigures {
            before_us: r.before_us,
            after_us: r.after_us,
            tried: r.tried,
            seconds: r.time.as_secs_f64(),
            swaps: swaps.collect(),
        }
    }
}

pub(crate) fn run(a: &Build) -> Result<(), CliError> {
    let tuned = tune(&network(&a.source.model)?, &a.source.shapes, &a.measuring)?;
    let (plan, refined) = if a.refine {
        let bar = Bar::new();
        let refined = tuned.refine(a.budget(), &RefineOptions::default(), &mut |p| bar.refining(p));
        bar.done();
        let refined = refined?;
        (refined.plan.clone(), Some(refined))
    } else {
        (tuned.plan_within(a.budget())?, None)
    };
    plan.save(&a.output)?;
    let (report, times) = (tuned.report(), tuned.times());
    let figures = PlanFigures::new(&plan, a.workspace.0);
    if a.json {
        return output::json(&Report {
            plan: &a.output,
            figures,
            problems: report.problems,
            measured: report.measured,
            reused: report.reused,
            rejected: report.rejected.len(),
            prepare_seconds: times.prepare.as_secs_f64(),
            tune_seconds: times.tune.as_secs_f64(),
            compile_seconds: report.times.compile.as_secs_f64(),
            reference_seconds: report.times.reference.as_secs_f64(),
            check_seconds: report.times.check.as_secs_f64(),
            race_seconds: report.times.race.as_secs_f64(),
            refined: refined.as_ref().map(RefineFigures::new),
        });
    }
    output::line(format!(
        "{}: {} steps, {} different tactics, predicted {}",
        a.output.display(),
        figures.steps,
        figures.tactics,
        micros(figures.predicted_us)
    ))?;
    if !figures.host_steps.is_empty() {
        output::line(format!("{} of the steps run on the CPU", figures.host_steps.len()))?;
    }
    output::line(format!(
        "workspace {} of {}, arena {}, weights {}",
        Bytes(figures.workspace_used),
        a.workspace,
        Bytes(figures.arena_bytes),
        Bytes(figures.weight_bytes)
    ))?;
    output::line(format!(
        "{} problems: {} tactics measured in {:.1} s, {} known from the table, {} rejected",
        report.problems,
        report.measured,
        times.tune.as_secs_f64(),
        report.reused,
        report.rejected.len()
    ))?;
    let Some(r) = refined else { return Ok(()) };
    output::line(format!(
        "refined in {:.1} s: {} before, {} after {} of {} swaps",
        r.time.as_secs_f64(),
        micros(r.before_us),
        micros(r.after_us),
        r.swaps.len(),
        r.tried
    ))
}
