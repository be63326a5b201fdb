//! Loaded machine code, shared between steps.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule, CUresult};
use tactician_device::DeviceError;

use crate::driver::{Context, check};
use crate::elf;

/// Code loaded into a context.
#[derive(Debug)]
pub(crate) struct Module {
    context: Arc<Context>,
    raw: CUmodule,
    /// Held while a kernel's limits are changed: steps share kernels.
    limits: Mutex<()>,
}

// SAFETY: a module may be used from any thread; the driver locks it.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// A kernel of a module that the holder keeps alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(pub(crate) CUfunction);

// SAFETY: a kernel may be launched from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Module {
    /// Loads a CUBIN.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] when the driver does not take it.
    fn load(context: &Arc<Context>, code: &[u8]) -> Result<Module, DeviceError> {
        context.make_current()?;
        // The driver reads words of 8 bytes.
        let mut words: Vec<u64> = Vec::new();
        let image = if code.as_ptr().addr().is_multiple_of(8) {
            code.as_ptr()
        } else {
            let whole = code.chunks(8).map(|c| {
                let mut word = [0; 8];
                word[..c.len()].copy_from_slice(c);
                u64::from_ne_bytes(word)
            });
            words.extend(whole);
            words.as_ptr().cast()
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the context is current; `elf::check` has found every part of the image inside it.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut raw, image.cast()) })?;
        Ok(Module { context: context.clone(), raw, limits: Mutex::new(()) })
    }

    /// The kernel called `entry`; none when there is no such kernel.
    pub(crate) fn function(&self, entry: &str) -> Result<Option<Function>, DeviceError> {
        let Ok(name) = CString::new(entry) else { return Ok(None) };
        self.context.make_current()?;
        let mut f = ptr::null_mut();
        // SAFETY: the module is loaded; the name ends with a zero; the pointer is to a live handle.
        match unsafe { sys::cuModuleGetFunction(&mut f, self.raw, name.as_ptr()) } {
            CUresult::CUDA_ERROR_NOT_FOUND => Ok(None),
            result => check("cuModuleGetFunction", result).map(|()| Some(Function(f))),
        }
    }

    /// A fact about a kernel of this module.
    pub(crate) fn fact(&self, f: Function, which: CUfunction_attribute) -> Result<u32, DeviceError> {
        let mut value = 0;
        // SAFETY: a kernel of this module; the pointer is to a live integer.
        check("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut value, which, f.0) })?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// Raises a limit of a kernel of this module to at least `value`.
    pub(crate) fn raise(
        &self,
        f: Function,
        which: CUfunction_attribute,
        value: u32,
    ) -> Result<(), DeviceError> {
        let _alone = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fact(f, which)? >= value {
            return Ok(());
        }
        // SAFETY: a kernel of this module.
        check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(f.0, which, value as i32) })
    }

    /// Sizes in bytes of a kernel's parameters, in order.
    pub(crate) fn parameters(&self, f: Function) -> Result<Vec<usize>, DeviceError> {
        let mut list = Vec::new();
        loop {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: a kernel of this module; the pointers are to live integers.
            let result = unsafe { sys::cuFuncGetParamInfo(f.0, list.len(), &mut offset, &mut size) };
            if result == CUresult::CUDA_ERROR_INVALID_VALUE {
                // Past the last one.
                return Ok(list);
            }
            check("cuFuncGetParamInfo", result)?;
            list.push(size);
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.make_current().is_ok() {
            // SAFETY: loaded in `load`, unloaded only here; steps that use it hold it.
            unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

/// Modules by the hash of their code, for as long as some step holds them.
#[derive(Debug, Default)]
pub(crate) struct Modules(Mutex<BTreeMap<[u8; 32], Weak<Module>>>);

impl Modules {
    /// The module of a CUBIN, loaded unless some step has it already.
    ///
    /// # Errors
    /// A clause about the code, or what the driver says of it.
    pub(crate) fn get(&self, context: &Arc<Context>, code: &[u8]) -> Result<Arc<Module>, String> {
        elf::check(code)?;
        let key = *blake3::hash(code).as_bytes();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(m);
        }
        known.retain(|_, m| m.strong_count() > 0);
        let module = Arc::new(Module::load(context, code).map_err(|e| e.to_string())?);
        known.insert(key, Arc::downgrade(&module));
        Ok(module)
    }
}
