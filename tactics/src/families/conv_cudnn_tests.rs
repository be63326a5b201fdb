use std::collections::BTreeSet;

use tactician_cuda::cudnn::{self, CudnnStep, Function, Role};
use tactician_device::DeviceKind;
use tactician_ir::Tensor;
use tactician_types::{Binary, DType, Expr, ExprNode};

use super::*;
use crate::cudnn::tests::{after_sum, convolution as problem, h100, number, relu_of_sum};

const X: &[usize] = &[2, 16, 7, 7];
const W: &[usize] = &[8, 16, 3, 3];
const BIAS: &[usize] = &[8, 1, 1];
const FULL: &[usize] = &[2, 8, 7, 7];

#[test]
fn residuals_come_before_the_bias() {
    let p = problem(DType::F16, X, W, 1, &[BIAS, FULL], relu_of_sum(2));
    let graph = graph(&p).unwrap().graph;
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
            let g = graph(&p).unwrap().graph;
            assert_eq!(g.tensors.iter().map(|t| t.sizes.len()).max(), Some(x.len().max(4)));
            let elements = |s: Vec<usize>| s.iter().product::<usize>() as u64 * dtype.size() as u64;
            assert_eq!(g.check().unwrap().outputs, [elements(p.output.sizes().unwrap())]);
        }
    }
    let strides = |x: &[usize], w: &[usize]| {
        graph(&problem(DType::F16, x, w, 1, &[], Expr::identity())).unwrap().graph.tensors[0].strides.clone()
    };
    assert_eq!(strides(X, W), [784, 1, 112, 16]);
    assert_eq!(strides(&[2, 4, 9], &[6, 4, 3]), [36, 1, 36, 4]);
    assert!(graph(&problem(DType::F64, X, W, 1, &[], Expr::identity())).is_none());
    let mut mixed = problem(DType::F16, X, W, 1, &[BIAS], relu_of_sum(1));
    mixed.operands[2].ty.dtype = DType::F32;
    assert!(graph(&mixed).is_none());
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
            eprintln!("skipped: {:?}", cudnn::candidates(&graph(&p).unwrap().graph, device.cuda().unwrap()).err());
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

#[test]
fn other_epilogues_become_nodes_of_their_own() {
    // A hard swish behind a bias: x · min(max(x + 3, 0), 6) / 6, and what is subtracted from a number.
    let hard_swish = after_sum(1, |e, x| {
        let [three, zero, six] = [3.0, 0.0, 6.0].map(|v| number(e, v));
        let shifted = e.push(ExprNode::Binary(Binary::Add, x, three));
        let low = e.push(ExprNode::Binary(Binary::Max, shifted, zero));
        let clamped = e.push(ExprNode::Binary(Binary::Min, low, six));
        let product = e.push(ExprNode::Binary(Binary::Mul, x, clamped));
        e.push(ExprNode::Binary(Binary::Div, product, six))
    });
    let p = problem(DType::F16, X, W, 1, &[BIAS], hard_swish);
    let g = graph(&p).unwrap().graph;
    let functions: Vec<Function> = g
        .nodes
        .iter()
        .filter_map(|n| match n {
            NodeSpec::Pointwise { function, .. } => Some(*function),
            _ => None,
        })
        .collect();
    use Function::*;
    assert_eq!(functions, [Add, Add, Max, Min, Mul, Div]);
    let values: Vec<f32> = g
        .tensors
        .iter()
        .filter_map(|t| match t.role {
            Role::Value(bits) => Some(f32::from_bits(bits)),
            _ => None,
        })
        .collect();
    assert_eq!(values, [3.0, 0.0, 6.0, 6.0]);
    let from_number = |op| {
        let e = after_sum(0, |e, x| {
            let one = number(e, 1.0);
            e.push(ExprNode::Binary(op, one, x))
        });
        graph(&problem(DType::F16, X, W, 1, &[], e)).map(|c| c.graph.nodes.len())
    };
    assert_eq!(from_number(Binary::Sub), Some(3));
    assert_eq!(from_number(Binary::Div), None, "cuDNN's first operand is never broadcast");
    assert_eq!(from_number(Binary::Pow), None);
}
