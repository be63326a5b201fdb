//! Exact selection under a budget.

use tactician_types::{Bytes, Layout};

use crate::budget::{Least, Memory};
use crate::changes::{Makings, scratch};
use crate::compact::{Compact, Cost, FORBIDDEN, Mask, cost, time_us};
use crate::explain;
use crate::footprint::footprint;
use crate::greedy::greedy;
use crate::model::{Budget, Certificate, Choice, Instance, SelectError, Selection};
use crate::states::{Act, States, needs};
use crate::wide::{Graph, Search};

/// A region that runs: its class, the member of it, the layouts that its output is needed in, and which way these are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) region: usize,
    pub(crate) class: usize,
    pub(crate) member: usize,
    pub(crate) needed: Mask,
    pub(crate) way: usize,
}

/// One path: what runs, in execution order, and what is needed of given values and the way it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) cost: Cost,
    pub(crate) picks: Vec<Pick>,
    pub(crate) given: Vec<(usize, Mask, usize)>,
}

/// Chooses regions that compute every node once, their tactics, and layouts, minimising predicted time within a budget.
///
/// # Errors
/// When nothing keeps to the budget, layouts cannot be connected, or nodes cannot be covered: the error says why.
pub fn select(instance: &Instance, budget: Budget) -> Result<Selection, SelectError> {
    select_where(instance, |_| true, budget)
}

/// As [`select`], with fusion given: `partition` lists the regions that are to compute the network.
///
/// # Errors
/// As [`select`].
pub fn select_partition(
    instance: &Instance,
    partition: &[usize],
    budget: Budget,
) -> Result<Selection, SelectError> {
    select_where(instance, |r| partition.contains(&r), budget)
}

fn select_where(
    instance: &Instance,
    allowed: impl Fn(usize) -> bool,
    budget: Budget,
) -> Result<Selection, SelectError> {
    let compact = Compact::new(instance, allowed)?;
    let makings = Makings::new(&compact, budget.workspace);
    let graph = Graph::new(&compact, &makings, budget.workspace);
    let search = Search::new(&compact, &graph, &makings);
    let Some((path, certificate)) = search.shortest(budget.workspace) else {
        if !graph.is_exact() {
            return greedy(instance, budget);
        }
        return Err(explain::over_workspace(&compact, budget.workspace));
    };
    let fastest = selection(&compact, &makings, &path, certificate);
    match budget.memory {
        Some(memory) if fastest.memory.total() > memory => {
            let found = Memory::new(&compact, &graph.states, &makings, budget.workspace).fastest(memory);
            let mut s = within_memory(&compact, budget.workspace, memory, found)?;
            if let Some(lower_bound_us) = search.bound_us(budget.workspace) {
                s.certificate = Certificate::Gap { lower_bound_us };
            }
            Ok(s)
        }
        _ => Ok(fastest),
    }
}

/// Settles what the search within a workspace came to. Where an arena could not be placed in as few bytes as are alive, less
/// workspace may do better, so smaller ones are tried too: more of it never hurts.
fn within_memory(
    compact: &Compact<'_>,
    workspace: u64,
    memory: u64,
    found: Result<Selection, Option<Box<Least>>>,
) -> Result<Selection, SelectError> {
    let settled = |found: &Result<Selection, Option<Box<Least>>>| match found {
        Ok(s) => s.certificate == Certificate::Optimal,
        Err(Some(least)) => least.proven,
        Err(None) => false,
    };
    let mut best = found;
    if !settled(&best) {
        let sizes = compact.scratch_sizes();
        for &smaller in sizes.iter().rev().filter(|&&s| s < workspace).take(SMALLER) {
            let makings = Makings::new(compact, smaller);
            let graph = Graph::new(compact, &makings, smaller);
            if Steps::new(compact, &graph.states, &makings).shortest(smaller).is_none() {
                break;
            }
            let next = Memory::new(compact, &graph.states, &makings, smaller).fastest(memory);
            best = match (best, next) {
                (Ok(a), Ok(b)) if b.predicted_us < a.predicted_us => {
                    // What was proven of the larger workspace holds.
                    Ok(Selection { certificate: a.certificate, ..b })
                }
                (Ok(a), _) => Ok(a),
                (Err(_), Ok(b)) => {
                    Ok(Selection { certificate: Certificate::Gap { lower_bound_us: 0.0 }, ..b })
                }
                (Err(Some(a)), Err(Some(b))) if b.selection.memory.total() < a.selection.memory.total() => {
                    Err(Some(b))
                }
                (Err(a), Err(b)) => Err(a.or(b)),
            };
        }
    }
    best.map_err(|least| match least {
        Some(least) => explain::over_memory(memory, least.selection.memory),
        None => SelectError::NoLayout,
    })
}

/// Smaller workspaces that are tried where placing wastes memory.
const SMALLER: usize = 16;

/// The cheapest member of every class by region within a budget of scratch.
pub(crate) fn prices(compact: &Compact<'_>, workspace: u64) -> Vec<Vec<Option<(Cost, usize)>>> {
    let of_region = |r: &crate::compact::Region| {
        let of_class = |c: &crate::compact::Class| {
            let at = c.members.iter().position(|m| m.workspace <= workspace)?;
            Some((cost(c.members[at].time, c.members[at].workspace), at))
        };
        r.classes.iter().map(of_class).collect()
    };
    compact.regions.iter().map(of_region).collect()
}

/// The cost of making what the last state needs of given values.
pub(crate) fn given_cost(compact: &Compact<'_>, makings: &Makings, key: &[u32]) -> Option<Cost> {
    let mut sum = 0;
    for (v, mask) in needs(key) {
        sum += makings.get(v, compact.values[v].given?, mask).first()?.cost;
    }
    Some(sum)
}

/// An arc as the search without memory sees it.
#[derive(Clone, Copy)]
struct Step {
    /// What the changes of layout cost.
    changes: Cost,
    /// Number of the class among all; 0 for a node inside a region.
    class: u32,
    to: u32,
}

/// The graph of states made ready for searches with many budgets.
pub(crate) struct Steps<'a> {
    compact: &'a Compact<'a>,
    states: &'a States,
    /// Parallel to the arcs of each layer.
    layers: Vec<Vec<Step>>,
    ends: Vec<Cost>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(compact: &'a Compact<'a>, states: &'a States, makings: &Makings) -> Steps<'a> {
        let mut first = Vec::with_capacity(compact.regions.len());
        let mut count = 1;
        for r in &compact.regions {
            first.push(count);
            count += r.classes.len() as u32;
        }
        let step = |arc: &crate::states::Arc| match arc.act {
            Act::Inside => Step { changes: 0, class: 0, to: arc.to },
            Act::Run { region, class, needed, way } => {
                let r = &compact.regions[region as usize];
                let ways = makings.get(r.output, r.classes[usize::from(class)].output, needed);
                let changes = ways.get(usize::from(way)).map_or(FORBIDDEN, |m| m.cost);
                Step { changes, class: first[region as usize] + u32::from(class), to: arc.to }
            }
        };
        let layers = states.layers.iter().map(|l| l.arcs.iter().map(step).collect()).collect();
        let ends = states.layers.first().into_iter().flat_map(|l| &l.keys);
        let ends = ends.map(|k| given_cost(compact, makings, k).unwrap_or(FORBIDDEN)).collect();
        Steps { compact, states, layers, ends }
    }

    /// The cheapest path within a budget of scratch, with ties to the first arc.
    pub(crate) fn shortest(&self, workspace: u64) -> Option<Path> {
        let prices = prices(self.compact, workspace);
        let own = prices.iter().flatten().map(|p| p.map_or(FORBIDDEN, |p| p.0));
        let own: Vec<Cost> = [0].into_iter().chain(own).collect();
        let layers = &self.states.layers;
        let mut left = self.ends.clone();
        let mut best: Vec<Vec<u32>> = vec![Vec::new()];
        for (layer, steps) in layers.iter().zip(&self.layers).skip(1) {
            let of_state = |s: usize| {
                let mut found = (FORBIDDEN, u32::MAX);
                for i in layer.starts[s]..layer.starts[s + 1] {
                    let step = steps[i as usize];
                    let sum = left[step.to as usize] + step.changes + own[step.class as usize];
                    if sum < found.0 {
                        found = (sum, i);
                    }
                }
                found
            };
            let (costs, arcs) = (0..layer.keys.len()).map(of_state).unzip();
            left = costs;
            best.push(arcs);
        }
        let total = *left.first()?;
        if total >= FORBIDDEN {
            return None;
        }
        let (mut path, mut state) = (Path { cost: total, ..Path::default() }, 0usize);
        for n in (1..layers.len()).rev() {
            let arc = layers[n].arcs[best[n][state] as usize];
            if let Act::Run { region, class, needed, way } = arc.act {
                let (region, class, way) = (region as usize, usize::from(class), usize::from(way));
                let member = prices[region][class].map_or(0, |p| p.1);
                path.picks.push(Pick { region, class, member, needed, way });
            }
            state = arc.to as usize;
        }
        path.picks.reverse();
        path.given = needs(&layers[0].keys[state]).map(|(v, mask)| (v, mask, 0)).collect();
        Some(path)
    }
}

/// A path as a selection.
pub(crate) fn selection(
    compact: &Compact<'_>,
    makings: &Makings,
    path: &Path,
    certificate: Certificate,
) -> Selection {
    let instance = compact.instance;
    let mut reformats: Vec<Vec<(Layout, Layout)>> = vec![Vec::new(); instance.values.len()];
    let mut workspace = 0;
    let mut make = |v: usize, from: usize, (mask, way): (Mask, usize), workspace: &mut u64| {
        let layouts = &compact.values[v].layouts;
        for &(f, to) in makings.get(v, from, mask).get(way).into_iter().flat_map(|m| &m.changes) {
            let pair = (layouts[f], layouts[to]);
            *workspace = (*workspace).max(instance.values[v].reformat.get(&pair).map_or(0, scratch));
            reformats[v].push(pair);
        }
    };
    for &(v, mask, way) in &path.given {
        if let Some(given) = compact.values[v].given {
            make(v, given, (mask, way), &mut workspace);
        }
    }
    let mut chosen = Vec::with_capacity(path.picks.len());
    for p in &path.picks {
        let class = &compact.regions[p.region].classes[p.class];
        let member = class.members[p.member];
        workspace = workspace.max(member.workspace);
        chosen.push(Choice { region: p.region, candidate: member.candidate });
        make(compact.regions[p.region].output, class.output, (p.needed, p.way), &mut workspace);
    }
    let memory = footprint(instance, &chosen, &reformats);
    Selection { chosen, reformats, predicted_us: time_us(path.cost), workspace, memory, certificate }
}

/// The region that takes the largest scratch in a path.
pub(crate) fn hungriest(compact: &Compact<'_>, path: &Path) -> (String, Bytes) {
    let scratch = |p: &Pick| compact.regions[p.region].classes[p.class].members[p.member].workspace;
    let most = path.picks.iter().max_by_key(|p| (scratch(p), std::cmp::Reverse(p.region)));
    most.map_or_else(
        || (String::new(), Bytes(0)),
        |p| (compact.instance.regions[p.region].name.clone(), Bytes(scratch(p))),
    )
}
