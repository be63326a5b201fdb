//! The graph of states with what its arcs take: time, constants, and bytes alive while they run.

use crate::changes::{Making, Makings};
use crate::compact::cost;
use crate::compact::{Compact, Cost, FORBIDDEN};
use crate::live::Live;
use crate::solve::{Path, Pick};
use crate::states::{Act, Arc, States, needs};

/// One way to take an arc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) cost: Cost,
    pub(crate) constants: u64,
    /// Most bytes alive at any of its steps.
    pub(crate) peak: u64,
    pub(crate) member: usize,
}

/// A member of a class, scratch as placed.
#[derive(Clone, Copy)]
struct Offer {
    cost: Cost,
    constants: u64,
    scratch: u64,
    member: usize,
}

/// What an arc takes beside its member.
#[derive(Clone, Copy, Default)]
struct Base {
    cost: Cost,
    constants: u64,
    /// Bytes alive at the region's step without scratch.
    run: u64,
    /// Most bytes alive at its changes of layout.
    changes: u64,
}

/// The graph with weights.
pub(crate) struct Weights<'a> {
    pub(crate) states: &'a States,
    given: Vec<Option<usize>>,
    offers: Vec<Vec<Vec<Offer>>>,
    /// Parallel to the arcs of each layer.
    bases: Vec<Vec<Base>>,
    /// What the changes of given values take, by state of layer 0: all ways of making them, the member telling which.
    pub(crate) ends: Vec<Vec<Way>>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        compact: &Compact<'_>,
        states: &'a States,
        makings: &Makings,
        workspace: u64,
    ) -> Weights<'a> {
        let live = Live::new(compact);
        let offers = compact.regions.iter().map(|r| {
            let of_class = |c: &crate::compact::Class| {
                let fits = c.members.iter().enumerate().filter(|(_, m)| m.workspace <= workspace);
                let offer = |(member, m): (usize, &crate::compact::Member)| Offer {
                    cost: cost(m.time, m.workspace),
                    constants: m.constants,
                    scratch: live.round(m.workspace),
                    member,
                };
                fits.map(offer).collect()
            };
            r.classes.iter().map(of_class).collect()
        });
        let offers = offers.collect();
        let mut bases = vec![Vec::new()];
        for left in 1..states.layers.len() {
            let (layer, next) = (&states.layers[left], &states.layers[left - 1]);
            let after: Vec<u64> = next.keys.iter().map(|k| live.of(k, None)).collect();
            let mut list = Vec::with_capacity(layer.arcs.len());
            for (s, key) in layer.keys.iter().enumerate() {
                let mut others = None;
                for arc in layer.arcs_of(s) {
                    list.push(base(compact, makings, &live, key, arc, after[arc.to as usize], &mut others));
                }
            }
            bases.push(list);
        }
        let ends = states.layers[0].keys.iter().map(|k| end(compact, makings, &live, k)).collect();
        let given = compact.values.iter().map(|v| v.given).collect();
        Weights { states, given, offers, bases, ends }
    }

    /// The ways to take arc `arc` of a layer.
    pub(crate) fn ways(&self, layer: usize, arc: usize) -> impl Iterator<Item = Way> + '_ {
        const INSIDE: &[Offer] = &[Offer { cost: 0, constants: 0, scratch: 0, member: 0 }];
        let base = self.bases[layer][arc];
        let list = match self.states.layers[layer].arcs[arc].act {
            Act::Inside => INSIDE,
            Act::Run { region, class, .. } => &self.offers[region as usize][usize::from(class)],
        };
        list.iter().map(move |o| Way {
            cost: base.cost + o.cost,
            constants: base.constants + o.constants,
            peak: base.changes.max(base.run + o.scratch),
            member: o.member,
        })
    }

    /// A path from the arcs taken and their members, from the first state on, and the number of its end.
    pub(crate) fn path(&self, cost: Cost, arcs: &[(usize, usize)], end: usize, makings: &Makings) -> Path {
        let mut path = Path { cost, ..Path::default() };
        let mut state = 0;
        for (left, &(arc, member)) in (1..self.states.layers.len()).rev().zip(arcs) {
            let arc = self.states.layers[left].arcs[arc];
            if let Act::Run { region, class, needed, way } = arc.act {
                let (region, class, way) = (region as usize, usize::from(class), usize::from(way));
                path.picks.push(Pick { region, class, member, needed, way });
            }
            state = arc.to as usize;
        }
        path.picks.reverse();
        let mut number = end;
        for (v, mask) in needs(&self.states.layers[0].keys[state]) {
            let ways = self.given[v].map_or(1, |given| makings.get(v, given, mask).len().max(1));
            path.given.push((v, mask, number % ways));
            number /= ways;
        }
        path
    }
}

fn base(
    compact: &Compact<'_>,
    makings: &Makings,
    live: &Live,
    key: &[u32],
    arc: &Arc,
    after: u64,
    others: &mut Option<(usize, u64)>,
) -> Base {
    let Act::Run { region, class, needed, way } = arc.act else { return Base::default() };
    let region = &compact.regions[region as usize];
    let class = &region.classes[usize::from(class)];
    let v = region.output;
    let Some(making) = makings.get(v, class.output, needed).get(usize::from(way)) else {
        return Base { cost: FORBIDDEN, ..Base::default() };
    };
    let shares = class.view_of.is_some_and(|x| live.holds(key, v, x));
    let own = live.changes_peak(compact, v, class.output, needed, making, shares);
    let rest = match *others {
        Some((of, rest)) if of == v => rest,
        _ => others.insert((v, live.of(key, Some(v)))).1,
    };
    Base {
        cost: making.cost,
        constants: making.constants,
        // A view runs nothing.
        run: if class.view_of.is_some() { 0 } else { after + live.bytes(v, class.output) },
        changes: own.map_or(0, |own| rest + own),
    }
}

/// The changes of given values, one after the other before anything else: every combination of ways.
fn end(compact: &Compact<'_>, makings: &Makings, live: &Live, key: &[u32]) -> Vec<Way> {
    let mut ends = vec![Way { cost: 0, constants: 0, peak: 0, member: 0 }];
    let (mut before, mut combinations): (Vec<u32>, usize) = (Vec::new(), 1);
    for (v, mask) in needs(key) {
        let Some(given) = compact.values[v].given else { return Vec::new() };
        let alive = live.of(&before, None);
        let ways = makings.get(v, given, mask);
        let with = |(number, making): (usize, &Making)| {
            let own = live.changes_peak(compact, v, given, mask, making, false).map_or(0, |own| alive + own);
            ends.iter()
                .map(|e| Way {
                    cost: e.cost + making.cost,
                    constants: e.constants + making.constants,
                    peak: e.peak.max(own),
                    member: e.member + number * combinations,
                })
                .collect::<Vec<Way>>()
        };
        ends = ways.iter().enumerate().take(MAX_ENDS / ends.len().max(1)).flat_map(with).collect();
        combinations *= ways.len();
        before.push((v as u32) << 8 | u32::from(mask));
    }
    ends
}

/// Most combinations of ways at the end of a path; more than one only where changes of layout take scratch.
const MAX_ENDS: usize = 256;
