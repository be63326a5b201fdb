//! Exact selection under a budget.

use tactician_types::{Bytes, Layout};

use crate::budget::Memory;
use crate::changes::{Makings, scratch};
use crate::compact::{Compact, Cost, FORBIDDEN, Mask, cost, time_us};
use crate::explain;
use crate::footprint::footprint;
use crate::model::{Budget, Certificate, Choice, Instance, SelectError, Selection};
use crate::states::{Act, Limits, States, needs};

/// Most arcs of a graph of states.
pub(crate) const LIMITS: Limits = Limits { arcs: 6_000_000 };

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
    let Some(states) = States::new(&compact, &makings, LIMITS) else {
        return Err(SelectError::Malformed { what: "the graph of states is too large".into() });
    };
    let Some(path) = shortest(&compact, &states, &makings, budget.workspace) else {
        return Err(explain::over_workspace(&compact, budget.workspace));
    };
    let fastest = selection(&compact, &makings, &path, Certificate::Optimal);
    match budget.memory {
        Some(memory) if fastest.memory.total() > memory => {
            Memory::new(&compact, &states, &makings, budget.workspace).fastest(memory)
        }
        _ => Ok(fastest),
    }
}

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

/// The cheapest path, with ties to the first arc.
pub(crate) fn shortest(
    compact: &Compact<'_>,
    states: &States,
    makings: &Makings,
    workspace: u64,
) -> Option<Path> {
    let prices = prices(compact, workspace);
    let price = |act: &Act| match *act {
        Act::Inside => Some(0),
        Act::Run { region, class, needed, way } => {
            let r = &compact.regions[region as usize];
            let own = prices[region as usize][usize::from(class)]?.0;
            let ways = makings.get(r.output, r.classes[usize::from(class)].output, needed);
            Some(own + ways.get(usize::from(way))?.cost)
        }
    };
    let last = states.layers.first()?;
    let mut left: Vec<Vec<Cost>> =
        vec![last.keys.iter().map(|k| given_cost(compact, makings, k).unwrap_or(FORBIDDEN)).collect()];
    let mut best: Vec<Vec<u32>> = vec![Vec::new()];
    for layer in &states.layers[1..] {
        let next = &left[left.len() - 1];
        let of_state = |s: usize| {
            let mut found = (FORBIDDEN, u32::MAX);
            for (i, arc) in layer.arcs_of(s).iter().enumerate() {
                let ahead = next[arc.to as usize];
                if ahead < found.0
                    && let Some(own) = price(&arc.act)
                    && own + ahead < found.0
                {
                    found = (own + ahead, i as u32);
                }
            }
            found
        };
        let (costs, arcs) = (0..layer.keys.len()).map(of_state).unzip();
        left.push(costs);
        best.push(arcs);
    }
    let total = *left.last()?.first()?;
    if total >= FORBIDDEN {
        return None;
    }
    let (mut path, mut state) = (Path { cost: total, ..Path::default() }, 0usize);
    for n in (1..states.layers.len()).rev() {
        let arc = states.layers[n].arcs_of(state)[best[n][state] as usize];
        if let Act::Run { region, class, needed, way } = arc.act {
            let (region, class, way) = (region as usize, usize::from(class), usize::from(way));
            let member = prices[region][class].map_or(0, |p| p.1);
            path.picks.push(Pick { region, class, member, needed, way });
        }
        state = arc.to as usize;
    }
    path.picks.reverse();
    path.given = needs(&last.keys[state]).map(|(v, mask)| (v, mask, 0)).collect();
    Some(path)
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
