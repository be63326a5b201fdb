//! `inspect`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use tactician::passes::canonicalize;
use tactician::runtime::Port;
use tactician::tuning::{TacticTable, Verdict};
use tactician::{BuildError, Bytes, Needs, Plan, PlanMeta, SizeRange};

use crate::args::Inspect;
use crate::build::network;
use crate::error::CliError;
use crate::output::{self, micros, table};

pub(crate) fn run(a: &Inspect) -> Result<(), CliError> {
    let path = Path::new(&a.file);
    if a.file.starts_with("zoo:") {
        return model(a);
    }
    let mut start = [0u8; 64];
    let n = std::fs::File::open(path)
        .and_then(|mut f| std::io::Read::read(&mut f, &mut start))
        .map_err(|source| CliError::Io { action: "open", path: path.to_owned(), source })?;
    match &start[..n] {
        b if b.starts_with(&tactician::PLAN_MAGIC) => plan(a, path),
        [b'{', ..] => measurements(a, path),
        _ => model(a),
    }
}

#[derive(Serialize)]
struct PlanReport<'a> {
    #[serde(flatten)]
    meta: &'a PlanMeta,
    /// What each step needs beside the device and its driver.
    needs: Vec<Needs>,
}

/// What the steps need beside a GPU and its driver: `12 steps cuDNN, 1 step the host's CPU, 40 steps nothing else`.
fn summary(needs: &[Needs]) -> String {
    let mut counts: BTreeMap<Needs, usize> = BTreeMap::new();
    needs.iter().for_each(|&n| *counts.entry(n).or_default() += 1);
    let one = |(n, count): (Needs, usize)| {
        format!("{count} {} {}", if count == 1 { "step" } else { "steps" }, n.name())
    };
    // What is needed first, what needs nothing last.
    counts.into_iter().rev().map(one).collect::<Vec<_>>().join(", ")
}

fn plan(a: &Inspect, path: &Path) -> Result<(), CliError> {
    let plan = Plan::open(path).map_err(|e| CliError::plan(path, e))?;
    let m = &plan.meta;
    let needs: Vec<Needs> = m.steps.iter().map(|s| s.needs()).collect();
    if a.json {
        return output::json(&PlanReport { meta: m, needs });
    }
    output::line(format!("plan of {}, made by {}", m.network, m.producer))?;
    output::line(format!("for {} {} with {} threads", m.target.kind, m.target.isa, m.target.threads))?;
    for (k, v) in &m.options {
        output::line(format!("option {k}: {v}"))?;
    }
    for (what, ports) in [("input", &m.inputs), ("output", &m.outputs)] {
        for p in ports {
            output::line(format!("{what} {}: {}{:?}", p.name, p.dtype, p.shape))?;
        }
    }
    for (i, p) in m.profiles.iter().enumerate() {
        let of = |(port, ranges): (&Port, &Vec<SizeRange>)| {
            let sizes: Vec<String> = ranges
                .iter()
                .map(|r| if r.min == r.max { r.to_string() } else { format!("{r} (tuned at {})", r.opt) })
                .collect();
            format!("{} [{}]", port.name, sizes.join(", "))
        };
        let inputs: Vec<String> = m.inputs.iter().zip(&p.inputs).map(of).collect();
        output::line(format!(
            "profile {i}: {}; arena {}, largest scratch {} at most",
            inputs.join(", "),
            Bytes(p.arena_bytes),
            Bytes(p.scratch_bytes)
        ))?;
    }
    output::line(format!(
        "weights {} in {} pieces, arena {}, largest scratch {}, predicted {}",
        Bytes(m.constant_bytes()),
        m.constants.len(),
        Bytes(m.arena_bytes),
        Bytes(m.scratch_bytes),
        micros(m.predicted_us)
    ))?;
    if m.target.kind == "cuda" {
        output::line(format!("beside the GPU's driver: {}", summary(&needs)))?;
    }
    let mut t = table(&["#", "step", "what", "tactic", "needs", "scratch", "predicted"], &[1, 2, 3, 4]);
    for ((i, s), need) in m.steps.iter().enumerate().zip(&needs) {
        let mark = if *need == Needs::Nothing { "" } else { need.name() };
        t.add_row([
            i.to_string(),
            s.name.clone(),
            s.op.clone(),
            s.tactic.clone(),
            mark.to_owned(),
            Bytes(s.scratch.and_then(|p| m.len_of(p)).unwrap_or(0)).to_string(),
            micros(s.predicted_us),
        ]);
    }
    output::line(format!("\n{t}"))
}

#[derive(Serialize)]
struct ModelReport {
    inputs: Vec<String>,
    outputs: Vec<String>,
    nodes: usize,
    operations: BTreeMap<String, usize>,
    canonical_operations: BTreeMap<String, usize>,
    weight_bytes: u64,
    text: String,
}

fn model(a: &Inspect) -> Result<(), CliError> {
    let net = network(&a.file, &a.values)?;
    let shapes = a.shapes.iter().cloned().collect();
    let graph = net.bind(&shapes)?;
    let count = |g: &tactician::ir::Graph| {
        let mut out = BTreeMap::new();
        for id in g.node_ids() {
            *out.entry(g.node(id).op.name().to_owned()).or_insert(0usize) += 1;
        }
        out
    };
    let weight_bytes =
        graph.node_ids().filter_map(|id| graph.node(id).as_constant()).map(|t| t.bytes().len() as u64).sum();
    let operations = count(&graph);
    let inputs = net.inputs().into_iter().map(|i| format!("{}: {}{}", i.name, i.dtype, i.shape)).collect();
    let outputs = graph.outputs().iter().map(|(n, v)| format!("{n}: {}", graph.ty(*v))).collect();
    let nodes = graph.len();
    let (canonical, report) = canonicalize(graph).map_err(BuildError::from)?;
    let r = ModelReport {
        inputs,
        outputs,
        nodes,
        operations,
        canonical_operations: count(&canonical),
        weight_bytes,
        text: tactician::ir::text::abbreviated(&canonical),
    };
    if a.json {
        return output::json(&r);
    }
    r.inputs.iter().try_for_each(|i| output::line(format!("input {i}")))?;
    r.outputs.iter().try_for_each(|o| output::line(format!("output {o}")))?;
    output::line(format!("{} nodes, weights {}", r.nodes, Bytes(r.weight_bytes)))?;
    let mut t = table(&["operation", "in the model", "canonical"], &[]);
    let names: std::collections::BTreeSet<&String> =
        r.operations.keys().chain(r.canonical_operations.keys()).collect();
    for name in names {
        let n = |m: &BTreeMap<String, usize>| m.get(name).copied().unwrap_or(0).to_string();
        t.add_row([name.clone(), n(&r.operations), n(&r.canonical_operations)]);
    }
    output::line(t)?;
    output::line("\nrewrites:")?;
    for p in report.passes.iter().filter(|p| p.changes > 0) {
        output::line(format!("  {}: {}", p.name, p.changes))?;
    }
    output::line(format!("\ncanonical form:\n{}", r.text))
}

#[derive(Serialize)]
struct TableReport {
    contexts: BTreeMap<String, BTreeMap<String, String>>,
    rows: usize,
    problems: Vec<ProblemReport>,
}

#[derive(Serialize)]
struct ProblemReport {
    context: String,
    problem: String,
    tactics: Vec<TacticReport>,
}

#[derive(Serialize)]
struct TacticReport {
    tactic: String,
    workspace: u64,
    median_us: Option<f64>,
    noise_us: Option<f64>,
    relative_error: Option<f64>,
    rejected: Option<String>,
}

fn measurements(a: &Inspect, path: &Path) -> Result<(), CliError> {
    let t = TacticTable::load(path)?;
    let mut problems: BTreeMap<(&str, &str), Vec<TacticReport>> = BTreeMap::new();
    for (context, problem, tactic, row) in t.iter() {
        let timing = match &row.verdict {
            Verdict::Timed(t) => Some(*t),
            _ => None,
        };
        problems.entry((context, problem)).or_default().push(TacticReport {
            tactic: tactic.to_owned(),
            workspace: row.workspace,
            median_us: timing.map(|t| t.median_us),
            noise_us: timing.map(|t| t.noise_us()),
            relative_error: timing.map(|t| t.relative_l2),
            rejected: match &row.verdict {
                Verdict::Wrong { reason } | Verdict::Failed { reason } => Some(reason.clone()),
                _ => None,
            },
        });
    }
    let mut r = TableReport {
        contexts: t.contexts().map(|(k, v)| (k.to_owned(), v.clone())).collect(),
        rows: t.len(),
        problems: problems
            .into_iter()
            .map(|((c, p), tactics)| ProblemReport { context: c.into(), problem: p.into(), tactics })
            .collect(),
    };
    for p in &mut r.problems {
        p.tactics.sort_by(|a, b| {
            let key = |t: &TacticReport| t.median_us.unwrap_or(f64::INFINITY);
            key(a).total_cmp(&key(b)).then_with(|| a.tactic.cmp(&b.tactic))
        });
    }
    if a.json {
        return output::json(&r);
    }
    output::line(format!("{} rows, {} problems", r.rows, r.problems.len()))?;
    for (id, facts) in &r.contexts {
        output::line(format!("context {id}"))?;
        facts.iter().try_for_each(|(k, v)| output::line(format!("  {k}: {v}")))?;
    }
    for p in &r.problems {
        output::line(format!("\n{} [{}]", p.problem, p.context))?;
        let mut out = table(&["tactic", "time", "noise", "workspace", "error", ""], &[5]);
        for t in &p.tactics {
            let time = |v: Option<f64>| v.map_or("-".into(), micros);
            out.add_row([
                t.tactic.clone(),
                time(t.median_us),
                time(t.noise_us),
                Bytes(t.workspace).to_string(),
                t.relative_error.map_or("-".into(), |e| format!("{e:.1e}")),
                t.rejected.clone().unwrap_or_default(),
            ]);
        }
        output::line(out)?;
    }
    Ok(())
}
