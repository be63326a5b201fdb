use super::*;
use crate::fusion::proposals;
use crate::testing::*;
use tactician_ir::{Pool, PoolKind, Reduce, Softmax, ValueId};

/// Names of the fused nodes, region by region.
#[track_caller]
fn fused(g: &Graph) -> Vec<String> {
    let p = TensorRt.choose(g, &proposals(g));
    p.check(g).unwrap();
    let names = |r: &tactician_ir::Region| {
        r.nodes.iter().map(|&n| g.node(n).name.as_str()).collect::<Vec<_>>().join("+")
    };
    p.regions().iter().map(names).collect()
}

/// The regions of a convolution of `[2, 4, 6, 6]` and what `rest` puts behind it.
#[track_caller]
fn behind_conv(rest: impl Fn(&mut Graph, ValueId) -> ValueId) -> Vec<String> {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 4, 6, 6]);
    let c = conv(&mut g, x, 4, 3, true);
    let y = rest(&mut g, c);
    g.mark_output("y", y);
    fused(&g)
}

fn expr(g: &mut Graph, name: &str, nodes: Vec<ExprNode>, x: &[ValueId]) -> ValueId {
    g.add(Op::Pointwise(Expr::from_nodes(nodes).unwrap()), x, name).unwrap()
}

fn constant_node(value: f32) -> ExprNode {
    ExprNode::Const(tactician_ir::Scalar::f32(value))
}

#[test]
fn convolutions_take_scale_sum_and_activation() {
    assert_eq!(behind_conv(|g, c| unary(g, Unary::Relu, c)), ["conv+relu"]);
    let whole = behind_conv(|g, c| {
        let k = constant(g, &[4, 1, 1], 1);
        let c = binary(g, Binary::Mul, c, k);
        let r = input(g, "r", &[2, 4, 6, 6]);
        let c = binary(g, Binary::Add, r, c);
        let c = unary(g, Unary::Relu, c);
        unary(g, Unary::Relu, c)
    });
    assert_eq!(whole, ["conv+mul+add+relu+relu"]);
    let clip = |g: &mut Graph, c| {
        let nodes = vec![
            ExprNode::Input(0),
            constant_node(0.0),
            ExprNode::Binary(Binary::Max, 0, 1),
            constant_node(6.0),
            ExprNode::Binary(Binary::Min, 2, 3),
        ];
        expr(g, "clip", nodes, &[c])
    };
    assert_eq!(behind_conv(clip), ["conv+clip"]);
}

#[test]
fn other_activations_stay_apart() {
    for op in [Unary::Sigmoid, Unary::Tanh, Unary::Exp] {
        assert_eq!(behind_conv(|g, c| unary(g, op, c)), ["conv", op.name()]);
    }
    let silu = behind_conv(|g, c| {
        let s = unary(g, Unary::Sigmoid, c);
        binary(g, Binary::Mul, c, s)
    });
    assert_eq!(silu, ["conv", "sigmoid+mul"]);
}

#[test]
fn sums_broadcast_over_the_batch_alone() {
    for (sizes, taken) in [
        (&[2, 4, 6, 6][..], true),
        (&[1, 4, 6, 6], false),
        (&[4, 6, 6], false),
        (&[4, 1, 1], false),
        (&[1], false),
    ] {
        for op in [Binary::Add, Binary::Max, Binary::Min] {
            let got = behind_conv(|g, c| {
                let r = input(g, "r", sizes);
                binary(g, op, c, r)
            });
            assert_eq!(got.len() == 1, taken, "{sizes:?} {got:?}");
        }
    }
    let product = behind_conv(|g, c| {
        let r = input(g, "r", &[2, 4, 6, 6]);
        binary(g, Binary::Mul, c, r)
    });
    assert_eq!(product, ["conv", "mul"]);
}

#[test]
fn an_activation_or_a_second_operand_ends_the_region() {
    let scaled_after = behind_conv(|g, c| {
        let r = unary(g, Unary::Relu, c);
        let k = constant(g, &[4, 1, 1], 1);
        binary(g, Binary::Mul, r, k)
    });
    assert_eq!(scaled_after, ["conv+relu", "mul"]);
    let two_operands = behind_conv(|g, c| {
        let r = input(g, "r", &[2, 4, 6, 6]);
        let q = input(g, "q", &[2, 4, 6, 6]);
        let s = binary(g, Binary::Add, c, r);
        binary(g, Binary::Max, s, q)
    });
    assert_eq!(two_operands, ["conv+add", "max"]);
    // A scale that is no constant.
    let gate = behind_conv(|g, c| {
        let k = input(g, "k", &[2, 4, 1, 1]);
        binary(g, Binary::Mul, c, k)
    });
    assert_eq!(gate, ["conv", "mul"]);
}

/// GELU by the error function, in one node, of the given type.
fn gelu_node(g: &mut Graph, dtype: DType, x: ValueId) -> ValueId {
    let constant = |v: f64| ExprNode::Const(tactician_ir::Scalar::float(dtype, v));
    let nodes = vec![
        ExprNode::Input(0),
        constant(std::f64::consts::SQRT_2),
        ExprNode::Binary(Binary::Div, 0, 1),
        ExprNode::Unary(Unary::Erf, 2),
        constant(1.0),
        ExprNode::Binary(Binary::Add, 3, 4),
        ExprNode::Binary(Binary::Mul, 0, 5),
        constant(0.5),
        ExprNode::Binary(Binary::Mul, 6, 7),
    ];
    expr(g, "gelu", nodes, &[x])
}

#[test]
fn gelu_is_taken_in_16_bits() {
    assert_eq!(behind_conv(|g, c| gelu_node(g, DType::F32, c)), ["conv", "gelu"]);
    let mut g = Graph::new("t");
    let x = g.add_input("x", tactician_ir::TensorType::known(DType::F16, &[1, 4, 6, 6])).unwrap();
    let w = g.add_constant("w", Tensor::new(&[4, 4, 1, 1], &[half::f16::ONE; 16]).unwrap());
    let k = g.add_constant("k", Tensor::new(&[4, 1, 1], &[half::f16::ONE; 4]).unwrap());
    let c = g.add(Op::Conv(tactician_ir::Conv::unit(2)), &[x, w], "conv").unwrap();
    let c = binary(&mut g, Binary::Add, c, k);
    let y = gelu_node(&mut g, DType::F16, c);
    g.mark_output("y", y);
    assert_eq!(fused(&g), ["conv+add+gelu"]);
    // The derivative's kin: no GELU.
    let t = unary(&mut g, Unary::Tanh, y);
    g.mark_output("t", t);
    let c = g.add(Op::Conv(tactician_ir::Conv::unit(2)), &[t, w], "last").unwrap();
    let y = unary(&mut g, Unary::Erf, c);
    g.mark_output("z", y);
    assert_eq!(fused(&g), ["conv+add+gelu", "tanh", "last", "erf"]);
}

#[test]
fn products_with_weights_are_convolutions() {
    let product = |weights: bool| {
        let mut g = Graph::new("t");
        let a = input(&mut g, "a", &[3, 4]);
        let b = if weights { constant(&mut g, &[4, 5], 1) } else { input(&mut g, "b", &[4, 5]) };
        let m = g.add(Op::MatMul(tactician_ir::MatMul::default()), &[a, b], "m").unwrap();
        let k = constant(&mut g, &[5], 2);
        let m = binary(&mut g, Binary::Add, m, k);
        let y = unary(&mut g, Unary::Relu, m);
        g.mark_output("y", y);
        fused(&g)
    };
    assert_eq!(product(true), ["m+add+relu"]);
    assert_eq!(product(false), ["m", "add+relu"]);
}

#[test]
fn reductions_take_what_makes_them_norms() {
    let after = |op: Op, then: Unary| {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 8]);
        let r = g.add(op, &[x], "r").unwrap();
        let y = unary(&mut g, then, r);
        g.mark_output("y", y);
        fused(&g).len() == 1
    };
    let reduce = |kind| Op::Reduce(Reduce { kind, axes: vec![1], keep_dims: true });
    assert!(after(reduce(ReduceKind::Sum), Unary::Log));
    assert!(after(reduce(ReduceKind::SumSquare), Unary::Sqrt));
    assert!(!after(reduce(ReduceKind::Sum), Unary::Sqrt));
    assert!(!after(reduce(ReduceKind::Max), Unary::Log));
    assert!(after(Op::Softmax(Softmax { axis: 1, log: false }), Unary::Log));
    assert!(!after(Op::Softmax(Softmax { axis: 1, log: false }), Unary::Relu));
    let pool = Pool {
        kind: PoolKind::Max,
        window: vec![1; 1],
        strides: vec![1; 1],
        pads: vec![(0, 0); 1],
        dilations: vec![1; 1],
        ceil: false,
    };
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 2, 8]);
    let p = g.add(Op::Pool(pool), &[x], "p").unwrap();
    let y = unary(&mut g, Unary::Relu, p);
    g.mark_output("y", y);
    assert_eq!(fused(&g), ["p", "relu"]);
}

#[test]
fn pointwise_chains_have_no_conversions() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[8]);
    let a = unary(&mut g, Unary::Exp, x);
    let a = unary(&mut g, Unary::Sin, a);
    let y = input(&mut g, "y", &[8]);
    let a = binary(&mut g, Binary::Div, a, y);
    let m = binary(&mut g, Binary::Fmod, a, y);
    g.mark_output("m", m);
    assert_eq!(fused(&g), ["exp+sin+div", "fmod"]);
}
