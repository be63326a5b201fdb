//! Windows, reductions, softmax and norms.

use super::*;

#[test]
fn pools() {
    let op = |kind, window: usize, stride: usize, pad: usize, ceil| {
        Op::Pool(Pool {
            kind,
            window: vec![window; 2],
            strides: vec![stride; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            ceil,
        })
    };
    let x: Given<'_> = (&[2, 19, 13, 11], F, false);
    all_pass(&[
        problem(op(PoolKind::Max, 3, 2, 1, false), &[x], &[]),
        problem(op(PoolKind::Max, 2, 2, 0, true), &[x], &[relu()]),
        problem(op(PoolKind::Average { count_pad: false }, 3, 1, 1, false), &[x], &[]),
        problem(
            op(PoolKind::Average { count_pad: true }, 3, 2, 1, true),
            &[x],
            &[add((&[19, 1, 1], F, true))],
        ),
        problem(op(PoolKind::Lp { p: 2 }, 2, 1, 0, false), &[x], &[]),
    ]);
}

#[test]
fn reductions_and_softmax() {
    let reduce =
        |kind, axes: &[usize], keep_dims| Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims });
    let x: Given<'_> = (&[2, 18, 7, 9], F, false);
    let mut list = Vec::new();
    for kind in [
        ReduceKind::Sum,
        ReduceKind::Mean,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::Prod,
        ReduceKind::SumSquare,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::LogSumExp,
    ] {
        list.push(problem(reduce(kind, &[3], false), &[x], &[]));
        list.push(problem(reduce(kind, &[2, 3], true), &[x], &[relu()]));
    }
    list.push(problem(reduce(ReduceKind::Mean, &[1], false), &[x], &[]));
    list.push(problem(reduce(ReduceKind::Sum, &[0, 2], true), &[x], &[]));
    for largest in [false, true] {
        list.push(problem(
            Op::ArgReduce(ArgReduce { largest, axis: 1, keep_dims: true, last: !largest }),
            &[x],
            &[],
        ));
    }
    for (axis, log) in [(3, false), (1, false), (1, true)] {
        list.push(problem(Op::Softmax(Softmax { axis, log }), &[x], &[]));
    }
    all_pass(&list);
}

#[test]
fn normalisations() {
    let x: Given<'_> = (&[2, 12, 5, 6], F, false);
    let c: Given<'_> = (&[12], F, true);
    let last: Given<'_> = (&[6], F, true);
    all_pass(&[
        problem(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c, c, c, c], &[relu()]),
        problem(Op::LayerNorm(LayerNorm { axis: 3, epsilon: 1e-5 }), &[x, last, last], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[x], &[]),
        problem(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 1e-5 }), &[x, last], &[]),
        problem(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[x, c, c], &[relu()]),
        problem(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::Lrn(Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }), &[x], &[]),
    ]);
}

/// What has kernels of `f32` for most, on the CPU, in the other types of floats; `all_pass` does the short ones on a GPU.
#[test]
fn rows_of_every_float_type() {
    let x: Given<'_> = (&[2, 12, 5, 6], F, false);
    let c: Given<'_> = (&[12], F, true);
    let (last, given): (Given<'_>, Given<'_>) = ((&[6], F, true), (&[5, 6], F, false));
    let list = [
        problem(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c, c, c, c], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 3, epsilon: 1e-5 }), &[x, last, last], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 2, epsilon: 1e-5 }), &[x, given], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[x], &[]),
        problem(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 1e-5 }), &[x, last], &[]),
        problem(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::Lrn(Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }), &[x], &[]),
        problem(Op::Softmax(Softmax { axis: 3, log: false }), &[x], &[]),
        problem(Op::Softmax(Softmax { axis: 1, log: true }), &[x], &[]),
    ];
    let device = CpuDevice::new(Some(2)).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let list: Vec<Problem> = list.iter().map(|p| with_floats(p, dtype)).collect();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}
