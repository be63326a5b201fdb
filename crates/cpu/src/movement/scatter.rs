//! `move.scatter_elements`: elements written to places that an index tensor names.
//!
//! Negative indices count from the end. Updates whose index is outside the axis are left out.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use tactician_types::DType;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::movement::element::{Element, MAX_AXES, by_size, bytes_of, check_axes, in_parts, product};
use crate::movement::gather::IndexType;
use crate::threads::{SharedMut, Threads};

/// What an update does to the element that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the definitions")]
pub enum Combine {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

/// `x`, then `out[p with its axis coordinate replaced by indices[p]] = combine(that, updates[p])` by ascending `p`.
/// Inputs: `x`, the indices, the updates. No scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScatterElements {
    /// Type of the elements.
    pub dtype: DType,
    /// Type of the indices.
    pub index: IndexType,
    /// What an update does.
    pub combine: Combine,
    /// Sizes of `x` and the output.
    pub input: Vec<usize>,
    /// Sizes of the indices and the updates; at most those of `x`, except along the axis.
    pub indices: Vec<usize>,
    /// The indexed axis.
    pub axis: usize,
}

/// Combines two elements of a type.
trait Number: Element {
    fn combine(self, other: Self, how: Combine) -> Self;
}

macro_rules! integers {
    ($($t:ty),*) => { $(impl Number for $t {
        fn combine(self, other: Self, how: Combine) -> Self {
            match how {
                Combine::Replace => other,
                Combine::Add => self.wrapping_add(other),
                Combine::Mul => self.wrapping_mul(other),
                Combine::Max => self.max(other),
                Combine::Min => self.min(other),
            }
        }
    })* };
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($t:ty as $wide:ty: $to:expr, $from:expr;)*) => { $(impl Number for $t {
        fn combine(self, other: Self, how: Combine) -> Self {
            let (a, b): ($wide, $wide) = ($to(self), $to(other));
            $from(match how {
                Combine::Replace => return other,
                Combine::Add => a + b,
                Combine::Mul => a * b,
                _ if a.is_nan() || b.is_nan() => <$wide>::NAN,
                Combine::Max => a.max(b),
                Combine::Min => a.min(b),
            })
        }
    })* };
}
floats! {
    f32 as f32: |x| x, |x| x;
    f64 as f64: |x| x, |x| x;
    f16 as f32: f16::to_f32, f16::from_f32;
    bf16 as f32: bf16::to_f32, bf16::from_f32;
}

impl Kernel for ScatterElements {
    const NAME: &'static str = "move.scatter_elements";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let rank = self.input.len();
        check_axes(rank)?;
        if self.indices.len() != rank || self.axis >= rank {
            return Err(format!("input and indices need one rank above axis {}", self.axis));
        }
        if self.indices.iter().zip(&self.input).enumerate().any(|(i, (o, x))| i != self.axis && o > x) {
            return Err("indices reach outside the input".into());
        }
        if !(self.dtype.is_float() || self.dtype.is_int() || self.combine == Combine::Replace) {
            return Err(format!("{} elements do not combine", self.dtype));
        }
        let element = self.dtype.size() as u8;
        let (n, updates) = (product(self.input.iter().copied())?, product(self.indices.iter().copied())?);
        Ok(ArgSizes {
            inputs: vec![
                bytes_of(n, element)?,
                bytes_of(updates, self.index.bytes())?,
                bytes_of(updates, element)?,
            ],
            outputs: vec![bytes_of(n, element)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        if self.combine == Combine::Replace {
            by_size!(self.dtype.size(), T => self.with_index::<T>(args, threads));
            return;
        }
        match self.dtype {
            DType::F32 => self.with_index::<f32>(args, threads),
            DType::F16 => self.with_index::<f16>(args, threads),
            DType::BF16 => self.with_index::<bf16>(args, threads),
            DType::F64 => self.with_index::<f64>(args, threads),
            DType::I8 => self.with_index::<i8>(args, threads),
            DType::I16 => self.with_index::<i16>(args, threads),
            DType::I32 => self.with_index::<i32>(args, threads),
            DType::I64 => self.with_index::<i64>(args, threads),
            DType::U16 => self.with_index::<u16>(args, threads),
            DType::U32 => self.with_index::<u32>(args, threads),
            DType::U64 => self.with_index::<u64>(args, threads),
            _ => self.with_index::<u8>(args, threads),
        }
    }
}

impl ScatterElements {
    fn with_index<T: Number>(&self, args: &Args<'_>, threads: &Threads) {
        match self.index {
            IndexType::I32 => self.write::<T, i32>(args, threads),
            IndexType::I64 => self.write::<T, i64>(args, threads),
        }
    }

    /// Lines along the axis do not meet, so they are written side by side, each in order.
    fn write<T: Number, I: Element + Into<i64>>(&self, args: &Args<'_>, threads: &Threads) {
        let n: usize = self.input.iter().product();
        if n == 0 {
            return;
        }
        let (x, indices, updates) = (&args.input::<T>(0)[..n], args.input::<I>(1), args.input::<T>(2));
        let out = SharedMut::new(&mut args.output::<T>(0)[..n]);
        in_parts(threads, n, size_of_val(x), |range| {
            // SAFETY: ranges are disjoint and inside the output.
            unsafe { out.slice(range.start, range.len()) }.copy_from_slice(&x[range]);
        });
        let (rank, size, count) = (self.input.len(), self.input[self.axis] as i64, self.indices[self.axis]);
        let (mut to, mut from) = ([1usize; MAX_AXES], [1usize; MAX_AXES]);
        for a in (0..rank.saturating_sub(1)).rev() {
            to[a] = to[a + 1] * self.input[a + 1];
            from[a] = from[a + 1] * self.indices[a + 1];
        }
        let lines: usize = (0..rank).filter(|&a| a != self.axis).map(|a| self.indices[a]).product();
        in_parts(threads, lines, lines * count * size_of::<T>(), |range| {
            for line in range {
                let (mut rest, mut place, mut source) = (line, 0, 0);
                for a in (0..rank).rev().filter(|&a| a != self.axis) {
                    let p = rest % self.indices[a];
                    rest /= self.indices[a];
                    place += p * to[a];
                    source += p * from[a];
                }
                for k in 0..count {
                    let at = source + k * from[self.axis];
                    let index: i64 = indices[at].into();
                    let index = if index < 0 { index.saturating_add(size) } else { index };
                    if !(0..size).contains(&index) {
                        continue;
                    }
                    // SAFETY: inside the output, on this line, which no other thread works on.
                    let element = unsafe { &mut *out.ptr(place + index as usize * to[self.axis]) };
                    *element = element.combine(updates[at], self.combine);
                }
            }
        });
    }
}

#[cfg(test)]
#[path = "scatter_tests.rs"]
mod tests;
