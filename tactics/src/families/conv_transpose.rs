//! `conv_transpose.cpu`: transposed convolution over plain tensors: `gather` computes each output from the inputs that
//! reach it, `gemm` multiplies and then adds up, `any` takes every element type.

use tactician_cpu::ConvGeometry;
use tactician_cpu::gemm::{TransposeConv, TransposeGemmConv, TransposeShape, TypedConv, TypedShape};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cpu::{Use, all_f32, kernel_tactic, lanes, plain_finish, typed_bias};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Transpose = Transpose;

pub(crate) struct Transpose;

impl Family for Transpose {
    fn id(&self) -> &'static str {
        "conv_transpose.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Some(shape)) = (device.cpu(), shape(problem)) else { return vec![] };
        if !all_f32(problem) {
            let any = || {
                let (dtype, bias) = typed_bias(problem)?;
                let kernel = TypedConv { dtype, shape: TypedShape::Transpose(shape), bias };
                let uses = problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect();
                kernel_tactic("conv_transpose.cpu/any".into(), problem, cpu, kernel, uses, Layout::Plain)
            };
            return any().into_iter().collect();
        }
        let Some((finish, _)) = plain_finish::<TransposeConv>(problem) else { return vec![] };
        let gather = TransposeConv::new(shape.clone(), finish.clone());
        let gemm = TransposeGemmConv::new(shape, lanes(cpu), finish);
        let plain = Layout::Plain;
        let n = problem.operands.len();
        let uses = (0..n).map(|_| Use::As(plain)).collect();
        let gather = kernel_tactic("conv_transpose.cpu/gather".into(), problem, cpu, gather, uses, plain);
        let uses = (0..n).map(|_| Use::As(plain)).collect();
        let gemm = kernel_tactic("conv_transpose.cpu/gemm".into(), problem, cpu, gemm, uses, plain);
        gather.into_iter().chain(gemm).collect()
    }
}

/// The sizes of a transposed convolution over one to three spatial axes.
fn shape(problem: &Problem) -> Option<TransposeShape> {
    let Op::ConvTranspose(conv) = &problem.anchor else { return None };
    let (x, w) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let out = problem.result.sizes()?;
    let axes = x.len().checked_sub(2).filter(|n| (1..=3).contains(n))?;
    let spatial = |given: &[usize]| {
        let mut out = [1; 3];
        out[3 - axes..].copy_from_slice(given);
        out
    };
    let mut pads = [(0, 0); 3];
    pads[3 - axes..].copy_from_slice(&conv.pads);
    // The convolution that this one undoes reads the output.
    let forward = ConvGeometry {
        n: x[0],
        c: out[1],
        k: x[1],
        input: spatial(&out[2..]),
        kernel: spatial(&w[2..]),
        strides: spatial(&conv.strides),
        pads,
        dilations: spatial(&conv.dilations),
        groups: conv.groups,
    };
    forward.check().ok()?;
    Some(TransposeShape { forward, input: spatial(&x[2..]) })
}
