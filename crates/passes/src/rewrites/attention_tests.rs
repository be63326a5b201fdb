use tactician_ir::{MatMul, Scalar, Softmax};

use super::*;
use crate::testing::*;

fn times(op: Binary, constant: f32) -> Op {
    let mut e = Expr::identity();
    let c = e.push(ExprNode::Const(Scalar::f32(constant)));
    e.push(ExprNode::Binary(op, 0, c));
    Op::Pointwise(e)
}

/// How the steps are written.
#[derive(Clone, Copy, Default)]
struct Steps {
    rank3: bool,
    trans_b: bool,
    divide: bool,
    split: bool,
    mask: bool,
    scale_last: bool,
    second_reader: bool,
    axis: Option<usize>,
}

fn steps(s: Steps) -> Graph {
    let mut g = Graph::new("t");
    let sizes = |a: usize, b: usize| if s.rank3 { vec![6, a, b] } else { vec![2, 3, a, b] };
    let mut q = input(&mut g, "q", &sizes(4, 8));
    let mut k = input(&mut g, "k", &if s.trans_b { sizes(5, 8) } else { sizes(8, 5) });
    let v = input(&mut g, "v", &sizes(5, 7));
    if s.split {
        q = g.add(times(Binary::Mul, 0.6), &[q], "qs").unwrap();
        k = g.add(times(Binary::Mul, 0.6), &[k], "ks").unwrap();
    }
    let mut x = g.add(Op::MatMul(MatMul { trans_a: false, trans_b: s.trans_b }), &[q, k], "qk").unwrap();
    let add_mask = |g: &mut Graph, x| {
        let mask = input(g, "mask", &[4, 5]);
        g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[mask, x], "masked").unwrap()
    };
    if s.mask && s.scale_last {
        x = add_mask(&mut g, x);
    }
    if !s.split {
        x = if s.divide {
            g.add(times(Binary::Div, 2.5), &[x], "scaled").unwrap()
        } else {
            g.add(times(Binary::Mul, 0.4), &[x], "scaled").unwrap()
        };
    }
    if s.mask && !s.scale_last {
        x = add_mask(&mut g, x);
    }
    if s.second_reader {
        g.mark_output("scores", x);
    }
    let axis = s.axis.unwrap_or(if s.rank3 { 2 } else { 3 });
    let p = g.add(Op::Softmax(Softmax { axis, log: false }), &[x], "p").unwrap();
    let y = g.add(Op::MatMul(MatMul::default()), &[p, v], "y").unwrap();
    g.mark_output("y", y);
    g
}

#[test]
fn steps_become_attention() {
    for i in 0..32 {
        let bit = |n: u32| i >> n & 1 == 1;
        let s = Steps {
            rank3: bit(0),
            trans_b: bit(1),
            divide: bit(2),
            split: bit(3),
            mask: bit(4),
            ..Steps::default()
        };
        let after = check("attention", &steps(s));
        let names = ops(&after);
        assert!(names.contains(&"attention"), "{names:?}");
        assert!(!names.iter().any(|n| matches!(*n, "matmul" | "softmax" | "pointwise")), "{names:?}");
    }
}

#[test]
fn other_steps_stay() {
    unchanged("attention", &steps(Steps { second_reader: true, ..Steps::default() }));
    unchanged("attention", &steps(Steps { mask: true, scale_last: true, ..Steps::default() }));
    unchanged("attention", &steps(Steps { axis: Some(1), ..Steps::default() }));
}

/// Keys hidden by a choice, and weights that are NaN taken for zeros.
#[derive(Clone, Copy)]
struct Choices {
    seen: bool,
    hidden: f32,
    /// The test for NaN and the choice are one node.
    one_node: bool,
    guard: bool,
    second_reader: bool,
    fill: f32,
}

const USUAL: Choices = Choices {
    seen: true,
    hidden: f32::NEG_INFINITY,
    one_node: false,
    guard: true,
    second_reader: false,
    fill: 0.0,
};

fn choices(s: Choices) -> Graph {
    let mut g = Graph::new("t");
    let q = input(&mut g, "q", &[2, 3, 4, 8]);
    let k = input(&mut g, "k", &[2, 3, 8, 5]);
    let v = input(&mut g, "v", &[2, 3, 5, 7]);
    let mask = input(&mut g, "mask", &[2, 1, 4, 5]);
    let x = g.add(Op::MatMul(MatMul::default()), &[q, k], "qk").unwrap();
    let mut e = Expr::identity();
    let limit = e.push(ExprNode::Const(Scalar::f32(0.2)));
    e.push(ExprNode::Binary(Binary::Lt, 0, limit));
    let condition = g.add(Op::Pointwise(e), &[mask], "condition").unwrap();
    let mut e = Expr::empty();
    let [c, scores] = [0, 1].map(|i| e.push(ExprNode::Input(i)));
    let hidden = e.push(ExprNode::Const(Scalar::f32(s.hidden)));
    let (yes, no) = if s.seen { (scores, hidden) } else { (hidden, scores) };
    e.push(ExprNode::Select(c, yes, no));
    let x = g.add(Op::Pointwise(e), &[condition, x], "masked").unwrap();
    let mut p = g.add(Op::Softmax(Softmax { axis: 3, log: false }), &[x], "p").unwrap();
    if s.second_reader {
        g.mark_output("p", p);
    }
    if s.guard {
        let mut e = Expr::empty();
        let (test, operands) = if s.one_node {
            let x = e.push(ExprNode::Input(0));
            (e.push(ExprNode::Unary(Unary::IsNan, x)), vec![p])
        } else {
            (e.push(ExprNode::Input(0)), vec![unary(&mut g, Unary::IsNan, p), p])
        };
        let zero = e.push(ExprNode::Const(Scalar::f32(s.fill)));
        let weights = e.push(ExprNode::Input(operands.len() as u16 - 1));
        e.push(ExprNode::Select(test, zero, weights));
        p = g.add(Op::Pointwise(e), &operands, "guard").unwrap();
    }
    let y = g.add(Op::MatMul(MatMul::default()), &[p, v], "y").unwrap();
    g.mark_output("y", y);
    g
}

#[test]
fn choices_hide_keys() {
    for i in 0..16 {
        let bit = |n: u32| i >> n & 1 == 1;
        let hidden = if bit(1) { f32::MIN } else { f32::NEG_INFINITY };
        // Without the guard a query that sees no key would be NaN: -inf is then for masks that leave it one.
        let s = Choices { seen: bit(0), hidden, one_node: bit(2), guard: bit(3) || !bit(1), ..USUAL };
        let names = ops(&check("attention", &choices(s)));
        assert_eq!(names.iter().filter(|n| **n == "attention").count(), 1, "{names:?}");
        assert!(!names.contains(&"softmax") && !names.contains(&"matmul"), "{names:?}");
    }
}

#[test]
fn other_choices_stay() {
    // Such a score hides a key only as long as another one is far larger.
    unchanged("attention", &choices(Choices { hidden: -1e4, ..USUAL }));
    unchanged("attention", &choices(Choices { second_reader: true, ..USUAL }));
    unchanged("attention", &choices(Choices { fill: 1.0, ..USUAL }));
}
