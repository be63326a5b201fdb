//! Which engines can run a graph, with which settings.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tactician_cudnn_sys::{
    AttributeName, AttributeType, BehaviorNote, Cudnn, DescriptorType, HeuristicMode, KnobType, NumericalNote,
};
use tactician_device::{CudaInfo, DeviceError};
use tactician_types::{DType, Memo};

use super::descriptor::{Descriptor, library};
use super::graph::OperationGraph;
use super::spec::GraphSpec;
use super::target::Target;
use crate::driver::Context;

/// Room for the knobs of an engine: a query without room does not say how many there are.
const MOST_KNOBS: usize = 64;

/// An engine with more settings than this is not swept.
const MOST_SETTINGS: usize = 128;

/// Room for the notes of an engine.
const MOST_NOTES: usize = 32;

/// One way to run a graph: an engine with all its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
/// mode A, then what falls back. For `f32` they mostly propose tensor cores, so all settings of the engines that
/// multiply in `f32` follow. Nothing is compiled. The answer is remembered for the life of the process, and for longer where
/// [`answers`] are kept and [recalled](recall).
///
/// # Errors
/// When cuDNN is missing or another than the device's, the graph is unsound, or cuDNN refuses it.
pub fn candidates(spec: &GraphSpec, info: &CudaInfo) -> Result<Arc<[Candidate]>, DeviceError> {
    spec.check().map_err(|problem| DeviceError::BadStep { kernel: super::NAME.to_owned(), problem })?;
    let text = postcard::to_stdvec(spec)
        .map_err(|e| DeviceError::Failed { call: "encoding a graph".to_owned(), reason: e.to_string() })?;
    KNOWN.get((text, format!("{info:?}")), || {
        let cudnn = library()?;
        let here = super::version();
        if here != info.cudnn {
            let reason = format!("this is cuDNN {here:?}, the device has {:?}", info.cudnn);
            return Err(DeviceError::Failed { call: "asking cuDNN for engines".to_owned(), reason });
        }
        Ok(list(cudnn, spec, &Target::of(cudnn, info))?.into())
    })
}

/// A graph, encoded, and the description of a GPU.
type Question = (Vec<u8>, String);

static KNOWN: Memo<Question, Result<Arc<[Candidate]>, DeviceError>> = Memo::new();

/// All that cuDNN has answered so far in this process, encoded.
pub fn answers() -> Vec<u8> {
    let found: Vec<(Question, Arc<[Candidate]>)> =
        KNOWN.entries().into_iter().filter_map(|(question, found)| Some((question, found.ok()?))).collect();
    postcard::to_stdvec(&found).unwrap_or_default()
}

/// Takes over what [`answers`] gave in another process, so that it is not asked again. What does not read is left out.
pub fn recall(answers: &[u8]) {
    let known: Vec<(Question, Vec<Candidate>)> = postcard::from_bytes(answers).unwrap_or_default();
    known.into_iter().for_each(|(question, found)| KNOWN.put(question, Ok(found.into())));
}

/// The same without memory.
pub(crate) fn list(
    cudnn: &'static Cudnn,
    spec: &GraphSpec,
    target: &Target,
) -> Result<Vec<Candidate>, DeviceError> {
    // On a thread without the GPU's context, cuDNN gives fewer settings of some engines.
    if let Target::Ordinal(ordinal) = target {
        Context::primary(usize::try_from(*ordinal).unwrap_or_default())?.make_current()?;
    }
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
    if let (Some(e), false) = (refused, answered) {
        return Err(e);
    }
    if spec.tensors.iter().all(|t| t.dtype == DType::F32) {
        sweep(cudnn, &graph, &device, &mut found)?;
    }
    Ok(found)
}

/// Adds all settings of the engines that multiply in `f32`, one after the other, to what was found.
fn sweep(
    cudnn: &'static Cudnn,
    graph: &OperationGraph,
    device: &Descriptor,
    found: &mut Vec<Candidate>,
) -> Result<(), DeviceError> {
    let count = graph.descriptor.get(AttributeName::OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, 1, 0i64)?;
    for index in 0..count.first().copied().unwrap_or(0) {
        // An engine that does not serve the graph, or not with some settings, fails to be finalized.
        let Ok(engine) = engine(cudnn, graph, device, index) else { continue };
        let Ok((numerics, behaviour)) = notes(&engine) else { continue };
        let of = |knobs, workspace| Candidate {
            engine: index,
            knobs,
            workspace,
            numerics: numerics.clone(),
            behaviour: behaviour.clone(),
        };
        let plain = of(vec![], 0);
        if plain.uses_tensor_cores()
            || plain.shortens_inputs()
            || plain.sums_loosely()
            || plain.compiles()
            || !plain.is_deterministic()
        {
            continue;
        }
        let Ok(ranges) = ranges(&engine) else { continue };
        for knobs in settings(&ranges) {
            if found.iter().any(|f| f.engine == index && f.knobs == knobs) {
                continue;
            }
            let Ok((configuration, _choices)) = configuration(cudnn, &engine, &knobs) else { continue };
            found.extend(workspace(&configuration).map(|w| of(knobs, w)));
        }
    }
    Ok(())
}

/// A knob's type, its least and its largest value, and the step between values.
type Range = (i32, i64, i64, i64);

fn ranges(engine: &Descriptor) -> Result<Vec<Range>, DeviceError> {
    let infos =
        engine.get_descriptors(AttributeName::ENGINE_KNOB_INFO, DescriptorType::KNOB_INFO, MOST_KNOBS)?;
    let mut list = Vec::with_capacity(infos.len());
    for i in &infos {
        let value = |name| Ok::<_, DeviceError>(i.get(name, 1, 0i64)?.first().copied().unwrap_or(0));
        let kind = i.get(AttributeName::KNOB_INFO_TYPE, 1, KnobType::SPLIT_K)?;
        let low = value(AttributeName::KNOB_INFO_MINIMUM_VALUE)?;
        let high = value(AttributeName::KNOB_INFO_MAXIMUM_VALUE)?;
        list.extend(kind.first().map(|k| (k.0, low, high, 0)));
        if let Some(last) = list.last_mut() {
            last.3 = value(AttributeName::KNOB_INFO_STRIDE)?.max(1);
        }
    }
    list.sort_unstable();
    Ok(list)
}

/// All settings within ranges; none when there are too many.
fn settings(ranges: &[Range]) -> Vec<Vec<(i32, i64)>> {
    let mut list = vec![Vec::with_capacity(ranges.len())];
    for &(kind, low, high, step) in ranges {
        let values = (0..).map_while(|i: i64| Some(low + i.checked_mul(step)?).filter(|&v| v <= high));
        let values: Vec<i64> = values.take(MOST_SETTINGS + 1).collect();
        if values.len() * list.len() > MOST_SETTINGS {
            return vec![];
        }
        list = list
            .iter()
            .flat_map(|before| {
                values.iter().map(move |&v| before.iter().copied().chain([(kind, v)]).collect::<Vec<_>>())
            })
            .collect();
    }
    list
}

/// An engine of a graph for a device.
pub(crate) fn engine(
    cudnn: &'static Cudnn,
    graph: &OperationGraph,
    device: &Descriptor,
    index: i64,
) -> Result<Descriptor, DeviceError> {
    let mut e = Descriptor::new(cudnn, DescriptorType::ENGINE)?;
    e.link(AttributeName::ENGINE_OPERATION_GRAPH, &[&graph.descriptor])?;
    e.set(AttributeName::ENGINE_GLOBAL_INDEX, &[index])?;
    e.link(AttributeName::ENGINE_DEVICEPROP, &[device])?;
    e.finalize()?;
    Ok(e)
}

/// An engine with settings, and the descriptors of these.
pub(crate) fn configuration(
    cudnn: &'static Cudnn,
    engine: &Descriptor,
    knobs: &[(i32, i64)],
) -> Result<(Descriptor, Vec<Descriptor>), DeviceError> {
    let mut choices = Vec::with_capacity(knobs.len());
    for &(kind, value) in knobs {
        let mut c = Descriptor::new(cudnn, DescriptorType::KNOB_CHOICE)?;
        c.set(AttributeName::KNOB_CHOICE_KNOB_TYPE, &[KnobType(kind)])?;
        c.set(AttributeName::KNOB_CHOICE_KNOB_VALUE, &[value])?;
        c.finalize()?;
        choices.push(c);
    }
    let mut configuration = Descriptor::new(cudnn, DescriptorType::ENGINECFG)?;
    configuration.link(AttributeName::ENGINECFG_ENGINE, &[engine])?;
    if !choices.is_empty() {
        configuration.link(AttributeName::ENGINECFG_KNOB_CHOICES, &choices.iter().collect::<Vec<_>>())?;
    }
    configuration.finalize()?;
    Ok((configuration, choices))
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
    let engine = engines.first().ok_or_else(|| missing("engine"))?;
    let index = one(engine, AttributeName::ENGINE_GLOBAL_INDEX)?.ok_or_else(|| missing("engine number"))?;
    let (numerics, behaviour) = notes(engine)?;
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
    let workspace = workspace(configuration).ok_or_else(|| missing("workspace size"))?;
    Ok(Candidate { engine: index, knobs, workspace, numerics, behaviour })
}

/// The numerical and the behaviour notes of an engine.
fn notes(engine: &Descriptor) -> Result<(Vec<i32>, Vec<i32>), DeviceError> {
    let numerics =
        engine.get(AttributeName::ENGINE_NUMERICAL_NOTE, MOST_NOTES, NumericalNote::TENSOR_CORE)?;
    let behaviour =
        engine.get(AttributeName::ENGINE_BEHAVIOR_NOTE, MOST_NOTES, BehaviorNote::RUNTIME_COMPILATION)?;
    Ok((numerics.iter().map(|n| n.0).collect(), behaviour.iter().map(|n| n.0).collect()))
}

/// Scratch of a configuration in bytes.
fn workspace(configuration: &Descriptor) -> Option<u64> {
    let bytes = one(configuration, AttributeName::ENGINECFG_WORKSPACE_SIZE).ok()??;
    u64::try_from(bytes).ok()
}

fn one(d: &Descriptor, name: AttributeName) -> Result<Option<i64>, DeviceError> {
    Ok(d.get(name, 1, 0i64)?.first().copied())
}

fn missing(what: &str) -> DeviceError {
    DeviceError::Failed {
        call: "reading an engine configuration of cuDNN".to_owned(),
        reason: format!("it has no {what}"),
    }
}
