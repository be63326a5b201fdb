//! `pool.cpu`: pools over one to three spatial axes, on the CPU.
//!
//! `f32` with an epilogue in every layout that the processor likes; other types without one, in plain layout.

use tactician_cpu::ops::{Pool, PoolAny, PoolKind, PoolWindows};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Pool as PoolOp, PoolKind as Kind, Problem};
use tactician_types::Layout;

use crate::cpu::all_f32;
use crate::pointwise_cpu::{epilogue, layouts, stored, tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: PoolCpu = PoolCpu;

pub(crate) struct PoolCpu;

impl Family for PoolCpu {
    fn id(&self) -> &'static str {
        "pool.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Pool(op)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.operands[0].ty.sizes() else { return vec![] };
        if all_f32(problem) {
            layouts(&sizes, cpu).into_iter().filter_map(|l| fast(problem, cpu, op, l)).collect()
        } else if problem.epilogue.is_identity() {
            any(problem, cpu, op).into_iter().collect()
        } else {
            vec![]
        }
    }
}

fn kind(op: &PoolOp) -> PoolKind {
    match op.kind {
        Kind::Max => PoolKind::Max,
        Kind::Average { count_pad } => PoolKind::Average { count_pad },
        Kind::Lp { p } => PoolKind::Lp { p },
    }
}

fn windows(problem: &Problem, op: &PoolOp, layout: Layout) -> Option<PoolWindows> {
    let (input, output) = (problem.operands[0].ty.sizes()?, problem.result.sizes()?);
    let spatial = op.window.len();
    let lead = 3usize.checked_sub(spatial)?;
    // Absent axes are leading ones.
    let three = |of: &[usize]| std::array::from_fn(|a| a.checked_sub(lead).map_or(1, |i| of[i]));
    let axes = stored(&input, layout);
    let (before, after) = match layout {
        Layout::Plain => (2, axes.len()),
        Layout::ChannelsLast => (1, axes.len() - 1),
        Layout::Blocked(_) => (2, axes.len() - 1),
    };
    Some(PoolWindows {
        outer: axes[..before].iter().product(),
        inner: axes[after..].iter().product(),
        input: three(&input[2..]),
        output: three(&output[2..]),
        window: three(&op.window),
        strides: three(&op.strides),
        pads: std::array::from_fn(|a| a.checked_sub(lead).map_or((0, 0), |i| op.pads[i])),
        dilations: three(&op.dilations),
    })
}

fn fast(problem: &Problem, cpu: &CpuInfo, op: &PoolOp, layout: Layout) -> Option<Tactic> {
    let (epilogue, more) = epilogue(problem, layout)?;
    let mut passes = vec![whole(&problem.operands[0], layout)?];
    passes.extend(more);
    let kernel = Pool { kind: kind(op), windows: windows(problem, op, layout)?, epilogue, ready: None };
    tactic(format!("pool.cpu/{layout}"), problem, cpu, kernel, passes, layout)
}

fn any(problem: &Problem, cpu: &CpuInfo, op: &PoolOp) -> Option<Tactic> {
    let windows = windows(problem, op, Layout::Plain)?;
    let kernel = PoolAny { kind: kind(op), dtype: problem.result.dtype, windows };
    let passes = vec![whole(&problem.operands[0], Layout::Plain)?];
    tactic("pool.cpu/any".into(), problem, cpu, kernel, passes, Layout::Plain)
}

#[cfg(test)]
#[path = "pool_cpu_tests.rs"]
mod tests;
