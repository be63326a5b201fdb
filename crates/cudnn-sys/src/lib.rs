//! The backend interface of cuDNN 9, loaded at run time.
//!
//! A private dependency of the public crate. Nothing is linked: [`Cudnn::get`] finds `libcudnn.so.9` on the loader
//! path, or says what is missing. C enums are integers here with named constants, never Rust enums, because newer
//! libraries return values that are not known yet.

mod load;
mod values;

use std::ffi::{c_char, c_int, c_void};

pub use load::LoadError;
pub use values::*;

/// A `cudnnHandle_t`.
pub type Handle = *mut c_void;

/// A `cudnnBackendDescriptor_t`.
pub type RawDescriptor = *mut c_void;

/// A `cudaStream_t`, which is the driver's `CUstream`.
pub type RawStream = *mut c_void;

/// The functions of cuDNN that the backend interface needs, as C declares them.
#[allow(missing_docs, reason = "each field is the C function of that name")]
#[derive(Clone, Copy, Debug)]
pub struct Cudnn {
    pub create: unsafe extern "C" fn(*mut Handle) -> Status,
    pub destroy: unsafe extern "C" fn(Handle) -> Status,
    pub set_stream: unsafe extern "C" fn(Handle, RawStream) -> Status,
    pub get_version: unsafe extern "C" fn() -> usize,
    pub get_cudart_version: unsafe extern "C" fn() -> usize,
    pub get_error_string: unsafe extern "C" fn(Status) -> *const c_char,
    pub get_last_error_string: unsafe extern "C" fn(*mut c_char, usize),
    pub backend_create_descriptor: unsafe extern "C" fn(DescriptorType, *mut RawDescriptor) -> Status,
    pub backend_destroy_descriptor: unsafe extern "C" fn(RawDescriptor) -> Status,
    pub backend_finalize: unsafe extern "C" fn(RawDescriptor) -> Status,
    pub backend_set_attribute:
        unsafe extern "C" fn(RawDescriptor, AttributeName, AttributeType, i64, *const c_void) -> Status,
    pub backend_get_attribute: unsafe extern "C" fn(
        RawDescriptor,
        AttributeName,
        AttributeType,
        i64,
        *mut i64,
        *mut c_void,
    ) -> Status,
    pub backend_execute: unsafe extern "C" fn(Handle, RawDescriptor, RawDescriptor) -> Status,
}

const _: () = assert!(size_of::<Status>() == size_of::<c_int>());
