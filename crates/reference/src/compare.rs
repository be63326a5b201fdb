//! Comparing outputs with exact values.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use tactician_ir::{DType, Tensor};
use tactician_types::NarrowFloat;

use crate::value::Data;

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

/// Elements that are compared at a time.
const PART: usize = 2048;

/// Compares with exact values and a bound for each. Equal infinities and NaNs agree, and an infinity agrees with a value
/// that lies beyond the type, or might within its bound.
pub fn compare(got: &Tensor, exact: &[f64], bound: &[f64]) -> Comparison {
    if got.len() == exact.len() {
        return compare_repeated(got, exact, bound);
    }
    Comparison {
        ratio: f64::INFINITY,
        relative_l2: f64::INFINITY,
        index: 0,
        found: f64::NAN,
        expected: f64::NAN,
    }
}

/// As [`compare`], where the exact values and their bounds start anew whenever they are at an end: what comes out when
/// the images of a batch repeat. `exact` and `bound` must be equally long, and empty only if `got` is.
pub fn compare_repeated(got: &Tensor, exact: &[f64], bound: &[f64]) -> Comparison {
    let mut found = Comparison {
        ratio: 0.0,
        relative_l2: 0.0,
        index: 0,
        found: f64::NAN,
        expected: exact.first().copied().unwrap_or(f64::NAN),
    };
    if exact.len() != bound.len() || exact.is_empty() && !got.is_empty() {
        return Comparison { ratio: f64::INFINITY, relative_l2: f64::INFINITY, ..found };
    }
    let largest = largest(got.dtype());
    let mut sums = Sums::default();
    let mut part = [0.0f64; PART];
    let mut at = 0;
    while at < got.len() {
        let from = at % exact.len();
        let n = PART.min(got.len() - at).min(exact.len() - from);
        read(got, at, &mut part[..n]);
        let (exact, bound) = (&exact[from..from + n], &bound[from..from + n]);
        if at == 0 {
            found.found = part[0];
        }
        if let Some((i, ratio)) = compare_part(&mut part[..n], exact, bound, largest, found.ratio, &mut sums)
        {
            found = Comparison { ratio, index: at + i, found: part[i], expected: exact[i], ..found };
        }
        at += n;
    }
    found.relative_l2 = sums.relative();
    found
}

/// Sums of squares of errors and of expected values.
#[derive(Default)]
struct Sums {
    error: f64,
    norm: f64,
}

impl Sums {
    /// Equal infinities and NaNs count as equal, other non-finite pairs make it infinite.
    fn add(&mut self, x: f64, y: f64) {
        if x == y || x.is_nan() && y.is_nan() {
            self.norm += if y.is_finite() { y * y } else { 0.0 };
        } else if (x - y).is_finite() {
            self.error += (x - y) * (x - y);
            self.norm += y * y;
        } else {
            self.error = f64::INFINITY;
        }
    }

    fn relative(&self) -> f64 {
        match self.error {
            0.0 => 0.0,
            e if e.is_infinite() => f64::INFINITY,
            e => (e / self.norm).sqrt(),
        }
    }
}

/// The place and size of the largest ratio of error to bound above `least`, if there is one.
fn compare_part(
    got: &mut [f64],
    exact: &[f64],
    bound: &[f64],
    largest: f64,
    least: f64,
    sums: &mut Sums,
) -> Option<(usize, f64)> {
    // Nearly always everything is finite and well within its bound: one pass without branches says so.
    let (mut good, mut error, mut norm, mut worst) = (true, 0.0, 0.0, 0.0f64);
    for ((&g, &e), &b) in got.iter().zip(exact).zip(bound) {
        let difference = (g - e).abs();
        good &= difference <= b && difference.is_finite();
        error += difference * difference;
        norm += e * e;
        let ratio = difference / b;
        worst = if ratio > worst { ratio } else { worst };
    }
    if good && norm.is_finite() && worst <= least {
        sums.error += error;
        sums.norm += norm;
        return None;
    }
    let mut found = None;
    let mut least = least;
    for (i, ((g, &e), &b)) in got.iter_mut().zip(exact).zip(bound).enumerate() {
        if g.is_infinite() && e.is_finite() && e * *g > 0.0 && e.abs() + b >= largest {
            *g = e;
        }
        sums.add(*g, e);
        let difference = (*g - e).abs();
        let same = *g == e || g.is_nan() && e.is_nan();
        let ratio = if same || b.is_infinite() && g.is_finite() {
            0.0
        } else if difference.is_nan() || b.is_nan() || difference > b && b == 0.0 {
            f64::INFINITY
        } else {
            difference / b
        };
        if ratio > least {
            least = ratio;
            found = Some((i, ratio));
        }
    }
    found
}

/// Reads elements as `f64`, from element `at` on.
fn read(tensor: &Tensor, at: usize, to: &mut [f64]) {
    fn each<const N: usize>(bytes: &[u8], to: &mut [f64], f: impl Fn([u8; N]) -> f64) {
        for (t, b) in to.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *t = f(*b);
        }
    }
    let size = tensor.dtype().size();
    let bytes = &tensor.bytes()[at * size..(at + to.len()) * size];
    if let Some(t) = NarrowFloat::of(tensor.dtype()) {
        return each::<1>(bytes, to, |[b]| t.value(b));
    }
    match tensor.dtype() {
        DType::F16 => {
            let halves: [f16; PART] = std::array::from_fn(|i| match bytes.as_chunks::<2>().0.get(i) {
                Some(b) => f16::from_le_bytes(*b),
                None => f16::ZERO,
            });
            let mut wide = [0.0f32; PART];
            halves.convert_to_f32_slice(&mut wide);
            to.iter_mut().zip(wide).for_each(|(t, w)| *t = f64::from(w));
        }
        DType::BF16 => each::<2>(bytes, to, |b| bf16::from_le_bytes(b).to_f64()),
        DType::F32 => each::<4>(bytes, to, |b| f64::from(f32::from_le_bytes(b))),
        DType::F64 => each::<8>(bytes, to, f64::from_le_bytes),
        _ => match Data::of_bytes(tensor.dtype(), bytes) {
            Data::Float(d) => to.copy_from_slice(&d),
            Data::Int(d) => to.iter_mut().zip(d).for_each(|(t, x)| *t = x as f64),
        },
    }
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
    let mut sums = Sums::default();
    a.iter().zip(b).for_each(|(&x, &y)| sums.add(x, y));
    sums.relative()
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

    /// The parts that are compared at a time and the repeats change nothing.
    #[test]
    fn repeats_and_parts_agree_with_one_pass() {
        let n = 3 * PART + 17;
        let exact: Vec<f64> = (0..n).map(|i| ((i * 37 % 101) as f64 - 50.0) / 8.0).collect();
        let bound = vec![1e-2; n];
        let mut values: Vec<f16> = (0..2 * n + 5).map(|i| f16::from_f64(exact[i % n])).collect();
        let of = |v: &[f16]| Tensor::new(&[v.len()], v).unwrap();
        assert_eq!(compare_repeated(&of(&values), &exact, &bound).ratio, 0.0);
        assert_eq!(compare(&of(&values), &exact, &bound).ratio, f64::INFINITY);
        let at = n + 2 * PART + 3;
        values[at] = f16::from_f64(exact[at % n] + 0.5);
        let c = compare_repeated(&of(&values), &exact, &bound);
        assert_eq!((c.index, c.expected), (at, exact[at % n]));
        assert!((c.ratio - 50.0).abs() < 1.0, "{c:?}");
        let (mut error, mut norm) = (0.0, 0.0);
        for (i, v) in values.iter().enumerate() {
            error += (v.to_f64() - exact[i % n]).powi(2);
            norm += exact[i % n].powi(2);
        }
        assert!((c.relative_l2 - f64::sqrt(error / norm)).abs() < 1e-12);
        values[at] = f16::NAN;
        let c = compare_repeated(&of(&values), &exact, &bound);
        assert_eq!((c.ratio, c.index, c.relative_l2), (f64::INFINITY, at, f64::INFINITY));
    }
}
