//! Which regions a build measures.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use tactician_device::DeviceInfo;
use tactician_ir::{Expr, Graph, NodeId, Op, Operand, Problem, Region, ValueId};
use tactician_passes::{FusionPolicy, Greedy, Proposal};
use tactician_tactics::{Tactic, is_host};
use tactician_tune::{Catalogue, TuneOptions};
use tactician_types::Layout;

/// What a device can do under some options.
#[derive(Clone, Copy)]
pub(crate) struct Offer<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) device: &'a DeviceInfo,
    pub(crate) options: &'a TuneOptions,
}

impl Offer<'_> {
    /// The tactics that may run a problem.
    pub(crate) fn allowed(&self, problem: &Problem) -> Vec<Tactic> {
        self.catalogue.allowed(problem, self.device, self.options)
    }

    /// Finds out on all processors what may run some regions: of a GPU's libraries every question takes milliseconds.
    fn look_up<'r>(&self, graph: &Graph, regions: impl Iterator<Item = &'r Region>) {
        let problems = regions.map(|r| r.problem(graph));
        let different: BTreeMap<String, Problem> = problems.map(|p| (p.to_string(), p)).collect();
        different
            .into_par_iter()
            .for_each(|(_, p)| drop(self.catalogue.offered(&p, self.device, self.options)));
    }

    /// Whether the device runs a region itself.
    fn at_home(&self, graph: &Graph, region: &Region) -> bool {
        self.allowed(&region.problem(graph)).iter().any(|t| !is_host(&t.id))
    }
}

/// The regions that are measured for a policy: those it chooses, and what conversions at their ends may be left out of.
/// `None` stands for every region that fusion proposes and the device runs, beside those of the greedy policy, which
/// cross over to the CPU where nothing else is possible. `also` are policies to compare it with.
pub(crate) fn to_measure<'p>(
    graph: &Graph,
    policy: Option<&(dyn FusionPolicy + 'p)>,
    also: &[Box<dyn FusionPolicy + 'p>],
    proposals: &[Proposal],
    offer: Offer<'_>,
) -> Vec<Region> {
    let chosen = policy.unwrap_or(&Greedy).choose(graph, proposals).into_regions();
    let proposed: Vec<&Region> = match policy {
        Some(_) => vec![],
        None => proposals.iter().map(|p| &p.region).collect(),
    };
    offer.look_up(graph, proposed.iter().copied().chain(&chosen));
    let mut all = served(graph, chosen, offer);
    let parts: Vec<Region> = all.iter().filter_map(|r| apart(graph, r, offer)).flatten().collect();
    all.extend(parts);
    for p in also {
        all.extend(served(graph, p.choose(graph, proposals).into_regions(), offer));
    }
    all.extend(proposed.into_iter().filter(|r| offer.at_home(graph, r)).cloned());
    let mut seen = BTreeSet::new();
    all.retain(|r| seen.insert(r.nodes.clone()));
    all
}

/// Tactics that need no measuring on a problem, by its text: a larger region of the same anchor offers the same tactic with
/// more of what follows in its epilogue, and nothing else would take that. The same kernel with a pass over memory of its own
/// behind it is no faster. Where two anchors contend for what follows, as convolutions do for their sum, both may be left
/// with less, and everything is measured. So it is where a CPU's kernel would compute exponentials and the like behind its
/// products: they do not stay in registers, and a pass over all values may be quicker at them.
pub(crate) fn spared(
    graph: &Graph,
    regions: &[Region],
    problems: &[Problem],
    lists: &[Vec<Tactic>],
) -> BTreeMap<String, BTreeSet<String>> {
    let mut takers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for r in regions.iter().filter(|r| !matches!(graph.node(r.anchor).op, Op::Pointwise(_))) {
        r.nodes.iter().for_each(|&n| _ = takers.entry(n).or_default().insert(r.anchor));
    }
    let mut spared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (i, small) in regions.iter().enumerate() {
        let mut ids = BTreeSet::new();
        for (j, large) in regions.iter().enumerate() {
            let grows = large.anchor == small.anchor
                && large.nodes.len() > small.nodes.len()
                && small.nodes.iter().all(|n| large.nodes.contains(n));
            let alone = |n: &NodeId| {
                small.nodes.contains(n) || takers.get(n).is_none_or(|t| t.iter().all(|a| *a == small.anchor))
            };
            if grows && large.nodes.iter().all(alone) && !matches!(problems[i].anchor, Op::Pointwise(_)) {
                let more = large.nodes.iter().filter(|n| !small.nodes.contains(n));
                let heavy = more.into_iter().any(|&n| is_heavy(&graph.node(n).op));
                let sure = |t: &&Tactic| !heavy || !t.id.split(['.', '/']).any(|part| part == "cpu");
                ids.extend(lists[j].iter().filter(sure).map(|t| t.id.clone()));
            }
        }
        // Equal regions may stand elsewhere among others.
        match spared.entry(problems[i].to_string()) {
            Entry::Vacant(new) => _ = new.insert(ids),
            Entry::Occupied(mut old) => old.get_mut().retain(|id| ids.contains(id)),
        }
    }
    spared.retain(|_, ids| !ids.is_empty());
    spared
}

/// Whether an operation computes functions that take many instructions.
fn is_heavy(op: &Op) -> bool {
    use tactician_ir::{Binary, ExprNode, Unary};
    let Op::Pointwise(e) = op else { return false };
    e.nodes().iter().any(|n| match n {
        ExprNode::Unary(f, _) => {
            let light = [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Sqrt, Unary::Reciprocal, Unary::Relu];
            let rounds = [Unary::Floor, Unary::Ceil, Unary::Round, Unary::Not, Unary::BitNot];
            !light.contains(f) && !rounds.contains(f) && !matches!(f, Unary::IsNan | Unary::IsInf)
        }
        ExprNode::Binary(f, ..) => matches!(f, Binary::Pow | Binary::Mod | Binary::Fmod),
        _ => false,
    })
}

/// The regions, those that no kernel of the device serves divided: fusion knows neither what a device can do nor which
/// tactics are allowed. A region of which the CPU must compute a part crosses over as a whole, if it can.
pub(crate) fn served(graph: &Graph, regions: Vec<Region>, offer: Offer<'_>) -> Vec<Region> {
    let list = |r: &Region| offer.allowed(&r.problem(graph));
    let at_home = |r: &Region| offer.at_home(graph, r);
    let split = |r: Region| {
        let parts = divided(graph, r.clone(), &at_home);
        let whole = parts.len() == 1 || parts.iter().all(at_home) || list(&r).is_empty();
        if whole { parts } else { vec![r] }
    };
    regions.into_iter().flat_map(split).collect()
}

/// A region in as few parts as can be served, each as long as possible: what is taken off its end becomes regions of its
/// own. Single nodes are left as they are.
fn divided(graph: &Graph, region: Region, serves: &dyn Fn(&Region) -> bool) -> Vec<Region> {
    if region.nodes.len() == 1 || serves(&region) {
        return vec![region];
    }
    let mut parts = Vec::new();
    let mut rest = region.nodes.as_slice();
    while !rest.is_empty() {
        let part = (1..=rest.len()).rev().find_map(|len| {
            let whole = len == region.nodes.len();
            let rule = if rest[..len].contains(&region.anchor) { region.rule } else { "unfused" };
            let part = Region::new(rule, graph, &rest[..len]).filter(|_| !whole)?;
            (len == 1 || serves(&part)).then_some(part)
        });
        // Every single node of a region is a region.
        let Some(part) = part else { return vec![region] };
        rest = &rest[part.nodes.len()..];
        parts.push(part);
    }
    parts
}

/// A region of which conversions between float types at its ends are regions of their own: what takes them in may be
/// slower by more than they take. `None` when there are none, or the device does not serve the rest.
pub(crate) fn apart(graph: &Graph, region: &Region, offer: Offer<'_>) -> Option<Vec<Region>> {
    let problem = region.problem(graph);
    if matches!(problem.anchor, Op::Pointwise(_)) {
        return None;
    }
    let first = region.nodes.iter().position(|&n| n == region.anchor)?;
    let converts = |n: NodeId| matches!(&graph.node(n).op, Op::Pointwise(e) if e.as_cast().is_some());
    let widens = problem.output.dtype != problem.result.dtype;
    let end = region.nodes.len() - usize::from(widens && converts(*region.nodes.last()?));
    if (first, end) == (0, region.nodes.len()) {
        return None;
    }
    let one = |n: &NodeId| Region::new("unfused", graph, &[*n]);
    let mut parts: Vec<Region> = region.nodes[..first].iter().filter_map(one).collect();
    parts.push(Region::new(region.rule, graph, &region.nodes[first..end])?);
    parts.extend(region.nodes[end..].iter().filter_map(one));
    parts.iter().all(|r| offer.at_home(graph, r)).then_some(parts)
}

/// For every value that different layouts meet at: the identity on it, whose tactics are the changes of layout.
/// `regions` may be of several partitions.
pub(crate) fn reformat_problems(
    graph: &Graph,
    regions: &[Region],
    list: &[Vec<Tactic>],
) -> BTreeMap<ValueId, Problem> {
    let mut layouts: BTreeMap<ValueId, BTreeSet<Layout>> = BTreeMap::new();
    for &i in graph.inputs() {
        layouts.entry(i.value()).or_default().insert(Layout::Plain);
    }
    for (_, v) in graph.outputs() {
        layouts.entry(*v).or_default().insert(Layout::Plain);
    }
    for (region, tactics) in regions.iter().zip(list) {
        for t in tactics {
            layouts.entry(region.output).or_default().insert(t.output);
            for (&v, &l) in region.inputs.iter().zip(&t.inputs) {
                layouts.entry(v).or_default().insert(l);
            }
        }
    }
    layouts
        .into_iter()
        .filter(|(v, set)| set.len() > 1 && graph.constant(*v).is_none())
        .map(|(v, _)| {
            let ty = graph.ty(v).clone();
            let problem = Problem {
                anchor: Op::Pointwise(Expr::identity()),
                anchor_operands: 1,
                operands: vec![Operand { ty: ty.clone(), constant: false }],
                epilogue: Expr::identity(),
                result: ty.clone(),
                output: ty,
            };
            (v, problem)
        })
        .collect()
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
