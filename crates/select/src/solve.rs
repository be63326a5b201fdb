//! The selection problem and its solution.

use std::collections::BTreeMap;

use tactician_types::{Bytes, Layout};
use thiserror::Error;

use crate::elimination::{Cost, FORBIDDEN, Factor, minimise};
use crate::pareto::useful;

/// One measured way to run a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Stable name of the tactic.
    pub id: String,
    /// Median time in microseconds.
    pub time_us: f64,
    /// Spread of the median in microseconds; differences below it are ties.
    pub noise_us: f64,
    /// Scratch in bytes.
    pub workspace: u64,
    /// Layout wanted of each input value, in the region's order.
    pub inputs: Vec<Layout>,
    /// Layout of the output.
    pub output: Layout,
}

/// A region and what may run it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionChoices {
    /// Name for messages.
    pub name: String,
    /// Input values by index into [`Instance::values`], in the order of the candidates' layouts.
    pub inputs: Vec<usize>,
    /// Output value.
    pub output: usize,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
}

/// A value and what changing its layout costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueChoices {
    /// Layout that the value arrives in, when no region produces it.
    pub given: Option<Layout>,
    /// Layout in which the network's caller wants it, for outputs.
    pub wanted: Option<Layout>,
    /// Microseconds of each possible change of layout. A missing pair cannot be done.
    pub reformat: BTreeMap<(Layout, Layout), f64>,
}

/// A selection problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    /// Values by index.
    pub values: Vec<ValueChoices>,
    /// Regions, producers before users.
    pub regions: Vec<RegionChoices>,
}

/// How sure the result is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Certificate {
    /// No selection is faster on the same numbers.
    Optimal,
    /// The exact search was too wide; the result was found by local search.
    Heuristic,
}

/// The choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Candidate chosen for each region.
    pub tactics: Vec<usize>,
    /// Changes of layout to run right after each value is there: `(from, to)`, in order.
    pub reformats: Vec<Vec<(Layout, Layout)>>,
    /// Predicted time in microseconds: the chosen candidates and reformats summed.
    pub predicted_us: f64,
    /// Largest scratch of any chosen candidate.
    pub workspace: u64,
    /// How sure this is.
    pub certificate: Certificate,
}

/// There is nothing to choose.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A region without a candidate inside the budget.
    #[error("region `{region}` has no tactic within a workspace of {budget}; the least it takes is {least}")]
    OverBudget {
        /// The region.
        region: String,
        /// The budget.
        budget: Bytes,
        /// The least workspace of its candidates.
        least: Bytes,
    },
    /// A region without any candidate.
    #[error("region `{region}` has no tactic at all")]
    NoCandidate {
        /// The region.
        region: String,
    },
    /// Layouts that cannot be made to meet.
    #[error("no combination of layouts connects the tactics: a change of layout is missing")]
    NoLayout,
}

/// Most entries of one joined table: 64 MiB of costs.
const TABLE_LIMIT: usize = 1 << 22;

/// Chooses tactics and layouts that minimise predicted time with no scratch above `workspace` bytes.
///
/// Exact by variable elimination over one variable a region (its tactic) and one a value (the set of layouts it is
/// made available in, so that a reformat shared by several readers is paid once).
///
/// # Errors
/// When a region has no candidate in the budget, or layouts cannot be connected.
pub fn select(instance: &Instance, workspace: u64) -> Result<Selection, SelectError> {
    let kept = instance.regions.iter().map(|r| affordable(r, workspace)).collect::<Result<Vec<_>, _>>()?;
    let sets = instance
        .values
        .iter()
        .enumerate()
        .map(|(v, value)| layout_sets(instance, &kept, v, value))
        .collect::<Vec<_>>();

    // Variables: regions first, then values.
    let regions = instance.regions.len();
    let states: Vec<usize> = kept.iter().map(Vec::len).chain(sets.iter().map(|s| s.len().max(1))).collect();
    let mut factors = Vec::new();
    for (r, region) in instance.regions.iter().enumerate() {
        let own = kept[r].iter().map(|&c| cost(region.candidates[c].time_us, region.candidates[c].workspace));
        factors.push(Factor { vars: vec![r], table: own.collect() });
        let out = region.output;
        let mut table = Vec::with_capacity(kept[r].len() * sets[out].len());
        for &c in &kept[r] {
            for set in &sets[out] {
                table.push(
                    make_set(&instance.values[out], region.candidates[c].output, set)
                        .map_or(FORBIDDEN, |m| m.0),
                );
            }
        }
        factors.push(Factor { vars: vec![r, regions + out], table });
        // A value read twice by one region gives one factor over both operands.
        let mut seen: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, &v) in region.inputs.iter().enumerate() {
            seen.entry(v).or_default().push(i);
        }
        for (v, operands) in seen {
            let mut table = Vec::with_capacity(kept[r].len() * sets[v].len());
            for &c in &kept[r] {
                for set in &sets[v] {
                    let ok = operands.iter().all(|&i| set.contains(&region.candidates[c].inputs[i]));
                    table.push(if ok { 0 } else { FORBIDDEN });
                }
            }
            factors.push(Factor { vars: vec![r, regions + v], table });
        }
    }
    for (v, value) in instance.values.iter().enumerate() {
        let table = sets[v]
            .iter()
            .map(|set| {
                let wanted = value.wanted.is_none_or(|w| set.contains(&w));
                let made = value.given.map_or(Some(0), |g| make_set(value, g, set).map(|m| m.0));
                if wanted { made.unwrap_or(FORBIDDEN) } else { FORBIDDEN }
            })
            .collect();
        factors.push(Factor { vars: vec![regions + v], table });
    }
    let (total, chosen, certificate) = match minimise(&states, factors.clone(), TABLE_LIMIT) {
        Some((total, chosen)) => (total, chosen, Certificate::Optimal),
        None => {
            let (total, chosen) = local_search(&states, &factors);
            (total, chosen, Certificate::Heuristic)
        }
    };
    if total >= FORBIDDEN {
        return Err(SelectError::NoLayout);
    }

    let tactics: Vec<usize> = (0..regions).map(|r| kept[r][chosen[r]]).collect();
    let mut from: Vec<Option<Layout>> = instance.values.iter().map(|v| v.given).collect();
    for (r, region) in instance.regions.iter().enumerate() {
        from[region.output] = Some(region.candidates[tactics[r]].output);
    }
    let reformats: Vec<Vec<(Layout, Layout)>> = instance
        .values
        .iter()
        .enumerate()
        .map(|(v, value)| {
            let set = sets[v].get(chosen[regions + v]);
            from[v].zip(set).and_then(|(f, set)| make_set(value, f, set)).map_or_else(Vec::new, |m| m.1)
        })
        .collect();
    let changes: f64 =
        reformats.iter().zip(&instance.values).flat_map(|(list, v)| list.iter().map(|p| v.reformat[p])).sum();
    let own: f64 = instance.regions.iter().zip(&tactics).map(|(r, &t)| r.candidates[t].time_us).sum();
    let scratch = instance.regions.iter().zip(&tactics).map(|(r, &t)| r.candidates[t].workspace).max();
    Ok(Selection {
        tactics,
        reformats,
        predicted_us: own + changes,
        workspace: scratch.unwrap_or(0),
        certificate,
    })
}

fn cost(time_us: f64, scratch: u64) -> Cost {
    let picoseconds = (time_us * 1e6).round().clamp(0.0, 1e18) as u128;
    (picoseconds << 56) | u128::from(scratch.min(1 << 44))
}

/// The candidates of a region that fit, one a layout signature: the fastest useful one.
fn affordable(region: &RegionChoices, workspace: u64) -> Result<Vec<usize>, SelectError> {
    let mut classes: BTreeMap<(&[Layout], Layout), Vec<usize>> = BTreeMap::new();
    for (i, c) in region.candidates.iter().enumerate() {
        classes.entry((&c.inputs, c.output)).or_default().push(i);
    }
    let mut kept = Vec::new();
    for members in classes.values() {
        let line = useful(members.iter().map(|&i| {
            let c = &region.candidates[i];
            (c.time_us, c.noise_us, c.workspace, c.id.as_str())
        }));
        kept.extend(
            line.into_iter().rev().map(|k| members[k]).find(|&i| region.candidates[i].workspace <= workspace),
        );
    }
    if kept.is_empty() {
        return Err(match region.candidates.iter().map(|c| c.workspace).min() {
            Some(least) => SelectError::OverBudget {
                region: region.name.clone(),
                budget: Bytes(workspace),
                least: Bytes(least),
            },
            None => SelectError::NoCandidate { region: region.name.clone() },
        });
    }
    kept.sort_by(|&a, &b| region.candidates[a].id.cmp(&region.candidates[b].id));
    Ok(kept)
}

/// The sets of layouts in which a value may be available: non-empty subsets of those that anyone makes or wants.
fn layout_sets(instance: &Instance, kept: &[Vec<usize>], v: usize, value: &ValueChoices) -> Vec<Vec<Layout>> {
    let mut layouts: Vec<Layout> = value.given.into_iter().chain(value.wanted).collect();
    for (r, region) in instance.regions.iter().enumerate() {
        for &c in &kept[r] {
            let c = &region.candidates[c];
            if region.output == v {
                layouts.push(c.output);
            }
            layouts.extend(region.inputs.iter().zip(&c.inputs).filter(|(i, _)| **i == v).map(|(_, l)| *l));
        }
    }
    layouts.sort_unstable();
    layouts.dedup();
    (1u32..1 << layouts.len().min(8))
        .map(|bits| (0..layouts.len()).filter(|i| bits >> i & 1 == 1).map(|i| layouts[i]).collect())
        .collect()
}

/// The cheapest changes that make a value available in all layouts of `set` (which must hold `from`), each from a
/// layout that is already there.
fn make_set(value: &ValueChoices, from: Layout, set: &[Layout]) -> Option<(Cost, Vec<(Layout, Layout)>)> {
    if !set.contains(&from) {
        return None;
    }
    let (mut have, mut changes, mut sum) = (vec![from], Vec::new(), 0);
    while have.len() < set.len() {
        let best = set
            .iter()
            .filter(|l| !have.contains(l))
            .flat_map(|&to| have.iter().map(move |&f| (f, to)))
            .filter_map(|pair| value.reformat.get(&pair).map(|&t| (cost(t, 0), pair)))
            .min()?;
        sum += best.0;
        have.push(best.1.1);
        changes.push(best.1);
    }
    Some((sum, changes))
}

/// Coordinate descent from the first states, for graphs too wide for the exact method.
fn local_search(states: &[usize], factors: &[Factor]) -> (Cost, Vec<usize>) {
    let at = |f: &Factor, x: &[usize]| f.table[f.vars.iter().fold(0, |i, &v| i * states[v] + x[v])];
    // A soft penalty in place of FORBIDDEN lets the search leave infeasible starts.
    let soft: Cost = 1 << 100;
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); states.len()];
    for (i, f) in factors.iter().enumerate() {
        f.vars.iter().for_each(|&v| near[v].push(i));
    }
    // Values start with every layout available, so tactics start free.
    let mut x: Vec<usize> = states.iter().map(|&s| s - 1).collect();
    for _ in 0..64 {
        let before = x.clone();
        for v in 0..states.len() {
            let mut best = (Cost::MAX, 0);
            for s in 0..states[v] {
                x[v] = s;
                let c = near[v].iter().map(|&i| at(&factors[i], &x).min(soft)).sum::<Cost>();
                if c < best.0 {
                    best = (c, s);
                }
            }
            x[v] = best.1;
        }
        if x == before {
            break;
        }
    }
    let total = factors
        .iter()
        .map(|f| at(f, &x))
        .fold(0, |a: Cost, b| if a.max(b) >= FORBIDDEN { FORBIDDEN } else { a + b });
    (total, x)
}

#[cfg(test)]
#[path = "solve_tests.rs"]
mod tests;
