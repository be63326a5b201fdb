//! One CPU step on one stream or in one recording: its staging memory, and the function that the driver calls.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tactician_device::{DeviceError, Memory, Span, Stream};

use crate::host_run::HostWork;

/// The first failure of the CPU steps of a stream or recording that nobody has been told of.
#[derive(Debug, Default)]
pub(crate) struct HostFailure(Mutex<Option<DeviceError>>);

impl HostFailure {
    fn keep(&self, e: DeviceError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }

    /// Tells it, once.
    pub(crate) fn tell(&self) -> Result<(), DeviceError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// The CPU steps of a recording, by their number, with memory of their own: the recording may be launched on any stream,
/// but runs once at a time.
#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) calls: BTreeMap<u64, Arc<HostCall>>,
    pub(crate) failure: Arc<HostFailure>,
}

/// A CPU step with the memory of its runs on one stream or in one recording, which come one after the other.
pub(crate) struct HostCall {
    work: Arc<HostWork>,
    /// The kernel's arguments: inputs, outputs, scratch.
    args: Vec<Span>,
    stream: Mutex<Box<dyn Stream>>,
    failure: Arc<HostFailure>,
    step: Weak<()>,
    staging: Box<dyn Memory>,
    _scratch: Box<dyn Memory>,
}

impl HostCall {
    /// A call of `work` on operands staged in `staging`, which has as many bytes as the work stages. `step` is gone
    /// when nobody will enqueue it any more.
    ///
    /// # Errors
    /// When the host is short of memory.
    pub(crate) fn new(
        work: &Arc<HostWork>,
        staging: Box<dyn Memory>,
        failure: &Arc<HostFailure>,
        step: Weak<()>,
    ) -> Result<HostCall, DeviceError> {
        let scratch = work.host.alloc(work.scratch)?;
        let mut args = work.arguments(staging.span().address);
        args.push(Span { len: work.scratch, ..scratch.span() });
        Ok(HostCall {
            work: work.clone(),
            args,
            stream: Mutex::new(work.host.stream()?),
            failure: failure.clone(),
            step,
            staging,
            _scratch: scratch,
        })
    }

    /// Where the staging memory begins.
    pub(crate) fn base(&self) -> u64 {
        self.staging.span().address
    }

    /// Whether the step may be enqueued again.
    pub(crate) fn is_wanted(&self) -> bool {
        self.step.strong_count() > 0
    }

    /// Computes. What goes wrong, panics included, is kept for whoever synchronises with the stream next.
    pub(crate) fn run(&self) {
        let work = || {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the spans are live memory of the host, which this call owns or its work keeps, as long as the
            // step was prepared for; they do not overlap, and the stream of the GPU does nothing else with them now.
            stream.run(&mut |s| unsafe { self.work.run.enqueue(&self.args, s) })?;
            stream.synchronize()
        };
        let failed = |reason: String| DeviceError::Failed {
            call: format!("running `{}` on the CPU", self.work.kernel),
            reason,
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => self.failure.keep(failed(e.to_string())),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
                self.failure.keep(failed(format!("it panicked: {}", text.unwrap_or("no reason given"))));
            }
        }
    }
}

/// What the driver calls when the stream comes to a CPU step. Makes no call of the driver.
///
/// # Safety
/// `call` points to a live [`HostCall`] whose staging memory nothing else accesses meanwhile.
pub(crate) unsafe extern "C" fn run_call(call: *mut c_void) {
    // SAFETY: promised by the caller.
    unsafe { &*call.cast_const().cast::<HostCall>() }.run();
}
