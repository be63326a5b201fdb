//! From a network to its measurements.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tactician_device::Device;
use tactician_ir::{DType, Graph, Problem, TensorType, Verified};
use tactician_passes::{FusionPolicy, Greedy, canonicalize, lower, proposals};
use tactician_plan::{Plan, SizeRange};
use tactician_select::Budget;
use tactician_tactics::{HOST_FAMILY, TacticFilter};
use tactician_tune::{
    Catalogue, Progress, Purpose, Spared, TacticTable, TuneError, TuneOptions, TuneReport, facts, tune_with,
};

use crate::cache::CacheFolder;
use crate::devices::DeviceName;
use crate::dynamic::{Profile, TunedProfiles, shapes_at};
use crate::error::BuildError;
use crate::network::{Network, Shapes};
use crate::regions::{Offer, reformat_problems, spared, to_measure};
use crate::tuned::Tuned;

/// Scratch that one step may use when the caller sets no budget: 1 GiB, above what tactics ask for in practice.
pub const DEFAULT_WORKSPACE: u64 = 1 << 30;

/// Stack of the thread that makes the graph: what a program's first thread usually has.
const STACK: usize = 8 << 20;

/// Builds plans.
///
/// ```
/// use tactician::{Builder, zoo};
///
/// let net = zoo::tiny(1);
/// let plan = Builder::new().threads(1).workspace(1 << 20).build(&net)?;
/// assert!(plan.meta.scratch_bytes <= 1 << 20);
/// # Ok::<(), tactician::BuildError>(())
/// ```
pub struct Builder<'a> {
    budget: Budget,
    threads: Option<usize>,
    device: Option<Arc<dyn Device>>,
    named: Option<DeviceName>,
    shapes: Shapes,
    profiles: Vec<Profile>,
    precision: DType,
    tf32: Option<bool>,
    tactics: Option<TacticFilter>,
    table: Option<PathBuf>,
    policy: Option<Box<dyn FusionPolicy + 'a>>,
    also: Vec<Box<dyn FusionPolicy + 'a>>,
    exhaustive: bool,
    model: Option<String>,
    tuning: TuneOptions,
    progress: Option<Box<dyn FnMut(Progress<'_>) + 'a>>,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        Builder::new()
    }
}

impl<'a> Builder<'a> {
    /// A builder for the best device present (the first GPU that can be used, else the CPU), without a limit on scratch
    /// that matters.
    pub fn new() -> Builder<'a> {
        Builder {
            budget: Budget::workspace(DEFAULT_WORKSPACE),
            threads: None,
            device: None,
            named: None,
            shapes: Shapes::new(),
            profiles: Vec::new(),
            precision: DType::F32,
            tf32: None,
            tactics: None,
            table: None,
            policy: None,
            also: Vec::new(),
            exhaustive: false,
            model: None,
            tuning: TuneOptions::default(),
            progress: None,
        }
    }

    /// The scratch in bytes that any one step may use. Zero works.
    pub fn workspace(mut self, bytes: u64) -> Self {
        self.budget.workspace = bytes;
        self
    }

    /// The bytes that one context of the plan may take in all: weights as they are packed, code, inputs and outputs, live
    /// activations and scratch. Default: no limit. The error of a build that cannot keep to it names the least that works.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.budget.memory = Some(bytes);
        self
    }

    /// CPU threads, the caller's included. Default: one a processor. Without a word about the device, this chooses the
    /// CPU.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The device to build for and measure on. Default: the best present.
    pub fn device(mut self, device: Arc<dyn Device>) -> Self {
        self.device = Some(device);
        self
    }

    /// The device to build for and measure on, by name; opened when the build begins.
    pub fn device_named(mut self, name: DeviceName) -> Self {
        self.named = Some(name);
        self
    }

    /// The shape of an input whose sizes are open.
    pub fn shape(mut self, input: &str, sizes: &[usize]) -> Self {
        self.shapes.insert(input.to_owned(), sizes.to_vec());
        self
    }

    /// Adds a profile: ranges of shapes that the plan shall serve. It is tuned at the usual shapes of each profile; a run takes
    /// the profile that its shapes fit, and of several the one tuned nearest by. See [`crate::DynamicEngine`] for how such a plan
    /// runs.
    ///
    /// ```
    /// use tactician::ir::{DType, Shape, TensorType};
    /// use tactician::{Builder, DynamicEngine, Network, NetworkBuilder, Profile, Tensor};
    ///
    /// let mut g = tactician::ir::Graph::new("open");
    /// let x = g.add_input("x", TensorType { dtype: DType::F32, shape: ["N", "C"].into_iter().collect::<Shape>() })?;
    /// let y = g.add(tactician::ir::Op::Softmax(tactician::ir::Softmax { axis: 1, log: false }), &[x], "softmax")?;
    /// g.mark_output("y", y);
    /// let net = Network::from_graph(g);
    ///
    /// let profile = Profile::new().input("x", &[1, 10], &[8, 10], &[64, 10]);
    /// let builder = Builder::new().threads(1).profile(profile);
    /// let plan = builder.build(&net)?;
    /// let engine = DynamicEngine::new(plan, tactician::DeviceName::Cpu.open(Some(1))?)?;
    /// let mut context = engine.new_context()?;
    /// for rows in [1, 8, 33] {
    ///     let outputs = context.run(&[("x", &Tensor::new(&[rows, 10], &vec![0.0f32; rows * 10]).expect("sizes fit"))])?;
    ///     assert_eq!(outputs[0].1.shape(), [rows, 10]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// The type that `f32` values inside the network are stored in: `f32` (the default) leaves the network's own types,
    /// `f16` and `bf16` store 16 bits and still add up in `f32`. Inputs and outputs keep their types; see
    /// [`tactician_passes::lower`] for what stays `f32`.
    pub fn precision(mut self, dtype: DType) -> Self {
        self.precision = dtype;
        self
    }

    /// Whether products of `f32` values may round their factors to TF32, with 10 bits of mantissa. Default: what the
    /// tuning options say, which is no.
    pub fn tf32(mut self, allowed: bool) -> Self {
        self.tf32 = Some(allowed);
        self
    }

    /// Which tactics may be used, such as `"own".parse()?` for kernels of this project alone. Default: what the tuning
    /// options say, which is all.
    pub fn tactics(mut self, filter: TacticFilter) -> Self {
        self.tactics = Some(filter);
        self
    }

    /// A file of measurements to use and add to. What else a GPU's builds find out with some work is kept in a folder next to it,
    /// `FILE.cache`, which may be deleted at any time.
    pub fn table(mut self, path: impl AsRef<Path>) -> Self {
        self.table = Some(path.as_ref().to_owned());
        self
    }

    /// Who decides what is fused. Default: the measurements. Every region that fusion proposes is measured then, and the
    /// division into regions is chosen with the tactics. A policy decides without them, so there is less to measure.
    pub fn policy(mut self, policy: impl FusionPolicy + 'a) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// Also measures the regions that a policy chooses, so that [`Tuned::select_by`] can compare it. All comparing is
    /// [exhaustive](Builder::exhaustive).
    pub fn compare(mut self, policy: impl FusionPolicy + 'a) -> Self {
        self.also.push(Box::new(policy));
        self.exhaustive(true)
    }

    /// Whether every tactic is measured on every region. Default: not where a larger region of the same anchor offers the
    /// same tactic with more in its epilogue and nothing else would take that, which is half of the work or more.
    pub fn exhaustive(mut self, yes: bool) -> Self {
        self.exhaustive = yes;
        self
    }

    /// Where the network comes from, for the table to remember: a path, or `zoo:NAME`. A plan for another budget can then
    /// be made from the table alone.
    pub fn model(mut self, name: &str) -> Self {
        self.model = Some(name.to_owned());
        self
    }

    /// How to measure.
    pub fn tuning(mut self, options: TuneOptions) -> Self {
        self.tuning = options;
        self
    }

    /// Called as measuring goes on.
    pub fn progress(mut self, callback: impl FnMut(Progress<'_>) + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Measures and builds.
    ///
    /// # Errors
    /// When the network cannot be imported, has open sizes, or has a region that no tactic serves.
    pub fn build(self, network: &Network) -> Result<Plan, BuildError> {
        let budget = self.budget;
        match self.profiles.is_empty() {
            true => self.tune(network)?.plan_within(budget),
            false => self.tune_profiles(network)?.plan_within(budget),
        }
    }

    /// Measures once at the usual shapes of every profile; the result makes plans for any budget and all their shapes.
    ///
    /// # Errors
    /// As [`Builder::build`], and when there is no profile or one contradicts the network.
    pub fn tune_profiles(mut self, network: &Network) -> Result<TunedProfiles, BuildError> {
        let inputs = network.inputs();
        let fixed = self.shapes.clone();
        let ranges: Result<Vec<_>, BuildError> =
            std::mem::take(&mut self.profiles).iter().map(|p| p.ranges(&inputs, &fixed)).collect();
        let mut list = Vec::new();
        for ranges in ranges? {
            // What could not be bound at the ends is not worth measuring for.
            for end in [|r: &SizeRange| r.min, |r: &SizeRange| r.max] {
                check_bound(&network.bind(&shapes_at(&inputs, &ranges, end))?)?;
            }
            self.shapes = shapes_at(&inputs, &ranges, |r| r.opt);
            list.push((ranges, self.measure(network)?));
        }
        if list.is_empty() {
            return Err(BuildError::NoProfile);
        }
        Ok(TunedProfiles { network: network.clone(), list })
    }

    /// Measures once; the result makes plans for any budget.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn tune(mut self, network: &Network) -> Result<Tuned, BuildError> {
        self.measure(network)
    }

    fn measure(&mut self, network: &Network) -> Result<Tuned, BuildError> {
        let start = Instant::now();
        if let Some(path) = &self.table {
            TacticTable::check_path(path)?;
        }
        let (device, graph) = self.prepare(network)?;
        let saved = match &self.table {
            Some(path) if path.exists() => Some(TacticTable::load(path)?),
            _ => None,
        };
        let mut table = saved.clone().unwrap_or_default();
        let beside = |t: &PathBuf| CacheFolder::beside(t, device.info(), !self.tuning.frozen);
        let cache = self.table.as_ref().filter(|_| device.info().cuda().is_some()).map(beside);
        cache.iter().for_each(CacheFolder::recall_answers);
        let catalogue = Catalogue::new();
        let offer = Offer { catalogue: &catalogue, device: device.info(), options: &self.tuning };
        let regions = to_measure(&graph, self.policy.as_deref(), &self.also, &proposals(&graph), offer);
        let problems: Vec<Problem> = regions.iter().map(|r| r.problem(&graph)).collect();
        let list: Vec<_> = problems.iter().map(|p| offer.allowed(p)).collect();
        let reformats = reformat_problems(&graph, &regions, &list);
        let spared = match self.policy.is_none() && !self.exhaustive {
            true => spared(&graph, &regions, &problems, &list),
            false => Spared::new(),
        };
        let prepared = start.elapsed();

        let mut silent = |_: Progress<'_>| {};
        let progress: &mut dyn FnMut(Progress<'_>) = match &mut self.progress {
            Some(p) => p.as_mut(),
            None => &mut silent,
        };
        let start = Instant::now();
        let all: Vec<Problem> = problems.iter().chain(reformats.values()).cloned().collect();
        let report =
            tune_or_cross(device.as_ref(), &all, &catalogue, &spared, &mut table, &mut self.tuning, progress);
        let policy = self.policy.as_ref().map_or_else(|| "measured".to_owned(), |p| p.name().to_owned());
        if let Some(model) = &self.model
            && !self.tuning.frozen
        {
            table.measured_for(Purpose {
                model: model.clone(),
                shapes: self.shapes.clone(),
                values: network.values().clone(),
                precision: self.precision,
                tf32: self.tuning.tf32,
                tactics: self.tuning.tactics.to_string(),
                fusion: policy.clone(),
                on_host: self.tuning.on_host.iter().cloned().collect(),
                device: device.info().clone(),
            });
        }
        if let Some(path) = &self.table
            && !self.tuning.frozen
            && saved.as_ref() != Some(&table)
            && matches!(report, Ok(_) | Err(TuneError::Fault { .. }))
        {
            table.save(path)?;
        }
        cache.iter().for_each(CacheFolder::keep_answers);
        let report = report?;
        let context = table.context(&facts(device.as_ref()));
        let times = BuildTimes { prepare: prepared, tune: start.elapsed() };
        Ok(Tuned {
            graph,
            regions,
            problems,
            reformats,
            policy,
            device,
            table,
            catalogue,
            cache,
            context,
            report,
            times,
            precision: self.precision,
            tuning: self.tuning.clone(),
            instance: OnceLock::new(),
            measured: true,
        })
    }

    /// Builds without measuring anything: greedy fusion, and of each region the tactic that heuristics put first within
    /// the workspace. Nothing was compared with the reference either, and no time is predicted. It takes milliseconds,
    /// for tests of many networks and for a first look at one.
    ///
    /// ```
    /// use tactician::{Builder, zoo};
    ///
    /// let plan = Builder::new().threads(1).untuned(&zoo::tiny(1))?;
    /// assert_eq!(plan.meta.predicted_us, 0.0);
    /// # Ok::<(), tactician::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn untuned(mut self, network: &Network) -> Result<Plan, BuildError> {
        let start = Instant::now();
        let (device, graph) = self.prepare(network)?;
        let catalogue = Catalogue::new();
        let offer = Offer { catalogue: &catalogue, device: device.info(), options: &self.tuning };
        let regions = to_measure(&graph, Some(&Greedy), &[], &proposals(&graph), offer);
        let times = BuildTimes { prepare: start.elapsed(), tune: Duration::ZERO };
        let policy = Greedy.name().to_owned();
        let tuned = Tuned::of_heuristics(
            graph,
            regions,
            policy,
            device,
            catalogue,
            times,
            self.precision,
            self.tuning,
        )?;
        tuned.plan_of(&tuned.select_untuned(self.budget)?, self.budget, None)
    }

    /// The device to build for.
    fn open(&mut self) -> Result<Arc<dyn Device>, BuildError> {
        let device = match (self.device.take(), self.named) {
            (Some(d), _) => d,
            (None, Some(name)) => name.open(self.threads)?,
            (None, None) => DeviceName::best(self.threads)?,
        };
        self.device = Some(device.clone());
        Ok(device)
    }

    /// The device, and the canonical graph in the precision asked for, which is made while the device opens; takes the options
    /// that override those of tuning.
    fn prepare(&mut self, network: &Network) -> Result<(Arc<dyn Device>, Verified<Graph>), BuildError> {
        let (shapes, precision) = (self.shapes.clone(), self.precision);
        let make = || canonical(network, &shapes, precision);
        let (device, graph) = thread::scope(|scope| {
            let making = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, make);
            let device = self.open();
            // Without a thread it is made now.
            (
                device,
                making.map_or_else(|_| make(), |m| m.join().unwrap_or_else(|panic| resume_unwind(panic))),
            )
        });
        let (device, graph) = (device?, graph?);
        self.tuning.tf32 = self.tf32.unwrap_or(self.tuning.tf32);
        if let Some(filter) = self.tactics.take() {
            self.tuning.tactics = filter;
        }
        Ok((device, graph))
    }
}

/// The canonical graph of a network for some shapes.
pub(crate) fn canonical(
    network: &Network,
    shapes: &Shapes,
    precision: DType,
) -> Result<Verified<Graph>, BuildError> {
    let graph = network.bind(shapes)?;
    check_bound(&graph)?;
    let (mut graph, _) = canonicalize(graph)?;
    if precision != DType::F32 {
        (graph, _) = canonicalize(lower(&graph, precision)?)?;
    }
    check_full(&graph)?;
    Ok(graph)
}

/// How long the stages took.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildTimes {
    /// Import, rewriting and fusion.
    pub prepare: Duration,
    /// Measuring.
    pub tune: Duration,
}

/// Open sizes are refused before anything is measured.
fn check_bound(graph: &Graph) -> Result<(), BuildError> {
    let symbols = graph.symbols();
    if !symbols.is_empty() {
        let open = |ty: &TensorType| ty.sizes().is_none();
        let inputs: Vec<String> = graph
            .inputs()
            .iter()
            .map(|&i| graph.node(i))
            .filter(|n| open(&n.outputs()[0]))
            .map(|n| format!("`{}` {}", n.name, n.outputs()[0].shape))
            .collect();
        return Err(BuildError::Unbound {
            symbols: symbols.into_iter().collect::<Vec<_>>().join(", "),
            inputs: inputs.join(", "),
        });
    }
    Ok(())
}

/// Tensors without elements that a canonical graph still computes with are refused: no kernel is made for them. Inputs and
/// outputs may be empty.
fn check_full(graph: &Graph) -> Result<(), BuildError> {
    for id in graph.node_ids() {
        let node = graph.node(id);
        if let Some(&v) = node.inputs().iter().find(|&&v| graph.ty(v).elements() == Some(0)) {
            let (name, shape) = (graph.producer(v).name.clone(), graph.ty(v).shape.to_string());
            return Err(BuildError::Empty { node: node.name.clone(), name, shape });
        }
    }
    Ok(())
}

/// A region of a GPU's plan that the CPU computes, between two copies, because no kernel of the GPU that the options
/// allow serves it, or none that does is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRegion {
    /// The node that its steps are named after.
    pub name: String,
    /// Its operations, for people.
    pub op: String,
    /// The problem, as the tactic table names it.
    pub problem: String,
    /// Whether there are kernels for it, all of which were wrong or failed.
    pub rejected: bool,
}

/// Measures. A problem for which every kernel of a GPU was rejected gets CPU steps, which the options say then.
fn tune_or_cross(
    device: &dyn Device,
    problems: &[Problem],
    catalogue: &Catalogue,
    spared: &Spared,
    table: &mut TacticTable,
    options: &mut TuneOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<TuneReport, TuneError> {
    let mut before: Vec<(String, String, String)> = Vec::new();
    // Without the compiler every kernel fails, which is to be mended and not to be worked around.
    let compiles = device.info().cuda().is_some_and(|c| c.nvrtc.is_some());
    loop {
        match tune_with(device, problems, catalogue, spared, table, options, progress) {
            Err(TuneError::AllRejected { problem, rejected })
                if compiles
                    && options.tactics.allows(HOST_FAMILY)
                    && options.on_host.insert(problem.clone()) =>
            {
                // Those that the options exclude were not tried.
                let tried = |id: &String| options.tactics.allows(id);
                let tried = rejected.into_iter().filter(|(id, _)| tried(id));
                before.extend(tried.map(|(id, reason)| (problem.clone(), id, reason)));
            }
            Ok(mut report) => {
                before.append(&mut report.rejected);
                report.rejected = before;
                return Ok(report);
            }
            Err(e) => return Err(e),
        }
    }
}
