use tactician_cuda::cudnn::{NodeSpec, PoolKind as Kind};
use tactician_ir::{Pool, PoolKind};
use tactician_types::{DType, Expr, ExprNode, Unary};

use super::*;
use crate::cudnn::tests::{after_sum, listed, operation, relu_of_sum};

/// A pool of square windows over all spatial axes of `x`, with pads before and behind, to sizes `y`.
fn problem(
    dtype: DType,
    kind: PoolKind,
    x: &[usize],
    [window, stride]: [usize; 2],
    pads: (usize, usize),
    ceil: bool,
    (more, epilogue): (&[&[usize]], Expr),
) -> Problem {
    let axes = x.len() - 2;
    let op = Pool {
        kind,
        window: vec![window; axes],
        strides: vec![stride; axes],
        pads: vec![pads; axes],
        dilations: vec![1; axes],
        ceil,
    };
    let mut y = x.to_vec();
    for (y, x) in y[2..].iter_mut().zip(&x[2..]) {
        let free = x + pads.0 + pads.1 - window;
        *y = 1 + if ceil { free.div_ceil(stride) } else { free / stride };
    }
    let operands: Vec<&[usize]> = [x].into_iter().chain(more.iter().copied()).collect();
    operation(dtype, Op::Pool(op), 1, &operands, &y, epilogue)
}

const MEAN: PoolKind = PoolKind::Average { count_pad: false };
const MEAN_OF_ALL: PoolKind = PoolKind::Average { count_pad: true };

fn bare() -> (&'static [&'static [usize]], Expr) {
    (&[], Expr::identity())
}

/// The node of a pool.
fn node(p: &Problem) -> Option<(Kind, Vec<u32>, Vec<(u32, u32)>, Vec<u32>)> {
    match graph(p, Layout::ChannelsLast)?.graph.nodes.swap_remove(0) {
        NodeSpec::Pool { kind, window, pads, strides, .. } => Some((kind, window, pads, strides)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn describes_windows() {
    let x: &[usize] = &[2, 8, 9, 9];
    let max = problem(DType::F16, PoolKind::Max, x, [3, 2], (1, 1), false, bare());
    assert_eq!(node(&max), Some((Kind::Max, vec![3; 2], vec![(1, 1); 2], vec![2; 2])));
    let mean = problem(DType::F32, MEAN, x, [3, 2], (1, 1), false, bare());
    assert_eq!(node(&mean).unwrap().0, Kind::Mean { count_pad: false });
    let all = problem(DType::BF16, MEAN_OF_ALL, x, [3, 2], (1, 1), false, bare());
    assert_eq!(node(&all).unwrap().0, Kind::Mean { count_pad: true });
    // One axis becomes two; three stay three.
    let line = problem(DType::F16, PoolKind::Max, &[2, 8, 9], [3, 2], (1, 0), false, bare());
    assert_eq!(node(&line), Some((Kind::Max, vec![1, 3], vec![(0, 0), (1, 0)], vec![1, 2])));
    let volume = problem(DType::F16, PoolKind::Max, &[1, 8, 5, 5, 5], [2, 1], (0, 0), false, bare());
    assert_eq!(node(&volume).unwrap().1, [2; 3]);
}

#[test]
fn partial_windows_have_more_padding() {
    let x: &[usize] = &[1, 8, 6, 6];
    let p = |kind| problem(DType::F16, kind, x, [3, 2], (0, 0), true, bare());
    assert_eq!(node(&p(PoolKind::Max)).unwrap().2, [(0, 1); 2]);
    assert_eq!(node(&p(MEAN)).unwrap().2, [(0, 1); 2]);
    // What lies beyond the padding does not count, and cuDNN would count it.
    assert_eq!(node(&p(MEAN_OF_ALL)), None);
}

#[test]
fn leaves_other_pools_alone() {
    let x: &[usize] = &[1, 8, 6, 6];
    let max = problem(DType::F16, PoolKind::Max, x, [2, 2], (0, 0), false, bare());
    let with = |change: &dyn Fn(&mut Pool)| {
        let mut p = max.clone();
        let Op::Pool(op) = &mut p.anchor else { panic!("a pool") };
        change(op);
        node(&p)
    };
    assert!(with(&|_| {}).is_some());
    assert_eq!(with(&|p| p.kind = PoolKind::Lp { p: 2 }), None);
    assert_eq!(with(&|p| p.dilations = vec![1, 2]), None);
    for dtype in [DType::I32, DType::F64] {
        assert_eq!(node(&problem(dtype, PoolKind::Max, x, [2, 2], (0, 0), false, bare())), None);
    }
    assert_eq!(node(&problem(DType::F16, PoolKind::Max, x, [2, 2], (2, 2), false, bare())), None);
}

#[test]
fn lists_tactics_where_cudnn_is() {
    let x: &[usize] = &[1, 64, 56, 56];
    let sum: &[&[usize]] = &[&[1, 64, 28, 28]];
    let erf = after_sum(0, |e, x| e.push(ExprNode::Unary(Unary::Erf, x)));
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for kind in [PoolKind::Max, MEAN, MEAN_OF_ALL] {
            let p = problem(dtype, kind, x, [3, 2], (1, 1), false, bare());
            let list = listed(&FAMILY, &p, "pool.cudnn/", false);
            for t in &list {
                let layout = if t.id.contains("/nhwc.") { Layout::ChannelsLast } else { Layout::Plain };
                assert_eq!((t.inputs[0], t.output), (layout, layout), "{}", t.id);
                assert_eq!(t.growth.inputs, 0.0, "{}: nothing is multiplied", t.id);
            }
        }
        for (more, epilogue) in [(sum, relu_of_sum(1)), (&[][..], erf.clone())] {
            let p = problem(dtype, PoolKind::Max, x, [3, 2], (1, 1), false, (more, epilogue));
            let list = listed(&FAMILY, &p, "pool.cudnn/nhwc.e", false);
            assert!(list.iter().all(|t| t.inputs == vec![Layout::ChannelsLast; 1 + more.len()]));
        }
    }
    // Engines that are compiled already need no driver.
    if tactician_cuda::cudnn::version().is_some() {
        let p = problem(DType::F16, PoolKind::Max, x, [3, 2], (1, 1), false, bare());
        let list = FAMILY.tactics(&p, &crate::cudnn::tests::h100());
        assert!(list.iter().any(|t| t.id.starts_with("pool.cudnn/plain.e")), "{list:?}");
    }
}
