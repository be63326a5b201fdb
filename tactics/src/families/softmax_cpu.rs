//! `softmax.cpu`: softmax and its logarithm along one axis, on the CPU.
//!
//! `f32`: plain layout along any axis, channels-last along the channels. `softmax.cpu/any`: other floats, plain layout.

use tactician_cpu::ops::{Softmax, SoftmaxAny};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Softmax as SoftmaxOp};
use tactician_types::Layout;

use crate::cpu::{all_f32, one_float};
use crate::pointwise_cpu::{epilogue, layouts, stored, tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: SoftmaxCpu = SoftmaxCpu;

pub(crate) struct SoftmaxCpu;

impl Family for SoftmaxCpu {
    fn id(&self) -> &'static str {
        "softmax.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Softmax(op)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.result.sizes() else { return vec![] };
        if !all_f32(problem) {
            return any(problem, cpu, op, &sizes).into_iter().collect();
        }
        layouts(&sizes, cpu).into_iter().filter_map(|l| serve(problem, cpu, op, &sizes, l)).collect()
    }
}

fn any(problem: &Problem, cpu: &CpuInfo, op: &SoftmaxOp, sizes: &[usize]) -> Option<Tactic> {
    let dtype = one_float(problem)?;
    let (before, after) = (sizes.get(..op.axis)?, sizes.get(op.axis + 1..)?);
    let kernel = SoftmaxAny {
        dtype,
        outer: before.iter().product(),
        n: sizes[op.axis],
        inner: after.iter().product(),
        log: op.log,
    };
    let passes = vec![whole(&problem.operands[0], Layout::Plain)?];
    tactic("softmax.cpu/any".into(), problem, cpu, kernel, passes, Layout::Plain)
}

fn serve(
    problem: &Problem,
    cpu: &CpuInfo,
    op: &SoftmaxOp,
    sizes: &[usize],
    layout: Layout,
) -> Option<Tactic> {
    let axis = match (layout, op.axis) {
        (Layout::Plain, axis) if axis < sizes.len() => axis,
        (Layout::ChannelsLast, 1) => sizes.len() - 1,
        _ => return None,
    };
    let axes = stored(sizes, layout);
    let (epilogue, more) = epilogue(problem, layout)?;
    let mut passes = vec![whole(&problem.operands[0], layout)?];
    passes.extend(more);
    let kernel = Softmax {
        outer: axes[..axis].iter().product(),
        n: axes[axis],
        inner: axes[axis + 1..].iter().product(),
        log: op.log,
        epilogue,
        ready: None,
    };
    tactic(format!("softmax.cpu/{layout}"), problem, cpu, kernel, passes, layout)
}
