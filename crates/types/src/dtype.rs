use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The type of one tensor element.
///
/// The types behind [`DType::Bool`] are *narrow*: 8 bits and fewer, made to store numbers, not to compute with. They can be
/// converted ([`crate::Expr`]'s casts), moved and chosen among, nothing else. In memory each of their elements takes one
/// byte, whatever its width: integers the byte of the same number, floats their code (see [`crate::NarrowFloat`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// IEEE 754 binary64.
    F64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// One byte, 0 or 1.
    Bool,
    /// Sign, 4 bits of exponent, 3 of mantissa; no infinities, two NaNs.
    F8E4M3FN,
    /// Sign, 4 bits of exponent, 3 of mantissa; no infinities, no negative zero, one NaN.
    F8E4M3FNUZ,
    /// Sign, 5 bits of exponent, 2 of mantissa; infinities and NaNs as IEEE 754 has them.
    F8E5M2,
    /// Sign, 5 bits of exponent, 2 of mantissa; no infinities, no negative zero, one NaN.
    F8E5M2FNUZ,
    /// A power of two, or NaN: 8 bits of exponent and nothing else.
    F8E8M0,
    /// Sign, 2 bits of exponent, 1 of mantissa; no infinities, no NaN.
    F4E2M1,
    /// Signed, 4 bits: -8 to 7.
    I4,
    /// Unsigned, 4 bits: 0 to 15.
    U4,
    /// Signed, 2 bits: -2 to 1.
    I2,
    /// Unsigned, 2 bits: 0 to 3.
    U2,
}

impl DType {
    /// Every type, in declaration order.
    pub const ALL: [DType; 23] = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F8E8M0,
        DType::F4E2M1,
        DType::I4,
        DType::U4,
        DType::I2,
        DType::U2,
    ];

    /// Bytes of one element in memory.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0 => 1,
            DType::F4E2M1 | DType::I4 | DType::U4 | DType::I2 | DType::U2 => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// Bits that an element's number takes, of the narrow types fewer than its byte may have.
    pub const fn bits(self) -> usize {
        match self {
            DType::F4E2M1 | DType::I4 | DType::U4 => 4,
            DType::I2 | DType::U2 => 2,
            t => t.size() * 8,
        }
    }

    /// The name used in text forms and messages, such as `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
            DType::F8E8M0 => "f8e8m0",
            DType::F4E2M1 => "f4e2m1",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I2 => "i2",
            DType::U2 => "u2",
        }
    }

    /// Whether values of this type are floating-point numbers to compute with (no narrow ones).
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }

    /// Whether values of this type are integers to compute with (neither `bool` nor narrow ones).
    pub const fn is_int(self) -> bool {
        !self.is_float() && !self.is_narrow() && !matches!(self, DType::Bool)
    }

    /// Whether values of this type are integers to compute with that can be negative.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// Whether this type only stores numbers: 8-bit and smaller floats, integers of 4 and 2 bits.
    pub const fn is_narrow(self) -> bool {
        self as u8 > DType::Bool as u8
    }

    /// Bits of a narrow integer, and whether it is signed; `None` for other types.
    pub const fn narrow_int(self) -> Option<(u32, bool)> {
        match self {
            DType::I4 => Some((4, true)),
            DType::U4 => Some((4, false)),
            DType::I2 => Some((2, true)),
            DType::U2 => Some((2, false)),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no element type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDTypeError(String);

impl fmt::Display for ParseDTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown element type `{}`: expected one of", self.0)?;
        for (i, t) in DType::ALL.iter().enumerate() {
            write!(f, "{} {t}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseDTypeError {}

impl FromStr for DType {
    type Err = ParseDTypeError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        DType::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| ParseDTypeError(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for t in DType::ALL {
            assert_eq!(t.name().parse::<DType>(), Ok(t));
        }
        assert_eq!(DType::ALL.iter().filter(|t| t.is_narrow()).count(), 10);
        assert!("f33".parse::<DType>().unwrap_err().to_string().contains("f33"));
    }
}
