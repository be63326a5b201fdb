use super::*;
use crate::ops::{Conv, ConvTranspose, LayerNorm, MatMul, Pool, PoolKind, Reduce, Slice, SliceAxis, Softmax};
use crate::{Dim, Graph, NodeId, Region, Tensor, TensorType, ValueId};
use tactician_types::{Binary, Unary};

fn input(g: &mut Graph, name: &str, dtype: DType, sizes: &[usize]) -> ValueId {
    g.add_input(name, TensorType::known(dtype, sizes)).unwrap()
}

fn weights(g: &mut Graph, sizes: &[usize]) -> ValueId {
    g.add_constant("w", Tensor::new(sizes, &vec![0.5f32; sizes.iter().product()]).unwrap())
}

/// The features of the region of these nodes.
fn of(g: &Graph, nodes: &[ValueId]) -> Features {
    let nodes: Vec<NodeId> = nodes.iter().map(|v| v.node()).collect();
    Region::new("test", g, &nodes).unwrap().problem(g).features()
}

#[test]
fn a_convolution_with_bias_residual_and_relu() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", DType::F32, &[2, 8, 10, 12]);
    let r = input(&mut g, "r", DType::F32, &[2, 16, 5, 6]);
    let (w, b) = (weights(&mut g, &[16, 4, 3, 3]), weights(&mut g, &[16]));
    let op = Conv { strides: vec![2, 2], pads: vec![(1, 1); 2], dilations: vec![1, 1], groups: 2 };
    let c = g.add(Op::Conv(op), &[x, w, b], "c").unwrap();
    let s = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[c, r], "s").unwrap();
    let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[s], "y").unwrap();
    let f = of(&g, &[c, s, y]);
    assert_eq!((f.op.as_str(), f.dtype, f.result.as_slice()), ("conv", DType::F32, &[2, 16, 5, 6][..]));
    let window = WindowFeatures {
        batch: 2,
        in_channels: 8,
        out_channels: 16,
        groups: 2,
        input: vec![10, 12],
        output: vec![5, 6],
        kernel: vec![3, 3],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads: vec![(1, 1); 2],
    };
    assert_eq!((f.window.as_ref(), f.product), (Some(&window), None));
    // 960 results of 4 channels by 9 positions, multiplied and added.
    assert_eq!(f.anchor_flops, 69_120);
    // Bias, residual, ReLU.
    assert_eq!((f.epilogue_ops, f.epilogue_operands, f.epilogue_flops), (3, 2, 2_880));
    assert_eq!(f.flops(), 72_000);
    // x 1920 and r 960 floats; w 576 and b 16; 960 results.
    assert_eq!((f.bytes_read, f.constant_bytes, f.bytes_written), (11_520, 2_368, 3_840));
    assert_eq!(f.intensity(), 72_000.0 / 17_728.0);
}

#[test]
fn a_transposed_convolution_counts_what_it_scatters() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", DType::F32, &[1, 3, 4, 4]);
    let w = weights(&mut g, &[3, 5, 2, 2]);
    let op = ConvTranspose {
        strides: vec![2, 2],
        pads: vec![(0, 0); 2],
        dilations: vec![1, 1],
        output_padding: vec![0, 0],
        groups: 1,
    };
    let y = g.add(Op::ConvTranspose(op), &[x, w], "y").unwrap();
    let f = of(&g, &[y]);
    assert_eq!(f.result, [1, 5, 8, 8]);
    // 48 elements to 5 channels at 4 positions.
    assert_eq!((f.anchor_flops, f.epilogue_flops), (2 * 48 * 5 * 4, 0));
}

#[test]
fn a_product_of_batches() {
    let mut g = Graph::new("t");
    let a = input(&mut g, "a", DType::F16, &[3, 2, 64, 32]);
    let b = input(&mut g, "b", DType::F16, &[2, 16, 64]);
    let op = MatMul { trans_a: true, trans_b: true };
    let y = g.add(Op::MatMul(op), &[a, b], "y").unwrap();
    let f = of(&g, &[y]);
    assert_eq!(f.product, Some(ProductFeatures { matrices: 6, m: 32, n: 16, k: 64 }));
    assert_eq!(f.anchor_flops, 2 * 6 * 32 * 16 * 64);
    assert_eq!((f.bytes_read, f.constant_bytes, f.bytes_written), (2 * (12_288 + 2_048), 0, 2 * 3_072));
}

#[test]
fn a_pool_and_a_reduction() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", DType::F32, &[1, 4, 9]);
    let pool = |kind| {
        Op::Pool(Pool {
            kind,
            window: vec![3],
            strides: vec![3],
            pads: vec![(0, 0)],
            dilations: vec![1],
            ceil: false,
        })
    };
    let p = g.add(pool(PoolKind::Max), &[x], "p").unwrap();
    let f = of(&g, &[p]);
    assert_eq!((f.anchor_flops, f.bytes_read, f.bytes_written), (12 * 3, 144, 48));
    let w = f.window.unwrap();
    assert_eq!((w.groups, w.kernel.as_slice(), w.output.as_slice()), (4, &[3][..], &[3][..]));
    let lp = g.add(pool(PoolKind::Lp { p: 2 }), &[x], "lp").unwrap();
    assert_eq!(of(&g, &[lp]).anchor_flops, 72);
    for (kind, flops) in [(ReduceKind::Mean, 36), (ReduceKind::SumSquare, 72), (ReduceKind::LogSumExp, 72)] {
        let r = g.add(Op::Reduce(Reduce { kind, axes: vec![2], keep_dims: false }), &[x], "r").unwrap();
        let f = of(&g, &[r]);
        assert_eq!((f.anchor_flops, f.result.as_slice(), f.window), (flops, &[1, 4][..], None));
    }
}

#[test]
fn rows_are_normalised() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", DType::F32, &[4, 8]);
    let s = g.add(Op::Softmax(Softmax { axis: 1, log: false }), &[x], "s").unwrap();
    assert_eq!(of(&g, &[s]).anchor_flops, 160);
    let (w, b) = (weights(&mut g, &[8]), weights(&mut g, &[8]));
    let norm = || Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 });
    let bare = g.add(norm(), &[x], "bare").unwrap();
    let full = g.add(norm(), &[x, w, b], "full").unwrap();
    assert_eq!((of(&g, &[bare]).anchor_flops, of(&g, &[full]).anchor_flops), (192, 256));
    assert_eq!(of(&g, &[full]).constant_bytes, 64);
}

#[test]
fn pointwise_work_and_movement() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", DType::F32, &[2, 3]);
    let s = g.add(Op::Pointwise(Expr::unary(Unary::Sigmoid)), &[x], "s").unwrap();
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Mul)), &[x, s], "y").unwrap();
    let f = of(&g, &[s, y]);
    // The anchor is the whole; x is read once.
    assert_eq!((f.op.as_str(), f.anchor_flops, f.epilogue_ops, f.epilogue_operands), ("pointwise", 12, 0, 0));
    assert_eq!((f.bytes_read, f.bytes_written, f.intensity()), (24, 24, 0.25));
    let axes = vec![SliceAxis { axis: 1, start: Dim::known(0), len: Dim::known(1), step: 1 }];
    let part = g.add(Op::Slice(Slice { axes }), &[x], "part").unwrap();
    let f = of(&g, &[part]);
    assert_eq!((f.anchor_flops, f.bytes_read, f.bytes_written, f.intensity()), (0, 8, 8, 0.0));
}

#[test]
fn sums_stop_at_the_largest_number() {
    let huge = TensorType::known(DType::F32, &[1 << 20, 1 << 20]);
    let p = Problem {
        anchor: Op::MatMul(MatMul::default()),
        anchor_operands: 2,
        operands: vec![crate::Operand { ty: huge.clone(), constant: false }; 2],
        epilogue: Expr::identity(),
        result: TensorType::known(DType::F32, &[1 << 30, 1 << 30, 1 << 30]),
        output: huge,
    };
    assert_eq!(p.features().anchor_flops, u64::MAX);
}
