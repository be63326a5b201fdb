//! Seeded inputs.

use tactician_runtime::{Port, Tensor};
use tactician_types::{DType, NarrowFloat};

/// Seeded values for an input: floats between -1 and 1 (scales of `f8e8m0` above zero), others 0 or 1. Equal seeds give equal values. `None` when there
/// is no memory for them.
pub fn random_input(port: &Port, seed: u64) -> Option<Tensor> {
    let shape: Vec<usize> = port.shape.iter().map(|&d| d as usize).collect();
    let mut t = Tensor::zeros(port.dtype, &shape)?;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // SplitMix64 (Steele, Lea, Flood, 2014).
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let size = port.dtype.size();
    if let Some(format) = NarrowFloat::of(port.dtype) {
        let least = if format == NarrowFloat::E8M0 { 0.0 } else { -1.0 };
        let unit = |z: u64| (z >> 11) as f64 / (1u64 << 53) as f64;
        t.bytes_mut().iter_mut().for_each(|b| *b = format.code(least + (1.0 - least) * unit(next())));
        return Some(t);
    }
    match port.dtype {
        DType::F32 => {
            t.values_mut::<f32>()?.iter_mut().for_each(|v| *v = (next() >> 40) as f32 / 8_388_608.0 - 1.0)
        }
        DType::F64 => t
            .values_mut::<f64>()?
            .iter_mut()
            .for_each(|v| *v = (next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0),
        // One half, and its sign: exact in the short floats.
        DType::F16 => t.bytes_mut().chunks_exact_mut(2).for_each(|b| b[1] = 0x38 | (next() as u8 & 0x80)),
        DType::BF16 => t.bytes_mut().chunks_exact_mut(2).for_each(|b| b[1] = 0x3f | (next() as u8 & 0x80)),
        _ => t.bytes_mut().chunks_exact_mut(size).for_each(|b| b[0] = (next() & 1) as u8),
    }
    Some(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_floats_are_numbers_between_minus_one_and_one() {
        for format in NarrowFloat::ALL {
            let port = Port { name: "x".into(), dtype: format.dtype(), shape: vec![10, 20] };
            let t = random_input(&port, 3).unwrap();
            let mut values: Vec<f64> = t.bytes().iter().map(|&b| format.value(b)).collect();
            assert!(values.iter().all(|v| v.abs() <= 1.0), "{format:?}");
            assert!(values.iter().any(|v| *v < 0.0) || format == NarrowFloat::E8M0);
            values.sort_by(f64::total_cmp);
            values.dedup();
            assert!(values.len() > 4, "{format:?}: {values:?}");
        }
    }
}
