//! A measured network: the selection problem, and plans for any budget.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tactician_device::Device;
use tactician_ir::{DType, Graph, Problem, Region, ValueId, Verified};
use tactician_plan::Plan;
use tactician_runtime::target_of;
use tactician_select::{Budget, Choice, Instance, Selection, select};
use tactician_tactics::{Tactic, is_host};
use tactician_tune::{Catalogue, TacticTable, TuneError, TuneOptions, TuneReport};

use crate::assemble::{Change, Chosen, Parts, assemble, describe};
use crate::builder::{BuildTimes, HostRegion};
use crate::cache::CacheFolder;
use crate::error::BuildError;
use crate::instance::fastest_changes;
use crate::record::packed;
use crate::regions::{Offer, reformat_problems};

/// A network with all its measurements: makes a plan for any budget without measuring again.
pub struct Tuned {
    pub(crate) graph: Verified<Graph>,
    /// All that were measured; they overlap.
    pub(crate) regions: Vec<Region>,
    pub(crate) problems: Vec<Problem>,
    /// The identity on each value that may change its layout.
    pub(crate) reformats: BTreeMap<ValueId, Problem>,
    /// Who decided what is fused.
    pub(crate) policy: String,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) table: TacticTable,
    pub(crate) catalogue: Catalogue,
    /// Where machine code is kept.
    pub(crate) cache: Option<CacheFolder>,
    pub(crate) context: String,
    pub(crate) report: TuneReport,
    pub(crate) times: BuildTimes,
    pub(crate) precision: DType,
    pub(crate) tuning: TuneOptions,
    pub(crate) instance: OnceLock<Instance>,
    /// Whether the table holds this network; otherwise heuristics choose, see [`crate::Builder::untuned`].
    pub(crate) measured: bool,
}

impl Tuned {
    /// A network of which nothing was measured: heuristics order the tactics of its regions.
    ///
    /// # Errors
    /// When no tactic serves a region.
    pub(crate) fn of_heuristics(
        graph: Verified<Graph>,
        regions: Vec<Region>,
        policy: String,
        device: Arc<dyn Device>,
        catalogue: Catalogue,
        times: BuildTimes,
        precision: DType,
        tuning: TuneOptions,
    ) -> Result<Tuned, BuildError> {
        let problems: Vec<Problem> = regions.iter().map(|r| r.problem(&graph)).collect();
        let offer = Offer { catalogue: &catalogue, device: device.info(), options: &tuning };
        let list: Vec<_> = problems.iter().map(|p| offer.allowed(p)).collect();
        if let Some(at) = list.iter().position(Vec::is_empty) {
            return Err(TuneError::NoTactic { problem: problems[at].to_string() }.into());
        }
        let reformats = reformat_problems(&graph, &regions, &list);
        Ok(Tuned {
            graph,
            regions,
            problems,
            reformats,
            policy,
            device,
            table: TacticTable::new(),
            catalogue,
            cache: None,
            context: String::new(),
            report: TuneReport::default(),
            times,
            precision,
            tuning,
            instance: OnceLock::new(),
            measured: false,
        })
    }

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

    /// What the CPU computes inside the plan of a GPU, where scratch is not limited.
    pub fn host_regions(&self) -> Vec<HostRegion> {
        let Ok(selection) = self.select(Budget::workspace(self.tuning.workspace_limit)) else {
            return vec![];
        };
        let instance = self.instance();
        let crosses = |c: &&Choice| is_host(&instance.regions[c.region].candidates[c.candidate].id);
        let made = |c: &Choice| {
            let region = &self.regions[c.region];
            let problem = self.problems[c.region].to_string();
            HostRegion {
                name: self.graph.node(region.anchor).name.clone(),
                op: describe(&self.graph, region),
                rejected: self.tuning.on_host.contains(&problem),
                problem,
            }
        };
        selection.chosen.iter().filter(crosses).map(made).collect()
    }

    /// How long it took.
    pub fn times(&self) -> BuildTimes {
        self.times
    }

    /// Who decided what is fused: `measured`, or the policy's name.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Chooses regions, tactics and layouts for a budget.
    ///
    /// # Errors
    /// When nothing fits the budget; the error names the least that works.
    pub fn select(&self, budget: Budget) -> Result<Selection, BuildError> {
        Ok(select(self.instance(), budget)?)
    }

    /// Makes the plan for a budget of scratch bytes. Equal tables, networks and budgets give equal plans.
    ///
    /// # Errors
    /// As [`Tuned::select`].
    pub fn plan(&self, workspace: u64) -> Result<Plan, BuildError> {
        self.plan_within(Budget::workspace(workspace))
    }

    /// Makes the plan for a budget of scratch, and perhaps of memory in all.
    ///
    /// # Errors
    /// As [`Tuned::select`].
    pub fn plan_within(&self, budget: Budget) -> Result<Plan, BuildError> {
        self.plan_with(&self.select(budget)?, budget)
    }

    /// Makes the plan of a selection, with the record of how it came about.
    ///
    /// # Errors
    /// When a tactic cannot be made ready.
    pub fn plan_with(&self, selection: &Selection, budget: Budget) -> Result<Plan, BuildError> {
        let plan = self.plan_of(selection, budget, None)?;
        let record = packed(&self.explain(selection, budget, &plan));
        Ok(plan.with_record(record))
    }

    /// Makes the plan of a selection. `made` keeps what the next plan of the same network may need again.
    pub(crate) fn plan_of(
        &self,
        selection: &Selection,
        budget: Budget,
        mut made: Option<&mut Made>,
    ) -> Result<Plan, BuildError> {
        let instance = self.instance();
        let mut chosen = Vec::with_capacity(self.regions.len());
        for choice in &selection.chosen {
            let i = choice.region;
            let (region, problem) = (&self.regions[i], &self.problems[i]);
            let candidate = &instance.regions[i].candidates[choice.candidate];
            let tactic = match &mut made {
                Some(made) => made.tactic(i, &candidate.id, || self.tactic(problem, &candidate.id))?,
                None => self.tactic(problem, &candidate.id)?,
            };
            let time_us = if self.measured { candidate.time_us } else { 0.0 };
            chosen.push(Chosen { region, problem, tactic, time_us });
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
                    time_us: if self.measured { best.time_us } else { 0.0 },
                });
            }
        }
        let tf32 = self.precision == DType::F32 && self.tuning.tf32;
        let mut options = BTreeMap::from([
            ("workspace".to_owned(), budget.workspace.to_string()),
            ("fusion".to_owned(), self.policy.clone()),
            ("precision".to_owned(), if tf32 { "tf32".to_owned() } else { self.precision.to_string() }),
            ("tactics".to_owned(), self.tuning.tactics.to_string()),
        ]);
        if let Some(bytes) = budget.memory {
            options.insert("memory".to_owned(), bytes.to_string());
        }
        assemble(Parts {
            graph: &self.graph,
            device: self.device.as_ref(),
            cache: self.cache.as_ref(),
            regions: chosen,
            changes,
            target: target_of(self.device.info()),
            options,
            predicted_us: if self.measured { selection.predicted_us } else { 0.0 },
        })
    }

    fn tactic(&self, problem: &Problem, id: &str) -> Result<Tactic, BuildError> {
        let list = self.catalogue.offered(problem, self.device.info(), &self.tuning);
        list.iter()
            .find(|t| t.id == id)
            .cloned()
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
        let used: BTreeMap<usize, &String> = (selection.chosen.iter())
            .map(|c| (c.region, &instance.regions[c.region].candidates[c.candidate].id))
            .collect();
        self.0.retain(|(region, id), _| used.get(region) == Some(&id));
    }
}
