//! `sweep`: what memory buys. `replan`: a plan for another budget from a table alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tactician::report::{Breakpoint, curve_svg, render};
use tactician::selection::FrontPoint;
use tactician::tuning::{Purpose, TacticTable, TuneOptions};
use tactician::{Budget, Builder, Bytes, CpuDevice, Device, Engine, PaperDevice, Tuned, breakpoints, passes};

use crate::args::{Replan, Sweep};
use crate::bench::{Latency, ready};
use crate::build::{PlanFigures, network, tune};
use crate::error::CliError;
use crate::output::{self, Bar, micros, table};

/// Most plans of a front that are measured: evenly chosen, both ends among them.
const MEASURED: usize = 12;

/// Turns that they take.
const TURNS: u32 = 3;

#[derive(Serialize)]
struct Report<'a> {
    network: &'a str,
    device: &'a str,
    workspace: &'a [Breakpoint],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    memory: &'a [Breakpoint],
    /// The largest gap to what no plan within the budget beats; 0 where every point is proven to be the best.
    largest_gap_us: f64,
    #[serde(flatten)]
    solved: Solved,
}

/// The selection problem and how long its solutions took.
#[derive(Serialize)]
struct Solved {
    nodes: usize,
    regions: usize,
    candidates: usize,
    /// One selection, whatever the scratch.
    select_seconds: f64,
    workspace_front_seconds: f64,
    memory_front_seconds: f64,
}

impl Solved {
    fn new(tuned: &Tuned) -> Solved {
        let instance = tuned.instance();
        let start = Instant::now();
        // Its errors are those of the front.
        let _ = tuned.select(Budget::workspace(u64::MAX));
        Solved {
            nodes: instance.nodes,
            regions: instance.regions.len(),
            candidates: instance.regions.iter().map(|r| r.candidates.len()).sum(),
            select_seconds: start.elapsed().as_secs_f64(),
            workspace_front_seconds: 0.0,
            memory_front_seconds: 0.0,
        }
    }
}

pub(crate) fn run(a: &Sweep) -> Result<(), CliError> {
    let tuned = match is_table(&a.source.model)? {
        true => from_table(Path::new(&a.source.model), None)?,
        false => tune(
            &network(&a.source.model, &a.source.values)?,
            &a.source.shapes,
            &a.measuring,
            Some(&a.source.model),
        )?,
    };
    let mut solved = Solved::new(&tuned);
    let start = Instant::now();
    let front = tuned.workspace_front()?;
    solved.workspace_front_seconds = start.elapsed().as_secs_f64();
    let mut workspace = breakpoints(&front);
    if a.measure {
        measure(&tuned, &front, &mut workspace, |p| Budget::workspace(p.budget))?;
    }
    let (mut memory, mut points) = (vec![], vec![]);
    if a.memory {
        let start = Instant::now();
        points = tuned.memory_front(a.workspace.0)?;
        solved.memory_front_seconds = start.elapsed().as_secs_f64();
        memory = breakpoints(&points);
        if a.measure {
            let budget = |p: &FrontPoint| Budget { workspace: a.workspace.0, memory: Some(p.budget) };
            measure(&tuned, &points, &mut memory, budget)?;
        }
    }
    let name = &tuned.graph().name;
    if let Some(path) = &a.svg {
        let title = format!("{name} on {}", tuned.device().info().name);
        output::write(path, curve_svg(&title, "workspace", &workspace).as_bytes())?;
    }
    if let Some(path) = &a.report {
        let budget = Budget::workspace(a.workspace.0);
        let selection = tuned.select(budget)?;
        let plan = tuned.plan_with(&selection, budget)?;
        let mut data = tuned.explain(&selection, budget, &plan);
        (data.curve.workspace, data.curve.memory) = (workspace.clone(), memory.clone());
        output::write(path, render(&data).as_bytes())?;
    }
    if a.json {
        let gap = |p: &FrontPoint| match p.selection.certificate {
            tactician::Certificate::Gap { lower_bound_us } => p.selection.predicted_us - lower_bound_us,
            tactician::Certificate::Optimal => 0.0,
        };
        let largest_gap_us = front.iter().chain(&points).map(gap).fold(0.0, f64::max);
        let device = &tuned.device().info().name;
        return output::json(&Report {
            network: name,
            device,
            workspace: &workspace,
            memory: &memory,
            largest_gap_us,
            solved,
        });
    }
    print("workspace", &workspace, &front, a.limit)?;
    if a.memory {
        output::line("")?;
        print("memory", &memory, &points, a.limit)?;
    }
    Ok(())
}

/// Measures plans of a front in turns.
fn measure(
    tuned: &Tuned,
    front: &[FrontPoint],
    into: &mut [Breakpoint],
    budget: impl Fn(&FrontPoint) -> Budget,
) -> Result<(), CliError> {
    let count = front.len().min(MEASURED);
    let at: Vec<usize> = match count {
        0 | 1 => (0..count).collect(),
        n => (0..n).map(|i| i * (front.len() - 1) / (n - 1)).collect(),
    };
    let mut contexts = Vec::with_capacity(at.len());
    for &i in &at {
        let plan = tuned.plan_with(&front[i].selection, budget(&front[i]))?;
        let engine = Engine::new(plan, tuned.device().clone())?;
        contexts.push((ready(&engine, Vec::new())?, Vec::new()));
    }
    let length = Duration::from_millis(300);
    for _ in 0..TURNS {
        for (context, times) in &mut contexts {
            times.extend(context.measure(length / 5, length)?);
        }
    }
    for (i, (_, times)) in at.into_iter().zip(contexts) {
        into[i].measured_us = Some(Latency::new(&times).median_us);
    }
    Ok(())
}

fn print(what: &str, points: &[Breakpoint], front: &[FrontPoint], limit: usize) -> Result<(), CliError> {
    let proven = front.iter().all(|p| p.selection.certificate == tactician::Certificate::Optimal);
    let proof = if proven {
        "each proven to be the fastest within its budget"
    } else {
        "not all proven to be the fastest"
    };
    output::line(format!("{} plans, {proof}", points.len()))?;
    let mut t = table(&[what, "predicted", "measured", "gain", "us a MiB", "bought by"], &[5]);
    let mut before: Option<&Breakpoint> = None;
    for p in points {
        let (gain, rate) = before.map_or((String::new(), String::new()), |b| {
            let (us, mib) =
                (b.predicted_us - p.predicted_us, (p.bytes - b.bytes) as f64 / f64::from(1 << 20));
            (format!("-{}", micros(us)), format!("{:.2}", us / mib))
        });
        let changes: Vec<String> = (p.changes.iter().take(limit))
            .map(|c| match (c.from.as_str(), c.to.as_str()) {
                ("", to) => format!("{}: {to}", c.step),
                (from, "") => format!("{}: without {from}", c.step),
                (from, to) => format!("{}: {from} to {to}", c.step),
            })
            .collect();
        let more = p.changes.len().saturating_sub(limit);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        t.add_row([
            Bytes(p.bytes).to_string(),
            micros(p.predicted_us),
            p.measured_us.map_or_else(String::new, micros),
            gain,
            rate,
            changes.join(", ") + &more,
        ]);
        before = Some(p);
    }
    output::line(t)
}

/// Whether a file is a tactic table.
fn is_table(model: &str) -> Result<bool, CliError> {
    if model.starts_with("zoo:") {
        return Ok(false);
    }
    let path = Path::new(model);
    let mut start = [0u8; 1];
    let n = std::fs::File::open(path)
        .and_then(|mut f| std::io::Read::read(&mut f, &mut start))
        .map_err(|source| CliError::Io { action: "open", path: path.to_owned(), source })?;
    Ok(start[..n] == *b"{")
}

/// A network with the measurements of a table, without the device that was measured.
fn from_table(path: &Path, model: Option<&str>) -> Result<Tuned, CliError> {
    let table = TacticTable::load(path)?;
    let wanted = |p: &&Purpose| model.is_none_or(|m| p.model == m || p.model.ends_with(&format!("/{m}")));
    let list: Vec<&Purpose> = table.purposes().filter(wanted).collect();
    let purpose = match &list[..] {
        [one] => *one,
        [] => return Err(CliError::NoPurpose { table: path.to_owned() }),
        several => {
            let told: Vec<String> = several
                .iter()
                .map(|p| {
                    format!(
                        "\n  {} as {} on {} ({}, {})",
                        p.model, p.precision, p.device.name, p.tactics, p.fusion
                    )
                })
                .collect();
            // The newest device and options are not known: people say.
            return Err(CliError::Purposes { table: path.to_owned(), list: told.concat() });
        }
    };
    let device: Arc<dyn Device> = match purpose.device.cpu() {
        // Plans of a CPU hold no code, but this machine's kernels must be those that were measured.
        Some(c) => match CpuDevice::new(Some(c.threads)) {
            Ok(cpu) if *cpu.info() == purpose.device => Arc::new(cpu),
            _ => Arc::new(PaperDevice::new(purpose.device.clone())),
        },
        None => Arc::new(PaperDevice::new(purpose.device.clone())),
    };
    let bar = Bar::new();
    let mut builder =
        Builder::new().device(device).precision(purpose.precision).tf32(purpose.tf32).table(path);
    builder =
        builder.tactics(purpose.tactics.parse().map_err(|_| CliError::NoPurpose { table: path.to_owned() })?);
    if let Some(policy) = passes::policy_named(&purpose.fusion) {
        builder = builder.policy(policy);
    }
    for (name, sizes) in &purpose.shapes {
        builder = builder.shape(name, sizes);
    }
    let on_host = purpose.on_host.iter().cloned().collect();
    let options = TuneOptions { frozen: true, on_host, ..TuneOptions::default() };
    let values: Vec<_> = purpose.values.clone().into_iter().collect();
    let tuned = builder.tuning(options).progress(|p| bar.update(p)).tune(&network(&purpose.model, &values)?);
    bar.done();
    Ok(tuned?)
}

#[derive(Serialize)]
struct Replanned<'a> {
    plan: &'a Path,
    #[serde(flatten)]
    figures: PlanFigures,
}

pub(crate) fn replan(a: &Replan) -> Result<(), CliError> {
    let tuned = from_table(&a.table, a.model.as_deref())?;
    let budget = Budget { workspace: a.workspace.0, memory: a.memory.map(|b| b.0) };
    let plan = tuned.plan_within(budget)?;
    plan.save(&a.output)?;
    let figures = PlanFigures::new(&plan, a.workspace.0);
    if a.json {
        return output::json(&Replanned { plan: &a.output, figures });
    }
    output::line(format!(
        "{}: {} steps, workspace {} of {}, predicted {}; nothing was measured",
        a.output.display(),
        figures.steps,
        Bytes(figures.workspace_used),
        a.workspace,
        micros(figures.predicted_us)
    ))
}
