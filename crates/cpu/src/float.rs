//! Float types as kernels of any float see them: read as `f64`, rounded once when stored.

use half::{bf16, f16};
use tactician_types::{bf16_of, f16_of};

/// A float type.
pub(crate) trait Float: bytemuck::Pod + Send + Sync {
    /// Its value.
    fn wide(self) -> f64;
    /// The nearest.
    fn round(x: f64) -> Self;
}

macro_rules! floats {
    ($($t:ty: $to:expr, $from:expr;)*) => {$(
        impl Float for $t {
            fn wide(self) -> f64 {
                $to(self)
            }
            fn round(x: f64) -> Self {
                $from(x)
            }
        }
    )*};
}

floats! {
    f32: f64::from, |x| x as f32;
    f64: |x| x, |x| x;
    f16: f64::from, f16_of;
    bf16: f64::from, bf16_of;
}

/// Calls `$run::<T>` for the Rust type of a `DType`; other types, which `sizes` refuses, are left alone.
macro_rules! per_float {
    ($dtype:expr, $this:ident.$run:ident($($arg:expr),*)) => {
        match $dtype {
            tactician_types::DType::F32 => $this.$run::<f32>($($arg),*),
            tactician_types::DType::F64 => $this.$run::<f64>($($arg),*),
            tactician_types::DType::F16 => $this.$run::<half::f16>($($arg),*),
            tactician_types::DType::BF16 => $this.$run::<half::bf16>($($arg),*),
            _ => {}
        }
    };
}
pub(crate) use per_float;
