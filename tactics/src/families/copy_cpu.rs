//! `copy.cpu`: a constant under another shape or type, copied. Values are reshaped by `view`, which costs nothing.

use tactician_cpu::Copy;
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cpu::{Use, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Copies = Copies;

pub(crate) struct Copies;

impl Family for Copies {
    fn id(&self) -> &'static str {
        "copy.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Reshape(_) | Op::BitCast(_)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let Some(bytes) = problem.output.bytes() else { return vec![] };
        if !problem.epilogue.is_identity() || !problem.operands[0].constant {
            return vec![];
        }
        let uses = vec![Use::As(Layout::Plain)];
        let kernel = Copy { bytes };
        kernel_tactic("copy.cpu/plain".into(), problem, cpu, kernel, uses, Layout::Plain).into_iter().collect()
    }
}
