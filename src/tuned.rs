//! A measured network: the selection problem, and plans for any budget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use tactician_device::Device;
use tactician_ir::{DType, Graph, Op, Problem, Region, ValueId, Verified};
use tactician_plan::Plan;
use tactician_runtime::target_of;
use tactician_select::{Candidate, Instance, RegionChoices, Selection, ValueChoices, select};
use tactician_tactics::{Tactic, is_host};
use tactician_tune::{TacticTable, TuneOptions, TuneReport, Verdict, allowed, offered};
use tactician_types::Layout;

use crate::assemble::{Change, Chosen, Parts, assemble, describe};
use crate::builder::{BuildTimes, HostRegion};
use crate::error::BuildError;

/// A network with all its measurements: makes a plan for any budget without measuring again.
pub struct Tuned {
    pub(crate) graph: Verified<Graph>,
    pub(crate) regions: Vec<Region>,
    pub(crate) problems: Vec<Problem>,
    /// The identity on each value that may change its layout.
    pub(crate) reformats: BTreeMap<ValueId, Problem>,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) table: TacticTable,
    pub(crate) context: String,
    pub(crate) report: TuneReport,
    pub(crate) times: BuildTimes,
    pub(crate) precision: DType,
    pub(crate) tuning: TuneOptions,
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
    pub(crate) fn split_if_faster(&mut self, at: usize, parts: Vec<Region>) {
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
        self.plan_of(&instance, &selection, workspace, None)
    }

    /// Makes the plan of a selection. `made` keeps what the next plan of the same network may need again.
    pub(crate) fn plan_of(
        &self,
        instance: &Instance,
        selection: &Selection,
        workspace: u64,
        mut made: Option<&mut Made>,
    ) -> Result<Plan, BuildError> {
        let mut chosen = Vec::with_capacity(self.regions.len());
        for (i, (region, problem)) in self.regions.iter().zip(&self.problems).enumerate() {
            let candidate = &instance.regions[i].candidates[selection.tactics[i]];
            let tactic = match &mut made {
                Some(made) => made.tactic(i, &candidate.id, || self.tactic(problem, &candidate.id))?,
                None => self.tactic(problem, &candidate.id)?,
            };
            chosen.push(Chosen { region, problem, tactic, time_us: candidate.time_us });
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

/// Tactics of regions with their constants packed, for plans of one network that differ in little.
#[derive(Default)]
pub(crate) struct Made(BTreeMap<(usize, String), Tactic>);

impl Made {
    /// The tactic of a region, which packs the region's constants once.
    fn tactic(
        &mut self,
        region: usize,
        id: &str,
        find: impl FnOnce() -> Result<Tactic, BuildError>,
    ) -> Result<Tactic, BuildError> {
        if let Some(known) = self.0.get(&(region, id.to_owned())) {
            return Ok(known.clone());
        }
        let mut tactic = find()?;
        let (emit, packed) = (tactic.emit.clone(), OnceLock::new());
        tactic.emit = Arc::new(move |constants| packed.get_or_init(|| emit(constants)).clone());
        self.0.insert((region, id.to_owned()), tactic.clone());
        Ok(tactic)
    }

    /// Forgets what a selection does not use.
    pub(crate) fn keep(&mut self, instance: &Instance, selection: &Selection) {
        let used = |region: usize| &instance.regions[region].candidates[selection.tactics[region]].id;
        self.0.retain(|(region, id), _| used(*region) == id);
    }
}
