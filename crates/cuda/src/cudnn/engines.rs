//! Which engines can run a graph, with which settings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tactician_cudnn_sys::{
    AttributeName, AttributeType, BehaviorNote, Cudnn, DescriptorType, HeuristicMode, KnobType, NumericalNote,
};
use tactician_device::{CudaInfo, DeviceError};

use super::descriptor::{Descriptor, library};
use super::graph::OperationGraph;
use super::spec::GraphSpec;
use super::target::Target;

/// Room for the knobs of an engine: a query without room does not say how many there are.
const MOST_KNOBS: usize = 64;

/// Room for the notes of an engine.
const MOST_NOTES: usize = 32;

/// One way to run a graph: an engine with all its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// cuDNN's number of the engine, stable within a class of graphs.
    pub engine: i64,
    /// Settings as type and value, by type.
    pub knobs: Vec<(i32, i64)>,
    /// Scratch in bytes.
    pub workspace: u64,
    /// `cudnnBackendNumericalNote_t` values.
    pub numerics: Vec<i32>,
    /// `cudnnBackendBehaviorNote_t` values.
    pub behaviour: Vec<i32>,
}

impl Candidate {
    /// Whether equal inputs give equal outputs, bit by bit.
    pub fn is_deterministic(&self) -> bool {
        !self.has(NumericalNote::NONDETERMINISTIC)
    }

    /// Whether it multiplies on tensor cores, which round `f32` inputs.
    pub fn uses_tensor_cores(&self) -> bool {
        self.has(NumericalNote::TENSOR_CORE)
    }

    /// Whether it converts inputs to a shorter type.
    pub fn shortens_inputs(&self) -> bool {
        self.has(NumericalNote::DOWN_CONVERT_INPUTS)
    }

    /// Whether it sums in something shorter than the accumulator type, or through a transform whose errors are larger
    /// than those of plain summation.
    pub fn sums_loosely(&self) -> bool {
        [
            NumericalNote::REDUCED_PRECISION_REDUCTION,
            NumericalNote::FFT,
            NumericalNote::WINOGRAD,
            NumericalNote::WINOGRAD_TILE_4X4,
            NumericalNote::WINOGRAD_TILE_6X6,
            NumericalNote::WINOGRAD_TILE_13X13,
        ]
        .iter()
        .any(|&n| self.has(n))
    }

    /// Whether cuDNN compiles it when its plan is made.
    pub fn compiles(&self) -> bool {
        self.behaviour.contains(&BehaviorNote::RUNTIME_COMPILATION.0)
    }

    fn has(&self, note: NumericalNote) -> bool {
        self.numerics.contains(&note.0)
    }
}

/// Engine and knobs, such as `e41.k2=3,k7=1`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.engine)?;
        for (i, (knob, value)) in self.knobs.iter().enumerate() {
            write!(f, "{}k{knob}={value}", if i == 0 { '.' } else { ',' })?;
        }
        Ok(())
    }
}

/// Everything that cuDNN's heuristics propose for a graph on a device, best first as they think, without repetitions:
/// mode A, then what falls back. Nothing is compiled. The answer is remembered for the life of the process.
///
/// # Errors
/// When cuDNN is missing, the graph is unsound, or cuDNN refuses it.
pub fn candidates(spec: &GraphSpec, info: &CudaInfo) -> Result<Arc<[Candidate]>, DeviceError> {
    type Known = BTreeMap<(Vec<u8>, String), Arc<[Candidate]>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let cudnn = library()?;
    spec.check().map_err(|problem| DeviceError::BadStep { kernel: super::NAME.to_owned(), problem })?;
    let text = postcard::to_stdvec(spec)
        .map_err(|e| DeviceError::Failed { call: "encoding a graph".to_owned(), reason: e.to_string() })?;
    let key = (text, format!("{info:?}"));
    // Held while asking: cuDNN's heuristics are not asked for one thing twice.
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(found) = known.get(&key) {
        return Ok(found.clone());
    }
    let found: Arc<[Candidate]> = list(cudnn, spec, &Target::of(cudnn, info))?.into();
    known.insert(key, found.clone());
    Ok(found)
}

/// The same without memory.
pub(crate) fn list(
    cudnn: &'static Cudnn,
    spec: &GraphSpec,
    target: &Target,
) -> Result<Vec<Candidate>, DeviceError> {
    let device = target.descriptor(cudnn)?;
    let graph = OperationGraph::new(cudnn, spec)?;
    let mut found: Vec<Candidate> = Vec::new();
    let mut refused = None;
    let mut answered = false;
    for mode in [HeuristicMode::A, HeuristicMode::FALLBACK] {
        match ask(cudnn, &graph, &device, mode) {
            Ok(list) => {
                answered = true;
                for c in list {
                    if !found.iter().any(|f| f.engine == c.engine && f.knobs == c.knobs) {
                        found.push(c);
                    }
                }
            }
            Err(e) => refused = Some(e),
        }
    }
    match refused {
        Some(e) if !answered => Err(e),
        _ => Ok(found),
    }
}

fn ask(
    cudnn: &'static Cudnn,
    graph: &OperationGraph,
    device: &Descriptor,
    mode: HeuristicMode,
) -> Result<Vec<Candidate>, DeviceError> {
    let mut heuristics = Descriptor::new(cudnn, DescriptorType::ENGINEHEUR)?;
    heuristics.link(AttributeName::ENGINEHEUR_OPERATION_GRAPH, &[&graph.descriptor])?;
    heuristics.set(AttributeName::ENGINEHEUR_MODE, &[mode])?;
    heuristics.link(AttributeName::ENGINEHEUR_DEVICEPROP, &[device])?;
    heuristics.finalize()?;
    let name = AttributeName::ENGINEHEUR_RESULTS;
    let count = heuristics.count(name, AttributeType::BACKEND_DESCRIPTOR)?;
    let configurations = heuristics.get_descriptors(name, DescriptorType::ENGINECFG, count)?;
    // One that cannot be read cannot be built either.
    Ok(configurations.iter().filter_map(|c| read(c).ok()).collect())
}

/// What a configuration is.
fn read(configuration: &Descriptor) -> Result<Candidate, DeviceError> {
    let engines =
        configuration.get_descriptors(AttributeName::ENGINECFG_ENGINE, DescriptorType::ENGINE, 1)?;
    let missing = |what: &str| DeviceError::Failed {
        call: "reading an engine configuration of cuDNN".to_owned(),
        reason: format!("it has no {what}"),
    };
    let engine = engines.first().ok_or_else(|| missing("engine"))?;
    let one = |d: &Descriptor, name| Ok::<_, DeviceError>(d.get(name, 1, 0i64)?.first().copied());
    let index = one(engine, AttributeName::ENGINE_GLOBAL_INDEX)?.ok_or_else(|| missing("engine number"))?;
    let numerics =
        engine.get(AttributeName::ENGINE_NUMERICAL_NOTE, MOST_NOTES, NumericalNote::TENSOR_CORE)?;
    let behaviour =
        engine.get(AttributeName::ENGINE_BEHAVIOR_NOTE, MOST_NOTES, BehaviorNote::RUNTIME_COMPILATION)?;
    let choices = configuration.get_descriptors(
        AttributeName::ENGINECFG_KNOB_CHOICES,
        DescriptorType::KNOB_CHOICE,
        MOST_KNOBS,
    )?;
    let mut knobs = Vec::with_capacity(choices.len());
    for c in &choices {
        let kind = c.get(AttributeName::KNOB_CHOICE_KNOB_TYPE, 1, KnobType::SPLIT_K)?;
        let kind = kind.first().ok_or_else(|| missing("knob type"))?;
        let value = one(c, AttributeName::KNOB_CHOICE_KNOB_VALUE)?.ok_or_else(|| missing("knob value"))?;
        knobs.push((kind.0, value));
    }
    knobs.sort_unstable();
    let workspace = one(configuration, AttributeName::ENGINECFG_WORKSPACE_SIZE)?
        .and_then(|w| u64::try_from(w).ok())
        .ok_or_else(|| missing("workspace size"))?;
    Ok(Candidate {
        engine: index,
        knobs,
        workspace,
        numerics: numerics.iter().map(|n| n.0).collect(),
        behaviour: behaviour.iter().map(|n| n.0).collect(),
    })
}
