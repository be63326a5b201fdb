//! The kernels of this backend by name. One line each; `cpu_kernels!` makes the decoder.

use tactician_device::{DeviceError, StepDesc};

use crate::executable::{CpuExecutable, Prepared};

/// Decodes and checks a step against the kernel table.
macro_rules! cpu_kernels {
    ($($kernel:ty),* $(,)?) => {
        /// Names of all kernels, in table order.
        pub const KERNELS: &[&str] = &[$(<$kernel as crate::Kernel>::NAME),*];

        pub(crate) fn decode(
            step: &StepDesc<'_>,
            threads: &std::sync::Arc<crate::Threads>,
        ) -> Result<CpuExecutable, DeviceError> {
            match step.kernel {
                $(<$kernel as crate::Kernel>::NAME => Prepared::<$kernel>::from_step(step, threads),)*
                other => Err(DeviceError::UnknownKernel { kernel: other.to_owned(), device: "CPU" }),
            }
        }
    };
}

cpu_kernels! {
    crate::copy::Copy,
    // conv
    crate::conv::DirectConv,
    crate::conv::DepthwiseConv,
    crate::conv::WinogradConv,
    // gemm
    crate::gemm::PlainConv,
    crate::gemm::Im2colConv,
    crate::gemm::MatMul,
    crate::gemm::MatVec,
    crate::gemm::TransposeConv,
    crate::gemm::TransposeGemmConv,
    crate::gemm::TypedConv,
    crate::gemm::TypedMatMul,
    // attention
    crate::attention::FlashAttention,
    crate::attention::PlainAttention,
    // ops
    crate::ops::Pointwise,
    crate::ops::Pool,
    crate::ops::Reduce,
    crate::ops::Softmax,
    crate::ops::Norm,
    crate::ops::Lrn,
    crate::ops::PointwiseAny,
    crate::ops::ReduceAny,
    crate::ops::PoolAny,
    crate::ops::SoftmaxAny,
    crate::ops::NormAny,
    crate::ops::LrnAny,
    crate::ops::ArgReduce,
    crate::ops::Recurrent,
    crate::ops::TopK,
    // movement
    crate::movement::Strided,
    crate::movement::Concat,
    crate::movement::Pad,
    crate::movement::Gather,
    crate::movement::GatherElements,
    crate::movement::ScatterElements,
    crate::movement::Reformat,
    crate::movement::Resize,
}
