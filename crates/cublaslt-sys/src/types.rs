//! The types of the C interface, by value.

use std::ffi::c_void;
use std::fmt;

/// An open library context, `cublasLtHandle_t`. Belongs to the CUDA device that was current when it was created.
pub type Handle = *mut c_void;

/// Declares a C enum as a number.
macro_rules! numbers {
    ($($(#[$meta:meta])* $name:ident($int:ty) { $($(#[$doc:meta])* $constant:ident = $value:expr,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub struct $name(pub $int);

            impl $name {
                $($(#[$doc])* pub const $constant: $name = $name($value);)*
            }
        )*
    };
}

numbers! {
    /// `cublasStatus_t`.
    Status(i32) {
        /// Done.
        SUCCESS = 0,
        /// No device, or the handle was not made.
        NOT_INITIALIZED = 1,
        /// Out of memory.
        ALLOC_FAILED = 3,
        /// Arguments contradict each other.
        INVALID_VALUE = 7,
        /// The device is not of the kind that the algorithm is for.
        ARCH_MISMATCH = 8,
        /// The device reported an error.
        EXECUTION_FAILED = 13,
        /// The library's own failure.
        INTERNAL_ERROR = 14,
        /// The library cannot do this on the device.
        NOT_SUPPORTED = 15,
    }

    /// `cudaDataType`.
    CudaType(i32) {
        /// IEEE binary32.
        R_32F = 0,
        /// IEEE binary16.
        R_16F = 2,
        /// The upper half of a binary32.
        R_16BF = 14,
    }

    /// `cublasComputeType_t`.
    ComputeType(i32) {
        /// Products and sums in binary32.
        F32 = 68,
        /// As [`ComputeType::F32`], inputs rounded to TF32.
        F32_FAST_TF32 = 77,
    }

    /// `cublasOperation_t`.
    Operation(i32) {
        /// As stored.
        NONE = 0,
        /// Transposed.
        TRANSPOSE = 1,
    }

    /// `cublasLtEpilogue_t`.
    Epilogue(u32) {
        /// Nothing.
        DEFAULT = 1,
        /// `max(x, 0)`.
        RELU = 2,
        /// A vector over the rows of the result.
        BIAS = 4,
        /// Bias, then [`Epilogue::RELU`].
        RELU_BIAS = 6,
        /// GELU by its `tanh` approximation.
        GELU = 32,
        /// Bias, then [`Epilogue::GELU`].
        GELU_BIAS = 36,
    }

    /// `cublasLtReductionScheme_t`, a set of bits: how the parts of a split sum meet.
    ReductionScheme(u32) {
        /// The sum is not split.
        NONE = 0,
        /// In the output, in its type.
        IN_PLACE = 1,
        /// In the workspace, in the type of the accumulator.
        COMPUTE_TYPE = 2,
        /// In the workspace, in the type of the output.
        OUTPUT_TYPE = 4,
    }

    /// `cublasLtMatmulDescAttributes_t`, those used here.
    DescAttribute(i32) {
        /// `i32`: [`Operation`] on A.
        TRANSA = 3,
        /// `i32`: [`Operation`] on B.
        TRANSB = 4,
        /// `u32`: [`Epilogue`].
        EPILOGUE = 7,
        /// Device address of the bias vector, of the result's type.
        BIAS_POINTER = 8,
    }

    /// `cublasLtMatrixLayoutAttribute_t`, those used here.
    LayoutAttribute(i32) {
        /// `i32`: matrices in the batch.
        BATCH_COUNT = 5,
        /// `i64`: elements from one matrix of the batch to the next; 0 repeats one.
        STRIDED_BATCH_OFFSET = 6,
    }

    /// `cublasLtMatmulPreferenceAttributes_t`, those used here.
    PreferenceAttribute(i32) {
        /// `u64`: most bytes of workspace.
        MAX_WORKSPACE_BYTES = 1,
        /// `u32`: the [`ReductionScheme`]s allowed.
        REDUCTION_SCHEME_MASK = 3,
        /// `u32`: alignment of A's address.
        MIN_ALIGNMENT_A_BYTES = 5,
        /// `u32`: alignment of B's address.
        MIN_ALIGNMENT_B_BYTES = 6,
        /// `u32`: alignment of C's address.
        MIN_ALIGNMENT_C_BYTES = 7,
        /// `u32`: alignment of D's address.
        MIN_ALIGNMENT_D_BYTES = 8,
    }

    /// `cublasLtMatmulAlgoConfigAttributes_t`: what distinguishes algorithms.
    AlgoConfig(i32) {
        /// `i32`: the algorithm's number.
        ID = 0,
        /// `u32`: `cublasLtMatmulTile_t`.
        TILE_ID = 1,
        /// `i32`: parts of the sum.
        SPLITK_NUM = 2,
        /// `u32`: [`ReductionScheme`].
        REDUCTION_SCHEME = 3,
        /// `u32`: order of the tiles.
        CTA_SWIZZLING = 4,
        /// `u32`: the algorithm's own.
        CUSTOM_OPTION = 5,
        /// `u32`: `cublasLtMatmulStages_t`.
        STAGES_ID = 6,
        /// `u16`: `cublasLtMatmulInnerShape_t`.
        INNER_SHAPE_ID = 7,
        /// `u16`: `cublasLtClusterShape_t`.
        CLUSTER_SHAPE_ID = 8,
    }
}

impl Status {
    /// The constant's name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Status::SUCCESS => "CUBLAS_STATUS_SUCCESS",
            Status::NOT_INITIALIZED => "CUBLAS_STATUS_NOT_INITIALIZED",
            Status::ALLOC_FAILED => "CUBLAS_STATUS_ALLOC_FAILED",
            Status::INVALID_VALUE => "CUBLAS_STATUS_INVALID_VALUE",
            Status::ARCH_MISMATCH => "CUBLAS_STATUS_ARCH_MISMATCH",
            Status::EXECUTION_FAILED => "CUBLAS_STATUS_EXECUTION_FAILED",
            Status::INTERNAL_ERROR => "CUBLAS_STATUS_INTERNAL_ERROR",
            Status::NOT_SUPPORTED => "CUBLAS_STATUS_NOT_SUPPORTED",
            _ => "a status of cuBLAS",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// `cublasLtMatmulAlgo_t`: an algorithm and its configuration. Means something to one version of the library only.
pub type AlgoBytes = [u64; 8];

/// `cublasLtMatmulDescOpaque_t`: a copy is a descriptor of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatmulDesc(pub [u64; 32]);

/// `cublasLtMatrixLayoutOpaque_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatrixLayout(pub [u64; 8]);

/// `cublasLtMatmulPreferenceOpaque_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Preference(pub [u64; 8]);

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HeuristicResult {
    /// The algorithm.
    pub algo: AlgoBytes,
    /// Bytes of workspace that it needs.
    pub workspace: usize,
    /// Whether the other fields hold anything.
    pub state: Status,
    /// How often its blocks fill the device.
    pub waves: f32,
    reserved: [i32; 4],
}

impl HeuristicResult {
    /// A result for the library to fill in.
    pub const EMPTY: HeuristicResult = HeuristicResult {
        algo: [0; 8],
        workspace: 0,
        state: Status::NOT_INITIALIZED,
        waves: 0.0,
        reserved: [0; 4],
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{align_of, offset_of, size_of};

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_eq!(size_of::<MatmulDesc>(), 256);
        assert_eq!(size_of::<MatrixLayout>(), 64);
        assert_eq!(size_of::<Preference>(), 64);
        assert_eq!(size_of::<AlgoBytes>(), 64);
        assert_eq!((size_of::<HeuristicResult>(), align_of::<HeuristicResult>()), (96, 8));
        assert_eq!(offset_of!(HeuristicResult, workspace), 64);
        assert_eq!(offset_of!(HeuristicResult, state), 72);
        assert_eq!(offset_of!(HeuristicResult, waves), 76);
        assert_eq!(size_of::<Status>(), 4);
    }

    #[test]
    fn a_status_says_its_name() {
        assert_eq!(Status::NOT_SUPPORTED.to_string(), "CUBLAS_STATUS_NOT_SUPPORTED (15)");
        assert_eq!(Status(99).to_string(), "a status of cuBLAS (99)");
    }
}
