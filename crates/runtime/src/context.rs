use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tactician_device::{Device, DeviceError, Graph, Memory, Span, Stream};
use tactician_plan::{Place, Port};

use tactician_types::Bytes;

use crate::engine::Shared;
use crate::error::RunError;
use crate::tensor::{Tensor, describe};

/// One execution of an engine's plan at a time: an arena, bindings, a stream. Contexts of one engine run in parallel.
///
/// Where the device can record work, the first run with new bindings is enqueued step by step, the second is recorded,
/// and from then on the recording is launched.
///
/// Each input and output has memory of the context's own, which [`Context::set_input`] writes and [`Context::output`] reads.
/// It can be bound to memory elsewhere instead: see [`Context::set_binding`] for the caller's memory, and
/// [`Context::host_input`] and [`Context::host_output`] for memory of the host that a GPU copies from and to at its best.
pub struct Context {
    // First, so that they are dropped first: that waits for what still uses the rest.
    pub(crate) stream: Box<dyn Stream>,
    /// The stream of the caller's that a run was last enqueued on, with its handle.
    theirs: Option<(usize, Box<dyn Stream>)>,
    /// Whether the last run was enqueued there.
    away: bool,
    recording: Recording,
    arena: Arc<dyn Memory>,
    /// Own memory of each input then output; none where steps work on the caller's.
    pub(crate) owned: Vec<Option<Box<dyn Memory>>>,
    /// Where steps find each.
    pub(crate) bound: Vec<Span>,
    /// Where each run copies inputs from and outputs to, where steps cannot work on that memory itself.
    pub(crate) copied: Vec<Option<Span>>,
    /// Memory of the host for each, once asked for.
    pub(crate) host: Vec<Option<Box<dyn Memory>>>,
    pub(crate) given: Vec<bool>,
    /// Arguments of all steps, one after the other, and where each step's begin.
    args: Vec<Span>,
    starts: Vec<usize>,
    pub(crate) shared: Arc<Shared>,
}

/// Memory for activations and scratch that contexts share which never run at the same time.
#[derive(Clone)]
pub struct Arena(pub(crate) Arc<dyn Memory>);

impl Arena {
    /// An arena of some bytes on a device.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(device: &dyn Device, bytes: u64) -> Result<Arena, DeviceError> {
        Ok(Arena(device.alloc(bytes)?.into()))
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.0.span().len
    }
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
        let arena = shared.device.alloc(shared.meta.arena_bytes)?.into();
        Context::in_arena(shared, arena)
    }

    pub(crate) fn in_arena(shared: Arc<Shared>, arena: Arc<dyn Memory>) -> Result<Context, DeviceError> {
        let (device, wanted) = (shared.device.clone(), shared.meta.arena_bytes);
        if arena.span().len < wanted {
            let call = "sharing an arena".to_owned();
            let reason = format!("it has {}, the plan takes {}", Bytes(arena.span().len), Bytes(wanted));
            return Err(DeviceError::Failed { call, reason });
        }
        let ports = shared.meta.inputs.len() + shared.meta.outputs.len();
        let mut context = Context {
            stream: device.stream()?,
            theirs: None,
            away: false,
            recording: Recording::Fresh,
            arena,
            owned: (0..ports).map(|_| None).collect(),
            bound: vec![Span::EMPTY; ports],
            copied: vec![None; ports],
            host: (0..ports).map(|_| None).collect(),
            given: vec![false; shared.meta.inputs.len()],
            args: Vec::new(),
            starts: Vec::new(),
            shared,
        };
        for port in 0..ports {
            context.own_memory(port)?;
        }
        context.resolve();
        Ok(context)
    }

    pub(crate) fn port(&self, number: usize) -> &Port {
        let m = &self.shared.meta;
        m.inputs.get(number).unwrap_or_else(|| &m.outputs[number - m.inputs.len()])
    }

    /// Fills in the arguments of all steps; again whenever a binding changes, so that `enqueue` looks nothing up.
    pub(crate) fn resolve(&mut self) {
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

    pub(crate) fn input_number(&self, name: &str) -> Result<usize, RunError> {
        let ports = &self.shared.meta.inputs;
        ports
            .iter()
            .position(|p| p.name == name)
            .ok_or_else(|| RunError::NoInput { name: name.to_owned(), known: names(ports) })
    }

    pub(crate) fn output_number(&self, name: &str) -> Result<usize, RunError> {
        let ports = &self.shared.meta.outputs;
        ports
            .iter()
            .position(|p| p.name == name)
            .ok_or_else(|| RunError::NoOutput { name: name.to_owned(), known: names(ports) })
    }

    /// Copies a tensor into an input: into its own memory, or the caller's where steps work on that. A binding whose memory
    /// each run would copy ends.
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
        self.come_home()?;
        // SAFETY: the binding is as long as the port, which is as long as the tensor; the stream is behind every run.
        unsafe { self.stream.write(self.bound[i], tensor.bytes())? };
        self.copied[i] = None;
        self.given[i] = true;
        Ok(())
    }

    /// A copy of an output, after everything enqueued.
    ///
    /// # Errors
    /// When there is no such output, or the run failed.
    pub fn output(&mut self, name: &str) -> Result<Tensor, RunError> {
        let number = self.shared.meta.inputs.len() + self.output_number(name)?;
        self.synchronize()?;
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

    /// Enqueues one run on the context's own stream, with the copies that bindings need. Allocates nothing, takes no lock,
    /// looks nothing up, but for the second run with new bindings on a device that records.
    ///
    /// # Errors
    /// When a step fails.
    pub fn enqueue(&mut self) -> Result<(), RunError> {
        self.come_home()?;
        self.advance();
        let (stream, run) = (&mut self.stream, &mut self.recording);
        let work = Work { shared: &self.shared, args: &self.args, starts: &self.starts };
        let ports = Ports { bound: &self.bound, copied: &self.copied };
        stream.run(&mut |s| ports.around(work.inputs(), s, &mut |s| work.run(run, s)))?;
        Ok(())
    }

    /// Enqueues one run on a stream of the caller's (a `CUstream`, or a `cudaStream_t`, which is the same) and does not wait
    /// for it: behind everything that is on the stream, and behind the context's earlier runs, wherever they were. The recording
    /// is launched there as by [`Context::enqueue`].
    ///
    /// [`Context::output`] and [`Context::synchronize`] wait for the run; so does dropping the context, and giving another
    /// stream of the caller's. Outputs bound to ordinary memory of the host can make the call itself wait.
    ///
    /// ```no_run
    /// use std::ffi::c_void;
    /// use tactician_runtime::{Engine, Tensor};
    ///
    /// /// Runs a network between the caller's own work on `stream`, which the caller waits for.
    /// fn infer(context: &mut tactician_runtime::Context, stream: *mut c_void) -> Result<(), tactician_runtime::RunError> {
    ///     // SAFETY: the stream is of the GPU's primary context and outlives the context of the engine.
    ///     unsafe { context.enqueue_on(stream) }
    /// }
    /// # let stream = std::ptr::null_mut(); // The default stream.
    /// let engine = Engine::load("net.plan")?;
    /// let mut context = engine.new_context()?;
    /// context.host_input("x")?.fill(0);
    /// context.host_output("y")?;
    /// infer(&mut context, stream)?;
    /// // Other work, on the stream or here; then:
    /// let y: &[u8] = context.host_output("y")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the device is no GPU, the stream is another GPU's, or a step fails.
    ///
    /// # Safety
    /// `stream` is the handle of a live stream of the engine's GPU, in its primary context (the one that the CUDA runtime
    /// uses; null is its default stream). It stays alive until this context has been given another stream of the caller's and
    /// has returned, or has been dropped. Other threads may enqueue on it meanwhile, but not while it is being captured.
    pub unsafe fn enqueue_on(&mut self, stream: *mut c_void) -> Result<(), RunError> {
        let handle = stream.addr();
        if self.theirs.as_ref().is_none_or(|(h, _)| *h != handle) {
            self.come_home()?;
            // SAFETY: promised by the caller, until the stream is dropped in turn.
            let theirs = unsafe { self.shared.device.adopt(stream)? };
            self.theirs = Some((handle, theirs));
        }
        self.advance();
        let Some((_, theirs)) = &mut self.theirs else { return Ok(()) };
        if !self.away {
            theirs.follow(self.stream.as_mut())?;
            self.away = true;
        }
        let run = &mut self.recording;
        let work = Work { shared: &self.shared, args: &self.args, starts: &self.starts };
        let ports = Ports { bound: &self.bound, copied: &self.copied };
        theirs.run(&mut |s| ports.around(work.inputs(), s, &mut |s| work.run(run, s)))?;
        Ok(())
    }

    /// Waits for every run enqueued, on whatever stream, with the copies behind it; then outputs are where they were bound.
    ///
    /// # Errors
    /// When a run failed.
    pub fn synchronize(&mut self) -> Result<(), RunError> {
        if let (true, Some((_, theirs))) = (self.away, &mut self.theirs) {
            theirs.synchronize()?;
        }
        self.come_home()?;
        Ok(self.stream.synchronize()?)
    }

    /// Makes the context's own stream wait for a run on the caller's.
    fn come_home(&mut self) -> Result<(), DeviceError> {
        if let (true, Some((_, theirs))) = (self.away, &mut self.theirs) {
            self.stream.follow(theirs.as_mut())?;
        }
        self.away = false;
        Ok(())
    }

    /// Records, when it is time.
    fn advance(&mut self) {
        match self.recording {
            Recording::Fresh => self.recording = Recording::Warm,
            Recording::Warm => self.record(),
            Recording::Ready(_) | Recording::Refused => {}
        }
    }

    /// Records a run. What cannot be recorded still runs step by step, which also reports what is wrong with it.
    fn record(&mut self) {
        let work = Work { shared: &self.shared, args: &self.args, starts: &self.starts };
        self.recording = match self.stream.record(&mut |s| work.step_by_step(s)) {
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
            let work = Work { shared, args, starts };
            let run = &mut |s: &mut dyn Stream| work.run(recording, s);
            if recorded {
                stream.run(run)?;
            }
            times.push(stream.time(run)?);
        }
        Ok(times)
    }

    /// Times every step by itself over `runs` runs, never from a recording; returns each step's samples. Timing steps apart
    /// adds a little to each, so the sum exceeds an undivided run.
    ///
    /// # Errors
    /// When a step fails.
    pub fn profile(&mut self, runs: usize) -> Result<Vec<Vec<Duration>>, RunError> {
        self.come_home()?;
        let mut samples = vec![Vec::with_capacity(runs); self.shared.steps.len()];
        let Context { shared, stream, args, starts, .. } = self;
        let work = Work { shared, args, starts };
        for _ in 0..runs {
            // One batch for the whole run keeps the workers awake between steps.
            stream.run(&mut |s| {
                for (i, samples) in samples.iter_mut().enumerate() {
                    samples.push(s.time(&mut |s| work.step(i, s))?);
                }
                Ok(())
            })?;
        }
        Ok(samples)
    }
}

/// The plan's steps and their arguments.
struct Work<'a> {
    shared: &'a Shared,
    args: &'a [Span],
    starts: &'a [usize],
}

impl Work<'_> {
    fn inputs(&self) -> usize {
        self.shared.meta.inputs.len()
    }

    /// Enqueues a run: the recording, where there is one.
    fn run(&self, recording: &mut Recording, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        match recording {
            // SAFETY: recorded by `step_by_step` with the present arguments, which are as alive as they were then.
            Recording::Ready(graph) => unsafe { graph.launch(stream) },
            _ => self.step_by_step(stream),
        }
    }

    fn step_by_step(&self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        (0..self.shared.steps.len()).try_for_each(|i| self.step(i, stream))
    }

    /// Enqueues step `i`, which those before it have been enqueued for.
    fn step(&self, i: usize, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let args = &self.args[self.starts[i]..self.starts[i + 1]];
        // SAFETY: spans of the arena, the constants and the bindings, all alive in the context, of the lengths the step was
        // prepared with. The plan's validation has made sure that what a step writes overlaps nothing else it touches; one
        // stream runs the steps in order.
        unsafe { self.shared.steps[i].enqueue(args, stream) }
    }
}

/// Where inputs, then outputs are.
struct Ports<'a> {
    bound: &'a [Span],
    copied: &'a [Option<Span>],
}

impl Ports<'_> {
    /// Enqueues a run between the copies that it needs. They are no part of a recording, so that another place to copy from
    /// or to does not spoil it.
    fn around(
        &self,
        inputs: usize,
        stream: &mut dyn Stream,
        run: &mut dyn FnMut(&mut dyn Stream) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let (into, out) = self.copied.split_at(inputs);
        for (from, to) in into.iter().zip(self.bound) {
            if let Some(from) = from {
                // SAFETY: both are as long as the input and live until the run is done: the context's own memory, and what
                // the caller bound or the context keeps for the host.
                unsafe { stream.copy(*from, *to)? };
            }
        }
        run(stream)?;
        for (to, from) in out.iter().zip(&self.bound[inputs..]) {
            if let Some(to) = to {
                // SAFETY: as above.
                unsafe { stream.copy(*from, *to)? };
            }
        }
        Ok(())
    }
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ")
}

#[path = "profile.rs"]
mod profile;
