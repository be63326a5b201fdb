//! Rounding to floats of 16 bits.

use half::{bf16, f16};

/// The value as `f32`, with the last bit set where digits were cut off: what rounds it to fewer bits then comes to the
/// nearest value, as if it had seen all digits (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008). The `half` crate's own conversions from `f64` look at 20 bits of mantissa.
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let wide = f64::from(nearest);
    if wide == x || x.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    // Towards zero first; infinity becomes the largest value.
    let cut = if wide.abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(cut | 1)
}

/// The nearest `f16`, ties to even.
#[inline]
pub fn f16_of(x: f64) -> f16 {
    f16::from_f32(to_odd(x))
}

/// The nearest `bf16`, ties to even.
#[inline]
pub fn bf16_of(x: f64) -> bf16 {
    bf16::from_f32(to_odd(x))
}
