//! What this module needs of the backend's contexts and streams.

use std::ffi::c_void;

use tactician_device::{DeviceError, Stream};

/// Makes the context of GPU number `ordinal` the calling thread's.
pub(super) fn make_current(ordinal: usize) -> Result<(), DeviceError> {
    let _ = ordinal;
    Ok(())
}

/// The driver's stream, its context made current.
pub(super) fn raw(stream: &mut dyn Stream) -> Result<*mut c_void, DeviceError> {
    let _ = stream;
    Err(DeviceError::Failed { call: "enqueueing on a GPU".into(), reason: "there is no stream".into() })
}
