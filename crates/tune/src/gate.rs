//! The numerics gate: no tactic is timed before its output was compared with the reference.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tactician_device::{Device, DeviceError, Memory, Span, Stream};
use tactician_ir::{Problem, Tensor};
use tactician_reference::{self as reference, Exact, ReferenceError};
use tactician_tactics::{Tactic, layout};
use tactician_types::{Growth, Layout};

use crate::cold::Cold;
use crate::images::{Repetition, few_images, write_repeated};
use crate::table::Verdict;
use crate::trial::{POISON, Trial, stored_bytes};
use crate::tuner::constants;

/// Inputs of a problem, and what must come out.
pub(crate) struct Gate<'a> {
    problem: &'a Problem,
    /// Random first (they are what timing runs on), then adversarial.
    cases: Vec<Case>,
}

struct Case {
    /// Of a large batch only the images that repeat.
    operands: Vec<Tensor>,
    /// None when comparing is off.
    expected: Option<Expected>,
    /// Operands on the device, as they were first asked for.
    stored: Mutex<BTreeMap<(usize, Layout), Box<dyn Memory>>>,
}

enum Expected {
    Float(Box<Exact>, Mutex<Orders>),
    Bits(Tensor),
}

/// Exact values and their bounds in the orders of elements that tactics write, made when first asked for.
#[derive(Default)]
struct Orders {
    values: BTreeMap<Layout, Arc<[f64]>>,
    bounds: Vec<(Growth, Layout, Arc<[f64]>)>,
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
        run: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Option<Result<R, DeviceError>> {
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

/// A tactic that passed: with the constants of the first case, ready for timing once it has memory to share, and with the errors found (largest over its
/// bound, relative L2).
pub(crate) type Passed = (Trial, (f64, f64));

/// What tactics are checked on.
pub(crate) struct Rig<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) turn: &'a Turn,
    pub(crate) cold: &'a Cold,
    /// Finds large batches of which every image is as it should be. Used in turns.
    pub(crate) repetition: Option<&'a Repetition>,
    /// Bytes of the device that one tactic may take.
    pub(crate) memory: u64,
}

impl<'a> Gate<'a> {
    pub(crate) fn new(problem: &'a Problem, seed: u64, compare: bool) -> Result<Gate<'a>, String> {
        let few = few_images(problem);
        let computed = few.as_ref().unwrap_or(problem);
        let random = reference::random_operands(computed, seed).map_err(|e| e.to_string())?;
        let mut sets = vec![random];
        if compare {
            sets.push(reference::adversarial_operands(computed, seed).map_err(|e| e.to_string())?);
        }
        let mut cases = Vec::new();
        for operands in sets {
            let expected = if compare { Some(Expected::of(computed, &operands)?) } else { None };
            cases.push(Case { operands, expected, stored: Mutex::default() });
        }
        Ok(Gate { problem, cases })
    }

    /// The problem.
    pub(crate) fn problem(&self) -> &Problem {
        self.problem
    }

    /// The activations that timing runs on, on the device in the layouts of a tactic.
    pub(crate) fn activations(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        tactic: &Tactic,
    ) -> Result<Vec<Option<Span>>, DeviceError> {
        self.stored(&self.cases[0], device, stream, tactic)
    }

    /// The operands of a case on the device, their padding poisoned. They stay there as long as the gate does.
    fn stored(
        &self,
        case: &Case,
        device: &dyn Device,
        stream: &mut dyn Stream,
        tactic: &Tactic,
    ) -> Result<Vec<Option<Span>>, DeviceError> {
        let mut spans = Vec::with_capacity(tactic.inputs.len());
        for (i, (operand, &l)) in self.problem.operands.iter().zip(&tactic.inputs).enumerate() {
            if operand.constant {
                spans.push(None);
                continue;
            }
            let mut stored = case.stored.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(memory) = stored.get(&(i, l)) {
                spans.push(Some(memory.span()));
                continue;
            }
            let ty = &operand.ty;
            // Images lie one behind the other in every layout.
            let few = &case.operands[i];
            let bytes = match l {
                Layout::Plain => few.bytes().into(),
                l => {
                    Cow::from(layout::from_plain_padded(few.bytes(), ty.dtype.size(), few.sizes(), l, POISON))
                }
            };
            let memory = device.alloc(stored_bytes(ty, l).unwrap_or(0))?;
            // SAFETY: freshly allocated.
            unsafe { write_repeated(stream, memory.span(), &bytes)? };
            spans.push(Some(memory.span()));
            stored.insert((i, l), memory);
        }
        Ok(spans)
    }

    /// Runs a tactic on every case. `None` when nothing can be said of it because another one broke the device.
    pub(crate) fn check(
        &self,
        rig: &Rig<'_>,
        stream: &mut dyn Stream,
        tactic: &Tactic,
    ) -> Option<Result<Passed, Verdict>> {
        let verdict = self.try_check(rig, stream, tactic)?;
        // A broken device fails everything that asks it for something.
        let broken_by_another =
            verdict.is_err() && rig.turn.lock().as_ref().is_some_and(|(id, _)| *id != tactic.id);
        if broken_by_another { None } else { Some(verdict) }
    }

    fn try_check(
        &self,
        rig: &Rig<'_>,
        stream: &mut dyn Stream,
        tactic: &Tactic,
    ) -> Option<Result<Passed, Verdict>> {
        let (&Rig { device, turn, cold, repetition, memory }, problem) = (rig, self.problem);
        let failed = |reason: String| Some(Err(Verdict::Failed { reason }));
        let wrong = |reason: String| Some(Err(Verdict::Wrong { reason }));
        let mut errors = (0.0f64, 0.0f64);
        let mut trial: Option<Trial> = None;
        // The random case last: its relative error is the one reported, and its constants are those to time.
        for case in self.cases.iter().rev() {
            let emission = match tactic.emit(&constants(problem, &case.operands)) {
                Ok(e) => e,
                Err(e) => return failed(e.to_string()),
            };
            let ready = match trial.take().filter(|t| t.serves(&emission)) {
                Some(t) => Ok(t),
                None => Trial::new(device, stream, problem, tactic, &emission, cold.sets(&emission), memory),
            };
            let mut ready = match ready {
                Ok(t) => t,
                Err(reason) => return failed(reason),
            };
            let loaded = self.stored(case, device, stream, tactic).and_then(|operands| {
                // SAFETY: the gate keeps the operands, of these layouts, and nobody writes them.
                unsafe { ready.load(stream, &operands, &emission) }
            });
            if let Err(e) = loaded {
                return failed(e.to_string());
            }
            if let Some(expected) = &case.expected {
                let ran = turn.run(device, tactic, || {
                    ready.run(stream)?;
                    ready.telling(stream, repetition)
                });
                let telling = match ran? {
                    Ok(bytes) => bytes,
                    Err(e) => return wrong(e.to_string()),
                };
                let output = ready.output(stream, telling);
                match output.and_then(|(o, order)| expected.compare(&o, order, tactic.growth)) {
                    Ok((ratio, l2)) => errors = (errors.0.max(ratio), l2),
                    Err(reason) => return wrong(reason),
                }
            }
            trial = Some(ready);
        }
        let Some(mut trial) = trial else { return failed("there is nothing to check it with".into()) };
        match trial.leave_gate(stream) {
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

    /// Compares an output whose elements are in this order.
    fn compare(&self, got: &Tensor, order: Layout, growth: Growth) -> Result<(f64, f64), String> {
        match self {
            Expected::Bits(want) => {
                let sizes = got.sizes();
                let plain = match order {
                    Layout::Plain => None,
                    l => Some(layout::to_plain(got.bytes(), got.dtype().size(), sizes, l)),
                };
                let found = plain.as_deref().unwrap_or(got.bytes());
                // The images of a large batch repeat.
                let same = |part: &[u8]| want.bytes().starts_with(part);
                if found.chunks(want.bytes().len().max(1)).all(same) {
                    Ok((0.0, 0.0))
                } else {
                    Err("its integer output differs from the reference".into())
                }
            }
            Expected::Float(exact, orders) => {
                let (values, bound) = orders
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .of(exact, order, growth)
                    .map_err(|e| e.to_string())?;
                let v = reference::compare_repeated(got, &values, &bound);
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

impl Orders {
    /// The values in an order of elements, and their bounds.
    fn of(
        &mut self,
        exact: &Exact,
        order: Layout,
        growth: Growth,
    ) -> Result<(Arc<[f64]>, Arc<[f64]>), ReferenceError> {
        let ordered = |plain: &[f64]| -> Arc<[f64]> {
            match order {
                Layout::Plain => plain.into(),
                l => {
                    let bytes = bytemuck::cast_slice(plain);
                    let stored = layout::from_plain(bytes, size_of::<f64>(), exact.sizes(), l);
                    stored.as_chunks().0.iter().map(|b| f64::from_ne_bytes(*b)).collect()
                }
            }
        };
        let values = self.values.entry(order).or_insert_with(|| ordered(exact.values())).clone();
        let known = self.bounds.iter().find(|(g, l, _)| *g == growth && *l == order);
        if let Some((.., bound)) = known {
            return Ok((values, bound.clone()));
        }
        let bound = ordered(&exact.bound(growth)?);
        self.bounds.push((growth, order, bound.clone()));
        Ok((values, bound))
    }
}
