//! Comparing as the suite does.

use tactician::{DType, ir};

/// Absolute tolerance of the suite.
pub(crate) const ATOL: f64 = 1e-7;

/// Relative tolerance of the suite.
const RTOL: f64 = 1e-3;

/// What is wrong with a tensor, if anything. `atol` is the absolute tolerance.
pub(crate) fn difference(got: &ir::Tensor, want: &ir::Tensor, atol: f64) -> Option<String> {
    if got.dtype() != want.dtype() || got.sizes() != want.sizes() {
        return Some(format!("has the type {}, expected {}", got.ty(), want.ty()));
    }
    if !want.dtype().is_float() {
        let size = want.dtype().size();
        let pairs = || got.bytes().chunks(size).zip(want.bytes().chunks(size));
        let wrong = pairs().filter(|(a, b)| a != b).count();
        let at = pairs().position(|(a, b)| a != b)?;
        let (a, b) = (integer(got, at), integer(want, at));
        return Some(format!("{wrong} of {} elements differ; element {at} is {a}, expected {b}", want.len()));
    }
    let (got, want) = (floats(got), floats(want));
    let close =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + RTOL * b.abs();
    let wrong = got.iter().zip(&want).filter(|(a, b)| !close(**a, **b)).count();
    let at = got.iter().zip(&want).position(|(a, b)| !close(*a, *b))?;
    Some(format!(
        "{wrong} of {} elements differ; element {at} is {}, expected {}",
        want.len(),
        got[at],
        want[at]
    ))
}

fn floats(t: &ir::Tensor) -> Vec<f64> {
    macro_rules! read {
        ($t:ty) => {
            t.values::<$t>().unwrap_or_default().iter().map(|&x| f64::from(x)).collect()
        };
    }
    match t.dtype() {
        DType::F32 => read!(f32),
        DType::F16 => read!(half::f16),
        DType::BF16 => read!(half::bf16),
        _ => read!(f64),
    }
}

fn integer(t: &ir::Tensor, at: usize) -> i128 {
    let size = t.dtype().size();
    let mut bytes = [0u8; 16];
    let own = &t.bytes()[at * size..][..size];
    let negative = t.dtype().is_signed_int() && own[size - 1] >= 0x80;
    bytes.fill(if negative { 0xff } else { 0 });
    bytes[..size].copy_from_slice(own);
    i128::from_le_bytes(bytes)
}
