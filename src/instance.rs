//! The selection problem of a measured network.

use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{NodeId, Op, Problem, ValueId};
use tactician_plan::ALIGNMENT;
use tactician_select::{Candidate, Instance, Reformat, RegionChoices, ValueChoices};
use tactician_tactics::{Tactic, estimate, untuned};
use tactician_tune::Verdict;
use tactician_types::Layout;

use crate::assemble::{describe, stored_bytes};
use crate::tuned::Tuned;

impl Tuned {
    /// The selection problem: every region with its measured candidates, every value with its reformat costs.
    pub fn instance(&self) -> &Instance {
        self.instance.get_or_init(|| self.make_instance())
    }

    fn make_instance(&self) -> Instance {
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
    pub(crate) fn value_order(&self) -> Vec<ValueId> {
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

    /// [`Tuned::instance`] with times that are guessed, whatever was measured.
    pub(crate) fn guessed(&self) -> Instance {
        let mut instance = self.instance().clone();
        for (region, problem) in instance.regions.iter_mut().zip(&self.problems) {
            let guesses: BTreeMap<String, f64> =
                self.unmeasured(problem).into_iter().map(|c| (c.id, c.time_us)).collect();
            for c in &mut region.candidates {
                c.time_us = guesses.get(&c.id).copied().unwrap_or(f64::MAX);
                c.noise_us = 0.0;
            }
        }
        for (value, v) in instance.values.iter_mut().zip(self.value_order()) {
            let Some(problem) = self.reformats.get(&v) else { continue };
            let guesses = fastest_changes(self.unmeasured(problem));
            for (pair, change) in &mut value.reformat {
                change.time_us = guesses.get(pair).map_or(f64::MAX, |c| c.time_us);
            }
        }
        instance
    }

    /// Every tactic that may run a problem, when nothing was measured. On a CPU with the times that one guesses; on a GPU one
    /// unit of time, more the later heuristics name it.
    fn unmeasured(&self, problem: &Problem) -> Vec<Candidate> {
        let order: Vec<String> = untuned(problem, self.device.info()).into_iter().map(|t| t.id).collect();
        let place = |id: &String| order.iter().position(|o| o == id).unwrap_or(order.len());
        let list = self.catalogue.allowed(problem, self.device.info(), &self.tuning);
        let cpu = self.device.info().cpu();
        let time = |t: &Tactic| {
            let place = place(&t.id) as f64 / order.len().max(1) as f64;
            // Of those that are alike the one that heuristics name first.
            cpu.map_or(1.0 + place, |cpu| estimate(problem, &t.id, t.view, cpu) * (1.0 + place / 100.0))
        };
        let candidate = |t: &Tactic| Candidate {
            id: t.id.clone(),
            time_us: time(t),
            noise_us: 0.0,
            workspace: t.workspace,
            constants: 0,
            view: t.view,
            inputs: t.inputs.clone(),
            output: t.output,
        };
        list.iter().filter(|t| t.workspace <= self.tuning.workspace_limit).map(candidate).collect()
    }

    pub(crate) fn candidates(&self, problem: &Problem) -> Vec<Candidate> {
        if !self.measured {
            return self.unmeasured(problem);
        }
        let rows = self.table.rows(&self.context, &problem.to_string());
        // A table may hold what these options exclude.
        let list = self.catalogue.allowed(problem, self.device.info(), &self.tuning);
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
}

/// The fastest change for each pair of layouts, the lower name where two are as fast.
pub(crate) fn fastest_changes(candidates: Vec<Candidate>) -> BTreeMap<(Layout, Layout), Candidate> {
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
