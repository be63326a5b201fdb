use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "cpu")]
use tactician_cpu::CpuDevice;
#[cfg(feature = "cuda")]
use tactician_cuda::{CudaDevice, Lib};
use tactician_device::{Device, DeviceInfo, Executable, Isa, Span, StepDesc};
use tactician_plan::{Draft, Mismatch, Place, Plan, PlanMeta, Port, Target};

use crate::constants::{ConstantPool, Constants};
use crate::context::{Arena, Context};
use crate::error::EngineError;

/// A plan made ready on a device: weights in place, steps prepared. Cheap to share; make a [`Context`] per thread.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) meta: PlanMeta,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) steps: Vec<Box<dyn Executable>>,
    constants: Constants,
    warnings: Vec<Mismatch>,
    times: LoadTimes,
}

/// Where the time of loading went. [`Engine::new`] is given the plan and the device, so the first four are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadTimes {
    /// Mapping the file and reading its metadata.
    pub open: Duration,
    /// Verifying its checksum, on another thread while the device starts.
    pub check: Duration,
    /// Loading and starting a GPU's driver; nothing when it was started before.
    pub driver: Duration,
    /// Opening the device, libraries included.
    pub device: Duration,
    /// Placing the constants.
    pub constants: Duration,
    /// Preparing the steps.
    pub steps: Duration,
}

/// What an engine and a context take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// Constants, once an engine. On the CPU they are read from the mapped file, on a GPU from a copy.
    pub weights: u64,
    /// Activations and scratch, once a context.
    pub arena: u64,
    /// The part of the arena that is scratch of the hungriest step.
    pub scratch: u64,
    /// Inputs and outputs, once a context unless bound to the caller's memory.
    pub bindings: u64,
}

/// A library that steps of a GPU's plan come from.
struct Library {
    /// The device's fact that holds its version, and the feature of this crate that links it.
    name: &'static str,
    /// The beginning of its kernels' names.
    prefix: &'static str,
    /// Whether this program was built with it.
    built_in: bool,
}

const LIBRARIES: [Library; 2] = [
    Library { name: "cudnn", prefix: "cudnn.", built_in: cfg!(feature = "cudnn") },
    Library { name: "cublaslt", prefix: "cublaslt.", built_in: cfg!(feature = "cublaslt") },
];

/// The beginning of the names of kernels that the CPU runs in a GPU's plan.
const HOST: &str = "host.";

/// Whether some step of a plan comes from the library whose kernels begin with `prefix`.
fn uses(meta: &PlanMeta, prefix: &str) -> bool {
    meta.steps.iter().any(|s| s.kernel.starts_with(prefix))
}

/// Refuses a plan with steps of a library that this program was built without.
fn libraries_built_in(meta: &PlanMeta) -> Result<(), EngineError> {
    match LIBRARIES.iter().find(|l| !l.built_in && uses(meta, l.prefix)) {
        Some(l) => Err(EngineError::LeftOut {
            what: format!("steps of the library {}", l.name),
            feature: l.name,
            remedy: "or build the plan again without the tactics of that library",
        }),
        None => Ok(()),
    }
}

/// The device that a plan asks for: the CPU with as many threads as it was built for, or the first GPU of its
/// architecture, with the libraries that its steps come from and the CPU if it has steps for it.
///
/// # Errors
/// When no backend of this program serves it, or it cannot be started.
pub fn device_for(meta: &PlanMeta) -> Result<Arc<dyn Device>, EngineError> {
    timed_device_for(meta, &mut LoadTimes::default())
}

/// As [`device_for`]; tells how long starting the driver and the rest took.
fn timed_device_for(meta: &PlanMeta, times: &mut LoadTimes) -> Result<Arc<dyn Device>, EngineError> {
    match meta.target.kind.as_str() {
        "cpu" => cpu_for(meta, times),
        "cuda" => gpu_for(meta, times),
        kind => Err(EngineError::NoBackend { kind: kind.to_owned() }),
    }
}

#[cfg(feature = "cpu")]
fn cpu_for(meta: &PlanMeta, times: &mut LoadTimes) -> Result<Arc<dyn Device>, EngineError> {
    let start = Instant::now();
    let threads = usize::try_from(meta.target.threads).ok().filter(|&t| t <= 4096);
    let mut device = CpuDevice::new(threads)?;
    // A plan for a weaker instruction set runs as it was measured.
    if let Ok(isa) = meta.target.isa.parse::<Isa>()
        && isa < device.isa()
    {
        device = device.with_isa(isa)?;
    }
    times.device = start.elapsed();
    Ok(Arc::new(device))
}

#[cfg(not(feature = "cpu"))]
fn cpu_for(_: &PlanMeta, _: &mut LoadTimes) -> Result<Arc<dyn Device>, EngineError> {
    Err(left_out("a CPU", "cpu"))
}

#[cfg(feature = "cuda")]
fn gpu_for(meta: &PlanMeta, times: &mut LoadTimes) -> Result<Arc<dyn Device>, EngineError> {
    libraries_built_in(meta)?;
    let start = Instant::now();
    if let Some(reason) = tactician_cuda::obstacle() {
        return Err(EngineError::NoGpu { reason });
    }
    times.driver = start.elapsed();
    let needed: Vec<Lib> = LIBRARIES
        .iter()
        .filter(|l| uses(meta, l.prefix))
        .map(|l| if l.name == "cudnn" { Lib::Cudnn } else { Lib::CublasLt })
        .collect();
    let ordinal = CudaDevice::find(&meta.target.isa).unwrap_or(0);
    let device = CudaDevice::with_libraries(ordinal, &needed)?;
    let device = if uses(meta, HOST) { with_cpu(device)? } else { device };
    times.device = start.elapsed() - times.driver;
    Ok(Arc::new(device))
}

#[cfg(all(feature = "cuda", feature = "cpu"))]
fn with_cpu(gpu: CudaDevice) -> Result<CudaDevice, EngineError> {
    Ok(gpu.with_host(Arc::new(CpuDevice::new(Some(tactician_cuda::host_threads()))?)))
}

#[cfg(all(feature = "cuda", not(feature = "cpu")))]
fn with_cpu(_: CudaDevice) -> Result<CudaDevice, EngineError> {
    Err(EngineError::LeftOut {
        what: "steps that the CPU computes in the plan of a GPU".into(),
        feature: "cpu",
        remedy: "or build the plan again with `--tactics -host`, which says what the GPU has no kernel for",
    })
}

#[cfg(not(feature = "cuda"))]
fn gpu_for(_: &PlanMeta, _: &mut LoadTimes) -> Result<Arc<dyn Device>, EngineError> {
    Err(left_out("an NVIDIA GPU", "cuda"))
}

#[cfg(not(all(feature = "cpu", feature = "cuda")))]
fn left_out(device: &str, feature: &'static str) -> EngineError {
    EngineError::LeftOut {
        what: format!("the backend for {device}, which the plan was built for"),
        feature,
        remedy: "or build the plan again for a device that it has",
    }
}

/// A device as plans record it.
pub fn target_of(info: &DeviceInfo) -> Target {
    let (isa, threads) = (info.architecture(), info.cpu().map_or(1, |c| c.threads as u64));
    let mut facts: BTreeMap<String, String> = info.fingerprint().into_iter().collect();
    for own in ["device", "isa", "architecture", "threads"] {
        facts.remove(own);
    }
    Target { kind: info.kind_name().to_owned(), isa, threads, facts }
}

/// Differences of a GPU as they matter to a plan: a library's version stops the plan when some step comes from the
/// library, and is of no interest when none does; nor is what only building uses. A driver stops it when it is of an older
/// generation of CUDA than the compiler that made the plan's code.
fn weighed(meta: &PlanMeta, list: Vec<Mismatch>) -> Vec<Mismatch> {
    if meta.target.kind != "cuda" {
        return list;
    }
    let generation = |version: &str| version.parse::<u32>().map_or(0, |v| v / 1000);
    let compiler = meta.target.facts.get("nvrtc").map_or(0, |v| generation(v));
    let weigh = |mut m: Mismatch| {
        if let Some(l) = LIBRARIES.iter().find(|l| l.name == m.field) {
            m.remedy = "install that version, or build it again with this one";
            return uses(meta, l.prefix).then_some(m);
        }
        let has_code = meta.steps.iter().any(|s| s.code.is_some());
        if m.field == "driver" && has_code && generation(&m.device) < compiler {
            m.remedy = "install a driver of that version, or build it again with a compiler of this driver's version";
        }
        if m.field == "host" {
            return uses(meta, HOST).then_some(m);
        }
        (!["nvrtc", "kernels"].contains(&m.field.as_str())).then_some(m)
    };
    list.into_iter().filter_map(weigh).collect()
}

impl Engine {
    /// Loads a plan file on the device that it asks for. The device starts while the file is checked.
    ///
    /// # Errors
    /// When the file is unusable or the plan does not suit this machine.
    pub fn load(path: impl AsRef<Path>) -> Result<Engine, EngineError> {
        let mut times = LoadTimes::default();
        let start = Instant::now();
        let draft = Draft::open(path.as_ref())?;
        times.open = start.elapsed();
        let (device, check) = std::thread::scope(|scope| {
            let verify = || {
                let start = Instant::now();
                // What is wrong is told below.
                let _ = draft.verify();
                start.elapsed()
            };
            // Where no thread can be had, the file is checked below.
            let other = std::thread::Builder::new().spawn_scoped(scope, verify).ok();
            let device = timed_device_for(draft.meta(), &mut times);
            (device, other.and_then(|t| t.join().ok()).unwrap_or_default())
        });
        times.check = check;
        let plan = draft.finish()?;
        Engine::make(plan, device?, times, None)
    }

    /// Makes a plan ready on a device.
    ///
    /// # Errors
    /// When the plan does not suit the device, or memory is short.
    pub fn new(plan: Plan, device: Arc<dyn Device>) -> Result<Engine, EngineError> {
        Engine::make(plan, device, LoadTimes::default(), None)
    }

    /// As [`Engine::new`], with constants that other engines of the pool have placed on the same device shared with them.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn sharing(plan: Plan, device: Arc<dyn Device>, pool: &ConstantPool) -> Result<Engine, EngineError> {
        Engine::make(plan, device, LoadTimes::default(), Some(pool))
    }

    fn make(
        plan: Plan,
        device: Arc<dyn Device>,
        mut times: LoadTimes,
        pool: Option<&ConstantPool>,
    ) -> Result<Engine, EngineError> {
        libraries_built_in(&plan.meta)?;
        let own = target_of(device.info());
        let wanted = plan.meta.target.isa.parse::<Isa>();
        let usable = match (&wanted, device.info().cpu()) {
            (Ok(w), Some(c)) => *w <= c.isa,
            _ => plan.meta.target.isa == own.isa,
        };
        let mismatches = plan.meta.target.mismatches(&own, usable);
        let (fatal, warnings): (Vec<_>, Vec<_>) =
            weighed(&plan.meta, mismatches).into_iter().partition(Mismatch::is_fatal);
        if !fatal.is_empty() {
            return Err(EngineError::Target(fatal));
        }
        let start = Instant::now();
        let constants = match pool {
            Some(pool) => pool.place(&plan, device.as_ref())?,
            None => Constants::whole(&plan, device.as_ref())?,
        };
        times.constants = start.elapsed();
        let mut steps = Vec::with_capacity(plan.meta.steps.len());
        for (index, s) in plan.meta.steps.iter().enumerate() {
            // Validation has made sure that every place exists.
            let lens = |places: &[Place]| -> Vec<u64> {
                places.iter().map(|&p| plan.meta.len_of(p).unwrap_or(0)).collect()
            };
            let scratch = s.scratch.and_then(|p| plan.meta.len_of(p)).unwrap_or(0);
            let desc = StepDesc {
                kernel: &s.kernel,
                params: &s.params,
                inputs: &lens(&s.inputs),
                outputs: &lens(&s.outputs),
                scratch,
                code: s.code.map(|i| {
                    let c = &plan.meta.constants[i as usize];
                    &plan.constants().bytes()[c.offset as usize..][..c.len as usize]
                }),
            };
            steps.push(device.prepare(&desc).map_err(|source| EngineError::Step {
                index,
                name: s.name.clone(),
                tactic: s.tactic.clone(),
                source,
            })?);
        }
        times.steps = start.elapsed() - times.constants;
        let shared = Shared { meta: plan.meta, device, steps, constants, warnings, times };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// A new execution context: its own arena, bindings and stream.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new_context(&self) -> Result<Context, EngineError> {
        Ok(Context::new(self.shared.clone())?)
    }

    /// A new execution context that works in an arena it shares with others, instead of one of its own.
    ///
    /// # Errors
    /// When the arena is too small or memory is short.
    ///
    /// # Safety
    /// The arena is on the engine's device. No two contexts that share it have runs under way at once: the runs of one are
    /// done, as [`Context::synchronize`] tells, before another's are enqueued.
    pub unsafe fn new_context_in(&self, arena: &Arena) -> Result<Context, EngineError> {
        Ok(Context::in_arena(self.shared.clone(), arena.0.clone())?)
    }

    /// What the plan says.
    pub fn meta(&self) -> &PlanMeta {
        &self.shared.meta
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.shared.meta.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.shared.meta.outputs
    }

    /// Where this machine differs from the one that the plan was measured on; times may differ too.
    pub fn warnings(&self) -> &[Mismatch] {
        &self.shared.warnings
    }

    /// How long loading it took.
    pub fn load_times(&self) -> LoadTimes {
        self.shared.times
    }

    /// What it takes.
    pub fn memory(&self) -> MemoryReport {
        let m = &self.shared.meta;
        MemoryReport {
            weights: m.constant_bytes(),
            arena: m.arena_bytes,
            scratch: m.scratch_bytes,
            bindings: m.inputs.iter().chain(&m.outputs).filter_map(Port::bytes).sum(),
        }
    }
}

impl Shared {
    /// Where a constant lies on the device.
    pub(crate) fn constant(&self, index: u32) -> Span {
        self.constants.spans[index as usize]
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
