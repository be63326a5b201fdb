use tactician_ir::{Expr, Scalar};

use super::*;
use crate::testing::*;

/// How the steps are written.
#[derive(Clone, Copy, Default)]
struct Steps {
    centre: bool,
    product: bool,
    reciprocal: u8,
    power: bool,
    flip: bool,
    residual: bool,
    leading: bool,
    other_axes: bool,
    second_reader: bool,
    other_square: bool,
}

fn with_constant(g: &mut Graph, op: Binary, x: ValueId, c: f32, first: bool) -> ValueId {
    let mut e = Expr::identity();
    let c = e.push(ExprNode::Const(Scalar::f32(c)));
    let (a, b) = if first { (c, 0) } else { (0, c) };
    e.push(ExprNode::Binary(op, a, b));
    g.add(Op::Pointwise(e), &[x], op.name()).unwrap()
}

fn mean(g: &mut Graph, x: ValueId, axes: &[usize]) -> ValueId {
    let reduce = Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims: true };
    g.add(Op::Reduce(reduce), &[x], "mean").unwrap()
}

fn steps(s: Steps) -> Graph {
    let mut g = Graph::new("t");
    let mut x = input(&mut g, "x", &[2, 3, 8]);
    if s.residual {
        let r = input(&mut g, "r", &[2, 3, 8]);
        x = binary(&mut g, Binary::Add, x, r);
        g.mark_output("sum", x);
    }
    let axes: &[usize] = match (s.other_axes, s.leading) {
        (true, _) => &[1],
        (_, true) => &[1, 2],
        _ => &[2],
    };
    let mut d = x;
    if s.centre {
        let m = mean(&mut g, x, axes);
        d = binary(&mut g, Binary::Sub, x, m);
    }
    let square = match (s.other_square, s.product) {
        (true, _) => binary(&mut g, Binary::Mul, d, x),
        (_, true) => binary(&mut g, Binary::Mul, d, d),
        _ => with_constant(&mut g, Binary::Pow, d, 2.0, false),
    };
    let variance = mean(&mut g, square, axes);
    let sum = with_constant(&mut g, Binary::Add, variance, 1e-3, s.flip);
    let root = |g: &mut Graph| match s.power {
        true => with_constant(g, Binary::Pow, sum, 0.5, false),
        false => unary(g, Unary::Sqrt, sum),
    };
    let inverse = match s.reciprocal {
        0 => None,
        1 => {
            let r = root(&mut g);
            Some(unary(&mut g, Unary::Reciprocal, r))
        }
        2 => {
            let r = root(&mut g);
            Some(with_constant(&mut g, Binary::Div, r, 1.0, true))
        }
        _ => Some(with_constant(&mut g, Binary::Pow, sum, -0.5, false)),
    };
    let y = match inverse {
        None => {
            let r = root(&mut g);
            binary(&mut g, Binary::Div, d, r)
        }
        Some(i) if s.flip => binary(&mut g, Binary::Mul, i, d),
        Some(i) => binary(&mut g, Binary::Mul, d, i),
    };
    if s.second_reader {
        g.mark_output("variance", sum);
    }
    g.mark_output("y", y);
    g
}

#[test]
fn steps_become_a_norm() {
    for i in 0..256 {
        let bit = |n: u32| i >> n & 1 == 1;
        let s = Steps {
            centre: bit(0),
            product: bit(1),
            reciprocal: u8::from(bit(2)) + 2 * u8::from(bit(3)),
            power: bit(4),
            flip: bit(5),
            residual: bit(6),
            leading: bit(7),
            ..Steps::default()
        };
        let after = check("norm_from_steps", &steps(s));
        let norm = if s.centre { "layer_norm" } else { "rms_norm" };
        let names = ops(&after);
        assert_eq!(names, if s.residual { vec!["pointwise", norm] } else { vec![norm] });
    }
}

/// Several steps in one node: `(d, s) -> d / sqrt(s + ε)`, and the root alone beside the quotient.
#[test]
fn borders_of_nodes_do_not_matter() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 8]);
    let m = mean(&mut g, x, &[1]);
    let mut square = Expr::empty();
    let (a, b) = (square.push(ExprNode::Input(0)), square.push(ExprNode::Input(1)));
    let d = square.push(ExprNode::Binary(Binary::Sub, a, b));
    square.push(ExprNode::Binary(Binary::Mul, d, d));
    let own = g.add(Op::Pointwise(square), &[x, m], "square").unwrap();
    let s = mean(&mut g, own, &[1]);
    let d = binary(&mut g, Binary::Sub, x, m);
    let mut quotient = Expr::empty();
    let (d_, s_) = (quotient.push(ExprNode::Input(0)), quotient.push(ExprNode::Input(1)));
    let c = quotient.push(ExprNode::Const(Scalar::f32(1e-5)));
    let sum = quotient.push(ExprNode::Binary(Binary::Add, s_, c));
    let root = quotient.push(ExprNode::Unary(Unary::Sqrt, sum));
    quotient.push(ExprNode::Binary(Binary::Div, d_, root));
    let y = g.add(Op::Pointwise(quotient), &[d, s], "y").unwrap();
    g.mark_output("y", y);
    // The difference is computed in two places, which are not known to be one.
    unchanged("norm_from_steps", &g);

    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 8]);
    let m = mean(&mut g, x, &[1]);
    let d = binary(&mut g, Binary::Sub, x, m);
    let square = binary(&mut g, Binary::Mul, d, d);
    let s = mean(&mut g, square, &[1]);
    let mut quotient = Expr::empty();
    let (d_, s_) = (quotient.push(ExprNode::Input(0)), quotient.push(ExprNode::Input(1)));
    let c = quotient.push(ExprNode::Const(Scalar::f32(1e-5)));
    let sum = quotient.push(ExprNode::Binary(Binary::Add, s_, c));
    let root = quotient.push(ExprNode::Unary(Unary::Sqrt, sum));
    quotient.push(ExprNode::Binary(Binary::Div, d_, root));
    let y = g.add(Op::Pointwise(quotient), &[d, s], "y").unwrap();
    g.mark_output("y", y);
    assert_eq!(ops(&check("norm_from_steps", &g)), ["layer_norm"]);
}

#[test]
fn other_steps_stay() {
    let centre = Steps { centre: true, ..Steps::default() };
    unchanged("norm_from_steps", &steps(Steps { other_axes: true, ..centre }));
    unchanged("norm_from_steps", &steps(Steps { second_reader: true, ..centre }));
    unchanged("norm_from_steps", &steps(Steps { other_square: true, ..centre }));
}

/// Scale and bias of some sizes behind a norm.
fn affine(rms: bool, sizes: &[usize], flip: bool, second_reader: bool) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 8]);
    let op = match rms {
        true => Op::RmsNorm(RmsNorm { axis: 2, epsilon: 1e-3 }),
        false => Op::LayerNorm(LayerNorm { axis: 2, epsilon: 1e-3 }),
    };
    let n = g.add(op, &[x], "n").unwrap();
    if second_reader {
        g.mark_output("n", n);
    }
    let (scale, bias) = (constant(&mut g, sizes, 1), input(&mut g, "bias", sizes));
    let [a, b] = if flip { [scale, n] } else { [n, scale] };
    let product = binary(&mut g, Binary::Mul, a, b);
    let [a, b] = if flip { [bias, product] } else { [product, bias] };
    let sum = binary(&mut g, Binary::Add, a, b);
    g.mark_output("y", sum);
    g
}

#[test]
fn scale_and_bias_join_a_norm() {
    for flip in [false, true] {
        assert_eq!(
            ops(&check("scale_into_norm", &affine(false, &[8], flip, false))),
            ["const", "layer_norm"]
        );
        let after = ops(&check("scale_into_norm", &affine(true, &[8], flip, false)));
        assert_eq!(after, ["const", "rms_norm", "pointwise"]);
    }
    for sizes in [&[3, 8][..], &[3, 1], &[1, 8]] {
        unchanged("scale_into_norm", &affine(false, sizes, false, false));
    }
    unchanged("scale_into_norm", &affine(false, &[8], false, true));
    // A sum alone is no bias: there is no scale to stand before it.
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 8]);
    let n = g.add(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-3 }), &[x], "n").unwrap();
    let bias = constant(&mut g, &[8], 1);
    let y = binary(&mut g, Binary::Add, n, bias);
    g.mark_output("y", y);
    unchanged("scale_into_norm", &g);
}
