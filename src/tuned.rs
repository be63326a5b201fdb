//! A measured network: the selection problem, and plans for any budget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use tactician_device::Device;
use tactician_ir::{DType, Graph, NodeId, Op, Problem, Region, ValueId, Verified};
use tactician_plan::{ALIGNMENT, Plan};
use tactician_runtime::target_of;
use tactician_select::{
    Budget, Candidate, Instance, Reformat, RegionChoices, Selection, ValueChoices, select,
};
use tactician_tactics::{Tactic, is_host};
use tactician_tune::{TacticTable, TuneOptions, TuneReport, Verdict, allowed, offered};
use tactician_types::Layout;

use crate::assemble::{Change, Chosen, Parts, assemble, describe, stored_bytes};
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
            select(&tuned.instance(), Budget::workspace(tuned.tuning.workspace_limit))
                .map_or(f64::INFINITY, |s| s.predicted_us)
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
        let order = self.value_order();
        let number: BTreeMap<ValueId, usize> = order.iter().enumerate().map(|(i, &v)| (v, i)).collect();
        let work = |n: &NodeId| !matches!(self.graph.node(*n).op, Op::Input | Op::Constant(_));
        let nodes: BTreeMap<NodeId, usize> =
            self.graph.topo().into_iter().filter(work).enumerate().map(|(i, n)| (n, i)).collect();
        let values = order.iter().map(|&v| self.value_choices(v)).collect();
        let regions = self.regions.iter().zip(&self.problems).map(|(region, problem)| {
            let mut computed: Vec<usize> = region.nodes.iter().map(|n| nodes[n]).collect();
            computed.sort_unstable();
            RegionChoices {
                name: format!("{} ({})", self.graph.node(region.anchor).name, describe(&self.graph, region)),
                nodes: computed,
                inputs: region.inputs.iter().map(|v| number[v]).collect(),
                output: number[&region.output],
                candidates: self.candidates(problem),
            }
        });
        let regions = regions.collect();
        let bytes = |v: ValueId| stored_bytes(&self.graph, v, Layout::Plain);
        let outputs = || self.graph.outputs().iter().map(|(_, v)| *v);
        let inputs = self.graph.inputs().iter().map(|n| n.value());
        Instance {
            nodes: nodes.len(),
            values,
            regions,
            bindings: inputs.chain(outputs()).map(bytes).sum(),
            constants: outputs().filter(|&v| self.graph.constant(v).is_some()).map(bytes).sum(),
            alignment: ALIGNMENT,
        }
    }

    /// The values of [`Tuned::instance`]: the network's inputs, then the others as regions mention them.
    fn value_order(&self) -> Vec<ValueId> {
        let inputs = self.graph.inputs().iter().map(|n| n.value());
        let mentioned = self.regions.iter().flat_map(|r| r.inputs.iter().copied().chain([r.output]));
        let mut seen = BTreeSet::new();
        inputs.chain(mentioned).filter(|v| seen.insert(*v)).collect()
    }

    fn value_choices(&self, v: ValueId) -> ValueChoices {
        let input = matches!(self.graph.producer(v).op, Op::Input);
        let reformat = self.reformat_costs(v);
        let layouts: BTreeSet<Layout> = reformat
            .keys()
            .flat_map(|&(from, to)| [from, to])
            .chain([Layout::Plain])
            .chain(self.made_as(v))
            .collect();
        ValueChoices {
            name: self.graph.producer(v).name.clone(),
            given: (input || self.graph.constant(v).is_some()).then_some(Layout::Plain),
            wanted: self.graph.is_output(v).then_some(Layout::Plain),
            reformat,
            bytes: layouts.into_iter().map(|l| (l, stored_bytes(&self.graph, v, l))).collect(),
        }
    }

    /// The layouts that a value is made in.
    fn made_as(&self, v: ValueId) -> Vec<Layout> {
        let made = self.regions.iter().zip(&self.problems).filter(|(r, _)| r.output == v);
        made.flat_map(|(_, p)| self.candidates(p)).map(|c| c.output).collect()
    }

    fn candidates(&self, problem: &Problem) -> Vec<Candidate> {
        let rows = self.table.rows(&self.context, &problem.to_string());
        // A table may hold what these options exclude.
        let list = allowed(problem, self.device.info(), &self.tuning);
        let views: BTreeSet<&String> = list.iter().filter(|t| t.view).map(|t| &t.id).collect();
        let allowed: BTreeSet<&String> = list.iter().map(|t| &t.id).collect();
        rows.into_iter()
            .flatten()
            .filter(|(id, r)| allowed.contains(id) && r.workspace <= self.tuning.workspace_limit)
            .filter_map(|(id, row)| match &row.verdict {
                Verdict::Timed(t) => Some(Candidate {
                    id: id.clone(),
                    time_us: t.median_us,
                    noise_us: t.noise_us(),
                    workspace: row.workspace,
                    constants: row.constants,
                    view: views.contains(id),
                    inputs: row.inputs.clone(),
                    output: row.output,
                }),
                _ => None,
            })
            .collect()
    }

    /// Costs of changing a value's layout: of the fastest way for each pair.
    fn reformat_costs(&self, v: ValueId) -> BTreeMap<(Layout, Layout), Reformat> {
        let Some(problem) = self.reformats.get(&v) else { return BTreeMap::new() };
        let best = |c: Candidate| Reformat {
            time_us: c.time_us,
            workspace: c.workspace,
            constants: c.constants,
            view: c.view,
        };
        fastest_changes(self.candidates(problem)).into_iter().map(|(pair, c)| (pair, best(c))).collect()
    }

    /// Chooses tactics for a budget of scratch bytes.
    ///
    /// # Errors
    /// When a region has no tactic in the budget.
    pub fn select(&self, workspace: u64) -> Result<Selection, BuildError> {
        Ok(select(&self.instance(), Budget::workspace(workspace))?)
    }

    /// Makes the plan for a budget of scratch bytes. Equal tables, networks and budgets give equal plans.
    ///
    /// # Errors
    /// When a region has no tactic in the budget.
    pub fn plan(&self, workspace: u64) -> Result<Plan, BuildError> {
        let instance = self.instance();
        let selection = select(&instance, Budget::workspace(workspace))?;
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
        for choice in &selection.chosen {
            let i = choice.region;
            let (region, problem) = (&self.regions[i], &self.problems[i]);
            let candidate = &instance.regions[i].candidates[choice.candidate];
            let tactic = match &mut made {
                Some(made) => made.tactic(i, &candidate.id, || self.tactic(problem, &candidate.id))?,
                None => self.tactic(problem, &candidate.id)?,
            };
            chosen.push(Chosen { region, problem, tactic, time_us: candidate.time_us });
        }
        let mut changes: BTreeMap<ValueId, Vec<Change>> = BTreeMap::new();
        for (value, list) in self.value_order().into_iter().zip(&selection.reformats) {
            if list.is_empty() {
                continue;
            }
            let problem = self.reformats.get(&value).ok_or_else(|| BuildError::Bug {
                what: format!("{value:?} changes its layout without a measurement"),
            })?;
            let best = fastest_changes(self.candidates(problem));
            for &(from, to) in list {
                let Some(best) = best.get(&(from, to)) else { continue };
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

/// The fastest change for each pair of layouts, the lower name where two are as fast.
fn fastest_changes(candidates: Vec<Candidate>) -> BTreeMap<(Layout, Layout), Candidate> {
    let mut best: BTreeMap<(Layout, Layout), Candidate> = BTreeMap::new();
    for c in candidates {
        let pair = (c.inputs[0], c.output);
        let order = |b: &Candidate| c.time_us.total_cmp(&b.time_us).then(c.id.cmp(&b.id));
        if best.get(&pair).is_none_or(|b| order(b).is_lt()) {
            best.insert(pair, c);
        }
    }
    best
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
        let used: BTreeMap<usize, &String> = (selection.chosen.iter())
            .map(|c| (c.region, &instance.regions[c.region].candidates[c.candidate].id))
            .collect();
        self.0.retain(|(region, id), _| used.get(region) == Some(&&*id));
    }
}
