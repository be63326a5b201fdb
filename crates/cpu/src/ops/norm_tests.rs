use super::*;
use crate::ops::grid::Grid;
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use tactician_types::{Binary, Expr, ExprNode};

/// `$0 · $1 + $2`.
fn scale_and_bias() -> Expr {
    let mut e = Expr::binary(Binary::Mul);
    let b = e.push(ExprNode::Input(2));
    let id = e.push(ExprNode::Binary(Binary::Add, 2, b));
    e.finish(id)
}

#[test]
fn rows_by_definition() {
    let mut rng = Rng::new(19);
    for round in 0..60 {
        let (rows, n) = (rng.pick(&[1, 3, 40]), rng.pick(&[1, 5, 64, 100, 768, 5000]));
        let (rms, epsilon) = (round % 2 == 0, 1e-5f32);
        let x: Vec<f32> = rng.floats(rows * n).into_iter().map(|v| v * 3.0 + 10.0).collect();
        let (scale, bias) = (rng.floats(n), rng.floats(n));
        let mut want = Vec::new();
        for row in x.chunks(n) {
            let mean = if rms { 0.0 } else { row.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64 };
            let var = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
            let root = (var + f64::from(epsilon)).sqrt();
            want.extend(
                row.iter()
                    .enumerate()
                    .map(|(i, &v)| (f64::from(v) - mean) / root * f64::from(scale[i]) + f64::from(bias[i])),
            );
        }
        let grid = Grid { sizes: vec![rows, n], operands: vec![0b10, 0b10] };
        let norm =
            Norm { rows, n, rms, epsilon, epilogue: GridExpr { expr: scale_and_bias(), grid }, ready: None };
        for threads in pools() {
            let got = run(norm.clone(), &[x.clone(), scale.clone(), bias.clone()], &threads);
            assert_close(&got, &want, 2e-5, &format!("{rows}x{n} rms {rms}"));
        }
    }
}

#[test]
fn lrn_by_definition() {
    let mut rng = Rng::new(23);
    for _ in 0..40 {
        let (outer, channels, inner) = (rng.pick(&[1, 2]), rng.pick(&[1, 3, 16]), rng.pick(&[1, 49, 600]));
        let size = rng.pick(&[1, 2, 3, 5, 40]);
        let (alpha, beta, bias) = (0.7f32, 0.75f32, 1.5f32);
        let x = rng.floats(outer * channels * inner);
        let mut want = Vec::new();
        for at in 0..x.len() {
            let (c, s) = (at / inner % channels, at % inner);
            let image = at / (inner * channels);
            let mut sum = 0.0;
            for k in c as isize - (size as isize - 1) / 2..=c as isize + size as isize / 2 {
                if (0..channels as isize).contains(&k) {
                    sum += f64::from(x[(image * channels + k as usize) * inner + s]).powi(2);
                }
            }
            let base = f64::from(bias) + f64::from(alpha) / size as f64 * sum;
            want.push(f64::from(x[at]) / base.powf(f64::from(beta)));
        }
        let grid = Grid { sizes: vec![outer, channels, inner], operands: vec![] };
        let epilogue = GridExpr { expr: Expr::identity(), grid };
        let lrn = Lrn {
            shape: LrnShape { outer, channels, inner, size, alpha, beta, bias },
            epilogue,
            ready: None,
        };
        for threads in pools() {
            assert_close(&run(lrn.clone(), std::slice::from_ref(&x), &threads), &want, 2e-6, "lrn");
        }
    }
}

#[test]
fn hostile_parameters() {
    let epilogue =
        GridExpr { expr: scale_and_bias(), grid: Grid { sizes: vec![3, 5, 2], operands: vec![0b10, 0b10] } };
    let e = epilogue.clone();
    hostile(&Norm { rows: 3, n: 10, rms: false, epsilon: 1e-5, epilogue: e, ready: None });
    let [alpha, beta, bias] = [1e-4, 0.75, 1.0];
    hostile(&Lrn {
        shape: LrnShape { outer: 3, channels: 5, inner: 2, size: 3, alpha, beta, bias },
        epilogue,
        ready: None,
    });
}
