//! Models whose sizes depend on data, run stage by stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use tactician_device::{Device, DeviceError};
use tactician_ir as ir;
use tactician_onnx::{Backend, Driver, ImportError, ModelInput, StageError, ValueKind};
use tactician_runtime::{ConstantPool, Context, Engine, EngineError, RunError, Tensor};
use tactician_tune::TuneOptions;
use thiserror::Error;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::network::Network;

/// Runs an ONNX model of any kind: also one whose sizes depend on data, as those behind `NonZero`, `Unique`, `Compress` and
/// `NonMaxSuppression` do, or a `Reshape` to a shape that is computed, or a loop that runs until a tensor says that it is done.
///
/// The model is imported as far as sizes are known; that part is built and run; what it computes makes the next part known.
/// Operators whose result has a size of its own run on the host in between; the graphs of branches and loops whose conditions are
/// computed are models of their own, and run as often as their conditions say. Stages are kept: the next run with inputs of equal
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
    builds: Builds,
    /// None until the first run, when the values given to inputs are read.
    driver: Option<Driver<Ready>>,
}

/// How stages are built.
struct Builds {
    device: Arc<dyn Device>,
    tuning: Option<TuneOptions>,
    workspace: u64,
    pool: ConstantPool,
}

/// A stage that is ready, and the names of what it reads.
struct Ready {
    context: Context,
    reads: Vec<String>,
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
    /// The model cannot be taken apart into stages that end.
    #[error(transparent)]
    Stage(#[from] StageError),
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
        let workspace = crate::DEFAULT_WORKSPACE;
        let builds = Builds { device, tuning: None, workspace, pool: ConstantPool::new() };
        Ok(Session { network: network.clone(), builds, driver: None })
    }

    /// Measures every stage when it is built, which takes the time that a build takes.
    #[must_use]
    pub fn tuned(mut self, options: TuneOptions) -> Session {
        self.builds.tuning = Some(options);
        self
    }

    /// The scratch in bytes that any one step may use.
    #[must_use]
    pub fn workspace(mut self, bytes: u64) -> Session {
        self.builds.workspace = bytes;
        self
    }

    /// How many stages are ready, those of branches and loops included.
    pub fn stages(&self) -> usize {
        self.driver.as_ref().map_or(0, Driver::stages)
    }

    /// Runs the model; returns its outputs by name.
    ///
    /// # Errors
    /// When an input is missing, unknown or does not fit, or a part of the model cannot be imported, built or run.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, SessionError> {
        let given = self.checked(inputs)?;
        let driver = match &mut self.driver {
            Some(driver) => driver,
            None => {
                let model = self.network.model().ok_or(SessionError::NoModel)?;
                let constants = self.network.tensors(model)?;
                self.driver.insert(Driver::new(model.clone(), constants))
            }
        };
        let outputs = driver.run(&self.builds, &given)?;
        let back = |(name, t): (String, ir::Tensor)| {
            Some((name, Tensor::from_bytes(t.dtype(), t.sizes(), t.bytes())?))
        };
        outputs.into_iter().map(back).collect::<Option<_>>().ok_or_else(|| no_tensor("an output").into())
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
            given.insert((*name).to_owned(), host((*t).clone())?);
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
}

impl Backend for Builds {
    type Ready = Ready;
    type Error = SessionError;

    fn ready(&self, graph: ir::Graph) -> Result<Ready, SessionError> {
        let builder = Builder::new().device(self.device.clone()).workspace(self.workspace);
        let network = Network::from_graph(graph);
        let plan = match &self.tuning {
            Some(options) => builder.tuning(options.clone()).build(&network)?,
            None => builder.untuned(&network)?,
        };
        let reads = plan.meta.inputs.iter().map(|p| p.name.clone()).collect();
        let context = Engine::sharing(plan, self.device.clone(), &self.pool)?.new_context()?;
        Ok(Ready { context, reads })
    }

    fn run(
        &self,
        ready: &mut Ready,
        value: &dyn Fn(&str) -> Option<ir::Tensor>,
    ) -> Result<Vec<(String, ir::Tensor)>, SessionError> {
        for name in &ready.reads {
            let Some(t) = value(name) else { continue };
            let t = Tensor::from_bytes(t.dtype(), t.sizes(), t.bytes());
            ready.context.set_input(name, &t.ok_or_else(|| no_tensor(name))?)?;
        }
        let outputs = ready.context.run(&[])?;
        outputs.into_iter().map(|(name, t)| Ok((name, host(t)?))).collect()
    }
}

/// A tensor of the runtime, whose bytes the graph's tensors share.
struct Shared(Tensor);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A tensor as the importer has it.
fn host(t: Tensor) -> Result<ir::Tensor, BuildError> {
    let (dtype, sizes, len) = (t.dtype(), t.shape().to_vec(), t.bytes().len());
    ir::Tensor::from_shared(dtype, &sizes, Arc::new(Shared(t)), 0..len).map_err(|e| no_tensor(&e.to_string()))
}

fn no_tensor(what: &str) -> BuildError {
    BuildError::Bug { what: format!("{what} is no tensor") }
}
