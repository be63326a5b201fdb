//! The cheapest changes of layout that make a value available in a set of layouts.

use tactician_types::Layout;

use crate::compact::{Compact, Cost, Mask, Value, cost, picoseconds};
use crate::model::{Reformat, ValueChoices};

/// Changes from one layout to others, in the order they are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Making {
    pub(crate) cost: Cost,
    /// By index into the value's layouts.
    pub(crate) changes: Vec<(usize, usize)>,
    /// Bytes of code.
    pub(crate) constants: u64,
}

/// For each value and layout that it may first be there in, the ways to each set of layouts: the cheapest, then those that
/// are the cheapest with less scratch.
pub(crate) struct Makings(Vec<Vec<Vec<Vec<Making>>>>);

impl Makings {
    /// All ways with no scratch above `workspace`.
    pub(crate) fn new(compact: &Compact<'_>, workspace: u64) -> Makings {
        let of_value = |(choices, value): (&ValueChoices, &Value)| {
            let mut limits: Vec<u64> = choices.reformat.values().map(scratch).chain([0]).collect();
            limits.retain(|&l| l <= workspace);
            limits.sort_unstable();
            limits.dedup();
            let of_source = |from: usize| {
                let mut ways: Vec<Vec<Making>> = vec![Vec::new(); 1 << value.layouts.len()];
                for &limit in limits.iter().rev() {
                    for (list, way) in ways.iter_mut().zip(cheapest(choices, &value.layouts, from, limit)) {
                        list.extend(way.filter(|w| !list.contains(w)));
                    }
                }
                ways
            };
            (0..value.layouts.len()).map(of_source).collect()
        };
        Makings(compact.instance.values.iter().zip(&compact.values).map(of_value).collect())
    }

    /// The ways to have at least the layouts of `wanted` of a value that is first there as `from`; none when it cannot be.
    pub(crate) fn get(&self, value: usize, from: usize, wanted: Mask) -> &[Making] {
        &self.0[value][from][usize::from(wanted)]
    }
}

/// By set: a shortest path over the sets of layouts that are there, one change at a time, then the best superset.
/// Ties go to fewer changes, then to lower layouts.
fn cheapest(choices: &ValueChoices, layouts: &[Layout], from: usize, workspace: u64) -> Vec<Option<Making>> {
    let sets = 1usize << layouts.len();
    let better = |new: &Making, old: &Option<Making>| {
        old.as_ref().is_none_or(|o| {
            (new.cost, new.changes.len(), &new.changes) < (o.cost, o.changes.len(), &o.changes)
        })
    };
    let mut exact: Vec<Option<Making>> = vec![None; sets];
    exact[1 << from] = Some(Making::default());
    for set in 0..sets {
        let Some(base) = exact[set].clone() else { continue };
        for to in (0..layouts.len()).filter(|to| set >> to & 1 == 0) {
            for f in (0..layouts.len()).filter(|f| set >> f & 1 == 1) {
                let Some(r) = choices.reformat.get(&(layouts[f], layouts[to])) else { continue };
                if scratch(r) > workspace {
                    continue;
                }
                let mut next = base.clone();
                next.cost += if r.view { 0 } else { cost(picoseconds(r.time_us), r.workspace) };
                next.constants += r.constants;
                next.changes.push((f, to));
                if better(&next, &exact[set | 1 << to]) {
                    exact[set | 1 << to] = Some(next);
                }
            }
        }
    }
    let mut best = vec![None; sets];
    for wanted in 0..sets {
        for set in (0..sets).filter(|set| set & wanted == wanted) {
            if let Some(m) = exact[set].as_ref().filter(|m| better(m, &best[wanted])) {
                best[wanted] = Some(m.clone());
            }
        }
    }
    best
}

/// Scratch that a change of layout takes.
pub(crate) fn scratch(r: &Reformat) -> u64 {
    if r.view { 0 } else { r.workspace }
}
