//! Values of constants.

use std::fmt::Write;

use half::{bf16, f16};
use tactician_types::{DType, NarrowFloat};

use super::lexer::Token;
use super::parse::Parser;
use super::{MAX_FILLED, TextError, TextErrorKind};
use crate::tensor::{Tensor, TensorType};

/// Most values written one by one.
const MAX_LISTED: usize = 16;

/// How the values of a constant are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// So that they can be read back.
    Full,
    /// For people: long ones by their hash.
    Abbreviated,
    /// Long ones not at all: whoever reads the text has them.
    Aside,
}

/// Whether the values of a constant stand beside a text that has [`Values::Aside`].
pub(super) fn is_aside(t: &Tensor) -> bool {
    t.len() > MAX_LISTED
}

/// The values of a constant: what follows `const`. `filled` counts the bytes written as `fill`.
pub(super) fn constant_text(t: &Tensor, values: Values, filled: &mut usize) -> String {
    if values == Values::Aside && is_aside(t) {
        return "aside".to_owned();
    }
    let size = t.dtype().size();
    let mut elements = t.bytes().chunks_exact(size);
    if t.len() > 1
        && *filled + t.bytes().len() <= MAX_FILLED
        && elements.clone().all(|e| Some(e) == t.bytes().get(..size))
    {
        *filled += t.bytes().len();
        return elements.next().map_or(String::new(), |e| format!("fill {}", element_text(t.dtype(), e)));
    }
    if t.len() <= MAX_LISTED {
        let list: Vec<String> = elements.map(|e| element_text(t.dtype(), e)).collect();
        return format!("{{{}}}", list.join(", "));
    }
    if values == Values::Abbreviated {
        return format!("elided {:#018x}", fnv(t.bytes()));
    }
    let mut out = String::with_capacity(t.bytes().len() * 2 + 8);
    out.push_str("hex \"");
    let digits = t.bytes().iter().flat_map(|b| [b >> 4, b & 15]);
    out.extend(digits.map(|d| char::from(if d < 10 { b'0' + d } else { b'a' + d - 10 })));
    out.push('"');
    out
}

/// The FNV-1a hash: tells constants apart in what people read.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The shortest text that reads back as the same float; NaNs with unusual bits as those.
pub(super) fn f32_text(v: f32) -> String {
    element_text(DType::F32, &v.to_le_bytes())
}

/// One element, from its little-endian bytes.
fn element_text(dtype: DType, bytes: &[u8]) -> String {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    let float = |nan: bool, usual: u64, text: String| match (nan, bits == usual) {
        (true, true) => "nan".to_owned(),
        (true, false) => format!("{bits:#x}"),
        (false, _) => text,
    };
    match dtype {
        DType::F32 => {
            let v = f32::from_bits(bits as u32);
            float(v.is_nan(), u64::from(f32::NAN.to_bits()), format!("{v:?}"))
        }
        DType::F64 => {
            let v = f64::from_bits(bits);
            float(v.is_nan(), f64::NAN.to_bits(), format!("{v:?}"))
        }
        DType::F16 => {
            let v = f16::from_bits(bits as u16);
            float(v.is_nan(), u64::from(f16::NAN.to_bits()), format!("{:?}", v.to_f32()))
        }
        DType::BF16 => {
            let v = bf16::from_bits(bits as u16);
            float(v.is_nan(), u64::from(bf16::NAN.to_bits()), format!("{:?}", v.to_f32()))
        }
        DType::I8 => (bits as i8).to_string(),
        DType::I16 => (bits as i16).to_string(),
        DType::I32 => (bits as i32).to_string(),
        DType::I64 => (bits as i64).to_string(),
        DType::Bool if bits < 2 => (bits == 1).to_string(),
        DType::Bool => format!("{bits:#x}"),
        t if t.is_narrow() => narrow_text(t, bits as u8),
        _ => bits.to_string(),
    }
}

/// A narrow element; integers that are out of their range by their bits.
fn narrow_text(dtype: DType, byte: u8) -> String {
    if let Some(t) = NarrowFloat::of(dtype) {
        return t.text(byte);
    }
    match dtype.wrapped(i64::from(byte)) {
        Some(v) if v as u8 == byte => v.to_string(),
        _ => format!("{byte:#x}"),
    }
}

/// The bits of an element written as `text`; `None` when it is no value of the type.
fn element_bits(dtype: DType, text: &str, negative: bool) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        let bits = u64::from_str_radix(hex, 16).ok().filter(|_| !negative)?;
        let unused = bits.checked_shr(dtype.size() as u32 * 8).unwrap_or(0);
        return (unused == 0).then_some(bits);
    }
    if let Some(t) = NarrowFloat::of(dtype) {
        return t.parse(text, negative).map(u64::from);
    }
    let text = if text == "nan" { "NaN" } else { text };
    if dtype.is_float() {
        if dtype == DType::F64 {
            let v: f64 = text.parse().ok()?;
            return Some(if negative { -v } else { v }.to_bits());
        }
        let v: f32 = text.parse().ok()?;
        let v = if negative { -v } else { v };
        return Some(match dtype {
            DType::F16 if v.is_nan() => u64::from(f16::NAN.to_bits()),
            DType::F16 => u64::from(f16::from_f32(v).to_bits()),
            DType::BF16 if v.is_nan() => u64::from(bf16::NAN.to_bits()),
            DType::BF16 => u64::from(bf16::from_f32(v).to_bits()),
            _ => u64::from(v.to_bits()),
        });
    }
    if dtype == DType::Bool {
        return match (text, negative) {
            ("true", false) => Some(1),
            ("false", false) => Some(0),
            _ => None,
        };
    }
    let magnitude = i128::from(text.parse::<u64>().ok()?);
    let v = if negative { -magnitude } else { magnitude };
    if dtype.is_narrow() {
        let v = i64::try_from(v).ok()?;
        return (dtype.wrapped(v) == Some(v)).then_some(v as u64);
    }
    let width = dtype.size() as u32 * 8;
    let (least, most) = match dtype.is_signed_int() {
        true => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
        false => (0, (1i128 << width) - 1),
    };
    (least..=most).contains(&v).then_some(v as u64)
}

/// The next of a sequence of random numbers (SplitMix64).
pub(crate) fn noise(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Bits of a random element: floats in [-1, 1), integers from -8 (or 0) to 7 or 15, narrow ones from all of theirs, any
/// `bool`.
fn noise_bits(dtype: DType, state: &mut u64) -> u64 {
    let z = noise(state);
    let unit = (z >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    match dtype {
        DType::F32 => u64::from(unit.to_bits()),
        DType::F64 => f64::from(unit).to_bits(),
        DType::F16 => u64::from(f16::from_f32(unit).to_bits()),
        DType::BF16 => u64::from(bf16::from_f32(unit).to_bits()),
        DType::Bool => z & 1,
        t if t.is_signed_int() => ((z & 15) as i64 - 8) as u64,
        t => match (NarrowFloat::of(t), t.wrapped(z as i64)) {
            (Some(NarrowFloat::E8M0), _) => u64::from(NarrowFloat::E8M0.code(f64::from(unit.abs()))),
            (Some(t), _) => u64::from(t.code(f64::from(unit))),
            (None, Some(v)) => v as u64,
            (None, None) => z & 15,
        },
    }
}

impl Parser<'_> {
    /// The values of a constant of type `ty`, which stands at `place`.
    pub(super) fn constant(&mut self, ty: &TensorType, place: usize) -> Result<Tensor, TextError> {
        let Some(sizes) = ty.sizes() else {
            let found = format!("{ty}");
            return self.fail_at(place, TextErrorKind::Type, found, "a constant's sizes to be known");
        };
        let size = ty.dtype.size();
        let start = self.place();
        let mut bytes = Vec::new();
        match self.peek() {
            Token::Mark('{') => self.list('{', '}', |p| {
                let bits = p.element(ty.dtype)?;
                bytes.extend_from_slice(&bits.to_le_bytes()[..size]);
                Ok(())
            })?,
            Token::Word("fill") => {
                self.advance()?;
                let count = self.fill_count(&sizes, size, start)?;
                let element = self.element(ty.dtype)?.to_le_bytes();
                bytes = element[..size].repeat(count);
            }
            Token::Word("seed") => {
                self.advance()?;
                let count = self.fill_count(&sizes, size, start)?;
                let mut state: u64 = self.integer(false)?;
                bytes.reserve_exact(count * size);
                for _ in 0..count {
                    bytes.extend_from_slice(&noise_bits(ty.dtype, &mut state).to_le_bytes()[..size]);
                }
            }
            Token::Word("hex") => {
                self.advance()?;
                bytes = self.hex()?;
            }
            Token::Word("aside") => {
                self.advance()?;
                return match self.aside.as_mut().and_then(|values| values(ty)).filter(|t| t.ty() == *ty) {
                    Some(tensor) => Ok(tensor),
                    None => self.fail_at(
                        start,
                        TextErrorKind::Value,
                        "aside".into(),
                        "the values beside the text",
                    ),
                };
            }
            Token::Word("elided") => {
                return self.fail(TextErrorKind::Value, "the values; this is an abbreviated text");
            }
            _ => return self.unexpected("`{…}`, `fill`, `hex` or `seed`"),
        }
        let found = bytes.len();
        Tensor::from_bytes(ty.dtype, &sizes, bytes).or_else(|_| {
            let wanted = ty.bytes().map_or("fewer".to_owned(), |b| b.to_string());
            let expected = format!("{wanted} bytes for {ty}");
            self.fail_at(start, TextErrorKind::Value, format!("values of {found} bytes"), &expected)
        })
    }

    /// Number of elements, if they may be made without being spelled out.
    fn fill_count(&mut self, sizes: &[usize], size: usize, place: usize) -> Result<usize, TextError> {
        let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        let bytes = count.and_then(|c| c.checked_mul(size)).and_then(|b| b.checked_add(self.filled));
        match (count, bytes) {
            (Some(count), Some(bytes)) if bytes <= MAX_FILLED => {
                self.filled = bytes;
                Ok(count)
            }
            _ => {
                let expected = format!("at most {MAX_FILLED} bytes in all constants of this form");
                self.fail_at(place, TextErrorKind::Limit, format!("sizes {sizes:?}"), &expected)
            }
        }
    }

    fn element(&mut self, dtype: DType) -> Result<u64, TextError> {
        let negative = self.eat('-')?;
        let bits = match self.peek() {
            Token::Number(w) | Token::Word(w) => element_bits(dtype, w, negative),
            _ => return self.unexpected(&format!("a value of type {dtype}")),
        };
        match bits {
            Some(bits) => {
                self.advance()?;
                Ok(bits)
            }
            None => self.fail(TextErrorKind::Value, &format!("a value of type {dtype}")),
        }
    }

    /// A float attribute.
    pub(super) fn f32(&mut self) -> Result<f32, TextError> {
        Ok(f32::from_bits(self.element(DType::F32)? as u32))
    }

    fn hex(&mut self) -> Result<Vec<u8>, TextError> {
        const EXPECTED: &str = "bytes in quotes, two hexadecimal digits each";
        let Token::Text(text) = self.peek() else { return self.unexpected(EXPECTED) };
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let pairs = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs.map(|p| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?)).collect();
        match bytes {
            Some(bytes) => {
                self.advance()?;
                Ok(bytes)
            }
            None => self.fail(TextErrorKind::Value, EXPECTED),
        }
    }
}

/// For [`super::attributes()`]: a line that depends on every byte.
pub(super) fn constant_key(t: &Tensor) -> String {
    let mut out = String::new();
    let _ = write!(out, "{} ", t.ty());
    out + &constant_text(t, Values::Full, &mut 0)
}
