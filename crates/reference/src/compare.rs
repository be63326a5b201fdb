//! Comparing outputs with exact values.

use half::{bf16, f16};
use tactician_ir::{DType, Tensor};

use crate::value::{Data, Value};

/// How far an output is from the exact values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Largest error over its bound; at most 1 is within the bound.
    pub ratio: f64,
    /// `‖found − expected‖ / ‖expected‖`.
    pub relative_l2: f64,
    /// Element with the largest ratio.
    pub index: usize,
    /// What it is.
    pub found: f64,
    /// What it should be.
    pub expected: f64,
}

/// Compares with exact values and a bound for each. Equal infinities and NaNs agree, and an infinity agrees with a value
/// that lies beyond the type, or might within its bound.
pub fn compare(got: &Tensor, exact: &[f64], bound: &[f64]) -> Comparison {
    let largest = largest(got.dtype());
    let mut got: Vec<f64> = match Value::of(got).data {
        Data::Float(d) => d,
        Data::Int(d) => d.into_iter().map(|x| x as f64).collect(),
    };
    for ((g, &e), &b) in got.iter_mut().zip(exact).zip(bound) {
        if g.is_infinite() && e.is_finite() && e * *g > 0.0 && e.abs() + b >= largest {
            *g = e;
        }
    }
    let mut worst = Comparison {
        ratio: if got.len() == exact.len() && exact.len() == bound.len() { 0.0 } else { f64::INFINITY },
        relative_l2: relative_l2(&got, exact),
        index: 0,
        found: got.first().copied().unwrap_or(f64::NAN),
        expected: exact.first().copied().unwrap_or(f64::NAN),
    };
    for (i, ((&g, &e), &b)) in got.iter().zip(exact).zip(bound).enumerate() {
        let error = (g - e).abs();
        let same = g == e || g.is_nan() && e.is_nan();
        let ratio = if same || b.is_infinite() && g.is_finite() {
            0.0
        } else if error.is_nan() || b.is_nan() || error > b && b == 0.0 {
            f64::INFINITY
        } else {
            error / b
        };
        if ratio > worst.ratio {
            worst = Comparison { ratio, index: i, found: g, expected: e, ..worst };
        }
    }
    worst
}

/// The largest value of a float type.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f16::MAX.to_f64(),
        DType::BF16 => bf16::MAX.to_f64(),
        DType::F32 => f64::from(f32::MAX),
        _ => f64::INFINITY,
    }
}

/// `‖a − b‖ / ‖b‖`; equal infinities and NaNs count as equal, other non-finite pairs make it infinite.
pub fn relative_l2(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let (mut error, mut norm) = (0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        if x == y || x.is_nan() && y.is_nan() {
            norm += if y.is_finite() { y * y } else { 0.0 };
        } else if (x - y).is_finite() {
            error += (x - y) * (x - y);
            norm += y * y;
        } else {
            return f64::INFINITY;
        }
    }
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_worst_element() {
        let got = Tensor::new(&[3], &[1.0f32, 2.5, f32::NAN]).unwrap();
        let c = compare(&got, &[1.0, 2.0, f64::NAN], &[0.1, 0.25, 0.1]);
        assert_eq!((c.ratio, c.index, c.found, c.expected), (2.0, 1, 2.5, 2.0));
        assert_eq!(compare(&got, &[1.0, 2.0, 0.0], &[0.1; 3]).ratio, f64::INFINITY);
        assert_eq!(compare(&got, &[1.0, 2.0], &[0.1; 2]).ratio, f64::INFINITY);
        assert_eq!(relative_l2(&[3.0, 4.0], &[3.0, 0.0]), 4.0 / 3.0);
    }
}
