//! Random instances with overlapping regions, every selection of them by counting, and what must hold of both.

use std::collections::BTreeMap;

use tactician_types::Layout;

use crate::footprint::footprint;
use crate::*;

const LAYOUTS: [Layout; 3] = [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(16)];

/// A linear congruential generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A random acyclic graph of up to six nodes; single nodes and chains of nodes as regions; views, scratch, constants.
pub(crate) fn instance(r: &mut Random, noise: bool) -> Instance {
    let nodes = 2 + r.below(5) as usize;
    let inputs = 1 + r.below(2) as usize;
    let layouts = 2 + r.below(2) as usize;
    // Value `i` is input `i`, or what node `i - inputs` computes.
    let reads: Vec<Vec<usize>> = (0..nodes)
        .map(|n| {
            let latest = inputs + n;
            let mut list = vec![if r.one_in(3) { r.below(latest as u64) as usize } else { latest - 1 }];
            if r.one_in(3) {
                list.push(r.below(latest as u64) as usize);
            }
            list
        })
        .collect();
    let size = 1 + r.below(40);
    let mut values: Vec<ValueChoices> = (0..inputs + nodes)
        .map(|v| {
            let mut reformat = BTreeMap::new();
            let view = r.one_in(6);
            for from in &LAYOUTS[..layouts] {
                for to in &LAYOUTS[..layouts] {
                    if from != to && !r.one_in(8) {
                        let pair = [LAYOUTS[0], LAYOUTS[1]];
                        let change = Reformat {
                            time_us: 1.0 + r.below(12) as f64,
                            workspace: if r.one_in(8) { 10 } else { 0 },
                            constants: r.below(3),
                            view: view && pair.contains(from) && pair.contains(to),
                        };
                        reformat.insert((*from, *to), change);
                    }
                }
            }
            let own = if r.one_in(2) { size } else { 1 + r.below(40) };
            let bytes = LAYOUTS.iter().map(|&l| (l, own + if l == LAYOUTS[2] { 3 } else { 0 })).collect();
            ValueChoices {
                name: format!("v{v}"),
                given: (v < inputs).then_some(LAYOUTS[0]),
                reformat,
                bytes,
                ..ValueChoices::default()
            }
        })
        .collect();
    let read = |v: usize| reads.iter().any(|list| list.contains(&v));
    for v in inputs..inputs + nodes {
        if !read(v) || r.one_in(10) {
            values[v].wanted = Some(LAYOUTS[0]);
        }
    }
    // Sets of nodes that have one result and nothing inside that is read outside.
    let mut sets: Vec<Vec<usize>> = (0..nodes).map(|n| vec![n]).collect();
    for bits in 1u32..1 << nodes {
        let set: Vec<usize> = (0..nodes).filter(|n| bits >> n & 1 == 1).collect();
        let inner = |&n: &usize| {
            let v = inputs + n;
            let readers: Vec<usize> = (0..nodes).filter(|m| reads[*m].contains(&v)).collect();
            values[v].wanted.is_none() && !readers.is_empty() && readers.iter().all(|m| set.contains(m))
        };
        if set.len() > 1 && set.len() <= 3 && set[..set.len() - 1].iter().all(inner) && !r.one_in(3) {
            sets.push(set);
        }
    }
    if r.one_in(12) {
        sets.remove(r.below(nodes as u64) as usize);
    }
    let regions = sets
        .into_iter()
        .map(|set| {
            let mut list: Vec<usize> = set.iter().flat_map(|&n| reads[n].iter().copied()).collect();
            list.retain(|&v| v < inputs || !set.contains(&(v - inputs)));
            if r.one_in(2) {
                list.dedup();
            }
            let target = inputs + set[set.len() - 1];
            let candidates = (0..if r.one_in(20) { 0 } else { 1 + r.below(4) })
                .map(|c| {
                    let uniform = LAYOUTS[r.below(layouts as u64) as usize];
                    let mut layout =
                        || if r.one_in(3) { LAYOUTS[r.below(layouts as u64) as usize] } else { uniform };
                    let inputs: Vec<Layout> = list.iter().map(|_| layout()).collect();
                    let output = layout();
                    let same = |a: usize, b: usize| values[a].bytes == values[b].bytes;
                    let alike = inputs.first() == Some(&output) && list.len() == 1 && same(list[0], target);
                    let view = set.len() == 1 && alike && r.one_in(3);
                    Candidate {
                        id: format!("c{c}"),
                        time_us: if view { 0.0 } else { 1.0 + r.below(40) as f64 },
                        noise_us: if noise { r.below(5) as f64 } else { 0.0 },
                        workspace: if view { 0 } else { r.below(3) * 10 },
                        constants: r.below(4) * 8,
                        view,
                        inputs,
                        output,
                    }
                })
                .collect();
            RegionChoices {
                name: format!("r{set:?}"),
                nodes: set.clone(),
                inputs: list,
                output: target,
                candidates,
            }
        })
        .collect();
    Instance {
        nodes,
        values,
        regions,
        bindings: r.below(100),
        constants: r.below(10),
        alignment: 1 + 3 * r.below(2),
    }
}

/// Time, scratch and memory of one selection.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) time_us: f64,
    pub(crate) workspace: u64,
    pub(crate) memory: u64,
}

/// Every selection, with its memory if it is to be `placed`: every partition, every candidate of each region, the cheapest changes of layout for each.
pub(crate) fn every_selection(i: &Instance, placed: bool) -> Vec<Counted> {
    let mut out = Vec::new();
    partitions(i, &mut Vec::new(), &mut |regions| {
        let counts: Vec<usize> = regions.iter().map(|&r| i.regions[r].candidates.len()).collect();
        for mut e in 0..counts.iter().product::<usize>() {
            let chosen: Vec<Choice> = regions
                .iter()
                .zip(&counts)
                .map(|(&region, &n)| {
                    let candidate = e % n;
                    e /= n;
                    Choice { region, candidate }
                })
                .collect();
            out.extend(counted(i, &chosen, placed));
        }
    });
    out
}

fn partitions(i: &Instance, chosen: &mut Vec<usize>, found: &mut dyn FnMut(&[usize])) {
    let covered: Vec<usize> = chosen.iter().flat_map(|&r| i.regions[r].nodes.iter().copied()).collect();
    let Some(node) = (0..i.nodes).find(|n| !covered.contains(n)) else {
        let mut order = chosen.clone();
        order.sort_by_key(|&r| i.regions[r].nodes.last().copied());
        found(&order);
        return;
    };
    for r in 0..i.regions.len() {
        let nodes = &i.regions[r].nodes;
        if nodes.contains(&node) && !nodes.iter().any(|n| covered.contains(n)) {
            chosen.push(r);
            partitions(i, chosen, found);
            chosen.pop();
        }
    }
}

/// One selection with each combination of cheapest changes of layout, for each value with and without scratch; none where
/// layouts do not meet.
fn counted(i: &Instance, chosen: &[Choice], placed: bool) -> Vec<Counted> {
    let candidate = |c: &Choice| &i.regions[c.region].candidates[c.candidate];
    let mut needed: Vec<Vec<Layout>> = i.values.iter().map(|v| v.wanted.into_iter().collect()).collect();
    let mut from: Vec<Option<Layout>> = i.values.iter().map(|v| v.given).collect();
    for c in chosen {
        from[i.regions[c.region].output] = Some(candidate(c).output);
        i.regions[c.region].inputs.iter().zip(&candidate(c).inputs).for_each(|(&v, &l)| needed[v].push(l));
    }
    let mut combinations: Vec<Vec<Vec<(Layout, Layout)>>> = vec![Vec::new()];
    for (v, value) in i.values.iter().enumerate() {
        needed[v].sort_unstable();
        needed[v].dedup();
        let mut ways: Vec<Vec<(Layout, Layout)>> = Vec::new();
        for limit in [0, 10] {
            let way = match from[v] {
                Some(from) => changes_by_counting(value, from, &needed[v], limit, &met(i, v)),
                None if needed[v].is_empty() => Some(Vec::new()),
                None => None,
            };
            ways.extend(way.filter(|w| !ways.contains(w)));
        }
        let with = |c: &Vec<Vec<(Layout, Layout)>>| {
            let longer = |w: &Vec<(Layout, Layout)>| c.iter().cloned().chain([w.clone()]).collect::<Vec<_>>();
            ways.iter().map(longer).collect::<Vec<_>>()
        };
        combinations = combinations.iter().flat_map(with).collect();
    }
    let sum = |reformats: &Vec<Vec<(Layout, Layout)>>| {
        let each = || {
            let lists = reformats.iter().enumerate();
            lists.flat_map(|(v, l)| l.iter().map(move |p| &i.values[v].reformat[p])).filter(|r| !r.view)
        };
        Counted {
            time_us: chosen.iter().map(|c| candidate(c).time_us).chain(each().map(|r| r.time_us)).sum(),
            workspace: chosen
                .iter()
                .map(|c| candidate(c).workspace)
                .chain(each().map(|r| r.workspace))
                .max()
                .unwrap_or(0),
            memory: if placed { footprint(i, chosen, reformats).total() } else { 0 },
        }
    };
    combinations.iter().map(sum).collect()
}

/// The layouts that anything makes or wants of a value.
fn met(i: &Instance, v: usize) -> Vec<Layout> {
    let mut list: Vec<Layout> = i.values[v].given.into_iter().chain(i.values[v].wanted).collect();
    for r in &i.regions {
        for c in &r.candidates {
            if r.output == v {
                list.push(c.output);
            }
            list.extend(r.inputs.iter().zip(&c.inputs).filter(|(x, _)| **x == v).map(|(_, l)| *l));
        }
    }
    list
}

/// The cheapest sequence of changes, by trying all.
fn changes_by_counting(
    value: &ValueChoices,
    from: Layout,
    needed: &[Layout],
    limit: u64,
    met: &[Layout],
) -> Option<Vec<(Layout, Layout)>> {
    type Found = Option<((f64, u64, usize), Vec<(Layout, Layout)>)>;
    fn go(
        value: &ValueChoices,
        have: &mut Vec<Layout>,
        list: &mut Vec<(Layout, Layout)>,
        needed: &[Layout],
        limit: u64,
        met: &[Layout],
        best: &mut Found,
    ) {
        if needed.iter().all(|l| have.contains(l)) {
            let each = || list.iter().map(|p| &value.reformat[p]).filter(|r| !r.view);
            let key = (each().map(|r| r.time_us).sum(), each().map(|r| r.workspace).sum(), list.len());
            if best.as_ref().is_none_or(|(b, other)| (key, &*list) < (*b, other)) {
                *best = Some((key, list.clone()));
            }
        }
        for (&(f, to), r) in &value.reformat {
            let fits = r.view || r.workspace <= limit;
            if fits && met.contains(&to) && have.contains(&f) && !have.contains(&to) {
                have.push(to);
                list.push((f, to));
                go(value, have, list, needed, limit, met, best);
                have.pop();
                list.pop();
            }
        }
    }
    let mut best = None;
    go(value, &mut vec![from], &mut Vec::new(), needed, limit, met, &mut best);
    best.map(|b| b.1)
}

#[test]
fn equals_every_selection_counted_under_budgets_of_scratch() {
    let mut r = Random(3);
    let (mut solved, mut refused) = (0, 0);
    for round in 0..3000 {
        let i = instance(&mut r, false);
        let all = every_selection(&i, false);
        for budget in [0, 9, 10, 20] {
            let fits = all.iter().filter(|s| s.workspace <= budget);
            let want = fits.map(|s| s.time_us).min_by(f64::total_cmp);
            match select(&i, Budget::workspace(budget)) {
                Ok(s) => {
                    let want = want.unwrap_or_else(|| panic!("round {round}: {s:?} is no selection"));
                    assert!((s.predicted_us - want).abs() < 1e-6, "round {round}: {s:?}, not {want}\n{i:?}");
                    assert!(s.workspace <= budget, "round {round}");
                    if let Ok(local) = greedy(&i, Budget::workspace(budget)) {
                        assert!(local.predicted_us >= s.predicted_us, "round {round}");
                    }
                    solved += 1;
                }
                Err(e) => {
                    assert_eq!(want, None, "round {round}: {e}\n{i:?}");
                    if let SelectError::OverBudget { least, .. } = e {
                        assert!(select(&i, Budget::workspace(least.0)).is_ok(), "round {round}");
                        assert!(select(&i, Budget::workspace(least.0 - 1)).is_err(), "round {round}");
                    }
                    refused += 1;
                }
            }
        }
    }
    assert!(solved > 3000 && refused > 300, "{solved} {refused}");
}

#[test]
fn equals_every_selection_counted_under_budgets_of_memory() {
    let mut r = Random(5);
    let (mut optimal, mut gaps, mut refused) = (0, 0, 0);
    for round in 0..3000 {
        let i = instance(&mut r, false);
        let all = every_selection(&i, true);
        let workspace = 10 * r.below(3);
        let fits: Vec<&Counted> = all.iter().filter(|s| s.workspace <= workspace).collect();
        let Some(most) = fits.iter().map(|s| s.memory).max() else { continue };
        let least = fits.iter().map(|s| s.memory).min().unwrap_or(0);
        let mut before = f64::INFINITY;
        for step in 0..5 {
            let memory = (least + (most - least) * step / 4).saturating_sub(u64::from(step == 0));
            let budget = Budget { workspace, memory: Some(memory) };
            let want = fits.iter().filter(|s| s.memory <= memory).map(|s| s.time_us).min_by(f64::total_cmp);
            match select(&i, budget) {
                Ok(s) => {
                    let want = want.unwrap_or_else(|| panic!("round {round}: {s:?} is no selection"));
                    assert!(s.workspace <= workspace && s.memory.total() <= memory, "round {round}");
                    assert!(s.predicted_us <= before, "round {round}: slower with more memory");
                    before = s.predicted_us;
                    match s.certificate {
                        Certificate::Optimal => {
                            optimal += 1;
                            let exact = (s.predicted_us - want).abs() < 1e-6;
                            assert!(exact, "round {round}, {budget:?}: {s:?}, not {want}\n{i:?}");
                        }
                        Certificate::Gap { lower_bound_us } => {
                            gaps += 1;
                            assert!(s.predicted_us >= want - 1e-6, "round {round}");
                            assert!(
                                lower_bound_us <= want + 1e-6,
                                "round {round}: {lower_bound_us} {want} {budget:?} {s:?}\n{i:?}"
                            );
                        }
                    }
                }
                Err(SelectError::OverMemory { least, .. }) => {
                    refused += 1;
                    let at = |memory| select(&i, Budget { workspace, memory: Some(memory) });
                    assert!(at(least.0).is_ok(), "round {round}: {least:?}");
                    assert!(at(least.0 - 1).is_err(), "round {round}");
                }
                Err(e) => panic!("round {round}: {e}\n{i:?}"),
            }
        }
    }
    assert!(optimal > 5000 && refused > 1000, "{optimal} {gaps} {refused}");
    assert!(gaps * 50 < optimal, "{optimal} {gaps}");
}

#[test]
fn fronts_have_every_budget_where_the_selection_changes() {
    let mut r = Random(7);
    let (mut points, mut gaps) = (0, 0);
    for round in 0..600 {
        let i = instance(&mut r, round % 2 == 0);
        let all = every_selection(&i, false);
        let Ok(front) = workspace_front(&i) else {
            assert!(all.is_empty(), "round {round}");
            continue;
        };
        for (at, p) in front.iter().enumerate() {
            assert_eq!(p.selection.workspace, p.budget, "round {round}");
            assert!(at == 0 || p.selection.predicted_us < front[at - 1].selection.predicted_us);
            assert_eq!(p.until, front.get(at + 1).map_or(u64::MAX, |n| n.budget - 1));
            for budget in [p.budget, p.until] {
                let s = select(&i, Budget::workspace(budget)).unwrap();
                assert_eq!(s.predicted_us, p.selection.predicted_us, "round {round}");
            }
        }
        assert!(front[0].budget == 0 || select(&i, Budget::workspace(front[0].budget - 1)).is_err());
        let workspace = front[front.len() / 2].budget;
        let front = memory_front(&i, workspace).unwrap();
        for (at, p) in front.iter().enumerate() {
            points += 1;
            gaps += usize::from(p.selection.certificate != Certificate::Optimal);
            assert_eq!(p.selection.memory.total(), p.budget, "round {round}");
            assert!(at == 0 || p.selection.predicted_us < front[at - 1].selection.predicted_us);
            for memory in [p.budget, p.until] {
                let s = select(&i, Budget { workspace, memory: Some(memory) }).unwrap();
                let (a, b) = (s.predicted_us, p.selection.predicted_us);
                let proven = p.selection.certificate == Certificate::Optimal;
                assert!(a == b || (!proven && a < b), "round {round} {memory}: {a} {b}\n{i:?}");
            }
            if at > 0 {
                assert!(!p.changes.is_empty(), "round {round}");
                let saved: f64 = p.changes.iter().map(|c| c.saved_us).sum();
                let between = front[at - 1].selection.predicted_us - p.selection.predicted_us;
                assert!(round % 2 == 0 || (saved - between).abs() < 1e-6, "round {round}: {saved} {between}");
            }
        }
        let least = front[0].budget;
        assert!(least == 0 || select(&i, Budget { workspace, memory: Some(least - 1) }).is_err());
    }
    assert!(points > 1000 && gaps * 20 < points, "{points} {gaps}");
}

/// With noise times of ties are counted alike, so nothing is compared with counting.
#[test]
fn more_budget_is_never_slower_and_never_loses_to_the_local_choice() {
    let mut r = Random(11);
    for round in 0..1500 {
        let i = instance(&mut r, true);
        let mut sizes: Vec<u64> = (0..4).map(|k| i.bindings + 40 * k + r.below(60)).collect();
        sizes.sort_unstable();
        let memories: Vec<Option<u64>> = sizes.into_iter().map(Some).chain([None]).collect();
        let mut before: Vec<Option<f64>> = vec![None; memories.len()];
        for workspace in [0, 10, 20] {
            let local = greedy(&i, Budget::workspace(workspace)).ok();
            let mut row: Option<f64> = None;
            for (k, &memory) in memories.iter().enumerate() {
                let budget = Budget { workspace, memory };
                let s = select(&i, budget).ok();
                assert_eq!(s, select(&i, budget).ok(), "round {round}: two answers");
                if let Some(s) = &s {
                    assert!(s.workspace <= workspace && memory.is_none_or(|m| s.memory.total() <= m));
                    let fits = |l: &&Selection| memory.is_none_or(|m| l.memory.total() <= m);
                    if let Some(l) = local.as_ref().filter(fits) {
                        assert!(
                            s.predicted_us <= l.predicted_us,
                            "round {round}: the local choice is faster"
                        );
                    }
                } else if let Some(m) = memory {
                    assert!(local.as_ref().is_none_or(|l| l.memory.total() > m), "round {round}");
                }
                let time = s.map(|s| s.predicted_us);
                for smaller in [row, before[k]].into_iter().flatten() {
                    assert!(time.is_some_and(|t| t <= smaller), "round {round}: {budget:?} is slower");
                }
                (row, before[k]) = (time.or(row), time.or(before[k]));
            }
        }
    }
}

#[test]
fn a_given_partition_is_kept() {
    let mut r = Random(13);
    let mut solved = 0;
    for round in 0..300 {
        let i = instance(&mut r, false);
        let mut found = Vec::new();
        partitions(&i, &mut Vec::new(), &mut |p| found.push(p.to_vec()));
        let all = found.iter().map(|p| select_partition(&i, p, Budget::workspace(20)));
        let mut best: Option<f64> = None;
        for (p, s) in found.iter().zip(all) {
            let Ok(s) = s else { continue };
            let regions: Vec<usize> = s.chosen.iter().map(|c| c.region).collect();
            assert_eq!(&regions, p, "round {round}");
            best = Some(best.map_or(s.predicted_us, |b| b.min(s.predicted_us)));
            solved += 1;
        }
        let whole = select(&i, Budget::workspace(20)).ok().map(|s| s.predicted_us);
        assert_eq!(whole, best, "round {round}");
    }
    assert!(solved > 300, "{solved}");
}

/// Graphs that must be kept small give selections within their bounds.
#[test]
fn wide_instances_state_their_gap() {
    use crate::changes::Makings;
    use crate::compact::{Compact, time_us};
    use crate::wide::{Graph, Search};
    let mut r = Random(17);
    let (mut exact, mut wide, mut met) = (0, 0, 0);
    for round in 0..600 {
        let i = instance(&mut r, false);
        let Ok(best) = select(&i, Budget::workspace(20)) else { continue };
        let compact = Compact::new(&i, |_| true).unwrap();
        let makings = Makings::new(&compact, 20);
        let graph = Graph::within(&compact, &makings, 20, 40);
        exact += usize::from(graph.is_exact());
        let search = Search::new(&compact, &graph, &makings);
        let Some((path, certificate)) = search.shortest(20) else { continue };
        wide += usize::from(!graph.is_exact());
        let found = time_us(path.cost);
        assert!(found >= best.predicted_us, "round {round}");
        match certificate {
            Certificate::Optimal => assert_eq!(found, best.predicted_us, "round {round}"),
            Certificate::Gap { lower_bound_us } => {
                assert!(lower_bound_us <= best.predicted_us, "round {round}")
            }
        }
        met += usize::from(!graph.is_exact() && certificate == Certificate::Optimal);
    }
    assert!(exact > 20 && wide > 60 && met > 5, "{exact} {wide} {met}");
}
