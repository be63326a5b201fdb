//! `bench`.

use std::time::Duration;

use serde::Serialize;
use tactician::{Bytes, Context, Engine, Tensor};

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
    median_us: f64,
    predicted_us: f64,
    scratch: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    network: &'a str,
    batch_per_second: f64,
    latency: Latency,
    predicted_us: f64,
    weight_bytes: u64,
    arena_bytes: u64,
    scratch_bytes: u64,
    binding_bytes: u64,
    steps: Vec<Step<'a>>,
}

/// A context with all inputs set.
pub(crate) fn ready(engine: &Engine, mut inputs: Vec<(String, Tensor)>) -> Result<Context, CliError> {
    run::fill(engine, &mut inputs, 1);
    let mut context = engine.new_context()?;
    for (name, t) in &inputs {
        context.set_input(name, t)?;
    }
    Ok(context)
}

pub(crate) fn run(a: &Bench) -> Result<(), CliError> {
    let engine = run::engine(&a.plan)?;
    let mut context = ready(&engine, Vec::new())?;
    let length = Duration::from_secs_f64(a.seconds);
    let latency = Latency::new(&context.measure(length / 5, length)?);
    let runs = ((a.seconds * 2e5 / latency.median_us) as usize).clamp(3, 200);
    let profile = context.profile(runs)?;
    let meta = engine.meta();
    let mut steps: Vec<Step<'_>> = meta
        .steps
        .iter()
        .zip(&profile)
        .map(|(s, times)| Step {
            name: &s.name,
            op: &s.op,
            tactic: &s.tactic,
            median_us: Latency::new(times).median_us,
            predicted_us: s.predicted_us,
            scratch: s.scratch.and_then(|p| meta.len_of(p)).unwrap_or(0),
        })
        .collect();
    let memory = engine.memory();
    if a.json {
        return output::json(&Report {
            network: &meta.network,
            batch_per_second: 1e6 / latency.mean_us,
            latency,
            predicted_us: meta.predicted_us,
            weight_bytes: memory.weights,
            arena_bytes: memory.arena,
            scratch_bytes: memory.scratch,
            binding_bytes: memory.bindings,
            steps,
        });
    }
    output::line(format!("{}: {:.1} runs/s", meta.network, 1e6 / latency.mean_us))?;
    output::line(format!(
        "latency  min {}  mean {}  median {}  p90 {}  p95 {}  p99 {}  ({} runs, predicted {})",
        micros(latency.min_us),
        micros(latency.mean_us),
        micros(latency.median_us),
        micros(latency.p90_us),
        micros(latency.p95_us),
        micros(latency.p99_us),
        latency.runs,
        micros(meta.predicted_us)
    ))?;
    output::line(format!(
        "memory   weights {}, arena {} (scratch {}), bindings {}",
        Bytes(memory.weights),
        Bytes(memory.arena),
        Bytes(memory.scratch),
        Bytes(memory.bindings)
    ))?;
    if a.steps == 0 {
        return Ok(());
    }
    let sum: f64 = steps.iter().map(|s| s.median_us).sum();
    steps.sort_by(|x, y| y.median_us.total_cmp(&x.median_us));
    let mut t = table(&["step", "what", "tactic", "time", "share", "predicted", "scratch"], &[1, 2]);
    for s in steps.iter().take(a.steps) {
        t.add_row([
            s.name.to_owned(),
            s.op.to_owned(),
            s.tactic.to_owned(),
            micros(s.median_us),
            format!("{:.1} %", s.median_us / sum * 100.0),
            micros(s.predicted_us),
            Bytes(s.scratch).to_string(),
        ]);
    }
    output::line(format!("\nthe slowest of {} steps, each timed by itself:\n{t}", steps.len()))
}
