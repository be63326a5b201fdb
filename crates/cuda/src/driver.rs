//! Calls of the driver: their errors in words, and a device's context.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute, CUresult};
use tactician_device::DeviceError;
use tactician_types::Bytes;

use crate::probe;

/// Every driver function that this crate calls; `cudarc` panics when one is missing.
pub(crate) const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyAsync",
    "cuPointerGetAttribute",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamGetCtx",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime_v2",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuFuncGetAttribute",
    "cuFuncGetParamInfo",
    "cuLaunchKernelEx",
    "cuLaunchHostFunc",
    "cuTensorMapEncodeTiled",
    "cuTensorMapEncodeIm2col",
];

/// What a driver call returned, as a result.
///
/// # Errors
/// [`DeviceError::Failed`] with the driver's name and words for the code. Faults that leave the context unusable say
/// so.
pub(crate) fn check(call: &str, result: CUresult) -> Result<(), DeviceError> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(DeviceError::Failed { call: call.to_owned(), reason: explain(result) })
}

fn explain(result: CUresult) -> String {
    let text = |f: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut p: *const c_char = ptr::null();
        // SAFETY: the driver is loaded, or there would be no result of it; the pointer is to a live pointer.
        let found = unsafe { f(result, &mut p) };
        if found != CUresult::CUDA_SUCCESS || p.is_null() {
            return None;
        }
        // SAFETY: a static string of the driver.
        Some(unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned())
    };
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("error {}", result as u32));
    match fault(result) {
        Some(what) => format!(
            "{what} ({name}); the GPU refuses everything else from this process, so start the program again"
        ),
        None => match text(sys::cuGetErrorString) {
            Some(words) if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                format!("{words} ({name}){}", room())
            }
            Some(words) => format!("{words} ({name})"),
            None => name,
        },
    }
}

/// How much memory the current context's GPU has left, as a clause; empty where it does not tell.
fn room() -> String {
    let (mut free, mut total) = (0, 0);
    // SAFETY: the pointers are to live integers.
    if unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) } != CUresult::CUDA_SUCCESS {
        return String::new();
    }
    format!(
        "; {} of {} are free on the GPU; end other programs on it, or drop engines and contexts that are not needed",
        Bytes(free as u64),
        Bytes(total as u64)
    )
}

/// What a kernel did, for the errors that end a context: from then on every call returns them.
fn fault(result: CUresult) -> Option<&'static str> {
    Some(match result {
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => "a kernel accessed memory that is not allocated",
        CUresult::CUDA_ERROR_MISALIGNED_ADDRESS => "a kernel accessed misaligned memory",
        CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE => "a kernel accessed the wrong kind of memory",
        CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION => {
            "a kernel holds an instruction that this GPU does not have"
        }
        CUresult::CUDA_ERROR_INVALID_PC => "a kernel jumped outside its code",
        CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR => "a kernel broke its stack",
        CUresult::CUDA_ERROR_ASSERT => "a kernel's own check failed",
        CUresult::CUDA_ERROR_LAUNCH_TIMEOUT => "a kernel ran longer than the system allows",
        CUresult::CUDA_ERROR_LAUNCH_FAILED => "a kernel failed",
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => "the GPU's memory has an error that could not be corrected",
        _ => return None,
    })
}

/// A GPU's primary context. Everything of one process on one GPU shares it, and it is kept until the process ends:
/// the handles of NVIDIA's libraries live in it too.
#[derive(Debug)]
pub struct Context {
    raw: CUcontext,
    device: CUdevice,
    ordinal: usize,
    /// Held by whoever records: waiting for the whole context would break the recording.
    recording: RwLock<()>,
}

// SAFETY: a context may be used from any thread; the driver locks it.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of GPU number `ordinal`, opened when first asked for.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, or no memory for the context.
    pub fn primary(ordinal: usize) -> Result<Arc<Context>, DeviceError> {
        static OPEN: Mutex<BTreeMap<usize, Arc<Context>>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(c) = open.get(&ordinal) {
            return Ok(c.clone());
        }
        let device = device(ordinal)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the device exists; the pointer is to a live handle.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        let context = Arc::new(Context { raw, device, ordinal, recording: RwLock::new(()) });
        open.insert(ordinal, context.clone());
        Ok(context)
    }

    /// Makes it the calling thread's context, which every other driver call needs. Cheap.
    ///
    /// # Errors
    /// When the context is unusable.
    pub fn make_current(&self) -> Result<(), DeviceError> {
        // SAFETY: retained in `primary`, never released.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    /// The GPU's number.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Waits for everything on the GPU, and says what has failed. Returns false at once when a stream records.
    pub(crate) fn synchronize(&self) -> Result<bool, DeviceError> {
        self.make_current()?;
        let Ok(_alone) = self.recording.try_write() else { return Ok(false) };
        // SAFETY: the context is current.
        check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() }).map(|()| true)
    }

    /// Keeps others from waiting for the whole context.
    pub(crate) fn record(&self) -> RwLockReadGuard<'_, ()> {
        self.recording.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether kernels of this GPU can work on memory at an address: it is the GPU's own, or managed by the driver.
    pub(crate) fn reaches(&self, address: u64) -> bool {
        use sys::CUpointer_attribute::*;
        let ask = |which| {
            let mut value: c_int = 0;
            // SAFETY: the context is current; the pointer is to a live integer, which each of these facts is. The address
            // may be anything.
            let found = unsafe { sys::cuPointerGetAttribute((&raw mut value).cast(), which, address) };
            (found == CUresult::CUDA_SUCCESS).then_some(value)
        };
        let on_a_gpu = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as c_int;
        let ordinal = c_int::try_from(self.ordinal).ok();
        self.make_current().is_ok()
            && (ask(CU_POINTER_ATTRIBUTE_MEMORY_TYPE) == Some(on_a_gpu)
                && ask(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) == ordinal
                || ask(CU_POINTER_ATTRIBUTE_IS_MANAGED).is_some_and(|v| v & 0xff != 0))
    }

    /// Whether a stream is of this context, which is current.
    ///
    /// # Safety
    /// The stream is live.
    pub(crate) unsafe fn has_stream(&self, stream: sys::CUstream) -> Result<bool, DeviceError> {
        let mut owner = ptr::null_mut();
        // SAFETY: the stream is live by contract; the pointer is to a live handle.
        check("cuStreamGetCtx", unsafe { sys::cuStreamGetCtx(stream, &mut owner) })?;
        Ok(owner == self.raw)
    }

    /// Free and total memory of the GPU in bytes.
    ///
    /// # Errors
    /// When the context is unusable.
    pub fn memory_info(&self) -> Result<(u64, u64), DeviceError> {
        self.make_current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; the pointers are to live integers.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    /// A fact about the GPU.
    pub(crate) fn attribute(&self, which: CUdevice_attribute) -> Result<u32, DeviceError> {
        attribute(self.device, which)
    }

    /// The GPU's model.
    pub(crate) fn name(&self) -> Result<String, DeviceError> {
        let mut text = [0 as c_char; 256];
        // SAFETY: the device exists; the buffer is as long as told.
        check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(text.as_mut_ptr(), 255, self.device) })?;
        // SAFETY: the driver ends the text with a zero, and the last byte is one in any case.
        Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// The GPU's memory in bytes.
    pub(crate) fn memory_bytes(&self) -> Result<u64, DeviceError> {
        let mut bytes = 0;
        // SAFETY: the device exists; the pointer is to a live integer.
        check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut bytes, self.device) })?;
        Ok(bytes as u64)
    }
}

/// A fact about a GPU, which needs no context.
pub(crate) fn attribute(device: CUdevice, which: CUdevice_attribute) -> Result<u32, DeviceError> {
    let mut value = 0;
    // SAFETY: whoever has a device has started the driver; the pointer is to a live integer.
    check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) })?;
    Ok(u32::try_from(value).unwrap_or(0))
}

/// GPU number `ordinal`.
pub(crate) fn device(ordinal: usize) -> Result<CUdevice, DeviceError> {
    let fail = |reason: String| DeviceError::Failed { call: format!("opening GPU {ordinal}"), reason };
    let help = |reason: String| fail(format!("{reason}; install NVIDIA's driver, or use the CPU"));
    let count = probe::device_count().map_err(help)?;
    if ordinal >= count {
        return Err(fail(format!("there are {count} GPUs, counted from 0")));
    }
    let mut device = 0;
    // SAFETY: the driver has been started and offers this device; the pointer is to a live variable.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as c_int) })?;
    Ok(device)
}

impl PartialEq for Context {
    fn eq(&self, other: &Context) -> bool {
        self.raw == other.raw
    }
}
