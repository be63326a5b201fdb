//! `move.cpu.gather`: parts picked by an index tensor, in plain layout, no scratch.
//!
//! Indices outside the axis are taken as the nearest one inside.

use tactician_cpu::movement::{Gather, GatherElements, IndexType};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::{DType, Layout};

use crate::cpu::{Use, kernel_tactic};
use crate::move_strided::element;
use crate::{Family, Tactic};

pub(crate) static FAMILY: Gathers = Gathers;

pub(crate) struct Gathers;

impl Family for Gathers {
    fn id(&self) -> &'static str {
        "move.cpu.gather"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        tactic(problem, device).into_iter().collect()
    }
}

fn tactic(problem: &Problem, device: &DeviceInfo) -> Option<Tactic> {
    let cpu = device.cpu()?;
    let [x, indices] = problem.operands.as_slice() else { return None };
    let index = match indices.ty.dtype {
        DType::I32 => IndexType::I32,
        DType::I64 => IndexType::I64,
        _ => return None,
    };
    let (input, output) = (x.ty.sizes()?, indices.ty.sizes()?);
    let uses = || [Layout::Plain; 2].map(Use::As).into();
    match &problem.anchor {
        Op::Gather(g) => {
            let inner = input[g.axis + 1..].iter().try_fold(x.ty.dtype.size(), |a, &b| a.checked_mul(b))?;
            let kernel = Gather {
                index,
                outer: input[..g.axis].iter().product(),
                axis: input[g.axis],
                count: output.iter().product(),
                inner,
            };
            kernel_tactic("move.cpu.gather/plain".into(), problem, cpu, kernel, uses(), Layout::Plain)
        }
        Op::GatherElements(g) => {
            let uses = [Layout::Plain; 2].map(Use::As).into();
            let kernel =
                GatherElements { element: element(x.ty.dtype), index, input, output, axis: g.axis };
            kernel_tactic("move.cpu.gather/elements".into(), problem, cpu, kernel, uses, Layout::Plain)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "move_gather_tests.rs"]
mod tests;
