//! The values of C enums that are used, by their C names.

use std::ffi::c_int;

macro_rules! values {
    ($($(#[$doc:meta])* $kind:ident { $($name:ident = $value:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            #[repr(transparent)]
            pub struct $kind(pub c_int);

            #[allow(missing_docs, reason = "each constant is the C enumerator of that name")]
            impl $kind {
                $(pub const $name: $kind = $kind($value);)*

                /// The named values.
                pub const NAMED: &[(&str, $kind)] = &[$((stringify!($name), $kind($value))),*];
            }
        )*
    };
}

values! {
    /// `cudnnStatus_t`.
    Status {
        SUCCESS = 0,
    }

    /// `cudnnBackendDescriptorType_t`, each `CUDNN_BACKEND_…_DESCRIPTOR`.
    DescriptorType {
        POINTWISE = 0,
        CONVOLUTION = 1,
        ENGINE = 2,
        ENGINECFG = 3,
        ENGINEHEUR = 4,
        EXECUTION_PLAN = 5,
        KNOB_CHOICE = 7,
        KNOB_INFO = 8,
        OPERATION_CONVOLUTION_FORWARD = 10,
        OPERATION_POINTWISE = 13,
        OPERATIONGRAPH = 15,
        VARIANT_PACK = 16,
        TENSOR = 17,
        MATMUL = 18,
        OPERATION_MATMUL = 19,
        REDUCTION = 21,
        OPERATION_REDUCTION = 22,
        RESAMPLE = 24,
        OPERATION_RESAMPLE_FWD = 25,
        OPERATION_NORM_FORWARD = 29,
        DEVICEPROP = 38,
    }

    /// `cudnnBackendAttributeName_t`, each `CUDNN_ATTR_…`.
    AttributeName {
        POINTWISE_MODE = 0,
        POINTWISE_MATH_PREC = 1,
        POINTWISE_NAN_PROPAGATION = 2,
        POINTWISE_RELU_LOWER_CLIP = 3,
        POINTWISE_RELU_UPPER_CLIP = 4,
        POINTWISE_RELU_LOWER_CLIP_SLOPE = 5,
        POINTWISE_SWISH_BETA = 8,
        POINTWISE_AXIS = 9,
        CONVOLUTION_COMP_TYPE = 100,
        CONVOLUTION_CONV_MODE = 101,
        CONVOLUTION_DILATIONS = 102,
        CONVOLUTION_FILTER_STRIDES = 103,
        CONVOLUTION_POST_PADDINGS = 104,
        CONVOLUTION_PRE_PADDINGS = 105,
        CONVOLUTION_SPATIAL_DIMS = 106,
        ENGINEHEUR_MODE = 200,
        ENGINEHEUR_OPERATION_GRAPH = 201,
        ENGINEHEUR_RESULTS = 202,
        ENGINEHEUR_DEVICEPROP = 204,
        ENGINECFG_ENGINE = 300,
        ENGINECFG_KNOB_CHOICES = 302,
        ENGINECFG_WORKSPACE_SIZE = 303,
        EXECUTION_PLAN_HANDLE = 400,
        EXECUTION_PLAN_ENGINE_CONFIG = 401,
        EXECUTION_PLAN_WORKSPACE_SIZE = 402,
        EXECUTION_PLAN_JSON_REPRESENTATION = 405,
        EXECUTION_PLAN_DEVICEPROP = 407,
        KNOB_CHOICE_KNOB_TYPE = 600,
        KNOB_CHOICE_KNOB_VALUE = 601,
        OPERATION_CONVOLUTION_FORWARD_ALPHA = 700,
        OPERATION_CONVOLUTION_FORWARD_BETA = 701,
        OPERATION_CONVOLUTION_FORWARD_CONV_DESC = 702,
        OPERATION_CONVOLUTION_FORWARD_W = 703,
        OPERATION_CONVOLUTION_FORWARD_X = 704,
        OPERATION_CONVOLUTION_FORWARD_Y = 705,
        OPERATION_POINTWISE_PW_DESCRIPTOR = 750,
        OPERATION_POINTWISE_XDESC = 751,
        OPERATION_POINTWISE_BDESC = 752,
        OPERATION_POINTWISE_YDESC = 753,
        OPERATION_POINTWISE_TDESC = 758,
        OPERATIONGRAPH_HANDLE = 800,
        OPERATIONGRAPH_OPS = 801,
        OPERATIONGRAPH_ENGINE_GLOBAL_COUNT = 802,
        TENSOR_BYTE_ALIGNMENT = 900,
        TENSOR_DATA_TYPE = 901,
        TENSOR_DIMENSIONS = 902,
        TENSOR_STRIDES = 903,
        TENSOR_UNIQUE_ID = 906,
        TENSOR_IS_VIRTUAL = 907,
        TENSOR_IS_BY_VALUE = 908,
        VARIANT_PACK_UNIQUE_IDS = 1000,
        VARIANT_PACK_DATA_POINTERS = 1001,
        VARIANT_PACK_WORKSPACE = 1003,
        KNOB_INFO_TYPE = 1200,
        KNOB_INFO_MAXIMUM_VALUE = 1201,
        KNOB_INFO_MINIMUM_VALUE = 1202,
        KNOB_INFO_STRIDE = 1203,
        ENGINE_OPERATION_GRAPH = 1300,
        ENGINE_GLOBAL_INDEX = 1301,
        ENGINE_KNOB_INFO = 1302,
        ENGINE_NUMERICAL_NOTE = 1303,
        ENGINE_BEHAVIOR_NOTE = 1305,
        ENGINE_DEVICEPROP = 1307,
        MATMUL_COMP_TYPE = 1500,
        OPERATION_MATMUL_ADESC = 1520,
        OPERATION_MATMUL_BDESC = 1521,
        OPERATION_MATMUL_CDESC = 1522,
        OPERATION_MATMUL_DESC = 1523,
        REDUCTION_OPERATOR = 1600,
        REDUCTION_COMP_TYPE = 1601,
        OPERATION_REDUCTION_XDESC = 1610,
        OPERATION_REDUCTION_YDESC = 1611,
        OPERATION_REDUCTION_DESC = 1612,
        RESAMPLE_MODE = 1700,
        RESAMPLE_COMP_TYPE = 1701,
        RESAMPLE_SPATIAL_DIMS = 1702,
        RESAMPLE_POST_PADDINGS = 1703,
        RESAMPLE_PRE_PADDINGS = 1704,
        RESAMPLE_STRIDES = 1705,
        RESAMPLE_WINDOW_DIMS = 1706,
        RESAMPLE_NAN_PROPAGATION = 1707,
        RESAMPLE_PADDING_MODE = 1708,
        OPERATION_RESAMPLE_FWD_XDESC = 1710,
        OPERATION_RESAMPLE_FWD_YDESC = 1711,
        OPERATION_RESAMPLE_FWD_DESC = 1716,
        OPERATION_NORM_FWD_MODE = 2000,
        OPERATION_NORM_FWD_PHASE = 2001,
        OPERATION_NORM_FWD_XDESC = 2002,
        OPERATION_NORM_FWD_SCALE_DESC = 2005,
        OPERATION_NORM_FWD_BIAS_DESC = 2006,
        OPERATION_NORM_FWD_EPSILON_DESC = 2007,
        OPERATION_NORM_FWD_YDESC = 2013,
        DEVICEPROP_DEVICE_ID = 2700,
        DEVICEPROP_HANDLE = 2701,
        DEVICEPROP_JSON_REPRESENTATION = 2702,
    }

    /// `cudnnBackendAttributeType_t`, each `CUDNN_TYPE_…`.
    AttributeType {
        HANDLE = 0,
        DATA_TYPE = 1,
        BOOLEAN = 2,
        INT64 = 3,
        FLOAT = 4,
        DOUBLE = 5,
        VOID_PTR = 6,
        CONVOLUTION_MODE = 7,
        HEUR_MODE = 8,
        KNOB_TYPE = 9,
        NAN_PROPAGATION = 10,
        NUMERICAL_NOTE = 11,
        POINTWISE_MODE = 14,
        BACKEND_DESCRIPTOR = 15,
        REDUCTION_OPERATOR_TYPE = 18,
        BEHAVIOR_NOTE = 19,
        RESAMPLE_MODE = 21,
        PADDING_MODE = 22,
        INT32 = 23,
        CHAR = 24,
        NORM_MODE = 27,
        NORM_FWD_PHASE = 28,
    }

    /// `cudnnDataType_t`, each `CUDNN_DATA_…`.
    DataType {
        FLOAT = 0,
        HALF = 2,
        INT32 = 4,
        BFLOAT16 = 9,
        BOOLEAN = 10,
    }

    /// `cudnnConvolutionMode_t`, each `CUDNN_…`.
    ConvolutionMode {
        CROSS_CORRELATION = 1,
    }

    /// `cudnnNanPropagation_t`, each `CUDNN_…`.
    NanPropagation {
        PROPAGATE_NAN = 1,
    }

    /// `cudnnResampleMode_t`, each `CUDNN_RESAMPLE_…`.
    ResampleMode {
        AVGPOOL_INCLUDE_PADDING = 2,
        MAXPOOL = 3,
        AVGPOOL_EXCLUDE_PADDING = 4,
    }

    /// `cudnnPaddingMode_t`, each `CUDNN_…`.
    PaddingMode {
        ZERO_PAD = 0,
        NEG_INF_PAD = 1,
    }

    /// `cudnnReduceTensorOp_t`, each `CUDNN_REDUCE_TENSOR_…`.
    ReductionOperator {
        ADD = 0,
        MAX = 3,
    }

    /// `cudnnBackendNormMode_t`, each `CUDNN_…`.
    NormMode {
        LAYER_NORM = 0,
        INSTANCE_NORM = 1,
        RMS_NORM = 4,
    }

    /// `cudnnBackendNormFwdPhase_t`, each `CUDNN_…`.
    NormPhase {
        NORM_FWD_INFERENCE = 0,
    }

    /// `cudnnPointwiseMode_t`, each `CUDNN_POINTWISE_…`.
    PointwiseMode {
        ADD = 0,
        MUL = 1,
        MIN = 2,
        MAX = 3,
        SQRT = 4,
        DIV = 6,
        SUB = 9,
        ABS = 10,
        CEIL = 11,
        COS = 12,
        EXP = 13,
        FLOOR = 14,
        LOG = 15,
        NEG = 16,
        SIN = 18,
        TAN = 19,
        ERF = 20,
        RECIPROCAL = 22,
        RELU_FWD = 100,
        TANH_FWD = 101,
        SIGMOID_FWD = 102,
        SOFTPLUS_FWD = 105,
        SWISH_FWD = 106,
        CMP_GE = 303,
        GEN_INDEX = 501,
        BINARY_SELECT = 601,
    }

    /// `cudnnBackendHeurMode_t`, each `CUDNN_HEUR_MODE_…`.
    HeuristicMode {
        FALLBACK = 2,
        A = 3,
    }

    /// `cudnnBackendNumericalNote_t`, each `CUDNN_NUMERICAL_NOTE_…`.
    NumericalNote {
        TENSOR_CORE = 0,
        DOWN_CONVERT_INPUTS = 1,
        REDUCED_PRECISION_REDUCTION = 2,
        FFT = 3,
        NONDETERMINISTIC = 4,
        WINOGRAD = 5,
        WINOGRAD_TILE_4X4 = 6,
        WINOGRAD_TILE_6X6 = 7,
        WINOGRAD_TILE_13X13 = 8,
        STRICT_NAN_PROP = 9,
    }

    /// `cudnnBackendBehaviorNote_t`, each `CUDNN_BEHAVIOR_NOTE_…`.
    BehaviorNote {
        RUNTIME_COMPILATION = 0,
        REQUIRES_FILTER_INT8X32_REORDER = 1,
        REQUIRES_BIAS_INT8X32_REORDER = 2,
        SUPPORTS_CUDA_GRAPH_NATIVE_API = 3,
        CUBLASLT_DEPENDENCY = 4,
    }

    /// `cudnnBackendKnobType_t`: values beyond these exist.
    KnobType {
        SPLIT_K = 0,
        TILE_SIZE = 2,
        KERNEL_CFG = 24,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_distinct_and_sorted_by_kind() {
        fn distinct<T: Ord + Copy>(list: &[(&str, T)]) {
            assert!(
                list.windows(2).all(|w| w[0].1 < w[1].1),
                "values must rise, so that none is there twice"
            );
        }
        distinct(DescriptorType::NAMED);
        distinct(AttributeName::NAMED);
        distinct(AttributeType::NAMED);
        distinct(PointwiseMode::NAMED);
        distinct(NumericalNote::NAMED);
        distinct(BehaviorNote::NAMED);
    }
}
