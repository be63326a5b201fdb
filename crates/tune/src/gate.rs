//! The numerics gate: no tactic is timed before its output was compared with the reference.

use tactician_device::{Device, Stream};
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
    Float(Box<Exact>, Vec<(Growth, Vec<f64>)>),
    Bits(Tensor),
}

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

    /// Runs a tactic on every case. If all is right: the trial, loaded with the first case and ready for timing, and
    /// the errors found (largest over its bound, relative L2).
    pub(crate) fn check(
        &mut self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        problem: &Problem,
        tactic: &Tactic,
        memory: u64,
    ) -> Result<(Trial, (f64, f64)), Verdict> {
        let failed = |reason: String| Verdict::Failed { reason };
        let mut errors = (0.0f64, 0.0f64);
        // The random case last: its relative error is the one reported.
        let mut last: Option<Emission> = None;
        for case in self.cases.iter_mut().rev() {
            let Some(expected) = &mut case.expected else { continue };
            let emission =
                tactic.emit(&constants(problem, &case.operands)).map_err(|e| failed(e.to_string()))?;
            last = Some(emission.clone());
            let mut trial =
                Trial::new(device, stream, problem, tactic, emission, 1, memory).map_err(failed)?;
            trial.load(stream, &case.operands).map_err(|e| failed(e.to_string()))?;
            let output = trial.run_checked(stream).map_err(|reason| Verdict::Wrong { reason })?;
            let (ratio, l2) =
                expected.compare(&output, tactic.growth).map_err(|reason| Verdict::Wrong { reason })?;
            errors = (errors.0.max(ratio), l2);
        }
        let emission = match last {
            Some(e) => e,
            None => tactic.emit(&constants(problem, self.operands())).map_err(|e| failed(e.to_string()))?,
        };
        let packed: usize = emission.packed.iter().map(|p| p.bytes.len()).sum();
        let sets = if packed < SMALL_BYTES { 1 } else { COLD_BYTES.div_ceil(packed).clamp(1, 16) };
        let mut trial =
            Trial::new(device, stream, problem, tactic, emission, sets, memory).map_err(failed)?;
        trial.load(stream, self.operands()).map_err(|e| failed(e.to_string()))?;
        Ok((trial, errors))
    }
}

impl Expected {
    fn of(problem: &Problem, operands: &[Tensor]) -> Result<Expected, String> {
        let list: Vec<&Tensor> = operands.iter().collect();
        if problem.output.dtype.is_float() {
            let exact = Exact::new(problem, &list).map_err(|e| e.to_string())?;
            Ok(Expected::Float(Box::new(exact), Vec::new()))
        } else {
            reference::eval_problem(problem, &list).map(Expected::Bits).map_err(|e| e.to_string())
        }
    }

    fn compare(&mut self, got: &Tensor, growth: Growth) -> Result<(f64, f64), String> {
        match self {
            Expected::Bits(want) if want == got => Ok((0.0, 0.0)),
            Expected::Bits(_) => Err("its integer output differs from the reference".into()),
            Expected::Float(exact, bounds) => {
                let known = bounds.iter().position(|(g, _)| *g == growth);
                let at = match known {
                    Some(at) => at,
                    None => {
                        bounds.push((growth, exact.bound(growth).map_err(|e| e.to_string())?));
                        bounds.len() - 1
                    }
                };
                let v = reference::compare(got, exact.values(), &bounds[at].1);
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
