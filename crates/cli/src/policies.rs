//! `policies`: fusion policies on the same measurements. `churn`: what changes when a build is repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tactician::passes::{FusionPolicy, POLICIES};
use tactician::{Budget, Bytes, Engine, Plan, Selection, Tuned};

use crate::args::{Churn, Policies};
use crate::bench::{Latency, ready};
use crate::build::{network, tune_for};
use crate::error::CliError;
use crate::output::{self, micros, table};

/// Turns in which plans are measured.
const TURNS: u32 = 5;

/// Measuring time of a plan in one turn.
const LENGTH: Duration = Duration::from_millis(250);

/// Medians of plans that take turns, in microseconds; `None` where a plan does not run.
fn interleaved(tuned: &Tuned, plans: &[&Plan]) -> Result<Vec<f64>, CliError> {
    let mut contexts = Vec::with_capacity(plans.len());
    for plan in plans {
        let engine = Engine::new((*plan).clone(), tuned.device().clone())?;
        contexts.push((ready(&engine, Vec::new())?, Vec::new()));
    }
    for _ in 0..TURNS {
        for (context, times) in &mut contexts {
            times.extend(context.measure(LENGTH / 5, LENGTH)?);
        }
    }
    Ok(contexts.iter().map(|(_, times)| Latency::new(times).median_us).collect())
}

#[derive(Serialize)]
struct Row {
    policy: String,
    predicted_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<f64>,
    /// How much longer it is predicted to take than what the measurements choose: 1 for the same.
    ratio: f64,
    steps: usize,
    launches: u64,
    bytes_moved: u64,
    workspace_bytes: u64,
    arena_bytes: u64,
}

pub(crate) fn run(a: &Policies) -> Result<(), CliError> {
    let net = network(&a.source.model, &a.source.values)?;
    let tuned = tune_for(&net, &a.source.shapes, &a.measuring, Some(&a.source.model), POLICIES)?;
    let budget = Budget::workspace(a.workspace.0);
    let best = tuned.select(budget)?;
    let mut list: Vec<(String, Selection)> = vec![("measured".into(), best.clone())];
    for policy in POLICIES {
        list.push((policy.name().to_owned(), tuned.select_by(*policy, budget)?));
    }
    list.push(("heuristics alone".into(), tuned.select_untuned(budget)?));
    let mut plans = Vec::with_capacity(list.len());
    let mut rows = Vec::with_capacity(list.len());
    for (name, selection) in &list {
        let plan = tuned.plan_with(selection, budget)?;
        let totals = tuned.explain(selection, budget, &plan).totals;
        rows.push(Row {
            policy: name.clone(),
            predicted_us: selection.predicted_us,
            measured_us: None,
            ratio: selection.predicted_us / best.predicted_us,
            steps: plan.meta.steps.len(),
            launches: totals.launches,
            bytes_moved: totals.bytes_moved,
            workspace_bytes: plan.meta.scratch_bytes,
            arena_bytes: plan.meta.arena_bytes,
        });
        plans.push(plan);
    }
    if a.measure {
        let measured = interleaved(&tuned, &plans.iter().collect::<Vec<_>>())?;
        rows.iter_mut().zip(measured).for_each(|(r, us)| r.measured_us = Some(us));
    }
    if a.json {
        return output::json(&rows);
    }
    let mut t = table(
        &[
            "policy",
            "predicted",
            "to measured",
            "measured",
            "steps",
            "launches",
            "moved",
            "workspace",
            "arena",
        ],
        &[],
    );
    for r in &rows {
        t.add_row([
            r.policy.clone(),
            micros(r.predicted_us),
            format!("{:.3}", r.ratio),
            r.measured_us.map_or_else(String::new, micros),
            r.steps.to_string(),
            r.launches.to_string(),
            Bytes(r.bytes_moved).to_string(),
            Bytes(r.workspace_bytes).to_string(),
            Bytes(r.arena_bytes).to_string(),
        ]);
    }
    output::line(t)
}

#[derive(Serialize)]
struct Build {
    predicted_us: f64,
    measured_us: f64,
    /// Steps whose tactic is another than the first build's.
    changed: usize,
    steps: usize,
}

#[derive(Serialize)]
struct ChurnReport {
    builds: Vec<Build>,
    /// Mean share of steps that changed, of builds after the first.
    churn: f64,
    /// Slowest over fastest measured latency, less one.
    spread: f64,
    /// Steps that did not always have the same tactic: tactics with how many builds chose them.
    changed: BTreeMap<String, BTreeMap<String, usize>>,
}

pub(crate) fn churn(a: &Churn) -> Result<(), CliError> {
    let net = network(&a.source.model, &a.source.values)?;
    let mut tuned: Vec<Tuned> = Vec::new();
    let mut plans: Vec<Plan> = Vec::new();
    for i in 0..a.times {
        // Without a table: every build measures anew.
        let t = tune_for(&net, &a.source.shapes, &a.measuring, None, &[])?;
        let plan = t.plan(a.workspace.0)?;
        if !a.json {
            output::line(format!(
                "build {} of {}: {} in {:.1} s",
                i + 1,
                a.times,
                micros(plan.meta.predicted_us),
                t.times().tune.as_secs_f64()
            ))?;
        }
        tuned.push(t);
        plans.push(plan);
    }
    let Some((first, device)) = plans.first().zip(tuned.first()) else { return Ok(()) };
    let measured = interleaved(device, &plans.iter().collect::<Vec<_>>())?;
    let of = |p: &Plan| -> BTreeMap<(String, String), String> {
        p.meta.steps.iter().map(|s| ((s.name.clone(), s.op.clone()), s.tactic.clone())).collect()
    };
    let base = of(first);
    let mut seen: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for plan in &plans {
        for ((name, op), tactic) in of(plan) {
            *seen.entry(format!("{name} ({op})")).or_default().entry(tactic).or_default() += 1;
        }
    }
    let builds: Vec<Build> = (plans.iter().zip(measured))
        .map(|(p, measured_us)| {
            let now = of(p);
            let changed = now.iter().filter(|(k, t)| base.get(*k) != Some(t)).count();
            Build { predicted_us: p.meta.predicted_us, measured_us, changed, steps: now.len() }
        })
        .collect();
    seen.retain(|_, t| t.len() > 1 || t.values().any(|&n| n < plans.len()));
    let shares = builds.iter().skip(1).map(|b| b.changed as f64 / b.steps.max(1) as f64);
    let churn = shares.sum::<f64>() / (builds.len().max(2) - 1) as f64;
    let ends = builds
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(lo, hi), b| (lo.min(b.measured_us), hi.max(b.measured_us)));
    let report = ChurnReport { churn, spread: ends.1 / ends.0 - 1.0, builds, changed: seen };
    if a.json {
        return output::json(&report);
    }
    let mut t = table(&["build", "predicted", "measured", "changed steps"], &[]);
    for (i, b) in report.builds.iter().enumerate() {
        let changed = format!("{} of {}", b.changed, b.steps);
        t.add_row([(i + 1).to_string(), micros(b.predicted_us), micros(b.measured_us), changed]);
    }
    output::line(t)?;
    output::line(format!(
        "churn {:.1} % of steps; latency spread {:.1} %, all plans measured in turns",
        report.churn * 100.0,
        report.spread * 100.0
    ))?;
    for (step, tactics) in &report.changed {
        let list: Vec<String> = tactics.iter().map(|(t, n)| format!("{t} {n} times")).collect();
        output::line(format!("  {step}: {}", list.join(", ")))?;
    }
    Ok(())
}
