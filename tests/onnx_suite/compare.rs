//! Comparing as the suite does.

use tactician::{DType, ir};

/// How far a result may be from what is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Of floats, absolute.
    pub(crate) atol: f64,
    /// Of floats, of what is expected.
    pub(crate) rtol: f64,
    /// Of integers.
    pub(crate) slack: i128,
    /// Whether numbers may be any.
    pub(crate) free: bool,
}

/// That of the suite.
impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { atol: 1e-7, rtol: 1e-3, slack: 0, free: false }
    }
}

/// Reads `ATOL RTOL SLACK`.
impl std::str::FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected `ATOL RTOL SLACK`, found `{}`", text.trim());
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [atol, rtol, slack] = parts[..] else { return Err(wrong()) };
        let float = |t: &str| t.parse::<f64>().map_err(|_| wrong());
        let slack = slack.parse().map_err(|_| wrong())?;
        Ok(Tolerance { atol: float(atol)?, rtol: float(rtol)?, slack, free: false })
    }
}

/// What is wrong with a tensor, if anything.
pub(crate) fn difference(got: &ir::Tensor, want: &ir::Tensor, tolerance: Tolerance) -> Option<String> {
    let Tolerance { atol, rtol, slack, free } = tolerance;
    if got.dtype() != want.dtype() || got.sizes() != want.sizes() {
        return Some(format!("has the type {}, expected {}", got.ty(), want.ty()));
    }
    if free {
        return None;
    }
    if !want.dtype().is_float() {
        let far = |at: &usize| (integer(got, *at) - integer(want, *at)).abs() > slack;
        let wrong = (0..want.len()).filter(far).count();
        let at = (0..want.len()).find(far)?;
        let (a, b) = (integer(got, at), integer(want, at));
        return Some(format!("{wrong} of {} elements differ; element {at} is {a}, expected {b}", want.len()));
    }
    let (got, want) = (floats(got), floats(want));
    let close =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + rtol * b.abs();
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
