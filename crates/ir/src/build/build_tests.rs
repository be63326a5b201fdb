use tactician_types::{Binary, DType, ExprNode, Unary};

use super::*;
use crate::ops::*;
use crate::text;

fn ones(sizes: &[usize]) -> Tensor {
    Tensor::new(sizes, &vec![1f32; sizes.iter().product()]).unwrap()
}

/// The type of the output that `layer` makes of an input of the given shape.
fn ty(sizes: impl Into<Shape>, layer: impl FnOnce(&mut NetworkBuilder, TensorRef) -> TensorRef) -> String {
    let mut net = NetworkBuilder::new("t");
    let x = net.add_input("x", DType::F32, sizes);
    let y = layer(&mut net, x);
    net.mark_output("y", y);
    match net.build() {
        Ok(g) => {
            assert!(text::parse(&text::print(&g)).is_ok());
            g.ty(g.outputs()[0].1).to_string()
        }
        Err(e) => e.0.iter().map(|e| e.problem.clone()).collect::<Vec<_>>().join("; "),
    }
}

fn seeded() -> Weights {
    Weights::Seeded(1)
}

#[test]
fn layers_have_the_types_that_their_setters_say() {
    let conv = ty([1, 8, 9, 9], |n, x| {
        n.add_convolution(x, 6, [3, 3], seeded(), Some(seeded()))
            .stride([2, 1])
            .pre_padding([1, 0])
            .post_padding([0, 2])
            .dilation([1, 2])
            .groups(2)
            .output()
    });
    // (9 + 1 - 3)/2 + 1 = 4; 9 + 2 - 5 + 1 = 7.
    assert_eq!(conv, "f32[1,6,4,7]");
    let deconv = ty([1, 8, 5], |n, x| {
        let layer = n.add_deconvolution(x, 6, [4], seeded(), None);
        layer.stride([2]).padding([1]).output_padding([1]).groups(2).output()
    });
    // (5 - 1)·2 + 4 + 1 - 2 = 11.
    assert_eq!(deconv, "f32[1,6,11]");
    let pool = |ceil: bool| {
        ty([1, 2, 6, 6], |n, x| {
            let layer = n.add_pooling(x, PoolKind::Average { count_pad: true }, [3, 3]).stride([2, 2]);
            if ceil { layer.ceil().output() } else { layer.output() }
        })
    };
    assert_eq!((pool(false).as_str(), pool(true).as_str()), ("f32[1,2,2,2]", "f32[1,2,3,3]"));
    assert_eq!(ty([4, 7], |n, x| n.add_matmul(x, x).transpose_b().output()), "f32[4,4]");
    assert_eq!(ty([4, 7], |n, x| n.add_matmul(x, x).transpose_a().output()), "f32[7,7]");
    assert_eq!(ty([2, 3, 4, 4], |n, x| n.add_concatenation(&[x, x, x]).output()), "f32[2,9,4,4]");
    assert_eq!(ty([2, 3], |n, x| n.add_concatenation(&[x, x]).axis(1).output()), "f32[2,6]");
    assert_eq!(ty([2, 3], |n, x| n.add_reduce(x, ReduceKind::Sum, [1, 0], true).output()), "f32[1,1]");
    assert_eq!(ty([2, 3], |n, x| n.add_cast(x, DType::I8).output()), "i8[2,3]");
    assert_eq!(ty([2, 3], |n, x| n.add_expand(x, [5, 1, 1]).output()), "f32[5,2,3]");
    assert_eq!(ty([2, 3], |n, x| n.add_elementwise(x, x, Binary::Lt).output()), "bool[2,3]");
    assert_eq!(ty([2, 3], |n, x| n.add_slice(x, [1, 2], [1, 3], [1, -1]).output()), "f32[1,3]");
    assert_eq!(ty([1, 2, 5, 5], |n, x| n.add_padding(x, [1, -2], [2, 0]).edge().output()), "f32[1,2,8,3]");
    assert_eq!(ty([1, 2, 5, 5], |n, x| n.add_padding(x, [0, -2], [-1, -1]).output()), "f32[1,2,4,2]");
    assert_eq!(
        ty([1, 2, 5, 5], |n, x| n.add_resize(x).scales([1.0, 1.0, 2.5, 0.5]).output()),
        "f32[1,2,12,2]"
    );
    let linear = ResizeMode::Linear { antialias: false };
    assert_eq!(ty([1, 2, 5], |n, x| n.add_resize(x).shape([1, 2, 9]).mode(linear).output()), "f32[1,2,9]");
    assert_eq!(ty([1, 6, 5], |n, x| n.add_softmax(x).axis(2).log().output()), "f32[1,6,5]");
    assert_eq!(ty([1, 6, 5], |n, x| n.add_lrn(x, 5, 1e-4, 0.75, 1.0).output()), "f32[1,6,5]");
}

#[test]
fn shuffles_copy_and_find_sizes() {
    let s = ty(shape!["N", 3, 4, 5], |n, x| {
        n.add_shuffle(x)
            .first_transpose([0, 2, 3, 1])
            .reshape([0, -1, 3])
            .second_transpose([0, 2, 1])
            .output()
    });
    assert_eq!(s, "f32[N,3,20]");
    assert_eq!(
        ty([2, 3], |n, x| n.add_shuffle(x).reshape([-1, -1]).output()),
        "[-1,-1] has more than one size of -1"
    );
    assert_eq!(
        ty([2, 3], |n, x| n.add_shuffle(x).reshape([-1, 4]).output()),
        "[2,3] does not divide into [-1,4]"
    );
    assert_eq!(
        ty([2, 3], |n, x| n.add_shuffle(x).reshape([2, 3, 0]).output()),
        "size 0 copies axis 2, but [2,3] has none"
    );
}

#[test]
fn normalisation_picks_the_operation_by_its_axes() {
    let norm = |axes: &[usize], groups: usize, param: &[usize]| {
        let mut net = NetworkBuilder::new("n");
        let x = net.add_input("x", DType::F32, [2, 4, 3, 3]);
        let s = net.add_constant(ones(param)).output();
        let y = net.add_normalization(x, s, s, axes).groups(groups).epsilon(0.5).output();
        net.mark_output("y", y);
        net.build().map(|g| {
            let op = &g.producer(g.outputs()[0].1).op;
            format!("{} {}", op.name(), text::attributes(op))
        })
    };
    assert_eq!(norm(&[2, 3], 1, &[4]).unwrap(), "instance_norm epsilon=0.5");
    assert_eq!(norm(&[3, 2], 2, &[1, 4, 1, 1]).unwrap(), "group_norm groups=2 epsilon=0.5");
    assert_eq!(norm(&[1, 2, 3], 1, &[3]).unwrap(), "layer_norm axis=1 epsilon=0.5");
    assert_eq!(norm(&[3], 1, &[3]).unwrap(), "layer_norm axis=3 epsilon=0.5");
    assert!(norm(&[1, 2], 1, &[3]).is_err());
    assert!(norm(&[1, 2, 3], 2, &[3]).is_err());
    assert!(norm(&[], 1, &[3]).is_err());
    assert!(norm(&[2, 3], 1, &[1, 5, 1, 1]).is_err());
}

#[test]
fn scale_orders_its_terms() {
    let mut net = NetworkBuilder::new("s");
    let x = net.add_input("x", DType::F32, shape!["N", 3, 2]);
    let layer = net.add_scale(x, ScaleMode::Channel).power(ones(&[3])).shift(ones(&[3, 1]));
    let y = layer.scale(ones(&[1, 3])).output();
    net.mark_output("y", y);
    let g = net.build().unwrap();
    let node = g.producer(g.outputs()[0].1);
    let Op::Pointwise(e) = &node.op else { panic!("{g}") };
    assert_eq!(e.to_string(), "pow(add(mul($0, $1), $2), $3)");
    assert_eq!(node.inputs()[1..].iter().map(|&v| g.ty(v).to_string()).collect::<Vec<_>>(), ["f32[3,1]"; 3]);
    assert!(
        ty([2, 3], |n, x| n.add_scale(x, ScaleMode::Channel).scale(ones(&[2])).output()).contains("3 values")
    );
    assert!(
        ty([2, 1], |n, x| n.add_scale(x, ScaleMode::Elementwise).scale(ones(&[5])).output())
            .contains("broadcast")
    );
}

/// Evaluates an expression of one input in `f64`; only what activations use.
fn eval(e: &crate::Expr, x: f64) -> f64 {
    let mut values: Vec<f64> = Vec::new();
    for n in e.nodes() {
        let at = |i: u16| values[i as usize];
        values.push(match *n {
            ExprNode::Input(_) => x,
            ExprNode::Const(c) => c.as_f64(),
            ExprNode::Select(c, a, b) => {
                if at(c) != 0.0 {
                    at(a)
                } else {
                    at(b)
                }
            }
            ExprNode::Unary(op, a) => match op {
                Unary::Relu => at(a).max(0.0),
                Unary::Sigmoid => 1.0 / (1.0 + (-at(a)).exp()),
                Unary::Tanh => at(a).tanh(),
                Unary::Exp => at(a).exp(),
                Unary::Abs => at(a).abs(),
                Unary::Softplus => at(a).exp().ln_1p(),
                Unary::Erf => erf(at(a)),
                other => panic!("{other:?}"),
            },
            ExprNode::Binary(op, a, b) => match op {
                Binary::Add => at(a) + at(b),
                Binary::Sub => at(a) - at(b),
                Binary::Mul => at(a) * at(b),
                Binary::Div => at(a) / at(b),
                Binary::Max => at(a).max(at(b)),
                Binary::Min => at(a).min(at(b)),
                Binary::Gt => f64::from(u8::from(at(a) > at(b))),
                Binary::Ge => f64::from(u8::from(at(a) >= at(b))),
                other => panic!("{other:?}"),
            },
            ExprNode::Cast(..) => panic!("no activation casts"),
        });
    }
    *values.last().unwrap()
}

/// The error function by its series.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn activations_compute_their_definitions() {
    use ActivationKind::*;
    let value = |kind: ActivationKind, set: Option<(f64, f64)>, x: f64| {
        let mut net = NetworkBuilder::new("a");
        let t = net.add_input("x", DType::F32, [2]);
        let layer = net.add_activation(t, kind);
        let y = match set {
            Some((a, b)) => layer.alpha(a).beta(b).output(),
            None => layer.output(),
        };
        net.mark_output("y", y);
        let g = net.build().unwrap();
        let Op::Pointwise(e) = &g.producer(g.outputs()[0].1).op else { panic!("{g}") };
        eval(e, x)
    };
    // Values of the definitions at -1 and 2, to six places.
    for (kind, low, high) in [
        (Relu, 0.0, 2.0),
        (Sigmoid, 0.268941, 0.880797),
        (Tanh, -0.761594, 0.964028),
        (LeakyRelu, -0.01, 2.0),
        (Elu, -0.632121, 2.0),
        (Selu, -1.111331, 2.101402),
        (Softsign, -0.5, 0.666667),
        (Softplus, 0.313262, 2.126928),
        (Clip, 0.0, 2.0),
        (HardSigmoid, 0.3, 0.9),
        (ScaledTanh, -0.761594, 0.964028),
        (ThresholdedRelu, 0.0, 2.0),
        (Gelu, -0.158655, 1.954500),
        (GeluTanh, -0.158808, 1.954598),
        (Silu, -0.268941, 1.761594),
    ] {
        for (x, want) in [(-1.0, low), (2.0, high)] {
            let got = value(kind, None, x);
            assert!((got - want).abs() < 1e-6, "{kind:?}({x}) = {got}, expected {want}");
        }
    }
    assert_eq!(ActivationKind::ALL.len(), 15);
    assert_eq!(value(Clip, Some((-0.5, 0.5)), -3.0), -0.5);
    assert!((value(ScaledTanh, Some((2.0, 0.5)), 2.0) - 2.0 * 1f64.tanh()).abs() < 1e-12);
    assert!((value(Softplus, Some((2.0, 0.5)), 2.0) - 2.0 * 1f64.exp().ln_1p()).abs() < 1e-12);
}

#[test]
fn every_error_is_collected_and_poison_is_silent() {
    let mut other = NetworkBuilder::new("other");
    let foreign = other.add_input("x", DType::F32, [1]);
    let mut net = NetworkBuilder::new("bad");
    let x = net.add_input("x", DType::F32, [1, 3, 8, 8]);
    net.add_input("x", DType::F32, [1]);
    let wrong = net.add_convolution(x, 4, [3, 3], ones(&[4, 5, 3, 3]), None).name("wrong").output();
    assert!(net.tensor_type(wrong).is_none());
    let after = net.add_unary(wrong, Unary::Relu).name("after").output();
    let rank = net.add_convolution(x, 4, [3], seeded(), None).output();
    net.add_pooling(x, PoolKind::Max, [3, 3]).stride([1]).name("pool").output();
    net.add_unary(x, Unary::Not).name("pool").output();
    net.add_unary(foreign, Unary::Relu).output();
    net.mark_output("y", after);
    net.mark_output("y", rank);
    net.mark_output("z", foreign);
    let e = net.build().unwrap_err();
    let layers: Vec<_> = e.0.iter().map(|e| (e.kind, e.layer.as_str())).collect();
    assert_eq!(
        layers,
        [
            ("input", "x"),
            ("convolution", "wrong"),
            ("convolution", "convolution_1"),
            ("pooling", "pool"),
            ("unary", "pool"),
            ("unary", "unary_1"),
            ("output", "y"),
            ("output", "z"),
        ],
        "{e}"
    );
    let text = e.to_string();
    for part in
        ["`wrong`: needs weights of sizes [4, 3, 3, 3], found [4, 5, 3, 3]", "stride has 1 entries", "rank 3"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(NetworkBuilder::new("none").build().unwrap_err().to_string().contains("mark_output"));
}

#[test]
fn weights_come_flat_seeded_or_computed() {
    let flat =
        |n: usize| ty([1, 2, 4, 4], |net, x| net.add_convolution(x, 3, [3, 3], ones(&[n]), None).output());
    assert_eq!(flat(54), "f32[1,3,2,2]");
    assert!(flat(55).contains("found 55 values"), "{}", flat(55));
    let computed = |filters: usize, kernel: [usize; 2]| {
        ty([1, 2, 4, 4], |net, x| {
            let w = net.add_constant(ones(&[3, 2, 3, 3])).output();
            let w = net.add_unary(w, Unary::Neg).output();
            let b = net.add_constant(ones(&[3])).output();
            net.add_convolution(x, filters, kernel, w, Some(b.into())).output()
        })
    };
    assert_eq!(computed(3, [3, 3]), "f32[1,3,2,2]");
    assert!(computed(4, [3, 3]).contains("has 4 filters") || computed(4, [3, 3]).contains("bias"));
    assert!(computed(3, [3, 2]).contains("the kernel is"));
    assert!(
        ty(shape![1, "C", 4], |n, x| n.add_convolution(x, 3, [3], seeded(), None).output())
            .contains("must be known")
    );
    assert_eq!(
        ty(shape!["N", 2, 4], |n, x| n.add_convolution(x, 3, [3], seeded(), None).output()),
        "f32[N,3,2]"
    );
    let huge = ty([1, 1 << 30, 4], |n, x| n.add_convolution(x, usize::MAX, [3], seeded(), None).output());
    assert!(huge.contains("beyond the limit"), "{huge}");
    assert!(
        ty([1, 3, 4], |n, x| n.add_convolution(x, 3, [3], seeded(), None).groups(0).output())
            .contains("at least 1")
    );
    assert!(
        ty([1, 3, 4], |n, x| n.add_convolution(x, 4, [3], seeded(), None).groups(2).output())
            .contains("do not divide")
    );
}

#[test]
fn seeded_weights_keep_the_scale() {
    let mut net = NetworkBuilder::new("s");
    let x = net.add_input("x", DType::F32, [1, 64, 8, 8]);
    let y = net.add_convolution(x, 64, [3, 3], Weights::Seeded(9), None).name("c").output();
    net.mark_output("y", y);
    let g = net.build().unwrap();
    let w = g.node_ids().find_map(|n| g.node(n).as_constant().cloned()).unwrap();
    let w = w.values::<f32>().unwrap();
    let variance = w.iter().map(|v| f64::from(v * v)).sum::<f64>() / w.len() as f64;
    // He initialisation: 2 / fan-in.
    assert!((variance * 576.0 / 2.0 - 1.0).abs() < 0.02, "{variance}");
}
