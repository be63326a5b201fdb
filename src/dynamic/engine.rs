//! Runs plans whose shapes are open.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tactician_cuda::CudaDevice;
use tactician_device::{Device, DeviceError};
use tactician_plan::{Mismatch, Plan, PlanMeta, Profile, SizeRange};
use tactician_runtime::{Arena, ConstantPool, Context, Engine, EngineError, RunError, Tensor, device_for};
use tactician_types::Recent;
use thiserror::Error;

use super::recipe::Recipe;
use crate::devices::DeviceName;
use crate::error::BuildError;
use crate::network::Shapes;

/// Shapes whose steps are kept ready; the ones unused for longest go first.
const KEPT: usize = 64;

/// A plan for open shapes, made ready on a device. Cheap to share; make a [`DynamicContext`] per thread.
///
/// Steps for shapes that it has not seen are made on the spot, which takes as long as fusing the network and packing its
/// weights does, and on a GPU compiling its kernels; they stay for the next time. [`DynamicEngine::prepare`] makes them ahead.
/// Weights that several shapes need alike are in memory once.
///
/// A plan for fixed shapes runs too, at those.
#[derive(Clone)]
pub struct DynamicEngine {
    shared: Arc<Shared>,
}

struct Shared {
    meta: PlanMeta,
    device: Arc<dyn Device>,
    /// None where shapes are fixed.
    recipe: Option<Recipe>,
    pool: ConstantPool,
    warnings: Vec<Mismatch>,
    /// Engines by the shapes of the inputs, in their order. Never held for long: shapes that are ready run meanwhile.
    made: Mutex<Recent<Key, Engine>>,
    /// Held while steps for other shapes are made.
    making: Mutex<()>,
}

/// Shapes of all inputs, in order.
type Key = Vec<Vec<u64>>;

/// A plan cannot be run for some shapes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DynamicError {
    /// A shape outside of what the plan serves.
    #[error("input `{name}` has the shape {found:?}, which no profile of the plan serves: {served}")]
    OutOfRange {
        /// The input.
        name: String,
        /// Its shape.
        found: Vec<u64>,
        /// What is served.
        served: String,
    },
    /// An input that was not given.
    #[error("input `{name}` is missing; its shapes are {served}")]
    MissingInput {
        /// The input.
        name: String,
        /// What is served.
        served: String,
    },
    /// New steps for a GPU need a compiler.
    #[error(
        "steps for shapes that are not the usual ones of the first profile are compiled, and NVRTC, the compiler, is not here; \
         install it (`pip install nvidia-cuda-nvrtc`, or the CUDA toolkit) and see `tactician devices`"
    )]
    NoCompiler,
    /// Steps cannot be made for the shapes.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Steps cannot be made ready.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<DeviceError> for DynamicError {
    fn from(e: DeviceError) -> DynamicError {
        EngineError::from(e).into()
    }
}

impl DynamicEngine {
    /// Loads a plan file on the device that it asks for.
    ///
    /// # Errors
    /// When the file is unusable or the plan does not suit this machine.
    pub fn load(path: impl AsRef<Path>) -> Result<DynamicEngine, DynamicError> {
        let plan = Plan::open(path.as_ref()).map_err(EngineError::from)?;
        let device = device_for_shapes(&plan.meta)?;
        DynamicEngine::new(plan, device)
    }

    /// Makes a plan ready on a device.
    ///
    /// # Errors
    /// When the plan does not suit the device, or memory is short.
    pub fn new(plan: Plan, device: Arc<dyn Device>) -> Result<DynamicEngine, DynamicError> {
        let open = !plan.meta.profiles.is_empty();
        let recipe = open.then(|| Recipe::of(&plan, device.clone())).transpose()?;
        let (meta, pool) = (plan.meta.clone(), ConstantPool::new());
        let key = meta.inputs.iter().map(|p| p.shape.clone()).collect();
        let first = match open {
            true => Engine::sharing(plan, device.clone(), &pool)?,
            false => Engine::new(plan, device.clone())?,
        };
        let warnings = first.warnings().to_vec();
        let mut made = Recent::new(KEPT);
        made.insert(key, first);
        let made = Mutex::new(made);
        Ok(DynamicEngine {
            shared: Arc::new(Shared { meta, device, recipe, pool, warnings, made, making: Mutex::new(()) }),
        })
    }

    /// A new execution context, with an arena for the largest shapes.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new_context(&self) -> Result<DynamicContext, DynamicError> {
        let arena = Arena::new(self.shared.device.as_ref(), self.arena_bytes())?;
        Ok(DynamicContext { contexts: Recent::new(KEPT), current: None, arena, engine: self.clone() })
    }

    /// What the plan says; inputs and outputs as in the first profile's `opt`.
    pub fn meta(&self) -> &PlanMeta {
        &self.shared.meta
    }

    /// The ranges of shapes that it serves; empty for a plan of fixed shapes.
    pub fn profiles(&self) -> &[Profile] {
        &self.shared.meta.profiles
    }

    /// Where this machine differs from the one that the plan was measured on; times may differ too.
    pub fn warnings(&self) -> &[Mismatch] {
        &self.shared.warnings
    }

    /// Bytes of a context's arena: what the largest shapes take.
    pub fn arena_bytes(&self) -> u64 {
        let meta = &self.shared.meta;
        meta.profiles.iter().map(|p| p.arena_bytes).fold(meta.arena_bytes, u64::max)
    }

    /// Bytes of weights that shapes share on the device, each counted once however many use it.
    pub fn weight_bytes(&self) -> u64 {
        self.shared.pool.bytes()
    }

    /// How many shapes have their steps ready.
    pub fn shapes_ready(&self) -> usize {
        self.shared.lock().len()
    }

    /// Makes the steps for shapes of the inputs, by name, unless they are there; inputs that are not named have the shape of
    /// the first profile's `opt`.
    ///
    /// # Errors
    /// When no profile serves the shapes, or there is no room.
    pub fn prepare(&self, shapes: &[(&str, &[usize])]) -> Result<Engine, DynamicError> {
        self.shared.engine(&self.shared.key(shapes)?)
    }
}

/// The device that a plan asks for. A GPU comes with all that new steps may need: the compiler, every library, and the CPU for
/// what it has no kernel for; those of the plan itself need less.
fn device_for_shapes(meta: &PlanMeta) -> Result<Arc<dyn Device>, DynamicError> {
    if meta.profiles.is_empty() || meta.target.kind != "cuda" {
        return Ok(device_for(meta)?);
    }
    if let Some(reason) = tactician_cuda::obstacle() {
        return Err(EngineError::NoGpu { reason }.into());
    }
    Ok(DeviceName::Cuda(CudaDevice::find(&meta.target.isa).unwrap_or(0)).open(None)?)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Recent<Key, Engine>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shapes of all inputs: those given by name, and of the others the ones of the first profile's `opt`.
    fn key(&self, shapes: &[(&str, &[usize])]) -> Result<Key, DynamicError> {
        let mut key: Key = self.meta.inputs.iter().map(|p| p.shape.clone()).collect();
        for (name, sizes) in shapes {
            key[self.input(name)?] = sizes.iter().map(|&n| n as u64).collect();
        }
        Ok(key)
    }

    fn input(&self, name: &str) -> Result<usize, DynamicError> {
        let ports = &self.meta.inputs;
        let known = || ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
        let at = ports.iter().position(|p| p.name == name);
        Ok(at.ok_or_else(|| RunError::NoInput { name: name.to_owned(), known: known() })?)
    }

    /// The shapes that an input may have, for people.
    fn served(&self, input: usize) -> String {
        let text = |ranges: &[SizeRange]| {
            format!("[{}]", ranges.iter().map(SizeRange::to_string).collect::<Vec<_>>().join(", "))
        };
        let list: Vec<String> = self.meta.profiles.iter().map(|p| text(&p.inputs[input])).collect();
        if list.is_empty() { format!("{:?}", self.meta.inputs[input].shape) } else { list.join(" or ") }
    }

    /// The profile that serves shapes: of several the one whose `opt` is nearest, in ratios.
    fn profile(&self, key: &Key) -> Result<&Profile, DynamicError> {
        let fits = |ranges: &[SizeRange], sizes: &[u64]| {
            ranges.len() == sizes.len() && ranges.iter().zip(sizes).all(|(r, &n)| r.contains(n))
        };
        let off = |p: &Profile| -> f64 {
            let pairs = p.inputs.iter().flatten().zip(key.iter().flatten());
            pairs.map(|(r, &n)| (n.max(1) as f64 / r.opt.max(1) as f64).ln().abs()).sum()
        };
        let serve = |p: &&Profile| p.inputs.iter().zip(key).all(|(ranges, sizes)| fits(ranges, sizes));
        let list = self.meta.profiles.iter();
        list.filter(serve).min_by(|a, b| off(a).total_cmp(&off(b))).ok_or_else(|| {
            // The input that no profile serves by itself, or else the first.
            let alone = |i: &usize| !self.meta.profiles.iter().any(|p| fits(&p.inputs[*i], &key[*i]));
            let at = (0..key.len()).find(alone).unwrap_or(0);
            let name = self.meta.inputs.get(at).map(|p| p.name.clone()).unwrap_or_default();
            let found = key.get(at).cloned().unwrap_or_default();
            DynamicError::OutOfRange { name, found, served: self.served(at) }
        })
    }

    /// The engine for shapes. Whoever wants other new ones meanwhile waits: making steps for two shapes at once would not be
    /// faster.
    fn engine(&self, key: &Key) -> Result<Engine, DynamicError> {
        let ready = || self.lock().get(key).cloned();
        if let Some(engine) = ready() {
            return Ok(engine);
        }
        let profile = self.profile(key)?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have made them while this one waited.
        if let Some(engine) = ready() {
            return Ok(engine);
        }
        let Some(recipe) = &self.recipe else {
            let network = self.meta.network.clone();
            return Err(BuildError::FixedShapes { network }.into());
        };
        if self.device.info().cuda().is_some_and(|c| c.nvrtc.is_none()) {
            return Err(DynamicError::NoCompiler);
        }
        let sizes = |s: &Vec<u64>| s.iter().map(|&n| n as usize).collect();
        let shapes: Shapes =
            self.meta.inputs.iter().zip(key).map(|(p, s)| (p.name.clone(), sizes(s))).collect();
        let plan = recipe.plan_at(&shapes, &profile.choices)?;
        let engine = Engine::sharing(plan, self.device.clone(), &self.pool)?;
        Ok(self.lock().insert(key.clone(), engine).clone())
    }
}

/// One execution at a time of a plan for open shapes. Contexts of one engine run in parallel.
pub struct DynamicContext {
    /// By the shapes of the inputs. All work in one arena, one after the other.
    contexts: Recent<Key, Context>,
    /// The one that ran last.
    current: Option<Key>,
    arena: Arena,
    engine: DynamicEngine,
}

impl DynamicContext {
    /// The context for shapes of the inputs, by name, to bind memory and enqueue runs as with any other; inputs that are not
    /// named have the shape of the first profile's `opt`. Waits for runs at other shapes, which use the same arena.
    ///
    /// # Errors
    /// When no profile serves the shapes, there is no room, or an earlier run failed.
    pub fn at(&mut self, shapes: &[(&str, &[usize])]) -> Result<&mut Context, DynamicError> {
        self.context(self.engine.shared.key(shapes)?)
    }

    fn context(&mut self, key: Key) -> Result<&mut Context, DynamicError> {
        if let Some(last) = self.current.take_if(|k| *k != key)
            && let Some(context) = self.contexts.get(&last)
        {
            context.synchronize()?;
        }
        let new = if self.contexts.contains(&key) {
            None
        } else {
            let engine = self.engine.shared.engine(&key)?;
            let wanted = engine.meta().arena_bytes;
            if wanted > self.arena.bytes() {
                // Smaller shapes hardly ever pack worse; then everything moves to a larger arena.
                self.contexts.clear();
                self.arena = Arena::new(self.engine.shared.device.as_ref(), wanted)?;
            }
            // SAFETY: of the contexts that share the arena one has runs under way at most: whichever ran before this one has been
            // waited for above, and only the one returned can be given work.
            Some(unsafe { engine.new_context_in(&self.arena)? })
        };
        self.current = Some(key.clone());
        match new {
            Some(context) => Ok(self.contexts.insert(key, context)),
            None => self
                .contexts
                .get(&key)
                .ok_or_else(|| BuildError::Bug { what: "a context in use was dropped".into() }.into()),
        }
    }

    /// Runs with inputs of any shapes that a profile serves, and returns all outputs by name.
    ///
    /// # Errors
    /// When an input is missing, unknown or of another type, no profile serves the shapes, or a step fails.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, DynamicError> {
        let shared = &self.engine.shared;
        for (name, _) in inputs {
            shared.input(name)?;
        }
        let mut key = Key::new();
        for (i, p) in shared.meta.inputs.iter().enumerate() {
            let given = inputs.iter().find(|(n, _)| *n == p.name);
            let missing = || DynamicError::MissingInput { name: p.name.clone(), served: shared.served(i) };
            let (_, tensor) = given.ok_or_else(missing)?;
            key.push(tensor.shape().iter().map(|&n| n as u64).collect());
        }
        Ok(self.context(key)?.run(inputs)?)
    }
}
