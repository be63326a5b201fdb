use tactician_ir::{Conv, LayerNorm, MatMul, Pad, Reduce, Reshape, Shape, Softmax, TensorType, verify};

use super::*;
use crate::testing::{assert_close, binary, constant, conv, evaluate, filled, input, unary};

/// The type of the first operation of a name.
fn type_of(g: &Graph, name: &str) -> DType {
    let id = g.node_ids().find(|&n| g.node(n).name == name).unwrap_or_else(|| panic!("no `{name}`"));
    g.ty(id.value()).dtype
}

/// Lowers to both types and holds the outputs against those in `f32`.
fn check(g: &Graph, tolerance: f64) -> Graph {
    let want = evaluate(g);
    for (dtype, coarser) in [(DType::BF16, 8.0), (DType::F16, 1.0)] {
        let low = verify(lower(g, dtype).unwrap()).unwrap().into_inner();
        assert_close(&want, &evaluate(&low), tolerance * coarser);
    }
    lower(g, DType::F16).unwrap()
}

fn mean(kind: ReduceKind, axis: usize) -> Op {
    Op::Reduce(Reduce { kind, axes: vec![axis], keep_dims: true })
}

fn casts(g: &Graph) -> usize {
    let is_cast = |op: &Op| matches!(op, Op::Pointwise(e) if matches!(e.nodes(), [_, ExprNode::Cast(..)]));
    g.node_ids().filter(|&n| is_cast(&g.node(n).op)).count()
}

#[test]
fn everything_inside_is_low() {
    let mut g = Graph::new("g");
    let x = input(&mut g, "x", &[1, 4, 6, 6]);
    let y = conv(&mut g, x, 8, 3, true);
    let y = unary(&mut g, Unary::Relu, y);
    let z = conv(&mut g, y, 8, 1, false);
    let z = binary(&mut g, Binary::Add, z, y);
    let flat = g.add(Op::Reshape(Reshape { shape: Shape::known(&[1, 288]) }), &[z], "flat").unwrap();
    let s = g.add(Op::Softmax(Softmax { axis: 1, log: false }), &[flat], "softmax").unwrap();
    g.mark_output("s", s);
    g.mark_output("z", z);
    let low = check(&g, 4e-3);
    for id in low.node_ids() {
        let ends = low.inputs().contains(&id) || low.is_output(id.value());
        let want = if ends { DType::F32 } else { DType::F16 };
        assert_eq!(low.ty(id.value()).dtype, want, "{}", low.node(id).name);
    }
    assert_eq!(casts(&low), 3, "one behind the input, one before each output");
    assert_eq!(lower(&g, DType::F32).unwrap().len(), g.len());
}

#[test]
fn weights_beyond_the_type_are_named() {
    let mut g = Graph::new("g");
    let x = input(&mut g, "x", &[2, 2]);
    let w = g.add_constant("fc.weight", Tensor::new(&[2, 2], &[1.0f32, 7e4, 0.0, f32::INFINITY]).unwrap());
    let y = g.add(Op::MatMul(MatMul::default()), &[x, w], "y").unwrap();
    g.mark_output("y", y);
    let text = lower(&g, DType::F16).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("`fc.weight`") && text.contains("7e4") && text.contains("6.5504e4"), "{text}");
    lower(&g, DType::BF16).unwrap();
    let text = lower(&g, DType::I8).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("not to i8"), "{text}");
}

/// As PyTorch exports a causal mask of `f32`.
#[test]
fn numbers_that_hide_scores_shrink() {
    for fused in [true, false] {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[1, 2, 3, 8]);
        let mask: Vec<f32> = (0..9).map(|i| if i % 3 > i / 3 { f32::MIN } else { 0.0 }).collect();
        let mask = g.add_constant("mask", Tensor::new(&[3, 3], &mask).unwrap());
        let scores = g.add(Op::MatMul(MatMul { trans_a: false, trans_b: true }), &[x, x], "scores").unwrap();
        let y = if fused {
            g.add(Op::Attention(tactician_ir::Attention::new(0.5)), &[x, x, x, mask], "y").unwrap()
        } else {
            let sum = binary(&mut g, Binary::Add, scores, mask);
            g.add(Op::Softmax(Softmax { axis: 3, log: false }), &[sum], "y").unwrap()
        };
        g.mark_output("y", y);
        check(&g, 2e-3);
        // Elsewhere they may not.
        let product = binary(&mut g, Binary::Mul, scores, mask);
        g.mark_output("product", product);
        assert!(matches!(lower(&g, DType::F16), Err(LowerError::Overflow { .. })));
    }
}

#[test]
fn limits_shrink_and_factors_may_not() {
    let with = |op, value| {
        let mut g = Graph::new("g");
        let x = input(&mut g, "x", &[4]);
        let mut e = Expr::identity();
        let c = e.push(ExprNode::Const(Scalar::f32(value)));
        e.push(ExprNode::Binary(op, 0, c));
        let y = g.add(Op::Pointwise(e), &[x], "masked").unwrap();
        g.mark_output("y", y);
        g
    };
    check(&with(Binary::Max, -3.4e38), 1e-3);
    let text = lower(&with(Binary::Mul, 2e38), DType::F16).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("`masked`") && text.contains("e38"), "{text}");
    lower(&with(Binary::Mul, 2e38), DType::BF16).unwrap();
}

#[test]
fn a_norm_written_out_keeps_its_variance() {
    let mut g = Graph::new("g");
    let x = input(&mut g, "x", &[3, 64]);
    let scale = filled(&mut g, &[1], 400.0);
    let x = binary(&mut g, Binary::Mul, x, scale);
    let m = g.add(mean(ReduceKind::Mean, 1), &[x], "mean").unwrap();
    let d = g.add(Op::Pointwise(Expr::binary(Binary::Sub)), &[x, m], "centred").unwrap();
    // Squares reach 160000, beyond f16.
    let sq = g.add(Op::Pointwise(Expr::binary(Binary::Mul).rename_inputs(|_| 0)), &[d], "square").unwrap();
    let v = g.add(mean(ReduceKind::Mean, 1), &[sq], "variance").unwrap();
    let epsilon = filled(&mut g, &[1], 1e-12);
    let v = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[v, epsilon], "plus").unwrap();
    let root = g.add(Op::Pointwise(Expr::unary(Unary::Sqrt)), &[v], "root").unwrap();
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Div)), &[d, root], "normal").unwrap();
    g.mark_output("y", y);
    let low = check(&g, 6e-3);
    for (name, want) in [
        ("mean", DType::F16),
        ("centred", DType::F16),
        ("square", DType::F32),
        ("variance", DType::F32),
        ("plus", DType::F32),
        ("root", DType::F32),
        ("normal", DType::F16),
    ] {
        assert_eq!(type_of(&low, name), want, "{name}");
    }
}

#[test]
fn sums_stay_wide_and_norms_do_not() {
    let mut g = Graph::new("g");
    let x = input(&mut g, "x", &[2, 3000]);
    let big = filled(&mut g, &[1], 1000.0);
    let abs = unary(&mut g, Unary::Abs, x);
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Mul)), &[abs, big], "thousands").unwrap();
    let s = g.add(mean(ReduceKind::Sum, 1), &[y], "sum").unwrap();
    let l = g.add(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[x], "norm").unwrap();
    g.mark_output("s", s);
    g.mark_output("l", l);
    let low = check(&g, 4e-3);
    assert_eq!((type_of(&low, "sum"), type_of(&low, "norm")), (DType::F32, DType::F16));
    assert_eq!(type_of(&low, "thousands"), DType::F32, "read by the sum alone");
}

#[test]
fn integers_keep_their_values() {
    let mut g = Graph::new("g");
    let i = g.add_input("i", TensorType::known(DType::I64, &[3])).unwrap();
    let x = input(&mut g, "x", &[3]);
    let mut e = Expr::identity();
    e.push(ExprNode::Cast(DType::F32, 0));
    let f = g.add(Op::Pointwise(e), &[i], "position").unwrap();
    let half = filled(&mut g, &[1], 0.5);
    let f = g.add(Op::Pointwise(Expr::binary(Binary::Mul)), &[f, half], "halved").unwrap();
    let mut e = Expr::identity();
    e.push(ExprNode::Cast(DType::I64, 0));
    let back = g.add(Op::Pointwise(e), &[f], "back").unwrap();
    let y = binary(&mut g, Binary::Add, x, f);
    g.mark_output("back", back);
    g.mark_output("y", y);
    let low = verify(lower(&g, DType::F16).unwrap()).unwrap();
    assert_eq!((type_of(&low, "position"), type_of(&low, "halved")), (DType::F32, DType::F32));
    assert_eq!(type_of(&low, "add"), DType::F16);
    assert_eq!(low.ty(low.outputs()[0].1).dtype, DType::I64);
}

#[test]
fn borders_and_constants_read_twice_convert_once() {
    let mut g = Graph::new("g");
    let x = input(&mut g, "x", &[1, 2, 4, 4]);
    let pad =
        Pad { pads: vec![(0, 0), (0, 0), (1, 1), (1, 1)], mode: PadMode::Constant(Scalar::f32(-3.4e38)) };
    let y = g.add(Op::Pad(pad), &[x], "pad").unwrap();
    let w = constant(&mut g, &[2, 2, 1, 1], 3);
    let a = g.add(Op::Conv(Conv::unit(2)), &[x, w], "a").unwrap();
    let b = g.add(Op::Conv(Conv::unit(2)), &[a, w], "b").unwrap();
    g.mark_output("b", b);
    g.mark_output("y", y);
    let low = verify(lower(&g, DType::F16).unwrap()).unwrap();
    let constants = low.node_ids().filter(|&n| low.node(n).as_constant().is_some()).count();
    assert_eq!(constants, 1);
    let pad = low.node_ids().find(|&n| low.node(n).name == "pad").unwrap();
    let Op::Pad(p) = &low.node(pad).op else { panic!("a pad") };
    assert_eq!(p.mode, PadMode::Constant(Scalar::float(DType::F16, -65504.0)));
}
