//! The library's context on each GPU.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use tactician_cublaslt_sys::{Handle, Library, library};
use tactician_device::DeviceError;

use super::descriptors::check;
use crate::driver::Context;

/// The library, ready on one GPU.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) library: &'static Library,
    pub(super) handle: Handle,
}

// SAFETY: the library's functions may be called with one handle from several threads: it is read only after it was
// made.
unsafe impl Send for Ready {}
// SAFETY: as above.
unsafe impl Sync for Ready {}

/// The library on GPU number `ordinal`, whose context becomes the calling thread's. Made ready once a process and kept:
/// the driver may be gone by the time that it could be destroyed.
///
/// # Errors
/// When the library or the GPU cannot be used.
pub(super) fn ready(ordinal: usize) -> Result<Ready, DeviceError> {
    static READY: Mutex<BTreeMap<usize, Ready>> = Mutex::new(BTreeMap::new());
    let library = library()
        .map_err(|e| DeviceError::Failed { call: "loading cuBLASLt".into(), reason: e.to_string() })?;
    Context::primary(ordinal)?.make_current()?;
    let mut all = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(r) = all.get(&ordinal) {
        return Ok(*r);
    }
    let mut handle: Handle = ptr::null_mut();
    // SAFETY: the pointer is to a live handle.
    check("cublasLtCreate", unsafe { (library.create)(&mut handle) })?;
    let r = Ready { library, handle };
    all.insert(ordinal, r);
    Ok(r)
}

/// Version of the library, such as 130002.
pub(super) fn version(library: &Library) -> u64 {
    // SAFETY: takes nothing.
    unsafe { (library.version)() as u64 }
}
