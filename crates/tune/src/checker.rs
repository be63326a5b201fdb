//! Comparing on the device: an output with exact values, and what must not change with what it was.

use tactician_device::{Device, DeviceError, Executable, Memory, Span, StepDesc, Stream};
use tactician_ir::Problem;
use tactician_tactics::{CHECKED_ZONES, CheckFound, CheckSizes, check_output};

use crate::sandbox::{GUARD, GUARD_BYTE, POISON, Sandbox, ZONES};
use crate::trial::Ground;

/// Compares outputs in layouts without padding on a GPU. Used by one tactic at a time.
pub(crate) struct Checker {
    run: Box<dyn Executable>,
    found: Box<dyn Memory>,
    /// Bytes of an output.
    bytes: u64,
    /// What the inputs add up to.
    inputs: u64,
}

/// What a checker says of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen {
    /// Nothing else was touched; the largest error over its bound, and the relative L2 error.
    Output(f64, f64),
    /// What else was touched.
    Touched(&'static str),
}

impl Checker {
    /// For a problem whose exact values are `period` in number, and then repeat. `None` where the host has to look.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn new(
        device: &dyn Device,
        problem: &Problem,
        sandbox: &Sandbox<'_>,
        period: u64,
    ) -> Result<Option<Checker>, DeviceError> {
        let Some(elements) = problem.output.elements() else { return Ok(None) };
        let (elements, dtype) = (elements as u64, problem.output.dtype);
        let inputs = sandbox.inputs();
        let sizes =
            CheckSizes { elements, period, inputs: inputs.len, zone: GUARD as u32, guard: GUARD_BYTE };
        let Some(check) = check_output(device.info(), dtype, sizes) else { return Ok(None) };
        let code = check.step.code.as_ref().map(|c| device.compile(c)).transpose()?;
        let (bytes, exact) = (elements * dtype.size() as u64, period * size_of::<f64>() as u64);
        let found = device.alloc(u64::from(check.blocks) * size_of::<CheckFound>() as u64)?;
        let mut lens = vec![bytes, exact, exact, inputs.len];
        lens.extend([GUARD; CHECKED_ZONES]);
        let run = device.prepare(&StepDesc {
            kernel: check.step.kernel,
            params: &check.step.params,
            inputs: &lens,
            outputs: &[found.span().len],
            scratch: 0,
            code: code.as_deref(),
        })?;
        Ok(Some(Checker { run, found, bytes, inputs: 0 }))
    }

    /// Whether it can look at an output of so many bytes.
    pub(crate) fn serves(&self, output: Span) -> bool {
        output.len == self.bytes
    }

    /// Takes the inputs as they are for what they should be. Returns whether the checker is fit for use: whether it finds
    /// that a poisoned output is wrong.
    ///
    /// # Safety
    /// As for [`Checker::look`].
    pub(crate) unsafe fn learn(
        &mut self,
        stream: &mut dyn Stream,
        sandbox: &Sandbox<'_>,
        ground: &Ground,
        exact: [Span; 2],
    ) -> Result<bool, DeviceError> {
        sandbox.reset(stream, ground)?;
        // SAFETY: the caller's contract is the same.
        let found = unsafe { self.ask(stream, sandbox, ground, exact)? };
        self.inputs = found.iter().fold(0, |sum, f| sum.wrapping_add(f.inputs));
        Ok(found.iter().any(|f| f.worst == f64::INFINITY) && found.iter().all(|f| f.zones == 0))
    }

    /// Looks at a run that was enqueued on the stream, and waits for it.
    ///
    /// # Safety
    /// `exact` are live memory of the device, exact values and bounds as many as was said, which nothing changes; the
    /// ground is of this sandbox, and nothing else uses it.
    pub(crate) unsafe fn look(
        &self,
        stream: &mut dyn Stream,
        sandbox: &Sandbox<'_>,
        ground: &Ground,
        exact: [Span; 2],
    ) -> Result<Seen, DeviceError> {
        // SAFETY: the caller's contract is the same.
        let found = unsafe { self.ask(stream, sandbox, ground, exact)? };
        let touched = found.iter().fold(0, |all, f| all | f.zones);
        if touched != 0 {
            return Ok(Seen::Touched(ZONES.get(touched.trailing_zeros() as usize).unwrap_or(&ZONES[0])));
        }
        if found.iter().fold(0, |sum: u64, f| sum.wrapping_add(f.inputs)) != self.inputs {
            return Ok(Seen::Touched("its output and scratch"));
        }
        // `max` would take a number in place of what is none.
        let worse = |a: f64, b: f64| if a.is_nan() || a >= b { a } else { b };
        let worst = found.iter().map(|f| f.worst).fold(0.0, worse);
        let (error, norm) = found.iter().fold((0.0, 0.0), |(e, n), f| (e + f.error, n + f.norm));
        Ok(Seen::Output(worst, if error == 0.0 { 0.0 } else { (error / norm).sqrt() }))
    }

    unsafe fn ask(
        &self,
        stream: &mut dyn Stream,
        sandbox: &Sandbox<'_>,
        ground: &Ground,
        [exact, bound]: [Span; 2],
    ) -> Result<Vec<CheckFound>, DeviceError> {
        let found = self.found.span();
        let mut args = vec![ground.output, exact, bound, sandbox.inputs()];
        args.extend(sandbox.zones(ground));
        args.extend([found, Span { len: 0, ..found }]);
        let mut results = vec![CheckFound::default(); found.len as usize / size_of::<CheckFound>()];
        // SAFETY: the results are ours, of the length that the step was prepared with, and one run at a time is looked at;
        // the caller vouches for the rest.
        unsafe {
            // What the check leaves out is no number, and passes nowhere.
            stream.fill(found, POISON)?;
            self.run.enqueue(&args, stream)?;
            stream.read(found, bytemuck::cast_slice_mut(&mut results))?;
        }
        Ok(results)
    }
}
