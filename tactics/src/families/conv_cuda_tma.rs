//! `conv.cuda.tma`: convolutions over images on tensor cores of sm_90a, channels last, fed by the tensor memory
//! accelerator.
//!
//! Windows of one element with stride 1 are products of matrices, pixels by channels, as `matmul.cuda.tma` has them,
//! with the same names. Source: `kernels/cuda/gemm/tma.cu`.

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::conv_cuda_mma::{Epilogue, Image};
use crate::cuda::Use;
use crate::matmul_cuda_tma::{Rows, has_accelerator};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvTma = ConvTma;

pub(crate) struct ConvTma;

impl Family for ConvTma {
    fn id(&self) -> &'static str {
        "conv.cuda.tma"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_accelerator(c)) else { return vec![] };
        let Op::Conv(_) = &problem.anchor else { return vec![] };
        let Some(image) = Image::new(problem).filter(|i| i.groups == 1) else { return vec![] };
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        if !image.pointwise() || image.strides != [1, 1] {
            return vec![];
        }
        let rows = Rows {
            m: image.pixels(),
            n: image.filters,
            k: image.channels,
            batches: 1,
            a_step: 0,
            b_step: 0,
            plane: image.output[0] * image.output[1],
            constant_b: true,
        };
        rows.tactics(self.id(), problem, cuda, &epilogue, Layout::ChannelsLast, || {
            vec![Use::As(Layout::ChannelsLast), Use::As(Layout::ChannelsLast)]
        })
    }
}

#[cfg(test)]
#[path = "conv_cuda_tma_tests.rs"]
mod tests;
