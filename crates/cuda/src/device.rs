//! An NVIDIA GPU as a [`Device`].

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute;
use tactician_device::{
    CodeSource, CudaInfo, Device, DeviceError, DeviceInfo, DeviceKind, Executable, HostBytes, Memory, Span,
    StepDesc, Stream,
};
#[cfg(feature = "nvrtc")]
use tactician_types::Memo;

#[cfg(feature = "nvrtc")]
use crate::compile::compile_for;
use crate::driver::{self, Context};
use crate::launch_check::Limits;
use crate::memory::{Pinned, Pool};
use crate::module::Modules;
use crate::probe::{self, Lib};
use crate::registry;
use crate::stream::CudaStream;

/// An NVIDIA GPU: kernels compiled by NVRTC or taken from NVIDIA's libraries, plain device memory, constants copied.
///
/// All of a process's use of one GPU shares its primary context, so a kernel that faults ends all of it: see
/// [`CudaStream`].
pub struct CudaDevice {
    info: DeviceInfo,
    context: Arc<Context>,
    /// Runs the plan's CPU steps.
    host: Option<Arc<dyn Device>>,
    pool: Arc<Pool>,
    modules: Modules,
    /// Compiled code by the hash of source, options and architecture.
    #[cfg(feature = "nvrtc")]
    compiled: Memo<[u8; 32], Result<Arc<[u8]>, DeviceError>>,
}

impl CudaDevice {
    /// How many GPUs this process may use; 0 when there is no driver. [`crate::probe()`] says why.
    pub fn count() -> usize {
        probe::device_count().unwrap_or(0)
    }

    /// The number of the first GPU of an architecture such as `sm_90a`.
    pub fn find(architecture: &str) -> Option<usize> {
        let is = |ordinal: &usize| {
            capability(*ordinal).is_ok_and(|c| tactician_device::cuda_architecture(c) == architecture)
        };
        (0..CudaDevice::count()).find(is)
    }

    /// GPU number `ordinal`, with every library that can be found.
    ///
    /// # Errors
    /// When there is no driver or no such GPU, or it cannot be used.
    pub fn new(ordinal: usize) -> Result<CudaDevice, DeviceError> {
        CudaDevice::with_libraries(ordinal, &[Lib::Nvrtc, Lib::Cudnn, Lib::CublasLt])
    }

    /// GPU number `ordinal` with those libraries only: a plan needs few, and loading one takes up to a second. The
    /// versions of the others are left out of its [`DeviceInfo`].
    ///
    /// # Errors
    /// When there is no driver or no such GPU, or it cannot be used.
    pub fn with_libraries(ordinal: usize, libraries: &[Lib]) -> Result<CudaDevice, DeviceError> {
        let context = Context::primary(ordinal)?;
        let name = context.name()?;
        let info = DeviceInfo {
            kind: DeviceKind::Cuda(cuda_info(&context, libraries)?),
            properties: properties(&context)?,
            name: name.clone(),
        };
        Ok(CudaDevice {
            info,
            pool: Pool::new(context.clone(), name, u64::MAX),
            context,
            host: None,
            modules: Modules::default(),
            #[cfg(feature = "nvrtc")]
            compiled: Memo::new(),
        })
    }

    /// The same GPU with a limit on the memory that it allocates, kept blocks included. What the driver and NVIDIA's
    /// libraries take for themselves does not count.
    pub fn with_memory_limit(mut self, bytes: u64) -> CudaDevice {
        self.pool = Pool::new(self.context.clone(), self.info.name.clone(), bytes);
        self
    }

    /// Bytes of the GPU's memory that this has allocated, blocks kept for the next allocation included.
    pub fn memory_held(&self) -> u64 {
        self.pool.held()
    }

    /// The same GPU with a CPU for steps that no kernel of the GPU serves: a device of the CPU with at most
    /// [`crate::HOST_THREADS`] threads. Without one such steps cannot be prepared.
    pub fn with_host(mut self, host: Arc<dyn Device>) -> CudaDevice {
        let info = host.info();
        let threads = info.cpu().map_or(0, |c| c.threads);
        let kernels = info.properties.get("kernels").map_or("", String::as_str);
        let text = format!("{}, {}, {threads} threads, kernels {kernels}", info.name, info.architecture());
        self.info.properties.insert("host".to_owned(), text);
        self.host = Some(host);
        self
    }

    /// The CPU of [`CudaDevice::with_host`].
    pub(crate) fn host(&self) -> Option<&Arc<dyn Device>> {
        self.host.as_ref()
    }

    /// The GPU's context, which the driver and NVIDIA's libraries work in.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn modules(&self) -> &Modules {
        &self.modules
    }

    pub(crate) fn limits(&self) -> Limits {
        let cuda = self.info.cuda();
        Limits {
            capability: cuda.map_or((0, 0), |c| c.capability),
            shared_bytes: cuda.map_or(0, |c| c.shared_bytes),
        }
    }
}

/// Compute capability of GPU number `ordinal`.
fn capability(ordinal: usize) -> Result<(u32, u32), DeviceError> {
    use CUdevice_attribute::*;
    let device = driver::device(ordinal)?;
    Ok((
        driver::attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        driver::attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

fn cuda_info(context: &Context, libraries: &[Lib]) -> Result<CudaInfo, DeviceError> {
    use CUdevice_attribute::*;
    let version = |lib: Lib| {
        let wanted = lib == Lib::Driver || libraries.contains(&lib);
        wanted.then(|| probe::library(lib).ok().map(|l| l.version)).flatten()
    };
    let cublaslt = version(Lib::CublasLt);
    // cuDNN ends the process when it does not find cuBLASLt.
    let cudnn = if libraries.contains(&Lib::Cudnn) && probe::library(Lib::CublasLt).is_ok() {
        version(Lib::Cudnn)
    } else {
        None
    };
    Ok(CudaInfo {
        capability: capability(context.ordinal())?,
        multiprocessors: context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: context.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?.into(),
        l2_bytes: context.attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.into(),
        memory_bytes: context.memory_bytes()?,
        driver: version(Lib::Driver).unwrap_or(0),
        nvrtc: version(Lib::Nvrtc),
        cudnn,
        cublaslt,
    })
}

/// What else could change a measurement.
fn properties(context: &Context) -> Result<BTreeMap<String, String>, DeviceError> {
    use CUdevice_attribute::*;
    let mut list = BTreeMap::from([("kernels".to_owned(), env!("TACTICIAN_CUDA_SOURCES").to_owned())]);
    for (name, which) in [
        ("clock kHz", CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        ("memory clock kHz", CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        ("memory bus bits", CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
        ("ecc", CU_DEVICE_ATTRIBUTE_ECC_ENABLED),
    ] {
        list.insert(name.to_owned(), context.attribute(which)?.to_string());
    }
    if let Some(version) = module_version() {
        list.insert("kernel driver".to_owned(), version);
    }
    Ok(list)
}

/// The version of the driver's kernel module, such as `580.65.06`, where the system tells.
fn module_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let line = text.lines().next()?;
    let version = |w: &&str| w.contains('.') && w.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split_whitespace().find(version).map(str::to_owned)
}

impl Device for CudaDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Ok(Box::new(self.pool.alloc(bytes)?))
    }

    fn host_memory(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        self.context.make_current()?;
        Ok(Box::new(Pinned::alloc(&self.context, bytes)?))
    }

    fn reaches(&self, span: Span) -> bool {
        self.context.reaches(span.address)
    }

    fn constants(&self, bytes: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        let data = bytes.bytes();
        let block = self.pool.alloc(data.len() as u64)?;
        // SAFETY: the block is new, nobody else has it, and it is as long as the data.
        unsafe { CudaStream::new(self.context.clone())?.write(block.span(), data)? };
        Ok(Box::new(block))
    }

    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        registry::prepare(self, step)
    }

    #[cfg(not(feature = "nvrtc"))]
    fn compile(&self, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        let reason = "this program was built without the feature `nvrtc`".into();
        Err(DeviceError::Failed { call: format!("compiling {}", source.name), reason })
    }

    #[cfg(feature = "nvrtc")]
    fn compile(&self, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        let architecture = self.info.architecture();
        let mut hash = blake3::Hasher::new();
        for part in
            [architecture.as_str(), &source.text].into_iter().chain(source.options.iter().map(|o| &**o))
        {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let key = *hash.finalize().as_bytes();
        self.compiled.get(key, || compile_for(source, &architecture).map(|c| c.cubin.into()))
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.context.synchronize().map(drop)
    }

    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        Ok(Box::new(CudaStream::new(self.context.clone())?))
    }

    unsafe fn adopt(&self, handle: *mut c_void) -> Result<Box<dyn Stream>, DeviceError> {
        // SAFETY: promised by the caller.
        Ok(Box::new(unsafe { CudaStream::borrow(self.context.clone(), handle.cast())? }))
    }
}
