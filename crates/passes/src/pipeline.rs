//! The list of rewrites and what runs them.

use std::fmt;
use std::time::{Duration, Instant};

use tactician_ir::{Change, Graph, NodeId, Op, Verified, VerifyError, VerifyErrors, verify};

use crate::rewrites::*;

/// A rewrite of one place: a pure function from a node to a change.
pub trait Rewrite: Send + Sync {
    /// Its name in reports and file tests.
    fn name(&self) -> &'static str;

    /// The change to make at a node, if the rewrite applies there. After the change it must not apply to the
    /// same place again.
    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change>;
}

/// A rewrite that needs to see the whole graph.
pub trait GraphPass: Send + Sync {
    /// Its name in reports and file tests.
    fn name(&self) -> &'static str;

    /// Changes the graph; returns how many changes it made.
    fn run(&self, graph: &mut Graph) -> usize;
}

/// Every rewrite, in the order in which each round runs them.
pub const PIPELINE: &[&dyn Rewrite] = &[
    &Empty,
    &Identity,
    &ConstantFold,
    &SimplifyPointwise,
    &MergeClamps,
    &TransposeBetweenReshapes,
    &MergeTransposes,
    &TransposeToReshape,
    &MergeReshapes,
    &ConversionPastReshape,
    &TransposeIntoMatMul,
    &OneHotProduct,
    &Attention,
    &HeadsIntoAttention,
    &ProductsOfHeads,
    &HeadsWithin,
    &NormFromSteps,
    &ScaleIntoNorm,
    &BatchNormToAffine,
    &ResidualOrder,
    &BiasIntoConv,
    &FoldAffineIntoConv,
    &PadIntoConv,
    &GlobalPoolToReduce,
];

/// Passes over whole graphs; they run at the end of each round.
pub const GRAPH_PASSES: &[&dyn GraphPass] = &[&CommonSubexpressions, &DeadCode];

/// Most rounds that [`canonicalize`] makes. Every rewrite shrinks or normalises something, so few are needed.
pub const MAX_ROUNDS: usize = 32;

/// What one pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassStat {
    /// The pass.
    pub name: &'static str,
    /// Changes it made.
    pub changes: usize,
    /// Time it took, over all rounds.
    pub time: Duration,
}

/// What [`canonicalize`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// One entry a pass, in pipeline order.
    pub passes: Vec<PassStat>,
    /// Rounds made, the last of which changed nothing unless the bound was hit.
    pub rounds: usize,
}

impl PassReport {
    /// Changes by all passes.
    pub fn changes(&self) -> usize {
        self.passes.iter().map(|p| p.changes).sum()
    }

    /// Changes by the pass of that name; 0 if there is none.
    pub fn of(&self, name: &str) -> usize {
        self.passes.iter().filter(|p| p.name == name).map(|p| p.changes).sum()
    }
}

/// A table, one line a pass.
impl fmt::Display for PassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes in {} rounds", self.changes(), self.rounds)?;
        for p in &self.passes {
            write!(f, "\n{:>6}  {:<24} {:.1?}", p.changes, p.name, p.time)?;
        }
        Ok(())
    }
}

/// Brings a graph into the form that fusion and tactics expect: verified, rewritten until nothing changes,
/// numbered in execution order (depth first from the outputs).
///
/// # Errors
/// When the graph is invalid.
pub fn canonicalize(graph: Graph) -> Result<(Verified<Graph>, PassReport), VerifyErrors> {
    let mut graph = verify(graph)?.into_inner();
    let stat = |name| PassStat { name, changes: 0, time: Duration::ZERO };
    let names = PIPELINE.iter().map(|p| p.name()).chain(GRAPH_PASSES.iter().map(|p| p.name()));
    let mut report = PassReport { passes: names.map(stat).collect(), rounds: 0 };
    graph.remove_dead();
    while report.rounds < MAX_ROUNDS {
        report.rounds += 1;
        let mut changed = 0;
        for (i, stat) in report.passes.iter_mut().enumerate() {
            let start = Instant::now();
            let n = match PIPELINE.get(i) {
                Some(rewrite) => sweep(*rewrite, &mut graph)?,
                None => GRAPH_PASSES[i - PIPELINE.len()].run(&mut graph),
            };
            stat.changes += n;
            stat.time += start.elapsed();
            changed += n;
        }
        if changed == 0 {
            break;
        }
    }
    let graph = renumber(graph);
    tracing::debug!(rounds = report.rounds, changes = report.changes(), nodes = graph.len(), "canonical");
    Ok((verify(graph)?, report))
}

/// Runs one pass until it changes nothing, for tests. `canonicalize` runs them all. `None` when there is no
/// pass of that name.
///
/// # Errors
/// (inner) When the graph is invalid, before or after.
pub fn run_named(name: &str, graph: Graph) -> Option<Result<Graph, VerifyErrors>> {
    if name == "canonicalize" {
        return Some(canonicalize(graph).map(|(g, _)| g.into_inner()));
    }
    let rewrite = PIPELINE.iter().find(|p| p.name() == name);
    let pass = GRAPH_PASSES.iter().find(|p| p.name() == name);
    if rewrite.is_none() && pass.is_none() {
        return None;
    }
    let run = || {
        let mut graph = verify(graph)?.into_inner();
        for _ in 0..MAX_ROUNDS {
            let n = match (rewrite, pass) {
                (Some(r), _) => sweep(*r, &mut graph)?,
                (None, Some(p)) => p.run(&mut graph),
                (None, None) => 0,
            };
            if n == 0 {
                break;
            }
        }
        Ok(verify(graph)?.into_inner())
    };
    Some(run())
}

/// One visit to every node that there is now, operands first. What a change makes dead goes at once, so that
/// it counts as no reader.
pub(crate) fn sweep(rewrite: &dyn Rewrite, graph: &mut Graph) -> Result<usize, VerifyErrors> {
    let mut changes = 0;
    for id in graph.topo() {
        if !graph.contains(id) {
            continue;
        }
        let Some(change) = rewrite.find(graph, id) else { continue };
        let node = graph.node(id);
        let place = format!("{id:?} `{}` ({})", node.name, node.op.name());
        tracing::trace!(pass = rewrite.name(), place, "rewrite");
        graph.apply(change).map_err(|e| {
            let problem = format!("pass {} made a change that does not fit: {e}", rewrite.name());
            VerifyErrors(vec![VerifyError { node: Some(id), place, problem }])
        })?;
        graph.remove_dead();
        changes += 1;
    }
    Ok(changes)
}

/// The same graph with ids in execution order: inputs, then each output's operands depth first. Values live
/// shorter than in the order in which rewrites happened to make nodes.
fn renumber(graph: Graph) -> Graph {
    rebuild(&graph).unwrap_or(graph)
}

fn rebuild(graph: &Graph) -> Option<Graph> {
    let mut out = Graph::new(&graph.name);
    let mut map = std::collections::BTreeMap::new();
    for &i in graph.inputs() {
        let node = graph.node(i);
        map.insert(i, out.add_input(&node.name, node.outputs().first()?.clone()).ok()?.node());
    }
    for (_, v) in graph.outputs() {
        let mut stack = vec![(v.node(), false)];
        while let Some((id, ready)) = stack.pop() {
            if map.contains_key(&id) {
                continue;
            }
            let node = graph.node(id);
            if !ready {
                stack.push((id, true));
                stack.extend(node.inputs().iter().rev().map(|v| (v.node(), false)));
                continue;
            }
            let inputs: Option<Vec<_>> =
                node.inputs().iter().map(|v| Some(map.get(&v.node())?.output(v.slot()))).collect();
            let new = match &node.op {
                Op::Constant(t) => out.add_constant(&node.name, t.clone()),
                op => out.add(op.clone(), &inputs?, &node.name).ok()?,
            };
            map.insert(id, new.node());
        }
    }
    for (name, v) in graph.outputs() {
        out.mark_output(name, map.get(&v.node())?.output(v.slot()));
    }
    Some(out)
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
