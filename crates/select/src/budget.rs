//! Selection under a budget of memory.
//!
//! The memory of a selection is its constants, the network's inputs and outputs, and its arena. The arena is at least the
//! largest sum of bytes alive at a step, which the graph of states knows ([`crate::weights`]); the search is for the fastest
//! path whose constants and largest sum fit. Its arena is then placed, as a plan's is. Where the placement does not reach the
//! sum and does not fit, the next best path with less memory is looked for, and the certificate names the first one's time
//! as the bound, unless both are as fast.

use std::rc::Rc;

use tactician_types::Bytes;

use crate::bounds::{Bounds, NEVER, Taken};
use crate::changes::Makings;
use crate::compact::{Compact, Cost, FORBIDDEN, time_us};
use crate::edges::Edges;
use crate::interval::fastest_path;
use crate::labels::{Quest, search};
use crate::model::{Certificate, SelectError, Selection};
use crate::solve::selection;
use crate::states::States;
use crate::weights::Weights;

/// Most labels of one state when one budget is solved.
const WIDTH: usize = 4000;

/// Most labels of one state when a whole front is made.
const FRONT_WIDTH: usize = 400;

/// Most paths that are placed for one budget.
const PLACEMENTS: usize = 64;

/// A graph with weights under one budget of scratch.
pub(crate) struct Memory<'a> {
    compact: &'a Compact<'a>,
    makings: &'a Makings,
    weights: Weights<'a>,
    edges: Rc<Edges>,
    /// What every selection takes beside its own constants and arena.
    fixed: u64,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(
        compact: &'a Compact<'a>,
        states: &'a States,
        makings: &'a Makings,
        workspace: u64,
    ) -> Memory<'a> {
        let fixed = compact.instance.bindings.saturating_add(compact.instance.constants);
        let weights = Weights::new(compact, states, makings, workspace);
        let edges = Rc::new(Edges::new(&weights));
        Memory { compact, makings, weights, edges, fixed }
    }

    fn made(&self, taken: &Taken, certificate: Certificate) -> Selection {
        let path = self.weights.path(taken.cost, &taken.arcs, taken.end, self.makings);
        selection(self.compact, self.makings, &path, certificate)
    }

    /// The fastest selection within `memory` bytes.
    pub(crate) fn fastest(&self, memory: u64) -> Result<Selection, SelectError> {
        let mut lower: Option<Cost> = None;
        let mut limit = memory.checked_sub(self.fixed);
        for _ in 0..PLACEMENTS {
            let Some(most) = limit else { break };
            let (taken, bound) = self.fastest_path(most);
            let bound = *lower.get_or_insert(bound);
            let Some(taken) = taken else { break };
            let mut s = self.made(&taken, Certificate::Optimal);
            if s.memory.total() <= memory {
                if taken.cost >> 56 > bound >> 56 {
                    s.certificate = Certificate::Gap { lower_bound_us: time_us(bound) };
                }
                return Ok(s);
            }
            limit = taken.memory().checked_sub(1);
        }
        let mut least = self.least()?;
        if least.memory.total() <= memory {
            let bound = lower.unwrap_or(0).min(FORBIDDEN - 1);
            least.certificate = Certificate::Gap { lower_bound_us: time_us(bound).min(least.predicted_us) };
            return Ok(least);
        }
        let m = least.memory;
        Err(SelectError::OverMemory {
            budget: Bytes(memory),
            least: Bytes(m.total()),
            constants: Bytes(m.constants),
            bindings: Bytes(m.bindings),
            arena: Bytes(m.arena),
            step: m.peak_step,
            tensors: m.peak_tensors,
        })
    }

    /// The fastest path whose constants and peak fit, and what none is cheaper than.
    fn fastest_path(&self, limit: u64) -> (Option<Taken>, Cost) {
        fastest_path(&self.edges, limit)
    }

    /// The selection that takes the least memory.
    pub(crate) fn least(&self) -> Result<Selection, SelectError> {
        let least = self.least_path().ok_or(SelectError::NoLayout)?;
        let mut best = self.made(&least, Certificate::Optimal);
        // Where its placement wastes bytes, another may take fewer.
        for _ in 0..PLACEMENTS {
            let limit = best.memory.total() - self.fixed;
            let Some(taken) = limit.checked_sub(1).and_then(|l| self.fastest_path(l).0) else { break };
            let mut next = Some(taken);
            let mut better = None;
            while let Some(taken) = next.take() {
                let s = self.made(&taken, Certificate::Optimal);
                if s.memory.total() < best.memory.total() {
                    better = Some(s);
                    break;
                }
                if taken.memory() > least.memory() {
                    next = self.fastest_path(taken.memory() - 1).0;
                }
            }
            match better {
                Some(s) => best = s,
                None => break,
            }
        }
        Ok(best)
    }

    /// Every trade of time for memory: ascending budgets, each with the fastest selection that fits.
    pub(crate) fn front(&self) -> Result<Vec<(u64, Selection)>, SelectError> {
        let bounds = Bounds::new(&self.edges);
        let quest = Quest {
            limit: NEVER,
            floor: 0,
            at_most: FORBIDDEN,
            width: FRONT_WIDTH,
            timed: true,
            front: true,
            complete: false,
        };
        let found = search(&self.edges, &bounds, quest);
        let placed: Vec<(u64, Cost, Selection)> = (found.paths.iter())
            .map(|t| (self.made(t, Certificate::Optimal), t.cost))
            .map(|(s, cost)| (s.memory.total(), cost, s))
            .collect();
        let mut order: Vec<usize> = (0..placed.len()).collect();
        order.sort_by_key(|&i| (placed[i].0, placed[i].1));
        let mut out: Vec<(u64, Selection)> = Vec::new();
        let mut least = Cost::MAX;
        for i in order {
            let (total, cost, s) = &placed[i];
            if cost >> 56 >= least >> 56 {
                continue;
            }
            least = *cost;
            // What the sums of live bytes alone would allow here, kept or dropped.
            let room = total - self.fixed;
            let kept = found.paths.iter().filter(|t| t.memory() <= room).map(|t| t.cost);
            let dropped = found.dropped.iter().filter(|d| d.0 <= room).map(|d| d.1);
            let bound = kept.chain(dropped).min().unwrap_or(*cost);
            let mut s = s.clone();
            if *cost >> 56 > bound >> 56 {
                s.certificate = Certificate::Gap { lower_bound_us: time_us(bound) };
            }
            out.push((*total, s));
        }
        if out.is_empty() { Err(SelectError::NoLayout) } else { Ok(out) }
    }

    /// The cheapest path among those with the least constants and peak.
    fn least_path(&self) -> Option<Taken> {
        let bounds = Bounds::new(&self.edges);
        let quest = Quest {
            limit: NEVER,
            floor: 0,
            at_most: FORBIDDEN,
            width: WIDTH,
            timed: false,
            front: false,
            complete: false,
        };
        let least = search(&self.edges, &bounds, quest).paths.into_iter().next()?;
        let (fastest, _) = self.fastest_path(least.memory());
        fastest.or(Some(least))
    }
}
