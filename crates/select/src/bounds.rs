//! What is still to come from a state at the least: time, constants, peak, and time with constants at a price.

use crate::compact::{Cost, FORBIDDEN};
use crate::edges::{Edges, priced};

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

impl Bounds {
    /// The bounds without prices.
    pub(crate) fn new(edges: &Edges) -> Bounds {
        Bounds {
            cost: edges.ahead(
                FORBIDDEN,
                |best, e| best.min(e.cost),
                |best, e, ahead| best.min((e.cost + ahead).min(FORBIDDEN)),
            ),
            constants: edges.ahead(
                NEVER,
                |best, e| best.min(e.constants),
                |best, e, ahead| best.min((e.constants + ahead).min(NEVER)),
            ),
            peak: edges.ahead(
                NEVER,
                |best, e| best.min(e.peak),
                |best, e, ahead| best.min(e.peak.max(ahead)),
            ),
            priced: Vec::new(),
        }
    }

    /// What the whole network takes at the least: cost, constants, peak.
    pub(crate) fn root(&self) -> (Cost, u64, u64) {
        fn last<T: Copy>(table: &[Vec<T>], none: T) -> T {
            table.last().and_then(|l| l.first()).copied().unwrap_or(none)
        }
        (last(&self.cost, FORBIDDEN), last(&self.constants, NEVER), last(&self.peak, NEVER))
    }

    /// Adds the bound for a price of constants.
    pub(crate) fn add_price(&mut self, edges: &Edges, price: f64) {
        self.priced.push((price, priced_ahead(edges, price)));
    }
}

/// The least time and price of constants still to come.
pub(crate) fn priced_ahead(edges: &Edges, price: f64) -> Table<f64> {
    edges.ahead(
        f64::INFINITY,
        |best: f64, e| best.min(priced(e.cost, e.constants, price)),
        |best: f64, e, ahead| best.min(e.priced(price) + ahead),
    )
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
    pub(crate) fn add(&mut self, cost: Cost, constants: u64, peak: u64) {
        self.cost += cost;
        self.constants += constants;
        self.peak = self.peak.max(peak);
    }

    /// Constants and the largest sum of live bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.constants + self.peak
    }
}
