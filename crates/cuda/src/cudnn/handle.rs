//! cuDNN's handles: one a stream, made before anything is recorded.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tactician_cudnn_sys::{Cudnn, RawStream};
use tactician_device::DeviceError;

use super::descriptor::{Descriptor, check, library};

/// A cuDNN handle in the primary context of one GPU. It serves one stream at a time, and so one thread.
#[derive(Debug)]
pub(crate) struct Handle {
    cudnn: &'static Cudnn,
    raw: tactician_cudnn_sys::Handle,
    ordinal: usize,
}

// SAFETY: handles are bound to a context, not to a thread; one is only ever used by the thread that has it.
unsafe impl Send for Handle {}

/// Handles that no stream has, by GPU. Contexts are never closed, so they stay valid.
fn spare() -> MutexGuard<'static, BTreeMap<usize, Vec<Handle>>> {
    static SPARE: Mutex<BTreeMap<usize, Vec<Handle>>> = Mutex::new(BTreeMap::new());
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// Makes sure that there is a handle that a stream of GPU `ordinal`, whose context is current, can take: making one
    /// while a stream records could break the recording.
    ///
    /// # Errors
    /// When cuDNN is missing or makes no handle.
    pub(crate) fn stock(ordinal: usize) -> Result<(), DeviceError> {
        if spare().get(&ordinal).is_some_and(|l| !l.is_empty()) {
            return Ok(());
        }
        let handle = Handle::new(ordinal)?;
        spare().entry(ordinal).or_default().push(handle);
        Ok(())
    }

    /// As [`Handle::stock`], where cuDNN has been used on the GPU at all.
    ///
    /// # Errors
    /// When cuDNN makes no handle.
    pub(crate) fn restock(ordinal: usize) -> Result<(), DeviceError> {
        // The list of a GPU is there, if empty, once a handle was.
        if spare().contains_key(&ordinal) { Handle::stock(ordinal) } else { Ok(()) }
    }

    /// A handle of GPU `ordinal`, whose context is current, that enqueues on `stream`.
    ///
    /// # Errors
    /// When cuDNN is missing or makes no handle.
    ///
    /// # Safety
    /// `stream` is a live stream of that context until the handle is given back or another is set.
    pub(crate) unsafe fn take(ordinal: usize, stream: RawStream) -> Result<Handle, DeviceError> {
        let kept = spare().get_mut(&ordinal).and_then(Vec::pop);
        let mut handle = match kept {
            Some(h) => h,
            None => Handle::new(ordinal)?,
        };
        // SAFETY: the caller answers for the stream.
        unsafe { handle.set_stream(stream)? };
        Ok(handle)
    }

    /// Keeps it for the next stream.
    pub(crate) fn give_back(mut self) {
        // SAFETY: null is the context's default stream, which always lives.
        if unsafe { self.set_stream(ptr::null_mut()) }.is_ok() {
            spare().entry(self.ordinal).or_default().push(self);
        }
    }

    fn new(ordinal: usize) -> Result<Handle, DeviceError> {
        let cudnn = library()?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes the new handle to `raw`.
        check(cudnn, unsafe { (cudnn.create)(&mut raw) }, || "creating a handle".to_owned())?;
        Ok(Handle { cudnn, raw, ordinal })
    }

    /// # Safety
    /// `stream` is a live stream of the handle's context as long as it is set.
    unsafe fn set_stream(&mut self, stream: RawStream) -> Result<(), DeviceError> {
        // SAFETY: the handle is live; the caller answers for the stream.
        let status = unsafe { (self.cudnn.set_stream)(self.raw, stream) };
        check(self.cudnn, status, || "setting the stream".to_owned())
    }

    /// Enqueues a plan.
    ///
    /// # Safety
    /// `pack` holds what the plan asks for: addresses of live memory of this device, large and aligned enough.
    pub(crate) unsafe fn execute(&mut self, plan: &Descriptor, pack: &Descriptor) -> Result<(), DeviceError> {
        // SAFETY: all three are live; the caller answers for the addresses.
        let status = unsafe { (self.cudnn.backend_execute)(self.raw, plan.raw(), pack.raw()) };
        check(self.cudnn, status, || "executing a plan".to_owned())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created by `new` and destroyed once. A failure to destroy cannot be helped.
        let _ = unsafe { (self.cudnn.destroy)(self.raw) };
    }
}
