//! Random graphs keep their results and have proper partitions.

use proptest::prelude::*;
use tactician_ir::{
    BatchNorm, Binary, Concat, ConvTranspose, DType, Dim, Expand, Expr, Graph, MatMul, Op, Pad, PadMode,
    Pool, PoolKind, Reduce, ReduceKind, Region, Reshape, Scalar, Shape, Slice, SliceAxis, Softmax, Tensor,
    Transpose, Unary, ValueId,
};

use crate::testing::*;
use crate::{FusionPolicy, NoFusion, POLICIES, canonicalize, lower, proposals};

/// Adds node after node, each chosen by a few numbers. What the operation refuses is left out.
fn random(choices: &[(u8, u8, u8, u8)]) -> Graph {
    let mut g = Graph::new("random");
    let mut values = vec![input(&mut g, "x", &[1, 4, 5, 5]), input(&mut g, "y", &[1, 4, 1, 5])];
    for (i, &(kind, a, b, p)) in choices.iter().enumerate() {
        // Recent values more often, so that chains form.
        let pick = |n: u8| values[values.len() - 1 - (n as usize % values.len()).min(n as usize % 4)];
        let (x, y) = (pick(a), pick(b));
        if let Some(v) = step(&mut g, kind, x, y, p, i as u64)
            && g.ty(v).elements().is_some_and(|n| n > 0 && n < 4096)
        {
            values.push(v);
        }
    }
    // Whatever nobody reads is an output, and a middle value now and then.
    for (i, &v) in values.clone().iter().enumerate() {
        let last = g.users(v).is_empty();
        if !g.inputs().contains(&v.node())
            && !g.is_output(v)
            && (last || i % 5 == 4)
            && g.constant(v).is_none()
        {
            g.mark_output(&format!("o{i}"), v);
        }
    }
    g
}

fn step(g: &mut Graph, kind: u8, x: ValueId, y: ValueId, p: u8, seed: u64) -> Option<ValueId> {
    let sizes = g.ty(x).sizes().unwrap();
    let (rank, p) = (sizes.len(), p as usize);
    let channels = sizes.get(1).copied().unwrap_or(1);
    let per_channel = [&[channels][..], &vec![1; rank.saturating_sub(2)]].concat();
    let unaries = [Unary::Relu, Unary::Sigmoid, Unary::Neg, Unary::Tanh, Unary::Abs];
    let binaries = [Binary::Add, Binary::Mul, Binary::Sub, Binary::Max, Binary::Min];
    match kind % 20 {
        0 | 1 => Some(unary(g, unaries[p % 5], x)),
        2..=4 => g.add(Op::Pointwise(Expr::binary(binaries[p % 5])), &[x, y], "b").ok(),
        5 | 6 if rank >= 2 => {
            let k = constant(g, &per_channel, seed);
            Some(binary(g, binaries[p % 3], x, k))
        }
        7 => {
            let k = filled(g, &vec![1; p % (rank + 1)], [0.0, 1.0, 2.0, -0.5][p % 4]);
            Some(binary(g, binaries[p / 4 % 5], x, k))
        }
        8 | 9 if rank == 4 => Some(conv(g, x, 1 + p % 5, 1 + 2 * (p / 8 % 2), p % 3 == 0)),
        10 if rank >= 3 => {
            let mut inputs = vec![x];
            inputs.extend((0..3).map(|i| constant(g, &[channels], seed + i)));
            inputs.push(filled(g, &[channels], 0.75));
            g.add(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &inputs, "bn").ok()
        }
        11 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            if rank > 1 {
                perm.swap(p % rank, p / 8 % rank);
            }
            g.add(Op::Transpose(Transpose { perm }), &[x], "t").ok()
        }
        12 => {
            let total: usize = sizes.iter().product();
            let shape = if p % 2 == 0 && rank > 0 { vec![sizes[0], total / sizes[0]] } else { sizes.clone() };
            g.add(Op::Reshape(Reshape { shape: Shape::known(&shape) }), &[x], "r").ok()
        }
        13 if rank == 4 => {
            let mode = PadMode::Constant(Scalar::f32([0.0, f32::NEG_INFINITY, 1.0][p % 3]));
            let padded = g
                .add(
                    Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (p / 4 % 2, 1), (0, p / 8 % 2)], mode }),
                    &[x],
                    "pad",
                )
                .ok()?;
            let kind = [PoolKind::Max, PoolKind::Average { count_pad: p % 2 == 0 }][p / 3 % 2];
            let pool = Pool {
                kind,
                window: vec![2; 2],
                strides: vec![1 + p / 2 % 2; 2],
                pads: vec![(0, 0); 2],
                dilations: vec![1; 2],
                ceil: p % 5 == 0,
            };
            // An average over an infinite border is all infinite: no test of anything.
            if p % 3 == 1 && kind != PoolKind::Max {
                None
            } else {
                g.add(Op::Pool(pool), &[padded], "pool").ok()
            }
        }
        14 if rank >= 2 => {
            let n = if p % 2 == 0 { sizes[rank - 1] } else { 3 };
            let trans_b = p % 3 == 0;
            let k = sizes[rank - 1];
            let w = constant(g, &if trans_b { [n, k] } else { [k, n] }, seed);
            g.add(Op::MatMul(MatMul { trans_a: false, trans_b }), &[x, w], "m").ok()
        }
        15 if rank > 0 => g.add(Op::Softmax(Softmax { axis: p % rank, log: p % 2 == 0 }), &[x], "s").ok(),
        16 if rank > 0 => {
            let kind = [ReduceKind::Mean, ReduceKind::Max, ReduceKind::Sum][p % 3];
            g.add(Op::Reduce(Reduce { kind, axes: vec![p % rank], keep_dims: p % 2 == 0 }), &[x], "red").ok()
        }
        17 if rank > 0 => g.add(Op::Concat(Concat { axis: p % rank }), &[x, y][..1 + p % 2], "cat").ok(),
        18 if rank > 0 => {
            let (axis, whole) = (p % rank, p % 2 == 0);
            let n = sizes[axis];
            let len = if whole { n } else { n.div_ceil(2) };
            let axes = vec![SliceAxis { axis, start: Dim::known(0), len: Dim::from(len), step: 1 }];
            g.add(Op::Slice(Slice { axes }), &[x], "slice").ok()
        }
        19 if rank == 4 && p % 2 == 0 => {
            let w = constant(g, &[channels, 2, 2, 2], seed);
            let op = ConvTranspose {
                strides: vec![1; 2],
                pads: vec![(0, 1); 2],
                dilations: vec![1; 2],
                output_padding: vec![0; 2],
                groups: 1,
            };
            g.add(Op::ConvTranspose(op), &[x, w], "ct").ok()
        }
        19 => g.add(Op::Expand(Expand { shape: Shape::known(&sizes) }), &[x], "e").ok(),
        _ => {
            // A constant that a later node may use.
            let k = constant(g, &sizes, seed);
            Some(unary(g, Unary::Abs, k))
        }
    }
}

/// The region's result, computed as its problem says, from the operands' values.
fn compute(g: &Graph, region: &Region, values: &std::collections::BTreeMap<ValueId, Tensor>) -> Tensor {
    let problem = region.problem(g);
    let operands: Vec<Tensor> = region
        .inputs
        .iter()
        .zip(&problem.operands)
        .map(|(v, o)| values[v].reshaped(&o.ty.sizes().unwrap()).unwrap())
        .collect();
    tactician_reference::eval_problem(&problem, &operands.iter().collect::<Vec<_>>()).unwrap()
}

/// The outputs as a policy's regions compute them; its partition must be proper.
fn by_regions(g: &Graph, policy: &dyn FusionPolicy) -> Vec<Tensor> {
    let partition = policy.choose(g, &proposals(g));
    assert_eq!(partition.check(g), Ok(()));
    let mut values = crate::testing::leaves(g);
    for region in partition.regions() {
        let result = compute(g, region, &values);
        values.insert(region.output, result);
    }
    g.outputs().iter().map(|(_, v)| values[v].clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn canonical_graphs_compute_the_same(
        choices in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..24),
    ) {
        let g = random(&choices);
        let (after, report) = canonicalize(g.clone()).unwrap();
        prop_assert!(report.rounds < crate::MAX_ROUNDS);
        same_results(&g, &after, 1e-4);
        let (_, again) = canonicalize(after.clone().into_inner()).unwrap();
        prop_assert_eq!(again.changes(), 0);
    }

    #[test]
    fn partitions_are_proper_and_compute_the_same(
        choices in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..24),
    ) {
        let (g, _) = canonicalize(random(&choices)).unwrap();
        for &policy in POLICIES {
            assert_close(&by_regions(&g, policy), &evaluate(&g), 1e-4);
        }
    }

    #[test]
    fn partitions_of_lower_precision_are_proper_and_compute_the_same(
        choices in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..24),
        short in proptest::bool::ANY,
    ) {
        let (g, _) = canonicalize(random(&choices)).unwrap();
        let dtype = if short { DType::F16 } else { DType::BF16 };
        // A constant may be too large for the type.
        let low = lower(&g, dtype);
        prop_assume!(low.is_ok());
        let (g, _) = canonicalize(low.unwrap()).unwrap();
        // Regions round after every node; a convolution with a bias, before it.
        let apart = by_regions(&g, &NoFusion);
        for &policy in POLICIES {
            assert_close(&by_regions(&g, policy), &apart, 0.0);
        }
    }
}
