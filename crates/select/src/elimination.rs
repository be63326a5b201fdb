//! Exact minimisation of a sum of small tables by variable elimination (bucket elimination; Dechter 1999).
//!
//! Each variable has a few states; each factor is a table over some variables. Eliminating a variable joins the
//! tables that mention it and minimises over its states. Cost is exponential only in the width of the graph, which
//! is small for neural networks (a residual branch adds one).

use std::collections::BTreeSet;

/// Cost: time in the high bits, scratch in the low ones, so that equal times prefer less scratch. `FORBIDDEN` is
/// larger than any sum.
pub(crate) type Cost = u128;

/// A combination that must not be chosen.
pub(crate) const FORBIDDEN: Cost = u128::MAX / 4;

fn plus(a: Cost, b: Cost) -> Cost {
    if a >= FORBIDDEN || b >= FORBIDDEN { FORBIDDEN } else { a + b }
}

/// A table over variables; the last variable varies fastest.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    pub(crate) vars: Vec<usize>,
    pub(crate) table: Vec<Cost>,
}

/// The minimum and one state per variable that reaches it; ties go to lower states of variables eliminated later.
/// `None` when a joined table would exceed `limit` entries.
pub(crate) fn minimise(states: &[usize], factors: Vec<Factor>, limit: usize) -> Option<(Cost, Vec<usize>)> {
    let n = states.len();
    let mut factors: Vec<Option<Factor>> = factors.into_iter().map(Some).collect();
    let mut mentions: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); n];
    for (i, f) in factors.iter().enumerate() {
        for &v in &f.as_ref()?.vars {
            mentions[v].insert(i);
        }
    }
    let scope = |mentions: &[BTreeSet<usize>], factors: &[Option<Factor>], v: usize| -> BTreeSet<usize> {
        mentions[v].iter().filter_map(|&i| factors[i].as_ref()).flat_map(|f| f.vars.iter().copied()).collect()
    };
    let size = |vars: &BTreeSet<usize>| vars.iter().map(|&u| states[u] as f64).product::<f64>();
    let mut left: BTreeSet<usize> = (0..n).collect();
    let mut cost: Vec<f64> = (0..n).map(|v| size(&scope(&mentions, &factors, v))).collect();
    // Recorded per eliminated variable: the variables its best state depends on, and the best state for each.
    let mut traces: Vec<(usize, Vec<usize>, Vec<u32>)> = Vec::with_capacity(n);
    let mut constant: Cost = 0;
    while let Some(v) = left.iter().copied().min_by(|&a, &b| cost[a].total_cmp(&cost[b])) {
        left.remove(&v);
        let used: Vec<usize> = mentions[v].iter().copied().collect();
        let mut vars: Vec<usize> = scope(&mentions, &factors, v).into_iter().filter(|&u| u != v).collect();
        vars.sort_unstable();
        let joined: f64 = vars.iter().map(|&u| states[u] as f64).product::<f64>() * states[v] as f64;
        if joined > limit as f64 {
            return None;
        }
        let bucket: Vec<Factor> = used.iter().filter_map(|&i| factors[i].take()).collect();
        for f in &bucket {
            for &u in &f.vars {
                for &i in &used {
                    mentions[u].remove(&i);
                }
            }
        }
        let entries: usize = vars.iter().map(|&u| states[u]).product();
        let mut table = Vec::with_capacity(entries);
        let mut best_state = Vec::with_capacity(entries);
        let mut at = vec![0usize; n];
        for mut e in 0..entries {
            for &u in vars.iter().rev() {
                at[u] = e % states[u];
                e /= states[u];
            }
            let mut best = (FORBIDDEN + 1, 0u32);
            for s in 0..states[v] {
                at[v] = s;
                let sum = bucket.iter().fold(0, |sum, f| plus(sum, f.at(&at, states)));
                if sum < best.0 {
                    best = (sum, s as u32);
                }
            }
            table.push(best.0.min(FORBIDDEN));
            best_state.push(best.1);
        }
        let neighbours = vars.clone();
        traces.push((v, vars.clone(), best_state));
        if vars.is_empty() {
            constant = plus(constant, table[0]);
        } else {
            let id = factors.len();
            for &u in &vars {
                mentions[u].insert(id);
            }
            factors.push(Some(Factor { vars, table }));
        }
        for u in neighbours {
            cost[u] = size(&scope(&mentions, &factors, u));
        }
    }
    let mut chosen = vec![0usize; n];
    for (v, vars, best) in traces.iter().rev() {
        let index = vars.iter().fold(0, |i, &u| i * states[u] + chosen[u]);
        chosen[*v] = best[index] as usize;
    }
    Some((constant, chosen))
}

impl Factor {
    fn at(&self, at: &[usize], states: &[usize]) -> Cost {
        self.table[self.vars.iter().fold(0, |i, &v| i * states[v] + at[v])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All assignments, by counting.
    fn brute_force(states: &[usize], factors: &[Factor]) -> Cost {
        let total: usize = states.iter().product();
        (0..total)
            .map(|mut e| {
                let at: Vec<usize> = states
                    .iter()
                    .map(|&s| {
                        let r = e % s;
                        e /= s;
                        r
                    })
                    .collect();
                factors.iter().fold(0, |sum, f| plus(sum, f.at(&at, states)))
            })
            .min()
            .unwrap_or(0)
    }

    #[test]
    fn equals_brute_force_on_random_graphs() {
        let mut seed = 7u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for round in 0..400 {
            let n = 2 + next(6) as usize;
            let states: Vec<usize> = (0..n).map(|_| 1 + next(3) as usize).collect();
            let factors: Vec<Factor> = (0..n + 3)
                .map(|_| {
                    let mut vars: Vec<usize> = (0..1 + next(3)).map(|_| next(n as u64) as usize).collect();
                    vars.sort_unstable();
                    vars.dedup();
                    let size = vars.iter().map(|&v| states[v]).product::<usize>();
                    let table = (0..size)
                        .map(|_| if next(8) == 0 { FORBIDDEN } else { Cost::from(next(1000)) })
                        .collect();
                    Factor { vars, table }
                })
                .collect();
            let want = brute_force(&states, &factors);
            let (cost, chosen) = minimise(&states, factors.clone(), 1 << 20).unwrap();
            assert_eq!(cost, want, "round {round}");
            let reached = factors.iter().fold(0, |sum, f| plus(sum, f.at(&chosen, &states)));
            assert_eq!(reached, want, "round {round}: the assignment reaches the minimum");
        }
    }

    #[test]
    fn refuses_tables_beyond_the_limit() {
        let states = vec![4; 6];
        let f = Factor { vars: (0..6).collect(), table: vec![0; 4096] };
        assert!(minimise(&states, vec![f], 100).is_none());
    }
}
