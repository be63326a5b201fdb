//! `move.cpu.scatter`: elements written by an index tensor, in plain layout, any type, no scratch.
//!
//! Updates whose index is outside the axis are left out.

use tactician_cpu::movement::{Combine, IndexType, ScatterElements};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem, ScatterReduction};
use tactician_types::{DType, Layout};

use crate::cpu::{Use, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Scatters = Scatters;

pub(crate) struct Scatters;

impl Family for Scatters {
    fn id(&self) -> &'static str {
        "move.cpu.scatter"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        tactic(problem, device).into_iter().collect()
    }
}

fn tactic(problem: &Problem, device: &DeviceInfo) -> Option<Tactic> {
    let cpu = device.cpu().filter(|_| problem.epilogue.is_identity())?;
    let Op::ScatterElements(op) = &problem.anchor else { return None };
    let [x, indices, _] = problem.operands.as_slice() else { return None };
    let kernel = ScatterElements {
        dtype: x.ty.dtype,
        index: match indices.ty.dtype {
            DType::I32 => IndexType::I32,
            DType::I64 => IndexType::I64,
            _ => return None,
        },
        combine: match op.reduction {
            ScatterReduction::Replace => Combine::Replace,
            ScatterReduction::Add => Combine::Add,
            ScatterReduction::Mul => Combine::Mul,
            ScatterReduction::Max => Combine::Max,
            ScatterReduction::Min => Combine::Min,
        },
        input: x.ty.sizes()?,
        indices: indices.ty.sizes()?,
        axis: op.axis,
    };
    let uses = [Layout::Plain; 3].map(Use::As).into();
    kernel_tactic("move.cpu.scatter/elements".into(), problem, cpu, kernel, uses, Layout::Plain)
}
