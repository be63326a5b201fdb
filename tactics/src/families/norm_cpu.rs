//! `norm.cpu`: layer, root-mean-square, instance, group and local response normalisation in plain layout, on the CPU: `f32`
//! with what follows, and other floats alone (`…-any`). (Batch normalisation is an expression: see `pointwise.cpu`.)

use tactician_cpu::ops::{GridExpr, Lrn, LrnAny, LrnShape, Norm, NormAny};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Lrn as LrnOp, Op, Problem};
use tactician_types::{Binary, Expr, ExprNode, Layout};

use crate::cpu::{all_f32, one_float};
use crate::pointwise_cpu::{Pass, after, epilogue, grid, pass, pass_channels, tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: NormCpu = NormCpu;

pub(crate) struct NormCpu;

impl Family for NormCpu {
    fn id(&self) -> &'static str {
        "norm.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cpu) = device.cpu() else { return vec![] };
        if !all_f32(problem) && one_float(problem).is_none() {
            return vec![];
        }
        let Some(sizes) = problem.result.sizes() else { return vec![] };
        let split = |axis: usize| {
            let (a, b) = sizes.split_at(axis.min(sizes.len()));
            (a.iter().product::<usize>(), b.iter().product::<usize>())
        };
        let rows = |axis: usize, rms: bool, epsilon: f32| {
            let (rows, n) = split(axis);
            Rows { name: if rms { "rms" } else { "layer" }, rows, n, rms, epsilon, channels: false }
        };
        let found = match &problem.anchor {
            Op::LayerNorm(o) => rows(o.axis, false, o.epsilon).tactic(problem, cpu, &sizes),
            Op::RmsNorm(o) => rows(o.axis, true, o.epsilon).tactic(problem, cpu, &sizes),
            Op::InstanceNorm(o) => Rows { name: "instance", channels: true, ..rows(2, false, o.epsilon) }
                .tactic(problem, cpu, &sizes),
            Op::GroupNorm(o) => {
                let (n, all) = split(1);
                let (rows, n) = (n * o.groups, all / o.groups.max(1));
                let rows = Rows { name: "group", rows, n, rms: false, epsilon: o.epsilon, channels: true };
                rows.tactic(problem, cpu, &sizes)
            }
            Op::Lrn(o) => lrn(problem, cpu, o, &sizes),
            _ => None,
        };
        found.into_iter().collect()
    }
}

/// A normalisation of contiguous rows.
struct Rows {
    name: &'static str,
    rows: usize,
    n: usize,
    rms: bool,
    epsilon: f32,
    /// Whether scale and bias are per channel, rather than broadcast to the result.
    channels: bool,
}

impl Rows {
    fn tactic(self, problem: &Problem, cpu: &CpuInfo, sizes: &[usize]) -> Option<Tactic> {
        // Scale and bias come before the epilogue's operands.
        let mut e = Expr::empty();
        let mut at = e.push(ExprNode::Input(0));
        for (i, op) in (1..problem.anchor_operands as u16).zip([Binary::Mul, Binary::Add]) {
            let operand = e.push(ExprNode::Input(i));
            at = e.push(ExprNode::Binary(op, at, operand));
        }
        let expr = after(&e.finish(at), problem.anchor_operands as u16, &problem.epilogue);
        let more: Option<Vec<Pass>> = (problem.operands.iter().enumerate().skip(1))
            .map(|(i, o)| match self.channels && i < problem.anchor_operands {
                true => pass_channels(o, sizes, Layout::Plain),
                false => pass(o, sizes, Layout::Plain),
            })
            .collect();
        let more = more?;
        let grid = grid(sizes, Layout::Plain, &more);
        let mut passes = vec![whole(&problem.operands[0], Layout::Plain)?];
        passes.extend(more);
        let Rows { rows, n, rms, epsilon, .. } = self;
        if !all_f32(problem) {
            let kernel = NormAny { dtype: one_float(problem)?, grid, n, rms, epsilon };
            return tactic(format!("norm.cpu/{}-any", self.name), problem, cpu, kernel, passes, Layout::Plain);
        }
        let epilogue = GridExpr { expr, grid };
        let kernel = Norm { rows, n, rms, epsilon, epilogue, ready: None };
        tactic(format!("norm.cpu/{}", self.name), problem, cpu, kernel, passes, Layout::Plain)
    }
}

fn lrn(problem: &Problem, cpu: &CpuInfo, op: &LrnOp, sizes: &[usize]) -> Option<Tactic> {
    let shape = LrnShape {
        outer: sizes[0],
        channels: *sizes.get(1)?,
        inner: sizes[2..].iter().product(),
        size: op.size,
        alpha: op.alpha,
        beta: op.beta,
        bias: op.bias,
    };
    let mut passes = vec![whole(&problem.operands[0], Layout::Plain)?];
    if !all_f32(problem) {
        let kernel = LrnAny { dtype: one_float(problem)?, shape };
        return tactic("norm.cpu/lrn-any".into(), problem, cpu, kernel, passes, Layout::Plain);
    }
    let (epilogue, more) = epilogue(problem, Layout::Plain)?;
    passes.extend(more);
    let kernel = Lrn { shape, epilogue, ready: None };
    tactic("norm.cpu/lrn".into(), problem, cpu, kernel, passes, Layout::Plain)
}

#[cfg(test)]
#[path = "norm_cpu_tests.rs"]
mod tests;
