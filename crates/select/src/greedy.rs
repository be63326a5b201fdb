//! The local choice: what exact selection is compared with.

use crate::changes::Makings;
use crate::compact::{Compact, Mask, cost};
use crate::explain;
use crate::model::{Budget, Certificate, Instance, SelectError, Selection};
use crate::solve::{Path, Pick, given_cost, selection};

/// Takes for every node, in execution order, the largest region that still fits in, its fastest candidate within the
/// workspace, and whatever changes of layout these then need. Keeps no budget of memory.
///
/// # Errors
/// When that leads nowhere: a node is left over, or a change of layout is missing.
pub fn greedy(instance: &Instance, budget: Budget) -> Result<Selection, SelectError> {
    let compact = Compact::new(instance, |_| true)?;
    let makings = Makings::new(&compact, budget.workspace);
    let mut covered = vec![false; instance.nodes];
    let mut picks: Vec<Pick> = Vec::new();
    for node in 0..instance.nodes {
        if covered[node] {
            continue;
        }
        let mut best: Option<(usize, Pick)> = None;
        for (r, region) in compact.regions.iter().enumerate() {
            let fits = region.nodes.first() == Some(&node) && region.nodes.iter().all(|&n| !covered[n]);
            if !fits || best.as_ref().is_some_and(|(size, _)| *size >= region.nodes.len()) {
                continue;
            }
            let fitting = region.classes.iter().enumerate().flat_map(|(c, class)| {
                class.members.iter().enumerate().map(move |(m, member)| (c, m, member))
            });
            let fastest = fitting
                .filter(|(_, _, m)| m.workspace <= budget.workspace)
                .min_by_key(|(_, _, m)| cost(m.time, m.workspace));
            if let Some((class, member, _)) = fastest {
                best = Some((region.nodes.len(), Pick { region: r, class, member, needed: 0, way: 0 }));
            }
        }
        let Some((_, pick)) = best else { return Err(explain::over_workspace(&compact, budget.workspace)) };
        compact.regions[pick.region].nodes.iter().for_each(|&n| covered[n] = true);
        picks.push(pick);
    }
    picks.sort_by_key(|p| compact.regions[p.region].nodes.last().copied());
    let mut needed: Vec<Mask> = compact.values.iter().map(|v| v.wanted).collect();
    let class = |p: &Pick| &compact.regions[p.region].classes[p.class];
    picks.iter().flat_map(|p| &class(p).inputs).for_each(|&(v, mask)| needed[v] |= mask);
    let mut total = 0;
    let mut made = vec![false; needed.len()];
    for p in &mut picks {
        let output = compact.regions[p.region].output;
        p.needed = needed[output];
        made[output] = true;
        let member = class(p).members[p.member];
        let ways = makings.get(output, class(p).output, p.needed);
        let making = ways.first().ok_or(SelectError::NoLayout)?;
        total += cost(member.time, member.workspace) + making.cost;
    }
    let mut given = Vec::new();
    for (v, value) in compact.values.iter().enumerate().filter(|(v, _)| needed[*v] != 0 && !made[*v]) {
        let arrives = value.given.ok_or(SelectError::NoPartition)?;
        if needed[v] != 1 << arrives {
            given.push((v, needed[v], 0));
        }
    }
    let key: Vec<u32> = given.iter().map(|&(v, mask, _)| (v as u32) << 8 | u32::from(mask)).collect();
    total += given_cost(&compact, &makings, &key).ok_or(SelectError::NoLayout)?;
    let path = Path { cost: total, picks, given };
    Ok(selection(&compact, &makings, &path, Certificate::Gap { lower_bound_us: 0.0 }))
}
