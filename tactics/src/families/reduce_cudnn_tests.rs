use tactician_cuda::cudnn::{NodeSpec, PoolKind};
use tactician_ir::{Reduce, ReduceKind};
use tactician_types::{DType, Expr};

use super::*;
use crate::cudnn::tests::{listed, operation, relu_of_sum};

fn problem(dtype: DType, kind: ReduceKind, x: &[usize], axes: Vec<usize>, keep_dims: bool) -> Problem {
    let mut y: Vec<usize> = Vec::new();
    for (i, &n) in x.iter().enumerate() {
        match axes.contains(&i) {
            true if keep_dims => y.push(1),
            true => {}
            false => y.push(n),
        }
    }
    operation(dtype, Op::Reduce(Reduce { kind, axes, keep_dims }), 1, &[x], &y, Expr::identity())
}

#[test]
fn whole_images_are_one_window() {
    for (x, window) in [
        (&[2, 8, 7, 5][..], &[7, 5][..]),
        (&[2, 8, 7], &[1, 7]),
        (&[2, 8, 3, 7, 5], &[3, 7, 5]),
    ] {
        for keep in [false, true] {
            let p = problem(DType::F16, ReduceKind::Mean, x, (2..x.len()).collect(), keep);
            let call = graph(&p).unwrap();
            let NodeSpec::Pool { kind, window: found, .. } = &call.graph.nodes[0] else { panic!("a pool") };
            assert_eq!((*kind, &found[..]), (PoolKind::Mean { count_pad: false }, window));
            assert_eq!(call.passes[0].layout, Layout::ChannelsLast);
            assert_eq!(call.output, Layout::Plain);
            assert_eq!(call.graph.check().unwrap().outputs, [2 * 8 * 2]);
        }
    }
}

#[test]
fn leaves_other_reductions_alone() {
    let x: &[usize] = &[2, 8, 7, 5];
    assert!(graph(&problem(DType::F16, ReduceKind::Max, x, vec![2, 3], true)).is_some());
    for (kind, axes) in [
        (ReduceKind::Sum, vec![2, 3]),
        (ReduceKind::Mean, vec![3]),
        (ReduceKind::Mean, vec![1, 2, 3]),
        (ReduceKind::Mean, vec![]),
    ] {
        assert!(graph(&problem(DType::F16, kind, x, axes.clone(), true)).is_none(), "{kind:?} {axes:?}");
    }
    assert!(graph(&problem(DType::F16, ReduceKind::Mean, &[2, 8], vec![], true)).is_none());
}

#[test]
fn lists_tactics_where_cudnn_is() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (kind, keep) in [(ReduceKind::Mean, true), (ReduceKind::Max, false)] {
            let mut p = problem(dtype, kind, &[2, 64, 7, 7], vec![2, 3], keep);
            listed(&FAMILY, &p, "reduce.cudnn/nhwc.e", false);
            let like = p.operands[0].clone();
            p.operands.push(tactician_ir::Operand { ty: p.result.clone(), ..like });
            p.epilogue = relu_of_sum(1);
            listed(&FAMILY, &p, "reduce.cudnn/nhwc.e", false);
        }
    }
}
