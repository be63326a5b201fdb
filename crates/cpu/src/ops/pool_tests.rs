use super::*;
use crate::ops::grid::Grid;
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use tactician_types::{Expr, ExprNode, Unary};

/// By definition, in `f64`.
fn naive(kind: PoolKind, w: &PoolWindows, x: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    let pixels: usize = w.output.iter().product();
    for n in 0..w.outer {
        for o in 0..pixels {
            let o = [o / (w.output[1] * w.output[2]), o / w.output[2] % w.output[1], o % w.output[2]];
            for i in 0..w.inner {
                let (mut found, mut padded) = (Vec::new(), 0);
                for t in 0..w.window.iter().product::<usize>() {
                    let t = [t / (w.window[1] * w.window[2]), t / w.window[2] % w.window[1], t % w.window[2]];
                    let at: [isize; 3] = std::array::from_fn(|a| {
                        (o[a] * w.strides[a] + t[a] * w.dilations[a]) as isize - w.pads[a].0 as isize
                    });
                    if (0..3).all(|a| at[a] < (w.input[a] + w.pads[a].1) as isize) {
                        padded += 1;
                    }
                    if (0..3).all(|a| at[a] >= 0 && at[a] < w.input[a] as isize) {
                        let [d, h, v] = at.map(|a| a as usize);
                        let row = (n * w.input[0] + d) * w.input[1] + h;
                        found.push(f64::from(x[(row * w.input[2] + v) * w.inner + i]));
                    }
                }
                out.push(match kind {
                    PoolKind::Max => found.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    PoolKind::Average { count_pad } => {
                        let n = if count_pad { padded } else { found.len() };
                        found.iter().sum::<f64>() / n.max(1) as f64
                    }
                    PoolKind::Lp { p } => {
                        found.iter().map(|v| v.abs().powi(p as i32)).sum::<f64>().powf(1.0 / f64::from(p))
                    }
                });
            }
        }
    }
    out
}

/// Windows that fit, sometimes one more that is cut.
pub(crate) fn windows(rng: &mut Rng, inner: usize) -> PoolWindows {
    let mut w = PoolWindows {
        outer: 1 + rng.below(3),
        inner,
        input: [1; 3],
        output: [1; 3],
        window: [1; 3],
        strides: [1; 3],
        pads: [(0, 0); 3],
        dilations: [1; 3],
    };
    for a in rng.below(3)..3 {
        w.dilations[a] = 1 + rng.below(2);
        w.window[a] = 1 + rng.below(4);
        let span = (w.window[a] - 1) * w.dilations[a] + 1;
        w.input[a] = span + rng.below(if a == 2 { 40 } else { 7 });
        w.pads[a] = (rng.below(w.window[a]), rng.below(w.window[a]));
        w.strides[a] = 1 + rng.below(3);
        let free = w.input[a] + w.pads[a].0 + w.pads[a].1 - span;
        w.output[a] = free / w.strides[a] + 1 + rng.below(2);
    }
    w
}

#[test]
fn pools_by_definition() {
    let mut rng = Rng::new(11);
    let pools = pools();
    let kinds = [
        PoolKind::Max,
        PoolKind::Average { count_pad: false },
        PoolKind::Average { count_pad: true },
        PoolKind::Lp { p: 1 },
        PoolKind::Lp { p: 2 },
        PoolKind::Lp { p: 3 },
    ];
    for round in 0..180 {
        let inner = rng.pick(&[1, 1, 8, 16, 32, 33, 5]);
        let w = windows(&mut rng, inner);
        let kind = kinds[round % kinds.len()];
        let (n, out) = w.check().unwrap();
        let x = rng.floats(n);
        let mut want = naive(kind, &w, &x);
        // Half of them are followed by `relu(x + per-inner operand)`.
        let mut epilogue = GridExpr {
            expr: Expr::identity(),
            grid: Grid { sizes: vec![out / inner, inner], operands: vec![] },
        };
        let mut inputs = vec![x];
        if round % 2 == 0 {
            let bias = rng.floats(inner);
            want.iter_mut().enumerate().for_each(|(i, v)| *v = (*v + f64::from(bias[i % inner])).max(0.0));
            inputs.push(bias);
            epilogue.grid.operands = vec![0b10];
            let mut e = Expr::binary(tactician_types::Binary::Add);
            e.push(ExprNode::Unary(Unary::Relu, 2));
            epilogue.expr = e;
        }
        let pool = Pool { kind, windows: w.clone(), epilogue, ready: None };
        for threads in &pools {
            assert_close(&run(pool.clone(), &inputs, threads), &want, 2e-6, &format!("{kind:?} {w:?}"));
        }
    }
}

#[test]
fn nan_passes_through_the_largest() {
    for inner in [1, 8] {
        let mut w = windows(&mut Rng::new(1), inner);
        (w.outer, w.input, w.output, w.window) = (1, [1, 1, 5], [1, 1, 4], [1, 1, 2]);
        (w.strides, w.pads, w.dilations) = ([1; 3], [(0, 0); 3], [1; 3]);
        let mut x = vec![1.0; 5 * inner];
        x[2 * inner] = f32::NAN;
        let epilogue =
            GridExpr { expr: Expr::identity(), grid: Grid { sizes: vec![4 * inner], operands: vec![] } };
        let pool = Pool { kind: PoolKind::Max, windows: w, epilogue, ready: None };
        for threads in pools() {
            let y = run(pool.clone(), std::slice::from_ref(&x), &threads);
            let nan: Vec<bool> = (0..4).map(|o| y[o * inner].is_nan()).collect();
            assert_eq!(nan, [false, true, true, false]);
        }
    }
}

#[test]
fn hostile_parameters() {
    let mut rng = Rng::new(5);
    for inner in [1, 8, 33] {
        let w = windows(&mut rng, inner);
        let (_, out) = w.check().unwrap();
        let epilogue = GridExpr {
            expr: Expr::unary(Unary::Relu),
            grid: Grid { sizes: vec![out / inner, inner], operands: vec![1, 2] },
        };
        hostile(&Pool { kind: PoolKind::Average { count_pad: true }, windows: w, epilogue, ready: None });
    }
}
