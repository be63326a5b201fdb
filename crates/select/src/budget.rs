//! Selection under a budget of memory.
//!
//! The memory of a selection is its constants, the network's inputs and outputs, and its arena. The arena is at least the
//! largest sum of bytes alive at a step, which the graph of states knows ([`crate::weights`]); the search is for the fastest
//! path whose constants and largest sum fit. Its arena is then placed, as a plan's is. Where the placement does not reach the
//! sum and does not fit, the next best path with less memory is looked for, and the certificate names the first one's time
//! as the bound, unless both are as fast.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bounds::{Bounds, NEVER, Taken};
use crate::changes::Makings;
use crate::compact::{Compact, Cost, FORBIDDEN, time_us};
use crate::edges::Edges;
use crate::interval::fastest_path;
use crate::labels::{Quest, search};
use crate::model::{Certificate, Selection};
use crate::solve::selection;
use crate::states::States;
use crate::weights::Weights;

/// Most labels of one state when one budget is solved.
const WIDTH: usize = 4000;

/// Most paths that are placed for one budget.
const PLACEMENTS: usize = 64;

/// The selection that takes the least memory.
pub(crate) struct Least {
    pub(crate) selection: Selection,
    /// Whether none can take less.
    pub(crate) proven: bool,
}

/// A graph with weights under one budget of scratch.
pub(crate) struct Memory<'a> {
    compact: &'a Compact<'a>,
    makings: &'a Makings,
    weights: Weights<'a>,
    pub(crate) edges: Rc<Edges>,
    /// What every selection takes beside its own constants and arena.
    pub(crate) fixed: u64,
    /// Paths met, which later budgets may start from.
    known: RefCell<Vec<Taken>>,
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
        Memory { compact, makings, weights, edges, fixed, known: RefCell::new(Vec::new()) }
    }

    pub(crate) fn made(&self, taken: &Taken, certificate: Certificate) -> Selection {
        let path = self.weights.path(taken.cost, &taken.arcs, taken.end, self.makings);
        selection(self.compact, self.makings, &path, certificate)
    }

    /// The fastest selection within `memory` bytes; the one that takes least, where that is too much.
    pub(crate) fn fastest(&self, memory: u64) -> Result<Selection, Option<Box<Least>>> {
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
        let found = self.least().ok_or(None)?;
        if found.selection.memory.total() > memory {
            return Err(Some(Box::new(found)));
        }
        let mut least = found.selection;
        let bound = lower.unwrap_or(0).min(FORBIDDEN - 1);
        least.certificate = Certificate::Gap { lower_bound_us: time_us(bound).min(least.predicted_us) };
        Ok(least)
    }

    /// The fastest path whose constants and peak fit, and what none is cheaper than.
    fn fastest_path(&self, limit: u64) -> (Option<Taken>, Cost) {
        let found = fastest_path(&self.edges, limit, &self.known.borrow());
        self.known.borrow_mut().extend(found.0.clone());
        found
    }

    /// The selection that takes the least memory.
    pub(crate) fn least(&self) -> Option<Least> {
        let least = self.least_path()?;
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
        let proven = best.memory.total() - self.fixed == least.memory();
        Some(Least { selection: best, proven })
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
