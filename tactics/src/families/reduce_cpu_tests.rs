use super::*;
use crate::pointwise_cpu::tests::{at, chain, chained, check, floats, problem};
use tactician_ir::{ArgReduce, Softmax};
use tactician_types::Expr;

/// Means or largest values over axes, in `f64`.
fn naive(op: &ReduceOp, x: &[f32], sizes: &[usize]) -> Vec<f64> {
    let kept: Vec<usize> =
        sizes.iter().enumerate().map(|(a, &s)| if op.axes.contains(&a) { 1 } else { s }).collect();
    let mut lists = vec![Vec::new(); kept.iter().product()];
    let numbers: Vec<f32> = (0..lists.len()).map(|i| i as f32).collect();
    for (i, &v) in x.iter().enumerate() {
        lists[at(&numbers, &kept, sizes, i) as usize].push(f64::from(v));
    }
    lists
        .iter()
        .map(|l| match op.kind {
            Kind::Mean => l.iter().sum::<f64>() / l.len() as f64,
            Kind::Max => l.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            _ => l.iter().map(|v| v.exp()).sum::<f64>().ln(),
        })
        .collect()
}

#[test]
fn reductions_in_every_layout() {
    let image: &[usize] = &[2, 32, 3, 5];
    for (sizes, axes, keep_dims, tactics) in [
        (image, vec![2, 3], true, 3),
        (image, vec![2, 3], false, 3),
        (image, vec![3], true, 3),
        (image, vec![1], true, 2),
        (image, vec![0, 2, 3], false, 1),
        (image, vec![], true, 3),
        (&[2, 20, 3, 5], vec![2, 3], false, 2),
        (&[2, 20, 3, 5], vec![2, 3], true, 3),
        (&[7, 50], vec![1], false, 1),
        (&[4, 3, 50], vec![0, 1, 2], false, 1),
    ] {
        for kind in [Kind::Mean, Kind::Max, Kind::LogSumExp] {
            let op = ReduceOp { kind, axes: axes.clone(), keep_dims };
            let anchor = Op::Reduce(op.clone());
            let out = problem(anchor.clone(), 1, &[(sizes, false)], Expr::identity()).output.sizes().unwrap();
            let operands: [(&[usize], bool); 3] = [(sizes, false), (&out, false), (&[], true)];
            let p = problem(anchor, 1, &operands, chain(3));
            let data: Vec<Vec<f32>> =
                operands.iter().zip(1..).map(|((s, _), i)| floats(s.iter().product(), i)).collect();
            let want: Vec<f64> = naive(&op, &data[0], sizes)
                .into_iter()
                .enumerate()
                .map(|(i, v)| chained(&[v, f64::from(data[1][i]), f64::from(data[2][0])]))
                .collect();
            let names = check(&p, "reduce.cpu", &data, &want, 3e-6);
            // Rank 1 or 2 results are plain; a full operand of the result comes in its layout.
            assert_eq!(names.len(), tactics, "{p}: {names:?}");
        }
    }
}

#[test]
fn softmax_in_plain_and_channels_last() {
    let sizes: &[usize] = &[2, 20, 3, 5];
    for (axis, tactics) in [(1, 2), (3, 1), (0, 1), (2, 1)] {
        for log in [false, true] {
            let operands = [(sizes, false), (sizes, false)];
            let p = problem(Op::Softmax(Softmax { axis, log }), 1, &operands, chain(2));
            let data = [floats(600, 1), floats(600, 2)];
            let inner: usize = sizes[axis + 1..].iter().product();
            let want: Vec<f64> = (0..600)
                .map(|i| {
                    let first = i - i / inner % sizes[axis] * inner;
                    let sum: f64 =
                        (0..sizes[axis]).map(|j| f64::from(data[0][first + j * inner]).exp()).sum();
                    let log_of = f64::from(data[0][i]) - sum.ln();
                    chained(&[if log { log_of } else { log_of.exp() }, f64::from(data[1][i])])
                })
                .collect();
            assert_eq!(check(&p, "softmax.cpu", &data, &want, 2e-6).len(), tactics);
        }
    }
}

#[test]
fn positions_have_a_tactic() {
    let anchor = Op::ArgReduce(ArgReduce { largest: true, axis: 1, keep_dims: false, last: false });
    let p = problem(anchor, 1, &[(&[2, 20, 3, 5], false)], Expr::identity());
    let device = tactician_cpu::CpuDevice::new(Some(1)).unwrap();
    let list = crate::tactics(&p, tactician_device::Device::info(&device));
    assert_eq!(list.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["argreduce.cpu/plain"]);
}
