//! Numbers of 8 bits and fewer.

use crate::DType;

/// A format of floats of 8 bits and fewer: ONNX's `float8e4m3fn`, `float8e4m3fnuz`, `float8e5m2`, `float8e5m2fnuz`,
/// `float8e8m0` and `float4e2m1`.
///
/// An element is a *code*: sign, exponent and mantissa from the highest bit down, in the low bits of a byte. E4M3 and E5M2
/// with infinities or NaNs as IEEE 754 nearly has them: Micikevicius et al., "FP8 Formats for Deep Learning", 2022. The
/// `fnuz` formats, whose only NaN takes the code of the negative zero: Noune et al., "8-bit Numerical Formats for Deep
/// Neural Networks", 2022. E8M0 and E2M1: Open Compute Project, "OCP Microscaling Formats (MX) Specification 1.0", 2023.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NarrowFloat {
    /// Bias 7; the two codes of largest magnitude are NaN.
    E4M3FN,
    /// Bias 8; NaN is 0x80.
    E4M3FNUZ,
    /// Bias 15; infinities, and NaNs beyond them.
    E5M2,
    /// Bias 16; NaN is 0x80.
    E5M2FNUZ,
    /// `2^(code - 127)`; NaN is 0xff.
    E8M0,
    /// Bias 1, in four bits; every code is a number.
    E2M1,
}

/// What a format with a sign consists of.
struct Parts {
    /// The bit of the sign.
    sign: u8,
    mantissa: u32,
    /// Exponent of the least normal value.
    least: i32,
    /// Code of the largest value.
    largest: u8,
    /// Code of NaN, if there is one, without a sign unless that is the only NaN.
    nan: Option<u8>,
    /// Whether zero has a sign, and NaN.
    signed_zero: bool,
}

impl NarrowFloat {
    /// All of them, in the order of their types.
    pub const ALL: [NarrowFloat; 6] = [
        NarrowFloat::E4M3FN,
        NarrowFloat::E4M3FNUZ,
        NarrowFloat::E5M2,
        NarrowFloat::E5M2FNUZ,
        NarrowFloat::E8M0,
        NarrowFloat::E2M1,
    ];

    /// The format of an element type; `None` when that is no narrow float.
    pub const fn of(dtype: DType) -> Option<NarrowFloat> {
        Some(match dtype {
            DType::F8E4M3FN => NarrowFloat::E4M3FN,
            DType::F8E4M3FNUZ => NarrowFloat::E4M3FNUZ,
            DType::F8E5M2 => NarrowFloat::E5M2,
            DType::F8E5M2FNUZ => NarrowFloat::E5M2FNUZ,
            DType::F8E8M0 => NarrowFloat::E8M0,
            DType::F4E2M1 => NarrowFloat::E2M1,
            _ => return None,
        })
    }

    /// The element type of this format.
    pub const fn dtype(self) -> DType {
        match self {
            NarrowFloat::E4M3FN => DType::F8E4M3FN,
            NarrowFloat::E4M3FNUZ => DType::F8E4M3FNUZ,
            NarrowFloat::E5M2 => DType::F8E5M2,
            NarrowFloat::E5M2FNUZ => DType::F8E5M2FNUZ,
            NarrowFloat::E8M0 => DType::F8E8M0,
            NarrowFloat::E2M1 => DType::F4E2M1,
        }
    }

    const fn parts(self) -> Parts {
        match self {
            NarrowFloat::E4M3FN => Parts {
                sign: 0x80,
                mantissa: 3,
                least: -6,
                largest: 0x7e,
                nan: Some(0x7f),
                signed_zero: true,
            },
            NarrowFloat::E4M3FNUZ => Parts {
                sign: 0x80,
                mantissa: 3,
                least: -7,
                largest: 0x7f,
                nan: Some(0x80),
                signed_zero: false,
            },
            NarrowFloat::E5M2 => Parts {
                sign: 0x80,
                mantissa: 2,
                least: -14,
                largest: 0x7b,
                nan: Some(0x7e),
                signed_zero: true,
            },
            NarrowFloat::E5M2FNUZ => Parts {
                sign: 0x80,
                mantissa: 2,
                least: -15,
                largest: 0x7f,
                nan: Some(0x80),
                signed_zero: false,
            },
            // No sign; both functions below treat it apart.
            NarrowFloat::E8M0 => Parts {
                sign: 0,
                mantissa: 0,
                least: -127,
                largest: 0xfe,
                nan: Some(0xff),
                signed_zero: false,
            },
            NarrowFloat::E2M1 => {
                Parts { sign: 0x08, mantissa: 1, least: 0, largest: 0x07, nan: None, signed_zero: true }
            }
        }
    }

    /// The number that a code stands for, exactly; bits above the format's width are ignored.
    pub fn value(self, code: u8) -> f64 {
        let p = self.parts();
        if self == NarrowFloat::E8M0 {
            return if code == 0xff { f64::NAN } else { power(i32::from(code) - 127) };
        }
        if !p.signed_zero && code == p.sign {
            return f64::NAN;
        }
        let magnitude = code & (p.sign - 1);
        let value = if magnitude <= p.largest {
            let (exponent, digits) =
                (magnitude >> p.mantissa, f64::from(magnitude & ((1 << p.mantissa) - 1)));
            let lead = if exponent == 0 { 0.0 } else { f64::from(1u8 << p.mantissa) };
            (lead + digits) * power(p.least + i32::from(exponent.max(1)) - 1 - p.mantissa as i32)
        } else if self == NarrowFloat::E5M2 && magnitude == p.largest + 1 {
            f64::INFINITY
        } else {
            f64::NAN
        };
        if code & p.sign == 0 { value } else { -value }
    }

    /// The code of a number, as ONNX's `Cast` has it unless told otherwise: the nearest value, ties to even; beyond the
    /// largest value that value, for infinities too; NaN stays NaN with its sign, where there is one.
    ///
    /// What the standard leaves open: NaN becomes a zero of [`NarrowFloat::E2M1`] with the other sign, as its test data have
    /// it. To [`NarrowFloat::E8M0`]
    /// values round up, those below the least value, zeros included, become it, and negative ones NaN.
    pub fn code(self, value: f64) -> u8 {
        let p = self.parts();
        let bits = value.to_bits();
        if self == NarrowFloat::E8M0 {
            if value.is_nan() || value < 0.0 {
                return 0xff;
            }
            let up = exponent(value) + i32::from(bits & ((1 << 52) - 1) != 0);
            return (up + 127).clamp(0, i32::from(p.largest)) as u8;
        }
        let sign = if value.is_sign_negative() { p.sign } else { 0 };
        if value.is_nan() {
            return match p.nan {
                Some(nan) if p.signed_zero => nan | sign,
                Some(nan) => nan,
                None => sign ^ p.sign,
            };
        }
        let magnitude = if value.is_infinite() {
            p.largest
        } else {
            // In units of the last digit, of which normal values have 2^mantissa and more: neighbours' codes are
            // neighbours, so a carry into the exponent comes out right.
            let e = exponent(value).clamp(p.least, 1022);
            let units = (value.abs() * power(p.mantissa as i32 - e)).round_ties_even() as i32;
            let code = ((e - p.least) << p.mantissa) + units;
            code.min(i32::from(p.largest)) as u8
        };
        if magnitude == 0 && !p.signed_zero { 0 } else { magnitude | sign }
    }
}

impl NarrowFloat {
    /// A code as text that [`NarrowFloat::parse`] reads back: its number, or the code itself (`0x7f`) where no number gives
    /// that code.
    pub fn text(self, code: u8) -> String {
        let value = self.value(code);
        if value.is_finite() && self.code(value) == code {
            format!("{value:?}")
        } else {
            format!("{code:#x}")
        }
    }

    /// The code of a number written as `text`, its sign apart, or of `nan`, or a code as it is (`0x7f`). `None` for what is
    /// none of these: numbers are not rounded.
    pub fn parse(self, text: &str, negative: bool) -> Option<u8> {
        if let Some(hex) = text.strip_prefix("0x") {
            return u8::from_str_radix(hex, 16).ok().filter(|_| !negative);
        }
        let value: f64 = text.parse().ok()?;
        let value = if negative { -value } else { value };
        let code = self.code(value);
        let back = self.value(code);
        (back == value || back.is_nan() && value.is_nan()).then_some(code)
    }
}

/// The exponent of a number; that of denormal numbers and of zero is -1023.
fn exponent(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// `2^e` for the exponents of normal numbers.
fn power(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// A number as a narrow integer: towards zero, then modulo its width; infinities and NaN give 0, as large numbers do.
/// `None` when the type is no narrow integer.
pub fn narrow_integer(dtype: DType, value: f64) -> Option<i64> {
    // Floats of 2^57 and more are multiples of 16.
    let whole = if value.abs() < 2f64.powi(57) { value as i64 } else { 0 };
    dtype.wrapped(whole)
}

impl DType {
    /// An integer modulo the width of a narrow integer: higher bits are discarded, and the rest is read as the type says.
    /// `None` for other types.
    #[inline]
    pub const fn wrapped(self, value: i64) -> Option<i64> {
        match self.narrow_int() {
            Some((bits, true)) => Some(value << (64 - bits) >> (64 - bits)),
            Some((bits, false)) => Some(value & ((1 << bits) - 1)),
            None => None,
        }
    }
}

#[cfg(test)]
#[path = "narrow_tests.rs"]
mod tests;
