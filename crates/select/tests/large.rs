//! Selection on problems as large as real networks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod networks;

use std::collections::BTreeMap;

use tactician_select::{
    Budget, Candidate, Certificate, Instance, Reformat, RegionChoices, SelectError, ValueChoices, greedy,
    memory_front_of, select, workspace_front,
};
use tactician_types::Layout;

#[test]
fn networks_are_solved_to_the_optimum() {
    for (name, make) in networks::NETWORKS {
        let i = make();
        let free = Budget::workspace(u64::MAX);
        let s = select(&i, free).unwrap();
        let local = greedy(&i, free).unwrap();
        assert_eq!(s.certificate, Certificate::Optimal, "{name}");
        assert!(
            s.predicted_us < 0.98 * local.predicted_us,
            "{name}: {} {}",
            s.predicted_us,
            local.predicted_us
        );
        assert_eq!(s, select(&i, free).unwrap(), "{name}");
    }
}

#[test]
fn budgets_of_memory_are_kept_and_bounded_closely() {
    for (name, make) in [networks::NETWORKS[0], networks::NETWORKS[5]] {
        let i = make();
        let at = |memory| select(&i, Budget { workspace: u64::MAX, memory: Some(memory) });
        let Err(SelectError::OverMemory { least, tensors, .. }) = at(0) else {
            panic!("{name} fits nothing")
        };
        assert!(!tensors.is_empty() && at(least.0).is_ok() && at(least.0 - 1).is_err(), "{name}");
        let most = select(&i, Budget::workspace(u64::MAX)).unwrap().memory.total();
        let mut before = f64::INFINITY;
        for k in 0..=4 {
            let memory = least.0 + (most - least.0) * k / 4;
            let s = at(memory).unwrap();
            assert!(s.memory.total() <= memory && s.predicted_us <= before, "{name}, {k}/4");
            if let Certificate::Gap { lower_bound_us } = s.certificate {
                assert!(s.predicted_us < 1.002 * lower_bound_us, "{name}, {k}/4: above {lower_bound_us}");
            }
            before = s.predicted_us;
        }
    }
}

#[test]
fn fronts_fall_and_say_what_changed() {
    let i = networks::mobilenet_v2();
    let front = workspace_front(&i).unwrap();
    assert!(front.len() > 40, "{}", front.len());
    let memory = memory_front_of(&i, u64::MAX, 8).unwrap();
    assert!(memory.len() > 4, "{}", memory.len());
    for list in [&front, &memory] {
        for w in list.windows(2) {
            assert!(w[0].until < w[1].budget && w[0].budget <= w[0].until);
            assert!(w[0].selection.predicted_us > w[1].selection.predicted_us && !w[1].changes.is_empty());
        }
    }
    assert_eq!(front.last().unwrap().selection, select(&i, Budget::workspace(u64::MAX)).unwrap());
}

/// Side by side, so that every value is alive with a layout of its own: too many states to keep.
#[test]
fn side_by_side_chains_have_a_stated_gap() {
    let layouts = [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(8), Layout::Blocked(16)];
    let (chains, length) = (13, 3);
    let mut seed = 3u64;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        1.0 + (seed >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut i = Instance { nodes: chains * length, alignment: 1, ..Instance::default() };
    for v in 0..chains * (length + 1) {
        let mut reformat = BTreeMap::new();
        for from in layouts {
            for to in layouts.into_iter().filter(|&to| to != from) {
                reformat.insert((from, to), Reformat { time_us: next(), ..Reformat::default() });
            }
        }
        i.values.push(ValueChoices {
            name: format!("v{v}"),
            given: (v < chains).then_some(Layout::Plain),
            wanted: (v >= chains * length).then_some(Layout::Plain),
            reformat,
            bytes: layouts.iter().map(|&l| (l, 100)).collect(),
        });
    }
    for node in 0..chains * length {
        let candidates = layouts
            .iter()
            .map(|&l| Candidate {
                id: l.to_string(),
                time_us: next(),
                noise_us: 0.0,
                workspace: 0,
                constants: 0,
                view: false,
                inputs: vec![l],
                output: l,
            })
            .collect();
        i.regions.push(RegionChoices {
            name: format!("r{node}"),
            nodes: vec![node],
            inputs: vec![node],
            output: node + chains,
            candidates,
        });
    }
    let s = select(&i, Budget::workspace(0)).unwrap();
    let Certificate::Gap { lower_bound_us } = s.certificate else { panic!("{s:?}") };
    assert!(lower_bound_us > 0.0 && lower_bound_us < s.predicted_us);
    assert!(s.predicted_us <= greedy(&i, Budget::workspace(0)).unwrap().predicted_us);
}
