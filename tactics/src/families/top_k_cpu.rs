//! `topk.cpu`: places of the largest or smallest elements in order, any type, in plain layout, on the CPU.

use tactician_cpu::ops::TopK;
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cpu::{Use, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: TopKCpu = TopKCpu;

pub(crate) struct TopKCpu;

impl Family for TopKCpu {
    fn id(&self) -> &'static str {
        "topk.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        tactic(problem, device).into_iter().collect()
    }
}

fn tactic(problem: &Problem, device: &DeviceInfo) -> Option<Tactic> {
    let cpu = device.cpu().filter(|_| problem.epilogue.is_identity())?;
    let Op::TopK(op) = &problem.anchor else { return None };
    let x = problem.operands.first()?;
    let sizes = x.ty.sizes()?;
    let kernel = TopK {
        dtype: x.ty.dtype,
        outer: sizes[..op.axis].iter().product(),
        n: sizes[op.axis],
        inner: sizes[op.axis + 1..].iter().product(),
        k: op.k,
        largest: op.largest,
    };
    let uses = vec![Use::As(Layout::Plain)];
    kernel_tactic("topk.cpu/heap".into(), problem, cpu, kernel, uses, Layout::Plain)
}
