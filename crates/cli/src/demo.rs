//! `demo`: one measuring pass, several budgets, a photo, and a check against the reference.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tactician::reference::{eval_graph, relative_l2};
use tactician::{Bytes, Engine, Network, Plan, Tensor, ir};

use crate::args::Demo;
use crate::bench::{Latency, ready};
use crate::build::{PlanFigures, network, tune};
use crate::error::CliError;
use crate::output::{self, micros, table};
use crate::{photo, run};

/// How long each plan is timed, and in how many turns: plans take turns so that other load harms all alike.
const TIMED: Duration = Duration::from_millis(1500);
const TURNS: u32 = 5;

#[derive(Serialize)]
struct Budget {
    #[serde(flatten)]
    figures: PlanFigures,
    latency: Latency,
    relative_error: f64,
}

#[derive(Serialize)]
struct Report {
    network: String,
    kind: String,
    device: String,
    threads: u64,
    tune_seconds: f64,
    measured: usize,
    reused: usize,
    budgets: Vec<Budget>,
    /// Steps whose tactic depends on the budget: name, then a tactic a budget.
    different: Vec<(String, Vec<String>)>,
    plan: String,
    top: Vec<(usize, f32)>,
}

pub(crate) fn run(a: &Demo) -> Result<(), CliError> {
    Plan::check_path(&a.output)?;
    let net = network(&a.model, &a.values)?;
    let say = |text: String| if a.json { Ok(()) } else { output::line(text) };
    say(format!("measuring every tactic for every region of {} ...", a.model))?;
    let tuned = tune(&net, &a.shapes, &a.measuring, Some(&a.model))?;
    let (report, times) = (tuned.report(), tuned.times());
    say(format!(
        "{} problems, {} tactics measured and checked in {:.1} s ({} known from the table)",
        report.problems,
        report.measured,
        times.tune.as_secs_f64(),
        report.reused
    ))?;

    let mut plans: Vec<(u64, Plan)> = Vec::new();
    for w in &a.workspace {
        plans.push((w.0, tuned.plan(w.0)?));
    }
    let last = plans.last().map(|(_, p)| p).expect("clap gives at least one budget");
    last.save(&a.output)?;

    let engine = run::engine(&a.output)?;
    let mut inputs = Vec::new();
    for port in engine.inputs().iter().filter(|p| photo::fits(p)) {
        inputs.push((port.name.clone(), photo::tensor(a.photo.as_deref(), port)?));
    }
    run::fill(engine.inputs(), &mut inputs, 1);
    let expected = reference(&net, a, &inputs)?;
    say(format!("the reference interpreter took {:.1} s for one run\n", expected.1.as_secs_f64()))?;

    let mut out = Report {
        network: last.meta.network.clone(),
        kind: tuned.device().info().kind_name().to_owned(),
        device: tuned.device().info().name.clone(),
        threads: last.meta.target.threads,
        tune_seconds: times.tune.as_secs_f64(),
        measured: report.measured,
        reused: report.reused,
        budgets: Vec::new(),
        different: different(&plans),
        plan: a.output.display().to_string(),
        top: Vec::new(),
    };
    let mut contexts = Vec::new();
    for (limit, plan) in &plans {
        let path = a.output.with_extension(format!("{limit}.tmp"));
        // Through a file, as a user would: what is timed is what is saved.
        plan.save(&path)?;
        let engine = Engine::load(&path).map_err(|e| CliError::plan(&path, e));
        let removed = std::fs::remove_file(&path);
        let engine = engine?;
        removed.map_err(|source| CliError::Io { action: "remove", path, source })?;
        let list: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let outputs = engine.new_context()?.run(&list)?;
        let mut relative_error = 0.0f64;
        for (name, t) in &outputs {
            if let (Some(got), Some(want)) = (t.values::<f32>(), expected.0.get(name)) {
                let want: Vec<f64> = want
                    .values::<f32>()
                    .into_iter()
                    .flat_map(|v| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
                    .collect();
                let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
                relative_error = relative_error.max(relative_l2(&got, &want));
            }
        }
        let allowed = a.measuring.precision.allowed_error();
        if relative_error.is_nan() || relative_error > allowed {
            return Err(CliError::Wrong { found: relative_error, allowed });
        }
        if let Some(values) = outputs.first().and_then(|(_, t)| t.values::<f32>()) {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
            out.top = order.into_iter().take(3).map(|i| (i, values[i])).collect();
        }
        contexts.push((ready(&engine, inputs.clone())?, relative_error, Vec::new()));
    }
    for _ in 0..TURNS {
        for (context, _, times) in &mut contexts {
            times.extend(context.measure(TIMED / TURNS / 4, TIMED / TURNS)?);
        }
    }
    for ((limit, plan), (_, relative_error, times)) in plans.iter().zip(contexts) {
        let (figures, latency) = (PlanFigures::new(plan, *limit), Latency::new(&times));
        out.budgets.push(Budget { figures, latency, relative_error });
    }
    if a.json { output::json(&out) } else { print(a, &out) }
}

/// The network's outputs by the reference interpreter, and how long it took.
fn reference(
    net: &Network,
    a: &Demo,
    inputs: &[(String, Tensor)],
) -> Result<(BTreeMap<String, ir::Tensor>, Duration), CliError> {
    let graph = net.bind(&a.shapes.iter().cloned().collect())?;
    let mut given = BTreeMap::new();
    for (name, t) in inputs {
        let t = ir::Tensor::from_bytes(t.dtype(), t.shape(), t.bytes().to_vec())
            .expect("a tensor has as many bytes as its shape says");
        given.insert(name.clone(), t);
    }
    let start = Instant::now();
    let outputs = eval_graph(&graph, &given)?;
    Ok((outputs, start.elapsed()))
}

/// Steps whose tactic is not the same for all budgets.
fn different(plans: &[(u64, Plan)]) -> Vec<(String, Vec<String>)> {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for (i, (_, plan)) in plans.iter().enumerate() {
        for s in plan.meta.steps.iter().filter(|s| !s.tactic.starts_with("reformat")) {
            let list = by_name.entry(&s.name).or_insert_with(|| {
                order.push(s.name.as_str());
                vec!["-".into(); plans.len()]
            });
            list[i] = s.tactic.clone();
        }
    }
    order
        .into_iter()
        .filter_map(|n| by_name.remove(n).map(|l| (n.to_owned(), l)))
        .filter(|(_, l)| l.iter().any(|t| *t != l[0]))
        .collect()
}

fn print(a: &Demo, r: &Report) -> Result<(), CliError> {
    let mut header = vec!["step".to_owned()];
    header.extend(a.workspace.iter().map(|w| format!("workspace {w}")));
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let text: Vec<usize> = (1..names.len()).collect();
    let mut t = table(&names, &text);
    for (name, tactics) in &r.different {
        t.add_row([name].into_iter().chain(tactics));
    }
    output::line(format!("tactics that depend on the workspace:\n{t}\n"))?;
    let mut t = table(
        &[
            "workspace",
            "used",
            "arena",
            "predicted",
            "measured (median)",
            "runs/s",
            "error against the reference",
        ],
        &[],
    );
    for b in &r.budgets {
        t.add_row([
            Bytes(b.figures.workspace_limit).to_string(),
            Bytes(b.figures.workspace_used).to_string(),
            Bytes(b.figures.arena_bytes).to_string(),
            micros(b.figures.predicted_us),
            micros(b.latency.median_us),
            format!("{:.1}", 1e6 / b.latency.mean_us),
            format!("{:.1e}", b.relative_error),
        ]);
    }
    output::line(t)?;
    let top: Vec<String> = r.top.iter().map(|(i, v)| format!("{i} ({v:.3})")).collect();
    if !top.is_empty() {
        output::line(format!("\nlargest values of the first output, by position: {}", top.join(", ")))?;
    }
    let threads = if r.kind == "cpu" { format!("{} threads of ", r.threads) } else { String::new() };
    output::line(format!("{threads}{}; plan saved as {}", r.device, r.plan))
}
