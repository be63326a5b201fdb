use super::*;
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use tactician_types::{Binary, Expr, Unary};

const KINDS: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::Prod,
    ReduceKind::SumSquare,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
];

fn of_list(kind: ReduceKind, v: &[f64]) -> f64 {
    let sum = |f: &dyn Fn(f64) -> f64| v.iter().map(|&x| f(x)).sum::<f64>();
    match kind {
        ReduceKind::Sum => sum(&|x| x),
        ReduceKind::Mean => sum(&|x| x) / v.len() as f64,
        ReduceKind::Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ReduceKind::Min => v.iter().copied().fold(f64::INFINITY, f64::min),
        ReduceKind::Prod => v.iter().product(),
        ReduceKind::SumSquare => sum(&|x| x * x),
        ReduceKind::L1 => sum(&f64::abs),
        ReduceKind::L2 => sum(&|x| x * x).sqrt(),
        ReduceKind::LogSum => sum(&|x| x).ln(),
        ReduceKind::LogSumExp => sum(&f64::exp).ln(),
    }
}

fn naive(kind: ReduceKind, kept: &Grid, x: &[f32]) -> Vec<f64> {
    let mut lists = vec![Vec::new(); kept.operand_lens().unwrap()[0]];
    for (at, &v) in x.iter().enumerate() {
        lists[crate::ops::pointwise::tests::source(kept, 0, at)].push(f64::from(v));
    }
    lists.iter().map(|l| of_list(kind, l)).collect()
}

fn epilogue(out: usize, expr: Expr, operands: Vec<u16>) -> GridExpr {
    GridExpr { expr, grid: Grid { sizes: vec![out], operands } }
}

#[test]
fn reductions_by_definition() {
    let mut rng = Rng::new(13);
    let pools = pools();
    for round in 0..400 {
        let rank = rng.below(6);
        let sizes: Vec<usize> = (0..rank)
            .map(|_| match round % 8 {
                0 => rng.pick(&[1, 300, 16]),
                _ => rng.pick(&[1, 2, 3, 7, 8, 16, 49, 65, 70]),
            })
            .collect();
        let n: usize = sizes.iter().product();
        if n > 150_000 {
            continue;
        }
        let kept = Grid { operands: vec![rng.next() as u16 & ((1 << rank) - 1)], sizes };
        let out = kept.operand_lens().unwrap()[0];
        let kind = KINDS[round % KINDS.len()];
        let mut x = rng.floats(n);
        match kind {
            // Products and logarithms of values that stay modest.
            ReduceKind::Prod => x.iter_mut().for_each(|v| *v = 1.0 + *v * 1e-3),
            ReduceKind::LogSum => x.iter_mut().for_each(|v| *v = v.abs() + 0.01),
            ReduceKind::LogSumExp => x.iter_mut().for_each(|v| *v *= 80.0),
            _ => {}
        }
        let what = format!("{kind:?} {kept:?}");
        let want = naive(kind, &kept, &x);
        let plain = Reduce::new(kind, kept.clone(), epilogue(out, Expr::identity(), vec![]));
        let other = rng.floats(out);
        let sums: Vec<f64> = want.iter().zip(&other).map(|(a, &b)| a + f64::from(b)).collect();
        let added = Reduce::new(kind, kept, epilogue(out, Expr::binary(Binary::Add), vec![1]));
        // Rounding grows with the length of a product or stretch; sums of values that cancel are compared with 1.
        let tolerance = if kind == ReduceKind::Prod { 2e-4 } else { 2e-5 };
        for threads in &pools {
            assert_close(&run(plain.clone(), std::slice::from_ref(&x), threads), &want, tolerance, &what);
            assert_close(&run(added.clone(), &[x.clone(), other.clone()], threads), &sums, tolerance, &what);
        }
    }
}

#[test]
fn long_sums_stay_accurate() {
    for kept in [
        Grid { sizes: vec![1 << 20], operands: vec![0] },
        Grid { sizes: vec![1 << 17, 8], operands: vec![0b10] },
    ] {
        let x = vec![0.1f32; 1 << 20];
        let out = kept.operand_lens().unwrap()[0];
        let want = vec![f64::from(0.1f32); out];
        let mean = Reduce::new(ReduceKind::Mean, kept, epilogue(out, Expr::identity(), vec![]));
        for threads in pools() {
            assert_close(&run(mean.clone(), std::slice::from_ref(&x), &threads), &want, 1e-5, "mean");
        }
    }
}

#[test]
fn of_nothing_and_of_infinities() {
    let run_one = |kind, sizes: &[usize], x: &[f32]| {
        let kept = Grid { sizes: sizes.to_vec(), operands: vec![0b1] };
        let out = sizes[0];
        let reduce = Reduce::new(kind, kept, epilogue(out, Expr::identity(), vec![]));
        run(reduce, &[x.to_vec()], &Threads::new(1).unwrap())
    };
    assert_eq!(run_one(ReduceKind::Sum, &[2, 0], &[]), [0.0; 2]);
    assert_eq!(run_one(ReduceKind::Prod, &[2, 0], &[]), [1.0; 2]);
    assert_eq!(run_one(ReduceKind::Max, &[1, 0], &[]), [f32::NEG_INFINITY]);
    assert!(run_one(ReduceKind::Sum, &[0, 3], &[]).is_empty());
    let (inf, none) = (f32::INFINITY, f32::NEG_INFINITY);
    assert_eq!(run_one(ReduceKind::LogSumExp, &[3, 2], &[none, none, inf, 1.0, none, 2.0]), [none, inf, 2.0]);
    assert!(run_one(ReduceKind::Max, &[1, 3], &[1.0, f32::NAN, 2.0])[0].is_nan());
}

#[test]
fn hostile_parameters() {
    for operand in [0b101, 0b110, 0b010] {
        let kept = Grid { sizes: vec![3, 5, 9], operands: vec![operand] };
        let out = kept.operand_lens().unwrap()[0];
        let epilogue = epilogue(out, Expr::unary(Unary::Relu), vec![1]);
        hostile(&Reduce::new(ReduceKind::LogSumExp, kept, epilogue));
    }
}
