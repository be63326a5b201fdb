//! The graph of states of an instance under a budget of scratch, exact where it is small enough.
//!
//! Where many values with layouts of their own live side by side there are too many states. Then selections come from the
//! states of each layer that were reached at the least cost, and the bound from a graph that forgets what it cannot keep in
//! mind (state-space relaxation; Christofides, Mingozzi and Toth, 1981).

use crate::changes::Makings;
use crate::compact::{Compact, time_us};
use crate::model::Certificate;
use crate::solve::{Path, Steps, prices};
use crate::states::{Limit, States};

/// Most arcs of a graph.
const ARCS: usize = 2_000_000;

/// States of one.
pub(crate) struct Graph {
    pub(crate) states: States,
    /// What bounds selections from below, where `states` misses some.
    relaxed: Option<States>,
}

impl Graph {
    pub(crate) fn new(compact: &Compact<'_>, makings: &Makings, workspace: u64) -> Graph {
        Graph::within(compact, makings, workspace, ARCS)
    }

    /// The graph with at most about so many arcs.
    pub(crate) fn within(compact: &Compact<'_>, makings: &Makings, workspace: u64, arcs: usize) -> Graph {
        let prices = prices(compact, workspace);
        let make = |limit| States::new(compact, makings, &prices, limit);
        if let Some(states) = make(Limit::Arcs(arcs)) {
            return Graph { states, relaxed: None };
        }
        let width = (arcs / compact.instance.nodes.max(1) / 40).clamp(40, 2000);
        let states = make(Limit::States(width)).unwrap_or_default();
        let relaxed = [8, 5, 4, 3, 2, 1, 0].iter().find_map(|&n| make(Limit::Needs(n, arcs)));
        Graph { states, relaxed: Some(relaxed.unwrap_or_default()) }
    }

    /// Whether all selections are among its paths.
    pub(crate) fn is_exact(&self) -> bool {
        self.relaxed.is_none()
    }
}

/// A graph made ready for searches.
pub(crate) struct Search<'a> {
    steps: Steps<'a>,
    relaxed: Option<Steps<'a>>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(compact: &'a Compact<'a>, graph: &'a Graph, makings: &Makings) -> Search<'a> {
        let relaxed = graph.relaxed.as_ref().map(|r| Steps::new(compact, r, makings));
        Search { steps: Steps::new(compact, &graph.states, makings), relaxed }
    }

    /// The cheapest path that is known within a budget of scratch, and how sure it is.
    pub(crate) fn shortest(&self, workspace: u64) -> Option<(Path, Certificate)> {
        let path = self.steps.shortest(workspace)?;
        let certificate = match self.bound_us(workspace) {
            Some(bound) if bound < time_us(path.cost) => Certificate::Gap { lower_bound_us: bound },
            _ => Certificate::Optimal,
        };
        Some((path, certificate))
    }

    /// What no selection is faster than, where the graph is not exact.
    pub(crate) fn bound_us(&self, workspace: u64) -> Option<f64> {
        let relaxed = self.relaxed.as_ref()?;
        Some(relaxed.shortest(workspace).map_or(0.0, |p| time_us(p.cost)))
    }
}
