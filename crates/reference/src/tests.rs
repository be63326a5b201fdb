//! Every expected number here was computed by ONNX Runtime 1.32.

use tactician_ir::*;
use tactician_types::Growth;

use crate::*;

/// The test pattern: quarters between -1.25 and 1.75.
fn ramp(sizes: &[usize]) -> Tensor {
    let n: usize = sizes.iter().product();
    let v: Vec<f32> = (0..n).map(|i| ((i * 7 % 13) as f32 - 5.0) / 4.0).collect();
    Tensor::new(sizes, &v).unwrap()
}

fn plus(t: &Tensor, by: f32) -> Tensor {
    let v: Vec<f32> = t.values::<f32>().unwrap().iter().map(|x| x + by).collect();
    Tensor::new(t.sizes(), &v).unwrap()
}

#[track_caller]
fn check(op: Op, inputs: &[&Tensor], sizes: &[usize], expected: &[f64]) {
    let got = eval_op(&op, inputs).unwrap();
    assert_eq!(got.sizes(), sizes);
    for (g, e) in got.values::<f32>().unwrap().iter().zip(expected) {
        assert!((f64::from(*g) - e).abs() <= 2e-6 * e.abs().max(1.0), "{g} for {e} in {}", op.name());
    }
}

#[test]
fn convolves() {
    let op =
        Op::Conv(Conv { strides: vec![2, 1], pads: vec![(1, 0), (0, 1)], dilations: vec![1, 2], groups: 2 });
    let expected = [
        -0.25, -1.0625, -0.25, -1.8125, -1.6875, -3.0, -1.875, -0.4375, 1.5, 1.0625, 2.25, 0.3125, 0.625,
        -0.125, 1.5625, 0.9375, -2.0625, -1.3125, -2.1875, -1.75, -1.625, -1.0, 0.4375, -0.4375, 2.3125,
        -1.4375, 2.9375, -0.75, 2.1875, 0.9375, 2.9375, 1.6875,
    ];
    check(op, &[&ramp(&[1, 2, 4, 5]), &ramp(&[4, 1, 3, 2]), &ramp(&[4])], &[1, 4, 2, 4], &expected);
}

#[test]
fn convolves_transposed() {
    let op = Op::ConvTranspose(ConvTranspose {
        strides: vec![2, 1],
        pads: vec![(1, 0), (0, 1)],
        dilations: vec![1, 1],
        output_padding: vec![1, 0],
        groups: 1,
    });
    let expected = [
        -2.5625, 2.3125, -4.0625, 2.625, 1.3125, -2.75, 0.4375, -2.75, -0.75, -1.6875, -1.1875, -2.0,
        -1.5625, -2.625, -3.5625, 1.8125, -1.375, -1.625, -1.5625, -0.9375, -2.75, -1.4375, 0.6875, -3.0,
        -1.25, -1.25, -1.25, -1.25, -0.9375, 3.6875, -3.0625, 3.75, 4.875, -3.3125, 11.75, -3.8125, 0.5,
        0.5625, 0.3125, 0.0, -1.1875, 3.4375, -3.4375, 3.3125, 1.125, -0.125, 0.4375, 0.3125, -0.25, 0.0625,
        -0.5625, 0.6875, 0.5, 0.5, 0.5, 0.5,
    ];
    check(op, &[&ramp(&[1, 2, 3, 3]), &ramp(&[2, 2, 3, 3]), &ramp(&[2])], &[1, 2, 7, 4], &expected);
}

#[test]
fn averages() {
    let op = Op::Pool(Pool {
        kind: PoolKind::Average { count_pad: false },
        window: vec![3; 2],
        strides: vec![2; 2],
        pads: vec![(1, 1); 2],
        dilations: vec![1; 2],
        ceil: false,
    });
    let expected = [-0.0625, 0.125, 0.3125, 0.3333333, 0.25, 0.1666667, 0.1875, 0.375, 0.5625];
    check(op, &[&ramp(&[1, 1, 5, 5])], &[1, 1, 3, 3], &expected);
}

#[test]
fn averages_with_padding() {
    let op = Op::Pool(Pool {
        kind: PoolKind::Average { count_pad: true },
        window: vec![3; 2],
        strides: vec![2; 2],
        pads: vec![(1, 1); 2],
        dilations: vec![1; 2],
        ceil: false,
    });
    let expected = [-0.02777778, 0.08333334, 0.1388889, 0.2222222, 0.25, 0.1111111, 0.08333334, 0.25, 0.25];
    check(op, &[&ramp(&[1, 1, 5, 5])], &[1, 1, 3, 3], &expected);
}

#[test]
fn takes_the_largest() {
    let op = Op::Pool(Pool {
        kind: PoolKind::Max,
        window: vec![3; 2],
        strides: vec![2; 2],
        pads: vec![(1, 1); 2],
        dilations: vec![1; 2],
        ceil: true,
    });
    let expected = [
        -3.75, -3.5, -3.25, -3.25, -3.75, -3.5, -3.25, -3.25, -3.25, -3.75, -3.5, -3.5, -4.0, -3.75, -3.5,
        -3.5,
    ];
    check(op, &[&plus(&ramp(&[1, 1, 6, 6]), -5.0)], &[1, 1, 4, 4], &expected);
}

#[test]
fn pools_by_norm() {
    let op = Op::Pool(Pool {
        kind: PoolKind::Lp { p: 3 },
        window: vec![2; 2],
        strides: vec![1; 2],
        pads: vec![(0, 0); 2],
        dilations: vec![1; 2],
        ceil: false,
    });
    let expected = [1.518294, 1.310371, 1.518294, 1.688328, 1.650964, 1.951981, 1.75, 1.760145, 1.864759];
    check(op, &[&ramp(&[1, 1, 4, 4])], &[1, 1, 3, 3], &expected);
}

#[test]
fn softmax() {
    let op = Op::Softmax(Softmax { axis: 1, log: false });
    let expected = [0.1243993, 0.7158687, 0.1597319, 0.3988584, 0.08899733, 0.5121443];
    check(op, &[&ramp(&[2, 3])], &[2, 3], &expected);
}

#[test]
fn log_softmax() {
    let op = Op::Softmax(Softmax { axis: 0, log: true });
    let expected = [-2.126928, -0.251929, -2.126928, -0.126928, -1.501929, -0.126928];
    check(op, &[&ramp(&[2, 3])], &[2, 3], &expected);
}

#[test]
fn log_sum_exp() {
    let op = Op::Reduce(Reduce { kind: ReduceKind::LogSumExp, axes: vec![1], keep_dims: false });
    let expected = [0.8342586, 1.669149];
    check(op, &[&ramp(&[2, 3])], &[2], &expected);
}

#[test]
fn normalises_over_channels() {
    let op = Op::Lrn(Lrn { size: 3, alpha: 0.5, beta: 0.75, bias: 1.5 });
    let expected =
        [-0.7642486, 0.3457393, -0.5900002, 0.4822032, -0.4822032, 0.5900002, -0.3457392, 0.7642486];
    check(op, &[&ramp(&[1, 4, 1, 2])], &[1, 4, 1, 2], &expected);
}

#[test]
fn layer_norm() {
    let op = Op::LayerNorm(LayerNorm { axis: 1, epsilon: 0.01 });
    let expected = [1.155249, 1.921575, 0.8431492, 2.593149, 1.155249, 1.921575, 0.8431492, 2.593149];
    check(op, &[&ramp(&[2, 4]), &ramp(&[4]), &plus(&ramp(&[4]), 1.0)], &[2, 4], &expected);
}

#[test]
fn instance_norm() {
    let op = Op::InstanceNorm(InstanceNorm { epsilon: 0.01 });
    let expected = [0.8194118, -1.987794, 0.4183824, 1.767353, 0.8048824, 1.927765];
    check(op, &[&ramp(&[1, 2, 3]), &ramp(&[2]), &plus(&ramp(&[2]), 1.0)], &[1, 2, 3], &expected);
}

#[test]
fn multiplies_matrices() {
    let op = Op::MatMul(MatMul::default());
    let expected = [1.8125, -1.25, -0.9375, 0.8125, -0.4375, 0.4375, -3.1875, 2.5];
    check(op, &[&ramp(&[2, 2, 3]), &ramp(&[3, 2])], &[2, 2, 2], &expected);
}

fn resize(mode: ResizeMode, coordinates: CoordinateMode) -> Op {
    let axis = |axis, size: usize, from: f32| ResizeAxis {
        axis,
        size: Dim::from(size),
        scale: size as f32 / from,
        roi: (0.0, 1.0),
    };
    Op::Resize(Resize { axes: vec![axis(2, 5, 3.0), axis(3, 3, 4.0)], mode, coordinates, extrapolation: 0.0 })
}

#[test]
fn resizes_linear_half_pixel() {
    let op = resize(ResizeMode::Linear { antialias: false }, CoordinateMode::HalfPixel);
    let expected = [
        -0.9583333,
        -0.25,
        0.4583332,
        -0.7583333,
        -0.04999998,
        0.6583332,
        -0.4583333,
        0.25,
        0.9583331,
        -0.1583332,
        0.5500001,
        1.258333,
        0.0416667,
        0.75,
        1.458333,
    ];
    check(op, &[&ramp(&[1, 1, 3, 4])], &[1, 1, 5, 3], &expected);
}

#[test]
fn resizes_linear_align_corners() {
    let op = resize(ResizeMode::Linear { antialias: false }, CoordinateMode::AlignCorners);
    let expected = [-1.25, -0.25, 0.75, -1.0, 0.0, 1.0, -0.75, 0.25, 1.25, -0.5, 0.5, 1.5, -0.25, 0.75, 1.75];
    check(op, &[&ramp(&[1, 1, 3, 4])], &[1, 1, 5, 3], &expected);
}

#[test]
fn resizes_cubic_half_pixel() {
    let op = resize(
        ResizeMode::Cubic { coefficient: -0.75, exclude_outside: false, antialias: false },
        CoordinateMode::HalfPixel,
    );
    let expected = [
        -1.020801,
        -0.2980001,
        0.4248013,
        -0.8148008,
        -0.09199993,
        0.6308009,
        -0.472801,
        0.25,
        0.9728011,
        -0.1308013,
        0.5919999,
        1.314801,
        0.07519909,
        0.7980003,
        1.520802,
    ];
    check(op, &[&ramp(&[1, 1, 3, 4])], &[1, 1, 5, 3], &expected);
}

#[test]
fn resizes_nearest_asymmetric() {
    let op = resize(ResizeMode::Nearest(NearestMode::Floor), CoordinateMode::Asymmetric);
    let expected = [-1.25, 0.5, -1.0, -1.25, 0.5, -1.0, -0.75, 1.0, -0.5, -0.75, 1.0, -0.5, -0.25, 1.5, 0.0];
    check(op, &[&ramp(&[1, 1, 3, 4])], &[1, 1, 5, 3], &expected);
}

#[test]
fn resizes_linear_pytorch_half_pixel() {
    let op = resize(ResizeMode::Linear { antialias: false }, CoordinateMode::PytorchHalfPixel);
    let expected = [
        -0.9583333,
        -0.25,
        0.4583332,
        -0.7583333,
        -0.04999998,
        0.6583332,
        -0.4583333,
        0.25,
        0.9583331,
        -0.1583332,
        0.5500001,
        1.258333,
        0.0416667,
        0.75,
        1.458333,
    ];
    check(op, &[&ramp(&[1, 1, 3, 4])], &[1, 1, 5, 3], &expected);
}

#[test]
fn erf() {
    let op = Op::Pointwise(Expr::unary(Unary::Erf));
    let expected = [-0.9229001, 0.5204999, -0.8427008, 0.7111557, -0.7111557, 0.8427008];
    check(op, &[&ramp(&[6])], &[6], &expected);
}

#[test]
fn softplus() {
    let op = Op::Pointwise(Expr::unary(Unary::Softplus));
    let expected = [0.2519291, 0.974077, 0.3132617, 1.136871, 0.386871, 1.313262];
    check(op, &[&ramp(&[6])], &[6], &expected);
}

#[test]
fn integer_remainder_has_the_sign_of_the_divisor() {
    let (a, b) =
        (Tensor::new(&[4], &[-7i32, 7, -7, 7]).unwrap(), Tensor::new(&[4], &[3i32, 3, -3, -3]).unwrap());
    let got = eval_op(&Op::Pointwise(Expr::binary(Binary::Mod)), &[&a, &b]).unwrap();
    assert_eq!(got.values::<i32>().unwrap().as_ref(), &[2, 1, -1, -2]);
    let zero = Tensor::new(&[1], &[0i32]).unwrap();
    let got = eval_op(&Op::Pointwise(Expr::binary(Binary::Div)), &[&a, &zero]).unwrap();
    assert_eq!(got.values::<i32>().unwrap().as_ref(), &[0; 4]);
}

fn cast(from: DType, to: DType, bytes: Vec<u8>) -> Tensor {
    let e = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(to, 0)]).unwrap();
    let x = Tensor::from_bytes(from, &[bytes.len() / from.size()], bytes).unwrap();
    eval_op(&Op::Pointwise(e), &[&x]).unwrap()
}

/// Codes of the common formats with their values as the papers that define them list them.
#[test]
fn converts_narrow_floats() {
    for (t, pairs) in [
        (
            DType::F8E4M3FN,
            [(0x7eu8, 448.0f64), (0x08, 0.015625), (0x01, 0.001953125), (0xc0, -2.0), (0x39, 1.125)],
        ),
        (
            DType::F8E4M3FNUZ,
            [(0x7f, 240.0), (0x08, 0.0078125), (0x01, 0.0009765625), (0xc8, -2.0), (0x41, 1.125)],
        ),
        (
            DType::F8E5M2,
            [(0x7b, 57344.0), (0x04, 6.103515625e-5), (0x01, 1.52587890625e-5), (0xc0, -2.0), (0x3d, 1.25)],
        ),
        (
            DType::F8E5M2FNUZ,
            [(0x7f, 57344.0), (0x04, 3.0517578125e-5), (0x01, 7.62939453125e-6), (0xc4, -2.0), (0x41, 1.25)],
        ),
        (DType::F8E8M0, [(127, 1.0), (0, 2f64.powi(-127)), (254, 2f64.powi(127)), (126, 0.5), (128, 2.0)]),
        (DType::F4E2M1, [(7, 6.0), (1, 0.5), (2, 1.0), (12, -2.0), (3, 1.5)]),
    ] {
        let wide = cast(t, DType::F64, pairs.map(|p| p.0).to_vec());
        assert_eq!(wide.values::<f64>().unwrap().as_ref(), &pairs.map(|p| p.1), "{t}");
        assert_eq!(cast(DType::F64, t, wide.bytes().to_vec()).bytes(), &pairs.map(|p| p.0), "{t}");
    }
    // Ties to even, and beyond the largest.
    let x = Tensor::new(&[5], &[1.0625f32, 1.1875, -464.0, 1e9, f32::NEG_INFINITY]).unwrap();
    let got = cast(DType::F32, DType::F8E4M3FN, x.bytes().to_vec());
    assert_eq!(got.bytes(), &[0x38, 0x3a, 0xfe, 0x7e, 0xfe]);
    assert_eq!(cast(DType::F32, DType::I4, x.bytes().to_vec()).bytes()[..3], [1, 1, 0]);
    assert_eq!(cast(DType::I32, DType::U4, (-3i32).to_le_bytes().to_vec()).bytes(), &[13]);
}

/// What is rounded to 8 bits on the way may come out one step away, and no more.
#[test]
fn bounds_cover_a_step_of_a_narrow_float() {
    let mut e = Expr::binary(Binary::Mul);
    e.push(ExprNode::Cast(DType::F8E4M3FN, 2));
    e.push(ExprNode::Cast(DType::F32, 3));
    let ty = TensorType::known(DType::F32, &[2]);
    let operand = Operand { ty: ty.clone(), constant: false };
    let p = Problem {
        anchor: Op::Pointwise(e),
        anchor_operands: 2,
        operands: vec![operand.clone(), operand],
        epilogue: Expr::identity(),
        result: ty.clone(),
        output: ty,
    };
    // The product 1.0625 lies between two values, 1.1 does not.
    let x = [Tensor::new(&[2], &[1.0625f32, 1.1]).unwrap(), Tensor::new(&[2], &[1f32, 1.0]).unwrap()];
    let exact = Exact::new(&p, &[&x[0], &x[1]]).unwrap();
    let bound = exact.bound(Growth::NONE).unwrap();
    assert_eq!(exact.values(), [1.0, 1.125]);
    assert!((0.125..0.126).contains(&bound[0]) && bound[1] < 1e-6, "{bound:?}");
}

/// A convolution with bias, residual and sigmoid.
fn problem() -> Problem {
    let ty = |s: &[usize]| TensorType::known(DType::F32, s);
    let operand = |s: &[usize]| Operand { ty: ty(s), constant: false };
    let mut e = Expr::empty();
    let (x, b, r) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)), e.push(ExprNode::Input(2)));
    let t = e.push(ExprNode::Binary(Binary::Add, x, b));
    let t = e.push(ExprNode::Binary(Binary::Add, t, r));
    let t = e.push(ExprNode::Unary(Unary::Sigmoid, t));
    let mut conv = Conv::unit(2);
    conv.pads = vec![(1, 1); 2];
    Problem {
        anchor: Op::Conv(conv),
        anchor_operands: 2,
        operands: vec![
            operand(&[1, 8, 6, 6]),
            operand(&[4, 8, 3, 3]),
            operand(&[4, 1, 1]),
            operand(&[1, 4, 6, 6]),
        ],
        epilogue: e.finish(t),
        result: ty(&[1, 4, 6, 6]),
        output: ty(&[1, 4, 6, 6]),
    }
}

/// The problem in plain `f32` loops, for the bound to hold over.
fn in_f32(operands: &[Tensor]) -> Vec<f32> {
    let v: Vec<Vec<f32>> = operands.iter().map(|t| t.values::<f32>().unwrap().into_owned()).collect();
    let mut out = Vec::new();
    for k in 0..4 {
        for y in 0..6i32 {
            for x in 0..6i32 {
                let mut sum = 0f32;
                for c in 0..8 {
                    for r in 0..9i32 {
                        let (i, j) = (y + r / 3 - 1, x + r % 3 - 1);
                        if (0..6).contains(&i) && (0..6).contains(&j) {
                            sum += v[0][c * 36 + (i * 6 + j) as usize] * v[1][(k * 8 + c) * 9 + r as usize];
                        }
                    }
                }
                let t = sum + v[2][k] + v[3][k * 36 + (y * 6 + x) as usize];
                out.push(1.0 / (1.0 + (-t).exp()));
            }
        }
    }
    out
}

#[test]
fn bounds_hold_for_honest_kernels_and_catch_small_errors() {
    let p = problem();
    for seed in 0..20 {
        for operands in [random_operands(&p, seed).unwrap(), adversarial_operands(&p, seed).unwrap()] {
            let list: Vec<&Tensor> = operands.iter().collect();
            let e = Exact::new(&p, &list).unwrap();
            let (exact, bound) = (e.values(), e.bound(Growth::NONE).unwrap());
            let mut got = in_f32(&operands);
            let c = compare(&Tensor::new(&[1, 4, 6, 6], &got).unwrap(), exact, &bound);
            assert!(c.ratio <= 1.0, "seed {seed}: {c:?}");
            got[7] += 1e-3;
            let c = compare(&Tensor::new(&[1, 4, 6, 6], &got).unwrap(), exact, &bound);
            assert!(c.ratio > 1.0, "seed {seed}: a wrong element passes: {c:?}");
        }
    }
}

#[test]
fn operands_repeat_and_fit() {
    let p = problem();
    assert_eq!(random_operands(&p, 3).unwrap(), random_operands(&p, 3).unwrap());
    assert_ne!(random_operands(&p, 3).unwrap(), random_operands(&p, 4).unwrap());
    let a = adversarial_operands(&p, 1).unwrap();
    let v = a[0].values::<f32>().unwrap();
    assert!(v.iter().all(|x| x.is_finite()) && v.contains(&0.0) && v.iter().any(|x| x.abs() > 50.0));
}

#[test]
fn errors_name_the_operation() {
    let text =
        eval_op(&Op::MatMul(MatMul::default()), &[&ramp(&[2, 3]), &ramp(&[2, 3])]).unwrap_err().to_string();
    assert!(text.contains("matmul") && text.contains("inner sizes differ"), "{text}");
    let indices = Tensor::new(&[1], &[7i64]).unwrap();
    let text = eval_op(&Op::Gather(Gather { axis: 0 }), &[&ramp(&[3]), &indices]).unwrap_err().to_string();
    assert!(text.contains("index 7"), "{text}");
}

#[test]
fn a_graph_is_its_operations() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[2, 3])).unwrap();
    let w = g.add_constant("w", ramp(&[3, 2]));
    let y = g.add(Op::MatMul(MatMul::default()), &[x, w], "y").unwrap();
    let z = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[y], "z").unwrap();
    g.mark_output("z", z);
    g.mark_output("y", y);
    let inputs = [("x".to_owned(), ramp(&[2, 3]))].into();
    let out = eval_graph(&g, &inputs).unwrap();
    let y: Vec<f32> = out["y"].values::<f32>().unwrap().into_owned();
    let z: Vec<f32> = out["z"].values::<f32>().unwrap().into_owned();
    assert!(y.iter().any(|v| *v < 0.0));
    assert!(y.iter().zip(&z).all(|(y, z)| *z == y.max(0.0)));
    let text = eval_graph(&g, &Default::default()).unwrap_err().to_string();
    assert!(text.contains("`x`") && text.contains("f32[2,3]"), "{text}");
}

#[test]
fn a_bias_counts_as_a_term_of_the_sum() {
    let mut g = Graph::new("g");
    let add = |g: &mut Graph, name: &str, sizes: &[usize]| {
        g.add_input(name, TensorType::known(DType::F32, sizes)).unwrap()
    };
    let x = add(&mut g, "x", &[1, 1, 3, 3]);
    let w = add(&mut g, "w", &[1, 1, 3, 3]);
    let b = add(&mut g, "b", &[1, 1, 1]);
    let y = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
    let z = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, b], "bias").unwrap();
    g.mark_output("z", z);
    let problem = Region::new("test", &g, &[y.node(), z.node()]).unwrap().problem(&g);
    let of = |sizes: &[usize], v: f32| {
        let n = sizes.iter().product();
        Tensor::new(sizes, &vec![v; n]).unwrap()
    };
    // A kernel that starts from the bias rounds nine times at its size.
    let (x, w, b) = (of(&[1, 1, 3, 3], 1.0), of(&[1, 1, 3, 3], 0.1), of(&[1, 1, 1], 1000.0));
    let operands = [&x, &w, &b];
    let e = Exact::new(&problem, &operands).unwrap();
    let (exact, bound) = (e.values(), e.bound(Growth::NONE).unwrap());
    let started_from_bias = (0..9).fold(1000.0f32, |sum, _| sum + 0.1);
    let error = (f64::from(started_from_bias) - exact[0]).abs();
    assert!(error > 2.0 * 1000.0 * 2f64.powi(-24), "the example must round several times: {error}");
    assert!(error <= bound[0], "{error} exceeds {}", bound[0]);
    assert!(bound[0] < 20.0 * 1000.0 * 2f64.powi(-24), "{}", bound[0]);
}

#[test]
fn operands_stored_as_another_type_are_rounded_first() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 1, 1, 2])).unwrap();
    let mut cast = Expr::identity();
    cast.push(ExprNode::Cast(DType::F16, 0));
    let low = g.add(Op::Pointwise(cast), &[x], "low").unwrap();
    let w = g.add_input("w", TensorType::known(DType::F16, &[1, 1, 1, 1])).unwrap();
    let y = g.add(Op::Conv(Conv::unit(2)), &[low, w], "conv").unwrap();
    g.mark_output("y", y);
    let problem = Region::new("test", &g, &[low.node(), y.node()]).unwrap().problem(&g);
    assert_eq!(problem.read_as(0), Some(DType::F16));
    // 2049 lies between two numbers of f16, 1 + 2⁻¹² rounds to 1.
    let x = Tensor::new(&[1, 1, 1, 2], &[2049.0f32, 1.000_244_1]).unwrap();
    let w = Tensor::new(&[1, 1, 1, 1], &[half::f16::ONE]).unwrap();
    let got = eval_problem(&problem, &[&x, &w]).unwrap();
    assert_eq!(got, Tensor::new(&[1, 1, 1, 2], &[2048.0, 1.0].map(half::f16::from_f32)).unwrap());
    let exact = Exact::new(&problem, &[&x, &w]).unwrap();
    assert_eq!(exact.values(), [2048.0, 1.0]);
    assert!(exact.bound(Growth::NONE).unwrap().iter().all(|b| *b < 2.0));
}

#[test]
fn tiles_share_their_largest_bound() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 1, 5, 5])).unwrap();
    let w = g.add_input("w", TensorType::known(DType::F32, &[1, 1, 1, 1])).unwrap();
    let y = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
    g.mark_output("y", y);
    let problem = Region::new("test", &g, &[y.node()]).unwrap().problem(&g);
    let mut values = vec![1.0f32; 25];
    values[6] = 1000.0;
    let (x, w) =
        (Tensor::new(&[1, 1, 5, 5], &values).unwrap(), Tensor::new(&[1, 1, 1, 1], &[1.0f32]).unwrap());
    let e = Exact::new(&problem, &[&x, &w]).unwrap();
    let grown = e.bound(Growth { factor: 2.0, tile: 2, ..Growth::NONE }).unwrap();
    let u = 2f64.powi(-24);
    // The tile of rows and columns 0 and 1 holds the large value; the last row and column have tiles of their own.
    for (i, g) in grown.iter().enumerate() {
        let size = f64::from(values[i]);
        let largest = if i / 5 < 2 && i % 5 < 2 { 1000.0 } else { size };
        let want = 2.0 * 5.0 * u * largest + u * size;
        assert!((g / want - 1.0).abs() < 1e-9, "{i}: {g} for {want}");
    }
}

#[test]
fn rounded_inputs_widen_the_bound_by_their_error() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 3])).unwrap();
    let w = g.add_input("w", TensorType::known(DType::F32, &[3, 1])).unwrap();
    let y = g.add(Op::MatMul(MatMul::default()), &[x, w], "y").unwrap();
    g.mark_output("y", y);
    let problem = Region::new("test", &g, &[y.node()]).unwrap().problem(&g);
    // Values whose last bits are lost in 11 bits of mantissa; the sum nearly cancels, the bound must not.
    let x = Tensor::new(&[1, 3], &[1.0004f32, -3.0007, 2.0001]).unwrap();
    let w = Tensor::new(&[3, 1], &[1.0003f32, 1.0001, 1.0002]).unwrap();
    let e = Exact::new(&problem, &[&x, &w]).unwrap();
    let rounded = Growth { inputs: 2f64.powi(-9), ..Growth::NONE };
    let (plain, wide) = (e.bound(Growth::NONE).unwrap()[0], e.bound(rounded).unwrap()[0]);
    let wide_of = |t: &Tensor| t.values::<f32>().unwrap().iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let cut = |v: f64| f64::from(f32::from_bits((v as f32).to_bits() & !0x1fff));
    let (x, w) = (wide_of(&x), wide_of(&w));
    let size: f64 = x.iter().zip(&w).map(|(x, w)| (x * w).abs()).sum();
    assert!(((wide - plain) / (2f64.powi(-9) * size) - 1.0).abs() < 1e-9, "{plain} {wide}");
    let error = (x.iter().zip(&w).map(|(x, w)| cut(*x) * cut(*w)).sum::<f64>() - e.values()[0]).abs();
    assert!(error > plain && error <= wide, "{error} of {plain} and {wide}");
}

#[test]
fn overflow_agrees_with_what_lies_beyond_the_type() {
    let of = |v: f32| Tensor::new(&[1], &[half::f16::from_f32(v)]).unwrap();
    for (got, exact, bound, fits) in [
        (f32::NEG_INFINITY, -87540.6, 90.0, true),
        (f32::INFINITY, -87540.6, 90.0, false),
        (f32::INFINITY, 65500.0, 64.0, true),
        (f32::INFINITY, 65000.0, 64.0, false),
        (65504.0, 87540.6, 90.0, false),
    ] {
        let c = compare(&of(got), &[exact], &[bound]);
        assert_eq!(c.ratio <= 1.0, fits, "{got} for {exact}: {c:?}");
        assert!(!fits || c.relative_l2 < 1e-2);
    }
}

#[test]
fn small_halves_are_rounded_absolutely() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F16, &[1, 1])).unwrap();
    let w = g.add_input("w", TensorType::known(DType::F16, &[1, 1])).unwrap();
    let y = g.add(Op::MatMul(MatMul::default()), &[x, w], "y").unwrap();
    g.mark_output("y", y);
    let problem = Region::new("test", &g, &[y.node()]).unwrap().problem(&g);
    let half = |v: f64| Tensor::new(&[1, 1], &[half::f16::from_f64(v)]).unwrap();
    let e = Exact::new(&problem, &[&half(0.0024), &half(0.0023)]).unwrap();
    let bound = e.bound(Growth::NONE).unwrap();
    assert!(compare(&half(e.values()[0]), e.values(), &bound).ratio <= 1.0);
    assert!(compare(&half(e.values()[0] * 1.05), e.values(), &bound).ratio > 1.0);
}

#[test]
fn empty_results_take_no_time() {
    let empty = |sizes: &[usize]| Tensor::from_bytes(DType::I64, sizes, vec![]).unwrap();
    let y = eval_op(&Op::MatMul(MatMul::default()), &[&empty(&[1 << 40, 0]), &empty(&[0, 0])]).unwrap();
    assert_eq!(y.sizes(), [1 << 40, 0]);
    let y = eval_op(&Op::MatMul(MatMul::default()), &[&empty(&[0, 1 << 20, 3]), &empty(&[3, 0])]).unwrap();
    assert_eq!(y.sizes(), [0, 1 << 20, 0]);
}
