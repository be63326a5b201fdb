//! `argreduce.cpu`: positions of the largest or smallest elements, any type, in plain layout, on the CPU.

use tactician_cpu::ops::ArgReduce;
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::pointwise_cpu::{tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ArgReduceCpu = ArgReduceCpu;

pub(crate) struct ArgReduceCpu;

impl Family for ArgReduceCpu {
    fn id(&self) -> &'static str {
        "argreduce.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::ArgReduce(op)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let x = &problem.operands[0];
        let (Some(sizes), Some(pass)) = (x.ty.sizes(), whole(x, Layout::Plain)) else { return vec![] };
        if !problem.epilogue.is_identity() || op.axis >= sizes.len() {
            return vec![];
        }
        let kernel = ArgReduce {
            dtype: x.ty.dtype,
            outer: sizes[..op.axis].iter().product(),
            n: sizes[op.axis],
            inner: sizes[op.axis + 1..].iter().product(),
            largest: op.largest,
            last: op.last,
        };
        let plain = tactic("argreduce.cpu/plain".into(), problem, cpu, kernel, vec![pass], Layout::Plain);
        plain.into_iter().collect()
    }
}
