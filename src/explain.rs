//! Why a plan is as it is: every step with all its candidates and how each ended, why its nodes are one step, what more
//! scratch would buy, and where everything lies.

use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{NodeId, Op};
use tactician_plan::{Needs, Place, Plan, Step as PlanStep};
use tactician_report::{
    Breakpoint, Buffer, BufferKind, Candidate as Shown, Change, Curve, DeviceFacts, Graph, MemoryPlan, Node,
    Outcome, ReportData, Step, Timing, Totals,
};
use tactician_select::{Budget, Candidate, Choice, FrontPoint, Selection};
use tactician_tune::{Row, Verdict};
use tactician_types::{Bytes, Layout};

use crate::error::BuildError;
use crate::tuned::Tuned;

/// Whatever else takes part in a decision.
struct Decision<'a> {
    tuned: &'a Tuned,
    selection: &'a Selection,
    budget: Budget,
    /// The layouts in which each value is there.
    there: Vec<BTreeSet<Layout>>,
    /// The layouts in which each value is read.
    read: Vec<BTreeSet<Layout>>,
}

impl Tuned {
    /// Every workspace at which the best selection changes.
    ///
    /// # Errors
    /// When a region has no tactic at all.
    pub fn workspace_front(&self) -> Result<Vec<FrontPoint>, BuildError> {
        Ok(tactician_select::workspace_front(self.instance())?)
    }

    /// Every budget of memory at which the best selection within a workspace changes.
    ///
    /// # Errors
    /// When nothing fits the workspace.
    pub fn memory_front(&self, workspace: u64) -> Result<Vec<FrontPoint>, BuildError> {
        Ok(tactician_select::memory_front(self.instance(), workspace)?)
    }

    /// Says how the plan of a selection came about. Figures of the table alone: no run of the plan.
    pub fn explain(&self, selection: &Selection, budget: Budget, plan: &Plan) -> ReportData {
        let decision = Decision::new(self, selection, budget);
        let meta = &plan.meta;
        let steps: Vec<Step> = meta.steps.iter().map(|s| decision.step(s)).collect();
        let moved =
            |s: &PlanStep| -> u64 { s.inputs.iter().chain(&s.outputs).filter_map(|&p| meta.len_of(p)).sum() };
        let info = self.device().info();
        let libraries = ["driver", "nvrtc", "cudnn", "cublaslt"];
        let is_library = |k: &str| libraries.contains(&k);
        let facts = || info.fingerprint().into_iter().filter(|(k, _)| k != "name");
        ReportData {
            network: meta.network.clone(),
            producer: meta.producer.clone(),
            device: DeviceFacts {
                name: info.name.clone(),
                facts: facts().filter(|(k, _)| !is_library(k)).collect(),
                libraries: facts().filter(|(k, _)| is_library(k)).collect(),
            },
            options: meta.options.clone(),
            totals: Totals {
                predicted_us: meta.predicted_us,
                measured_us: None,
                launches: steps.iter().map(|s| u64::from(s.launches)).sum(),
                bytes_moved: meta.steps.iter().map(moved).sum(),
                arena_bytes: meta.arena_bytes,
                constant_bytes: meta.constant_bytes(),
                workspace_bytes: meta.scratch_bytes,
                budget_bytes: Some(budget.workspace),
            },
            curve: Curve {
                workspace: self.workspace_front().map_or_else(|_| vec![], |f| breakpoints(&f)),
                memory: vec![],
            },
            graph: decision.graph(&meta.steps),
            memory: memory_plan(plan),
            steps,
            ..ReportData::default()
        }
    }
}

/// The points of a front, for a report.
pub fn breakpoints(front: &[FrontPoint]) -> Vec<Breakpoint> {
    let change = |c: &tactician_select::Change| Change {
        step: c.region.clone(),
        from: c.from.clone(),
        to: c.to.clone(),
        saves_us: c.saved_us,
    };
    let point = |p: &FrontPoint| Breakpoint {
        bytes: p.budget,
        predicted_us: p.selection.predicted_us,
        measured_us: None,
        changes: p.changes.iter().map(change).collect(),
    };
    front.iter().map(point).collect()
}

fn memory_plan(plan: &Plan) -> MemoryPlan {
    let meta = &plan.meta;
    let mut buffers: Vec<Buffer> = (meta.values.iter())
        .map(|v| Buffer {
            name: v.name.clone(),
            offset: v.offset,
            bytes: v.bytes,
            first: v.first,
            last: v.last,
            kind: BufferKind::Activation,
        })
        .collect();
    for (i, s) in meta.steps.iter().enumerate() {
        if let Some(Place::Arena { offset, len }) = s.scratch {
            let (name, at) = (format!("scratch of {}", s.name), i as u32);
            buffers.push(Buffer { name, offset, bytes: len, first: at, last: at, kind: BufferKind::Scratch });
        }
    }
    MemoryPlan { buffers, arena_bytes: meta.arena_bytes, constant_bytes: meta.constant_bytes() }
}

fn timing(row: &Row) -> Option<(Timing, f64)> {
    let Verdict::Timed(t) = &row.verdict else { return None };
    let shown = Timing { min_us: t.min_us, median_us: t.median_us, mad_us: t.mad_us, samples: t.samples };
    Some((shown, t.relative_l2))
}

/// Launches of a step.
fn launches(step: &PlanStep) -> u32 {
    if step.kernel != tactician_cuda::Launches::NAME {
        return 1;
    }
    postcard::from_bytes::<tactician_cuda::Launches>(&step.params).map_or(1, |l| l.0.len() as u32)
}

impl<'a> Decision<'a> {
    fn new(tuned: &'a Tuned, selection: &'a Selection, budget: Budget) -> Decision<'a> {
        let instance = tuned.instance();
        let of = |l: Option<Layout>| l.into_iter().collect::<BTreeSet<Layout>>();
        let mut there: Vec<BTreeSet<Layout>> = instance.values.iter().map(|v| of(v.given)).collect();
        let mut read: Vec<BTreeSet<Layout>> = instance.values.iter().map(|v| of(v.wanted)).collect();
        for c in &selection.chosen {
            let (region, candidate) = (&instance.regions[c.region], candidate(tuned, c));
            there[region.output].insert(candidate.output);
            for (&v, &l) in region.inputs.iter().zip(&candidate.inputs) {
                read[v].insert(l);
            }
        }
        for (set, list) in there.iter_mut().zip(&selection.reformats) {
            set.extend(list.iter().map(|&(_, to)| to));
        }
        Decision { tuned, selection, budget, there, read }
    }

    /// The choice that a plan's step belongs to.
    fn choice(&self, step: &PlanStep) -> Option<&'a Choice> {
        let of = |c: &&Choice| {
            let anchor = self.tuned.regions[c.region].anchor;
            self.tuned.graph.node(anchor).name == step.name
                && self.tuned.problems[c.region].to_string() == step.problem
        };
        self.selection.chosen.iter().find(of)
    }

    fn step(&self, step: &PlanStep) -> Step {
        let choice = if step.op.starts_with("reformat ") { None } else { self.choice(step) };
        let graph = &self.tuned.graph;
        let fused = choice.map_or_else(Vec::new, |c| {
            self.tuned.regions[c.region].nodes.iter().map(|&n| graph.node(n).name.clone()).collect()
        });
        let needs = step.needs();
        Step {
            name: step.name.clone(),
            op: step.op.clone(),
            fused,
            why: choice.map_or_else(String::new, |c| self.why(c)),
            tactic: step.tactic.clone(),
            predicted_us: step.predicted_us,
            timing: None,
            share: None,
            workspace_bytes: match step.scratch {
                Some(Place::Arena { len, .. }) => len,
                _ => 0,
            },
            launches: launches(step),
            needs: if needs == Needs::Nothing { vec![] } else { vec![needs.name().to_owned()] },
            candidates: self.candidates(step, choice),
            candidates_of: None,
        }
    }

    /// Every row of a step's problem, the chosen one first, then by time.
    fn candidates(&self, step: &PlanStep, choice: Option<&Choice>) -> Vec<Shown> {
        let Some(rows) = self.tuned.table.rows(&self.tuned.context, &step.problem) else { return vec![] };
        let allowed = |id: &str| self.tuned.tuning.tactics.allows(id);
        let mut list: Vec<Shown> = (rows.iter())
            .filter(|(id, _)| **id == step.tactic || allowed(id))
            .map(|(id, row)| {
                let timed = timing(row);
                let (outcome, verdict) = match choice {
                    _ if *id == step.tactic => (Outcome::Chosen, "chosen".to_owned()),
                    Some(c) => self.verdict(row, id, c),
                    None => self.verdict_of_change(row, rows.get(&step.tactic)),
                };
                Shown {
                    id: id.clone(),
                    timing: timed.map(|t| t.0),
                    workspace_bytes: row.workspace,
                    error: timed.map(|t| t.1),
                    outcome,
                    verdict,
                }
            })
            .collect();
        let time = |c: &Shown| c.timing.map_or(f64::INFINITY, |t| t.median_us);
        list.sort_by(|a, b| {
            let first = |c: &Shown| c.outcome != Outcome::Chosen;
            first(a).cmp(&first(b)).then(time(a).total_cmp(&time(b))).then(a.id.cmp(&b.id))
        });
        list
    }

    /// What rules a row out before times are compared.
    fn ruled_out(&self, row: &Row) -> Option<(Outcome, String)> {
        match &row.verdict {
            Verdict::Wrong { reason } => return Some((Outcome::Wrong, format!("wrong: {reason}"))),
            Verdict::Failed { reason } => return Some((Outcome::Failed, format!("failed: {reason}"))),
            _ => {}
        }
        let over = row.workspace.checked_sub(self.budget.workspace).filter(|&o| o > 0)?;
        Some((Outcome::OverBudget, format!("over the workspace by {}", Bytes(over))))
    }

    /// How a candidate that was not chosen for a region ended.
    fn verdict(&self, row: &Row, id: &str, choice: &Choice) -> (Outcome, String) {
        if let Some(out) = self.ruled_out(row) {
            return out;
        }
        let region = &self.tuned.instance().regions[choice.region];
        let chosen = candidate(self.tuned, choice);
        let Some(c) = region.candidates.iter().find(|c| c.id == id) else {
            return (Outcome::Failed, "excluded by an option".to_owned());
        };
        let slower = c.time_us - chosen.time_us;
        let noise = c.noise_us.hypot(chosen.noise_us);
        if c.inputs == chosen.inputs && c.output == chosen.output {
            if slower.abs() <= noise {
                let more = c.workspace.cmp(&chosen.workspace);
                let why = match more {
                    std::cmp::Ordering::Greater => "needs more scratch",
                    _ if c.constants > chosen.constants => "needs more constants",
                    _ => "its name comes later",
                };
                return (Outcome::Tie, format!("a tie within {noise:.2} us; {why}"));
            }
            if slower > 0.0 {
                return (Outcome::Lost, format!("slower by {slower:.2} us"));
            }
            let why = if self.budget.memory.is_some() {
                "its memory is over the budget"
            } else {
                "slower inside the plan"
            };
            return (Outcome::Lost, format!("faster by {:.2} us by itself; {why}", -slower));
        }
        let own = if slower > 0.0 {
            format!("slower by {slower:.2} us")
        } else {
            format!("faster by {:.2} us", -slower)
        };
        match self.layout_cost(choice.region, chosen, c) {
            Some(more) if more > 0.0 => {
                (Outcome::Lost, format!("{own} by itself; its layouts cost {more:.2} us more"))
            }
            Some(_) => {
                (Outcome::Lost, format!("{own} by itself; the layouts around it fit the chosen one better"))
            }
            None => (
                Outcome::Lost,
                format!("{own} by itself; its layouts cannot be reached from its neighbours'"),
            ),
        }
    }

    /// How another change of layout ended.
    fn verdict_of_change(&self, row: &Row, chosen: Option<&Row>) -> (Outcome, String) {
        if let Some(out) = self.ruled_out(row) {
            return out;
        }
        match (timing(row), chosen.and_then(timing)) {
            (Some((t, _)), Some((best, _)))
                if (row.inputs.first(), row.output)
                    == chosen.map_or((None, row.output), |c| (c.inputs.first(), c.output)) =>
            {
                (Outcome::Lost, format!("slower by {:.2} us", t.median_us - best.median_us))
            }
            _ => (Outcome::Lost, "changes between other layouts".to_owned()),
        }
    }

    /// Microseconds of changes of layout that `other` causes beyond those of `chosen`, all neighbours staying as they are.
    fn layout_cost(&self, region: usize, chosen: &Candidate, other: &Candidate) -> Option<f64> {
        let instance = self.tuned.instance();
        let region = &instance.regions[region];
        let mut more = 0.0;
        for (&v, l) in region.inputs.iter().zip(&other.inputs) {
            if !self.there[v].contains(l) {
                let from = self.there[v].iter().filter_map(|&f| instance.values[v].reformat.get(&(f, *l)));
                more += from.map(|r| r.time_us).min_by(f64::total_cmp)?;
            }
        }
        if other.output != chosen.output {
            let value = &instance.values[region.output];
            let paid = &self.selection.reformats[region.output];
            more -= paid.iter().filter_map(|p| value.reformat.get(p)).map(|r| r.time_us).sum::<f64>();
            for &l in self.read[region.output].iter().filter(|l| **l != other.output) {
                more += value.reformat.get(&(other.output, l))?.time_us;
            }
        }
        Some(more)
    }

    /// Why the nodes of a region are one step, and no others are with them.
    fn why(&self, choice: &Choice) -> String {
        if self.tuned.policy != "measured" {
            return format!("the policy `{}` decided so", self.tuned.policy);
        }
        let own: BTreeSet<NodeId> = self.tuned.regions[choice.region].nodes.iter().copied().collect();
        let time = candidate(self.tuned, choice).time_us;
        let mut parts = Vec::new();
        if own.len() > 1
            && let Some((apart, count)) = self.apart(&own)
        {
            parts.push(format!("{time:.2} us as one step, {apart:.2} us as {count}"));
        }
        for (r, region) in self.tuned.regions.iter().enumerate() {
            let larger = region.nodes.len() > own.len() && own.iter().all(|n| region.nodes.contains(n));
            if !larger {
                continue;
            }
            let Some(whole) = self.best(r) else { continue };
            let nodes: BTreeSet<NodeId> = region.nodes.iter().copied().collect();
            let inside: Vec<&Choice> = (self.selection.chosen.iter())
                .filter(|c| self.tuned.regions[c.region].nodes.iter().all(|n| nodes.contains(n)))
                .collect();
            let covered: usize = inside.iter().map(|c| self.tuned.regions[c.region].nodes.len()).sum();
            if covered == nodes.len() {
                let now: f64 = inside.iter().map(|c| candidate(self.tuned, c).time_us).sum();
                let rest = region.nodes.iter().filter(|n| !own.contains(n));
                let names: Vec<String> =
                    rest.map(|&n| format!("`{}`", self.tuned.graph.node(n).name)).collect();
                parts.push(format!("with {} {whole:.2} us, as now {now:.2} us", names.join(", ")));
            }
        }
        if parts.is_empty() {
            return "no other division was measured here".to_owned();
        }
        parts.join("; ") + ", changes of layout aside"
    }

    /// The shortest time of a region within the workspace.
    fn best(&self, region: usize) -> Option<f64> {
        let all = self.tuned.instance().regions[region].candidates.iter();
        all.filter(|c| c.workspace <= self.budget.workspace).map(|c| c.time_us).min_by(f64::total_cmp)
    }

    /// The shortest time of some nodes as several regions, and how many those are; regions of more nodes than are looked
    /// through are left alone.
    fn apart(&self, nodes: &BTreeSet<NodeId>) -> Option<(f64, usize)> {
        const MOST: usize = 12;
        if nodes.len() > MOST {
            return None;
        }
        let at: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let mask = |r: usize| {
            self.tuned.regions[r].nodes.iter().map(|n| Some(1usize << at.get(n)?)).sum::<Option<usize>>()
        };
        let whole = (1usize << nodes.len()) - 1;
        let parts: Vec<(usize, f64)> = (0..self.tuned.regions.len())
            .filter_map(|r| Some((mask(r).filter(|&m| m != whole)?, self.best(r)?)))
            .collect();
        let mut best: Vec<Option<(f64, usize)>> = vec![None; whole + 1];
        best[0] = Some((0.0, 0));
        for set in 0..whole {
            let Some((time, count)) = best[set] else { continue };
            let first = (!set).trailing_zeros();
            for &(m, t) in parts.iter().filter(|(m, _)| m >> first & 1 == 1 && m & set == 0) {
                let slot = &mut best[set | m];
                if slot.is_none_or(|(old, _)| time + t < old) {
                    *slot = Some((time + t, count + 1));
                }
            }
        }
        best[whole]
    }

    /// The network as it was before fusion, constants left out.
    fn graph(&self, steps: &[PlanStep]) -> Graph {
        let graph = &self.tuned.graph;
        let order: Vec<NodeId> =
            (graph.topo().into_iter()).filter(|&n| !matches!(graph.node(n).op, Op::Constant(_))).collect();
        let place: BTreeMap<NodeId, u32> = order.iter().enumerate().map(|(i, &n)| (n, i as u32)).collect();
        let mut step_of: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (i, s) in steps.iter().enumerate() {
            if let Some(c) = self.choice(s) {
                for &n in &self.tuned.regions[c.region].nodes {
                    step_of.entry(n).or_insert(i as u32);
                }
            }
        }
        let nodes = order.iter().map(|&n| {
            let node = graph.node(n);
            let shape = node.outputs().first().map_or_else(String::new, ToString::to_string);
            Node {
                name: node.name.clone(),
                op: node.op.name().to_owned(),
                shape,
                step: step_of.get(&n).copied(),
            }
        });
        let mut edges = Vec::new();
        for &n in &order {
            let reads = graph.node(n).inputs().iter().filter_map(|v| place.get(&v.node()));
            edges.extend(reads.map(|&from| (from, place[&n])));
        }
        Graph { nodes: nodes.collect(), edges }
    }
}

fn candidate<'a>(tuned: &'a Tuned, c: &Choice) -> &'a Candidate {
    &tuned.instance().regions[c.region].candidates[c.candidate]
}
