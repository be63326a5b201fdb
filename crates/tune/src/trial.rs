//! A tactic made ready to run by itself: its steps, and memory with guard zones around everything it may touch.

use std::sync::Arc;

use tactician_device::{Device, DeviceError, Executable, Memory, Span, StepDesc, Stream};
use tactician_ir::{Problem, Tensor, TensorType};
use tactician_tactics::{Arg, Emission, Tactic, layout};
use tactician_types::Layout;

/// Bytes on each side of every buffer that a tactic must leave alone.
pub(crate) const GUARD: u64 = 4096;

/// What guard zones hold.
const GUARD_BYTE: u8 = 0xA5;

/// What outputs and scratch hold before a run: as floats, NaN.
const POISON: u8 = 0xFF;

/// A buffer between guard zones.
struct Guarded {
    memory: Box<dyn Memory>,
    len: u64,
}

impl Guarded {
    fn new(device: &dyn Device, stream: &mut dyn Stream, len: u64) -> Result<Guarded, DeviceError> {
        let padded = len.div_ceil(GUARD) * GUARD;
        let memory = device.alloc(padded + 2 * GUARD)?;
        // SAFETY: freshly allocated and not shared.
        unsafe { stream.fill(memory.span(), GUARD_BYTE)? };
        Ok(Guarded { memory, len })
    }

    fn span(&self) -> Span {
        Span { address: self.memory.span().address + GUARD, len: self.len }
    }

    /// Whether everything around the buffer is as it was.
    fn intact(&self, stream: &mut dyn Stream) -> Result<bool, DeviceError> {
        let whole = self.memory.span();
        let end = GUARD + self.len;
        for (from, to) in [(0, GUARD), (end, whole.len)] {
            let mut bytes = vec![0; (to - from) as usize];
            // SAFETY: our own memory, nothing is running.
            unsafe { stream.read(Span { address: whole.address + from, len: to - from }, &mut bytes)? };
            if bytes.iter().any(|&b| b != GUARD_BYTE) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// One set of packed constants on the device. Timing rotates over several, so that weights are as cold as in a
/// network, where others come between.
struct Constants(Vec<Box<dyn Memory>>);

/// A step with its arguments resolved, one list a set of constants.
struct Step {
    run: Box<dyn Executable>,
    args: Vec<Vec<Span>>,
}

/// A tactic ready to run.
pub(crate) struct Trial {
    steps: Vec<Step>,
    operands: Vec<Option<Guarded>>,
    output: Guarded,
    scratch: Guarded,
    output_type: TensorType,
    output_layout: Layout,
    input_layouts: Vec<Layout>,
    /// Kept alive for the spans in `steps`.
    _constants: Vec<Constants>,
    sets: usize,
    next: usize,
}

/// Bytes of a value in a layout.
fn stored_bytes(ty: &TensorType, layout: Layout) -> Option<u64> {
    let n = layout.storage_len(&ty.sizes()?)?;
    Some(n as u64 * ty.dtype.size() as u64)
}

impl Trial {
    /// Prepares a tactic with `sets` copies of its packed constants. Fails when memory beyond `memory_limit` would be
    /// needed.
    pub(crate) fn new(
        device: &dyn Device,
        stream: &mut dyn Stream,
        problem: &Problem,
        tactic: &Tactic,
        emission: Emission,
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
        let output = Guarded::new(device, stream, out_len).map_err(text)?;
        let scratch = Guarded::new(device, stream, tactic.workspace).map_err(text)?;
        let mut constants = Vec::with_capacity(sets);
        for _ in 0..sets {
            let set = emission.packed.iter().map(|p| device.constants(Arc::new(p.bytes.clone())));
            constants.push(Constants(set.collect::<Result<_, _>>().map_err(text)?));
        }
        let mut steps = Vec::with_capacity(emission.steps.len());
        for spec in &emission.steps {
            let span = |arg: &Arg, set: usize| match *arg {
                Arg::Operand(i) => operands[i].as_ref().map(Guarded::span),
                Arg::Packed(i) => constants[set].0.get(i).map(|m| m.span()),
                Arg::Output => Some(output.span()),
            };
            let resolve = |set: usize| -> Result<Vec<Span>, String> {
                let mut list = Vec::with_capacity(spec.inputs.len() + spec.outputs.len() + 1);
                for a in spec.inputs.iter().chain(&spec.outputs) {
                    list.push(span(a, set).ok_or_else(|| format!("its step has no argument {a:?}"))?);
                }
                list.push(Span { len: spec.scratch, ..scratch.span() });
                Ok(list)
            };
            let args = (0..sets).map(resolve).collect::<Result<Vec<_>, _>>()?;
            let len_of =
                |range: std::ops::Range<usize>| args[0][range].iter().map(|s| s.len).collect::<Vec<_>>();
            let (ins, outs) = (spec.inputs.len(), spec.outputs.len());
            if spec.scratch > tactic.workspace {
                return Err(format!(
                    "its step wants {} bytes of scratch, it declared {}",
                    spec.scratch, tactic.workspace
                ));
            }
            let code = match &spec.code {
                Some(source) => Some(device.compile(source).map_err(text)?),
                None => None,
            };
            let desc = StepDesc {
                kernel: spec.kernel,
                params: &spec.params,
                inputs: &len_of(0..ins),
                outputs: &len_of(ins..ins + outs),
                scratch: spec.scratch,
                code: code.as_deref(),
            };
            steps.push(Step { run: device.prepare(&desc).map_err(text)?, args });
        }
        Ok(Trial {
            steps,
            operands,
            output,
            scratch,
            output_type: problem.output.clone(),
            output_layout: tactic.output,
            input_layouts: tactic.inputs.clone(),
            _constants: constants,
            sets,
            next: 0,
        })
    }

    /// Puts operand values in place, their padding poisoned; constants are in the emission already.
    pub(crate) fn load(&mut self, stream: &mut dyn Stream, values: &[Tensor]) -> Result<(), DeviceError> {
        for ((buffer, value), &l) in self.operands.iter().zip(values).zip(&self.input_layouts) {
            if let Some(buffer) = buffer {
                let (size, sizes) = (value.dtype().size(), value.sizes());
                let bytes = layout::from_plain_padded(value.bytes(), size, sizes, l, POISON);
                // SAFETY: our own buffer of exactly this length; nothing is running.
                unsafe { stream.write(buffer.span(), &bytes)? };
            }
        }
        Ok(())
    }

    /// Runs once on poisoned output and scratch; returns the output's bytes as they lie.
    ///
    /// # Errors
    /// When a step fails or a guard zone changed.
    pub(crate) fn run_checked(&mut self, stream: &mut dyn Stream) -> Result<Vec<u8>, String> {
        let text = |e: DeviceError| e.to_string();
        for buffer in [&self.output, &self.scratch] {
            // SAFETY: our own buffers; nothing is running.
            unsafe { stream.fill(buffer.span(), POISON).map_err(text)? };
        }
        self.enqueue(stream).map_err(text)?;
        stream.synchronize().map_err(text)?;
        let named =
            self.operands.iter().enumerate().filter_map(|(i, o)| Some((format!("operand {i}"), o.as_ref()?)));
        let rest = [("the output".to_owned(), &self.output), ("its scratch".to_owned(), &self.scratch)];
        for (name, buffer) in named.chain(rest) {
            if !buffer.intact(stream).map_err(text)? {
                return Err(format!("it wrote outside {name}"));
            }
        }
        let mut bytes = vec![0; self.output.len as usize];
        // SAFETY: our own buffer; the stream is idle.
        unsafe { stream.read(self.output.span(), &mut bytes).map_err(text)? };
        Ok(bytes)
    }

    /// The output as a tensor.
    pub(crate) fn output(&self, bytes: &[u8]) -> Result<Tensor, String> {
        let sizes = self.output_type.sizes().unwrap_or_default();
        let plain = layout::to_plain(bytes, self.output_type.dtype.size(), &sizes, self.output_layout);
        Tensor::from_bytes(self.output_type.dtype, &sizes, plain).map_err(|e| e.to_string())
    }

    /// Enqueues the steps once, with the next set of constants.
    pub(crate) fn enqueue(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let set = self.next;
        self.next = (self.next + 1) % self.sets;
        for step in &self.steps {
            // SAFETY: spans of live memory owned by this trial, of the lengths the step was prepared with; output and
            // scratch are separate allocations; one stream runs everything in order.
            unsafe { step.run.enqueue(&step.args[set], stream)? };
        }
        Ok(())
    }
}
