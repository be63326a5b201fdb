//! `reduce.cpu`: reductions over whole axes, on the CPU.
//!
//! `f32` with an epilogue: plain layout over any axes, channels-last where the axes stay, blocked over spatial axes
//! (a global average pool among them), also to a plain result where that has the same bytes. Other types without an
//! epilogue, in plain layout.

use tactician_cpu::ops::{Grid, Reduce, ReduceAny, ReduceKind};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Reduce as ReduceOp, ReduceKind as Kind};
use tactician_types::Layout;

use crate::cpu::all_f32;
use crate::pointwise_cpu::{epilogue, layouts, stored, stored_axis, tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ReduceCpu = ReduceCpu;

pub(crate) struct ReduceCpu;

impl Family for ReduceCpu {
    fn id(&self) -> &'static str {
        "reduce.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Reduce(op)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.operands[0].ty.sizes() else { return vec![] };
        if all_f32(problem) {
            let to = [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(cpu.isa.channel_block())];
            let pairs = layouts(&sizes, cpu).into_iter().flat_map(|from| to.map(|to| (from, to)));
            let pairs = pairs.filter(|&(from, to)| fits(op, &sizes, from, to));
            pairs.filter_map(|(from, to)| fast(problem, cpu, op, &sizes, from, to)).collect()
        } else if problem.epilogue.is_identity() {
            any(problem, cpu, op, &sizes).into_iter().collect()
        } else {
            vec![]
        }
    }
}

/// Whether the kept axes of `x` stored in `from`, in stored order, are the result stored in `to`.
fn fits(op: &ReduceOp, sizes: &[usize], from: Layout, to: Layout) -> bool {
    let spatial_only = op.axes.iter().all(|&a| a >= 2);
    let all_spatial = spatial_only && op.axes.len() + 2 == sizes.len();
    match (from, to) {
        (Layout::Plain, Layout::Plain) => true,
        (Layout::ChannelsLast, Layout::ChannelsLast) => op.keep_dims,
        (Layout::Blocked(_), Layout::Blocked(_)) => op.keep_dims && spatial_only,
        (Layout::ChannelsLast, Layout::Plain) => all_spatial && !op.keep_dims,
        (Layout::Blocked(b), Layout::Plain) => {
            all_spatial && !op.keep_dims && sizes[1].is_multiple_of(b as usize)
        }
        _ => false,
    }
}

fn kind(op: &ReduceOp) -> ReduceKind {
    match op.kind {
        Kind::Sum => ReduceKind::Sum,
        Kind::Mean => ReduceKind::Mean,
        Kind::Max => ReduceKind::Max,
        Kind::Min => ReduceKind::Min,
        Kind::Prod => ReduceKind::Prod,
        Kind::SumSquare => ReduceKind::SumSquare,
        Kind::L1 => ReduceKind::L1,
        Kind::L2 => ReduceKind::L2,
        Kind::LogSum => ReduceKind::LogSum,
        Kind::LogSumExp => ReduceKind::LogSumExp,
    }
}

/// The stored axes of `x` and which of them stay.
fn kept(op: &ReduceOp, sizes: &[usize], layout: Layout) -> Grid {
    let rank = sizes.len();
    let stay = (0..rank).filter(|a| !op.axes.contains(a));
    let mask = stay.map(|a| stored_axis(a, rank, layout)).fold(0, |m, b| m | b);
    Grid { sizes: stored(sizes, layout), operands: vec![mask] }
}

fn fast(
    problem: &Problem,
    cpu: &CpuInfo,
    op: &ReduceOp,
    sizes: &[usize],
    from: Layout,
    to: Layout,
) -> Option<Tactic> {
    let (epilogue, more) = epilogue(problem, to)?;
    let mut passes = vec![whole(&problem.operands[0], from)?];
    passes.extend(more);
    let kernel = Reduce::new(kind(op), kept(op, sizes, from), epilogue);
    let name = if from == to { format!("{from}") } else { format!("{from}-{to}") };
    tactic(format!("reduce.cpu/{name}"), problem, cpu, kernel, passes, to)
}

fn any(problem: &Problem, cpu: &CpuInfo, op: &ReduceOp, sizes: &[usize]) -> Option<Tactic> {
    let kept = kept(op, sizes, Layout::Plain);
    let kernel = ReduceAny { kind: kind(op), dtype: problem.result.dtype, kept, ready: None };
    let passes = vec![whole(&problem.operands[0], Layout::Plain)?];
    tactic("reduce.cpu/any".into(), problem, cpu, kernel, passes, Layout::Plain)
}

#[cfg(test)]
#[path = "reduce_cpu_tests.rs"]
mod tests;
