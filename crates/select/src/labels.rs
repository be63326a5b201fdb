//! Labels: partial paths that no other partial path to the same state beats in time, constants and peak.
//!
//! A resource-constrained shortest path (Irnich and Desaulniers, "Shortest Path Problems with Resource Constraints", 2005)
//! with two resources, one that adds up and one of which the largest counts. A label is dropped when its bounds exceed the
//! limit, when no completion can beat a known solution, by time alone or with constants at a price (a Lagrangian bound), or
//! when another label of its state is at least as good in everything. Where a state holds too many labels the least
//! promising go, and what they could have come to is kept as a bound.

use crate::bounds::{Bounds, Taken};
use crate::compact::{Cost, FORBIDDEN};
use crate::edges::Edges;

#[derive(Clone, Copy)]
struct Label {
    cost: Cost,
    constants: u64,
    peak: u64,
    parent: u32,
    arc: u32,
    member: u32,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quest {
    /// Most constants and peak together.
    pub(crate) limit: u64,
    /// Smaller peaks count as this.
    pub(crate) floor: u64,
    /// Nothing dearer is of interest.
    pub(crate) at_most: Cost,
    /// Most labels of a state.
    pub(crate) width: usize,
    /// Whether time counts: otherwise the least memory is looked for.
    pub(crate) timed: bool,
    /// Whether every trade of time for memory is looked for, not only the fastest.
    pub(crate) front: bool,
    /// Whether a search that must drop something is given up.
    pub(crate) complete: bool,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    /// Complete paths: ascending cost, descending memory.
    pub(crate) paths: Vec<Taken>,
    /// Bounds of what was dropped for want of room: memory and cost at the least.
    pub(crate) dropped: Vec<(u64, Cost)>,
}

/// Searches layer by layer from the first state.
pub(crate) fn search(edges: &Edges, bounds: &Bounds, quest: Quest) -> Found {
    let top = edges.layers.len() - 1;
    let start = Label { cost: 0, constants: 0, peak: 0, parent: 0, arc: 0, member: 0 };
    let mut found = Found::default();
    // All labels of a layer, by state.
    let mut history: Vec<Vec<Label>> = vec![vec![start]];
    let mut ranges = vec![std::ops::Range { start: 0, end: 1 }];
    for left in (1..=top).rev() {
        let here = &history[history.len() - 1];
        let mut next: Vec<Vec<Label>> = vec![Vec::new(); edges.states[left - 1]];
        let tests: Vec<Test> =
            (0..edges.states[left - 1]).map(|to| Test::new(bounds, left - 1, to, quest)).collect();
        for e in &edges.layers[left] {
            let test = &tests[e.to as usize];
            for parent in ranges[e.from as usize].clone() {
                let l = &here[parent];
                let label = Label {
                    cost: l.cost + e.cost,
                    constants: l.constants + e.constants,
                    peak: l.peak.max(e.peak).max(test.peak),
                    parent: parent as u32,
                    arc: e.arc,
                    member: e.member,
                };
                if test.passes(&label) {
                    next[e.to as usize].push(label);
                }
            }
        }
        let mut flat = Vec::new();
        ranges.clear();
        for (to, mut labels) in next.into_iter().enumerate() {
            let from = flat.len();
            thin(&mut labels, quest.timed);
            if labels.len() > quest.width {
                narrow(&mut labels, &tests[to], quest, &mut found.dropped);
            }
            if quest.complete && !found.dropped.is_empty() {
                return found;
            }
            flat.extend(labels);
            ranges.push(from..flat.len());
        }
        history.push(flat);
    }
    let mut ends: Vec<(Cost, u64, usize, Taken)> = Vec::new();
    for (s, range) in ranges.iter().enumerate() {
        for (end, way) in edges.ends[s].iter().enumerate() {
            for i in range.clone() {
                let l = &history[top][i];
                let (cost, constants) = (l.cost + way.cost, l.constants + way.constants);
                let taken = Taken { end, cost, constants, peak: l.peak.max(way.peak), arcs: Vec::new() };
                if taken.memory() <= quest.limit && cost <= quest.at_most {
                    ends.push((cost, taken.memory(), i, taken));
                }
            }
        }
    }
    if !quest.timed {
        ends.sort_by_key(|e| (e.1, e.0, e.2));
        ends.truncate(1);
    }
    ends.sort_by_key(|e| (e.0, e.1, e.2));
    let mut least = u64::MAX;
    ends.retain(|e| falls(&mut least, e.1));
    if !quest.front {
        ends.truncate(1);
    }
    for (_, _, i, mut taken) in ends {
        let mut at = i;
        for layer in (1..=top).rev() {
            let l = &history[layer][at];
            taken.arcs.push((l.arc as usize, l.member as usize));
            at = l.parent as usize;
        }
        taken.arcs.reverse();
        found.paths.push(taken);
    }
    found
}

/// Whether a number is the least so far.
fn falls<T: Ord + Copy>(least: &mut T, new: T) -> bool {
    let less = new < *least;
    if less {
        *least = new;
    }
    less
}

/// What a label of one state must pass.
struct Test {
    cost: Cost,
    constants: u64,
    peak: u64,
    priced: Vec<(f64, f64)>,
    quest: Quest,
    /// The dearest that is of interest, in picoseconds, with room for rounding.
    at_most: f64,
}

impl Test {
    fn new(bounds: &Bounds, layer: usize, state: usize, quest: Quest) -> Test {
        let at_most = (quest.at_most >> 56) as f64;
        Test {
            cost: bounds.cost[layer][state],
            constants: bounds.constants[layer][state],
            peak: bounds.peak[layer][state].max(quest.floor),
            priced: bounds.priced.iter().map(|(price, table)| (*price, table[layer][state])).collect(),
            quest,
            at_most: at_most + 2.0 + at_most * 1e-9,
        }
    }

    fn memory(&self, l: &Label) -> u64 {
        l.constants.saturating_add(self.constants).saturating_add(l.peak.max(self.peak))
    }

    /// The least picoseconds of a completion within `limit`.
    fn time(&self, l: &Label, limit: u64) -> f64 {
        let own = (l.cost >> 56) as f64;
        // Constants may still take what the limit leaves beside the peak.
        let left = limit as f64 - l.peak.max(self.peak) as f64 - l.constants as f64;
        let priced = self.priced.iter().map(|(price, rest)| own + rest - price * left);
        priced.fold(0.0, f64::max)
    }

    fn passes(&self, l: &Label) -> bool {
        self.memory(l) <= self.quest.limit
            && (!self.quest.timed
                || (l.cost + self.cost <= self.quest.at_most
                    && (self.priced.is_empty() || self.time(l, self.quest.limit) <= self.at_most)))
    }

    /// The least cost of a completion.
    fn bound(&self, l: &Label) -> Cost {
        let simple = l.cost + self.cost;
        if self.quest.front || self.priced.is_empty() {
            return simple;
        }
        let time = self.time(l, self.quest.limit);
        let whole = (time - 2.0 - time * 1e-9).max(0.0) as Cost;
        simple.max(whole << 56)
    }
}

/// Keeps the labels that no other beats.
fn thin(labels: &mut Vec<Label>, timed: bool) {
    if timed {
        labels.sort_by_key(|l| (l.cost, l.constants, l.peak, l.arc, l.member, l.parent));
    } else {
        labels.sort_by_key(|l| (l.constants, l.peak, l.cost, l.arc, l.member, l.parent));
    }
    // Constants to peak: falling, of those kept so far.
    let mut stairs: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
    labels.retain(|l| {
        if stairs.range(..=l.constants).next_back().is_some_and(|(_, &peak)| peak <= l.peak) {
            return false;
        }
        let beaten: Vec<u64> =
            stairs.range(l.constants..).take_while(|(_, p)| **p >= l.peak).map(|(&c, _)| c).collect();
        for c in beaten {
            stairs.remove(&c);
        }
        stairs.insert(l.constants, l.peak);
        true
    });
}

/// Drops labels until `width` are left, and notes what they could have come to.
fn narrow(labels: &mut Vec<Label>, test: &Test, quest: Quest, dropped: &mut Vec<(u64, Cost)>) {
    let mut keep = vec![false; labels.len()];
    if quest.front {
        // The cheapest of each slice of memory.
        let memory: Vec<u64> = labels.iter().map(|l| test.memory(l)).collect();
        let (low, high) =
            (memory.iter().min().copied().unwrap_or(0), memory.iter().max().copied().unwrap_or(0));
        let slice = ((high - low) / quest.width as u64).max(1);
        let mut best: std::collections::BTreeMap<u64, usize> = std::collections::BTreeMap::new();
        for i in 0..labels.len() {
            let at = best.entry((memory[i] - low) / slice).or_insert(i);
            if labels[i].cost < labels[*at].cost {
                *at = i;
            }
        }
        best.values().for_each(|&i| keep[i] = true);
    } else {
        let mut order: Vec<usize> = (0..labels.len()).collect();
        if quest.timed {
            order.sort_by_key(|&i| (test.bound(&labels[i]), i));
        } else {
            order.sort_by_key(|&i| (test.memory(&labels[i]), i));
        }
        order[..quest.width].iter().for_each(|&i| keep[i] = true);
    }
    let gone = labels.iter().zip(&keep).filter(|(_, k)| !**k).map(|(l, _)| (test.memory(l), test.bound(l)));
    let mut list: Vec<(u64, Cost)> = gone.filter(|g| g.1 < FORBIDDEN).collect();
    // The stairs of what went.
    list.sort_unstable();
    let mut least = Cost::MAX;
    list.retain(|g| falls(&mut least, g.1));
    dropped.extend(list);
    let mut kept = keep.into_iter();
    labels.retain(|_| kept.next().unwrap_or(false));
}
