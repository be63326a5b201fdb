//! `cudnn.graph`: a step that cuDNN runs.

use std::ptr;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tactician_cudnn_sys::Cudnn;
use tactician_device::{DeviceError, Executable, Span, StepDesc, Stream};

use super::NAME;
use super::descriptor::{Descriptor, RawPointer, library};
use super::engines::Candidate;
use super::graph::unique_id;
use super::handle::Handle;
use super::plan::{Plan, variant_pack};
use super::spec::{GraphSpec, Role, TENSOR_ALIGNMENT, TensorSpec};
use super::target::Target;
use crate::driver::Context;
use crate::stream::CudaStream;

/// Parameters of a step that cuDNN runs. Its arguments are the graph's inputs and outputs by number, then scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CudnnStep {
    /// What it computes.
    pub graph: GraphSpec,
    /// cuDNN's number of the engine.
    pub engine: i64,
    /// The engine's settings, as type and value.
    pub knobs: Vec<(i32, i64)>,
    /// Scratch in bytes.
    pub workspace: u64,
    /// The plan in cuDNN's own form, for engines that take long to compile. Only a shortcut: where it does not fit, the
    /// plan is made from the rest.
    pub plan: Option<String>,
}

/// Highest engine number and most knobs that are believed.
const MOST_ENGINES: i64 = 1 << 16;
const MOST_KNOBS: usize = 64;

/// Longest plan text that is believed, in bytes.
const LONGEST_PLAN: usize = 16 << 20;

/// Variant packs that a step keeps: one for each set of addresses that it was lately run with.
const PACKS: usize = 32;

impl CudnnStep {
    /// The step of a graph and one of its candidates.
    pub fn new(graph: GraphSpec, candidate: &Candidate) -> CudnnStep {
        CudnnStep {
            graph,
            engine: candidate.engine,
            knobs: candidate.knobs.clone(),
            workspace: candidate.workspace,
            plan: None,
        }
    }

    /// Decodes and checks parameters that may come from a hostile file, against the lengths of the step's arguments.
    ///
    /// # Errors
    /// `BadStep` when they do not decode, contradict themselves, or ask for more than the arguments hold.
    pub fn decode(step: &StepDesc<'_>) -> Result<CudnnStep, DeviceError> {
        let (this, rest): (CudnnStep, &[u8]) = postcard::take_from_bytes(step.params)
            .map_err(|e| bad(format!("its parameters do not decode ({e})")))?;
        if !rest.is_empty() {
            return Err(bad(format!("its parameters are followed by {} stray bytes", rest.len())));
        }
        let needed = this.graph.check().map_err(bad)?;
        for (what, needed, given) in
            [("input", &needed.inputs, step.inputs), ("output", &needed.outputs, step.outputs)]
        {
            if needed.len() != given.len() {
                return Err(bad(format!("takes {} {what}s, the plan passes {}", needed.len(), given.len())));
            }
            for (i, (n, g)) in needed.iter().zip(given).enumerate() {
                if g < n {
                    return Err(bad(format!("{what} {i} must hold {n} bytes, the plan passes {g}")));
                }
            }
        }
        let (_, discarded) = this.graph.discarded();
        if step.scratch < this.workspace.saturating_add(discarded) {
            return Err(bad(format!(
                "needs {} bytes of scratch, the plan has {}",
                this.workspace.saturating_add(discarded),
                step.scratch
            )));
        }
        if !(0..MOST_ENGINES).contains(&this.engine) || this.knobs.len() > MOST_KNOBS {
            return Err(bad(format!(
                "engine {} with {} knobs is out of bounds",
                this.engine,
                this.knobs.len()
            )));
        }
        if this.knobs.iter().any(|&(kind, _)| kind < 0) {
            return Err(bad("it sets a knob of negative type".to_owned()));
        }
        if let Some(plan) = &this.plan
            && (plan.len() > LONGEST_PLAN || plan.contains('\0'))
        {
            return Err(bad("its plan text is too long or has a zero inside".to_owned()));
        }
        Ok(this)
    }

    /// Scratch in bytes: what is discarded, then cuDNN's own.
    pub fn scratch(&self) -> u64 {
        self.graph.discarded().1.saturating_add(self.workspace)
    }

    /// Keeps the plan in cuDNN's own form, compiled for a device: loading it takes much less time than compiling.
    ///
    /// # Errors
    /// When cuDNN is missing or cannot make the plan.
    pub fn keep_plan(&mut self, info: &tactician_device::CudaInfo) -> Result<(), DeviceError> {
        let cudnn = library()?;
        let plan = Plan::build(cudnn, &Target::of(cudnn, info), &self.graph, self.engine, &self.knobs)?;
        self.plan = Some(plan.text()?);
        Ok(())
    }

    /// The plan, from its text where that fits.
    pub(crate) fn plan(&self, cudnn: &'static Cudnn, target: &Target) -> Result<Plan, DeviceError> {
        if let Some(text) = &self.plan
            && self.is_plan_of_this(text)
            && let Ok(plan) = Plan::read(cudnn, target, text)
        {
            return Ok(plan);
        }
        Plan::build(cudnn, target, &self.graph, self.engine, &self.knobs)
    }

    /// Whether a plan text is of this engine and of this graph's tensors: what it accesses is then what was checked.
    pub(super) fn is_plan_of_this(&self, text: &str) -> bool {
        let Ok(plan) = serde_json::from_str::<Value>(text) else { return false };
        let Some(tensors) = plan["operationGraph"]["tensors"].as_array() else { return false };
        let numbers = |v: &Value, want: &[u64]| {
            v.as_array().is_some_and(|l| l.iter().map(Value::as_u64).eq(want.iter().map(|&n| Some(n))))
        };
        let same = |i: usize, t: &TensorSpec| {
            let name = unique_id(i).to_string();
            tensors.iter().filter(|v| v["name"].as_str() == Some(&name)).all(|v| {
                numbers(&v["dim"], &t.sizes)
                    && numbers(&v["stride"], &t.strides)
                    && v["isVirtual"].as_bool() == Some(t.role == Role::Virtual)
                    // An address of the host must not be taken for one of the device, nor the other way round.
                    && v["isByValue"].as_bool().unwrap_or(false) == matches!(t.role, Role::Value(_))
            })
        };
        let known = |v: &Value| {
            (0..self.graph.tensors.len()).any(|i| v["name"].as_str() == Some(&unique_id(i).to_string()))
        };
        plan["engine"]["engineId"].as_i64() == Some(self.engine)
            && tensors.len() == self.graph.tensors.len()
            && tensors.iter().all(known)
            && self.graph.tensors.iter().enumerate().all(|(i, t)| same(i, t))
    }
}

fn bad(problem: String) -> DeviceError {
    DeviceError::BadStep { kernel: NAME.to_owned(), problem }
}

/// Checks a step and makes its plan for the GPU of a context.
///
/// # Errors
/// `BadStep` when the parameters do not fit; `Failed` when cuDNN is missing or cannot make the plan.
pub(crate) fn prepare(step: &StepDesc<'_>, context: &Context) -> Result<Box<dyn Executable>, DeviceError> {
    let decoded = CudnnStep::decode(step)?;
    let cudnn = library()?;
    context.make_current()?;
    Handle::stock(context.ordinal())?;
    let ordinal = i32::try_from(context.ordinal()).map_err(|e| bad(e.to_string()))?;
    let plan = decoded.plan(cudnn, &Target::Ordinal(ordinal))?;
    let workspace = plan.workspace()?;
    let (offsets, discarded) = decoded.graph.discarded();
    let room = step.scratch.saturating_sub(discarded);
    if workspace > room {
        return Err(bad(format!(
            "this version of cuDNN needs {workspace} bytes of scratch for it, the plan has {room}"
        )));
    }
    let arguments = step.inputs.len() + step.outputs.len() + 1;
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    let (mut value_ids, mut values) = (Vec::new(), Vec::new());
    for (i, t) in decoded.graph.tensors.iter().enumerate() {
        let place = match t.role {
            Role::Input(n) => (usize::from(n), t.offset * t.dtype.size() as u64),
            Role::Output(n) => (step.inputs.len() + usize::from(n), 0),
            Role::Discarded => (arguments - 1, offsets.get(&i).copied().unwrap_or(0)),
            Role::Virtual => continue,
            Role::Value(bits) => {
                value_ids.push(unique_id(i));
                values.push(bits);
                continue;
            }
        };
        ids.push(unique_id(i));
        places.push(place);
    }
    ids.extend(value_ids);
    Ok(Box::new(Ready {
        cudnn,
        ids,
        places,
        values: values.into(),
        arguments,
        discarded,
        state: Mutex::new(State { plan, packs: vec![], next: 0 }),
    }))
}

/// A step with its plan.
struct Ready {
    cudnn: &'static Cudnn,
    /// Of the tensors in memory, then of the values.
    ids: Vec<i64>,
    /// For each tensor in memory, its argument and the bytes before it in that.
    places: Vec<(usize, u64)>,
    /// What is passed by value, by its bits: cuDNN reads it here, so it stays where it is.
    values: Box<[u32]>,
    arguments: usize,
    /// Bytes of scratch before cuDNN's own.
    discarded: u64,
    /// cuDNN's plans may not be executed by two threads at once, so contexts take turns. A recorded graph replays
    /// without coming here.
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    packs: Vec<Pack>,
    next: usize,
}

/// A variant pack and the addresses that it was made of.
struct Pack {
    addresses: Vec<u64>,
    descriptor: Descriptor,
}

impl State {
    /// The pack of these arguments: kept from an earlier run, or new in place of the oldest.
    fn pack(&mut self, step: &Ready, args: &[Span]) -> Result<usize, DeviceError> {
        let same = |p: &Pack| p.addresses.iter().zip(args).all(|(a, s)| *a == s.address);
        if let Some(i) = self.packs.iter().position(same) {
            return Ok(i);
        }
        let pointer = |s: &Span, after: u64| {
            // Without scratch there is no address to count from.
            RawPointer(ptr::without_provenance_mut(s.address.wrapping_add(after) as usize))
        };
        let mut addresses: Vec<RawPointer> =
            step.places.iter().map(|&(p, after)| pointer(&args[p], after)).collect();
        addresses.extend(step.values.iter().map(|v| RawPointer(ptr::from_ref(v).cast_mut().cast())));
        let workspace = pointer(&args[step.arguments - 1], step.discarded);
        let descriptor = variant_pack(step.cudnn, &step.ids, &addresses, workspace)?;
        let pack = Pack { addresses: args.iter().map(|s| s.address).collect(), descriptor };
        if self.packs.len() < PACKS {
            self.packs.push(pack);
            return Ok(self.packs.len() - 1);
        }
        let at = self.next;
        self.packs[at] = pack;
        self.next = (at + 1) % PACKS;
        Ok(at)
    }
}

impl Executable for Ready {
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        if args.len() != self.arguments {
            return Err(bad(format!("takes {} arguments, was given {}", self.arguments, args.len())));
        }
        let crooked = |p: &&(usize, u64)| !args[p.0].address.is_multiple_of(TENSOR_ALIGNMENT);
        if let Some((i, _)) = self.places.iter().find(crooked) {
            return Err(bad(format!(
                "argument {i} lies at {:#x}, which is no multiple of {TENSOR_ALIGNMENT}",
                args[*i].address
            )));
        }
        let handle = CudaStream::of(stream)?.cudnn()?;
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let at = state.pack(self, args)?;
        // SAFETY: the caller passes live memory of the stream's device, as long as in the step's description, which
        // holds what the graph and the plan's workspace need; the alignment was checked above.
        unsafe { handle.execute(&state.plan.descriptor, &state.packs[at].descriptor) }
    }
}
