//! From a [`GraphSpec`] to cuDNN's operation graph.

use tactician_cudnn_sys::{
    AttributeName, ConvolutionMode, Cudnn, DataType, DescriptorType, NanPropagation, NormMode, NormPhase,
    PaddingMode, PointwiseMode, ReductionOperator, ResampleMode,
};
use tactician_device::DeviceError;
use tactician_types::DType;

use super::descriptor::{CBool, Descriptor};
use super::spec::{
    Function, GraphSpec, NodeSpec, NormKind, PoolKind, ReduceKind, Role, TENSOR_ALIGNMENT, TensorSpec,
};

/// A finalized operation graph, with the descriptors that it was made of.
pub(crate) struct OperationGraph {
    pub(crate) descriptor: Descriptor,
    /// cuDNN does not say whether it copies what is linked, so all stays alive.
    _parts: Vec<Descriptor>,
}

/// What a tensor is called in a variant pack.
pub(crate) fn unique_id(tensor: usize) -> i64 {
    tensor as i64 + 1
}

impl OperationGraph {
    /// Builds the graph of a description that was checked.
    pub(crate) fn new(cudnn: &'static Cudnn, spec: &GraphSpec) -> Result<OperationGraph, DeviceError> {
        let mut tensors = Vec::with_capacity(spec.tensors.len());
        for (i, t) in spec.tensors.iter().enumerate() {
            tensors.push(tensor(cudnn, t, unique_id(i))?);
        }
        let (mut operations, mut parts) = (Vec::new(), Vec::new());
        for node in &spec.nodes {
            let tensor = |i: u16| &tensors[usize::from(i)];
            let (operation, inner) = match node {
                NodeSpec::Convolution { x, w, y, pads, strides, dilations } => {
                    convolution(cudnn, [*x, *w, *y].map(tensor), pads, strides, dilations)?
                }
                NodeSpec::Pointwise { function, x, b, y } => {
                    pointwise(cudnn, *function, tensor(*x), b.map(tensor), tensor(*y))?
                }
                NodeSpec::Reduce { kind, x, y } => reduce(cudnn, *kind, [*x, *y].map(tensor))?,
                NodeSpec::Select { x, b, condition, y } => {
                    select(cudnn, [*x, *b, *condition, *y].map(tensor))?
                }
                NodeSpec::Pool { kind, x, y, window, pads, strides } => {
                    pool(cudnn, *kind, [*x, *y].map(tensor), window, pads, strides)?
                }
                NodeSpec::MatMul { a, b, y } => matmul(cudnn, [*a, *b, *y].map(tensor))?,
                NodeSpec::Normalize { kind, x, scale, bias, epsilon, y } => {
                    let operation =
                        norm(cudnn, *kind, [*x, *scale, *epsilon, *y].map(tensor), bias.map(tensor))?;
                    operations.push(operation);
                    continue;
                }
            };
            operations.push(operation);
            parts.push(inner);
        }
        let mut descriptor = Descriptor::new(cudnn, DescriptorType::OPERATIONGRAPH)?;
        descriptor.link(AttributeName::OPERATIONGRAPH_OPS, &operations.iter().collect::<Vec<_>>())?;
        descriptor.finalize()?;
        parts.extend(tensors);
        parts.extend(operations);
        Ok(OperationGraph { descriptor, _parts: parts })
    }
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F16 => DataType::HALF,
        DType::BF16 => DataType::BFLOAT16,
        DType::I32 => DataType::INT32,
        DType::Bool => DataType::BOOLEAN,
        _ => DataType::FLOAT,
    }
}

fn signed<T: Copy + Into<u64>>(values: &[T]) -> Vec<i64> {
    // Checked descriptions stay far below the limits of `i64`.
    values.iter().map(|&v| v.into() as i64).collect()
}

fn tensor(cudnn: &'static Cudnn, spec: &TensorSpec, id: i64) -> Result<Descriptor, DeviceError> {
    let mut d = Descriptor::new(cudnn, DescriptorType::TENSOR)?;
    d.set(AttributeName::TENSOR_DATA_TYPE, &[data_type(spec.dtype)])?;
    d.set(AttributeName::TENSOR_DIMENSIONS, &signed(&spec.sizes))?;
    d.set(AttributeName::TENSOR_STRIDES, &signed(&spec.strides))?;
    d.set(AttributeName::TENSOR_UNIQUE_ID, &[id])?;
    d.set(AttributeName::TENSOR_BYTE_ALIGNMENT, &[TENSOR_ALIGNMENT as i64])?;
    match spec.role {
        Role::Virtual => d.set(AttributeName::TENSOR_IS_VIRTUAL, &[CBool(1)])?,
        Role::Value(_) => d.set(AttributeName::TENSOR_IS_BY_VALUE, &[CBool(1)])?,
        Role::Input(_) | Role::Output(_) | Role::Discarded => {}
    }
    d.finalize()?;
    Ok(d)
}

fn convolution(
    cudnn: &'static Cudnn,
    [x, w, y]: [&Descriptor; 3],
    pads: &[(u32, u32)],
    strides: &[u32],
    dilations: &[u32],
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let before: Vec<u32> = pads.iter().map(|p| p.0).collect();
    let after: Vec<u32> = pads.iter().map(|p| p.1).collect();
    let mut c = Descriptor::new(cudnn, DescriptorType::CONVOLUTION)?;
    c.set(AttributeName::CONVOLUTION_COMP_TYPE, &[DataType::FLOAT])?;
    c.set(AttributeName::CONVOLUTION_CONV_MODE, &[ConvolutionMode::CROSS_CORRELATION])?;
    c.set(AttributeName::CONVOLUTION_SPATIAL_DIMS, &[pads.len() as i64])?;
    c.set(AttributeName::CONVOLUTION_PRE_PADDINGS, &signed(&before))?;
    c.set(AttributeName::CONVOLUTION_POST_PADDINGS, &signed(&after))?;
    c.set(AttributeName::CONVOLUTION_FILTER_STRIDES, &signed(strides))?;
    c.set(AttributeName::CONVOLUTION_DILATIONS, &signed(dilations))?;
    c.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_CONVOLUTION_FORWARD)?;
    op.link(AttributeName::OPERATION_CONVOLUTION_FORWARD_X, &[x])?;
    op.link(AttributeName::OPERATION_CONVOLUTION_FORWARD_W, &[w])?;
    op.link(AttributeName::OPERATION_CONVOLUTION_FORWARD_Y, &[y])?;
    op.link(AttributeName::OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &[&c])?;
    op.set(AttributeName::OPERATION_CONVOLUTION_FORWARD_ALPHA, &[1.0f32])?;
    op.set(AttributeName::OPERATION_CONVOLUTION_FORWARD_BETA, &[0.0f32])?;
    op.finalize()?;
    Ok((op, c))
}

fn pointwise(
    cudnn: &'static Cudnn,
    function: Function,
    x: &Descriptor,
    b: Option<&Descriptor>,
    y: &Descriptor,
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let mode = match function {
        Function::Add => PointwiseMode::ADD,
        Function::Mul => PointwiseMode::MUL,
        Function::Relu { .. } => PointwiseMode::RELU_FWD,
        Function::Sigmoid => PointwiseMode::SIGMOID_FWD,
        Function::Tanh => PointwiseMode::TANH_FWD,
        Function::Swish => PointwiseMode::SWISH_FWD,
        Function::Softplus => PointwiseMode::SOFTPLUS_FWD,
        Function::Sub => PointwiseMode::SUB,
        Function::Div => PointwiseMode::DIV,
        Function::Max => PointwiseMode::MAX,
        Function::Min => PointwiseMode::MIN,
        Function::Neg => PointwiseMode::NEG,
        Function::Abs => PointwiseMode::ABS,
        Function::Reciprocal => PointwiseMode::RECIPROCAL,
        Function::Sqrt => PointwiseMode::SQRT,
        Function::Exp => PointwiseMode::EXP,
        Function::Log => PointwiseMode::LOG,
        Function::Erf => PointwiseMode::ERF,
        Function::Floor => PointwiseMode::FLOOR,
        Function::Ceil => PointwiseMode::CEIL,
        Function::Sin => PointwiseMode::SIN,
        Function::Cos => PointwiseMode::COS,
        Function::Tan => PointwiseMode::TAN,
        Function::Index { .. } => PointwiseMode::GEN_INDEX,
        Function::AtLeast => PointwiseMode::CMP_GE,
    };
    let mut p = Descriptor::new(cudnn, DescriptorType::POINTWISE)?;
    p.set(AttributeName::POINTWISE_MODE, &[mode])?;
    p.set(AttributeName::POINTWISE_MATH_PREC, &[DataType::FLOAT])?;
    if let Function::Relu { upper } = function {
        // A clip that drops NaN would differ from the reference.
        p.set(AttributeName::POINTWISE_NAN_PROPAGATION, &[NanPropagation::PROPAGATE_NAN])?;
        if let Some(upper) = upper {
            p.set(AttributeName::POINTWISE_RELU_UPPER_CLIP, &[upper])?;
        }
    }
    if let Function::Index { axis } = function {
        p.set(AttributeName::POINTWISE_AXIS, &[i64::from(axis)])?;
    }
    p.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_POINTWISE)?;
    op.link(AttributeName::OPERATION_POINTWISE_PW_DESCRIPTOR, &[&p])?;
    op.link(AttributeName::OPERATION_POINTWISE_XDESC, &[x])?;
    if let Some(b) = b {
        op.link(AttributeName::OPERATION_POINTWISE_BDESC, &[b])?;
    }
    op.link(AttributeName::OPERATION_POINTWISE_YDESC, &[y])?;
    op.finalize()?;
    Ok((op, p))
}

fn select(
    cudnn: &'static Cudnn,
    [x, b, condition, y]: [&Descriptor; 4],
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let mut p = Descriptor::new(cudnn, DescriptorType::POINTWISE)?;
    p.set(AttributeName::POINTWISE_MODE, &[PointwiseMode::BINARY_SELECT])?;
    p.set(AttributeName::POINTWISE_MATH_PREC, &[DataType::FLOAT])?;
    p.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_POINTWISE)?;
    op.link(AttributeName::OPERATION_POINTWISE_PW_DESCRIPTOR, &[&p])?;
    op.link(AttributeName::OPERATION_POINTWISE_XDESC, &[x])?;
    op.link(AttributeName::OPERATION_POINTWISE_BDESC, &[b])?;
    op.link(AttributeName::OPERATION_POINTWISE_TDESC, &[condition])?;
    op.link(AttributeName::OPERATION_POINTWISE_YDESC, &[y])?;
    op.finalize()?;
    Ok((op, p))
}

fn reduce(
    cudnn: &'static Cudnn,
    kind: ReduceKind,
    [x, y]: [&Descriptor; 2],
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let operator = match kind {
        ReduceKind::Sum => ReductionOperator::ADD,
        ReduceKind::Max => ReductionOperator::MAX,
    };
    let mut r = Descriptor::new(cudnn, DescriptorType::REDUCTION)?;
    r.set(AttributeName::REDUCTION_OPERATOR, &[operator])?;
    r.set(AttributeName::REDUCTION_COMP_TYPE, &[DataType::FLOAT])?;
    r.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_REDUCTION)?;
    op.link(AttributeName::OPERATION_REDUCTION_XDESC, &[x])?;
    op.link(AttributeName::OPERATION_REDUCTION_YDESC, &[y])?;
    op.link(AttributeName::OPERATION_REDUCTION_DESC, &[&r])?;
    op.finalize()?;
    Ok((op, r))
}

fn pool(
    cudnn: &'static Cudnn,
    kind: PoolKind,
    [x, y]: [&Descriptor; 2],
    window: &[u32],
    pads: &[(u32, u32)],
    strides: &[u32],
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let before: Vec<u32> = pads.iter().map(|p| p.0).collect();
    let after: Vec<u32> = pads.iter().map(|p| p.1).collect();
    let (mode, padding) = match kind {
        PoolKind::Max => (ResampleMode::MAXPOOL, PaddingMode::NEG_INF_PAD),
        PoolKind::Mean { count_pad: true } => (ResampleMode::AVGPOOL_INCLUDE_PADDING, PaddingMode::ZERO_PAD),
        PoolKind::Mean { count_pad: false } => (ResampleMode::AVGPOOL_EXCLUDE_PADDING, PaddingMode::ZERO_PAD),
    };
    let mut r = Descriptor::new(cudnn, DescriptorType::RESAMPLE)?;
    r.set(AttributeName::RESAMPLE_MODE, &[mode])?;
    r.set(AttributeName::RESAMPLE_COMP_TYPE, &[DataType::FLOAT])?;
    r.set(AttributeName::RESAMPLE_NAN_PROPAGATION, &[NanPropagation::PROPAGATE_NAN])?;
    r.set(AttributeName::RESAMPLE_PADDING_MODE, &[padding])?;
    r.set(AttributeName::RESAMPLE_SPATIAL_DIMS, &[window.len() as i64])?;
    r.set(AttributeName::RESAMPLE_WINDOW_DIMS, &signed(window))?;
    r.set(AttributeName::RESAMPLE_STRIDES, &signed(strides))?;
    r.set(AttributeName::RESAMPLE_PRE_PADDINGS, &signed(&before))?;
    r.set(AttributeName::RESAMPLE_POST_PADDINGS, &signed(&after))?;
    r.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_RESAMPLE_FWD)?;
    op.link(AttributeName::OPERATION_RESAMPLE_FWD_XDESC, &[x])?;
    op.link(AttributeName::OPERATION_RESAMPLE_FWD_YDESC, &[y])?;
    op.link(AttributeName::OPERATION_RESAMPLE_FWD_DESC, &[&r])?;
    op.finalize()?;
    Ok((op, r))
}

fn matmul(
    cudnn: &'static Cudnn,
    [a, b, y]: [&Descriptor; 3],
) -> Result<(Descriptor, Descriptor), DeviceError> {
    let mut m = Descriptor::new(cudnn, DescriptorType::MATMUL)?;
    m.set(AttributeName::MATMUL_COMP_TYPE, &[DataType::FLOAT])?;
    m.finalize()?;
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_MATMUL)?;
    op.link(AttributeName::OPERATION_MATMUL_ADESC, &[a])?;
    op.link(AttributeName::OPERATION_MATMUL_BDESC, &[b])?;
    op.link(AttributeName::OPERATION_MATMUL_CDESC, &[y])?;
    op.link(AttributeName::OPERATION_MATMUL_DESC, &[&m])?;
    op.finalize()?;
    Ok((op, m))
}

fn norm(
    cudnn: &'static Cudnn,
    kind: NormKind,
    [x, scale, epsilon, y]: [&Descriptor; 4],
    bias: Option<&Descriptor>,
) -> Result<Descriptor, DeviceError> {
    let mode = match kind {
        NormKind::Layer => NormMode::LAYER_NORM,
        NormKind::Rms => NormMode::RMS_NORM,
        NormKind::Instance => NormMode::INSTANCE_NORM,
    };
    let mut op = Descriptor::new(cudnn, DescriptorType::OPERATION_NORM_FORWARD)?;
    op.set(AttributeName::OPERATION_NORM_FWD_MODE, &[mode])?;
    op.set(AttributeName::OPERATION_NORM_FWD_PHASE, &[NormPhase::NORM_FWD_INFERENCE])?;
    op.link(AttributeName::OPERATION_NORM_FWD_XDESC, &[x])?;
    op.link(AttributeName::OPERATION_NORM_FWD_SCALE_DESC, &[scale])?;
    if let Some(bias) = bias {
        op.link(AttributeName::OPERATION_NORM_FWD_BIAS_DESC, &[bias])?;
    }
    op.link(AttributeName::OPERATION_NORM_FWD_EPSILON_DESC, &[epsilon])?;
    op.link(AttributeName::OPERATION_NORM_FWD_YDESC, &[y])?;
    op.finalize()?;
    Ok(op)
}
