//! Plans for other shapes than those that were measured: the fusion and the tactics that were chosen there, carried over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tactician_device::Device;
use tactician_ir::{DType, Graph, NodeId, Op, Problem, Region, Verified};
use tactician_passes::{FusionPolicy, Greedy, proposals};
use tactician_plan::{Choice, Plan, PlanMeta};
use tactician_select::{Budget, Selection, select};
use tactician_tactics::is_host;
use tactician_tune::{Catalogue, TuneOptions};

use crate::builder::{BuildTimes, canonical};
use crate::error::BuildError;
use crate::network::{Network, Shapes};
use crate::regions::{Offer, served};
use crate::tuned::Tuned;

/// What plans for any shape are made from.
pub(crate) struct Recipe {
    pub(crate) network: Network,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) precision: DType,
    pub(crate) tuning: TuneOptions,
    pub(crate) budget: Budget,
}

/// What a tactic costs that was not chosen where it was measured, in microseconds: more than any number of those that were.
const NOT_CHOSEN_US: f64 = 1e6;

impl Recipe {
    /// The recipe of a plan.
    ///
    /// # Errors
    /// When the plan keeps no network, or it or the options are damaged.
    pub(crate) fn of(plan: &Plan, device: Arc<dyn Device>) -> Result<Recipe, BuildError> {
        let PlanMeta { options, .. } = &plan.meta;
        let text = |name: &str| options.get(name).map_or("", String::as_str);
        let damaged = |name: &str| BuildError::Kept { what: format!("its {name} is `{}`", text(name)) };
        let precision = text("precision");
        let tf32 = precision == "tf32";
        let dtype = if tf32 { Ok(DType::F32) } else { precision.parse() };
        let number = |name: &str| text(name).parse::<u64>().map_err(|_| damaged(name));
        let memory = options.contains_key("memory").then(|| number("memory")).transpose()?;
        Ok(Recipe {
            network: Network::from_plan(plan)?,
            device,
            precision: dtype.map_err(|_| damaged("precision"))?,
            tuning: TuneOptions {
                tactics: text("tactics").parse().map_err(|_| damaged("tactics"))?,
                tf32,
                ..TuneOptions::default()
            },
            budget: Budget { workspace: number("workspace")?, memory },
        })
    }

    /// The plan for shapes of all inputs: the regions and tactics of `choices` wherever they serve these shapes, and what
    /// heuristics say elsewhere.
    ///
    /// # Errors
    /// When the shapes contradict the network, or nothing fits the budget.
    pub(crate) fn plan_at(&self, shapes: &Shapes, choices: &[Choice]) -> Result<Plan, BuildError> {
        let start = Instant::now();
        let graph = canonical(&self.network, shapes, self.precision)?;
        let chosen: BTreeMap<&[String], &str> =
            choices.iter().map(|c| (c.nodes.as_slice(), c.tactic.as_str())).collect();
        if let Some(regions) = regions_named(&graph, choices)
            && let Ok(plan) = self.plan_of(graph.clone(), regions, &chosen, start)
        {
            return Ok(plan);
        }
        let catalogue = Catalogue::new();
        let offer = Offer { catalogue: &catalogue, device: self.device.info(), options: &self.tuning };
        let regions = served(&graph, Greedy.choose(&graph, &proposals(&graph)).into_regions(), offer);
        self.plan_of(graph, regions, &chosen, start)
    }

    fn plan_of(
        &self,
        graph: Verified<Graph>,
        regions: Vec<Region>,
        chosen: &BTreeMap<&[String], &str>,
        start: Instant,
    ) -> Result<Plan, BuildError> {
        let problems: Vec<Problem> = regions.iter().map(|r| r.problem(&graph)).collect();
        let wanted: Vec<Option<&str>> =
            regions.iter().map(|r| chosen.get(names(&graph, &r.nodes).as_slice()).copied()).collect();
        let mut tuning = self.tuning.clone();
        // What was measured to be better off on the CPU is so elsewhere.
        let crosses = wanted.iter().zip(&problems).filter(|(id, _)| id.is_some_and(is_host));
        tuning.on_host.extend(crosses.map(|(_, p)| p.to_string()));
        let catalogue = Catalogue::new();
        let times = BuildTimes { prepare: start.elapsed(), tune: Duration::ZERO };
        let (policy, device) = ("carried over".to_owned(), self.device.clone());
        let tuned =
            Tuned::of_heuristics(graph, regions, policy, device, catalogue, times, self.precision, tuning)?;
        let mut instance = tuned.instance().clone();
        for (region, id) in instance.regions.iter_mut().zip(&wanted) {
            for c in region.candidates.iter_mut().filter(|c| id.is_some_and(|id| c.id != id)) {
                c.time_us += NOT_CHOSEN_US;
            }
        }
        tuned.plan_of(&select(&instance, self.budget)?, self.budget, None)
    }
}

/// Names of nodes.
fn names(graph: &Graph, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|&n| graph.node(n).name.clone()).collect()
}

/// The regions whose nodes have the names that the choices say; `None` unless they are all there and compute every node
/// once, as they do where the sizes of axes change nothing but numbers.
fn regions_named(graph: &Graph, choices: &[Choice]) -> Option<Vec<Region>> {
    let work: Vec<NodeId> =
        graph.node_ids().filter(|&n| !matches!(graph.node(n).op, Op::Input | Op::Constant(_))).collect();
    let mut by_name: BTreeMap<&str, NodeId> = BTreeMap::new();
    for &n in &work {
        if by_name.insert(&graph.node(n).name, n).is_some() {
            return None;
        }
    }
    let mut seen = BTreeSet::new();
    let mut regions = Vec::with_capacity(choices.len());
    for c in choices {
        let nodes: Option<Vec<NodeId>> = c.nodes.iter().map(|n| by_name.get(n.as_str()).copied()).collect();
        let region = Region::new("tuned", graph, &nodes?)?;
        if !region.nodes.iter().all(|n| seen.insert(*n)) {
            return None;
        }
        regions.push(region);
    }
    let place: BTreeMap<NodeId, usize> = graph.topo().into_iter().enumerate().map(|(i, n)| (n, i)).collect();
    regions.sort_by_key(|r| r.nodes.iter().filter_map(|n| place.get(n)).max().copied());
    (seen.len() == work.len()).then_some(regions)
}

impl Tuned {
    /// What a selection chose, for plans of other shapes.
    pub(crate) fn choices(&self, selection: &Selection) -> Vec<Choice> {
        let instance = self.instance();
        let of = |c: &tactician_select::Choice| Choice {
            nodes: names(&self.graph, &self.regions[c.region].nodes),
            tactic: instance.regions[c.region].candidates[c.candidate].id.clone(),
        };
        selection.chosen.iter().map(of).collect()
    }
}
