//! `host.run`: a step of the CPU in a GPU's plan.
//!
//! ```text
//!  inputs ──copy──▶ pinned memory ──host function: the CPU's kernel──▶ pinned memory ──copy──▶ outputs
//! ```
//!
//! All of it is enqueued on the stream, so that it is recorded like any other step. The CPU is a [`Device`] that was
//! given to [`crate::CudaDevice::with_host`]: this crate knows none itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use cudarc::driver::sys;
use serde::{Deserialize, Serialize};
use tactician_device::{ALIGNMENT, Device, DeviceError, Executable, Memory, Span, StepDesc, Stream};

use crate::driver::{Context, check};
use crate::host_call::{HostCall, run_call};
use crate::stream::CudaStream;

/// The most threads of a host that CPU steps are planned for: the device given to [`crate::CudaDevice::with_host`] has
/// no more.
pub const HOST_THREADS: usize = 8;

/// How many threads CPU steps should have here: one a processor, at most [`HOST_THREADS`].
pub fn host_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()).min(HOST_THREADS)
}

/// Runs a kernel of the CPU on operands of the GPU. The step's inputs are those that are [`HostInput::Given`], in
/// order; its outputs are the kernel's. No scratch on the GPU, no code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRun {
    /// The CPU's name of the kernel.
    pub kernel: String,
    /// Its parameters, as the CPU's backend serialises them.
    pub params: Vec<u8>,
    /// Its inputs, in order.
    pub inputs: Vec<HostInput>,
    /// Scratch in bytes, on the host.
    pub scratch: u64,
}

/// Where an input of the CPU's kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostInput {
    /// The next input of the step, copied from the GPU at every run.
    Given,
    /// A constant, which stays on the host.
    Kept(Vec<u8>),
}

impl HostRun {
    /// The kernel name of such steps.
    pub const NAME: &'static str = "host.run";

    /// Decodes the parameters of a step.
    fn decode(step: &StepDesc<'_>) -> Result<HostRun, String> {
        let (run, rest): (HostRun, &[u8]) = postcard::take_from_bytes(step.params)
            .map_err(|e| format!("its parameters do not decode ({e})"))?;
        if !rest.is_empty() {
            return Err(format!("its parameters are followed by {} stray bytes", rest.len()));
        }
        let given = run.inputs.iter().filter(|i| matches!(i, HostInput::Given)).count();
        if given != step.inputs.len() {
            return Err(format!("takes {given} inputs, the plan passes {}", step.inputs.len()));
        }
        Ok(run)
    }
}

/// An argument of the CPU's kernel, before its memory is known.
enum Place {
    /// A constant.
    Kept(Span),
    /// So many bytes from this offset of the staging memory.
    Staged { offset: u64, len: u64 },
}

/// A checked step on the host: what its runs on all streams share.
pub(crate) struct HostWork {
    /// The CPU's name of the kernel.
    pub(crate) kernel: String,
    pub(crate) host: Arc<dyn Device>,
    pub(crate) run: Box<dyn Executable>,
    /// Scratch in bytes.
    pub(crate) scratch: u64,
    /// Bytes that one run stages: inputs, then outputs.
    pub(crate) staged: u64,
    places: Vec<Place>,
    /// How many of the staged places are inputs.
    inputs: usize,
    /// Keeps the constants.
    _kept: Vec<Box<dyn Memory>>,
}

impl HostWork {
    /// Decodes and checks a step.
    ///
    /// # Errors
    /// When the step does not fit itself or the host.
    pub(crate) fn prepare(
        step: &StepDesc<'_>,
        host: Option<&Arc<dyn Device>>,
    ) -> Result<HostWork, DeviceError> {
        let bad = |problem: String| DeviceError::BadStep { kernel: step.kernel.to_owned(), problem };
        // The arguments are host addresses, which only a CPU takes.
        let host = host
            .filter(|h| h.info().cpu().is_some())
            .ok_or_else(|| bad("runs on the CPU, and the GPU was opened without one".into()))?;
        let run = HostRun::decode(step).map_err(bad)?;
        let mut staged = 0u64;
        let mut stage = |len: u64| -> Result<Place, DeviceError> {
            let offset = staged;
            let end = offset.checked_add(len).and_then(|n| n.checked_next_multiple_of(ALIGNMENT));
            staged = end.ok_or_else(|| bad("its sizes overflow".into()))?;
            Ok(Place::Staged { offset, len })
        };
        let (mut kept, mut places, mut lens) = (Vec::new(), Vec::new(), Vec::new());
        let mut given = step.inputs.iter();
        for input in run.inputs {
            let (place, len) = match input {
                HostInput::Kept(bytes) => {
                    let len = bytes.len() as u64;
                    let memory = host.constants(Arc::new(bytes))?;
                    let span = Span { len, ..memory.span() };
                    kept.push(memory);
                    (Place::Kept(span), len)
                }
                // `decode` has counted them.
                HostInput::Given => {
                    let len = given.next().copied().unwrap_or(0);
                    (stage(len)?, len)
                }
            };
            places.push(place);
            lens.push(len);
        }
        for &len in step.outputs {
            places.push(stage(len)?);
        }
        let desc = StepDesc {
            kernel: &run.kernel,
            params: &run.params,
            inputs: &lens,
            outputs: step.outputs,
            scratch: run.scratch,
            code: None,
        };
        let executable = host.prepare(&desc)?;
        Ok(HostWork {
            host: host.clone(),
            run: executable,
            scratch: run.scratch,
            staged,
            places,
            inputs: step.inputs.len(),
            kernel: run.kernel,
            _kept: kept,
        })
    }

    /// The kernel's inputs and outputs, with the staged ones in a block that begins at `base`.
    pub(crate) fn arguments(&self, base: u64) -> Vec<Span> {
        let span = |place: &Place| match *place {
            Place::Kept(span) => span,
            Place::Staged { offset, len } => Span { address: base + offset, len },
        };
        self.places.iter().map(span).collect()
    }

    /// The staged places in a block that begins at `base`: inputs, then outputs.
    fn staged(&self, base: u64) -> impl Iterator<Item = Span> {
        let span = move |place: &Place| match *place {
            Place::Kept(_) => None,
            Place::Staged { offset, len } => Some(Span { address: base + offset, len }),
        };
        self.places.iter().filter_map(span)
    }
}

/// A `host.run` step, ready to enqueue.
pub(crate) struct HostStep {
    context: Arc<Context>,
    work: Arc<HostWork>,
    outputs: usize,
    /// Tells steps apart; never used twice.
    id: u64,
    /// Streams forget the step when this is gone.
    alive: Arc<()>,
}

impl HostStep {
    /// Decodes and checks a step.
    ///
    /// # Errors
    /// When the step does not fit itself or the host.
    pub(crate) fn prepare(
        step: &StepDesc<'_>,
        context: &Arc<Context>,
        host: Option<&Arc<dyn Device>>,
    ) -> Result<HostStep, DeviceError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(HostStep {
            context: context.clone(),
            work: Arc::new(HostWork::prepare(step, host)?),
            outputs: step.outputs.len(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            alive: Arc::new(()),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn work(&self) -> &Arc<HostWork> {
        &self.work
    }

    pub(crate) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }
}

impl Executable for HostStep {
    /// Beyond what the trait says: the first run on a stream, and every recording, allocates the memory that operands are
    /// staged in.
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let s = CudaStream::of(stream)?;
        let inputs = self.work.inputs;
        if args.len() < inputs + self.outputs || *s.context() != self.context {
            return Err(DeviceError::Failed {
                call: "enqueueing a CPU step".into(),
                reason: "it was prepared for other arguments or another GPU".into(),
            });
        }
        let call: Arc<HostCall> = s.host_call(self)?;
        let mut staged = self.work.staged(call.base()).zip(args);
        for (host, device) in staged.by_ref().take(inputs).filter(|(h, _)| h.len > 0) {
            let (to, len) = (host.address as usize as *mut _, host.len as usize);
            // SAFETY: the caller's span is live and at least as long as `prepare` was told, which is this length; the
            // pinned memory is as long, and kept as the call is, below. What was enqueued before is done with it by
            // then.
            check("cuMemcpyDtoHAsync", unsafe {
                sys::cuMemcpyDtoHAsync_v2(to, device.address, len, s.raw())
            })?;
        }
        // SAFETY: the function takes a call, which the stream keeps until all that it has enqueued is done. The calls of a
        // recording are its own, and the streams that it is launched on keep them as long.
        check("cuLaunchHostFunc", unsafe {
            sys::cuLaunchHostFunc(s.raw(), Some(run_call), Arc::as_ptr(&call).cast_mut().cast())
        })?;
        for (host, device) in staged.filter(|(h, _)| h.len > 0) {
            let (from, len) = (host.address as usize as *const _, host.len as usize);
            // SAFETY: as above, with the directions exchanged.
            check("cuMemcpyHtoDAsync", unsafe {
                sys::cuMemcpyHtoDAsync_v2(device.address, from, len, s.raw())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "host_run_tests.rs"]
mod tests;
