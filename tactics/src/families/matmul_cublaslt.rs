//! `matmul.cublaslt`: matrix products by cuBLASLt, one tactic for each algorithm that it has for the problem.
//!
//! Names are configurations as the library reports them, such as `a66.t128x64.s64x3.k1`. Bias, residual, ReLU and GELU
//! by `tanh` are part of the call; other epilogues are not served.

use tactician_device::DeviceInfo;
use tactician_ir::Problem;

use crate::cublaslt::matmul;
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulCublasLt = MatMulCublasLt;

pub(crate) struct MatMulCublasLt;

impl Family for MatMulCublasLt {
    fn id(&self) -> &'static str {
        "matmul.cublaslt"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        matmul(problem).map_or(vec![], |call| call.tactics(self.id(), problem, device))
    }
}
