use super::*;
use crate::testing::*;
use tactician_ir::{
    Binary, Concat, DType, Expr, ExprNode, MatMul, Pool, PoolKind, Scalar, Tensor, TensorType, Unary, ValueId,
};

/// Names of the fused nodes, region by region, of a partition that must be proper.
#[track_caller]
fn fused(g: &Graph, policy: &dyn FusionPolicy) -> Vec<String> {
    let p = policy.choose(g, &proposals(g));
    p.check(g).unwrap();
    p.regions()
        .iter()
        .map(|r| r.nodes.iter().map(|&n| g.node(n).name.as_str()).collect::<Vec<_>>().join("+"))
        .collect()
}

fn image(g: &mut Graph) -> ValueId {
    input(g, "x", &[1, 4, 6, 6])
}

fn named(g: &mut Graph, name: &str, op: Binary, a: ValueId, b: ValueId) -> ValueId {
    g.add(Op::Pointwise(Expr::binary(op)), &[a, b], name).unwrap()
}

#[test]
fn proposals_grow_node_by_node() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, true);
    let s = binary(&mut g, Binary::Add, c, x);
    let y = unary(&mut g, Unary::Relu, s);
    g.mark_output("y", y);
    let all = proposals(&g);
    let of_conv: Vec<usize> =
        all.iter().filter(|p| p.anchor() == c.node()).map(|p| p.nodes().len()).collect();
    assert_eq!(of_conv, [1, 2, 3]);
    assert!(all.iter().all(|p| p.region.rule == if p.anchor() == c.node() { "conv" } else { "pointwise" }));
    assert_eq!(fused(&g, &Greedy), ["conv+add+relu"]);
    assert_eq!(fused(&g, &NoFusion), ["conv", "add", "relu"]);
    // Bias, then residual.
    assert_eq!(all[2].region.problem(&g).epilogue_inputs().len(), 2);
}

#[test]
fn the_later_convolution_takes_the_residual() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let early = conv(&mut g, x, 4, 1, false);
    let r = unary(&mut g, Unary::Relu, x);
    let late =
        g.add(Op::Conv(tactician_ir::Conv::unit(2)), &[r, g.producer(early).inputs()[1]], "late").unwrap();
    for (a, b) in [(early, late), (late, early)] {
        let mut g = g.clone();
        let s = binary(&mut g, Binary::Add, a, b);
        let y = unary(&mut g, Unary::Tanh, s);
        g.mark_output("y", y);
        assert_eq!(fused(&g, &Greedy), ["conv", "relu", "late+add+tanh"]);
    }
}

#[test]
fn a_convolution_takes_the_sum_before_a_later_pool() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, false);
    let pool = Pool {
        kind: PoolKind::Max,
        window: vec![3; 2],
        strides: vec![1; 2],
        pads: vec![(1, 1); 2],
        dilations: vec![1; 2],
        ceil: false,
    };
    let p = g.add(Op::Pool(pool), &[x], "pool").unwrap();
    let y = binary(&mut g, Binary::Add, c, p);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["pool", "conv+add"]);
}

#[test]
fn diamonds_are_taken_whole() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, true);
    // SiLU, then hard-swish made of several nodes, then a ReLU.
    let s = unary(&mut g, Unary::Sigmoid, c);
    let silu = binary(&mut g, Binary::Mul, c, s);
    let (three, zero, six) = (filled(&mut g, &[], 3.0), filled(&mut g, &[], 0.0), filled(&mut g, &[], 6.0));
    let a = named(&mut g, "plus3", Binary::Add, silu, three);
    let a = named(&mut g, "low", Binary::Max, a, zero);
    let a = named(&mut g, "high", Binary::Min, a, six);
    let a = named(&mut g, "times", Binary::Mul, a, silu);
    let a = named(&mut g, "by6", Binary::Div, a, six);
    let y = unary(&mut g, Unary::Relu, a);
    g.mark_output("y", y);
    let sizes: Vec<usize> =
        proposals(&g).iter().filter(|p| p.anchor() == c.node()).map(|p| p.nodes().len()).collect();
    // No cut inside a diamond.
    assert_eq!(sizes, [1, 3, 7, 8, 9]);
    assert_eq!(fused(&g, &Greedy), ["conv+sigmoid+mul+plus3+low+high+times+by6+relu"]);
}

#[test]
fn values_read_outside_end_a_region() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, false);
    let r = unary(&mut g, Unary::Relu, c);
    let e = unary(&mut g, Unary::Exp, r);
    let k = g.add(Op::Concat(Concat { axis: 1 }), &[r, e], "concat").unwrap();
    g.mark_output("y", k);
    assert_eq!(fused(&g, &Greedy), ["conv+relu", "exp", "concat"]);

    // One half of a diamond is a network output.
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, false);
    let s = unary(&mut g, Unary::Sigmoid, c);
    let y = binary(&mut g, Binary::Mul, c, s);
    g.mark_output("s", s);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["conv", "sigmoid", "mul"]);
}

#[test]
fn what_changes_the_shape_is_not_taken() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 4, 1, 1]);
    let wide = input(&mut g, "w", &[1, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 1, false);
    let y = binary(&mut g, Binary::Mul, c, wide);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["conv", "mul"]);
}

#[test]
fn operands_spread_as_kernels_know() {
    for (sizes, taken) in
        [(&[4, 1, 1][..], true), (&[1], true), (&[1, 4, 6, 6], true), (&[6], false), (&[6, 6], false)]
    {
        let mut g = Graph::new("t");
        let x = image(&mut g);
        let c = conv(&mut g, x, 4, 3, false);
        let o = input(&mut g, "o", sizes);
        let y = binary(&mut g, Binary::Add, c, o);
        g.mark_output("y", y);
        assert_eq!(fused(&g, &Greedy).len() == 1, taken, "{sizes:?}");
    }
    for (sizes, taken) in [(&[5][..], true), (&[3, 1], false), (&[2, 1, 1], false)] {
        let mut g = Graph::new("t");
        let (a, b) = (input(&mut g, "a", &[2, 3, 4]), input(&mut g, "b", &[4, 5]));
        let m = g.add(Op::MatMul(MatMul::default()), &[a, b], "m").unwrap();
        let o = input(&mut g, "o", sizes);
        let y = binary(&mut g, Binary::Add, m, o);
        g.mark_output("y", y);
        assert_eq!(fused(&g, &Greedy).len() == 1, taken, "{sizes:?}");
    }
}

#[test]
fn other_types_stay_outside() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, false);
    let half = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(DType::F16, 0)]).unwrap();
    let y = g.add(Op::Pointwise(half), &[c], "half").unwrap();
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["conv", "half"]);

    // A bool in between is fine as long as it does not come out.
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let c = conv(&mut g, x, 4, 3, false);
    let zero = ExprNode::Const(Scalar::f32(0.0));
    let positive = vec![ExprNode::Input(0), zero, ExprNode::Binary(Binary::Gt, 0, 1)];
    let p = g.add(Op::Pointwise(Expr::from_nodes(positive).unwrap()), &[c], "positive").unwrap();
    let select = vec![ExprNode::Input(0), ExprNode::Input(1), ExprNode::Input(2), ExprNode::Select(0, 1, 2)];
    let y = g.add(Op::Pointwise(Expr::from_nodes(select).unwrap()), &[p, c, x], "select").unwrap();
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["conv+positive+select"]);

    // Integer products have no epilogue.
    let mut g = Graph::new("t");
    let a = g.add_input("a", TensorType::known(DType::I32, &[2, 2])).unwrap();
    let m = g.add(Op::MatMul(MatMul::default()), &[a, a], "m").unwrap();
    let y = unary(&mut g, Unary::Relu, m);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["m", "relu"]);
}

/// A node that converts to a type.
fn cast(g: &mut Graph, name: &str, to: DType, x: ValueId) -> ValueId {
    let e = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(to, 0)]).unwrap();
    g.add(Op::Pointwise(e), &[x], name).unwrap()
}

/// An image of f32 rounded to f16, and a convolution of it in f16.
fn rounded_image(g: &mut Graph) -> (ValueId, ValueId) {
    let x = image(g);
    let low = cast(g, "low", DType::F16, x);
    let w = g.add_constant("w", Tensor::new(&[4, 4, 3, 3], &[half::f16::ONE; 144]).unwrap());
    let op = tactician_ir::Conv { pads: vec![(1, 1); 2], ..tactician_ir::Conv::unit(2) };
    let c = g.add(Op::Conv(op), &[low, w], "conv").unwrap();
    (low, c)
}

#[test]
fn conversions_at_the_ends_are_taken_in() {
    let mut g = Graph::new("t");
    let (_, c) = rounded_image(&mut g);
    let r = unary(&mut g, Unary::Relu, c);
    let y = cast(&mut g, "wide", DType::F32, r);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["low+conv+relu+wide"]);
    let region = &Greedy.choose(&g, &proposals(&g)).into_regions()[0];
    let p = region.problem(&g);
    assert_eq!((region.anchor, p.read_as(0), p.read_as(1)), (c.node(), Some(DType::F16), None));
    assert_eq!(
        p.to_string(),
        "conv pads=[(1,1),(1,1)] (f32[1,4,6,6] as f16, *f16[4,4,3,3]) -> f32[1,4,6,6] then {cast(relu($0), f32)}"
    );
    // What is computed in f32 behind the conversion is another region's.
    let z = unary(&mut g, Unary::Exp, y);
    g.mark_output("z", z);
    assert_eq!(fused(&g, &Greedy), ["low+conv+relu+wide", "exp"]);
}

#[test]
fn an_image_that_is_read_twice_is_rounded_once() {
    let mut g = Graph::new("t");
    let (low, c) = rounded_image(&mut g);
    let y = binary(&mut g, Binary::Add, c, low);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["low", "conv+add"]);
}

#[test]
fn pointwise_regions_convert_what_they_read_and_write() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let low = cast(&mut g, "low", DType::BF16, x);
    let e = unary(&mut g, Unary::Exp, low);
    let y = cast(&mut g, "wide", DType::F32, e);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["low+exp+wide"]);
    // Chains of f32 keep to themselves: kernels for them are made for one type.
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let e = unary(&mut g, Unary::Exp, x);
    let y = cast(&mut g, "low", DType::F16, e);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy), ["exp", "low"]);
}

#[test]
fn operands_are_counted() {
    let mut g = Graph::new("t");
    let x = image(&mut g);
    let mut v = conv(&mut g, x, 4, 3, true);
    for i in 0..10 {
        let o = input(&mut g, &format!("o{i}"), &[1, 4, 6, 6]);
        v = binary(&mut g, Binary::Add, v, o);
    }
    g.mark_output("y", v);
    let regions = Greedy.choose(&g, &proposals(&g)).into_regions();
    // The bias and seven more; the rest by themselves.
    assert_eq!(regions.iter().map(|r| r.nodes.len()).collect::<Vec<_>>(), [8, 3]);
}

#[test]
fn long_chains_are_cut() {
    let mut g = Graph::new("t");
    let mut v = image(&mut g);
    for _ in 0..200 {
        v = unary(&mut g, Unary::Exp, v);
    }
    g.mark_output("y", v);
    let regions = Greedy.choose(&g, &proposals(&g)).into_regions();
    assert!(regions.len() >= 5 && regions.len() < 10, "{}", regions.len());
    for r in &regions {
        let Op::Pointwise(e) = r.problem(&g).anchor else { panic!() };
        assert!(e.nodes().len() <= MAX_FUSED_EXPR);
    }
}

#[test]
fn pointwise_regions_take_in_operands_that_only_they_read() {
    let mut g = Graph::new("t");
    let (x, z) = (input(&mut g, "x", &[8]), input(&mut g, "z", &[8]));
    let a = unary(&mut g, Unary::Exp, x);
    let b = unary(&mut g, Unary::Sigmoid, z);
    let b = unary(&mut g, Unary::Neg, b);
    let y = binary(&mut g, Binary::Mul, a, b);
    g.mark_output("y", y);
    assert_eq!(fused(&g, &Greedy).len(), 1);
    // A producer with several outside readers stays by itself.
    g.mark_output("b", b);
    let got = fused(&g, &Greedy);
    assert!(got.contains(&"sigmoid+neg".to_owned()) && got.contains(&"exp+mul".to_owned()), "{got:?}");
}

#[test]
fn every_operation_has_a_rule() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 4]);
    let t = g.add(Op::Transpose(tactician_ir::Transpose { perm: vec![2, 0, 1] }), &[x], "t").unwrap();
    let s = g.add(Op::Softmax(tactician_ir::Softmax { axis: 2, log: false }), &[t], "s").unwrap();
    let l = g.add(Op::LayerNorm(tactician_ir::LayerNorm { axis: 1, epsilon: 1e-5 }), &[s], "l").unwrap();
    let relu = unary(&mut g, Unary::Relu, l);
    let sum = tactician_ir::Reduce { kind: tactician_ir::ReduceKind::Sum, axes: vec![0], keep_dims: false };
    let r = g.add(Op::Reduce(sum), &[relu], "r").unwrap();
    let e = unary(&mut g, Unary::Exp, r);
    g.mark_output("y", e);
    assert_eq!(fused(&g, &Greedy), ["t", "s", "l+relu", "r+exp"]);
    let rules: Vec<_> = Greedy.choose(&g, &proposals(&g)).into_regions().iter().map(|r| r.rule).collect();
    assert_eq!(rules, ["single", "softmax", "norm", "reduce"]);
}
