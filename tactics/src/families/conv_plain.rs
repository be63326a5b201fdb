//! `conv.cpu.plain`: convolution over plain tensors as they are: any geometry, any epilogue, weights that are computed
//! at run time, and with `any` every element type. No scratch.

use tactician_cpu::gemm::{PlainConv, TypedConv, TypedShape};
use tactician_device::DeviceInfo;
use tactician_ir::Problem;
use tactician_types::Layout;

use crate::conv::{geometry, typed_geometry};
use crate::cpu::{Use, all_f32, kernel_tactic, plain_finish, typed_bias};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Plain = Plain;

pub(crate) struct Plain;

impl Family for Plain {
    fn id(&self) -> &'static str {
        "conv.cpu.plain"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cpu) = device.cpu() else { return vec![] };
        if all_f32(problem) {
            let found = || {
                let (finish, more) = plain_finish(problem)?;
                let mut uses = vec![Use::As(Layout::Plain), Use::As(Layout::Plain)];
                uses.extend(more);
                let kernel = PlainConv::new(geometry(problem)?, finish);
                kernel_tactic("conv.cpu.plain/rows".into(), problem, cpu, kernel, uses, Layout::Plain)
            };
            return found().into_iter().collect();
        }
        let found = || {
            let (dtype, bias) = typed_bias(problem)?;
            let kernel = TypedConv { dtype, shape: TypedShape::Conv(typed_geometry(problem)?), bias };
            let uses = problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect();
            kernel_tactic("conv.cpu.plain/any".into(), problem, cpu, kernel, uses, Layout::Plain)
        };
        found().into_iter().collect()
    }
}
