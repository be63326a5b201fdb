use half::{bf16, f16};

use super::*;
use crate::ops::testing::{Rng, hostile, of_bytes, pools, run_bytes};

/// Numbers of a type as bytes, and what they are.
fn numbers<T: Float + bytemuck::NoUninit>(rng: &mut Rng, n: usize) -> (Vec<u8>, Vec<f64>) {
    let values: Vec<T> = rng.floats(n).into_iter().map(|v| T::round(f64::from(v) * 2.0)).collect();
    (bytemuck::cast_slice(&values).to_vec(), values.iter().map(|v| v.wide()).collect())
}

/// Each result is the nearest of its type to what is wanted, or next to it.
fn assert_near<T: Float>(got: &[u8], want: &[f64], unit: f64, what: &str) {
    let got = of_bytes::<T>(got);
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g.wide() - w).abs() <= unit * w.abs().max(0.1), "{what}: {} for {w}", g.wide());
    }
}

fn softmax_of<T: Float + bytemuck::NoUninit>(dtype: DType, unit: f64) {
    let mut rng = Rng::new(3);
    for (outer, n, inner, log) in
        [(1, 9, 1, false), (3, 5, 4, false), (2, 7, 3, true), (4, 1, 1, true), (0, 3, 2, false)]
    {
        let (bytes, x) = numbers::<T>(&mut rng, outer * n * inner);
        let mut want = vec![0.0; x.len()];
        for o in 0..outer {
            for i in 0..inner {
                let at = |k: usize| (o * n + k) * inner + i;
                let sum: f64 = (0..n).map(|k| x[at(k)].exp()).sum();
                for k in 0..n {
                    want[at(k)] = if log { x[at(k)] - sum.ln() } else { x[at(k)].exp() / sum };
                }
            }
        }
        for threads in pools() {
            let got =
                run_bytes(SoftmaxAny { dtype, outer, n, inner, log }, std::slice::from_ref(&bytes), &threads);
            assert_near::<T>(&got, &want, unit, &format!("{dtype} {outer} {n} {inner} {log}"));
        }
    }
}

/// Layer and root-mean-square norms with parameters of the row, and instance norms with one a channel.
fn norm_of<T: Float + bytemuck::NoUninit>(dtype: DType, unit: f64) {
    let mut rng = Rng::new(4);
    let sizes = vec![2usize, 6, 4, 5];
    // What a row has, and which axes the scale and the bias have.
    for (axis, rms, masks) in [
        (3, false, vec![0b1000u16, 0b1000]),
        (2, true, vec![0b1100]),
        (2, false, vec![0b0010, 0b0010]),
        (1, false, vec![]),
    ] {
        let n: usize = sizes[axis..].iter().product();
        let (bytes, x) = numbers::<T>(&mut rng, 240);
        let grid = Grid { sizes: sizes.clone(), operands: masks.clone() };
        let lens = grid.operand_lens().unwrap();
        let parameters: Vec<(Vec<u8>, Vec<f64>)> = lens.iter().map(|&n| numbers::<T>(&mut rng, n)).collect();
        let want: Vec<f64> = (0..240)
            .map(|at| {
                let row = &x[at / n * n..][..n];
                let mean = if rms { 0.0 } else { row.iter().sum::<f64>() / n as f64 };
                let square = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64;
                let mut y = (x[at] - mean) / (square + f64::from(1e-3f32)).sqrt();
                let place = [at / 120, at / 20 % 6, at / 5 % 4, at % 5];
                for (i, (mask, (_, values))) in masks.iter().zip(&parameters).enumerate() {
                    let axes = (0..4).filter(|a| mask >> a & 1 == 1);
                    let p = values[axes.fold(0, |p, a| p * sizes[a] + place[a])];
                    y = if i == 0 { y * p } else { y + p };
                }
                y
            })
            .collect();
        let inputs: Vec<Vec<u8>> = [bytes].into_iter().chain(parameters.into_iter().map(|p| p.0)).collect();
        for threads in pools() {
            let kernel = NormAny { dtype, grid: grid.clone(), n, rms, epsilon: 1e-3 };
            assert_near::<T>(
                &run_bytes(kernel, &inputs, &threads),
                &want,
                unit,
                &format!("{dtype} axis {axis}"),
            );
        }
    }
}

#[test]
fn every_float_type_by_definition() {
    softmax_of::<f32>(DType::F32, 2e-7);
    softmax_of::<f64>(DType::F64, 1e-14);
    softmax_of::<f16>(DType::F16, 1e-3);
    softmax_of::<bf16>(DType::BF16, 8e-3);
    norm_of::<f32>(DType::F32, 2e-7);
    norm_of::<f64>(DType::F64, 1e-12);
    norm_of::<f16>(DType::F16, 1e-3);
    norm_of::<bf16>(DType::BF16, 8e-3);
}

#[test]
fn neighbouring_channels() {
    let (bytes, x) = numbers::<f64>(&mut Rng::new(5), 2 * 5 * 3);
    let kernel = LrnAny {
        dtype: DType::F64,
        shape: LrnShape { outer: 2, channels: 5, inner: 3, size: 4, alpha: 0.5, beta: 0.75, bias: 1.5 },
    };
    let want: Vec<f64> = (0..30)
        .map(|at| {
            let (image, c, i): (usize, usize, usize) = (at / 15, at / 3 % 5, at % 3);
            // One more after than before.
            let near = (c.saturating_sub(1)..(c + 3).min(5)).map(|k| x[image * 15 + k * 3 + i].powi(2));
            x[at] / (1.5f64 + 0.125 * near.sum::<f64>()).powf(0.75)
        })
        .collect();
    for threads in pools() {
        assert_near::<f64>(
            &run_bytes(kernel.clone(), std::slice::from_ref(&bytes), &threads),
            &want,
            1e-12,
            "lrn",
        );
    }
}

#[test]
fn hostile_parameters() {
    let grid = Grid { sizes: vec![2, 3, 4], operands: vec![0b100, 0b110] };
    hostile(&SoftmaxAny { dtype: DType::F16, outer: 2, n: 3, inner: 4, log: true });
    hostile(&NormAny { dtype: DType::BF16, grid: grid.clone(), n: 4, rms: false, epsilon: 1e-5 });
    hostile(&LrnAny {
        dtype: DType::F64,
        shape: LrnShape { outer: 2, channels: 3, inner: 4, size: 2, alpha: 1.0, beta: 0.5, bias: 1.0 },
    });
    let bad = |n, grid: &Grid| {
        NormAny { dtype: DType::F16, grid: grid.clone(), n, rms: true, epsilon: 0.0 }.sizes(1)
    };
    assert!(bad(5, &grid).is_err() && bad(0, &grid).is_err());
    assert!(bad(4, &Grid { operands: vec![0b100; 3], ..grid.clone() }).is_err());
    assert!(bad(4, &Grid { operands: vec![0b1000], ..grid }).is_err());
    assert!(SoftmaxAny { dtype: DType::I32, outer: 1, n: 1, inner: 1, log: false }.sizes(1).is_err());
}
