use std::collections::BTreeMap;

use tactician_types::Layout;

use crate::*;

const P: Layout = Layout::Plain;
const B: Layout = Layout::Blocked(16);

fn candidate(id: &str, time_us: f64, workspace: u64, input: Layout, output: Layout) -> Candidate {
    Candidate {
        id: id.into(),
        time_us,
        noise_us: 0.0,
        workspace,
        constants: 0,
        view: false,
        inputs: vec![input],
        output,
    }
}

fn value(reformat_us: f64) -> ValueChoices {
    let change = Reformat { time_us: reformat_us, ..Reformat::default() };
    let reformat = BTreeMap::from([((P, B), change), ((B, P), change)]);
    ValueChoices { reformat, ..ValueChoices::default() }
}

/// x -> r0 -> a -> r1 -> b -> r2 -> y, with a second reader of `a` in r2.
fn chain(reformat_us: f64) -> Instance {
    let mut values: Vec<ValueChoices> = (0..4).map(|_| value(reformat_us)).collect();
    values[0].given = Some(P);
    values[3].wanted = Some(P);
    let region = |name: &str, inputs: Vec<usize>, output, candidates| RegionChoices {
        name: name.into(),
        nodes: vec![output - 1],
        inputs,
        output,
        candidates,
    };
    let two = |id: &str, time_us, layout| Candidate {
        id: id.into(),
        time_us,
        noise_us: 0.0,
        workspace: 0,
        constants: 0,
        view: false,
        inputs: vec![layout; 2],
        output: layout,
    };
    Instance {
        nodes: 3,
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
        ..Instance::default()
    }
}

fn tactics(s: &Selection) -> Vec<usize> {
    s.chosen.iter().map(|c| c.candidate).collect()
}

#[test]
fn layouts_follow_the_cheapest_path() {
    let s = select(&chain(1.0), Budget::workspace(1000)).unwrap();
    assert_eq!(tactics(&s), vec![1, 2, 1]);
    assert_eq!(s.reformats, vec![vec![], vec![], vec![], vec![(B, P)]]);
    assert!((s.predicted_us - 10.0).abs() < 1e-9);
    assert_eq!((s.workspace, s.certificate), (100, Certificate::Optimal));
}

#[test]
fn dear_reformats_keep_the_plain_layout() {
    let s = select(&chain(100.0), Budget::workspace(1000)).unwrap();
    assert_eq!(tactics(&s), vec![0, 0, 0]);
    assert!((s.predicted_us - 23.0).abs() < 1e-9);
}

#[test]
fn the_budget_is_kept_and_more_is_never_slower() {
    let mut before = f64::INFINITY;
    for budget in [0, 99, 100, 1 << 20] {
        let s = select(&chain(1.0), Budget::workspace(budget)).unwrap();
        assert!(s.workspace <= budget && s.predicted_us <= before);
        before = s.predicted_us;
    }
}

#[test]
fn nothing_affordable_is_explained() {
    let mut i = chain(1.0);
    i.regions[1].candidates.iter_mut().for_each(|c| c.workspace += 50);
    let text = select(&i, Budget::workspace(10)).unwrap_err().to_string();
    assert!(text.contains("r1") && text.contains("10 B") && text.contains("50 B"), "{text}");
    i.regions[1].candidates.clear();
    assert_eq!(select(&i, Budget::workspace(10)), Err(SelectError::NoCandidate { region: "r1".into() }));
}
