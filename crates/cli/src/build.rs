//! `build`, and what `demo` shares with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tactician::ir::Dim;
use tactician::passes::FusionPolicy;
use tactician::report::render;
use tactician::tuning::{CheckTimes, TuneTimes};
use tactician::{
    Builder, Bytes, HostRegion, Needs, Network, Plan, RefineOptions, Refined, Rival, Settled, Tuned,
    TunedProfiles, record_of, zoo,
};

use crate::args::{Build, Measuring, Precision};
use crate::error::CliError;
use crate::output::{self, Bar, micros};

/// Largest batch of the zoo's networks.
const MAX_BATCH: usize = 4096;

/// A network by its name on the command line, with the values given to its inputs.
pub(crate) fn network(model: &str, values: &[(String, Vec<f64>)]) -> Result<Network, CliError> {
    let given = |n: Network, (name, numbers): &(String, Vec<f64>)| n.with_value(name, numbers);
    Ok(values.iter().try_fold(named(model)?, given)?)
}

fn named(model: &str) -> Result<Network, CliError> {
    let Some(name) = model.strip_prefix("zoo:") else {
        return Network::from_onnx(model)
            .map_err(|source| CliError::Import { model: model.to_owned(), source });
    };
    let unknown = || CliError::NoNetwork { name: name.to_owned(), known: zoo::NAMES.join(", ") };
    let (name, batch) = match name.split_once('@') {
        Some((name, "N")) => (name, Dim::symbol("N")),
        Some((name, batch)) => {
            let batch = batch.parse().ok().filter(|b| (1..=MAX_BATCH).contains(b));
            (name, Dim::from(batch.ok_or_else(unknown)?))
        }
        None => (name, Dim::known(1)),
    };
    zoo::by_name(name, batch).ok_or_else(unknown)
}

/// Measures a network as the command line says, with a progress bar.
pub(crate) fn tune(
    network: &Network,
    shapes: &[(String, Vec<usize>)],
    measuring: &Measuring,
    model: Option<&str>,
) -> Result<Tuned, CliError> {
    tune_for(network, shapes, measuring, model, &[])
}

/// As [`tune`], with policies to compare with.
pub(crate) fn tune_for(
    network: &Network,
    shapes: &[(String, Vec<usize>)],
    measuring: &Measuring,
    model: Option<&str>,
    also: &[&'static dyn FusionPolicy],
) -> Result<Tuned, CliError> {
    let bar = Bar::new();
    let tuned = builder(shapes, measuring, model, also).progress(|p| bar.update(p)).tune(network);
    bar.done();
    let tuned = tuned?;
    warn_of(&tuned);
    Ok(tuned)
}

/// As [`tune`], for ranges of shapes.
fn tune_profiles(a: &Build, network: &Network) -> Result<TunedProfiles, CliError> {
    let bar = Bar::new();
    let mut builder = builder(&a.source.shapes, &a.measuring, Some(&a.source.model), &[]);
    for p in &a.profiles {
        builder = builder.profile(p.clone());
    }
    let tuned = builder.progress(|p| bar.update(p)).tune_profiles(network);
    bar.done();
    let tuned = tuned?;
    tuned.tuned().for_each(warn_of);
    Ok(tuned)
}

/// Says what was rejected, and what the CPU computes inside a plan for a GPU.
fn warn_of(tuned: &Tuned) {
    for (problem, tactic, reason) in &tuned.report().rejected {
        output::warn(format!("rejected {tactic} for {problem}: {reason}"));
    }
    warn_of_host(&tuned.host_regions());
}

/// A builder as the command line says.
fn builder<'a>(
    shapes: &[(String, Vec<usize>)],
    measuring: &Measuring,
    model: Option<&str>,
    also: &[&'static dyn FusionPolicy],
) -> Builder<'a> {
    let mut builder = Builder::new();
    if let Some(name) = model {
        // The table may be used from another folder.
        let absolute = std::fs::canonicalize(name).ok().filter(|_| !name.starts_with("zoo:"));
        builder = builder.model(absolute.as_deref().and_then(std::path::Path::to_str).unwrap_or(name));
    }
    builder = builder.exhaustive(measuring.fusion.exhaustive);
    for policy in also {
        builder = builder.compare(*policy);
    }
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
    builder.tuning(options)
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
    /// Parts of checking, summed over the threads that check at once.
    check_thread_seconds: BTreeMap<&'a str, f64>,
    /// The same by the family of tactics.
    family_thread_seconds: BTreeMap<&'a str, f64>,
    race_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refined: Option<RefineFigures<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckFigures>,
}

/// Where the time of measuring went, for people.
fn spent(times: &TuneTimes) -> String {
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    let (checks, timing) = (seconds(times.check), seconds(times.race));
    let reference = seconds(times.reference);
    match times.compile.is_zero() {
        true => format!("spent on the reference {reference}, checks {checks}, timing {timing}"),
        false => format!(
            "spent on checks {checks}, timing {timing}; meanwhile on compiling {}, the reference {reference}",
            seconds(times.compile)
        ),
    }
}

/// The parts of checking by name.
fn parts_of(checks: &CheckTimes) -> impl Iterator<Item = (&'static str, Duration)> {
    let CheckTimes { pack, compile, prepare, fill, run, compare, families: _ } = *checks;
    [
        ("pack", pack),
        ("compile", compile),
        ("prepare", prepare),
        ("fill", fill),
        ("run", run),
        ("compare", compare),
    ]
    .into_iter()
}

fn seconds<'a>(list: impl Iterator<Item = (&'a str, Duration)>) -> BTreeMap<&'a str, f64> {
    list.map(|(name, took)| (name, took.as_secs_f64())).collect()
}

/// The plan beside the one that heuristics alone would give, and the one that fuses all that can be.
#[derive(Serialize)]
struct CheckFigures {
    selected_us: f64,
    untuned_us: Option<f64>,
    untuned_predicted_us: Option<f64>,
    /// Whether the plan of heuristics was faster and stays.
    untuned_stays: bool,
    fused_us: Option<f64>,
    fused_predicted_us: Option<f64>,
    /// Whether the plan that fuses all was faster and stays.
    fused_stays: bool,
    /// What each step of the plan takes inside the whole, less what it took alone: the largest differences first.
    residuals: Vec<Residual>,
}

#[derive(Serialize)]
struct Residual {
    step: String,
    tactic: String,
    predicted_us: f64,
    inside_us: f64,
}

impl CheckFigures {
    fn new(s: &Settled) -> CheckFigures {
        let of = |s: &tactician::report::Step| {
            Some(Residual {
                step: s.name.clone(),
                tactic: s.tactic.clone(),
                predicted_us: s.predicted_us,
                inside_us: s.timing?.median_us,
            })
        };
        let mut residuals: Vec<Residual> = s.record.steps.iter().filter_map(of).collect();
        let off = |r: &Residual| (r.inside_us - r.predicted_us).abs();
        residuals.sort_by(|a, b| off(b).total_cmp(&off(a)));
        let stays = |r| s.stays.as_ref().is_some_and(|(who, _)| *who == r);
        let (untuned, fused) = (s.of(Rival::Heuristics), s.of(Rival::Fused));
        CheckFigures {
            selected_us: s.selected_us,
            untuned_us: untuned.map(|b| b.measured_us),
            untuned_predicted_us: untuned.map(|b| b.predicted_us),
            untuned_stays: stays(Rival::Heuristics),
            fused_us: fused.map(|b| b.measured_us),
            fused_predicted_us: fused.map(|b| b.predicted_us),
            fused_stays: stays(Rival::Fused),
            residuals,
        }
    }
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

/// What was measured: for one shape, or for ranges.
enum Measured {
    Fixed(Box<Tuned>),
    Open(TunedProfiles),
}

impl Measured {
    /// Whose steps the plan has.
    fn first(&self) -> &Tuned {
        match self {
            Measured::Fixed(t) => t,
            Measured::Open(p) => p.first(),
        }
    }
}

pub(crate) fn run(a: &Build) -> Result<(), CliError> {
    Plan::check_path(&a.output)?;
    let network = network(&a.source.model, &a.source.values)?;
    let measured = match a.profiles.is_empty() {
        true => {
            Measured::Fixed(Box::new(tune(&network, &a.source.shapes, &a.measuring, Some(&a.source.model))?))
        }
        false => Measured::Open(tune_profiles(a, &network)?),
    };
    let tuned = measured.first();
    let (plan, refined) = if a.refine {
        let bar = Bar::new();
        let refined = tuned.refine(a.budget(), &RefineOptions::default(), &mut |p| bar.refining(p));
        bar.done();
        let refined = refined?;
        (refined.plan.clone(), Some(refined))
    } else {
        (tuned.plan_within(a.budget())?, None)
    };
    let settled = match a.measuring.frozen || a.no_check {
        true => None,
        false => Some(tuned.settle(plan.clone(), a.budget())?),
    };
    let mut plan = settled.as_ref().map_or(plan, |s| s.plan.clone());
    if let Measured::Open(profiles) = &measured {
        let stays = settled.as_ref().and_then(|s| Some(s.stays.as_ref()?.1.clone()));
        let selection = match stays.or_else(|| refined.as_ref().map(|r| r.selection.clone())) {
            Some(s) => s,
            None => tuned.select(a.budget())?,
        };
        plan = profiles.open(plan, &selection, a.budget())?;
    }
    plan.save(&a.output)?;
    if let Some(path) = &a.report {
        let record = match &settled {
            Some(s) => s.record.clone(),
            None => record_of(&plan).map_err(|source| CliError::Record { path: a.output.clone(), source })?,
        };
        output::write(path, render(&record).as_bytes())?;
    }
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
            check_thread_seconds: seconds(parts_of(&report.times.checks)),
            family_thread_seconds: seconds(
                report.times.checks.families.iter().map(|(f, d)| (f.as_str(), *d)),
            ),
            race_seconds: report.times.race.as_secs_f64(),
            refined: refined.as_ref().map(RefineFigures::new),
            check: settled.as_ref().map(CheckFigures::new),
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
    if report.measured > 0 {
        output::line(spent(&report.times))?;
    }
    if let Some(s) = &settled {
        let mut text = format!("measured {} as a whole", micros(s.selected_us));
        for (rival, name) in
            [(Rival::Heuristics, "heuristics alone"), (Rival::Fused, "fused as far as can be")]
        {
            let Some(b) = s.of(rival) else { continue };
            text += &match s.stays {
                Some((who, _)) if who == rival => {
                    format!("; {name} {}, which is faster and stays", micros(b.measured_us))
                }
                _ => {
                    format!("; {name} {} ({:.2} times)", micros(b.measured_us), b.measured_us / s.selected_us)
                }
            };
        }
        if s.of(Rival::Heuristics).is_none() {
            text += "; heuristics alone give the same plan";
        }
        output::line(text)?;
        for r in CheckFigures::new(s).residuals.iter().take(3) {
            let (inside, alone) = (micros(r.inside_us), micros(r.predicted_us));
            output::line(format!(
                "  {} takes {inside} inside the plan, {alone} alone ({})",
                r.step, r.tactic
            ))?;
        }
    }
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
