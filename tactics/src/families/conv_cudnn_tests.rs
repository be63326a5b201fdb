use std::collections::BTreeSet;

use tactician_cuda::cudnn::Function;
use tactician_device::DeviceKind;
use tactician_ir::{Conv, Operand, Tensor, TensorType};
use tactician_types::{Binary, Expr, ExprId, ExprNode, Scalar, Unary};

use super::*;

/// A convolution of `x` with `w`, same padding, and an epilogue over operands of these sizes.
fn problem(dtype: DType, x: &[usize], w: &[usize], stride: usize, more: &[&[usize]], epilogue: Expr) -> Problem {
    let axes = x.len() - 2;
    let pads: Vec<(usize, usize)> = w[2..].iter().map(|k| (k / 2, k / 2)).collect();
    let conv = Conv { strides: vec![stride; axes], pads, groups: x[1] / w[1], ..Conv::unit(axes) };
    let mut y = vec![x[0], w[0]];
    y.extend((0..axes).map(|i| (x[2 + i] + w[2 + i] / 2 * 2 - w[2 + i]) / stride + 1));
    let operand = |sizes: &[usize], constant| Operand { ty: TensorType::known(dtype, sizes), constant };
    let mut operands = vec![operand(x, false), operand(w, true)];
    operands.extend(more.iter().map(|s| operand(s, s.len() < x.len())));
    let output = TensorType::known(dtype, &y);
    Problem { anchor: Op::Conv(conv), anchor_operands: 2, operands, epilogue, result: output.clone(), output }
}

/// An expression written by `make` over the sum of inputs 0 to `inputs`.
fn after_sum(inputs: u16, make: impl FnOnce(&mut Expr, ExprId) -> ExprId) -> Expr {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for i in 1..=inputs {
        let b = e.push(ExprNode::Input(i));
        at = e.push(ExprNode::Binary(Binary::Add, at, b));
    }
    let root = make(&mut e, at);
    e.finish(root)
}

fn number(e: &mut Expr, v: f64) -> ExprId {
    e.push(ExprNode::Const(Scalar::float(DType::F16, v)))
}

const X: &[usize] = &[2, 16, 7, 7];
const W: &[usize] = &[8, 16, 3, 3];
const BIAS: &[usize] = &[8, 1, 1];
const FULL: &[usize] = &[2, 8, 7, 7];

fn chain(more: &[&[usize]], epilogue: Expr) -> Option<Chain> {
    Chain::of(&problem(DType::F16, X, W, 1, more, epilogue))
}

#[test]
fn recognises_sums() {
    let sum = |n| after_sum(n, |_, x| x);
    let of = |residual, bias| Some(Chain { residual, bias, function: None });
    assert_eq!(chain(&[], Expr::identity()), of(None, None));
    assert_eq!(chain(&[BIAS], sum(1)), of(None, Some(2)));
    assert_eq!(chain(&[FULL], sum(1)), of(Some(2), None));
    assert_eq!(chain(&[BIAS, FULL], sum(2)), of(Some(3), Some(2)));
    assert_eq!(chain(&[FULL, BIAS], sum(2)), of(Some(2), Some(3)));
    // The order of addition does not matter.
    let mut e = Expr::empty();
    let [c, b, r] = [0, 1, 2].map(|i| e.push(ExprNode::Input(i)));
    let first = e.push(ExprNode::Binary(Binary::Add, b, r));
    e.push(ExprNode::Binary(Binary::Add, first, c));
    assert_eq!(chain(&[BIAS, FULL], e), of(Some(3), Some(2)));
}

#[test]
fn recognises_functions() {
    let of = |make: &dyn Fn(&mut Expr, ExprId) -> ExprId| {
        chain(&[BIAS], after_sum(1, make)).map(|c| (c.bias, c.function))
    };
    let some = |f| Some((Some(2), Some(f)));
    let relu = some(Function::Relu { upper: None });
    let clip = some(Function::Relu { upper: Some(6.0) });
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Relu, x))), relu);
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Sigmoid, x))), some(Function::Sigmoid));
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Tanh, x))), some(Function::Tanh));
    let bound = |e: &mut Expr, op, x, v| {
        let v = number(e, v);
        e.push(ExprNode::Binary(op, x, v))
    };
    assert_eq!(of(&|e, x| bound(e, Binary::Max, x, 0.0)), relu);
    assert_eq!(
        of(&|e, x| {
            let low = bound(e, Binary::Max, x, 0.0);
            bound(e, Binary::Min, low, 6.0)
        }),
        clip
    );
    assert_eq!(
        of(&|e, x| {
            let high = bound(e, Binary::Min, x, 6.0);
            e.push(ExprNode::Unary(Unary::Relu, high))
        }),
        clip
    );
    for swapped in [false, true] {
        let swish = of(&|e, x| {
            let s = e.push(ExprNode::Unary(Unary::Sigmoid, x));
            let (a, b) = if swapped { (s, x) } else { (x, s) };
            e.push(ExprNode::Binary(Binary::Mul, a, b))
        });
        assert_eq!(swish, some(Function::Swish));
    }
}

#[test]
fn leaves_other_epilogues_alone() {
    let relu = |e: &mut Expr, x| e.push(ExprNode::Unary(Unary::Relu, x));
    // A residual after the function.
    let late = after_sum(1, |e, x| {
        let y = relu(e, x);
        let r = e.push(ExprNode::Input(2));
        e.push(ExprNode::Binary(Binary::Add, y, r))
    });
    assert_eq!(chain(&[BIAS, FULL], late), None);
    // Two biases; a value a column; the result twice; bounds that are no ReLU; a function of the result alone.
    assert_eq!(chain(&[BIAS, BIAS], after_sum(2, |_, x| x)), None);
    assert_eq!(chain(&[&[7]], after_sum(1, |_, x| x)), None);
    assert_eq!(chain(&[], after_sum(0, |e, x| e.push(ExprNode::Binary(Binary::Add, x, x)))), None);
    for (low, high) in [(-1.0, 1.0), (0.0, 0.0), (0.0, f64::INFINITY), (1.0, 2.0)] {
        let e = after_sum(1, |e, x| {
            let (l, h) = (number(e, low), number(e, high));
            let x = e.push(ExprNode::Binary(Binary::Max, x, l));
            e.push(ExprNode::Binary(Binary::Min, x, h))
        });
        assert_eq!(chain(&[BIAS], e), None, "{low} {high}");
    }
    let scaled = after_sum(0, |e, x| {
        let b = e.push(ExprNode::Input(1));
        e.push(ExprNode::Binary(Binary::Mul, x, b))
    });
    assert_eq!(chain(&[BIAS], scaled), None);
}

fn relu_of_sum(inputs: u16) -> Expr {
    after_sum(inputs, |e, x| e.push(ExprNode::Unary(Unary::Relu, x)))
}

#[test]
fn residuals_come_before_the_bias() {
    let p = problem(DType::F16, X, W, 1, &[BIAS, FULL], relu_of_sum(2));
    let (graph, _) = graph(&p).unwrap();
    let operands: Vec<_> = graph
        .nodes
        .iter()
        .filter_map(|n| match n {
            NodeSpec::Pointwise { b: Some(b), .. } => Some(graph.tensors[usize::from(*b)].role),
            _ => None,
        })
        .collect();
    assert_eq!(operands, [Role::Input(3), Role::Input(2)]);
    let inner: Vec<DType> =
        graph.tensors.iter().filter(|t| t.role == Role::Virtual).map(|t| t.dtype).collect();
    assert_eq!(inner, [DType::F32; 3]);
    let bytes = graph.check().unwrap();
    assert_eq!(bytes.inputs, [2 * 16 * 49 * 2, 8 * 16 * 9 * 2, 16, 2 * 8 * 49 * 2]);
    assert_eq!(bytes.outputs, [2 * 8 * 49 * 2]);
}

#[test]
fn describes_one_to_three_axes_and_groups() {
    for (x, w, stride) in [
        (&[1, 4, 9][..], &[6, 4, 3][..], 2),
        (&[2, 12, 8, 6], &[12, 1, 5, 3], 1),
        (&[1, 4, 5, 6, 7], &[2, 2, 3, 1, 3], 2),
    ] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let p = problem(dtype, x, w, stride, &[], Expr::identity());
            let (g, _) = graph(&p).unwrap();
            assert_eq!(g.tensors.iter().map(|t| t.sizes.len()).max(), Some(x.len().max(4)));
            let elements = |s: Vec<usize>| s.iter().product::<usize>() as u64 * dtype.size() as u64;
            assert_eq!(g.check().unwrap().outputs, [elements(p.output.sizes().unwrap())]);
        }
    }
    let strides = |x: &[usize], w: &[usize]| {
        graph(&problem(DType::F16, x, w, 1, &[], Expr::identity())).unwrap().0.tensors[0].strides.clone()
    };
    assert_eq!(strides(X, W), [784, 1, 112, 16]);
    assert_eq!(strides(&[2, 4, 9], &[6, 4, 3]), [36, 1, 36, 4]);
    assert!(graph(&problem(DType::F64, X, W, 1, &[], Expr::identity())).is_none());
    let mut mixed = problem(DType::F16, X, W, 1, &[BIAS], relu_of_sum(1));
    mixed.operands[2].ty.dtype = DType::F32;
    assert!(graph(&mixed).is_none());
}

/// An H100 with the cuDNN that is found.
fn h100() -> DeviceInfo {
    CudaInfo { nvrtc: None, cudnn: cudnn::version(), ..CudaInfo::h100() }.on_paper()
}

/// Whether it may be taken only where TF32 is allowed.
fn rounds(t: &Tactic) -> bool {
    t.growth.inputs > 0.0
}

#[test]
fn lists_tactics_where_cudnn_is() {
    let device = h100();
    for (dtype, x, w, stride) in [
        (DType::F16, &[1, 256, 14, 14][..], &[256, 256, 3, 3][..], 1),
        (DType::BF16, &[1, 256, 14, 14], &[256, 256, 3, 3], 1),
        (DType::F32, &[1, 256, 14, 14], &[256, 256, 3, 3], 1),
        (DType::F16, &[8, 3, 224, 224], &[64, 3, 7, 7], 2),
        (DType::F16, &[1, 32, 56, 56], &[32, 1, 3, 3], 1),
        (DType::F16, &[1, 64, 100], &[64, 64, 3], 1),
    ] {
        let k = [w[0], 1, 1];
        let p = problem(dtype, x, w, stride, &[&k[..x.len() - 1]], relu_of_sum(1));
        let list = FAMILY.tactics(&p, &device);
        if cudnn::version().is_none() {
            eprintln!("skipped: {:?}", cudnn::candidates(&graph(&p).unwrap().0, device.cuda().unwrap()).err());
            assert!(list.is_empty());
            continue;
        }
        assert!(!list.is_empty(), "{p}");
        assert!(list.iter().any(|t| t.workspace == 0), "{p}: all need scratch");
        let ids: BTreeSet<&str> = list.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(ids.len(), list.len(), "{p}");
        assert!(ids.iter().all(|id| id.starts_with("conv.cudnn/e")), "{ids:?}");
        for t in &list {
            assert_eq!(rounds(t), t.id.ends_with(".tf32"), "{}", t.id);
            assert!(dtype == DType::F32 || !rounds(t), "{}", t.id);
            assert_eq!(t.inputs, [Layout::ChannelsLast, Layout::Plain, Layout::Plain]);
        }
        if dtype == DType::F32 {
            let plain = list.iter().filter(|t| !rounds(t)).count();
            assert!(plain > 0 && plain < list.len(), "{plain} of {} tactics keep f32 as it is", list.len());
        }
        assert_eq!(FAMILY.tactics(&p, &device).len(), list.len(), "the second answer differs");
    }
}

#[test]
fn packs_weights_channels_last() {
    let device = h100();
    let p = problem(DType::F32, &[1, 2, 4, 4], &[1, 2, 1, 2], 1, &[], Expr::identity());
    let Some(tactic) = FAMILY.tactics(&p, &device).into_iter().next() else {
        assert!(cudnn::version().is_none(), "no tactic for {p}");
        return;
    };
    let w = Tensor::new(&[1, 2, 1, 2], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let emission = tactic.emit(&[None, Some(w)]).unwrap();
    let values: &[f32] = bytemuck::cast_slice(&emission.packed[0].bytes);
    assert_eq!(values, [1.0, 3.0, 2.0, 4.0]);
    let step: CudnnStep = postcard::from_bytes(&emission.steps[0].params).unwrap();
    assert_eq!(step.workspace, tactic.workspace);
}

#[test]
fn serves_no_other_device() {
    let mut device = h100();
    let p = problem(DType::F16, X, W, 1, &[], Expr::identity());
    if let DeviceKind::Cuda(c) = &mut device.kind {
        c.cudnn = Some(1);
    }
    assert!(FAMILY.tactics(&p, &device).is_empty(), "another version's engines are not those of this one");
    if let DeviceKind::Cuda(c) = &mut device.kind {
        c.cudnn = None;
    }
    assert!(FAMILY.tactics(&p, &device).is_empty());
}
