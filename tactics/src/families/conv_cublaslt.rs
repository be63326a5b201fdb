//! `conv.cublaslt`: convolutions with 1x1 windows as one matrix product of cuBLASLt, over channels-last tensors.
//!
//! Stride 1, no padding, one group: then the tensor is a matrix of pixels by channels as it lies. Names and epilogues
//! are those of `matmul.cublaslt`.

use tactician_device::DeviceInfo;
use tactician_ir::Problem;

use crate::cublaslt::conv;
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvCublasLt = ConvCublasLt;

pub(crate) struct ConvCublasLt;

impl Family for ConvCublasLt {
    fn id(&self) -> &'static str {
        "conv.cublaslt"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        conv(problem).map_or(vec![], |call| call.tactics(self.id(), problem, device))
    }
}
