//! A tactic made ready to run by itself: its steps, prepared once, and the memory that they run on.
//!
//! In the gate a trial has memory of its own with guard zones around everything that it may touch. Trials that passed
//! share inputs, output and scratch in the race, as the steps of a plan do.

use tactician_device::{ALIGNMENT, Device, DeviceError, Executable, Memory, Span, StepDesc, Stream};
use tactician_ir::{Problem, Tensor, TensorType};
use tactician_tactics::{Arg, Emission, StepSpec, Tactic, layout};
use tactician_types::Layout;

use crate::images::Repetition;

/// Bytes on each side of every buffer that a tactic must leave alone.
pub(crate) const GUARD: u64 = 4096;

/// What guard zones hold.
const GUARD_BYTE: u8 = 0xA5;

/// What outputs and scratch hold before a run: as floats, NaN.
pub(crate) const POISON: u8 = 0xFF;

/// A buffer between guard zones.
struct Guarded {
    memory: Box<dyn Memory>,
    len: u64,
}

impl Guarded {
    fn new(device: &dyn Device, stream: &mut dyn Stream, len: u64) -> Result<Guarded, DeviceError> {
        let padded = len.div_ceil(GUARD) * GUARD;
        let memory = device.alloc(padded + 2 * GUARD)?;
        let new = Guarded { memory, len };
        for zone in new.zones() {
            // SAFETY: freshly allocated and not shared.
            unsafe { stream.fill(zone, GUARD_BYTE)? };
        }
        Ok(new)
    }

    fn span(&self) -> Span {
        Span { address: self.memory.span().address + GUARD, len: self.len }
    }

    /// Everything around the buffer.
    fn zones(&self) -> [Span; 2] {
        let whole = self.memory.span();
        let end = GUARD + self.len;
        [
            Span { address: whole.address, len: GUARD },
            Span { address: whole.address + end, len: whole.len - end },
        ]
    }

    /// Whether everything around the buffer is as it was.
    fn intact(&self, stream: &mut dyn Stream) -> Result<bool, DeviceError> {
        for zone in self.zones() {
            let mut bytes = vec![0; zone.len as usize];
            // SAFETY: our own memory, nothing is running.
            unsafe { stream.read(zone, &mut bytes)? };
            if bytes.iter().any(|&b| b != GUARD_BYTE) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Packed constants on the device, in several sets: timing rotates over them, so that weights are as cold as in a
/// network, where others come between.
struct Constants {
    memory: Box<dyn Memory>,
    /// Where each constant begins in a set, and its length.
    places: Vec<(u64, u64)>,
    set_bytes: u64,
    sets: usize,
}

impl Constants {
    fn new(device: &dyn Device, emission: &Emission, sets: usize) -> Result<Constants, DeviceError> {
        let mut set_bytes = 0;
        let mut places = Vec::with_capacity(emission.packed.len());
        for p in &emission.packed {
            let len = p.bytes.len() as u64;
            places.push((set_bytes, len));
            set_bytes += len.next_multiple_of(ALIGNMENT);
        }
        let memory = device.alloc(set_bytes * sets as u64)?;
        Ok(Constants { memory, places, set_bytes, sets })
    }

    fn span(&self, set: usize, i: usize) -> Option<Span> {
        let &(offset, len) = self.places.get(i)?;
        Some(Span { address: self.set(set).address + offset, len })
    }

    fn set(&self, set: usize) -> Span {
        let address = self.memory.span().address + set as u64 * self.set_bytes;
        Span { address, len: self.set_bytes }
    }
}

/// A step with its arguments resolved, one list a set of constants.
struct Step {
    run: Box<dyn Executable>,
    args: Vec<Vec<Span>>,
}

/// What a trial runs on in the gate.
struct Buffers {
    operands: Vec<Option<Guarded>>,
    output: Guarded,
    scratch: Guarded,
}

/// A tactic ready to run.
pub(crate) struct Trial {
    specs: Vec<StepSpec>,
    steps: Vec<Step>,
    constants: Constants,
    /// Bytes of machine code.
    code_bytes: u64,
    buffers: Option<Buffers>,
    output_type: TensorType,
    output_layout: Layout,
    next: usize,
}

/// Bytes of a value in a layout.
pub(crate) fn stored_bytes(ty: &TensorType, layout: Layout) -> Option<u64> {
    let n = layout.storage_len(&ty.sizes()?)?;
    Some(n as u64 * ty.dtype.size() as u64)
}

impl Trial {
    /// Prepares a tactic for the gate, with memory for `sets` copies of its packed constants, which
    /// [`Trial::load`] fills. Fails when memory beyond `memory_limit` would be needed.
    pub(crate) fn new(
        device: &dyn Device,
        stream: &mut dyn Stream,
        problem: &Problem,
        tactic: &Tactic,
        emission: &Emission,
        sets: usize,
        memory_limit: u64,
    ) -> Result<Trial, String> {
        let text = |e: DeviceError| e.to_string();
        let size = |ty: &TensorType, l: Layout| {
            stored_bytes(ty, l).ok_or_else(|| format!("{ty} cannot be laid out as {l}"))
        };
        let out_len = size(&problem.output, tactic.output)?;
        let packed_len: u64 = emission.packed.iter().map(|p| p.bytes.len() as u64).sum();
        let mut needed = out_len + tactic.workspace + packed_len * sets as u64 + 4 * GUARD;
        let mut lens = Vec::with_capacity(problem.operands.len());
        for (o, &l) in problem.operands.iter().zip(&tactic.inputs) {
            let len = if o.constant { 0 } else { size(&o.ty, l)? };
            needed += len + 2 * GUARD;
            lens.push(len);
        }
        if needed > memory_limit {
            return Err(format!("needs {needed} bytes while tuning, the limit is {memory_limit}"));
        }
        let mut operands = Vec::with_capacity(lens.len());
        for (o, &len) in problem.operands.iter().zip(&lens) {
            operands.push(if o.constant {
                None
            } else {
                Some(Guarded::new(device, stream, len).map_err(text)?)
            });
        }
        let buffers = Buffers {
            operands,
            output: Guarded::new(device, stream, out_len).map_err(text)?,
            scratch: Guarded::new(device, stream, tactic.workspace).map_err(text)?,
        };
        let constants = Constants::new(device, emission, sets).map_err(text)?;
        let mut trial = Trial {
            specs: emission.steps.clone(),
            steps: Vec::with_capacity(emission.steps.len()),
            constants,
            code_bytes: 0,
            buffers: None,
            output_type: problem.output.clone(),
            output_layout: tactic.output,
            next: 0,
        };
        let spans: Vec<Option<Span>> =
            buffers.operands.iter().map(|b| b.as_ref().map(Guarded::span)).collect();
        for spec in &emission.steps {
            if spec.scratch > tactic.workspace {
                return Err(format!(
                    "its step wants {} bytes of scratch, it declared {}",
                    spec.scratch, tactic.workspace
                ));
            }
            let args = trial.resolve(spec, &spans, buffers.output.span(), buffers.scratch.span())?;
            let len_of =
                |range: std::ops::Range<usize>| args[0][range].iter().map(|s| s.len).collect::<Vec<_>>();
            let (ins, outs) = (spec.inputs.len(), spec.outputs.len());
            let code = match &spec.code {
                Some(source) => Some(device.compile(source).map_err(text)?),
                None => None,
            };
            trial.code_bytes += code.as_ref().map_or(0, |c| (c.len() as u64).next_multiple_of(ALIGNMENT));
            let desc = StepDesc {
                kernel: spec.kernel,
                params: &spec.params,
                inputs: &len_of(0..ins),
                outputs: &len_of(ins..ins + outs),
                scratch: spec.scratch,
                code: code.as_deref(),
            };
            trial.steps.push(Step { run: device.prepare(&desc).map_err(text)?, args });
        }
        trial.buffers = Some(buffers);
        Ok(trial)
    }

    /// The arguments of a step, for every set of constants.
    fn resolve(
        &self,
        spec: &StepSpec,
        operands: &[Option<Span>],
        output: Span,
        scratch: Span,
    ) -> Result<Vec<Vec<Span>>, String> {
        let of_set = |set: usize| {
            let mut list = Vec::with_capacity(spec.inputs.len() + spec.outputs.len() + 1);
            for arg in spec.inputs.iter().chain(&spec.outputs) {
                let span = match *arg {
                    Arg::Operand(i) => operands.get(i).copied().flatten(),
                    Arg::Packed(i) => self.constants.span(set, i),
                    Arg::Output => Some(output),
                };
                list.push(span.ok_or_else(|| format!("its step has no argument {arg:?}"))?);
            }
            list.push(Span { len: spec.scratch, ..scratch });
            Ok(list)
        };
        (0..self.constants.sets).map(of_set).collect()
    }

    /// Bytes of packed constants and code that a plan holds for the tactic.
    pub(crate) fn plan_bytes(&self) -> u64 {
        self.constants.set_bytes + self.code_bytes
    }

    /// Whether the steps serve another emission of the same tactic too.
    pub(crate) fn serves(&self, emission: &Emission) -> bool {
        let lens = self.constants.places.iter().map(|&(_, len)| len);
        self.specs == emission.steps && lens.eq(emission.packed.iter().map(|p| p.bytes.len() as u64))
    }

    /// Puts operand values and the first set of constants in place.
    ///
    /// # Safety
    /// `operands` are live device memory, as long as the tactic's layouts make them, and do not change meanwhile.
    pub(crate) unsafe fn load(
        &mut self,
        stream: &mut dyn Stream,
        operands: &[Option<Span>],
        emission: &Emission,
    ) -> Result<(), DeviceError> {
        let Some(buffers) = &self.buffers else { return Ok(()) };
        for (buffer, value) in buffers.operands.iter().zip(operands) {
            if let (Some(buffer), Some(value)) = (buffer, value) {
                // SAFETY: our own buffer; the other is live and as long by contract.
                unsafe { stream.copy(*value, buffer.span())? };
            }
        }
        for (i, packed) in emission.packed.iter().enumerate() {
            if let Some(span) = self.constants.span(0, i) {
                // SAFETY: our own memory of exactly this length; nothing is running.
                unsafe { stream.write(span, &packed.bytes)? };
            }
        }
        Ok(())
    }

    /// Runs once on poisoned output and scratch.
    pub(crate) fn run(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        for buffer in self.buffers.iter().flat_map(|b| [&b.output, &b.scratch]) {
            // SAFETY: our own buffers; nothing is running.
            unsafe { stream.fill(buffer.span(), POISON)? };
        }
        self.enqueue_set(stream, 0)?;
        stream.synchronize()
    }

    /// How many bytes of a run's output say all of it.
    pub(crate) fn telling(
        &self,
        stream: &mut dyn Stream,
        repetition: Option<&Repetition>,
    ) -> Result<u64, DeviceError> {
        let Some(output) = self.buffers.as_ref().map(|b| b.output.span()) else { return Ok(0) };
        match repetition {
            // SAFETY: our own buffer; the stream is idle.
            Some(r) => unsafe { r.telling(stream, output) },
            None => Ok(output.len),
        }
    }

    /// The first `telling` bytes of the output of a run, and the order that its elements are in.
    ///
    /// # Errors
    /// When a guard zone changed.
    pub(crate) fn output(&self, stream: &mut dyn Stream, telling: u64) -> Result<(Tensor, Layout), String> {
        let text = |e: DeviceError| e.to_string();
        let Some(buffers) = &self.buffers else { return Err("it is out of the gate".into()) };
        let operands = buffers.operands.iter().enumerate();
        let named = operands.filter_map(|(i, o)| Some((format!("operand {i}"), o.as_ref()?)));
        let rest = [("the output".to_owned(), &buffers.output), ("its scratch".to_owned(), &buffers.scratch)];
        for (name, buffer) in named.chain(rest) {
            if !buffer.intact(stream).map_err(text)? {
                return Err(format!("it wrote outside {name}"));
            }
        }
        let whole = buffers.output.span();
        let part = Span { len: telling.min(whole.len), ..whole };
        let mut bytes = vec![0; part.len as usize];
        // SAFETY: our own buffer; the stream is idle.
        unsafe { stream.read(part, &mut bytes).map_err(text)? };
        let mut sizes = self.output_type.sizes().unwrap_or_default();
        if let Some(images) = sizes.first_mut().filter(|_| part.len < whole.len) {
            *images = (*images as u64 * part.len / whole.len) as usize;
        }
        let (bytes, order) = match self.output_layout {
            l @ (Layout::Plain | Layout::ChannelsLast) => (bytes, l),
            // Padding lies between the elements.
            l => (layout::to_plain(&bytes, self.output_type.dtype.size(), &sizes, l), Layout::Plain),
        };
        let tensor = Tensor::from_bytes(self.output_type.dtype, &sizes, bytes).map_err(|e| e.to_string())?;
        Ok((tensor, order))
    }

    /// Leaves the gate: fills all sets of constants with the first, and gives its guarded memory back. It runs again
    /// when [`Trial::share`] gave it other memory.
    pub(crate) fn leave_gate(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        for set in 1..self.constants.sets {
            // SAFETY: our own memory, of one length and apart; nothing is running.
            unsafe { stream.copy(self.constants.set(0), self.constants.set(set))? };
        }
        stream.synchronize()?;
        self.buffers = None;
        self.steps.iter_mut().for_each(|s| s.args.clear());
        Ok(())
    }

    /// Lets the steps run on memory that others use too.
    ///
    /// # Safety
    /// Until the trial is dropped or has other memory, the spans are live device memory, as long as the tactic says,
    /// apart from one another, and nothing but trials on one stream uses output and scratch.
    pub(crate) unsafe fn share(
        &mut self,
        operands: &[Option<Span>],
        output: Span,
        scratch: Span,
    ) -> Result<(), String> {
        for i in 0..self.steps.len() {
            self.steps[i].args = self.resolve(&self.specs[i], operands, output, scratch)?;
        }
        Ok(())
    }

    /// Enqueues the steps once, with the next set of constants.
    pub(crate) fn enqueue(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let set = self.next;
        self.next = (self.next + 1) % self.constants.sets;
        self.enqueue_set(stream, set)
    }

    fn enqueue_set(&self, stream: &mut dyn Stream, set: usize) -> Result<(), DeviceError> {
        for step in &self.steps {
            let args = step.args.get(set).ok_or_else(|| DeviceError::Failed {
                call: "timing a tactic".into(),
                reason: "it has no memory to run on".into(),
            })?;
            // SAFETY: spans of live memory, this trial's own or promised to `share`, of the lengths that the step was
            // prepared with; output and scratch are apart; one stream runs everything in order.
            unsafe { step.run.enqueue(args, stream)? };
        }
        Ok(())
    }
}
