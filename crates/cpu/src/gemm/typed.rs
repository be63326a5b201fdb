//! Matrix products and convolutions of any element type, by definition: slow, for what no fast kernel takes.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use tactician_types::DType;

use crate::conv::ConvGeometry;
use crate::float::Float;
use crate::gemm::matmul::MatShape;
use crate::gemm::transpose_conv::TransposeShape;
use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::threads::{SharedMut, Threads};

/// An element type and what sums of it are kept in.
trait Number: bytemuck::Pod + Send + Sync {
    /// The type of sums.
    type Sum: Copy;
    const ZERO: Self::Sum;
    /// `sum + a · b`.
    fn add_product(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
    /// `sum + a`.
    fn add(sum: Self::Sum, a: Self) -> Self::Sum;
    fn round(sum: Self::Sum) -> Self;
}

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Number for $t {
            type Sum = f64;
            const ZERO: f64 = 0.0;
            fn add_product(sum: f64, a: Self, b: Self) -> f64 {
                sum + a.wide() * b.wide()
            }
            fn add(sum: f64, a: Self) -> f64 {
                sum + a.wide()
            }
            fn round(sum: f64) -> Self {
                Float::round(sum)
            }
        }
    )*};
}

floats!(f32 f64 f16 bf16);

macro_rules! integers {
    ($($t:ty)*) => {$(
        // Sums wrap around; the low bits of a wider sum are those of a narrow one.
        impl Number for $t {
            type Sum = u64;
            const ZERO: u64 = 0;
            fn add_product(sum: u64, a: Self, b: Self) -> u64 {
                sum.wrapping_add((a as u64).wrapping_mul(b as u64))
            }
            fn add(sum: u64, a: Self) -> u64 {
                sum.wrapping_add(a as u64)
            }
            fn round(sum: u64) -> Self {
                sum as $t
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 u8 u16 u32 u64);

/// Calls a method of `self` for the element type.
macro_rules! for_type {
    ($dtype:expr, $self:ident.$run:ident($args:ident, $threads:ident)) => {
        match $dtype {
            DType::F32 => $self.$run::<f32>($args, $threads),
            DType::F64 => $self.$run::<f64>($args, $threads),
            DType::F16 => $self.$run::<f16>($args, $threads),
            DType::BF16 => $self.$run::<bf16>($args, $threads),
            DType::I8 => $self.$run::<i8>($args, $threads),
            DType::I16 => $self.$run::<i16>($args, $threads),
            DType::I32 => $self.$run::<i32>($args, $threads),
            DType::I64 => $self.$run::<i64>($args, $threads),
            DType::U8 => $self.$run::<u8>($args, $threads),
            DType::U16 => $self.$run::<u16>($args, $threads),
            DType::U32 => $self.$run::<u32>($args, $threads),
            DType::U64 => $self.$run::<u64>($args, $threads),
            // Refused by `sizes`.
            _ => {}
        }
    };
}

/// Bytes of `n` elements.
fn bytes_of(dtype: DType, n: usize) -> Result<u64, KernelError> {
    if !(dtype.is_float() || dtype.is_int()) {
        return Err(format!("{dtype} elements do not multiply"));
    }
    let bytes = n.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize);
    bytes.map(|b| b as u64).ok_or_else(|| "sizes overflow".to_owned())
}

/// Computes each element of `out` from its number, over the threads.
fn for_each_element<T: Send + Sync>(threads: &Threads, out: &mut [T], element: impl Fn(usize) -> T + Sync) {
    let n = out.len();
    let out = SharedMut::new(out);
    threads.for_each_range(n, threads.count() * 4, |_, range| {
        // SAFETY: ranges are disjoint and inside.
        let part = unsafe { out.slice(range.start, range.len()) };
        for (i, o) in part.iter_mut().enumerate() {
            *o = element(range.start + i);
        }
    });
}

/// Matrix product of any element type; sums of floats are kept in `f64`, integers wrap around. Inputs: left, right.
/// No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TypedMatMul {
    /// Element type.
    pub dtype: DType,
    /// The sizes.
    pub shape: MatShape,
}

impl TypedMatMul {
    fn run_typed<T: Number>(&self, args: &Args<'_>, threads: &Threads) {
        let s = &self.shape;
        let Ok([an, bn, n]) = s.lens() else { return };
        let (a, b) = (&args.input::<T>(0)[..an], &args.input::<T>(1)[..bn]);
        let ((ar, ac), (br, bc)) = (s.a_steps(), s.b_steps());
        for_each_element(threads, &mut args.output::<T>(0)[..n], |at| {
            let (p, i, j) = (at / (s.m * s.n), at / s.n % s.m, at % s.n);
            let a0 = s.matrix(s.a_axes, p) * s.m * s.k + i * ar;
            let b0 = s.matrix(s.b_axes, p) * s.k * s.n + j * bc;
            let sum = |sum, q: usize| T::add_product(sum, a[a0 + q * ac], b[b0 + q * br]);
            T::round((0..s.k).fold(T::ZERO, sum))
        });
    }
}

impl Kernel for TypedMatMul {
    const NAME: &'static str = "matmul.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let [a, b, out] = self.shape.lens()?;
        let size = |n| bytes_of(self.dtype, n);
        Ok(ArgSizes { inputs: vec![size(a)?, size(b)?], outputs: vec![size(out)?], scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        for_type!(self.dtype, self.run_typed(args, threads));
    }
}

/// What a [`TypedConv`] computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TypedShape {
    /// A convolution.
    Conv(ConvGeometry),
    /// A transposed one.
    Transpose(TransposeShape),
}

/// Convolution of any element type; sums of floats are kept in `f64`. Inputs: `x`, weights, and the bias if there is
/// one, all plain. No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TypedConv {
    /// Element type.
    pub dtype: DType,
    /// The sizes.
    pub shape: TypedShape,
    /// Whether one value an output channel is added.
    pub bias: bool,
}

impl TypedConv {
    fn forward(&self) -> &ConvGeometry {
        match &self.shape {
            TypedShape::Conv(g) => g,
            TypedShape::Transpose(t) => &t.forward,
        }
    }

    /// Channels and sizes of the input, and of the output.
    fn sides(&self) -> [(usize, [usize; 3]); 2] {
        match &self.shape {
            TypedShape::Conv(g) => [(g.c, g.input), (g.k, g.output())],
            TypedShape::Transpose(t) => [(t.forward.k, t.input), (t.forward.c, t.forward.input)],
        }
    }

    fn run_typed<T: Number>(&self, args: &Args<'_>, threads: &Threads) {
        let f = self.forward();
        let [(c, input), (k, output)] = self.sides();
        let transposed = matches!(self.shape, TypedShape::Transpose(_));
        let (channels, filters) = (c / f.groups, k / f.groups);
        let (plane, out_plane): (usize, usize) = (input.iter().product(), output.iter().product());
        let window: usize = f.kernel.iter().product();
        let (x, w) = (args.input::<T>(0), args.input::<T>(1));
        let bias: &[T] = if self.bias { args.input(2) } else { &[] };
        // The input that output `o` reads through window offset `r` of an axis.
        let source = |a: usize, o: usize, r: usize| {
            let (s, p, r) = (f.strides[a], f.pads[a].0, r * f.dilations[a]);
            let i = if transposed {
                (o + p).checked_sub(r).filter(|t| t.is_multiple_of(s))? / s
            } else {
                (o * s + r).checked_sub(p)?
            };
            (i < input[a]).then_some(i)
        };
        for_each_element(threads, &mut args.output::<T>(0)[..f.n * k * out_plane], |at| {
            let (n, filter, o) = (at / (k * out_plane), at / out_plane % k, at % out_plane);
            let group = filter / filters;
            let o = [o / (output[1] * output[2]), o / output[2] % output[1], o % output[2]];
            let mut sum = T::ZERO;
            for r in 0..window {
                let at = [r / (f.kernel[1] * f.kernel[2]), r / f.kernel[2] % f.kernel[1], r % f.kernel[2]];
                let (Some(d), Some(h), Some(v)) =
                    (source(0, o[0], at[0]), source(1, o[1], at[1]), source(2, o[2], at[2]))
                else {
                    continue;
                };
                let pixel = (d * input[1] + h) * input[2] + v;
                for i in 0..channels {
                    let channel = group * channels + i;
                    let weight =
                        if transposed { channel * filters + filter % filters } else { filter * channels + i };
                    sum = T::add_product(sum, x[(n * c + channel) * plane + pixel], w[weight * window + r]);
                }
            }
            if let Some(b) = bias.get(filter) {
                sum = T::add(sum, *b);
            }
            T::round(sum)
        });
    }
}

impl Kernel for TypedConv {
    const NAME: &'static str = "conv.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        match &self.shape {
            TypedShape::Conv(g) => g.check()?,
            TypedShape::Transpose(t) => t.check()?,
        }
        let n = self.forward().n;
        let [x, out] = self.sides().map(|(c, s)| n * c * s.iter().product::<usize>());
        let size = |n| bytes_of(self.dtype, n);
        let mut inputs = vec![size(x)?, size(self.forward().weight_len())?];
        if self.bias {
            inputs.push(size(self.sides()[1].0)?);
        }
        Ok(ArgSizes { inputs, outputs: vec![size(out)?], scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        for_type!(self.dtype, self.run_typed(args, threads));
    }
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
