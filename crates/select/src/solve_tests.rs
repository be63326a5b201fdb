use super::*;

const P: Layout = Layout::Plain;
const B: Layout = Layout::Blocked(16);

fn candidate(id: &str, time_us: f64, workspace: u64, input: Layout, output: Layout) -> Candidate {
    Candidate { id: id.into(), time_us, noise_us: 0.0, workspace, inputs: vec![input], output }
}

fn value(reformat_us: f64) -> ValueChoices {
    let reformat = BTreeMap::from([((P, B), reformat_us), ((B, P), reformat_us)]);
    ValueChoices { given: None, wanted: None, reformat }
}

/// x -> r0 -> a -> r1 -> b -> r2 -> y, with a second reader of `a` in r2.
fn chain(reformat_us: f64) -> Instance {
    let mut values: Vec<ValueChoices> = (0..4).map(|_| value(reformat_us)).collect();
    values[0].given = Some(P);
    values[3].wanted = Some(P);
    let region = |name: &str, inputs: Vec<usize>, output, candidates| RegionChoices {
        name: name.into(),
        inputs,
        output,
        candidates,
    };
    let two = |id: &str, time_us, layout| Candidate {
        id: id.into(),
        time_us,
        noise_us: 0.0,
        workspace: 0,
        inputs: vec![layout; 2],
        output: layout,
    };
    Instance {
        values,
        regions: vec![
            region("r0", vec![0], 1, vec![candidate("p", 10.0, 0, P, P), candidate("b", 4.0, 0, P, B)]),
            region(
                "r1",
                vec![1],
                2,
                vec![
                    candidate("p", 10.0, 0, P, P),
                    candidate("b", 5.0, 0, B, B),
                    candidate("w", 2.0, 100, B, B),
                ],
            ),
            region("r2", vec![1, 2], 3, vec![two("p", 3.0, P), two("b", 3.0, B)]),
        ],
    }
}

#[test]
fn layouts_follow_the_cheapest_path() {
    let s = select(&chain(1.0), 1000).unwrap();
    assert_eq!(s.tactics, vec![1, 2, 1]);
    assert_eq!(s.reformats, vec![vec![], vec![], vec![], vec![(B, P)]]);
    assert!((s.predicted_us - 10.0).abs() < 1e-9);
    assert_eq!((s.workspace, s.certificate), (100, Certificate::Optimal));
}

#[test]
fn dear_reformats_keep_the_plain_layout() {
    let s = select(&chain(100.0), 1000).unwrap();
    assert_eq!(s.tactics, vec![0, 0, 0]);
    assert!((s.predicted_us - 23.0).abs() < 1e-9);
}

#[test]
fn the_budget_is_kept_and_more_is_never_slower() {
    let mut before = f64::INFINITY;
    for budget in [0, 99, 100, 1 << 20] {
        let s = select(&chain(1.0), budget).unwrap();
        assert!(s.workspace <= budget && s.predicted_us <= before);
        before = s.predicted_us;
    }
}

#[test]
fn nothing_affordable_is_explained() {
    let mut i = chain(1.0);
    i.regions[1].candidates.iter_mut().for_each(|c| c.workspace += 50);
    let text = select(&i, 10).unwrap_err().to_string();
    assert!(text.contains("r1") && text.contains("10 B") && text.contains("50 B"), "{text}");
    i.regions[1].candidates.clear();
    assert_eq!(select(&i, 10), Err(SelectError::NoCandidate { region: "r1".into() }));
}

/// Every combination of candidates, reformats made greedily but per value from scratch.
fn brute_force(i: &Instance, budget: u64) -> Option<f64> {
    let counts: Vec<usize> = i.regions.iter().map(|r| r.candidates.len()).collect();
    let mut best: Option<f64> = None;
    for mut e in 0..counts.iter().product::<usize>() {
        let pick: Vec<&Candidate> = i
            .regions
            .iter()
            .zip(&counts)
            .map(|(r, &n)| {
                let c = &r.candidates[e % n];
                e /= n;
                c
            })
            .collect();
        if pick.iter().any(|c| c.workspace > budget) {
            continue;
        }
        let mut total: f64 = pick.iter().map(|c| c.time_us).sum();
        for (v, value) in i.values.iter().enumerate() {
            let producer = i.regions.iter().position(|r| r.output == v);
            let from = producer.map_or(value.given, |r| Some(pick[r].output)).unwrap();
            let mut needed: Vec<Layout> = value.wanted.into_iter().collect();
            for (r, region) in i.regions.iter().enumerate() {
                needed.extend(
                    region.inputs.iter().zip(&pick[r].inputs).filter(|(x, _)| **x == v).map(|(_, l)| *l),
                );
            }
            needed.sort_unstable();
            needed.dedup();
            for to in needed.into_iter().filter(|&l| l != from) {
                total += value.reformat.get(&(from, to)).copied().unwrap_or(f64::INFINITY);
            }
        }
        if total.is_finite() && best.is_none_or(|b| total < b) {
            best = Some(total);
        }
    }
    best
}

#[test]
fn equals_brute_force_on_random_graphs() {
    let mut seed = 3u64;
    let mut next = move |n: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    for round in 0..600 {
        let regions = 2 + next(4) as usize;
        let mut values: Vec<ValueChoices> = (0..=regions).map(|_| value(1.0 + next(20) as f64)).collect();
        values[0].given = Some(P);
        values[regions].wanted = Some(P);
        let layout = |n: u64| if n == 0 { P } else { B };
        let list = (0..regions)
            .map(|r| {
                let inputs: Vec<usize> = (0..1 + next(2)).map(|_| next(r as u64 + 1) as usize).collect();
                let candidates = (0..1 + next(4))
                    .map(|c| Candidate {
                        id: format!("c{c}"),
                        time_us: 1.0 + next(40) as f64,
                        noise_us: 0.0,
                        workspace: next(3) * 10,
                        inputs: inputs.iter().map(|_| layout(next(2))).collect(),
                        output: layout(next(2)),
                    })
                    .collect();
                RegionChoices { name: format!("r{r}"), inputs, output: r + 1, candidates }
            })
            .collect();
        let instance = Instance { values, regions: list };
        for budget in [0, 10, 20] {
            let want = brute_force(&instance, budget);
            match select(&instance, budget) {
                Ok(s) => {
                    assert!(
                        (s.predicted_us - want.unwrap()).abs() < 1e-6,
                        "round {round}: {} {want:?}",
                        s.predicted_us
                    );
                    assert!(s.workspace <= budget);
                }
                Err(e) => assert_eq!(want, None, "round {round}: {e}"),
            }
        }
    }
}
