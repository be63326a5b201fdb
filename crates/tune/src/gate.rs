//! The numerics gate: no tactic is timed before its output was compared with the reference.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tactician_device::{Device, DeviceError, Span, Stream};
use tactician_ir::{Problem, Tensor};
use tactician_reference as reference;
use tactician_tactics::{Constants, Forms, Tactic, family_of, layout};
use tactician_types::Layout;

use crate::checker::{Checker, Seen};
use crate::cold::Cold;
use crate::expected::Expected;
use crate::images::few_images;
use crate::sandbox::{GUARD, POISON, Sandbox};
use crate::sets::Shelf;
use crate::spent::{Spent, Stage};
use crate::table::Verdict;
use crate::trial::{Ground, Trial, compile};

/// Inputs of a problem, and what must come out.
pub(crate) struct Gate<'a> {
    problem: &'a Problem,
    /// Random first (they are what timing runs on), then adversarial.
    cases: Vec<Case>,
}

struct Case {
    /// Of a large batch only the images that repeat.
    operands: Vec<Tensor>,
    /// Those of them that are constant.
    constants: Vec<Option<Tensor>>,
    /// None when comparing is off.
    expected: Option<Expected>,
    /// What tactics packed of the constants.
    forms: Forms,
    /// The same on the device.
    shelf: Shelf,
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

/// A tactic that passed: with the constants of the first case, ready for timing, and with the errors found (largest over its
/// bound, relative L2).
pub(crate) type Passed = (Trial, (f64, f64));

/// What tactics are checked on.
pub(crate) struct Rig<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) turn: &'a Turn,
    pub(crate) cold: &'a Cold,
    pub(crate) sandbox: &'a Sandbox<'a>,
    /// Compares on the device. Used in turns.
    pub(crate) checker: Option<&'a Checker>,
    /// Bytes of the device that one tactic may take.
    pub(crate) memory: u64,
    /// Where the time goes.
    pub(crate) spent: &'a Spent,
}

/// What a run left.
enum Left {
    /// It was compared on the device, and is within its bounds.
    Good(f64, f64),
    /// The output, for the host to compare.
    Output(Vec<u8>),
    /// What it wrote that is not its own.
    Touched(String),
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
            let constants = problem.operands.iter().zip(&operands);
            let constants = constants.map(|(o, v)| o.constant.then(|| v.clone())).collect();
            let (forms, shelf) = (Forms::default(), Shelf::default());
            cases.push(Case { operands, constants, expected, forms, shelf });
        }
        Ok(Gate { problem, cases })
    }

    /// Memory to try tactics on, and what compares on the device where that can be done.
    ///
    /// # Errors
    /// When the device has no room for operands and output.
    pub(crate) fn sandbox(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        tactics: &[&Tactic],
    ) -> Result<(Sandbox<'a>, Option<Checker>), DeviceError> {
        let sandbox = Sandbox::new(device, self.problem, self.cases.len(), tactics)?;
        self.fill(stream, &sandbox)?;
        // Without it the host compares.
        let checker = self.checker(device, stream, &sandbox, tactics).unwrap_or_default();
        Ok((sandbox, checker))
    }

    fn fill(&self, stream: &mut dyn Stream, sandbox: &Sandbox<'_>) -> Result<(), DeviceError> {
        sandbox.fill(stream, &|case, i, l| {
            let few = &self.cases[case].operands[i];
            // Images lie one behind the other in every layout.
            layout::from_plain_padded(few.bytes(), few.dtype().size(), few.sizes(), l, POISON)
        })
    }

    fn checker(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        sandbox: &Sandbox<'_>,
        tactics: &[&Tactic],
    ) -> Result<Option<Checker>, DeviceError> {
        let Some(expected) = self.cases.first().and_then(|c| c.expected.as_ref()) else { return Ok(None) };
        let Some(period) = expected.values() else { return Ok(None) };
        let Some(mut checker) = Checker::new(device, self.problem, sandbox, period)? else {
            return Ok(None);
        };
        // Any of them will do to look at the inputs.
        let example = tactics.iter().find_map(|t| {
            let ground = sandbox.ground(0, t).ok()?;
            (checker.serves(ground.output) && has_order(t.output)).then_some((t, ground))
        });
        let Some((t, ground)) = example else { return Ok(None) };
        let Some(exact) = expected.on_device(device, stream, t.output, t.growth)? else { return Ok(None) };
        // SAFETY: the gate keeps the values; nothing else uses the sandbox yet.
        let fit = unsafe { checker.learn(stream, sandbox, &ground, exact)? };
        Ok(fit.then_some(checker))
    }

    /// Runs a tactic on every case. `None` when nothing can be said of it because another one broke the device.
    pub(crate) fn check(
        &self,
        rig: &Rig<'_>,
        stream: &mut dyn Stream,
        tactic: &Tactic,
    ) -> Option<Result<Passed, Verdict>> {
        let start = Instant::now();
        let verdict = self.try_check(rig, stream, tactic);
        rig.spent.count(family_of(&tactic.id), start.elapsed());
        let verdict = verdict?;
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
        let spent = rig.spent;
        let failed = |reason: String| Some(Err(Verdict::Failed { reason }));
        let wrong = |reason: String| Some(Err(Verdict::Wrong { reason }));
        let mut errors = (0.0f64, 0.0f64);
        let mut trial: Option<Trial> = None;
        // The random case last: its relative error is the one reported, and its constants are those to time.
        for (number, case) in self.cases.iter().enumerate().rev() {
            let (mut ready, ground) = match ready(rig, stream, tactic, (number, case), trial.take()) {
                Ok(r) => r,
                Err(reason) => return failed(reason),
            };
            if let Some(expected) = &case.expected {
                let exact = match rig.checker.filter(|c| c.serves(ground.output) && has_order(tactic.output))
                {
                    Some(checker) => {
                        let exact = spent.on(Stage::Compare, || {
                            expected.on_device(rig.device, stream, tactic.output, tactic.growth)
                        });
                        // Where the device has no room for them, the host compares.
                        exact.ok().flatten().map(|e| (checker, e))
                    }
                    None => None,
                };
                let ran = spent.on(Stage::Run, || {
                    rig.turn.run(rig.device, tactic, || self.run(rig, stream, &mut ready, &ground, exact))
                });
                let compared = match ran? {
                    Ok(Left::Good(ratio, l2)) => Ok((ratio, l2)),
                    Ok(Left::Output(bytes)) => spent.on(Stage::Compare, || {
                        let (output, order) = self.ordered(bytes, tactic.output)?;
                        expected.compare(&output, order, tactic.growth)
                    }),
                    Ok(Left::Touched(what)) => Err(format!("it wrote outside {what}")),
                    Err(e) => Err(e.to_string()),
                };
                match compared {
                    Ok((ratio, l2)) => errors = (errors.0.max(ratio), l2),
                    Err(reason) => return wrong(reason),
                }
            }
            trial = Some(ready);
        }
        match trial {
            Some(trial) => Some(Ok((trial, errors))),
            None => failed("there is nothing to check it with".into()),
        }
    }

    /// Runs a tactic once, and looks at what it wrote. Whatever it spoilt is mended.
    fn run(
        &self,
        rig: &Rig<'_>,
        stream: &mut dyn Stream,
        trial: &mut Trial,
        ground: &Ground,
        exact: Option<(&Checker, [Span; 2])>,
    ) -> Result<Left, DeviceError> {
        let sandbox = rig.sandbox;
        sandbox.reset(stream, ground)?;
        trial.time_once(stream)?;
        let mut touched = None;
        match exact {
            // SAFETY: as above; the gate keeps the values as long as it lives.
            Some((checker, exact)) => match unsafe { checker.look(stream, sandbox, ground, exact)? } {
                Seen::Output(ratio, l2) if ratio <= 1.0 => return Ok(Left::Good(ratio, l2)),
                Seen::Output(..) => {}
                Seen::Touched(what) => touched = Some(what.to_owned()),
            },
            None => touched = sandbox.touched(stream, ground)?,
        }
        if let Some(what) = touched {
            self.fill(stream, sandbox)?;
            return Ok(Left::Touched(what));
        }
        let mut bytes = vec![0; ground.output.len as usize];
        // SAFETY: live memory; the stream is idle.
        unsafe { stream.read(ground.output, &mut bytes)? };
        Ok(Left::Output(bytes))
    }

    /// An output in this layout as a tensor, and the order that its elements are in then.
    fn ordered(&self, bytes: Vec<u8>, stored: Layout) -> Result<(Tensor, Layout), String> {
        let (dtype, sizes) = (self.problem.output.dtype, self.problem.output.sizes().unwrap_or_default());
        let (bytes, order) = match stored {
            l if has_order(l) => (bytes, l),
            // Padding lies between the elements.
            l => (layout::to_plain(&bytes, dtype.size(), &sizes, l), Layout::Plain),
        };
        let tensor = Tensor::from_bytes(dtype, &sizes, bytes).map_err(|e| e.to_string())?;
        Ok((tensor, order))
    }
}

/// Whether elements lie without padding in a layout.
fn has_order(layout: Layout) -> bool {
    matches!(layout, Layout::Plain | Layout::ChannelsLast)
}

/// Has a tactic prepared for a case, or one that was prepared for another case changed, and says what it runs on.
fn ready(
    rig: &Rig<'_>,
    stream: &mut dyn Stream,
    tactic: &Tactic,
    (number, case): (usize, &Case),
    before: Option<Trial>,
) -> Result<(Trial, Ground), String> {
    let &Rig { device, cold, sandbox, memory, spent, .. } = rig;
    let constants = Constants { values: &case.constants, forms: Some(&case.forms) };
    let emission = spent.on(Stage::Pack, || (tactic.emit)(&constants)).map_err(|e| e.to_string())?;
    // Only the first case is timed.
    let count = if number == 0 { cold.sets(&emission) } else { 1 };
    let packed: u64 = emission.packed.iter().map(|p| p.bytes.len() as u64).sum();
    let needed = sandbox.needed(tactic).saturating_add(packed.saturating_mul(count as u64)) + 4 * GUARD;
    if needed > memory {
        return Err(format!("needs {needed} bytes while tuning, the limit is {memory}"));
    }
    let ground = sandbox.ground(number, tactic)?;
    let sets = spent.on(Stage::Fill, || case.shelf.get(device, stream, &emission, count))?;
    if let Some(mut trial) = before.filter(|t| t.serves(&emission, &sets)) {
        trial.bind(sets, &ground)?;
        return Ok((trial, ground));
    }
    let codes = spent.on(Stage::Compile, || compile(device, &emission)).map_err(|e| e.to_string())?;
    let trial = spent.on(Stage::Prepare, || Trial::new(device, tactic, &emission, &codes, sets, &ground))?;
    Ok((trial, ground))
}
