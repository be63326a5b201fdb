//! All ways to run a network, as paths through a graph of states.
//!
//! Nodes are taken from the last to the first. A state says what the steps chosen so far, which run later, need of those
//! still to choose: of each value the set of layouts that it must be available in, and the nodes that a region chosen
//! already computes. Taking a node that is not computed yet, an arc chooses a region whose last node it is and a class of its
//! candidates, and makes the region's output available in the layouts that are needed. So every path from the first
//! state to the last is one selection and every selection is one path: partition, tactics and layouts at once.
//! There are as many states as the frontier of the execution order has needs, a few hundred a node in convolutional
//! networks, because readers want few combinations of layouts.

use std::collections::HashMap;

use crate::changes::Makings;
use crate::compact::{Compact, Cost, FORBIDDEN, Mask};

/// What an arc does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The node is computed inside a region that was chosen.
    Inside,
    /// A region runs, by a class of its candidates; its output is made available in a set of layouts, one of several ways.
    Run { region: u32, class: u16, needed: Mask, way: u8 },
}

/// A step from a state of one layer to one of the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arc {
    pub(crate) act: Act,
    /// Number of the state in the next layer.
    pub(crate) to: u32,
}

/// A state: needs of values, ascending, then nodes that are computed, ascending.
pub(crate) type Key = Box<[u32]>;

const COMPUTED: u32 = 1 << 31;

/// States before one node is taken, and the arcs that take it.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) keys: Vec<Key>,
    /// Arcs of state `s` are `arcs[starts[s]..starts[s + 1]]`.
    pub(crate) starts: Vec<u32>,
    pub(crate) arcs: Vec<Arc>,
}

impl Layer {
    pub(crate) fn arcs_of(&self, state: usize) -> &[Arc] {
        match (self.starts.get(state), self.starts.get(state + 1)) {
            (Some(&a), Some(&b)) => &self.arcs[a as usize..b as usize],
            _ => &[],
        }
    }
}

/// Layer `i` has the states with `i` nodes left; layer 0 is the last to be reached and has no arcs.
#[derive(Default)]
pub(crate) struct States {
    pub(crate) layers: Vec<Layer>,
}

/// The needs in a state.
pub(crate) fn needs(key: &[u32]) -> impl Iterator<Item = (usize, Mask)> + '_ {
    key.iter().filter(|k| *k & COMPUTED == 0).map(|k| ((k >> 8) as usize, *k as Mask))
}

fn need_of(key: &[u32], value: usize) -> Mask {
    needs(key).find(|n| n.0 == value).map_or(0, |n| n.1)
}

fn is_computed(key: &[u32], node: usize) -> bool {
    key.contains(&(COMPUTED | node as u32))
}

/// How a graph is kept small.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// All states, and no graph if it has more arcs than this.
    Arcs(usize),
    /// So many states a layer, those that were reached at the least cost: some selections are missing.
    States(usize),
    /// So many needs a state, those of the values made last; others are forgotten, as if they cost nothing: paths are no
    /// selections, but none is cheaper than the cheapest path. No graph if it has more arcs than the second number.
    Needs(usize, usize),
}

impl States {
    /// The graph of an instance; `makings` says which sets of layouts can be made at all, `prices` what running a class
    /// costs. `None` beyond the limit.
    pub(crate) fn new(
        compact: &Compact<'_>,
        makings: &Makings,
        prices: &[Vec<Option<(Cost, usize)>>],
        limit: Limit,
    ) -> Option<States> {
        let n = compact.instance.nodes;
        let mut layers: Vec<Layer> = (0..=n).map(|_| Layer::default()).collect();
        let wanted = compact.values.iter().enumerate();
        let first: Vec<u32> = wanted
            .filter(|(_, v)| v.wanted != 0 && v.given.is_none_or(|g| v.wanted != 1 << g))
            .map(|(i, v)| (i as u32) << 8 | u32::from(v.wanted))
            .collect();
        layers[n].keys.push(forget(compact, first.into(), limit));
        // The cost at which each state of a layer was reached.
        let mut costs: Vec<Cost> = vec![0];
        let mut total = 0;
        for left in (1..=n).rev() {
            let (before, rest) = layers.split_at_mut(left);
            let (next, layer) = (&mut before[left - 1], &mut rest[0]);
            let mut known: HashMap<Key, u32> = HashMap::new();
            let mut reached: Vec<Cost> = Vec::new();
            layer.starts.push(0);
            for s in 0..layer.keys.len() {
                for (act, key) in successors(compact, makings, left - 1, &layer.keys[s]) {
                    let to = *known.entry(forget(compact, key, limit)).or_insert_with_key(|key| {
                        next.keys.push(key.clone());
                        reached.push(FORBIDDEN);
                        next.keys.len() as u32 - 1
                    });
                    let cost = costs[s] + act.cost(compact, makings, prices);
                    reached[to as usize] = reached[to as usize].min(cost.min(FORBIDDEN));
                    layer.arcs.push(Arc { act, to });
                }
                layer.starts.push(layer.arcs.len() as u32);
                if let Limit::Arcs(most) | Limit::Needs(_, most) = limit
                    && total + layer.arcs.len() > most
                {
                    return None;
                }
            }
            total += layer.arcs.len();
            if let Limit::States(most) = limit
                && next.keys.len() > most
            {
                narrow(layer, next, &mut reached, most);
            }
            costs = reached;
        }
        Some(States { layers })
    }
}

impl Act {
    /// Time and scratch of the cheapest member and the changes of layout; [`FORBIDDEN`] when no member is allowed.
    fn cost(&self, compact: &Compact<'_>, makings: &Makings, prices: &[Vec<Option<(Cost, usize)>>]) -> Cost {
        let Act::Run { region, class, needed, way } = *self else { return 0 };
        let r = &compact.regions[region as usize];
        let ways = makings.get(r.output, r.classes[usize::from(class)].output, needed);
        let own = prices[region as usize][usize::from(class)].map(|p| p.0);
        own.zip(ways.get(usize::from(way))).map_or(FORBIDDEN, |(own, making)| own + making.cost)
    }
}

/// A state without the needs that the limit does not keep.
fn forget(compact: &Compact<'_>, key: Key, limit: Limit) -> Key {
    let Limit::Needs(most, _) = limit else { return key };
    if needs(&key).count() <= most {
        return key;
    }
    let mut order: Vec<(usize, usize)> =
        needs(&key).map(|(v, _)| (compact.values[v].node.map_or(0, |n| n + 1), v)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let kept: Vec<usize> = order[..most].iter().map(|o| o.1).collect();
    let stays = |k: &u32| k & COMPUTED != 0 || kept.contains(&((k >> 8) as usize));
    key.iter().copied().filter(stays).collect()
}

/// Keeps the `most` states of the next layer that cost least, and the arcs to them.
fn narrow(layer: &mut Layer, next: &mut Layer, reached: &mut Vec<Cost>, most: usize) {
    let mut order: Vec<usize> = (0..next.keys.len()).collect();
    order.sort_by_key(|&s| (reached[s], s));
    order.truncate(most);
    order.sort_unstable();
    let mut renamed = vec![u32::MAX; next.keys.len()];
    for (new, &old) in order.iter().enumerate() {
        renamed[old] = new as u32;
    }
    next.keys = order.iter().map(|&s| std::mem::take(&mut next.keys[s])).collect();
    *reached = order.iter().map(|&s| reached[s]).collect();
    let (mut arcs, mut starts) = (Vec::new(), vec![0]);
    for s in 0..layer.keys.len() {
        let kept = layer.arcs_of(s).iter().filter(|a| renamed[a.to as usize] != u32::MAX);
        arcs.extend(kept.map(|a| Arc { to: renamed[a.to as usize], ..*a }));
        starts.push(arcs.len() as u32);
    }
    (layer.arcs, layer.starts) = (arcs, starts);
}

/// What may be done at a node in a state, and the state that follows.
fn successors(compact: &Compact<'_>, makings: &Makings, node: usize, key: &Key) -> Vec<(Act, Key)> {
    if is_computed(key, node) {
        let rest: Vec<u32> = key.iter().copied().filter(|k| *k != COMPUTED | node as u32).collect();
        return vec![(Act::Inside, rest.into())];
    }
    let mut out = Vec::new();
    for &r in &compact.ending[node] {
        let region = &compact.regions[r];
        let inner = &region.nodes[..region.nodes.len() - 1];
        // A node is computed once, and what is inside a region cannot be read elsewhere.
        let hidden =
            |v: usize| compact.values[v].node.is_some_and(|n| n != node && inner.binary_search(&n).is_ok());
        if inner.iter().any(|&n| is_computed(key, n)) || needs(key).any(|(v, _)| hidden(v)) {
            continue;
        }
        let needed = need_of(key, region.output);
        let kept: Vec<u32> = key.iter().copied().filter(|k| (k >> 8) as usize != region.output).collect();
        for (c, class) in region.classes.iter().enumerate() {
            let ways = makings.get(region.output, class.output, needed).len();
            if ways == 0 {
                continue;
            }
            let lost = |v: usize| compact.values[v].node.is_some_and(|n| is_computed(key, n));
            if class.inputs.iter().any(|&(v, _)| lost(v)) {
                continue;
            }
            let mut next = kept.clone();
            for &(v, mask) in &class.inputs {
                let at = next.iter_mut().find(|k| **k & COMPUTED == 0 && (**k >> 8) as usize == v);
                match at {
                    Some(k) => *k |= u32::from(mask),
                    None => next.push((v as u32) << 8 | u32::from(mask)),
                }
            }
            next.extend(inner.iter().map(|&n| COMPUTED | n as u32));
            next.sort_unstable();
            let next: Key = next.into();
            for way in 0..ways.min(255) as u8 {
                out.push((Act::Run { region: r as u32, class: c as u16, needed, way }, next.clone()));
            }
        }
    }
    out
}
