//! A tactic made ready to run by itself: its steps, prepared once, and the memory that they run on.

use std::sync::Arc;

use tactician_device::{ALIGNMENT, Device, DeviceError, Executable, Span, StepDesc, Stream};
use tactician_tactics::{Arg, Emission, StepSpec, Tactic};

use crate::sets::Sets;

/// The compiled code of each step that has some.
pub(crate) type Codes = Vec<Option<Arc<[u8]>>>;

/// Memory that the steps of a tactic run on: what is not constant.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// Operand `i`, unless it is constant.
    pub(crate) operands: Vec<Option<Span>>,
    pub(crate) output: Span,
    /// As long as the tactic's workspace.
    pub(crate) scratch: Span,
}

/// A tactic ready to run.
pub(crate) struct Trial {
    specs: Vec<StepSpec>,
    steps: Vec<Box<dyn Executable>>,
    constants: Arc<Sets>,
    /// Arguments by set of constants and step.
    args: Vec<Vec<Vec<Span>>>,
    /// Bytes of machine code.
    code_bytes: u64,
    next: usize,
    /// How long it took when it ran in the gate, in microseconds: at best.
    gate_us: f64,
}

/// Compiles the code of an emission's steps.
pub(crate) fn compile(device: &dyn Device, emission: &Emission) -> Result<Codes, DeviceError> {
    let code = |spec: &StepSpec| spec.code.as_ref().map(|source| device.compile(source)).transpose();
    emission.steps.iter().map(code).collect()
}

impl Trial {
    /// Has the device prepare a tactic's steps, to run on this memory and these constants.
    ///
    /// # Errors
    /// When a step does not fit what the tactic declared, or the device refuses it.
    pub(crate) fn new(
        device: &dyn Device,
        tactic: &Tactic,
        emission: &Emission,
        codes: &Codes,
        constants: Arc<Sets>,
        ground: &Ground,
    ) -> Result<Trial, String> {
        let mut trial = Trial {
            specs: emission.steps.clone(),
            steps: Vec::with_capacity(emission.steps.len()),
            args: all_args(&emission.steps, &constants, ground)?,
            constants,
            code_bytes: 0,
            next: 0,
            gate_us: f64::INFINITY,
        };
        for (i, (spec, code)) in emission.steps.iter().zip(codes).enumerate() {
            if spec.scratch > tactic.workspace {
                return Err(format!(
                    "its step wants {} bytes of scratch, it declared {}",
                    spec.scratch, tactic.workspace
                ));
            }
            let len_of = |range: std::ops::Range<usize>| -> Vec<u64> {
                trial.args[0][i][range].iter().map(|s| s.len).collect()
            };
            let (ins, outs) = (spec.inputs.len(), spec.outputs.len());
            let desc = StepDesc {
                kernel: spec.kernel,
                params: &spec.params,
                inputs: &len_of(0..ins),
                outputs: &len_of(ins..ins + outs),
                scratch: spec.scratch,
                code: code.as_deref(),
            };
            trial.steps.push(device.prepare(&desc).map_err(|e| e.to_string())?);
            trial.code_bytes += code.as_ref().map_or(0, |c| (c.len() as u64).next_multiple_of(ALIGNMENT));
        }
        Ok(trial)
    }

    /// Whether the steps serve another emission of the same tactic too, with these constants.
    pub(crate) fn serves(&self, emission: &Emission, constants: &Sets) -> bool {
        self.specs == emission.steps && self.constants.same_places(constants)
    }

    /// Lets the steps run on other memory and constants, laid out as those that they were prepared for.
    pub(crate) fn bind(&mut self, constants: Arc<Sets>, ground: &Ground) -> Result<(), String> {
        self.args = all_args(&self.specs, &constants, ground)?;
        (self.constants, self.next) = (constants, 0);
        Ok(())
    }

    /// Bytes of packed constants and code that a plan holds for the tactic.
    pub(crate) fn plan_bytes(&self) -> u64 {
        self.constants.set_bytes() + self.code_bytes
    }

    /// How long the quickest of its runs in the gate took, in microseconds; infinite where there was none.
    pub(crate) fn gate_us(&self) -> f64 {
        self.gate_us
    }

    /// Runs the steps once in the gate, whose sandbox lives and has one user at a time.
    pub(crate) fn time_once(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        // SAFETY: it is bound to the sandbox, which is used in turns.
        let took = stream.time(&mut |s| unsafe { self.enqueue(s) })?;
        self.gate_us = self.gate_us.min(took.as_secs_f64() * 1e6);
        Ok(())
    }

    /// Enqueues the steps once, with the next set of constants.
    ///
    /// # Safety
    /// The memory that it is bound to is live, as long as the tactic says, output and scratch apart from all else, and
    /// nothing else uses them until the stream is done.
    pub(crate) unsafe fn enqueue(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let set = self.next;
        self.next = (set + 1) % self.args.len().max(1);
        for (step, args) in self.steps.iter().zip(&self.args[set]) {
            // SAFETY: spans of live memory by contract, of the lengths that the step was prepared with; one stream runs
            // everything in order.
            unsafe { step.enqueue(args, stream)? };
        }
        Ok(())
    }
}

/// The arguments of every step, for every set of constants.
fn all_args(specs: &[StepSpec], constants: &Sets, ground: &Ground) -> Result<Vec<Vec<Vec<Span>>>, String> {
    let of = |set: usize, spec: &StepSpec| {
        let mut list = Vec::with_capacity(spec.inputs.len() + spec.outputs.len() + 1);
        for arg in spec.inputs.iter().chain(&spec.outputs) {
            let span = match *arg {
                Arg::Operand(i) => ground.operands.get(i).copied().flatten(),
                Arg::Packed(i) => constants.span(set, i),
                Arg::Output => Some(ground.output),
            };
            list.push(span.ok_or_else(|| format!("its step has no argument {arg:?}"))?);
        }
        list.push(Span { len: spec.scratch, ..ground.scratch });
        Ok(list)
    };
    (0..constants.count()).map(|set| specs.iter().map(|spec| of(set, spec)).collect()).collect()
}
