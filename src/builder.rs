//! From a network to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tactician_device::Device;
use tactician_ir::{DType, Graph, Op, Problem, Region, TensorType, ValueId, Verified};
use tactician_passes::{FusionPolicy, Greedy, canonicalize, lower, proposals};
use tactician_plan::Plan;
use tactician_runtime::target_of;
use tactician_select::{Candidate, Instance, RegionChoices, Selection, ValueChoices, select};
use tactician_tactics::{HOST_FAMILY, Tactic, TacticFilter, is_host};
use tactician_tune::{
    Progress, TacticTable, TuneError, TuneOptions, TuneReport, Verdict, allowed, facts, offered, tune,
};
use tactician_types::Layout;

use crate::assemble::{Change, Chosen, Parts, assemble, describe};
use crate::devices::DeviceName;
use crate::error::BuildError;
use crate::network::{Network, Shapes};
use crate::regions::{apart, reformat_problems, served};

/// Scratch that one step may use when the caller sets no budget: 1 GiB, above what tactics ask for in practice.
pub const DEFAULT_WORKSPACE: u64 = 1 << 30;

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
    workspace: u64,
    threads: Option<usize>,
    device: Option<Arc<dyn Device>>,
    named: Option<DeviceName>,
    shapes: Shapes,
    precision: DType,
    tf32: Option<bool>,
    tactics: Option<TacticFilter>,
    table: Option<PathBuf>,
    policy: Arc<dyn FusionPolicy + 'a>,
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
            workspace: DEFAULT_WORKSPACE,
            threads: None,
            device: None,
            named: None,
            shapes: Shapes::new(),
            precision: DType::F32,
            tf32: None,
            tactics: None,
            table: None,
            policy: Arc::new(Greedy),
            tuning: TuneOptions::default(),
            progress: None,
        }
    }

    /// The scratch in bytes that any one step may use. Zero works.
    pub fn workspace(mut self, bytes: u64) -> Self {
        self.workspace = bytes;
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

    /// A file of measurements to use and add to.
    pub fn table(mut self, path: impl AsRef<Path>) -> Self {
        self.table = Some(path.as_ref().to_owned());
        self
    }

    /// Who decides what is fused.
    pub fn policy(mut self, policy: impl FusionPolicy + 'a) -> Self {
        self.policy = Arc::new(policy);
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
        let workspace = self.workspace;
        self.tune(network)?.plan(workspace)
    }

    /// Measures once; the result makes plans for any budget.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn tune(mut self, network: &Network) -> Result<Tuned, BuildError> {
        let start = Instant::now();
        let device = match (self.device.take(), self.named) {
            (Some(d), _) => d,
            (None, Some(name)) => name.open(self.threads)?,
            (None, None) => DeviceName::best(self.threads)?,
        };
        let mut table = match &self.table {
            Some(path) if path.exists() => TacticTable::load(path)?,
            _ => TacticTable::new(),
        };
        let graph = network.bind(&self.shapes)?;
        check_bound(&graph)?;
        let (mut graph, _) = canonicalize(graph)?;
        if self.precision != DType::F32 {
            (graph, _) = canonicalize(lower(&graph, self.precision)?)?;
        }
        self.tuning.tf32 = self.tf32.unwrap_or(self.tuning.tf32);
        if let Some(filter) = self.tactics.take() {
            self.tuning.tactics = filter;
        }
        let regions = self.policy.choose(&graph, &proposals(&graph)).into_regions();
        let regions = served(&graph, regions, device.info(), &self.tuning);
        // Measured too, and taken where they are faster.
        let splits: Vec<(usize, Vec<Region>)> = (regions.iter().enumerate())
            .filter_map(|(i, r)| Some((i, apart(&graph, r, device.info(), &self.tuning)?)))
            .collect();
        let measured: Vec<Region> = regions.iter().chain(splits.iter().flat_map(|s| &s.1)).cloned().collect();
        let problems: Vec<Problem> = measured.iter().map(|r| r.problem(&graph)).collect();
        let prepared = start.elapsed();

        let mut silent = |_: Progress<'_>| {};
        let progress: &mut dyn FnMut(Progress<'_>) = match &mut self.progress {
            Some(p) => p.as_mut(),
            None => &mut silent,
        };
        let start = Instant::now();
        let list: Vec<Vec<Tactic>> =
            problems.iter().map(|p| allowed(p, device.info(), &self.tuning)).collect();
        let reformats = reformat_problems(&graph, &measured, &list);
        let all: Vec<Problem> = problems.iter().chain(reformats.values()).cloned().collect();
        let report = tune_or_cross(device.as_ref(), &all, &mut table, &mut self.tuning, progress);
        if let Some(path) = &self.table
            && matches!(report, Ok(_) | Err(TuneError::Fault { .. }))
        {
            table.save(path)?;
        }
        let report = report?;
        let context = table.context(&facts(device.as_ref()));
        let times = BuildTimes { prepare: prepared, tune: start.elapsed() };
        let mut tuned = Tuned {
            problems: regions.iter().map(|r| r.problem(&graph)).collect(),
            graph,
            regions,
            reformats,
            device,
            table,
            context,
            report,
            times,
            precision: self.precision,
            tuning: self.tuning,
        };
        // The last first: the numbers of those before it stay.
        for (at, parts) in splits.into_iter().rev() {
            tuned.split_if_faster(at, parts);
        }
        Ok(tuned)
    }
}

/// How long the stages took.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildTimes {
    /// Import, rewriting and fusion.
    pub prepare: Duration,
    /// Measuring.
    pub tune: Duration,
}

/// A network with all its measurements: makes a plan for any budget without measuring again.
pub struct Tuned {
    graph: Verified<Graph>,
    regions: Vec<Region>,
    problems: Vec<Problem>,
    /// The identity on each value that may change its layout.
    reformats: BTreeMap<ValueId, Problem>,
    device: Arc<dyn Device>,
    table: TacticTable,
    context: String,
    report: TuneReport,
    times: BuildTimes,
    precision: DType,
    tuning: TuneOptions,
}

impl Tuned {
    /// The canonical graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What each region computes, in the order of [`Tuned::instance`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The device that was measured.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// All measurements.
    pub fn table(&self) -> &TacticTable {
        &self.table
    }

    /// What measuring did.
    pub fn report(&self) -> &TuneReport {
        &self.report
    }

    /// What the CPU computes inside the plan of a GPU.
    pub fn host_regions(&self) -> Vec<HostRegion> {
        let only_host = |p: &Problem| {
            let list = allowed(p, self.device.info(), &self.tuning);
            !list.is_empty() && list.iter().all(|t| is_host(&t.id))
        };
        let made = |(r, p): (&Region, &Problem)| {
            let problem = p.to_string();
            let rejected = self.tuning.on_host.contains(&problem);
            (rejected || only_host(p)).then(|| HostRegion {
                name: self.graph.node(r.anchor).name.clone(),
                op: describe(&self.graph, r),
                problem,
                rejected,
            })
        };
        self.regions.iter().zip(&self.problems).filter_map(made).collect()
    }

    /// How long it took.
    pub fn times(&self) -> BuildTimes {
        self.times
    }

    /// Puts `parts` in the place of region `at` if that makes the prediction shorter, whatever the workspace.
    fn split_if_faster(&mut self, at: usize, parts: Vec<Region>) {
        let predicted = |tuned: &Tuned| {
            select(&tuned.instance(), tuned.tuning.workspace_limit).map_or(f64::INFINITY, |s| s.predicted_us)
        };
        let whole = predicted(self);
        let (count, problems) =
            (parts.len(), parts.iter().map(|r| r.problem(&self.graph)).collect::<Vec<_>>());
        let region: Vec<Region> = self.regions.splice(at..=at, parts).collect();
        let problem: Vec<Problem> = self.problems.splice(at..=at, problems).collect();
        if predicted(self) >= whole {
            self.regions.splice(at..at + count, region);
            self.problems.splice(at..at + count, problem);
        }
    }

    /// The selection problem: every region with its measured candidates, every value with its reformat costs.
    pub fn instance(&self) -> Instance {
        let mut values: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut list: Vec<ValueChoices> = Vec::new();
        let mut number = |v: ValueId, list: &mut Vec<ValueChoices>| {
            *values.entry(v).or_insert_with(|| {
                let input = matches!(self.graph.producer(v).op, Op::Input);
                list.push(ValueChoices {
                    given: (input || self.graph.constant(v).is_some()).then_some(Layout::Plain),
                    wanted: self.graph.is_output(v).then_some(Layout::Plain),
                    reformat: self.reformat_costs(v),
                });
                list.len() - 1
            })
        };
        let mut regions = Vec::with_capacity(self.regions.len());
        for (region, problem) in self.regions.iter().zip(&self.problems) {
            regions.push(RegionChoices {
                name: format!("{} ({})", self.graph.node(region.anchor).name, describe(&self.graph, region)),
                inputs: region.inputs.iter().map(|&v| number(v, &mut list)).collect(),
                output: number(region.output, &mut list),
                candidates: self.candidates(problem),
            });
        }
        Instance { values: list, regions }
    }

    fn candidates(&self, problem: &Problem) -> Vec<Candidate> {
        let rows = self.table.rows(&self.context, &problem.to_string());
        // A table may hold what these options exclude.
        let allowed: BTreeSet<String> =
            allowed(problem, self.device.info(), &self.tuning).into_iter().map(|t| t.id).collect();
        rows.into_iter()
            .flatten()
            .filter(|(id, r)| allowed.contains(*id) && r.workspace <= self.tuning.workspace_limit)
            .filter_map(|(id, row)| match &row.verdict {
                Verdict::Timed(t) => Some(Candidate {
                    id: id.clone(),
                    time_us: t.median_us,
                    noise_us: t.noise_us(),
                    workspace: row.workspace,
                    inputs: row.inputs.clone(),
                    output: row.output,
                }),
                _ => None,
            })
            .collect()
    }

    /// Costs of changing a value's layout. Layouts with the same bytes cost nothing.
    fn reformat_costs(&self, v: ValueId) -> BTreeMap<(Layout, Layout), f64> {
        let Some(problem) = self.reformats.get(&v) else { return BTreeMap::new() };
        let mut costs = BTreeMap::new();
        for c in self.candidates(problem) {
            let slot = costs.entry((c.inputs[0], c.output)).or_insert(f64::INFINITY);
            *slot = slot.min(c.time_us);
        }
        costs
    }

    /// Chooses tactics for a budget of scratch bytes.
    ///
    /// # Errors
    /// When a region has no tactic in the budget.
    pub fn select(&self, workspace: u64) -> Result<Selection, BuildError> {
        Ok(select(&self.instance(), workspace)?)
    }

    /// Makes the plan for a budget of scratch bytes. Equal tables, networks and budgets give equal plans.
    ///
    /// # Errors
    /// When a region has no tactic in the budget.
    pub fn plan(&self, workspace: u64) -> Result<Plan, BuildError> {
        let instance = self.instance();
        let selection = select(&instance, workspace)?;
        self.plan_of(&instance, &selection, workspace)
    }

    /// Makes the plan of a selection.
    pub(crate) fn plan_of(
        &self,
        instance: &Instance,
        selection: &Selection,
        workspace: u64,
    ) -> Result<Plan, BuildError> {
        let mut chosen = Vec::with_capacity(self.regions.len());
        for (i, (region, problem)) in self.regions.iter().zip(&self.problems).enumerate() {
            let candidate = &instance.regions[i].candidates[selection.tactics[i]];
            chosen.push(Chosen {
                region,
                problem,
                tactic: self.tactic(problem, &candidate.id)?,
                time_us: candidate.time_us,
            });
        }
        // Values were numbered in the order of first mention.
        let mut order: Vec<ValueId> = Vec::new();
        let mut seen = BTreeSet::new();
        for r in &self.regions {
            for &v in r.inputs.iter().chain([&r.output]) {
                if seen.insert(v) {
                    order.push(v);
                }
            }
        }
        let mut changes: BTreeMap<ValueId, Vec<Change>> = BTreeMap::new();
        for (&value, list) in order.iter().zip(&selection.reformats) {
            for &(from, to) in list {
                let problem = self.reformats.get(&value).ok_or_else(|| BuildError::Bug {
                    what: format!("{value:?} changes its layout without a measurement"),
                })?;
                let best = self
                    .candidates(problem)
                    .into_iter()
                    .filter(|c| c.inputs[0] == from && c.output == to)
                    .min_by(|a, b| a.time_us.total_cmp(&b.time_us).then(a.id.cmp(&b.id)));
                let Some(best) = best else { continue };
                changes.entry(value).or_default().push(Change {
                    from,
                    to,
                    tactic: self.tactic(problem, &best.id)?,
                    problem: problem.clone(),
                    time_us: best.time_us,
                });
            }
        }
        let tf32 = self.precision == DType::F32 && self.tuning.tf32;
        let options = BTreeMap::from([
            ("workspace".to_owned(), workspace.to_string()),
            ("precision".to_owned(), if tf32 { "tf32".to_owned() } else { self.precision.to_string() }),
            ("tactics".to_owned(), self.tuning.tactics.to_string()),
        ]);
        assemble(Parts {
            graph: &self.graph,
            device: self.device.as_ref(),
            regions: chosen,
            changes,
            target: target_of(self.device.info()),
            options,
            predicted_us: selection.predicted_us,
        })
    }

    fn tactic(&self, problem: &Problem, id: &str) -> Result<Tactic, BuildError> {
        offered(problem, self.device.info(), &self.tuning)
            .into_iter()
            .find(|t| t.id == id)
            .ok_or_else(|| BuildError::Bug { what: format!("the chosen tactic `{id}` has vanished") })
    }
}

/// Open and empty sizes are refused before anything is measured.
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
    for id in graph.node_ids() {
        let node = graph.node(id);
        if let Some(ty) = node.outputs().iter().find(|t| t.elements() == Some(0)) {
            return Err(BuildError::Empty { name: node.name.clone(), shape: ty.shape.to_string() });
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
    table: &mut TacticTable,
    options: &mut TuneOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<TuneReport, TuneError> {
    let mut before: Vec<(String, String, String)> = Vec::new();
    // Without the compiler every kernel fails, which is to be mended and not to be worked around.
    let compiles = device.info().cuda().is_some_and(|c| c.nvrtc.is_some());
    loop {
        match tune(device, problems, table, options, progress) {
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
