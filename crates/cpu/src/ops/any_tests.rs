use super::*;
use crate::ops::pointwise::tests::source;
use crate::ops::pool::tests::windows;
use crate::ops::testing::{Rng, hostile, of_bytes, pools, run_bytes};

fn bytes<T: bytemuck::NoUninit>(v: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

/// What a hostile plan asks for.
#[test]
fn nothing_is_reduced_or_ordered_in_narrow_types() {
    for dtype in DType::ALL.into_iter().filter(|t| t.is_narrow()) {
        for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::L2] {
            let kept = Grid { sizes: vec![3, 4], operands: vec![0b01] };
            let e = ReduceAny { kind, dtype, kept, ready: None }.sizes(1).unwrap_err();
            assert!(e.contains(dtype.name()), "{e}");
        }
        let arg = ArgReduce { dtype, outer: 2, n: 3, inner: 4, largest: true, last: false };
        assert!(arg.sizes(1).unwrap_err().contains(dtype.name()));
        let top = crate::ops::TopK { dtype, outer: 2, n: 3, inner: 4, k: 1, largest: true };
        assert!(top.sizes(1).unwrap_err().contains(dtype.name()));
    }
}

#[test]
fn integer_reductions() {
    let mut rng = Rng::new(31);
    for _ in 0..80 {
        let rank = rng.below(5);
        let sizes: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 5, 9])).collect();
        let kept = Grid { sizes, operands: vec![rng.next() as u16 & ((1 << rank) - 1)] };
        let n = kept.elements().unwrap();
        let x: Vec<i32> = (0..n).map(|_| rng.next() as i32 >> 20).collect();
        let mut lists = vec![Vec::new(); kept.operand_lens().unwrap()[0]];
        for (at, &v) in x.iter().enumerate() {
            lists[source(&kept, 0, at)].push(i64::from(v));
        }
        for (kind, of) in [
            (ReduceKind::Sum, (|l| l.iter().sum()) as fn(&[i64]) -> i64),
            (ReduceKind::Mean, |l| l.iter().sum::<i64>() / l.len() as i64),
            (ReduceKind::Max, |l| *l.iter().max().unwrap()),
            (ReduceKind::Min, |l| *l.iter().min().unwrap()),
            (ReduceKind::SumSquare, |l| l.iter().map(|v| v * v).sum()),
            (ReduceKind::L1, |l| l.iter().map(|v| v.abs()).sum()),
        ] {
            let want: Vec<i32> = lists.iter().map(|l| of(l) as i32).collect();
            let kernel = ReduceAny { kind, dtype: DType::I32, kept: kept.clone(), ready: None };
            for pool in pools() {
                let got = run_bytes(kernel.clone(), &[bytes(&x)], &pool);
                assert_eq!(of_bytes::<i32>(&got), want, "{kind:?} {kept:?}");
            }
        }
    }
}

#[test]
fn float_and_bool_reductions() {
    let kept = Grid { sizes: vec![2, 3], operands: vec![0b01] };
    let run = |kind, dtype, x: Vec<u8>| {
        run_bytes(ReduceAny { kind, dtype, kept: kept.clone(), ready: None }, &[x], &Threads::new(1).unwrap())
    };
    let x = [1.0f64, 2.0, 3.0, -1.0, 0.5, 700.0];
    let got = of_bytes::<f64>(&run(ReduceKind::LogSumExp, DType::F64, bytes(&x)));
    assert!((got[0] - 3.407_605_964_444_38).abs() < 1e-12 && (got[1] - 700.0).abs() < 1e-12, "{got:?}");
    let half = x.map(f16::from_f64);
    let got = of_bytes::<f16>(&run(ReduceKind::L2, DType::F16, bytes(&half)));
    assert_eq!(got, [f16::from_f64(14f64.sqrt()), f16::from_f64(490_001.25f64.sqrt())]);
    let got = of_bytes::<bf16>(&run(ReduceKind::Prod, DType::BF16, bytes(&[bf16::from_f32(1.5); 6])));
    assert_eq!(got, [bf16::from_f32(3.375); 2]);
    assert_eq!(run(ReduceKind::Max, DType::Bool, vec![0, 7, 0, 0, 0, 0]), [1, 0]);
    assert_eq!(run(ReduceKind::Min, DType::Bool, vec![1, 7, 1, 1, 0, 1]), [1, 0]);
    assert_eq!(run(ReduceKind::Sum, DType::U8, vec![200, 100, 1, 1, 2, 3]), [45, 6]);
    let of_nothing = ReduceAny {
        kind: ReduceKind::Max,
        dtype: DType::I8,
        kept: Grid { sizes: vec![1, 0], operands: vec![0b01] },
        ready: None,
    };
    assert_eq!(run_bytes(of_nothing, &[vec![]], &Threads::new(1).unwrap()), [0x80]);
    let bad = ReduceAny { kind: ReduceKind::Sum, dtype: DType::Bool, kept: kept.clone(), ready: None };
    assert!(bad.sizes(1).unwrap_err().contains("bool"));
}

#[test]
fn pools_agree_with_the_float_kernel() {
    let mut rng = Rng::new(37);
    for round in 0..60 {
        let inner = rng.pick(&[1, 8]);
        let w = windows(&mut rng, inner);
        let kind = [
            PoolKind::Max,
            PoolKind::Average { count_pad: false },
            PoolKind::Average { count_pad: true },
            PoolKind::Lp { p: 3 },
        ][round % 4];
        let (n, out) = w.check().unwrap();
        let x: Vec<f32> = rng.floats(n);
        let half: Vec<f16> = x.iter().map(|&v| f16::from_f32(v)).collect();
        let exact: Vec<f32> = half.iter().map(|v| v.to_f32()).collect();
        let grid = Grid { sizes: vec![out], operands: vec![] };
        let epilogue = crate::ops::GridExpr { expr: tactician_types::Expr::identity(), grid };
        let float = crate::ops::Pool { kind, windows: w.clone(), epilogue, ready: None };
        for pool in pools() {
            let want = crate::ops::testing::run(float.clone(), std::slice::from_ref(&exact), &pool);
            let any = PoolAny { kind, dtype: DType::F16, windows: w.clone() };
            let got = of_bytes::<f16>(&run_bytes(any, &[bytes(&half)], &pool));
            for (g, w) in got.iter().zip(&want) {
                let close = (g.to_f32() - w).abs() <= 1e-3 * w.abs().max(1e-3);
                assert!(close || g.to_f32() == *w, "{kind:?}: {g} {w}");
            }
        }
    }
}

#[test]
fn integers_pool_to_the_largest() {
    let mut w = windows(&mut Rng::new(1), 1);
    (w.outer, w.input, w.output, w.window) = (1, [1, 1, 4], [1, 1, 4], [1, 1, 2]);
    (w.strides, w.pads, w.dilations) = ([1; 3], [(0, 0), (0, 0), (1, 0)], [1; 3]);
    let pool = PoolAny { kind: PoolKind::Max, dtype: DType::I8, windows: w };
    let got = run_bytes(pool.clone(), &[vec![0x80, 3, 0xff, 0xfe]], &Threads::new(2).unwrap());
    assert_eq!(got, [0x80, 3, 3, 0xff]);
    let mean = PoolAny { kind: PoolKind::Average { count_pad: true }, ..pool };
    assert!(mean.sizes(1).unwrap_err().contains("i8"));
}

#[test]
fn positions_of_extremes() {
    let mut rng = Rng::new(41);
    for round in 0..80 {
        let (outer, n, inner) = (rng.pick(&[1, 3]), rng.pick(&[1, 4, 50]), rng.pick(&[1, 5, 70]));
        let (largest, last) = (round % 2 == 0, round / 2 % 2 == 0);
        let x: Vec<i32> = (0..outer * n * inner).map(|_| rng.below(12) as i32 - 6).collect();
        let mut want = Vec::new();
        for o in 0..outer {
            for i in 0..inner {
                let column: Vec<i32> = (0..n).map(|j| x[(o * n + j) * inner + i]).collect();
                let best = if largest { column.iter().max() } else { column.iter().min() };
                let equal = |v: &i32| Some(v) == best;
                let at = if last { column.iter().rposition(equal) } else { column.iter().position(equal) };
                want.push(at.unwrap() as i64);
            }
        }
        let make = |dtype| ArgReduce { dtype, outer, n, inner, largest, last };
        let (f, d): (Vec<f32>, Vec<f64>) = x.iter().map(|&v| (v as f32, f64::from(v))).unzip();
        let h: Vec<bf16> = f.iter().map(|&v| bf16::from_f32(v)).collect();
        for pool in pools() {
            for (dtype, bytes) in [
                (DType::I32, bytes(&x)),
                (DType::F32, bytes(&f)),
                (DType::F64, bytes(&d)),
                (DType::BF16, bytes(&h)),
            ] {
                assert_eq!(of_bytes::<i64>(&run_bytes(make(dtype), &[bytes], &pool)), want);
            }
        }
    }
}

#[test]
fn hostile_parameters() {
    let kept = Grid { sizes: vec![3, 5, 9], operands: vec![0b101] };
    hostile(&ReduceAny { kind: ReduceKind::Mean, dtype: DType::I16, kept, ready: None });
    let windows = windows(&mut Rng::new(2), 3);
    hostile(&PoolAny { kind: PoolKind::Lp { p: 2 }, dtype: DType::BF16, windows });
    hostile(&ArgReduce { dtype: DType::F16, outer: 3, n: 4, inner: 5, largest: true, last: false });
}
