//! Fronts: every budget at which the best selection changes.

use std::collections::BTreeMap;

use tactician_types::Layout;

use crate::changes::Makings;
use crate::compact::Compact;
use crate::model::{Budget, Choice, Instance, Reformat, SelectError, Selection};
use crate::solve::selection;
use crate::wide::{Graph, Search};

/// The best selection of a range of budgets.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontPoint {
    /// The smallest budget that has it.
    pub budget: u64,
    /// The largest budget that is known to have it. Where the next point's budget is not the next number, budgets between
    /// may have others, none of them faster than that point.
    pub until: u64,
    /// The selection.
    pub selection: Selection,
    /// What is different from the point before, the largest saving first.
    pub changes: Vec<Change>,
}

/// One difference between two selections.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The region; where fusion changed all regions concerned, as they are now; for a change of layout the value.
    pub region: String,
    /// Tactics or layouts that left; empty where there were none.
    pub from: String,
    /// Tactics or layouts that came; empty where there are none.
    pub to: String,
    /// Scratch and constants that it takes more, in bytes.
    pub bytes: i64,
    /// Predicted microseconds that it saves; negative where it costs some, for others to save more.
    pub saved_us: f64,
}

/// Every workspace at which the best selection changes, ascending: the first point has the least workspace that works.
///
/// # Errors
/// As [`select`](crate::select) without a limit.
pub fn workspace_front(instance: &Instance) -> Result<Vec<FrontPoint>, SelectError> {
    let compact = Compact::new(instance, |_| true)?;
    let scratch = |r: &Reformat| !r.view && r.workspace > 0;
    let changes_matter = instance.values.iter().flat_map(|v| v.reformat.values()).any(scratch);
    let (mut budget, mut found): (Option<u64>, Vec<(u64, Selection)>) = (Some(u64::MAX), Vec::new());
    while let Some(most) = budget {
        // Made anew only where the changes of layout or the states kept depend on the budget.
        let makings = Makings::new(&compact, most);
        let graph = Graph::new(&compact, &makings, most);
        let search = Search::new(&compact, &graph, &makings);
        while let Some(most) = budget {
            let Some((path, certificate)) = search.shortest(most) else {
                budget = None;
                break;
            };
            let s = selection(&compact, &makings, &path, certificate);
            budget = s.workspace.checked_sub(1);
            // Less scratch at no loss of time takes the place of the point above.
            if found.last().is_some_and(|(_, above)| above.predicted_us >= s.predicted_us) {
                found.pop();
            }
            found.push((s.workspace, s));
            if changes_matter || !graph.is_exact() {
                break;
            }
        }
    }
    if found.is_empty() {
        crate::select(instance, Budget::workspace(u64::MAX))?;
    }
    found.reverse();
    let next: Vec<u64> = found.iter().skip(1).map(|(b, _)| b - 1).chain([u64::MAX]).collect();
    Ok(points(instance, found.into_iter().zip(next).map(|((b, s), until)| (b, until, s))))
}

/// Points with what changed between them.
pub(crate) fn points(
    instance: &Instance,
    found: impl IntoIterator<Item = (u64, u64, Selection)>,
) -> Vec<FrontPoint> {
    let mut out: Vec<FrontPoint> = Vec::new();
    for (budget, until, selection) in found {
        let changes = out.last().map_or_else(Vec::new, |p| differences(instance, &p.selection, &selection));
        out.push(FrontPoint { budget, until, selection, changes });
    }
    out
}

/// What `new` does otherwise than `old`, the largest saving first.
pub fn differences(instance: &Instance, old: &Selection, new: &Selection) -> Vec<Change> {
    // Regions of both selections that share nodes belong together: by node, the number of its group.
    let mut group: Vec<usize> = (0..instance.nodes).collect();
    for c in old.chosen.iter().chain(&new.chosen) {
        let nodes = &instance.regions[c.region].nodes;
        let Some(&first) = nodes.first() else { continue };
        for &n in nodes {
            let (keep, gone) = (group[first], group[n]);
            group.iter_mut().filter(|g| **g == gone).for_each(|g| *g = keep);
        }
    }
    let mut groups: BTreeMap<usize, (Vec<Choice>, Vec<Choice>)> = BTreeMap::new();
    let key = |c: &Choice| instance.regions[c.region].nodes.first().map_or(0, |&n| group[n]);
    old.chosen.iter().for_each(|c| groups.entry(key(c)).or_default().0.push(*c));
    new.chosen.iter().for_each(|c| groups.entry(key(c)).or_default().1.push(*c));
    let mut changes = Vec::new();
    for (before, after) in groups.into_values().filter(|(before, after)| before != after) {
        let candidates = |list: &[Choice]| {
            list.iter().map(|c| &instance.regions[c.region].candidates[c.candidate]).collect::<Vec<_>>()
        };
        let ids =
            |list: &[Choice]| candidates(list).iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(" + ");
        let time = |list: &[Choice]| candidates(list).iter().map(|c| c.time_us).sum::<f64>();
        let bytes = |list: &[Choice]| {
            candidates(list).iter().map(|c| c.workspace as i64 + c.constants as i64).sum::<i64>()
        };
        let names: Vec<&str> = after.iter().map(|c| instance.regions[c.region].name.as_str()).collect();
        changes.push(Change {
            region: names.join(" + "),
            from: ids(&before),
            to: ids(&after),
            bytes: bytes(&after) - bytes(&before),
            saved_us: time(&before) - time(&after),
        });
    }
    for (v, value) in instance.values.iter().enumerate() {
        let (before, after) = (&old.reformats[v], &new.reformats[v]);
        if before == after {
            continue;
        }
        let of = |list: &[(Layout, Layout)]| {
            let known = list.iter().filter_map(|p| value.reformat.get(p));
            known.fold((0.0, 0), |(time, bytes), r| {
                let own = if r.view { (0.0, 0) } else { (r.time_us, r.workspace as i64) };
                (time + own.0, bytes + own.1 + r.constants as i64)
            })
        };
        let text = |list: &[(Layout, Layout)]| {
            list.iter().map(|(from, to)| format!("{from} to {to}")).collect::<Vec<_>>().join(", ")
        };
        changes.push(Change {
            region: format!("layouts of {}", value.name),
            from: text(before),
            to: text(after),
            bytes: of(after).1 - of(before).1,
            saved_us: of(before).0 - of(after).0,
        });
    }
    changes.sort_by(|a, b| b.saved_us.total_cmp(&a.saved_us).then(a.region.cmp(&b.region)));
    changes
}
