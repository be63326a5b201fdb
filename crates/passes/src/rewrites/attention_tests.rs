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
