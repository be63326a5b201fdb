//! What a device is to `tactician`: memory, streams, and executables made from plan steps.
//!
//! ```text
//!  plan step ──Device::prepare──▶ Executable ─┐
//!  plan weights ─Device::constants─▶ Memory ──┼─ Executable::enqueue(spans, stream) ─▶ Stream::synchronize
//!  arena bytes ──Device::alloc────▶ Memory ───┘
//! ```
//!
//! A private dependency of the public crate. Backends (`cpu`, and any that follows) implement these traits; the
//! runtime and the tuner know nothing else about a device. [`replay::ReplayDevice`] implements them with scripted
//! times and no arithmetic, for tests of the logic above.

mod error;
mod host;
mod info;
pub mod replay;

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

pub use error::{DeviceError, Room};
pub use host::{HostMemory, host_constants, host_pointer};
pub use info::{CpuInfo, CudaInfo, DeviceInfo, DeviceKind, Isa, cuda_architecture};

/// A stretch of device memory. Plain numbers: whoever makes one answers for it (see [`Executable::enqueue`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Device address of the first byte; on the CPU, a host address.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Span {
    /// A span of nothing.
    pub const EMPTY: Span = Span { address: 0, len: 0 };
}

/// Alignment in bytes of every allocation, plan section and arena offset.
pub const ALIGNMENT: u64 = 256;

/// Host bytes that stay put while shared, such as a mapped plan file.
pub trait HostBytes: Send + Sync {
    /// The bytes; the same address at every call.
    fn bytes(&self) -> &[u8];
}

impl HostBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// What a device must know of a plan step to prepare it.
#[derive(Clone, Copy, Debug)]
pub struct StepDesc<'a> {
    /// Kernel name, such as `conv.winograd`; each backend has its own table.
    pub kernel: &'a str,
    /// The kernel's parameters as the backend serialises them. Untrusted.
    pub params: &'a [u8],
    /// Byte length of each input, in order.
    pub inputs: &'a [u64],
    /// Byte length of each output, in order.
    pub outputs: &'a [u64],
    /// Byte length of the scratch block (0: none).
    pub scratch: u64,
    /// The machine code that [`Device::compile`] made for the step, if it has some. Untrusted.
    pub code: Option<&'a [u8]>,
}

/// Source code that a device compiles when a plan is built; the plan holds what comes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeSource {
    /// What it is, for messages, such as `gemm/mma.cu`.
    pub name: String,
    /// The whole text: it includes nothing.
    pub text: Arc<str>,
    /// Compiler options, such as `-DTILE_M=128`. The device adds its architecture.
    pub options: Vec<String>,
}

/// Recorded work that a device runs again at little cost.
pub trait Graph: Send {
    /// Enqueues all of it on a stream of the device that recorded it.
    ///
    /// # Safety
    /// Everything that was safe to enqueue when it was recorded still is.
    unsafe fn launch(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError>;
}

/// Owned device memory, aligned to [`ALIGNMENT`], freed on drop.
pub trait Memory: Send + Sync {
    /// Address and length.
    fn span(&self) -> Span;
}

/// What [`Stream::run`] and [`Stream::time`] run: it enqueues on the stream that it is given.
pub type Work<'a> = dyn FnMut(&mut dyn Stream) -> Result<(), DeviceError> + Send + 'a;

/// An in-order queue of work, used by one thread at a time.
pub trait Stream: Send {
    /// Copies host bytes to the device.
    ///
    /// # Safety
    /// `to` lies in live memory of this device and nothing else accesses it meanwhile. `from.len() == to.len`.
    unsafe fn write(&mut self, to: Span, from: &[u8]) -> Result<(), DeviceError>;

    /// Copies device bytes to the host, after all work enqueued before.
    ///
    /// # Safety
    /// As for [`Stream::write`].
    unsafe fn read(&mut self, from: Span, to: &mut [u8]) -> Result<(), DeviceError>;

    /// Sets every byte.
    ///
    /// # Safety
    /// As for [`Stream::write`].
    unsafe fn fill(&mut self, to: Span, byte: u8) -> Result<(), DeviceError>;

    /// Copies from one place to another, each in memory of the device or of the host, behind all work enqueued before. A
    /// GPU's stream goes on without waiting, unless one of the places is ordinary host memory, which the driver can make it
    /// wait for. The default is for devices whose memory is the host's.
    ///
    /// # Safety
    /// Both places are live, and nothing else writes `from` or accesses `to`, until the copy is done. They have one length
    /// and do not overlap.
    unsafe fn copy(&mut self, from: Span, to: Span) -> Result<(), DeviceError> {
        // SAFETY: promised by the caller.
        unsafe { std::ptr::copy_nonoverlapping(host_pointer(from), host_pointer(to), to.len as usize) };
        Ok(())
    }

    /// Makes what is enqueued from now on wait for all that was enqueued on another stream of the device.
    ///
    /// # Errors
    /// When the other stream is another device's or has failed.
    fn follow(&mut self, other: &mut dyn Stream) -> Result<(), DeviceError> {
        other.synchronize()
    }

    /// Waits for everything enqueued and reports what failed.
    fn synchronize(&mut self) -> Result<(), DeviceError>;

    /// Runs `work`, which enqueues on this stream, as one batch in the device's preferred way: the CPU makes the
    /// caller one of its workers for the time. Steps enqueued outside a batch run too, at a higher cost each.
    /// Batches may nest.
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), DeviceError>;

    /// As [`Stream::run`], and returns the device time that the work took, start to end.
    fn time(&mut self, work: &mut Work<'_>) -> Result<Duration, DeviceError>;

    /// Records what `work` enqueues on this stream instead of running it; `None` where the device has nothing to gain
    /// from that, and `work` was not called.
    ///
    /// # Errors
    /// When `work` fails or enqueues what cannot be recorded.
    fn record(&mut self, work: &mut Work<'_>) -> Result<Option<Box<dyn Graph>>, DeviceError> {
        let _ = work;
        Ok(None)
    }

    /// For backends: the concrete stream.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// A step made ready: kernel found, parameters decoded and checked against the lengths in its [`StepDesc`].
pub trait Executable: Send + Sync {
    /// Enqueues the step. Allocates nothing, takes no lock.
    ///
    /// # Safety
    /// `args` are the inputs, the outputs, then the scratch span (empty if none), each at least as long as in the
    /// [`StepDesc`] this was prepared from, in live memory of the stream's device, aligned to 64 bytes (inputs and
    /// outputs of the network: to their element size). Outputs and scratch overlap nothing else in `args`, and
    /// nothing else writes the inputs or touches outputs and scratch until the stream has run the step.
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError>;
}

/// A place where plans run.
pub trait Device: Send + Sync {
    /// What it is, with everything that could change a measurement.
    fn info(&self) -> &DeviceInfo;

    /// Allocates uninitialised memory (contents unspecified, safe to read as bytes).
    fn alloc(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError>;

    /// Allocates host memory that the device copies from and to at its best: page-locked for a GPU. Zeroed.
    fn host_memory(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Ok(Box::new(HostMemory::alloc(bytes, "the host")?))
    }

    /// Whether steps can work in place on memory that somebody else allocated. What they cannot work on is copied.
    fn reaches(&self, span: Span) -> bool {
        let _ = span;
        true
    }

    /// Makes host bytes readable by the device: the CPU uses them in place, a GPU copies them.
    fn constants(&self, bytes: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError>;

    /// Checks and prepares a step. The description is untrusted; an unfit one is an error, never undefined
    /// behaviour later.
    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError>;

    /// Compiles code for this device. Equal sources give equal code.
    ///
    /// # Errors
    /// When the device runs no code of that kind, its compiler is missing, or the code is wrong.
    fn compile(&self, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        Err(DeviceError::Failed {
            call: format!("compiling {}", source.name),
            reason: format!("a {} has no compiler", self.info().kind_name()),
        })
    }

    /// Whether it still works. After a kernel's fault a GPU refuses this process everything: whoever tries unknown
    /// kernels asks before it blames the next one.
    ///
    /// # Errors
    /// The fault.
    fn health(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// A new stream.
    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError>;

    /// Somebody else's stream, by the handle that the device's driver gave it.
    ///
    /// # Errors
    /// When the device has no such streams, or the stream is another device's.
    ///
    /// # Safety
    /// The handle is of a live stream, which outlives what is returned.
    unsafe fn adopt(&self, handle: *mut c_void) -> Result<Box<dyn Stream>, DeviceError> {
        let _ = handle;
        Err(DeviceError::Failed {
            call: "enqueueing on a stream of the caller's".into(),
            reason: format!("a {} has no streams of others", self.info().kind_name()),
        })
    }
}
