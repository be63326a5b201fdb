//! Models whose sizes depend on data, run stage by stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use tactician_device::{Device, DeviceError};
use tactician_ir as ir;
use tactician_onnx::{Fed, ImportError, ModelInput, ShapeBindings, Stage, Step, ValueKind};
use tactician_runtime::{ConstantPool, Context, Engine, EngineError, RunError, Tensor};
use tactician_tune::TuneOptions;
use thiserror::Error;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::network::Network;
use crate::recent::Recent;

/// Most stages of a run: more than models have places that depend on data, and a bound for those made to waste time.
const MOST_STAGES: usize = 1000;

/// Stages kept ready; the ones unused for longest go first.
const KEPT: usize = 128;

/// Runs an ONNX model of any kind: also one whose sizes depend on data, as those behind `NonZero`, `Unique`, `Compress` and
/// `NonMaxSuppression` do, or a `Reshape` to a shape that is computed, or a loop that runs as often as a tensor says.
///
/// The model is imported as far as sizes are known; that part is built and run; what it computes makes the next part known.
/// Operators whose result has a size of its own run on the host in between. Stages are kept: the next run with inputs of equal
/// shapes takes them as they are, unless values that sizes are computed from are others.
///
/// Stages are built when they first come, without measuring unless [`Session::tuned`] asks for it. A model whose sizes do not
/// depend on data has a single stage; build a [`crate::Plan`] of it instead, which can be saved.
///
/// ```no_run
/// use tactician::{DeviceName, Network, Session, Tensor};
///
/// let detector = Network::from_onnx("detector.onnx")?;
/// let mut session = Session::new(&detector, DeviceName::best(None)?)?;
/// let image = Tensor::new(&[1, 3, 320, 320], &vec![0.5f32; 3 * 320 * 320]).expect("sizes fit");
/// for (name, found) in session.run(&[("image", &image)])? {
///     println!("{name}: {:?}", found.shape());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    network: Network,
    device: Arc<dyn Device>,
    tuning: Option<TuneOptions>,
    workspace: u64,
    pool: ConstantPool,
    /// By what a stage depends on.
    stages: Recent<Key, Made>,
}

/// What a stage depends on: types of the inputs and of what is known, and values of what was asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    types: Vec<(String, ir::DType, Vec<usize>)>,
    values: Vec<(String, [u8; 32])>,
}

/// A stage that is ready.
struct Made {
    /// None where there is nothing to compute before the steps; with the names of what it reads.
    context: Option<(Context, Vec<String>)>,
    /// What follows; nothing behind the last stage.
    steps: Vec<Step>,
}

/// A session cannot run its model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The network was built by hand: its sizes do not depend on data.
    #[error("this network is no ONNX model; build a plan of it")]
    NoModel,
    /// An input that the model does not have, or none is given for.
    #[error("input `{name}` {problem}; the model's inputs are: {known}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        problem: &'static str,
        /// The inputs there are.
        known: String,
    },
    /// More stages follow each other than are run.
    #[error("the model's sizes depend on data in more than {MOST_STAGES} stages, one after the other")]
    TooDeep,
    /// The model computes the same sizes over and over: our mistake.
    #[error("this is a mistake of tactician, please report it: a stage made nothing known")]
    NoProgress,
    /// Part of the model cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A stage cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A stage cannot be made ready.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stage failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The device fails.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Session {
    /// A session on a device. Nothing is imported yet.
    ///
    /// # Errors
    /// When the network is no ONNX model.
    pub fn new(network: &Network, device: Arc<dyn Device>) -> Result<Session, SessionError> {
        network.model().ok_or(SessionError::NoModel)?;
        Ok(Session {
            network: network.clone(),
            device,
            tuning: None,
            workspace: crate::DEFAULT_WORKSPACE,
            pool: ConstantPool::new(),
            stages: Recent::new(KEPT),
        })
    }

    /// Measures every stage when it is built, which takes the time that a build takes.
    #[must_use]
    pub fn tuned(mut self, options: TuneOptions) -> Session {
        self.tuning = Some(options);
        self
    }

    /// The scratch in bytes that any one step may use.
    #[must_use]
    pub fn workspace(mut self, bytes: u64) -> Session {
        self.workspace = bytes;
        self
    }

    /// How many stages are ready.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Runs the model; returns its outputs by name.
    ///
    /// # Errors
    /// When an input is missing, unknown or does not fit, or a part of the model cannot be imported, built or run.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, SessionError> {
        let given = self.checked(inputs)?;
        let mut fed = Fed::default();
        for _ in 0..MOST_STAGES {
            let key = key(&given, &fed);
            let new = match self.stages.contains(&key) {
                true => None,
                false => Some(self.make(&given, &fed)?),
            };
            let made = match new {
                Some(made) => self.stages.insert(key, made),
                None => self.stages.get(&key).ok_or(SessionError::NoProgress)?,
            };
            let outputs = match &mut made.context {
                Some((context, reads)) => outputs_of(context, reads, &given, &fed)?,
                None => Vec::new(),
            };
            if made.steps.is_empty() {
                return Ok(outputs);
            }
            let before = (fed.values.len(), fed.asked.len());
            for (name, t) in outputs {
                fed.values.insert(name, host(&t)?);
            }
            let model = self.network.model().ok_or(SessionError::NoModel)?;
            for step in &made.steps {
                if !step.evaluated {
                    for name in &step.wanted {
                        // An input whose value is asked for is known already.
                        if let Some(t) = given.get(name) {
                            fed.values.insert(name.clone(), t.clone());
                        }
                        fed.asked.insert(name.clone());
                    }
                    continue;
                }
                let mut operands = fed.values.clone();
                for name in &step.wanted {
                    operands.extend(given.get(name).map(|t| (name.clone(), t.clone())));
                }
                fed.values.extend(model.evaluate(step, &operands)?);
            }
            if before == (fed.values.len(), fed.asked.len()) {
                return Err(SessionError::NoProgress);
            }
        }
        Err(SessionError::TooDeep)
    }

    /// The inputs by name, all of which must be known.
    fn checked(&self, inputs: &[(&str, &Tensor)]) -> Result<BTreeMap<String, ir::Tensor>, SessionError> {
        let model = self.network.model().ok_or(SessionError::NoModel)?;
        let known = || model.inputs().iter().map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
        let mut given = BTreeMap::new();
        for (name, t) in inputs {
            if !model.inputs().iter().any(|i| i.has(name)) {
                return Err(SessionError::Input {
                    name: (*name).to_owned(),
                    problem: "is not there",
                    known: known(),
                });
            }
            given.insert((*name).to_owned(), host(t)?);
        }
        let has = |name: &String| given.contains_key(name) || self.network.values().contains_key(name);
        let missing = |i: &&ModelInput| i.kind == ValueKind::Tensor && !has(&i.name);
        if let Some(i) = model.inputs().iter().find(missing) {
            return Err(SessionError::Input {
                name: i.name.clone(),
                problem: "is not given",
                known: known(),
            });
        }
        Ok(given)
    }

    /// Imports, builds and readies the next stage.
    fn make(&self, given: &BTreeMap<String, ir::Tensor>, fed: &Fed) -> Result<Made, SessionError> {
        let model = self.network.model().ok_or(SessionError::NoModel)?;
        let mut shapes = ShapeBindings::default();
        for (name, t) in given {
            shapes = match fed.asked.contains(name) {
                true => shapes.value(name, t.clone()),
                false => shapes.shape(name, t.sizes()),
            };
        }
        let values = self.network.tensors(model)?;
        for i in model.inputs().iter().filter(|i| given.keys().chain(values.keys()).all(|n| !i.has(n))) {
            shapes = shapes.nothing(&i.name);
        }
        for (name, t) in values {
            shapes = shapes.value(&name, t);
        }
        let (graph, steps) = match model.stage(&shapes, fed)? {
            Stage::Whole(graph) => (graph, Vec::new()),
            Stage::Part(part) => (part.graph, part.steps),
        };
        if graph.outputs().is_empty() {
            return Ok(Made { context: None, steps });
        }
        let builder = Builder::new().device(self.device.clone()).workspace(self.workspace);
        let network = Network::from_graph(graph);
        let plan = match &self.tuning {
            Some(options) => builder.tuning(options.clone()).build(&network)?,
            None => builder.untuned(&network)?,
        };
        let reads = plan.meta.inputs.iter().map(|p| p.name.clone()).collect();
        let context = Engine::sharing(plan, self.device.clone(), &self.pool)?.new_context()?;
        Ok(Made { context: Some((context, reads)), steps })
    }
}

/// A tensor as the importer has it.
fn host(t: &Tensor) -> Result<ir::Tensor, SessionError> {
    let tensor = ir::Tensor::from_bytes(t.dtype(), t.shape(), t.bytes().to_vec());
    tensor.map_err(|e| BuildError::Bug { what: e.to_string() }.into())
}

fn key(given: &BTreeMap<String, ir::Tensor>, fed: &Fed) -> Key {
    let all = given.iter().chain(&fed.values);
    let types = all.clone().map(|(n, t)| (n.clone(), t.dtype(), t.sizes().to_vec())).collect();
    let asked = all.filter(|(n, _)| fed.asked.contains(*n));
    Key { types, values: asked.map(|(n, t)| (n.clone(), *blake3::hash(t.bytes()).as_bytes())).collect() }
}

/// Runs a stage with what it reads of the inputs and of what is known.
fn outputs_of(
    context: &mut Context,
    reads: &[String],
    given: &BTreeMap<String, ir::Tensor>,
    fed: &Fed,
) -> Result<Vec<(String, Tensor)>, SessionError> {
    let mut bound = Vec::new();
    for name in reads {
        let Some(t) = fed.values.get(name).or_else(|| given.get(name)) else { continue };
        bound.extend(Tensor::from_bytes(t.dtype(), t.sizes(), t.bytes()).map(|t| (name, t)));
    }
    let list: Vec<(&str, &Tensor)> = bound.iter().map(|(n, t)| (n.as_str(), t)).collect();
    Ok(context.run(&list)?)
}
