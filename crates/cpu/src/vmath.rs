//! Elementary functions of `f32`, written without branches so that a loop over them becomes vector instructions.
//!
//! Each is within 1e-6 of the true value relative to it, unless said otherwise, infinities, NaN and zeros as IEEE
//! 754 has them, denormal results included. Polynomials whose coefficients are not those of a Taylor series are
//! Chebyshev fits of this project's own, made with 40 digits and rounded; the comment gives function, interval and
//! error.

#![allow(clippy::excessive_precision, reason = "coefficients are given to eight digits throughout")]

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn fma64<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn poly<const FMA: bool, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut r = c[0];
    let mut i = 1;
    while i < N {
        r = fma::<FMA>(r, x, c[i]);
        i += 1;
    }
    r
}

#[inline(always)]
fn poly64<const FMA: bool, const N: usize>(x: f64, c: [f64; N]) -> f64 {
    let mut r = c[0];
    let mut i = 1;
    while i < N {
        r = fma64::<FMA>(r, x, c[i]);
        i += 1;
    }
    r
}

/// Larger of two, NaN if either is.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    let m = if a > b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// Smaller of two, NaN if either is.
#[inline(always)]
pub(crate) fn min(a: f32, b: f32) -> f32 {
    let m = if a < b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// `max(x, 0)`, NaN kept.
#[inline(always)]
pub(crate) fn relu(x: f32) -> f32 {
    if 0.0 > x { 0.0 } else { x }
}

/// Adding this rounds a float of modest size to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few bits, so that small integers times it are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^x`. Argument reduced by multiples of ln 2; Taylor polynomial of degree 7 on ±ln 2 / 2 (truncated at 5e-9).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Beyond these the result is infinity or zero; comparisons that are false for NaN keep it.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUNDER);
    let k = (t.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let n = t - ROUNDER;
    let r = fma::<FMA>(n, -LN2_HIGH, x);
    let r = fma::<FMA>(n, -LN2_LOW, r);
    let p = poly::<FMA, 8>(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
    // Two factors, since 2^k alone may leave the range of exponents.
    let half = k >> 1;
    p * power_of_two(half) * power_of_two(k.wrapping_sub(half))
}

/// 2^k for -126 ≤ k ≤ 127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) as u32) << 23)
}

/// `1 / (1 + e^-x)`. Below -88 the result is 0 rather than a denormal.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// `tanh x`. Below 0.7 in size `x·P(x²)` (fit of tanh(√z)/√z on 0 ≤ z ≤ 0.49, error 6e-10), above
/// `1 - 2 / (e^2|x| + 1)`.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = x * poly::<FMA, 7>(
        z,
        [1.878_333_1e-3, -7.855_956e-3, 2.155_450_5e-2, -5.391_616_6e-2, 0.133_329_17, -0.333_333_2, 1.0],
    );
    let large = (1.0 - 2.0 / (exp::<FMA>(2.0 * a) + 1.0)).copysign(x);
    if a < 0.7 { small } else { large }
}

/// The error function. Below 1 in size `x·P(x²)` (fit of erf(√z)/√z on 0 ≤ z ≤ 1, error 1e-9), above
/// `1 - e^Q(|x|)` (fit of ln erfc on 1 ≤ x ≤ 4, error 2e-8; beyond 4 the result is 1).
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let small = x * poly::<FMA, 7>(
        x * x,
        [
            7.875_875e-5,
            -8.016_864_4e-4,
            5.189_087_4e-3,
            -2.685_421_2e-2,
            0.112_835_95,
            -0.376_126_27,
            std::f32::consts::FRAC_2_SQRT_PI,
        ],
    );
    let b = if a > 4.0 { 4.0 } else { a };
    let q = poly::<FMA, 9>(
        b,
        [
            1.637_151_4e-6,
            -4.605_804_3e-5,
            5.968_056e-4,
            -4.759_596_4e-3,
            2.642_113_6e-2,
            -0.110_080_08,
            -0.631_826_05,
            -1.130_233_4,
            3.201_380_5e-4,
        ],
    );
    let large = (1.0 - exp::<FMA>(q)).copysign(x);
    if a < 1.0 { small } else { large }
}

/// `ln x`. The significand is brought to √½..√2, `f` being its distance from 1; then with `s = f / (2 + f)`
/// `ln(1 + f) = 2 artanh s`, as Taylor series to s⁹ (truncated at 2e-9), arranged so that `f` enters exactly.
#[inline(always)]
pub(crate) fn log<const FMA: bool>(x: f32) -> f32 {
    const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let offset = if tiny { -23.0 } else { 0.0 };
    let bits = (scaled.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS);
    let k = (bits >> 23) as f32 + offset;
    let f = f32::from_bits(((bits & 0x007f_ffff) + SQRT_HALF_BITS) as u32) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let series = z * poly::<FMA, 4>(z, [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0]);
    let half_square = 0.5 * f * f;
    let low = fma::<FMA>(s, half_square + series, k * LN2_LOW);
    let r = fma::<FMA>(k, LN2_HIGH, f - (half_square - low));
    let r = if x == 0.0 { f32::NEG_INFINITY } else { r };
    let r = if x == f32::INFINITY { x } else { r };
    // Also catches NaN.
    if x >= 0.0 { r } else { f32::NAN }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + u)` with `u = e^-|x| ≤ 1`; the logarithm as `2 artanh(u / (2 + u))`, Taylor
/// series to the 15th power (truncated at 2e-9).
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f32) -> f32 {
    let u = exp::<FMA>(-x.abs());
    let s = u / (2.0 + u);
    let z = s * s;
    let c = [2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0];
    relu(x) + s * poly::<FMA, 8>(z, c)
}

/// `x^y` as `e^(y ln |x|)` in `f64` (both series truncated below 1e-9), signs and special cases as C has them.
#[inline(always)]
pub(crate) fn pow<const FMA: bool>(x: f32, y: f32) -> f32 {
    const SQRT_HALF_BITS: i64 = 0x3fe6_a09e_667f_3bcd;
    let a = f64::from(x.abs());
    // Every finite non-zero `f32` is a normal `f64`.
    let bits = (a.to_bits() as i64).wrapping_sub(SQRT_HALF_BITS);
    let k = (bits >> 52) as i32 as f64;
    let f = f64::from_bits(((bits & 0x000f_ffff_ffff_ffff) + SQRT_HALF_BITS) as u64) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let c = [2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0];
    let log2 = fma64::<FMA>(s * poly64::<FMA, 7>(z, c), std::f64::consts::LOG2_E, k);
    let log2 = if a == 0.0 { f64::NEG_INFINITY } else { log2 };
    let log2 = if a == f64::INFINITY { a } else { log2 };
    let e = f64::from(y) * log2;
    let e = if e > 300.0 { 300.0 } else { e };
    let e = if e < -300.0 { -300.0 } else { e };
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let t = e + ROUNDER;
    let n = t - ROUNDER;
    let r = (e - n) * std::f64::consts::LN_2;
    let c = [
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let p = poly64::<FMA, 10>(r, c);
    let scale = t.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(1023) << 52;
    let size = (p * f64::from_bits(scale)) as f32;
    // Floats from 2^24 on are even integers, so halving tells odd ones apart.
    let whole = y == y.trunc();
    let odd = whole && (y * 0.5) != (y * 0.5).trunc();
    let negative = x.is_sign_negative();
    let signed = if negative && odd { -size } else { size };
    let domain = if x < 0.0 && !whole && x != f32::NEG_INFINITY { f32::NAN } else { signed };
    // One to an infinite power is one; the products above gave NaN.
    let unit = if x.abs() == 1.0 && y.is_infinite() { 1.0 } else { domain };
    let nan = if x.is_nan() || y.is_nan() { f32::NAN } else { unit };
    if y == 0.0 || x == 1.0 { 1.0 } else { nan }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::available_isas;
    use crate::level::{Level, per_level};

    /// Floats of every exponent and sign, and the special ones.
    fn samples() -> Vec<f32> {
        let mut v: Vec<f32> = Vec::new();
        let mut state = 1u32;
        for e in 0..255u32 {
            for _ in 0..24 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                v.push(f32::from_bits(e << 23 | state >> 9));
            }
        }
        v.extend((0..4000).map(|i| i as f32 * 0.03));
        v.extend([
            0.0,
            1.0,
            f32::INFINITY,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::from_bits(1),
            88.72,
            88.73,
            103.9,
        ]);
        let negative: Vec<f32> = v.iter().map(|x| -x).collect();
        v.extend(negative);
        v.push(f32::NAN);
        v
    }

    /// The type of a test's vectorised loop.
    type Map = fn(Level, &[f32], &mut [f32]);

    macro_rules! looped {
        ($name:ident) => {{
            #[inline(always)]
            fn body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = $name::<FMA>(*x);
                }
            }
            per_level!(fn map(x: &[f32], y: &mut [f32]) = body);
            map as Map
        }};
    }

    fn close(got: f32, want: f64, relative: f64, absolute: f64) -> bool {
        let rounded = want as f32;
        if rounded.is_nan() {
            return got.is_nan();
        }
        if rounded.is_infinite() || got.is_infinite() {
            // Overflow may come a rounding error early or late.
            return got == rounded || (f64::from(got) / want - 1.0).abs() < relative;
        }
        (f64::from(got) - want).abs() <= relative * want.abs() + absolute
    }

    fn check(name: &str, map: Map, exact: impl Fn(f64) -> f64, relative: f64, absolute: f64) {
        let x = samples();
        for &isa in available_isas() {
            let mut y = vec![f32::NAN; x.len()];
            map(Level::of(isa), &x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let want = exact(f64::from(x));
                assert!(close(y, want, relative, absolute), "{name}({x:e}) = {y:e}, not {want:e} on {isa}");
            }
        }
    }

    /// erf by its Taylor series, or 1 - erfc by Lentz's continued fraction: good to 1e-13.
    fn erf64(x: f64) -> f64 {
        let a = x.abs();
        if x.is_nan() {
            return x;
        }
        if a < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        if a > 7.0 {
            return 1f64.copysign(x);
        }
        let mut tail = a;
        for n in (1..200).rev() {
            tail = a + f64::from(n) / 2.0 / tail;
        }
        (1.0 - (-a * a).exp() / tail / std::f64::consts::PI.sqrt()).copysign(x)
    }

    #[test]
    fn functions_are_accurate() {
        // A denormal or two, for results that are not much more.
        let denormal = 1.5e-45;
        check("exp", looped!(exp), f64::exp, 3e-7, denormal);
        check("log", looped!(log), f64::ln, 3e-7, 0.0);
        check("sigmoid", looped!(sigmoid), |x| 1.0 / (1.0 + (-x).exp()), 5e-7, 1.2e-38);
        check("tanh", looped!(tanh), f64::tanh, 5e-7, denormal);
        check("erf", looped!(erf), erf64, 5e-7, denormal);
        check("softplus", looped!(softplus), |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 5e-7, 3e-45);
    }

    #[test]
    fn powers_are_accurate() {
        #[inline(always)]
        fn body<const FMA: bool>(x: &[f32], e: f32, y: &mut [f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = pow::<FMA>(*x, e);
            }
        }
        per_level!(fn map(x: &[f32], e: f32, y: &mut [f32]) = body);
        let x: Vec<f32> =
            samples().into_iter().step_by(3).chain([0.0, -0.0, 1.0, -1.0, f32::INFINITY]).collect();
        let exponents =
            [0.0, -0.0, 1.0, -1.0, 0.5, 0.75, 2.0, 3.0, -3.0, 2.5, 17.0, -40.3, 1e-3, 3e7, -3e7, 1e30];
        let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for &isa in available_isas() {
            for e in exponents.into_iter().chain(special) {
                let mut y = vec![0.0; x.len()];
                map(Level::of(isa), &x, e, &mut y);
                for (&x, &y) in x.iter().zip(&y) {
                    let want = f64::from(x).powf(f64::from(e));
                    // The error of the logarithm grows with the exponent of the result, at most 128.
                    assert!(close(y, want, 1e-6, 1e-45), "pow({x:e}, {e:e}) = {y:e}, not {want:e} on {isa}");
                    if y == 0.0 && want == 0.0 {
                        assert_eq!(y.is_sign_negative(), want.is_sign_negative(), "pow({x:e}, {e:e})");
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_keep_nan() {
        assert!(max(f32::NAN, 1.0).is_nan() && max(1.0, f32::NAN).is_nan() && relu(f32::NAN).is_nan());
        assert!(min(f32::NAN, 1.0).is_nan() && min(1.0, f32::NAN).is_nan());
        assert_eq!((max(1.0, 2.0), min(1.0, 2.0), relu(-1.0), relu(3.0)), (2.0, 1.0, 0.0, 3.0));
    }
}
