//! What is still to come from a state at the least: time, constants, peak, and time with constants at a price.

use crate::compact::{Cost, FORBIDDEN};
use crate::weights::{Way, Weights};

/// A table by layer and state.
type Table<T> = Vec<Vec<T>>;

/// Lower bounds on the rest of a path.
pub(crate) struct Bounds {
    pub(crate) cost: Table<Cost>,
    pub(crate) constants: Table<u64>,
    /// The least that the largest peak of the rest can be.
    pub(crate) peak: Table<u64>,
    /// For each price of a byte, in picoseconds, the least time and price of constants together.
    pub(crate) priced: Vec<(f64, Table<f64>)>,
}

/// Unreachable.
pub(crate) const NEVER: u64 = u64::MAX / 4;

/// Fills a table from the last layer on: `fold` takes a way and what follows it.
fn fill<T: Copy>(
    w: &Weights<'_>,
    none: T,
    end: impl Fn(T, Way) -> T,
    fold: impl Fn(T, Way, T) -> T,
) -> Table<T> {
    let mut table: Table<T> =
        vec![w.ends.iter().map(|e| e.iter().fold(none, |best, &way| end(best, way))).collect()];
    for left in 1..w.states.layers.len() {
        let layer = &w.states.layers[left];
        let next = &table[left - 1];
        let of_state = |s: usize| {
            let arcs = layer.starts[s] as usize..layer.starts[s + 1] as usize;
            arcs.fold(none, |best, arc| {
                let ahead = next[layer.arcs[arc].to as usize];
                w.ways(left, arc).fold(best, |best, way| fold(best, way, ahead))
            })
        };
        table.push((0..layer.keys.len()).map(of_state).collect());
    }
    table
}

impl Bounds {
    /// The bounds without prices, over ways with a peak of at most `peak`.
    pub(crate) fn new(w: &Weights<'_>, peak: u64) -> Bounds {
        let cost = fill(
            w,
            FORBIDDEN,
            |best, e| best.min(e.cost),
            |best, way, ahead| {
                if way.peak > peak || ahead >= FORBIDDEN { best } else { best.min(way.cost + ahead) }
            },
        );
        let constants = fill(
            w,
            NEVER,
            |best, e| best.min(e.constants),
            |best, way, ahead| {
                if way.peak > peak || ahead >= NEVER { best } else { best.min(way.constants + ahead) }
            },
        );
        let peaks =
            fill(w, NEVER, |best, e| best.min(e.peak), |best, way, ahead| best.min(way.peak.max(ahead)));
        Bounds { cost, constants, peak: peaks, priced: Vec::new() }
    }

    /// What the whole network takes at the least: cost, constants, peak.
    pub(crate) fn root(&self) -> (Cost, u64, u64) {
        fn last<T: Copy>(table: &[Vec<T>], none: T) -> T {
            table.last().and_then(|l| l.first()).copied().unwrap_or(none)
        }
        (last(&self.cost, FORBIDDEN), last(&self.constants, NEVER), last(&self.peak, NEVER))
    }

    /// Adds the bound for a price of constants.
    pub(crate) fn add_price(&mut self, w: &Weights<'_>, price: f64, peak: u64) {
        let own = |way: &Way| (way.cost >> 56) as f64 + price * way.constants as f64;
        let table = fill(
            w,
            f64::INFINITY,
            |best: f64, e| best.min(own(&e)),
            |best: f64, way, ahead| {
                if way.peak > peak { best } else { best.min(own(&way) + ahead) }
            },
        );
        self.priced.push((price, table));
    }
}

/// The best path when constants have a price in picoseconds a byte and no way may have a larger peak: the arc and member
/// taken in each layer from the first state, its cost, constants and peak.
pub(crate) fn priced_path(w: &Weights<'_>, price: f64, peak: u64) -> Option<Taken> {
    let own = |way: &Way| (way.cost >> 56) as f64 + price * way.constants as f64;
    let fits = |ends: &[Way]| {
        let fitting = ends.iter().enumerate().filter(|(_, e)| e.peak <= peak);
        fitting.map(|(i, e)| (own(e), i)).min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let mut ahead: Vec<f64> = w.ends.iter().map(|e| fits(e).map_or(f64::INFINITY, |e| e.0)).collect();
    let mut best: Vec<Vec<(u32, u32)>> = vec![Vec::new()];
    for left in 1..w.states.layers.len() {
        let layer = &w.states.layers[left];
        let of_state = |s: usize| {
            let mut found = (f64::INFINITY, (u32::MAX, 0));
            for arc in layer.starts[s] as usize..layer.starts[s + 1] as usize {
                let rest = ahead[layer.arcs[arc].to as usize];
                if rest < found.0 {
                    for way in w.ways(left, arc).filter(|way| way.peak <= peak) {
                        let sum = own(&way) + rest;
                        if sum < found.0 {
                            found = (sum, (arc as u32, way.member as u32));
                        }
                    }
                }
            }
            found
        };
        let (sums, ways): (Vec<f64>, Vec<(u32, u32)>) = (0..layer.keys.len()).map(of_state).unzip();
        ahead = sums;
        best.push(ways);
    }
    if !ahead.first()?.is_finite() {
        return None;
    }
    let mut taken = Taken::default();
    let mut state = 0;
    for left in (1..w.states.layers.len()).rev() {
        let (arc, member) = best[left][state];
        let way = w.ways(left, arc as usize).find(|way| way.member == member as usize)?;
        taken.add(way);
        taken.arcs.push((arc as usize, member as usize));
        state = w.states.layers[left].arcs[arc as usize].to as usize;
    }
    let end = fits(&w.ends[state])?.1;
    taken.add(w.ends[state][end]);
    taken.end = end;
    Some(taken)
}

/// A path by its arcs and members, from the first state on, and what it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) arcs: Vec<(usize, usize)>,
    /// Which of the last state's ends.
    pub(crate) end: usize,
    pub(crate) cost: Cost,
    pub(crate) constants: u64,
    pub(crate) peak: u64,
}

impl Taken {
    fn add(&mut self, way: Way) {
        self.cost += way.cost;
        self.constants += way.constants;
        self.peak = self.peak.max(way.peak);
    }

    /// Constants and the largest sum of live bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.constants + self.peak
    }
}
