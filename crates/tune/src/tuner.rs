//! The tuner: for every problem, every tactic, once: filter, gate, time, record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tactician_device::{Device, DeviceError, Stream};
use tactician_ir::Problem;
use tactician_tactics::{Ahead, SOURCES, Tactic, TacticFilter, ahead_of, family_of};
use tactician_types::Bytes;
use thiserror::Error;

use crate::gate::Gate;
use crate::measure::measure;
use crate::offer::Catalogue;
use crate::spent::CheckTimes;
use crate::table::{TacticTable, Verdict};
use crate::timing::TimingOptions;

/// Changes whenever what is timed or how changes, so that old rows are not taken for new ones.
const PROTOCOL: &str = "interleaved rounds, weights cold, activations warm, 2";

/// How to tune.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Tactics that need more scratch are not measured.
    pub workspace_limit: u64,
    /// Memory that one tactic may take on the device while tuning.
    pub tuning_memory: u64,
    /// Which tactics may be used.
    pub tactics: TacticFilter,
    /// Problems, by their text, that CPU steps are offered for on a GPU whatever else serves them.
    pub on_host: BTreeSet<String>,
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
            tactics: TacticFilter::default(),
            on_host: BTreeSet::new(),
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
    /// Tactics that were not measured because a larger region offers them.
    pub spared: usize,
    /// Measured tactics that were wrong or failed: problem, tactic, reason.
    pub rejected: Vec<(String, String, String)>,
    /// Tactics not measured because of an option: tactic and reason, one a reason and problem.
    pub filtered: Vec<(String, String)>,
    /// Where the time went.
    pub times: TuneTimes,
}

/// How long the parts of a tuning pass took. On a GPU the first two go on while the others do, so that the sum may be
/// more than the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TuneTimes {
    /// Compiling kernels.
    pub compile: Duration,
    /// Computing with the reference.
    pub reference: Duration,
    /// Preparing tactics and comparing what they compute with the reference.
    pub check: Duration,
    /// Parts of checking, summed over threads.
    pub checks: CheckTimes,
    /// Timing.
    pub race: Duration,
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
    /// Tactics serve a problem, and the options exclude all of them.
    #[error("no tactic is left for `{problem}` on {device}: {}", excluded(.filter, .families, .reasons))]
    Excluded {
        /// The problem.
        problem: String,
        /// The device.
        device: String,
        /// The list of tactics that may be used.
        filter: Box<TacticFilter>,
        /// The families that serve the problem on this device.
        families: Vec<String>,
        /// Of those that the list allows, tactic and why another option excludes it.
        reasons: Vec<(String, String)>,
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
        "`{tactic}` for `{problem}` broke the device: {source}; start again with the same table file (`--table`, `Builder::table`) to go on without it"
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

/// Which list excluded everything, or what excluded that which it allows; and what to do.
fn excluded(filter: &TacticFilter, families: &[String], reasons: &[(String, String)]) -> String {
    let families = families.join(", ");
    if reasons.is_empty() {
        return format!(
            "the list of tactics `{filter}` excludes all that serve it here, which are of {families}; add one of these to \
             the list (without a minus), or leave the list out"
        );
    }
    let list = if *filter == TacticFilter::default() {
        String::new()
    } else {
        format!(" that the list of tactics `{filter}` allows (here there are {families})")
    };
    format!("all{list} are excluded, so allow more:{}", rejections(reasons))
}

/// The facts that rows depend on: the device's, the timing protocol and the tactics' sources.
pub fn facts(device: &dyn Device) -> Vec<(String, String)> {
    let mut facts = device.info().fingerprint();
    facts.push(("protocol".into(), PROTOCOL.into()));
    facts.push(("tactics".into(), SOURCES.into()));
    facts
}

/// Measures whatever the table does not have yet of the tactics for `problems` (equal ones count once), and keeps the
/// problems' features beside the rows, unless frozen.
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
    tune_with(device, problems, &Catalogue::new(), &Spared::new(), table, options, progress)
}

/// Tactics that are not to be measured on a problem, by its text.
pub type Spared = BTreeMap<String, BTreeSet<String>>;

/// As [`tune`], with a catalogue of what the device offers under these options, and tactics that are spared. A problem with
/// nothing left is not looked at.
///
/// # Errors
/// As [`tune`].
pub fn tune_with(
    device: &dyn Device,
    problems: &[Problem],
    catalogue: &Catalogue,
    spared: &Spared,
    table: &mut TacticTable,
    options: &TuneOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<TuneReport, TuneError> {
    let context = table.context(&facts(device));
    let unique: BTreeMap<String, &Problem> = problems.iter().map(|p| (p.to_string(), p)).collect();
    let mut report = TuneReport { problems: unique.len(), ..TuneReport::default() };
    let mut work = Vec::with_capacity(unique.len());
    for (key, problem) in &unique {
        let all = catalogue.offered(problem, device.info(), options);
        if all.is_empty() {
            return Err(TuneError::NoTactic { problem: key.clone() });
        }
        if all.iter().all(|t| filtered(t, options).is_some()) {
            return Err(everything_excluded(key, &all, device, options));
        }
        if !options.frozen {
            table.describe(key, problem.features());
        }
        let known = table.rows(&context, key);
        let mut wanted = Vec::new();
        for (i, t) in all.iter().enumerate() {
            if spared.get(key).is_some_and(|ids| ids.contains(&t.id)) {
                report.spared += 1;
            } else if let Some(reason) = filtered(t, options) {
                report.filtered.push((t.id.clone(), reason));
            } else if known.is_some_and(|rows| rows.contains_key(&t.id)) {
                report.reused += 1;
            } else if options.frozen {
                return Err(TuneError::Frozen { problem: key.clone(), tactic: t.id.clone() });
            } else {
                wanted.push(i);
            }
        }
        // What is left out elsewhere too is an error that is told; what a larger region has is none.
        let left = |t: &Tactic| filtered(t, options).is_none() && !spared[key].contains(&t.id);
        if !spared.contains_key(key) || all.iter().any(left) {
            work.push(Work { key, problem, all, wanted });
        }
    }
    let cpu = device.info().cpu().is_some();
    // In the order of the problems, which are measured meanwhile.
    let ordered = ahead_of(work.iter().flat_map(Work::wanted));
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let compiling = scope.spawn(|| go_ahead(device, &ordered, &stop));
        let result = tune_all(device, &work, cpu, table, &context, options, &mut report, progress);
        stop.store(true, Ordering::Relaxed);
        report.times.compile = compiling.join().unwrap_or_default();
        result
    });
    result.map(|()| report)
}

/// The error for a problem of whose tactics the options leave none.
fn everything_excluded(
    problem: &str,
    all: &[Tactic],
    device: &dyn Device,
    options: &TuneOptions,
) -> TuneError {
    let families: BTreeSet<&str> = all.iter().map(|t| family_of(&t.id)).collect();
    let reasons = all.iter().filter(|t| options.tactics.allows(&t.id));
    TuneError::Excluded {
        problem: problem.to_owned(),
        device: device.info().name.clone(),
        filter: Box::new(options.tactics.clone()),
        families: families.into_iter().map(str::to_owned).collect(),
        reasons: reasons.filter_map(|t| Some((t.id.clone(), filtered(t, options)?))).collect(),
    }
}

/// A problem, all its tactics, and which of them are to be measured.
struct Work<'a> {
    key: &'a str,
    problem: &'a Problem,
    all: Arc<[Tactic]>,
    wanted: Vec<usize>,
}

impl Work<'_> {
    fn wanted(&self) -> impl Iterator<Item = &Tactic> {
        self.wanted.iter().map(|&i| &self.all[i])
    }
}

/// Makes a problem's gate, and says how long that took.
fn gate_of<'a>(work: &Work<'a>, options: &TuneOptions) -> (Result<Gate<'a>, String>, Duration) {
    let start = Instant::now();
    (Gate::new(work.problem, options.seed, options.gate), start.elapsed())
}

/// Measures problem after problem.
fn tune_all(
    device: &dyn Device,
    work: &[Work<'_>],
    cpu: bool,
    table: &mut TacticTable,
    context: &str,
    options: &TuneOptions,
    report: &mut TuneReport,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), TuneError> {
    let total = work.len();
    let mut ahead = None;
    // Where the table has everything no device needs to be there.
    let mut stream: Option<Box<dyn Stream>> = None;
    for (done, w) in work.iter().enumerate() {
        progress(Progress { done, total, problem: w.key, tactics: w.wanted.len() });
        if !w.wanted.is_empty() {
            let wanted: Vec<&Tactic> = w.wanted().collect();
            let stream = match &mut stream {
                Some(s) => s,
                none => none.insert(device.stream()?),
            };
            report.measured += wanted.len();
            let (gate, took) = ahead.take().unwrap_or_else(|| gate_of(w, options));
            report.times.reference += took;
            let gate = gate.map_err(|reason| TuneError::Reference { problem: w.key.to_owned(), reason })?;
            // Where the device is not the CPU, the CPU computes the next problem meanwhile.
            let next = work[done + 1..].iter().find(|w| !w.wanted.is_empty()).filter(|_| !cpu);
            let measured = std::thread::scope(|scope| {
                let next = next.map(|w| scope.spawn(|| gate_of(w, options)));
                let measured = measure(device, stream.as_mut(), &gate, &wanted, options, &mut report.times);
                ahead = next.and_then(|n| n.join().ok());
                measured
            });
            let (rows, fault) = measured?;
            for (tactic, row) in rows {
                if let Verdict::Wrong { reason } | Verdict::Failed { reason } = &row.verdict {
                    report.rejected.push((w.key.to_owned(), tactic.clone(), reason.clone()));
                }
                table.insert(context, w.key, &tactic, row);
            }
            if let Some((tactic, source)) = fault {
                return Err(TuneError::Fault { problem: w.key.to_owned(), tactic, source });
            }
        }
        let rows = table.rows(context, w.key);
        let usable = |t: &&Tactic| {
            rows.and_then(|r| r.get(&t.id)).is_some_and(|r| matches!(r.verdict, Verdict::Timed(_)))
        };
        if !w.all.iter().any(|t| usable(&t)) {
            let mut rejected: Vec<(String, String)> =
                w.all.iter().filter_map(|t| Some((t.id.clone(), filtered(t, options)?))).collect();
            rejected.extend(rows.into_iter().flatten().filter_map(|(t, r)| match &r.verdict {
                Verdict::Wrong { reason } | Verdict::Failed { reason } => Some((t.clone(), reason.clone())),
                Verdict::Timed(_) => None,
            }));
            return Err(TuneError::AllRejected { problem: w.key.to_owned(), rejected });
        }
    }
    progress(Progress { done: total, total, problem: "", tactics: 0 });
    Ok(())
}

/// Does on half of the processors what will be needed, until told to stop: more threads than cores do not compile faster,
/// and the others have tactics to check. What does not compile fails again, with its reason, when
/// its tactic is tried. Returns how long it took.
fn go_ahead(device: &dyn Device, list: &[&Ahead], stop: &AtomicBool) -> Duration {
    if list.is_empty() {
        return Duration::ZERO;
    }
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2)).min(list.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(ahead) = list.get(next.fetch_add(1, Ordering::Relaxed))
                    && !stop.load(Ordering::Relaxed)
                {
                    match ahead {
                        Ahead::Nothing => {}
                        Ahead::Code(source) => drop(device.compile(source)),
                        Ahead::Work(work) => work(),
                    }
                }
            });
        }
    });
    start.elapsed()
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
    if !options.tactics.allows(&tactic.id) {
        return Some("not among the tactics asked for".into());
    }
    if tactic.growth.inputs > 0.0 && !options.tf32 {
        return Some("rounds its factors to TF32, which was not allowed".into());
    }
    None
}

#[cfg(test)]
#[path = "tuner_tests.rs"]
mod tests;
