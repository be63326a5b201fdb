//! The tuner: for every problem, every tactic, once: filter, gate, time, record.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use tactician_device::{CodeSource, Device, DeviceError, Stream};
use tactician_ir::{Problem, Tensor};
use tactician_tactics::{Tactic, tactics};
use tactician_types::Bytes;
use thiserror::Error;

use crate::gate::{Fault, Gate, Passed, Turn};
use crate::table::{Row, TacticTable, Timing, Verdict};
use crate::timing::{Entry, TimingOptions, race, statistics};
use crate::trial::Trial;

/// Changes whenever what is timed or how changes, so that old rows are not taken for new ones.
const PROTOCOL: &str = "interleaved rounds, weights cold, activations warm, 1";

/// Most threads that compare outputs at once.
const MAX_CHECKERS: usize = 12;

/// How to tune.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Tactics that need more scratch are not measured.
    pub workspace_limit: u64,
    /// Memory that one tactic may take on the device while tuning.
    pub tuning_memory: u64,
    /// Only tactics whose name starts with one of these; empty: all.
    pub only: Vec<String>,
    /// Whether tactics may round the factors of products first, as TF32 does.
    pub tf32: bool,
    /// Refuse to time: a missing row is an error.
    pub frozen: bool,
    /// Compare outputs with the reference before timing.
    pub gate: bool,
    /// Seed of the gate's inputs.
    pub seed: u64,
    /// How to time.
    pub timing: TimingOptions,
}

impl Default for TuneOptions {
    fn default() -> Self {
        TuneOptions {
            workspace_limit: 1 << 30,
            tuning_memory: 4 << 30,
            only: Vec::new(),
            tf32: false,
            frozen: false,
            gate: true,
            seed: 1,
            timing: TimingOptions::default(),
        }
    }
}

/// Where tuning stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Problems done.
    pub done: usize,
    /// Problems in all.
    pub total: usize,
    /// The problem being worked on.
    pub problem: &'a str,
    /// How many of its tactics are to be measured.
    pub tactics: usize,
}

/// What a tuning pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TuneReport {
    /// Different problems.
    pub problems: usize,
    /// Tactics measured now.
    pub measured: usize,
    /// Tactics whose rows were in the table.
    pub reused: usize,
    /// Measured tactics that were wrong or failed: problem, tactic, reason.
    pub rejected: Vec<(String, String, String)>,
    /// Tactics not measured because of an option: tactic and reason, one a reason and problem.
    pub filtered: Vec<(String, String)>,
}

/// Tuning cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TuneError {
    /// A problem that no tactic serves.
    #[error("no tactic serves `{problem}` on this device")]
    NoTactic {
        /// The problem.
        problem: String,
    },
    /// Every tactic was rejected.
    #[error("every tactic for `{problem}` was rejected:{}", rejections(.rejected))]
    AllRejected {
        /// The problem.
        problem: String,
        /// Tactic and reason.
        rejected: Vec<(String, String)>,
    },
    /// A row is missing and timing is refused.
    #[error(
        "`{tactic}` for `{problem}` was not measured on this device, and `frozen` forbids measuring; tune without it first"
    )]
    Frozen {
        /// The problem.
        problem: String,
        /// The tactic.
        tactic: String,
    },
    /// The reference cannot compute the problem.
    #[error("the reference cannot compute `{problem}`: {reason}")]
    Reference {
        /// The problem.
        problem: String,
        /// Why.
        reason: String,
    },
    /// A tactic broke the device, which refuses this process everything from then on. The table says that the tactic
    /// failed, so another process that uses it goes on with the next one.
    #[error(
        "`{tactic}` for `{problem}` broke the device: {source}; start again with the same table to go on without it"
    )]
    Fault {
        /// The problem.
        problem: String,
        /// The tactic.
        tactic: String,
        /// What the device says.
        source: DeviceError,
    },
    /// The device fails as a whole.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn rejections(list: &[(String, String)]) -> String {
    list.iter().map(|(t, r)| format!("\n  {t}: {r}")).collect()
}

/// The facts that rows depend on: the device's and the timing protocol.
pub fn facts(device: &dyn Device) -> Vec<(String, String)> {
    let mut facts = device.info().fingerprint();
    facts.push(("protocol".into(), PROTOCOL.into()));
    facts
}

/// Measures whatever the table does not have yet of the tactics for `problems` (equal ones count once).
///
/// # Errors
/// When a problem has no usable tactic, the reference cannot compute one, or the device fails.
pub fn tune(
    device: &dyn Device,
    problems: &[Problem],
    table: &mut TacticTable,
    options: &TuneOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<TuneReport, TuneError> {
    let context = table.context(&facts(device));
    let mut stream = device.stream()?;
    let unique: BTreeMap<String, &Problem> = problems.iter().map(|p| (p.to_string(), p)).collect();
    let mut report = TuneReport { problems: unique.len(), ..TuneReport::default() };
    if !options.frozen {
        compile_ahead(
            device,
            unique.iter().flat_map(|(key, problem)| {
                let known = table.rows(&context, key);
                let wanted = move |t: &Tactic| {
                    filtered(t, options).is_none() && known.is_none_or(|rows| !rows.contains_key(&t.id))
                };
                tactics(problem, device.info()).into_iter().filter(wanted).filter_map(|t| t.code)
            }),
        );
    }
    for (done, (key, problem)) in unique.iter().enumerate() {
        let all = tactics(problem, device.info());
        if all.is_empty() {
            return Err(TuneError::NoTactic { problem: key.clone() });
        }
        let mut wanted = Vec::new();
        for t in &all {
            if let Some(reason) = filtered(t, options) {
                report.filtered.push((t.id.clone(), reason));
            } else if table.rows(&context, key).is_some_and(|rows| rows.contains_key(&t.id)) {
                report.reused += 1;
            } else if options.frozen {
                return Err(TuneError::Frozen { problem: key.clone(), tactic: t.id.clone() });
            } else {
                wanted.push(t);
            }
        }
        progress(Progress { done, total: unique.len(), problem: key, tactics: wanted.len() });
        if !wanted.is_empty() {
            report.measured += wanted.len();
            let (rows, fault) = measure(device, stream.as_mut(), key, problem, &wanted, options)?;
            for (tactic, row) in rows {
                if let Verdict::Wrong { reason } | Verdict::Failed { reason } = &row.verdict {
                    report.rejected.push((key.clone(), tactic.clone(), reason.clone()));
                }
                table.insert(&context, key, &tactic, row);
            }
            if let Some((tactic, source)) = fault {
                return Err(TuneError::Fault { problem: key.clone(), tactic, source });
            }
        }
        let rows = table.rows(&context, key);
        let usable = |t: &&Tactic| {
            rows.and_then(|r| r.get(&t.id)).is_some_and(|r| matches!(r.verdict, Verdict::Timed(_)))
        };
        if !all.iter().any(|t| usable(&t)) {
            let mut rejected: Vec<(String, String)> =
                all.iter().filter_map(|t| Some((t.id.clone(), filtered(t, options)?))).collect();
            rejected.extend(rows.into_iter().flatten().filter_map(|(t, r)| match &r.verdict {
                Verdict::Wrong { reason } | Verdict::Failed { reason } => Some((t.clone(), reason.clone())),
                Verdict::Timed(_) => None,
            }));
            return Err(TuneError::AllRejected { problem: key.clone(), rejected });
        }
    }
    progress(Progress { done: unique.len(), total: unique.len(), problem: "", tactics: 0 });
    Ok(report)
}

/// Compiles on all processors what will be needed; the device keeps it. What does not compile fails again, with its
/// reason, when its tactic is tried.
fn compile_ahead(device: &dyn Device, sources: impl Iterator<Item = CodeSource>) {
    let list: Vec<CodeSource> = sources.collect::<HashSet<_>>().into_iter().collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(list.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(source) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = device.compile(source);
                }
            });
        }
    });
}

/// Why the options exclude a tactic, if they do.
pub fn filtered(tactic: &Tactic, options: &TuneOptions) -> Option<String> {
    if tactic.workspace > options.workspace_limit {
        return Some(format!(
            "needs {} of scratch, the limit is {}",
            Bytes(tactic.workspace),
            Bytes(options.workspace_limit)
        ));
    }
    if !options.only.is_empty() && !options.only.iter().any(|p| tactic.id.starts_with(p.as_str())) {
        return Some("not among the tactics asked for".into());
    }
    if tactic.growth.inputs > 0.0 && !options.tf32 {
        return Some("rounds its factors to TF32, which was not allowed".into());
    }
    None
}

/// Rows, and the tactic that broke the device, if one did: nothing can be said of those that were to follow it.
type Measured = (Vec<(String, Row)>, Option<Fault>);

/// Gates and times tactics of one problem.
fn measure(
    device: &dyn Device,
    stream: &mut dyn Stream,
    key: &str,
    problem: &Problem,
    wanted: &[&Tactic],
    options: &TuneOptions,
) -> Result<Measured, TuneError> {
    let gate = Gate::new(problem, options.seed, options.gate)
        .map_err(|reason| TuneError::Reference { problem: key.to_owned(), reason })?;
    let mut rows: Vec<(String, Row)> = Vec::new();
    let mut ready: Vec<(&Tactic, Trial, (f64, f64))> = Vec::new();
    let (views, runs): (Vec<&Tactic>, Vec<&Tactic>) = wanted.iter().partition(|t| t.view);
    for tactic in views {
        // A view runs nothing.
        let timing = Timing {
            median_us: 0.0,
            min_us: 0.0,
            mad_us: 0.0,
            samples: 1,
            error_ratio: 0.0,
            relative_l2: 0.0,
        };
        rows.push((tactic.id.clone(), Row::new(tactic, Verdict::Timed(timing))));
    }
    let turn = Turn::default();
    let passed = check_all(device, stream, &turn, &gate, problem, &runs, options)?;
    for (tactic, result) in runs.into_iter().zip(passed) {
        match result {
            Some(Ok((trial, errors))) => ready.push((tactic, trial, errors)),
            Some(Err(verdict)) => rows.push((tactic.id.clone(), Row::new(tactic, verdict))),
            None => {}
        }
    }
    if let Some(fault) = turn.fault() {
        return Ok((rows, Some(fault)));
    }
    let mut runs: Vec<_> =
        ready.iter_mut().map(|(_, trial, _)| move |s: &mut dyn Stream| trial.enqueue(s)).collect();
    let mut entries: Vec<Entry<'_>> = runs
        .iter_mut()
        .zip(wanted_of(&rows, wanted))
        .map(|(run, t)| Entry { run, layouts: (t.inputs.clone(), t.output), workspace: t.workspace })
        .collect();
    let samples = race(stream, &mut entries, &options.timing);
    drop(entries);
    drop(runs);
    let fault = device.health().err();
    for ((tactic, _, (error_ratio, relative_l2)), result) in ready.iter().zip(samples) {
        let verdict = match result {
            // The race was cut short.
            Ok(_) if fault.is_some() => continue,
            Ok(list) => {
                let (median_us, min_us, mad_us) = statistics(&list);
                let samples = list.len() as u32;
                Verdict::Timed(Timing {
                    median_us,
                    min_us,
                    mad_us,
                    samples,
                    error_ratio: *error_ratio,
                    relative_l2: *relative_l2,
                })
            }
            Err(reason) => Verdict::Failed { reason },
        };
        rows.push((tactic.id.clone(), Row::new(tactic, verdict)));
    }
    let guilty = rows.last().map(|(id, _)| id.clone()).unwrap_or_default();
    Ok((rows, fault.map(|f| (guilty, f))))
}

/// Sends tactics through the gate. Where the device is not the CPU itself, several threads do the host's part of it.
fn check_all(
    device: &dyn Device,
    stream: &mut dyn Stream,
    turn: &Turn,
    gate: &Gate,
    problem: &Problem,
    tactics: &[&Tactic],
    options: &TuneOptions,
) -> Result<Vec<Option<Result<Passed, Verdict>>>, TuneError> {
    let check = |stream: &mut dyn Stream, t: &Tactic| {
        gate.check(device, stream, turn, problem, t, options.tuning_memory)
    };
    let threads =
        std::thread::available_parallelism().map_or(1, |n| n.get()).min(tactics.len()).min(MAX_CHECKERS);
    if device.info().cpu().is_some() || threads < 2 {
        return Ok(tactics.iter().map(|t| check(stream, t)).collect());
    }
    let mut streams = (0..threads).map(|_| device.stream()).collect::<Result<Vec<_>, _>>()?;
    let next = AtomicUsize::new(0);
    let mut results: Vec<Option<Result<Passed, Verdict>>> = tactics.iter().map(|_| None).collect();
    let done = std::thread::scope(|scope| {
        let handles: Vec<_> = streams
            .iter_mut()
            .map(|stream| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(t) = tactics.get(i) else { return done };
                        done.push((i, check(stream.as_mut(), t)));
                    }
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join()).collect::<Vec<_>>()
    });
    for list in done {
        match list {
            Ok(list) => list.into_iter().for_each(|(i, r)| results[i] = r),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(results)
}

/// The tactics not settled by a row yet, in order.
fn wanted_of<'a>(rows: &[(String, Row)], wanted: &[&'a Tactic]) -> Vec<&'a Tactic> {
    wanted.iter().copied().filter(|t| rows.iter().all(|(id, _)| *id != t.id)).collect()
}

/// The constant operands among values for all.
pub(crate) fn constants(problem: &Problem, values: &[Tensor]) -> Vec<Option<Tensor>> {
    problem.operands.iter().zip(values).map(|(o, v)| o.constant.then(|| v.clone())).collect()
}

#[cfg(test)]
#[path = "tuner_tests.rs"]
mod tests;
