//! Measuring the tactics of one problem: through the gate, then the race.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tactician_device::{Device, Stream};
use tactician_tactics::Tactic;

use crate::cold::Cold;
use crate::gate::{Fault, Gate, Passed, Rig, Turn};
use crate::spent::Spent;
use crate::table::{Row, Timing, Verdict};
use crate::timing::{Entry, race, statistics};
use crate::trial::Trial;
use crate::tuner::{TuneError, TuneOptions, TuneTimes};

/// Most threads that check tactics at once.
const MAX_CHECKERS: usize = 12;

/// Of so many processors one checks: the others compile what is checked next, and compute the next problem.
const CHECKER_SHARE: usize = 4;

/// Rows, and the tactic that broke the device, if one did: nothing can be said of those that were to follow it.
pub(crate) type Measured = (Vec<(String, Row)>, Option<Fault>);

/// Gates and times tactics of one problem.
pub(crate) fn measure(
    device: &dyn Device,
    stream: &mut dyn Stream,
    gate: &Gate<'_>,
    wanted: &[&Tactic],
    options: &TuneOptions,
    times: &mut TuneTimes,
) -> Result<Measured, TuneError> {
    let mut rows: Vec<(String, Row)> = Vec::new();
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
        rows.push((tactic.id.clone(), Row::new(tactic, 0, Verdict::Timed(timing))));
    }
    let turn = Turn::default();
    let start = Instant::now();
    let cold = Cold::of(device.info(), options.timing.max_runs);
    // First, so that it is candidates that find no room.
    let flush = cold.flush(device)?;
    let fit: Vec<&Tactic> = runs.iter().filter(|t| t.workspace <= options.tuning_memory).copied().collect();
    let (sandbox, checker) = match gate.sandbox(device, stream, &fit) {
        Ok(found) => found,
        Err(e) => {
            let verdict = Verdict::Failed { reason: e.to_string() };
            rows.extend(runs.iter().map(|t| (t.id.clone(), Row::new(t, 0, verdict.clone()))));
            device.health()?;
            return Ok((rows, None));
        }
    };
    let spent = Spent::default();
    let rig = Rig {
        device,
        turn: &turn,
        cold: &cold,
        sandbox: &sandbox,
        checker: checker.as_ref(),
        memory: options.tuning_memory,
        spent: &spent,
    };
    let passed = check_all(&rig, stream, gate, &runs)?;
    times.check += start.elapsed();
    spent.add_to(&mut times.checks);
    let mut ready: Vec<Ready<'_>> = Vec::new();
    for (tactic, result) in runs.into_iter().zip(passed) {
        match result {
            Some(Ok((trial, errors))) => ready.push(Ready { tactic, trial, errors }),
            Some(Err(verdict)) => rows.push((tactic.id.clone(), Row::new(tactic, 0, verdict))),
            None => {}
        }
    }
    if let Some(fault) = turn.fault() {
        return Ok((rows, Some(fault)));
    }
    let start = Instant::now();
    let mut entries: Vec<Entry<'_>> = ready
        .iter_mut()
        .map(|r| Entry {
            layouts: (r.tactic.inputs.clone(), r.tactic.output),
            workspace: r.tactic.workspace,
            before_us: r.trial.gate_us(),
            // SAFETY: the sandbox lives until the race is over, which runs one at a time on one stream.
            run: Box::new(|s: &mut dyn Stream| unsafe { r.trial.enqueue(s) }),
        })
        .collect();
    let samples = race(stream, &mut entries, flush.as_ref(), &options.timing);
    drop(entries);
    times.race += start.elapsed();
    let fault = device.health().err();
    for (Ready { tactic, trial, errors: (error_ratio, relative_l2) }, result) in ready.iter().zip(samples) {
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
        rows.push((tactic.id.clone(), Row::new(tactic, trial.plan_bytes(), verdict)));
    }
    let guilty = rows.last().map(|(id, _)| id.clone()).unwrap_or_default();
    Ok((rows, fault.map(|f| (guilty, f))))
}

/// A tactic that passed the gate.
struct Ready<'a> {
    tactic: &'a Tactic,
    trial: Trial,
    errors: (f64, f64),
}

/// Sends tactics through the gate. Where the device is not the CPU itself, several threads do the host's part of it.
fn check_all(
    rig: &Rig<'_>,
    stream: &mut dyn Stream,
    gate: &Gate<'_>,
    tactics: &[&Tactic],
) -> Result<Vec<Option<Result<Passed, Verdict>>>, TuneError> {
    let device = rig.device;
    let check = |stream: &mut dyn Stream, t: &Tactic| gate.check(rig, stream, t);
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = processors.div_ceil(CHECKER_SHARE).clamp(2, MAX_CHECKERS).min(tactics.len());
    if device.info().cpu().is_some() || processors < 2 || threads < 2 {
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
