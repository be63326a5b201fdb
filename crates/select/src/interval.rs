//! The fastest path within a limit of constants and peak together.
//!
//! The peak of a path is one of finitely many. Branch and bound over ranges of peaks: with the peak between `a` and `b`,
//! ways above `b` are out and at most `limit - a` bytes are left for constants, which is one resource with one limit. The
//! Lagrangian relaxation of it bounds the range from below, and the paths met on the way are solutions. A range that may hold
//! something better is searched by labels; where these are too many it is halved.

use std::rc::Rc;

use crate::bounds::{Bounds, NEVER, Taken, priced_ahead};
use crate::compact::{Cost, FORBIDDEN};
use crate::edges::Edges;
use crate::labels::{Quest, search};

/// Most labels of a state in a range that can still be halved.
const NARROW: usize = 150;

/// Most edges of a range that is searched although it can still be halved.
const FEW: usize = 40_000;

/// Most labels of a state where the range holds one peak.
const WIDE: usize = 2000;

/// Most ranges that are searched at full width.
const MOST_WIDE: usize = 8;

/// Steps of the search for the best price.
const STEPS: usize = 10;

/// A range of peaks, by index, and the least time that its Lagrangian bound allows, in picoseconds.
#[derive(Clone)]
struct Range {
    from: usize,
    to: usize,
    bound: f64,
    /// The edges that a better path in the range can have.
    edges: Rc<Edges>,
}

struct Tree {
    limit: u64,
    peaks: Vec<u64>,
    best: Option<Taken>,
}

/// The fastest path that fits, the one with less memory among equals, and what none is cheaper than. `known` paths that fit
/// are solutions to start from.
pub(crate) fn fastest_path(edges: &Rc<Edges>, limit: u64, known: &[Taken]) -> (Option<Taken>, Cost) {
    let (cost, constants, peak) = Bounds::new(edges).root();
    if cost >= FORBIDDEN || constants >= NEVER || constants.saturating_add(peak) > limit {
        return (None, FORBIDDEN);
    }
    let mut peaks = edges.peaks();
    peaks.retain(|&p| peak <= p && p <= limit - constants);
    let mut tree = Tree { limit, peaks, best: None };
    known.iter().for_each(|t| tree.offer(t.clone()));
    let mut open = vec![Range { from: 0, to: tree.peaks.len() - 1, bound: 0.0, edges: edges.clone() }];
    let (mut dropped, mut wide) = (FORBIDDEN, 0);
    // The most promising range first; ties to smaller peaks.
    while let Some(at) = (0..open.len()).min_by(|&a, &b| open[a].bound.total_cmp(&open[b].bound)) {
        let mut range = open.remove(at);
        if range.bound > tree.worst() {
            continue;
        }
        let prices = tree.bound(&mut range);
        if range.bound > tree.worst() {
            continue;
        }
        let single = range.from == range.to;
        let width = if single && wide < MOST_WIDE { WIDE } else { NARROW };
        wide += usize::from(width == WIDE);
        let missed = tree.search(&mut range, &prices, width);
        if missed < FORBIDDEN {
            if single {
                dropped = dropped.min(missed);
            } else {
                let middle = usize::midpoint(range.from, range.to);
                open.push(Range { to: middle, ..range.clone() });
                open.push(Range { from: middle + 1, ..range });
            }
        }
    }
    let bound = tree.best.as_ref().map_or(FORBIDDEN, |b| b.cost).min(dropped);
    (tree.best, bound)
}

impl Tree {
    /// The time that a path must not exceed to be of interest, in picoseconds, with room for rounding.
    fn worst(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |b| (b.cost >> 56) as f64 * (1.0 + 1e-9) + 2.0)
    }

    fn offer(&mut self, taken: Taken) {
        let better = |b: &Taken| (taken.cost, taken.memory()) < (b.cost, b.memory());
        if taken.memory() <= self.limit && self.best.as_ref().is_none_or(better) {
            self.best = Some(taken);
        }
    }

    /// Raises the bound of a range; returns prices that bound it well.
    fn bound(&mut self, range: &mut Range) -> Vec<f64> {
        let cap = self.peaks[range.to];
        let room = (self.limit - self.peaks[range.from]) as f64;
        let Some(free) = range.edges.priced_path(0.0, cap) else {
            range.bound = f64::INFINITY;
            return Vec::new();
        };
        let time = |t: &Taken| (t.cost >> 56) as f64;
        range.bound = range.bound.max(time(&free));
        let over = free.constants as f64 - room;
        let start = time(&free) / free.constants.max(1) as f64;
        self.offer(free);
        if over <= 0.0 {
            return Vec::new();
        }
        let (mut low, mut high, mut closed) = (0.0, start.max(1e-6), false);
        let mut price = high;
        for _ in 0..STEPS * 3 {
            let Some(t) = range.edges.priced_path(price, cap) else { break };
            let bound = time(&t) + price * (t.constants as f64 - room);
            range.bound = range.bound.max(bound * (1.0 - 1e-9));
            let fits = t.constants as f64 <= room;
            self.offer(t);
            if range.bound > self.worst() {
                return Vec::new();
            }
            if fits {
                (high, closed) = (price, true);
            } else {
                low = price;
                if !closed {
                    high = 4.0 * price;
                }
            }
            if closed && high - low < high * 0.02 {
                break;
            }
            price = match (closed, low > 0.0) {
                (true, true) => (low * high).sqrt(),
                (true, false) => high / 16.0,
                (false, _) => high,
            };
        }
        if low > 0.0 { vec![low, high] } else { vec![high] }
    }

    /// Searches a range by labels; the least that something dropped could have cost. A range that can still be halved is given
    /// up as soon as it proves hard.
    fn search(&mut self, range: &mut Range, prices: &[f64], width: usize) -> Cost {
        let (floor, cap) = (self.peaks[range.from], self.peaks[range.to]);
        let room = (self.limit - floor) as f64;
        for &price in prices.iter().chain(prices.is_empty().then_some(&0.0)) {
            let ahead = priced_ahead(&range.edges, price);
            let most = self.worst() + price * room;
            range.edges = Rc::new(range.edges.within(price, &ahead, cap, most + most.abs() * 1e-9));
        }
        let whole = range.from < range.to;
        if whole && range.edges.layers.iter().map(Vec::len).sum::<usize>() > FEW {
            return 0;
        }
        let mut bounds = Bounds::new(&range.edges);
        for &price in prices {
            bounds.add_price(&range.edges, price);
        }
        let at_most = self.best.as_ref().map_or(FORBIDDEN, |b| b.cost);
        let quest =
            Quest { limit: self.limit, floor, at_most, width, timed: true, front: false, complete: whole };
        let found = search(&range.edges, &bounds, quest);
        found.paths.into_iter().for_each(|t| self.offer(t));
        found.dropped.iter().map(|d| d.1).min().unwrap_or(FORBIDDEN)
    }
}
