use super::*;
use crate::ops::grid::Grid;
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use tactician_types::{Binary, Expr};

fn naive(s: &Softmax, x: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for o in 0..s.outer {
        for i in 0..s.inner {
            let at = |j: usize| (o * s.n + j) * s.inner + i;
            let most = (0..s.n).map(|j| f64::from(x[at(j)])).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..s.n).map(|j| (f64::from(x[at(j)]) - most).exp()).sum();
            for j in 0..s.n {
                let log = f64::from(x[at(j)]) - most - sum.ln();
                out[at(j)] = if s.log { log } else { log.exp() };
            }
        }
    }
    out
}

#[test]
fn softmax_by_definition() {
    let mut rng = Rng::new(17);
    let pools = pools();
    for round in 0..120 {
        let (outer, n) = (rng.pick(&[1, 2, 7, 40]), rng.pick(&[1, 2, 5, 33, 64, 100, 1000]));
        let inner = rng.pick(&[1, 1, 2, 8, 13, 64, 100]);
        if outer * n * inner > 200_000 {
            continue;
        }
        let scale = rng.pick(&[1.0, 10.0, 1000.0]);
        let x: Vec<f32> = rng.floats(outer * n * inner).into_iter().map(|v| v * scale).collect();
        let grid = Grid { sizes: vec![outer, n, inner], operands: vec![] };
        let mut s = Softmax {
            outer,
            n,
            inner,
            log: round % 2 == 0,
            epilogue: GridExpr { expr: Expr::identity(), grid },
            ready: None,
        };
        let want = naive(&s, &x);
        let factor = rng.floats(n);
        for threads in &pools {
            let what = format!("{outer}x{n}x{inner}");
            s.epilogue.grid.operands = vec![];
            s.epilogue.expr = Expr::identity();
            assert_close(&run(s.clone(), std::slice::from_ref(&x), threads), &want, 3e-6, &what);
            s.epilogue.grid.operands = vec![0b010];
            s.epilogue.expr = Expr::binary(Binary::Mul);
            let scaled: Vec<f64> =
                want.iter().enumerate().map(|(i, v)| v * f64::from(factor[i / inner % n])).collect();
            assert_close(&run(s.clone(), &[x.clone(), factor.clone()], threads), &scaled, 3e-6, &what);
        }
    }
}

#[test]
fn hostile_parameters() {
    for inner in [1, 9] {
        let grid = Grid { sizes: vec![3, 5, inner], operands: vec![0b10] };
        let epilogue = GridExpr { expr: Expr::binary(Binary::Add), grid };
        hostile(&Softmax { outer: 3, n: 5, inner, log: true, epilogue, ready: None });
    }
}
