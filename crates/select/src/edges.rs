//! The ways through a graph of states that are still of interest, as plain lists.

use std::rc::Rc;

use crate::bounds::Taken;
use crate::compact::Cost;
use crate::weights::{Way, Weights};

/// One way to take one arc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) arc: u32,
    pub(crate) member: u32,
    pub(crate) cost: Cost,
    pub(crate) constants: u64,
    pub(crate) peak: u64,
}

impl Edge {
    /// Picoseconds, with constants at a price.
    pub(crate) fn priced(&self, price: f64) -> f64 {
        priced(self.cost, self.constants, price)
    }
}

/// Picoseconds, with constants at a price.
pub(crate) fn priced(cost: Cost, constants: u64, price: f64) -> f64 {
    (cost >> 56) as f64 + price * constants as f64
}

/// Edges by layer, those of one state together.
#[derive(Clone)]
pub(crate) struct Edges {
    /// Index: nodes left before the edge. Layer 0 is empty.
    pub(crate) layers: Vec<Vec<Edge>>,
    /// States of each layer.
    pub(crate) states: Vec<usize>,
    /// What is added at each state of layer 0.
    pub(crate) ends: Rc<Vec<Vec<Way>>>,
}

impl Edges {
    /// All ways, but for those that another between the same states beats.
    pub(crate) fn new(w: &Weights<'_>) -> Edges {
        let mut layers = vec![Vec::new()];
        for left in 1..w.states.layers.len() {
            let layer = &w.states.layers[left];
            let mut list = Vec::new();
            for s in 0..layer.keys.len() {
                let mut own: Vec<Edge> = Vec::new();
                for arc in layer.starts[s] as usize..layer.starts[s + 1] as usize {
                    let to = layer.arcs[arc].to;
                    own.extend(w.ways(left, arc).map(|way| Edge {
                        from: s as u32,
                        to,
                        arc: arc as u32,
                        member: way.member as u32,
                        cost: way.cost,
                        constants: way.constants,
                        peak: way.peak,
                    }));
                }
                own.sort_by_key(|e| (e.to, e.cost, e.constants, e.peak, e.arc, e.member));
                let mut first = list.len();
                for e in own {
                    if list.get(first).is_some_and(|f: &Edge| f.to != e.to) {
                        first = list.len();
                    }
                    if !list[first..].iter().any(|k| k.constants <= e.constants && k.peak <= e.peak) {
                        list.push(e);
                    }
                }
            }
            layers.push(list);
        }
        let states = w.states.layers.iter().map(|l| l.keys.len()).collect();
        Edges { layers, states, ends: Rc::new(w.ends.clone()) }
    }

    /// Every peak that a path may have, ascending.
    pub(crate) fn peaks(&self) -> Vec<u64> {
        let edges = self.layers.iter().flatten().map(|e| e.peak);
        let mut peaks: Vec<u64> = edges.chain(self.ends.iter().flatten().map(|e| e.peak)).collect();
        peaks.sort_unstable();
        peaks.dedup();
        peaks
    }

    /// A table by layer and state of the least that is still to come.
    pub(crate) fn ahead<T: Copy>(
        &self,
        none: T,
        end: impl Fn(T, &Way) -> T,
        fold: impl Fn(T, &Edge, T) -> T,
    ) -> Vec<Vec<T>> {
        let mut table: Vec<Vec<T>> = vec![self.ends.iter().map(|e| e.iter().fold(none, &end)).collect()];
        for (left, layer) in self.layers.iter().enumerate().skip(1) {
            let mut own = vec![none; self.states[left]];
            let next = &table[left - 1];
            for e in layer {
                own[e.from as usize] = fold(own[e.from as usize], e, next[e.to as usize]);
            }
            table.push(own);
        }
        table
    }

    /// The best path when constants have a price in picoseconds a byte.
    pub(crate) fn priced_path(&self, price: f64, cap: u64) -> Option<Taken> {
        let end = |ends: &[Way]| {
            let fitting = ends.iter().enumerate().filter(|(_, e)| e.peak <= cap);
            let sums = fitting.map(|(i, e)| (priced(e.cost, e.constants, price), i));
            sums.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let mut ahead: Vec<f64> = self.ends.iter().map(|e| end(e).map_or(f64::INFINITY, |e| e.0)).collect();
        let mut best: Vec<Vec<u32>> = vec![Vec::new()];
        for (left, layer) in self.layers.iter().enumerate().skip(1) {
            let mut own = vec![f64::INFINITY; self.states[left]];
            let mut chosen = vec![u32::MAX; self.states[left]];
            for (i, e) in layer.iter().enumerate().filter(|(_, e)| e.peak <= cap) {
                let sum = e.priced(price) + ahead[e.to as usize];
                if sum < own[e.from as usize] {
                    own[e.from as usize] = sum;
                    chosen[e.from as usize] = i as u32;
                }
            }
            ahead = own;
            best.push(chosen);
        }
        if !ahead.first()?.is_finite() {
            return None;
        }
        let (mut taken, mut state) = (Taken::default(), 0usize);
        for left in (1..self.layers.len()).rev() {
            let e = self.layers[left].get(best[left][state] as usize)?;
            taken.add(e.cost, e.constants, e.peak);
            taken.arcs.push((e.arc as usize, e.member as usize));
            state = e.to as usize;
        }
        taken.end = end(&self.ends[state])?.1;
        let last = self.ends[state][taken.end];
        taken.add(last.cost, last.constants, last.peak);
        Some(taken)
    }

    /// Those with a peak of at most `cap` on some path whose time and priced constants come to no more than `most`.
    pub(crate) fn within(&self, price: f64, ahead: &[Vec<f64>], cap: u64, most: f64) -> Edges {
        let mut layers = vec![Vec::new(); self.layers.len()];
        let top = self.layers.len() - 1;
        let mut behind: Vec<f64> = vec![0.0; self.states[top]];
        for left in (1..=top).rev() {
            let mut next = vec![f64::INFINITY; self.states[left - 1]];
            for e in self.layers[left].iter().filter(|e| e.peak <= cap) {
                let sum = behind[e.from as usize] + e.priced(price);
                if sum + ahead[left - 1][e.to as usize] <= most {
                    let slot = &mut next[e.to as usize];
                    *slot = slot.min(sum);
                    layers[left].push(*e);
                }
            }
            behind = next;
        }
        Edges { layers, states: self.states.clone(), ends: self.ends.clone() }
    }
}
