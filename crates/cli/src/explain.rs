//! `explain`, `report`: how a plan came about.

use std::path::Path;

use tactician::report::{Candidate, Outcome, ReportData, Step, render};
use tactician::{Bytes, Plan, record_of, time_steps};

use crate::args::{Explain, Report};
use crate::bench::{Latency, ready};
use crate::error::CliError;
use crate::output::{self, micros, table};
use crate::run;

/// The record in a plan file.
fn record(path: &Path) -> Result<ReportData, CliError> {
    let plan = Plan::open(path).map_err(|e| CliError::plan(path, e))?;
    record_of(&plan).map_err(|source| CliError::Record { path: path.to_owned(), source })
}

pub(crate) fn run(a: &Explain) -> Result<(), CliError> {
    let data = record(&a.plan)?;
    let found: Vec<usize> = match &a.step {
        Some(name) => {
            let list = named(&data.steps, name);
            if list.is_empty() {
                return Err(CliError::NoStep { name: name.clone(), steps: data.steps.len() });
            }
            list
        }
        None if a.all => (0..data.steps.len()).collect(),
        None => vec![],
    };
    if a.json {
        let steps: Vec<&Step> = found.iter().map(|&i| &data.steps[i]).collect();
        return if found.is_empty() { output::json(&data) } else { output::json(&steps) };
    }
    if found.is_empty() {
        return summary(&data);
    }
    for (n, &i) in found.iter().enumerate() {
        if n > 0 {
            output::line("")?;
        }
        step(&data, i, a.limit)?;
    }
    Ok(())
}

/// Steps by number, by name, or by part of the name.
fn named(steps: &[Step], name: &str) -> Vec<usize> {
    if let Some(i) = name.parse().ok().filter(|i| (0..steps.len()).contains(i)) {
        return vec![i];
    }
    let by = |fits: &dyn Fn(&Step) -> bool| -> Vec<usize> {
        steps.iter().enumerate().filter(|(_, s)| fits(s)).map(|(i, _)| i).collect()
    };
    let exact = by(&|s| s.name == name);
    if exact.is_empty() { by(&|s| s.name.contains(name) || s.fused.iter().any(|f| f == name)) } else { exact }
}

fn summary(data: &ReportData) -> Result<(), CliError> {
    let t = &data.totals;
    output::line(format!("{} for {}: {} steps", data.network, data.device.name, data.steps.len()))?;
    output::line(format!(
        "predicted {}, {} launches, {} moved; workspace {} used, arena {}, constants {}",
        micros(t.predicted_us),
        t.launches,
        Bytes(t.bytes_moved),
        Bytes(t.workspace_bytes),
        Bytes(t.arena_bytes),
        Bytes(t.constant_bytes)
    ))?;
    budget(data)?;
    let mut rows = table(&["step", "name", "does", "tactic", "predicted", "next best"], &[1, 2, 3]);
    for (i, s) in data.steps.iter().enumerate() {
        let next = data.candidates(i).iter().find(|c| c.outcome != Outcome::Chosen && c.timing.is_some());
        let next = next.map_or_else(|| "none".to_owned(), |c| c.verdict.clone());
        rows.add_row([
            i.to_string(),
            s.name.clone(),
            s.op.clone(),
            s.tactic.clone(),
            micros(s.predicted_us),
            next,
        ]);
    }
    output::line(format!("\n{rows}"))
}

/// What the budget cost, and what more of it would buy.
fn budget(data: &ReportData) -> Result<(), CliError> {
    let Some(limit) = data.totals.budget_bytes else { return Ok(()) };
    let front = &data.curve.workspace;
    let Some(last) = front.last() else { return Ok(()) };
    let lost = data.totals.predicted_us - last.predicted_us;
    let next = front.iter().find(|p| p.bytes > limit);
    match next {
        None => {
            output::line(format!("the workspace of {} costs nothing: no tactic needs more", Bytes(limit)))
        }
        Some(p) => {
            output::line(format!(
                "the workspace of {} costs {} against none being set; the next {} would buy {}",
                Bytes(limit),
                micros(lost.max(0.0)),
                Bytes(p.bytes - limit),
                micros((data.totals.predicted_us - p.predicted_us).max(0.0))
            ))?;
            p.changes
                .iter()
                .take(5)
                .try_for_each(|c| output::line(format!("  {}: {} to {}", c.step, c.from, c.to)))
        }
    }
}

fn step(data: &ReportData, i: usize, limit: usize) -> Result<(), CliError> {
    let s = &data.steps[i];
    output::line(format!("step {i}, {} ({})", s.name, s.op))?;
    if !s.fused.is_empty() {
        output::line(format!("computes {}", s.fused.join(", ")))?;
    }
    if !s.why.is_empty() {
        output::line(format!("why these nodes: {}", s.why))?;
    }
    let list = data.candidates(i);
    let mut rows = table(&["tactic", "median", "spread", "samples", "workspace", "error", "verdict"], &[6]);
    let show = if limit == 0 { list.len() } else { limit };
    list.iter().take(show).for_each(|c| _ = rows.add_row(row(c)));
    output::line(&rows)?;
    if list.len() > show {
        output::line(format!("and {} more; --limit 0 shows all", list.len() - show))?;
    }
    Ok(())
}

fn row(c: &Candidate) -> [String; 7] {
    let timed = |f: fn(&tactician::report::Timing) -> String| c.timing.as_ref().map_or_else(|| "-".into(), f);
    [
        c.id.clone(),
        timed(|t| micros(t.median_us)),
        timed(|t| micros(t.mad_us)),
        timed(|t| t.samples.to_string()),
        Bytes(c.workspace_bytes).to_string(),
        c.error.map_or_else(|| "-".into(), |e| format!("{e:.1e}")),
        c.verdict.clone(),
    ]
}

pub(crate) fn report(a: &Report) -> Result<(), CliError> {
    let mut data = record(&a.plan)?;
    if a.measure {
        let engine = run::engine(&a.plan)?;
        let mut context = ready(&engine, Vec::new())?;
        let times =
            context.measure(std::time::Duration::from_millis(200), std::time::Duration::from_secs(1))?;
        let whole = Latency::new(&times).median_us;
        data.totals.measured_us = Some(whole);
        time_steps(&mut data, &mut context, whole)?;
    }
    output::write(&a.output, render(&data).as_bytes())?;
    output::line(format!("{}: open it in a browser", a.output.display()))
}
