use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tactician_cpu::CpuDevice;
use tactician_cuda::{CudaDevice, Lib};
use tactician_device::{Device, DeviceInfo, Executable, HostBytes, Isa, Memory, Span, StepDesc};
use tactician_plan::{ConstantBytes, Mismatch, Place, Plan, PlanMeta, Port, Target};

use crate::context::Context;
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
    constants: Box<dyn Memory>,
    warnings: Vec<Mismatch>,
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

struct MappedConstants(Arc<ConstantBytes>);

impl HostBytes for MappedConstants {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The libraries that steps come from: the device's fact, the beginning of its kernels' names, how it is found.
const LIBRARIES: [(&str, &str, Lib); 2] =
    [("cudnn", "cudnn.", Lib::Cudnn), ("cublaslt", "cublaslt.", Lib::CublasLt)];

/// Whether some step of a plan comes from the library whose kernels begin with `prefix`.
fn uses(meta: &PlanMeta, prefix: &str) -> bool {
    meta.steps.iter().any(|s| s.kernel.starts_with(prefix))
}

/// The device that a plan asks for: the CPU with as many threads as it was built for, or the first GPU of its
/// architecture, with the libraries that its steps come from.
///
/// # Errors
/// When no backend of this program serves it, or it cannot be started.
pub fn device_for(meta: &PlanMeta) -> Result<Arc<dyn Device>, EngineError> {
    match meta.target.kind.as_str() {
        "cpu" => {
            let threads = usize::try_from(meta.target.threads).ok().filter(|&t| t <= 4096);
            let mut device = CpuDevice::new(threads)?;
            // A plan for a weaker instruction set runs as it was measured.
            if let Ok(isa) = meta.target.isa.parse::<Isa>()
                && isa < device.isa()
            {
                device = device.with_isa(isa)?;
            }
            Ok(Arc::new(device))
        }
        "cuda" => {
            let needed: Vec<Lib> =
                LIBRARIES.iter().filter(|(_, prefix, _)| uses(meta, prefix)).map(|(.., lib)| *lib).collect();
            if let Some(reason) = tactician_cuda::obstacle() {
                return Err(EngineError::NoGpu { reason });
            }
            let ordinal = CudaDevice::find(&meta.target.isa).unwrap_or(0);
            Ok(Arc::new(CudaDevice::with_libraries(ordinal, &needed)?))
        }
        kind => Err(EngineError::NoBackend { kind: kind.to_owned() }),
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
/// library, and is of no interest when none does; nor is what only building uses.
fn weighed(meta: &PlanMeta, list: Vec<Mismatch>) -> Vec<Mismatch> {
    if meta.target.kind != "cuda" {
        return list;
    }
    let weigh = |mut m: Mismatch| {
        if let Some((_, prefix, _)) = LIBRARIES.iter().find(|(fact, ..)| *fact == m.field) {
            m.remedy = "install that version, or build it again with this one";
            return uses(meta, prefix).then_some(m);
        }
        (!["nvrtc", "kernels"].contains(&m.field.as_str())).then_some(m)
    };
    list.into_iter().filter_map(weigh).collect()
}

impl Engine {
    /// Loads a plan file on the device that it asks for.
    ///
    /// # Errors
    /// When the file is unusable or the plan does not suit this machine.
    pub fn load(path: impl AsRef<Path>) -> Result<Engine, EngineError> {
        let plan = Plan::open(path.as_ref())?;
        let device = device_for(&plan.meta)?;
        Engine::new(plan, device)
    }

    /// Makes a plan ready on a device.
    ///
    /// # Errors
    /// When the plan does not suit the device, or memory is short.
    pub fn new(plan: Plan, device: Arc<dyn Device>) -> Result<Engine, EngineError> {
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
        let constants = device.constants(Arc::new(MappedConstants(plan.constants().clone())))?;
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
        Ok(Engine { shared: Arc::new(Shared { meta: plan.meta, device, steps, constants, warnings }) })
    }

    /// A new execution context: its own arena, bindings and stream.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new_context(&self) -> Result<Context, EngineError> {
        Ok(Context::new(self.shared.clone())?)
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
        let c = &self.meta.constants[index as usize];
        Span { address: self.constants.span().address + c.offset, len: c.len }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
