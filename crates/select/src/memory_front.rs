//! The front of time over memory.
//!
//! Small instances have every trade of time for memory among the labels of one search. Large ones have tens of thousands,
//! most of them a few bytes of packed weights apart. There budgets are solved one by one, each exactly: between the least
//! memory and what the fastest selection takes, the next budget lies in the middle of the gap with the largest loss of time.

use crate::bounds::{Bounds, NEVER};
use crate::budget::Memory;
use crate::changes::Makings;
use crate::compact::{Compact, Cost, FORBIDDEN};
use crate::front::{FrontPoint, points};
use crate::labels::{Quest, search};
use crate::model::{Budget, Certificate, Instance, SelectError, Selection};
use crate::solve::selection;
use crate::wide::{Graph, Search};

/// Most labels of one state.
const WIDTH: usize = 200;

/// Most edges of an instance that is small.
const SMALL: usize = 60_000;

/// Budgets that are solved for a large instance.
const SOLVES: usize = 32;

/// Budgets of memory at which the best selection within a workspace changes, ascending: the first point has the least memory
/// that works, the last what the fastest selection takes. All of them on small instances; on large ones those that tell most,
/// each exact, [`FrontPoint::until`] saying where others may lie between.
///
/// # Errors
/// As [`select`](crate::select) without a limit of memory.
pub fn memory_front(instance: &Instance, workspace: u64) -> Result<Vec<FrontPoint>, SelectError> {
    memory_front_of(instance, workspace, SOLVES)
}

/// As [`memory_front`], solving at most so many budgets on large instances.
///
/// # Errors
/// As [`memory_front`].
pub fn memory_front_of(
    instance: &Instance,
    workspace: u64,
    solves: usize,
) -> Result<Vec<FrontPoint>, SelectError> {
    let compact = Compact::new(instance, |_| true)?;
    let makings = Makings::new(&compact, workspace);
    let graph = Graph::new(&compact, &makings, workspace);
    let search = Search::new(&compact, &graph, &makings);
    let Some((path, certificate)) = search.shortest(workspace) else {
        let s = crate::select(instance, Budget::workspace(workspace))?;
        return Ok(points(instance, [(s.memory.total(), u64::MAX, s)]));
    };
    let memory = Memory::new(&compact, &graph.states, &makings, workspace);
    let mut list = match complete(&memory) {
        Some(list) => list,
        None => sampled(&memory, selection(&compact, &makings, &path, certificate), solves)?,
    };
    if let Some(lower_bound_us) = search.bound_us(workspace) {
        for (budget, until, s) in &mut list {
            (*until, s.certificate) = (*budget, Certificate::Gap { lower_bound_us });
        }
    }
    Ok(points(instance, list))
}

/// Every point, where one search keeps all labels.
fn complete(memory: &Memory<'_>) -> Option<Vec<(u64, u64, Selection)>> {
    if memory.edges.layers.iter().map(Vec::len).sum::<usize>() > SMALL {
        return None;
    }
    let bounds = Bounds::new(&memory.edges);
    let quest = Quest {
        limit: NEVER,
        floor: 0,
        at_most: FORBIDDEN,
        width: WIDTH,
        timed: true,
        front: true,
        complete: true,
    };
    let found = search(&memory.edges, &bounds, quest);
    if found.paths.is_empty() || !found.dropped.is_empty() {
        return None;
    }
    let mut placed: Vec<(u64, Cost, Selection)> = Vec::with_capacity(found.paths.len());
    for t in &found.paths {
        let s = memory.made(t, Certificate::Optimal);
        placed.push((s.memory.total(), t.cost, s));
    }
    placed.sort_by_key(|p| (p.0, p.1));
    let mut out: Vec<(u64, u64, Selection)> = Vec::new();
    let mut least = Cost::MAX;
    for (total, cost, mut s) in placed {
        if cost >> 56 >= least >> 56 {
            continue;
        }
        least = cost;
        // What the sums of live bytes alone would allow here.
        let room = total - memory.fixed;
        let bound = found.paths.iter().filter(|t| t.memory() <= room).map(|t| t.cost).min();
        if let Some(bound) = bound.filter(|b| b >> 56 < cost >> 56) {
            s.certificate = Certificate::Gap { lower_bound_us: crate::compact::time_us(bound) };
        }
        // From there on a faster path might have been placed.
        let faster = found.paths.iter().filter(|t| t.cost >> 56 < cost >> 56).map(|t| t.memory()).min();
        let until = faster.map_or(u64::MAX, |m| (m + memory.fixed - 1).max(total));
        out.push((total, until, s));
    }
    for i in 1..out.len() {
        out[i - 1].1 = out[i - 1].1.min(out[i].0 - 1);
    }
    Some(out)
}

/// The points of up to `solves` budgets.
fn sampled(
    memory: &Memory<'_>,
    top: Selection,
    solves: usize,
) -> Result<Vec<(u64, u64, Selection)>, SelectError> {
    let least = memory.least().ok_or(SelectError::NoLayout)?.selection;
    let least = memory.fastest(least.memory.total()).unwrap_or(least);
    // Budget, the largest that is proven to have the selection, the largest that was tried, the selection.
    let first = least.memory.total();
    let mut list = vec![(first, first, first, least)];
    if top.predicted_us < list[0].3.predicted_us {
        // Among the fastest the one that takes least.
        let top = memory.fastest(top.memory.total()).unwrap_or(top);
        list.push((top.memory.total(), u64::MAX, u64::MAX, top));
    } else {
        (list[0].1, list[0].2) = (u64::MAX, u64::MAX);
    }
    for _ in 0..solves.saturating_sub(2) {
        let loss = |i: usize| list[i].3.predicted_us - list[i + 1].3.predicted_us;
        let open = (0..list.len() - 1).filter(|&i| list[i].2 + 1 < list[i + 1].0);
        let Some(i) = open.max_by(|&a, &b| loss(a).total_cmp(&loss(b))) else { break };
        let (from, to) = (list[i].2, list[i + 1].0);
        let budget = from + (to - from) / 2;
        let Ok(s) = memory.fastest(budget) else { break };
        let proven = s.certificate == Certificate::Optimal;
        if s.predicted_us >= list[i].3.predicted_us {
            list[i].2 = budget;
            if proven {
                list[i].1 = budget;
            }
        } else {
            let own = s.memory.total();
            list.insert(i + 1, (own, if proven { budget } else { own }, budget, s));
        }
    }
    Ok(list.into_iter().map(|(budget, until, _, s)| (budget, until, s)).collect())
}
