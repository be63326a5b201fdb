use std::collections::BTreeSet;

use super::*;
use crate::testing::*;
use tactician_ir::{BatchNorm, Binary, DType, Tensor, TensorType, Unary};

#[test]
fn names_are_unique_and_known() {
    let names: Vec<_> =
        PIPELINE.iter().map(|p| p.name()).chain(GRAPH_PASSES.iter().map(|p| p.name())).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for name in names {
        assert!(run_named(name, Graph::new("empty")).is_some_and(|r| r.is_ok()), "{name}");
    }
    assert!(run_named("canonicalize", Graph::new("empty")).is_some());
    assert!(run_named("no such pass", Graph::new("empty")).is_none());
}

/// conv -> batch norm -> + residual -> relu, the batch norm with running statistics.
fn block() -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 3, false);
    let mut operands = vec![c];
    for i in 0..3 {
        operands.push(constant(&mut g, &[4], i));
    }
    operands.push(g.add_constant("v", Tensor::new(&[4], &[0.5f32, 1.0, 2.0, 0.1]).unwrap()));
    let n = g.add(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &operands, "bn").unwrap();
    let s = binary(&mut g, Binary::Add, x, n);
    let y = unary(&mut g, Unary::Relu, s);
    g.mark_output("y", y);
    g
}

#[test]
fn a_block_becomes_convolution_sum_activation() {
    let g = block();
    let (after, report) = canonicalize(g.clone()).unwrap();
    assert_eq!(ops(&after), ["const", "const", "conv", "pointwise", "pointwise"]);
    same_results(&g, &after, 1e-5);
    assert_eq!(report.of("batch_norm_to_affine"), 1);
    assert_eq!(report.of("fold_affine_into_conv"), 1);
    assert!(report.rounds < MAX_ROUNDS);
    assert_eq!(report.passes.len(), PIPELINE.len() + GRAPH_PASSES.len());
    assert!(report.to_string().contains("batch_norm_to_affine"));
}

#[test]
fn a_second_time_changes_nothing() {
    let (once, _) = canonicalize(block()).unwrap();
    let (twice, report) = canonicalize(once.clone().into_inner()).unwrap();
    assert_eq!((report.changes(), report.rounds), (0, 1));
    let list = |g: &Graph| g.topo().iter().map(|&n| format!("{:?}", g.node(n))).collect::<Vec<_>>();
    assert_eq!(list(&once), list(&twice));
}

#[test]
fn ids_ascend_in_execution_order_and_ports_keep_theirs() {
    let mut g = Graph::new("t");
    let (b, a) = (input(&mut g, "b", &[2]), input(&mut g, "a", &[2]));
    let (p, q) = (unary(&mut g, Unary::Exp, a), unary(&mut g, Unary::Neg, b));
    g.mark_output("p", p);
    g.mark_output("q", q);
    let (after, _) = canonicalize(g).unwrap();
    assert_eq!(after.topo(), after.node_ids().collect::<Vec<_>>());
    assert_eq!(after.inputs().iter().map(|&i| after.node(i).name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(after.outputs().iter().map(|o| o.0.as_str()).collect::<Vec<_>>(), ["p", "q"]);
}

#[test]
fn an_invalid_graph_is_refused() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2]);
    let wrong = Op::Pointwise(tactician_ir::Expr::unary(Unary::Relu));
    let y = g.add_unchecked(wrong, &[x], "y", &[TensorType::known(DType::F32, &[3])]);
    g.mark_output("y", y.value());
    assert!(canonicalize(g.clone()).is_err());
    assert!(run_named("identity", g).is_some_and(|r| r.is_err()));
}
