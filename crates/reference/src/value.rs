//! Arrays of `f64` or `i64` with the type that they stand for.

use half::{bf16, f16};
use tactician_ir::{DType, Tensor};
use tactician_types::{NarrowFloat, bf16_of, f16_of};

/// The elements of a tensor, widened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) dtype: DType,
    pub(crate) sizes: Vec<usize>,
    pub(crate) data: Data,
}

/// Floats as `f64`; integers and `bool` as `i64` (`u64` wraps); narrow floats by their code as `i64`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

/// Rounds to a float type.
pub(crate) fn round(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => f16_of(x).to_f64(),
        DType::BF16 => bf16_of(x).to_f64(),
        _ => x,
    }
}

/// Wraps to the width of an integer type.
pub(crate) fn wrap(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::I8 => i64::from(x as i8),
        DType::I16 => i64::from(x as i16),
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::U16 => i64::from(x as u16),
        DType::U32 => i64::from(x as u32),
        DType::Bool => i64::from(x != 0),
        t if NarrowFloat::of(t).is_some() => x & 0xff,
        t => t.wrapped(x).unwrap_or(x),
    }
}

/// The code of a number in a narrow float type; 0 in others.
pub(crate) fn narrow(dtype: DType, x: f64) -> i64 {
    NarrowFloat::of(dtype).map_or(0, |t| i64::from(t.code(x)))
}

impl Data {
    /// Little-endian elements of a type, widened.
    pub(crate) fn of_bytes(dtype: DType, bytes: &[u8]) -> Data {
        macro_rules! read {
            ($kind:ident, $from:ty, $f:expr) => {
                Data::$kind(
                    bytes
                        .chunks_exact(size_of::<$from>())
                        .map(bytemuck::pod_read_unaligned::<$from>)
                        .map($f)
                        .collect(),
                )
            };
        }
        match dtype {
            DType::F32 => read!(Float, f32, f64::from),
            DType::F64 => read!(Float, f64, |x| x),
            DType::F16 => read!(Float, f16, f16::to_f64),
            DType::BF16 => read!(Float, bf16, bf16::to_f64),
            DType::I8 => read!(Int, i8, i64::from),
            DType::I16 => read!(Int, i16, i64::from),
            DType::I32 => read!(Int, i32, i64::from),
            DType::I64 => read!(Int, i64, |x| x),
            DType::U16 => read!(Int, u16, i64::from),
            DType::U32 => read!(Int, u32, i64::from),
            DType::U64 => read!(Int, u64, |x| x as i64),
            DType::Bool => read!(Int, u8, |x| i64::from(x != 0)),
            t => read!(Int, u8, |x| wrap(t, i64::from(x))),
        }
    }
}

impl Value {
    pub(crate) fn float(dtype: DType, sizes: Vec<usize>, data: Vec<f64>) -> Value {
        debug_assert_eq!(sizes.iter().product::<usize>(), data.len());
        Value { dtype, sizes, data: Data::Float(data) }
    }

    pub(crate) fn int(dtype: DType, sizes: Vec<usize>, data: Vec<i64>) -> Value {
        debug_assert_eq!(sizes.iter().product::<usize>(), data.len());
        Value { dtype, sizes, data: Data::Int(data) }
    }

    pub(crate) fn of(t: &Tensor) -> Value {
        let data = Data::of_bytes(t.dtype(), t.bytes());
        Value { dtype: t.dtype(), sizes: t.sizes().to_vec(), data }
    }

    /// Rounded to its type.
    pub(crate) fn to_tensor(&self) -> Tensor {
        macro_rules! write {
            ($data:expr, $f:expr) => {
                $data.iter().flat_map(|&x| $f(x).to_le_bytes()).collect::<Vec<u8>>()
            };
        }
        let bytes = match (&self.data, self.dtype) {
            (Data::Float(d), DType::F32) => write!(d, |x| x as f32),
            (Data::Float(d), DType::F16) => write!(d, f16_of),
            (Data::Float(d), DType::BF16) => write!(d, bf16_of),
            (Data::Float(d), _) => write!(d, |x: f64| x),
            (Data::Int(d), t) => match t.size() {
                1 => write!(d, |x| x as u8),
                2 => write!(d, |x| x as u16),
                4 => write!(d, |x| x as u32),
                _ => write!(d, |x: i64| x),
            },
        };
        Tensor::from_bytes(self.dtype, &self.sizes, bytes).expect("as many elements as the sizes say")
    }

    /// Every element rounded to its type.
    pub(crate) fn rounded(mut self) -> Value {
        match &mut self.data {
            Data::Float(d) => d.iter_mut().for_each(|x| *x = round(self.dtype, *x)),
            Data::Int(d) => d.iter_mut().for_each(|x| *x = wrap(self.dtype, *x)),
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// The floats. Panics for integers: inference has made sure of floats.
    pub(crate) fn floats(&self) -> &[f64] {
        match &self.data {
            Data::Float(d) => d,
            Data::Int(_) => panic!("floats expected of {}", self.dtype),
        }
    }

    /// The integers. Panics for floats: inference has made sure of integers.
    pub(crate) fn ints(&self) -> &[i64] {
        match &self.data {
            Data::Int(d) => d,
            Data::Float(_) => panic!("integers expected of {}", self.dtype),
        }
    }

    /// An array whose element `i` is element `from(i)` of this one, or `fill`.
    pub(crate) fn pick(
        &self,
        sizes: &[usize],
        fill: (f64, i64),
        from: impl Fn(usize, &[usize]) -> Option<usize>,
    ) -> Value {
        let n: usize = sizes.iter().product();
        let mut index = vec![0; sizes.len()];
        let mut sources = Vec::with_capacity(n);
        for i in 0..n {
            sources.push(from(i, &index));
            advance(&mut index, sizes);
        }
        let data = match &self.data {
            Data::Float(d) => Data::Float(sources.iter().map(|s| s.map_or(fill.0, |i| d[i])).collect()),
            Data::Int(d) => Data::Int(sources.iter().map(|s| s.map_or(fill.1, |i| d[i])).collect()),
        };
        Value { dtype: self.dtype, sizes: sizes.to_vec(), data }
    }

    /// Absolute values, for error bounds.
    pub(crate) fn abs(&self) -> Value {
        let data = match &self.data {
            Data::Float(d) => Data::Float(d.iter().map(|x| x.abs()).collect()),
            Data::Int(d) => Data::Int(d.iter().map(|x| x.wrapping_abs()).collect()),
        };
        Value { data, ..self.clone() }
    }
}

/// The next index in row-major order.
pub(crate) fn advance(index: &mut [usize], sizes: &[usize]) {
    for (i, n) in index.iter_mut().zip(sizes).rev() {
        *i += 1;
        if *i < *n {
            return;
        }
        *i = 0;
    }
}

/// Row-major strides.
pub(crate) fn strides(sizes: &[usize]) -> Vec<usize> {
    let mut out = vec![1; sizes.len()];
    for i in (1..sizes.len()).rev() {
        out[i - 1] = out[i] * sizes[i];
    }
    out
}

/// Strides of an operand as it broadcasts to `to`: 0 along repeated axes.
pub(crate) fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let lead = to.len() - from.len();
    (0..to.len()).map(|i| if i < lead || from[i - lead] == 1 { 0 } else { own[i - lead] }).collect()
}

/// `Σ index·stride`.
pub(crate) fn offset(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest of the two neighbours of `x` among the values of a short type, ties to even, by exact comparison.
    fn nearest(x: f64, value: impl Fn(u16) -> f64) -> f64 {
        let (mut low, mut high) = (0u16, 0x7f80);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if value(middle) <= x { low = middle } else { high = middle }
        }
        let (below, above) = (x - value(low), value(high) - x);
        if below < above || below == above && low % 2 == 0 { value(low) } else { value(high) }
    }

    #[test]
    fn short_floats_round_to_nearest() {
        let bf = |b: u16| bf16::from_bits(b).to_f64();
        let short = |b: u16| f16::from_bits(b.min(0x7c00)).to_f64();
        // Just above and below the middle between two values, by less than 20 bits of mantissa tell.
        for k in 0..200u32 {
            let base = 1.0 + f64::from(k) / 128.0;
            for tiny in [0.0, 2f64.powi(-22), -2f64.powi(-22), 2f64.powi(-45), -2f64.powi(-45)] {
                let (x, y) = (base + 1.0 / 256.0 + tiny, base + 1.0 / 2048.0 + tiny);
                if x < 1.99 {
                    assert_eq!(round(DType::BF16, x), nearest(x, bf), "{x:e}");
                    assert_eq!(round(DType::BF16, -x), -nearest(x, bf), "{x:e}");
                }
                assert_eq!(round(DType::F16, y), nearest(y, short), "{y:e}");
            }
        }
        assert_eq!(round(DType::BF16, 1e300), f64::INFINITY);
        assert_eq!(round(DType::F16, 65519.999), 65504.0);
        assert_eq!(round(DType::F16, 65520.0), f64::INFINITY);
        assert!(round(DType::F16, f64::NAN).is_nan() && round(DType::BF16, f64::NAN).is_nan());
    }
}
