use std::sync::Arc;
use std::time::{Duration, Instant};

use tactician_device::{DeviceError, Graph, Memory, Span, Stream};
use tactician_plan::{Place, Port};

use crate::engine::Shared;
use crate::error::RunError;
use crate::tensor::{Tensor, describe};

/// What bindings on a GPU are aligned to: kernels and libraries read them 16 bytes at a time. Allocations always are.
const GPU_BINDING: u64 = 16;

/// One execution of an engine's plan at a time: an arena, bindings, a stream. Contexts of one engine run in parallel.
///
/// Where the device can record work, the first run with new bindings is enqueued step by step, the second is recorded,
/// and from then on the recording is launched.
pub struct Context {
    // First, so that it is dropped first: that waits for what still uses the rest.
    stream: Box<dyn Stream>,
    recording: Recording,
    arena: Box<dyn Memory>,
    /// Own memory of each input then output; replaced by `bound` where the caller gave some.
    owned: Vec<Option<Box<dyn Memory>>>,
    bound: Vec<Span>,
    given: Vec<bool>,
    /// Arguments of all steps, one after the other, and where each step's begin.
    args: Vec<Span>,
    starts: Vec<usize>,
    shared: Arc<Shared>,
}

/// How far the plan is recorded with the present bindings.
enum Recording {
    /// It has not run with them yet.
    Fresh,
    /// It has run once, so that whatever is loaded late is loaded; the next run records.
    Warm,
    /// Recorded.
    Ready(Box<dyn Graph>),
    /// The device does not record, or not this plan.
    Refused,
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Context, DeviceError> {
        let device = shared.device.clone();
        let arena = device.alloc(shared.meta.arena_bytes)?;
        let ports = shared.meta.inputs.len() + shared.meta.outputs.len();
        let mut context = Context {
            stream: device.stream()?,
            recording: Recording::Fresh,
            arena,
            owned: (0..ports).map(|_| None).collect(),
            bound: vec![Span::EMPTY; ports],
            given: vec![false; shared.meta.inputs.len()],
            args: Vec::new(),
            starts: Vec::new(),
            shared,
        };
        for port in 0..ports {
            let bytes = context.port(port).bytes().unwrap_or(0);
            let memory = device.alloc(bytes)?;
            context.bound[port] = Span { len: bytes, ..memory.span() };
            context.owned[port] = Some(memory);
        }
        context.resolve();
        Ok(context)
    }

    fn port(&self, number: usize) -> &Port {
        let m = &self.shared.meta;
        m.inputs.get(number).unwrap_or_else(|| &m.outputs[number - m.inputs.len()])
    }

    /// Fills in the arguments of all steps; again whenever a binding changes, so that `enqueue` looks nothing up.
    fn resolve(&mut self) {
        let shared = self.shared.clone();
        let inputs = shared.meta.inputs.len();
        let span = |p: Place| match p {
            Place::Constant { index } => shared.constant(index),
            Place::Arena { offset, len } => Span { address: self.arena.span().address + offset, len },
            Place::Input { index } => self.bound[index as usize],
            Place::Output { index } => self.bound[inputs + index as usize],
        };
        let mut args = Vec::with_capacity(self.args.len());
        let mut starts = Vec::with_capacity(shared.meta.steps.len() + 1);
        for s in &shared.meta.steps {
            starts.push(args.len());
            args.extend(s.inputs.iter().chain(&s.outputs).map(|&p| span(p)));
            args.push(s.scratch.map_or(Span::EMPTY, span));
        }
        starts.push(args.len());
        (self.args, self.starts) = (args, starts);
        self.recording = Recording::Fresh;
    }

    fn input_number(&self, name: &str) -> Result<usize, RunError> {
        let ports = &self.shared.meta.inputs;
        ports
            .iter()
            .position(|p| p.name == name)
            .ok_or_else(|| RunError::NoInput { name: name.to_owned(), known: names(ports) })
    }

    fn output_number(&self, name: &str) -> Result<usize, RunError> {
        let ports = &self.shared.meta.outputs;
        ports
            .iter()
            .position(|p| p.name == name)
            .ok_or_else(|| RunError::NoOutput { name: name.to_owned(), known: names(ports) })
    }

    /// Copies a tensor into an input.
    ///
    /// # Errors
    /// When there is no such input, or type or shape differ.
    pub fn set_input(&mut self, name: &str, tensor: &Tensor) -> Result<(), RunError> {
        let i = self.input_number(name)?;
        let port = self.port(i);
        let fits = tensor.dtype() == port.dtype
            && tensor.shape().iter().map(|&d| d as u64).eq(port.shape.iter().copied());
        if !fits {
            return Err(RunError::Mismatch {
                name: name.to_owned(),
                expected: describe(port.dtype, port.shape.iter().copied()),
                found: tensor.describe(),
            });
        }
        // SAFETY: the binding is as long as the port, which is as long as the tensor; nothing is running.
        unsafe { self.stream.write(self.bound[i], tensor.bytes())? };
        self.given[i] = true;
        Ok(())
    }

    /// A copy of an output, after everything enqueued.
    ///
    /// # Errors
    /// When there is no such output, or the run failed.
    pub fn output(&mut self, name: &str) -> Result<Tensor, RunError> {
        let o = self.output_number(name)?;
        self.stream.synchronize()?;
        let number = self.shared.meta.inputs.len() + o;
        let port = self.port(number);
        let shape: Vec<usize> = port.shape.iter().map(|&d| d as usize).collect();
        let mut tensor = Tensor::zeros(port.dtype, &shape).ok_or_else(|| RunError::Binding {
            name: name.to_owned(),
            problem: "its size overflows".into(),
        })?;
        // SAFETY: the binding is as long as the port and so as the tensor; the stream is idle.
        unsafe { self.stream.read(self.bound[number], tensor.bytes_mut())? };
        Ok(tensor)
    }

    /// Makes an input or output live in the caller's memory, so that nothing is copied.
    ///
    /// # Errors
    /// When there is no port of that name, or the memory is too short or not aligned: to its element type, on a GPU
    /// to 16 bytes.
    ///
    /// # Safety
    /// The memory belongs to the engine's device and stays valid, unshared while a run is under way, until another
    /// binding replaces it or the context is dropped. Bindings do not overlap.
    pub unsafe fn set_binding(&mut self, name: &str, span: Span) -> Result<(), RunError> {
        let inputs = self.shared.meta.inputs.len();
        let number = match self.input_number(name) {
            Ok(i) => i,
            Err(_) => inputs + self.output_number(name)?,
        };
        let port = self.port(number);
        let need = port.bytes().unwrap_or(0);
        let element = port.dtype.size() as u64;
        let align = if self.shared.device.info().cuda().is_some() { GPU_BINDING } else { element };
        if span.len < need || !span.address.is_multiple_of(align) {
            let problem = format!(
                "it needs {need} bytes at an address that is a multiple of {align}; {} bytes at {:#x} are given",
                span.len, span.address
            );
            return Err(RunError::Binding { name: name.to_owned(), problem });
        }
        if let Some(given) = self.given.get_mut(number) {
            *given = true;
        }
        self.bound[number] = Span { len: need, ..span };
        self.owned[number] = None;
        self.resolve();
        Ok(())
    }

    /// Enqueues one run. Allocates nothing, takes no lock, looks nothing up, but for the second run with new bindings
    /// on a device that records.
    ///
    /// # Errors
    /// When a step fails.
    pub fn enqueue(&mut self) -> Result<(), RunError> {
        match self.recording {
            Recording::Fresh => self.recording = Recording::Warm,
            Recording::Warm => self.record(),
            Recording::Ready(_) | Recording::Refused => {}
        }
        let Context { shared, stream, recording, args, starts, .. } = self;
        stream.run(&mut |s| run_once(shared, recording, args, starts, s))?;
        Ok(())
    }

    /// Records a run. What cannot be recorded still runs step by step, which also reports what is wrong with it.
    fn record(&mut self) {
        let Context { shared, stream, args, starts, .. } = self;
        self.recording = match stream.record(&mut |s| enqueue_all(shared, args, starts, s)) {
            Ok(Some(graph)) => Recording::Ready(graph),
            Ok(None) | Err(_) => Recording::Refused,
        };
    }

    /// Sets inputs, runs, and returns all outputs by name.
    ///
    /// # Errors
    /// When an input is missing, unknown or of another type, or a step fails.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, RunError> {
        for (name, tensor) in inputs {
            self.set_input(name, tensor)?;
        }
        if let Some(i) = self.given.iter().position(|g| !g) {
            let p = self.port(i);
            return Err(RunError::MissingInput {
                name: p.name.clone(),
                expected: describe(p.dtype, p.shape.iter().copied()),
            });
        }
        self.enqueue()?;
        let ports: Vec<String> = self.shared.meta.outputs.iter().map(|p| p.name.clone()).collect();
        ports.into_iter().map(|n| self.output(&n).map(|t| (n, t))).collect()
    }

    /// Runs for at least `warm_up`, then for at least `duration` and three times; returns the device time of each run. A
    /// recording is timed right behind an untimed run, so that the time to start it is hidden, as it is for whoever
    /// enqueues run after run.
    ///
    /// # Errors
    /// When a step fails.
    pub fn measure(&mut self, warm_up: Duration, duration: Duration) -> Result<Vec<Duration>, RunError> {
        let start = Instant::now();
        loop {
            self.enqueue()?;
            self.stream.synchronize()?;
            if start.elapsed() >= warm_up {
                break;
            }
        }
        if matches!(self.recording, Recording::Warm) {
            self.record();
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < 3 || start.elapsed() < duration {
            let Context { shared, stream, recording, args, starts, .. } = self;
            let recorded = matches!(recording, Recording::Ready(_));
            let run = &mut |s: &mut dyn Stream| run_once(shared, recording, args, starts, s);
            if recorded {
                stream.run(run)?;
            }
            times.push(stream.time(run)?);
        }
        Ok(times)
    }

    /// Times every step by itself over `runs` runs, never from a recording; returns each step's samples. Timing steps apart adds a little to
    /// each, so the sum exceeds an undivided run.
    ///
    /// # Errors
    /// When a step fails.
    pub fn profile(&mut self, runs: usize) -> Result<Vec<Vec<Duration>>, RunError> {
        let mut samples = vec![Vec::with_capacity(runs); self.shared.steps.len()];
        let Context { shared, stream, args, starts, .. } = self;
        for _ in 0..runs {
            // One batch for the whole run keeps the workers awake between steps.
            stream.run(&mut |s| {
                for (i, step) in shared.steps.iter().enumerate() {
                    let arguments = &args[starts[i]..starts[i + 1]];
                    samples[i].push(s.time(&mut |s| {
                        // SAFETY: as in `enqueue_all`.
                        unsafe { step.enqueue(arguments, s) }
                    })?);
                }
                Ok(())
            })?;
        }
        Ok(samples)
    }
}

fn run_once(
    shared: &Shared,
    recording: &mut Recording,
    args: &[Span],
    starts: &[usize],
    stream: &mut dyn Stream,
) -> Result<(), DeviceError> {
    match recording {
        // SAFETY: recorded by `enqueue_all` with the present arguments, which are as alive as they were then.
        Recording::Ready(graph) => unsafe { graph.launch(stream) },
        _ => enqueue_all(shared, args, starts, stream),
    }
}

fn enqueue_all(
    shared: &Shared,
    args: &[Span],
    starts: &[usize],
    stream: &mut dyn Stream,
) -> Result<(), DeviceError> {
    for (i, step) in shared.steps.iter().enumerate() {
        // SAFETY: spans of the arena, the constants and the bindings, all alive in the context, of the lengths the
        // step was prepared with. The plan's validation has made sure that what a step writes overlaps nothing else
        // it touches; one stream runs the steps in order.
        unsafe { step.enqueue(&args[starts[i]..starts[i + 1]], stream)? };
    }
    Ok(())
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ")
}
