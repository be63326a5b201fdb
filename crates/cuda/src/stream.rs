//! Streams, device time, and recorded graphs.
//!
//! A kernel that faults (an illegal address, say) ends its context: from then on every call of this process fails on
//! that GPU, with an error that says so. There is no way back but a new process. Whoever tries unknown kernels should
//! therefore synchronise after each, so that the fault is blamed on the right one, write down what was learned, and
//! ask [`tactician_device::Device::health`] before going on.

use std::any::Any;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{self, CUevent, CUgraphExec, CUstream};
use tactician_device::{DeviceError, Graph, Span, Stream, Work};

#[cfg(feature = "cudnn")]
use crate::cudnn;
use crate::driver::{Context, check};
use crate::host_call::{HostCall, HostFailure, Recorded};
use crate::host_run::HostStep;
use crate::memory::Pinned;

/// A stream of a GPU. Timings do not nest.
pub struct CudaStream {
    context: Arc<Context>,
    raw: CUstream,
    /// Whether it is somebody else's, who destroys it.
    borrowed: bool,
    start: CUevent,
    end: CUevent,
    /// Marks where another stream is when this one is told to follow it.
    mark: CUevent,
    /// Made when a step first needs it.
    #[cfg(feature = "cudnn")]
    cudnn: Option<cudnn::Handle>,
    /// The CPU steps that were enqueued, by their number.
    host: BTreeMap<u64, Arc<HostCall>>,
    host_failure: Arc<HostFailure>,
    /// Recordings with CPU steps that were launched here.
    launched: Vec<Arc<Recorded>>,
    /// While it records: the CPU steps in the recording.
    recorded: Option<Recorded>,
}

// SAFETY: stream and events may be used from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for CudaStream {}

impl CudaStream {
    pub(crate) fn new(context: Arc<Context>) -> Result<CudaStream, DeviceError> {
        context.make_current()?;
        let mut raw = ptr::null_mut();
        // It does not wait for the default stream, which nothing here uses.
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current; the pointer is to a live handle, which `drop` destroys.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, flags) })?;
        CudaStream::with_events(context, raw, false)
    }

    /// A stream of somebody else's, who destroys it later.
    ///
    /// # Errors
    /// When it is of another context: another GPU's, or one that is not the GPU's primary context.
    ///
    /// # Safety
    /// The stream is live, and outlives this.
    pub(crate) unsafe fn borrow(context: Arc<Context>, raw: CUstream) -> Result<CudaStream, DeviceError> {
        context.make_current()?;
        // SAFETY: promised by the caller.
        if !unsafe { context.has_stream(raw)? } {
            return Err(DeviceError::Failed {
                call: "enqueueing on a stream of the caller's".into(),
                reason: format!(
                    "it is not of the primary context of GPU {}, where the engine is",
                    context.ordinal()
                ),
            });
        }
        CudaStream::with_events(context, raw, true)
    }

    /// The rest of a stream of the context, which is current.
    fn with_events(context: Arc<Context>, raw: CUstream, borrowed: bool) -> Result<CudaStream, DeviceError> {
        let mut s = CudaStream {
            context,
            raw,
            borrowed,
            start: ptr::null_mut(),
            end: ptr::null_mut(),
            mark: ptr::null_mut(),
            #[cfg(feature = "cudnn")]
            cudnn: None,
            host: BTreeMap::new(),
            host_failure: Arc::default(),
            launched: Vec::new(),
            recorded: None,
        };
        let untimed = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the context is current; the pointers are to live handles, which `drop` destroys.
        unsafe {
            check("cuEventCreate", sys::cuEventCreate(&mut s.start, 0))?;
            check("cuEventCreate", sys::cuEventCreate(&mut s.end, 0))?;
            check("cuEventCreate", sys::cuEventCreate(&mut s.mark, untimed))?;
        }
        Ok(s)
    }

    /// The CUDA stream behind a [`Stream`], its context made current on this thread: what an
    /// [`tactician_device::Executable`] begins with.
    ///
    /// # Errors
    /// When the stream is another backend's, or its context is unusable.
    pub fn of(stream: &mut dyn Stream) -> Result<&mut CudaStream, DeviceError> {
        let s = stream.as_any().downcast_mut::<CudaStream>().ok_or_else(|| DeviceError::Failed {
            call: "enqueueing on a GPU".into(),
            reason: "the stream belongs to another kind of device".into(),
        })?;
        s.context.make_current()?;
        Ok(s)
    }

    /// The driver's handle.
    pub fn raw(&self) -> CUstream {
        self.raw
    }

    #[cfg(feature = "cudnn")]
    /// The handle through which cuDNN enqueues on this stream, whose context is current.
    pub(crate) fn cudnn(&mut self) -> Result<&mut cudnn::Handle, DeviceError> {
        let handle = match self.cudnn.take() {
            Some(h) => h,
            // SAFETY: our own stream, which gives the handle back before it ends.
            None => unsafe { cudnn::Handle::take(self.context.ordinal(), self.raw.cast())? },
        };
        Ok(self.cudnn.insert(handle))
    }

    /// A CPU step made ready for this stream, whose context is current, or for what it records. The stream keeps it until
    /// it is done with it, and the recording for as long as it lives.
    pub(crate) fn host_call(&mut self, step: &HostStep) -> Result<Arc<HostCall>, DeviceError> {
        if self.recorded.is_none() {
            self.forget_unwanted()?;
        }
        let (calls, failure) = match &mut self.recorded {
            Some(r) => (&mut r.calls, &r.failure),
            None => (&mut self.host, &self.host_failure),
        };
        if let Some(call) = calls.get(&step.id()) {
            return Ok(call.clone());
        }
        let staging = Box::new(Pinned::alloc(&self.context, step.work().staged)?);
        let call = Arc::new(HostCall::new(step.work(), staging, failure, step.alive())?);
        calls.insert(step.id(), call.clone());
        Ok(call)
    }

    /// Lets go of CPU steps that nobody can enqueue any more.
    fn forget_unwanted(&mut self) -> Result<(), DeviceError> {
        if self.host.values().all(|c| c.is_wanted()) {
            return Ok(());
        }
        // SAFETY: our own stream, which does not record.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })?;
        self.host.retain(|_, c| c.is_wanted());
        Ok(())
    }

    /// What went wrong with CPU steps, now that the stream is done with all of them.
    fn settle(&mut self) -> Result<(), DeviceError> {
        let told = self.host_failure.tell();
        let told = self.launched.iter().fold(told, |told, r| told.and(r.failure.tell()));
        // Recordings that only this stream still knows.
        self.launched.retain(|r| Arc::strong_count(r) > 1);
        told
    }

    /// The context it belongs to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        // Whoever drops a stream next frees what its work uses.
        if self.context.make_current().is_err() {
            return;
        }
        // SAFETY: our own stream, or one that outlives this; null is the default stream of a borrower who asked for it.
        unsafe { sys::cuStreamSynchronize(self.raw) };
        #[cfg(feature = "cudnn")]
        if let Some(handle) = self.cudnn.take() {
            handle.give_back();
        }
        // SAFETY: created in `new` or `with_events`, destroyed only here; an event that was not created is null.
        unsafe {
            if !self.borrowed {
                sys::cuStreamDestroy_v2(self.raw);
            }
            for event in [self.start, self.end, self.mark] {
                if !event.is_null() {
                    sys::cuEventDestroy_v2(event);
                }
            }
        }
    }
}

fn equal_lengths(span: Span, host: usize) -> Result<(), DeviceError> {
    if span.len == host as u64 {
        return Ok(());
    }
    let reason = format!("{} bytes on the device, {host} on the host", span.len);
    Err(DeviceError::Failed { call: "copying".into(), reason })
}

impl Stream for CudaStream {
    unsafe fn write(&mut self, to: Span, from: &[u8]) -> Result<(), DeviceError> {
        equal_lengths(to, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        self.context.make_current()?;
        // SAFETY: live and unshared by contract, as long as the slice, which lives until the copy is done.
        unsafe {
            let result = sys::cuMemcpyHtoDAsync_v2(to.address, from.as_ptr().cast(), from.len(), self.raw);
            check("cuMemcpyHtoDAsync", result)?;
        }
        self.synchronize()
    }

    unsafe fn read(&mut self, from: Span, to: &mut [u8]) -> Result<(), DeviceError> {
        equal_lengths(from, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        self.context.make_current()?;
        // SAFETY: live and not written meanwhile by contract, as long as the slice, which lives until the copy is
        // done.
        unsafe {
            let result = sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.address, to.len(), self.raw);
            check("cuMemcpyDtoHAsync", result)?;
        }
        self.synchronize()
    }

    unsafe fn fill(&mut self, to: Span, byte: u8) -> Result<(), DeviceError> {
        if to.len == 0 {
            return Ok(());
        }
        self.context.make_current()?;
        // SAFETY: live and unshared by contract.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to.address, byte, to.len as usize, self.raw) })
    }

    unsafe fn copy(&mut self, from: Span, to: Span) -> Result<(), DeviceError> {
        equal_lengths(from, to.len as usize)?;
        if to.len == 0 {
            return Ok(());
        }
        self.context.make_current()?;
        // SAFETY: both live and unshared by contract until the copy is done. The driver tells memory of the host and of
        // GPUs apart by the addresses.
        check("cuMemcpyAsync", unsafe {
            sys::cuMemcpyAsync(to.address, from.address, to.len as usize, self.raw)
        })
    }

    fn follow(&mut self, other: &mut dyn Stream) -> Result<(), DeviceError> {
        let other = CudaStream::of(other)?;
        if other.context != self.context {
            return Err(DeviceError::Failed {
                call: "following a stream".into(),
                reason: "it is another GPU's".into(),
            });
        }
        // SAFETY: our own event; both streams are live and of its context.
        unsafe {
            check("cuEventRecord", sys::cuEventRecord(self.mark, other.raw))?;
            check("cuStreamWaitEvent", sys::cuStreamWaitEvent(self.raw, self.mark, 0))
        }
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        self.context.make_current()?;
        // SAFETY: our own stream.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })?;
        self.settle()
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), DeviceError> {
        self.context.make_current()?;
        work(self)
    }

    fn time(&mut self, work: &mut Work<'_>) -> Result<Duration, DeviceError> {
        self.context.make_current()?;
        // SAFETY: our own event and stream.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.start, self.raw) })?;
        work(self)?;
        self.context.make_current()?;
        let mut ms = 0.0;
        // SAFETY: as above; both events are recorded, and the pointer is to a live number.
        unsafe {
            check("cuEventRecord", sys::cuEventRecord(self.end, self.raw))?;
            check("cuEventSynchronize", sys::cuEventSynchronize(self.end))?;
            check("cuEventElapsedTime", sys::cuEventElapsedTime_v2(&mut ms, self.start, self.end))?;
        }
        self.settle()?;
        Ok(Duration::from_secs_f64(f64::from(ms).max(0.0) / 1e3))
    }

    fn record(&mut self, work: &mut Work<'_>) -> Result<Option<Box<dyn Graph>>, DeviceError> {
        self.context.make_current()?;
        // Whatever ran before may have run on another stream, with another handle.
        #[cfg(feature = "cudnn")]
        if self.cudnn.is_none() {
            cudnn::Handle::restock(self.context.ordinal())?;
        }
        let context = self.context.clone();
        let _recording = context.record();
        // Relaxed: libraries may load kernels when first used, which the stricter modes forbid.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: our own stream.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.raw, mode) })?;
        self.recorded = Some(Recorded::default());
        let done = work(self);
        let host = Arc::new(self.recorded.take().unwrap_or_default());
        // The capture must end whatever came of the work.
        let current = self.context.make_current();
        let mut graph = ptr::null_mut();
        // SAFETY: our own stream, which is capturing; the pointer is to a live handle.
        let ended = check("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(self.raw, &mut graph) });
        let mut recorded = CudaGraph { context: self.context.clone(), exec: ptr::null_mut(), host };
        let made = done.and(current).and(ended).and_then(|()| {
            // SAFETY: the graph that the capture made; the pointer is to a live handle, which `drop` destroys.
            unsafe {
                let result = sys::cuGraphInstantiateWithFlags(&mut recorded.exec, graph, 0);
                check("cuGraphInstantiate", result)?;
                check("cuGraphUpload", sys::cuGraphUpload(recorded.exec, self.raw))
            }
        });
        if !graph.is_null() {
            // SAFETY: made by the capture; what was instantiated from it does not need it.
            unsafe { sys::cuGraphDestroy(graph) };
        }
        made.map(|()| Some(Box::new(recorded) as Box<dyn Graph>))
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Work recorded by [`Stream::record`], ready to launch.
struct CudaGraph {
    context: Arc<Context>,
    exec: CUgraphExec,
    /// Its CPU steps, which streams that it was launched on keep too until they are done.
    host: Arc<Recorded>,
}

// SAFETY: an executable graph may be used from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for CudaGraph {}

impl Graph for CudaGraph {
    unsafe fn launch(&mut self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let s = CudaStream::of(stream)?;
        if s.context != self.context {
            return Err(DeviceError::Failed {
                call: "cuGraphLaunch".into(),
                reason: "the stream is another GPU's".into(),
            });
        }
        if !self.host.calls.is_empty() && !s.launched.iter().any(|r| Arc::ptr_eq(r, &self.host)) {
            s.launched.push(self.host.clone());
        }
        // SAFETY: instantiated in `record` on this device; what it touches is still safe to touch by contract.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.exec, s.raw) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        if !self.exec.is_null() && self.context.make_current().is_ok() {
            // SAFETY: instantiated in `record`, destroyed only here; the driver waits for a run under way.
            unsafe { sys::cuGraphExecDestroy(self.exec) };
        }
    }
}
