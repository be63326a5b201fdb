//! The numerics gate: no tactic is timed before its output was compared with the reference.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tactician_device::{Device, DeviceError, Stream};
use tactician_ir::{Problem, Tensor};
use tactician_reference::{self as reference, Exact};
use tactician_tactics::{Emission, Tactic};
use tactician_types::Growth;

use crate::table::Verdict;
use crate::trial::Trial;
use crate::tuner::constants;

/// Bytes of packed constants that timing rotates over: beyond the caches close to a core, so that weights are cold.
const COLD_BYTES: usize = 24 << 20;

/// Constants smaller than this stay warm in a network too.
const SMALL_BYTES: usize = 32 << 10;

/// Inputs of a problem, and what must come out.
pub(crate) struct Gate {
    /// Random first (they are what timing runs on), then adversarial.
    cases: Vec<Case>,
}

struct Case {
    operands: Vec<Tensor>,
    /// None when comparing is off.
    expected: Option<Expected>,
}

enum Expected {
    /// With the bounds made so far, by growth.
    Float(Box<Exact>, Mutex<Vec<(Growth, Arc<[f64]>)>>),
    Bits(Tensor),
}

/// Whose turn it is to run on the device: several threads check tactics, one at a time runs one, so that a tactic that
/// breaks the device is known.
#[derive(Default)]
pub(crate) struct Turn(Mutex<Option<Fault>>);

/// A tactic that broke the device, and what the device said.
pub(crate) type Fault = (String, DeviceError);

impl Turn {
    fn lock(&self) -> MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a tactic's steps. `None` when the device was broken before.
    fn run<R>(
        &self,
        device: &dyn Device,
        tactic: &Tactic,
        run: impl FnOnce() -> Result<R, String>,
    ) -> Option<Result<R, String>> {
        let mut fault = self.lock();
        if fault.is_some() {
            return None;
        }
        let result = run();
        if result.is_err()
            && let Err(e) = device.health()
        {
            *fault = Some((tactic.id.clone(), e));
        }
        Some(result)
    }

    /// The fault, if there was one; nothing runs any more.
    pub(crate) fn fault(self) -> Option<Fault> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tactic that passed: loaded with the first case and ready for timing, with the errors found (largest over its
/// bound, relative L2).
pub(crate) type Passed = (Trial, (f64, f64));

impl Gate {
    pub(crate) fn new(problem: &Problem, seed: u64, compare: bool) -> Result<Gate, String> {
        let random = reference::random_operands(problem, seed).map_err(|e| e.to_string())?;
        let mut sets = vec![random];
        if compare {
            sets.push(reference::adversarial_operands(problem, seed).map_err(|e| e.to_string())?);
        }
        let mut cases = Vec::new();
        for operands in sets {
            let expected = if compare { Some(Expected::of(problem, &operands)?) } else { None };
            cases.push(Case { operands, expected });
        }
        Ok(Gate { cases })
    }

    /// The operands that timing runs on.
    pub(crate) fn operands(&self) -> &[Tensor] {
        &self.cases[0].operands
    }

    /// Runs a tactic on every case. `None` when nothing can be said of it because another one broke the device.
    pub(crate) fn check(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        turn: &Turn,
        problem: &Problem,
        tactic: &Tactic,
        memory: u64,
    ) -> Option<Result<Passed, Verdict>> {
        let verdict = self.try_check(device, stream, turn, problem, tactic, memory)?;
        // A broken device fails everything that asks it for something.
        let broken_by_another =
            verdict.is_err() && turn.lock().as_ref().is_some_and(|(id, _)| *id != tactic.id);
        if broken_by_another { None } else { Some(verdict) }
    }

    fn try_check(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        turn: &Turn,
        problem: &Problem,
        tactic: &Tactic,
        memory: u64,
    ) -> Option<Result<Passed, Verdict>> {
        let failed = |reason: String| Some(Err(Verdict::Failed { reason }));
        let wrong = |reason: String| Some(Err(Verdict::Wrong { reason }));
        let mut errors = (0.0f64, 0.0f64);
        let mut last: Option<Emission> = None;
        // The random case last: its relative error is the one reported.
        for case in self.cases.iter().rev() {
            let Some(expected) = &case.expected else { continue };
            let emission = match tactic.emit(&constants(problem, &case.operands)) {
                Ok(e) => e,
                Err(e) => return failed(e.to_string()),
            };
            last = Some(emission.clone());
            let mut trial = match Trial::new(device, stream, problem, tactic, emission, 1, memory) {
                Ok(t) => t,
                Err(reason) => return failed(reason),
            };
            if let Err(e) = trial.load(stream, &case.operands) {
                return failed(e.to_string());
            }
            let output = match turn.run(device, tactic, || trial.run_checked(stream))? {
                Ok(bytes) => trial.output(&bytes),
                Err(reason) => return wrong(reason),
            };
            match output.and_then(|o| expected.compare(&o, tactic.growth)) {
                Ok((ratio, l2)) => errors = (errors.0.max(ratio), l2),
                Err(reason) => return wrong(reason),
            }
        }
        let emission = match last.map_or_else(|| tactic.emit(&constants(problem, self.operands())), Ok) {
            Ok(e) => e,
            Err(e) => return failed(e.to_string()),
        };
        let packed: usize = emission.packed.iter().map(|p| p.bytes.len()).sum();
        let sets = if packed < SMALL_BYTES { 1 } else { COLD_BYTES.div_ceil(packed).clamp(1, 16) };
        let mut trial = match Trial::new(device, stream, problem, tactic, emission, sets, memory) {
            Ok(t) => t,
            Err(reason) => return failed(reason),
        };
        match trial.load(stream, self.operands()) {
            Ok(()) => Some(Ok((trial, errors))),
            Err(e) => failed(e.to_string()),
        }
    }
}

impl Expected {
    fn of(problem: &Problem, operands: &[Tensor]) -> Result<Expected, String> {
        let list: Vec<&Tensor> = operands.iter().collect();
        if problem.output.dtype.is_float() {
            let exact = Exact::new(problem, &list).map_err(|e| e.to_string())?;
            Ok(Expected::Float(Box::new(exact), Mutex::default()))
        } else {
            reference::eval_problem(problem, &list).map(Expected::Bits).map_err(|e| e.to_string())
        }
    }

    fn compare(&self, got: &Tensor, growth: Growth) -> Result<(f64, f64), String> {
        match self {
            Expected::Bits(want) if want == got => Ok((0.0, 0.0)),
            Expected::Bits(_) => Err("its integer output differs from the reference".into()),
            Expected::Float(exact, bounds) => {
                let bound = {
                    let mut bounds = bounds.lock().unwrap_or_else(PoisonError::into_inner);
                    match bounds.iter().find(|(g, _)| *g == growth) {
                        Some((_, b)) => b.clone(),
                        None => {
                            let b: Arc<[f64]> = exact.bound(growth).map_err(|e| e.to_string())?.into();
                            bounds.push((growth, b.clone()));
                            b
                        }
                    }
                };
                let v = reference::compare(got, exact.values(), &bound);
                if v.ratio <= 1.0 {
                    return Ok((v.ratio, v.relative_l2));
                }
                Err(format!(
                    "element {} is {} where the reference has {}: {:.3} times the error bound",
                    v.index, v.found, v.expected, v.ratio
                ))
            }
        }
    }
}
