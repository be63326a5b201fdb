//! What the policies that rank the whole graph choose, and how they are found.

use tactician_ir::{Binary, Graph, NodeId, Unary, ValueId};

use super::{FusionPolicy, Greedy, IoSaved, Largest, POLICIES, policy_named, proposals};
use crate::testing::*;

/// Names of the fused nodes, region by region.
#[track_caller]
fn fused(g: &Graph, policy: &dyn FusionPolicy) -> Vec<String> {
    let p = policy.choose(g, &proposals(g));
    p.check(g).unwrap();
    let names = |r: &tactician_ir::Region| {
        r.nodes.iter().map(|&n| g.node(n).name.as_str()).collect::<Vec<_>>().join("+")
    };
    p.regions().iter().map(names).collect()
}

/// A convolution, and a chain behind it whose first operand no convolution takes.
fn chain_apart() -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 3, false);
    let o = input(&mut g, "o", &[6]);
    let mut y = binary(&mut g, Binary::Add, c, o);
    for op in [Unary::Exp, Unary::Sigmoid, Unary::Tanh] {
        y = unary(&mut g, op, y);
    }
    g.mark_output("y", y);
    g
}

#[test]
fn names_find_policies() {
    for p in POLICIES {
        assert_eq!(policy_named(p.name()).unwrap().name(), p.name());
    }
    let names: std::collections::BTreeSet<&str> = POLICIES.iter().map(|p| p.name()).collect();
    assert_eq!(names.len(), POLICIES.len());
    assert!(policy_named("").is_none() && policy_named("Greedy").is_none());
    // A reference is a policy too.
    assert_eq!(FusionPolicy::name(&policy_named("largest").unwrap()), "largest");
    assert_eq!(fused(&chain_apart(), &policy_named("largest").unwrap()), fused(&chain_apart(), &Largest));
}

/// The sum of a convolution and of a chain of so many nodes.
fn sum_of_two(nodes: usize) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 1, false);
    let z = input(&mut g, "z", &[1, 4, 6, 6]);
    let mut a = z;
    for _ in 0..nodes {
        a = unary(&mut g, Unary::Exp, a);
    }
    let y = binary(&mut g, Binary::Add, c, a);
    g.mark_output("y", y);
    g
}

#[test]
fn the_largest_region_wins_whatever_its_anchor() {
    let g = sum_of_two(3);
    assert_eq!(fused(&g, &Greedy), ["exp+exp+exp", "conv+add"]);
    assert_eq!(fused(&g, &Largest), ["conv", "exp+exp+exp+add"]);
    // Of one size the convolution goes first.
    let g = sum_of_two(1);
    assert_eq!(fused(&g, &Largest), ["exp", "conv+add"]);
}

#[test]
fn bytes_saved_are_counted() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 3, true);
    let s = unary(&mut g, Unary::Sigmoid, c);
    let m = binary(&mut g, Binary::Mul, c, s);
    let y = binary(&mut g, Binary::Add, m, x);
    g.mark_output("y", y);
    let bytes = 4 * 36 * 4;
    let all = proposals(&g);
    let of = |anchor: ValueId, nodes: usize| {
        all.iter().find(|p| p.anchor() == anchor.node() && p.nodes().len() == nodes).unwrap()
    };
    let score = |launch_bytes, p| IoSaved { launch_bytes }.score(&g, p);
    assert_eq!(score(0, of(c, 1)), 0);
    // The convolution's result: written, read twice. The sigmoid's: written, read.
    assert_eq!(score(0, of(c, 3)), 5 * bytes);
    // The product's besides; and x, which both ends read.
    assert_eq!(score(0, of(c, 4)), 8 * bytes);
    assert_eq!(score(100, of(c, 4)), 8 * bytes + 300);
    assert_eq!(fused(&g, &IoSaved::default()), ["conv+sigmoid+mul+add"]);
}

#[test]
fn many_readers_beat_many_nodes() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let z = input(&mut g, "z", &[1, 4, 6, 6]);
    let mut chain = z;
    for _ in 0..6 {
        chain = unary(&mut g, Unary::Exp, chain);
    }
    let head = g.users(z)[0].0;
    let c = conv(&mut g, x, 4, 1, false);
    let mut v = unary(&mut g, Unary::Tanh, c);
    for _ in 0..3 {
        v = binary(&mut g, Binary::Mul, v, c);
    }
    let y = binary(&mut g, Binary::Add, v, chain);
    g.mark_output("y", y);
    let all = proposals(&g);
    let score = |anchor: NodeId, nodes: usize| {
        let p = all.iter().find(|p| p.anchor() == anchor && p.nodes().len() == nodes).unwrap();
        IoSaved::default().score(&g, p) / (4 * 36 * 4)
    };
    assert_eq!((score(head, 7), score(c.node(), 6)), (12, 13));
}

#[test]
fn chains_that_no_convolution_takes_are_whole() {
    for policy in [&Largest as &dyn FusionPolicy, &IoSaved::default()] {
        assert_eq!(fused(&chain_apart(), policy), ["conv", "add+exp+sigmoid+tanh"]);
    }
}
