//! `move.cpu.concat`: joins row by row, in plain layout, channels last and blocks, no scratch.
//!
//! Channels join in blocks when every operand but the last fills its blocks.

use tactician_cpu::movement::Concat;
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cpu::{Use, kernel_tactic};
use crate::move_strided::{layouts, stored_axes, stored_sizes};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Joins = Joins;

pub(crate) struct Joins;

impl Family for Joins {
    fn id(&self) -> &'static str {
        "move.cpu.concat"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Concat(concat)) = (device.cpu(), &problem.anchor) else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        layouts(problem, cpu).into_iter().filter_map(|l| tactic(problem, cpu, concat.axis, l)).collect()
    }
}

fn tactic(problem: &Problem, cpu: &CpuInfo, axis: usize, layout: Layout) -> Option<Tactic> {
    let sizes: Vec<Vec<usize>> = problem.operands.iter().map(|o| o.ty.sizes()).collect::<Option<_>>()?;
    if let (Layout::Blocked(b), 1) = (layout, axis)
        && sizes.iter().rev().skip(1).any(|s| !s[1].is_multiple_of(b as usize))
    {
        return None;
    }
    let at = stored_axes(layout, problem.output.rank()).iter().position(|a| *a == Some(axis))?;
    let bytes = problem.output.dtype.size();
    let parts = sizes
        .iter()
        .map(|s| {
            let stored = stored_sizes(layout, s);
            stored[at..].iter().try_fold(bytes, |a, &b| a.checked_mul(b))
        })
        .collect::<Option<Vec<_>>>()?;
    let rows = stored_sizes(layout, &problem.output.sizes()?)[..at].iter().product();
    let uses = sizes.iter().map(|_| Use::As(layout)).collect();
    let id = format!("move.cpu.concat/{layout}");
    kernel_tactic(id, problem, cpu, Concat { rows, parts }, uses, layout)
}

#[cfg(test)]
#[path = "move_concat_tests.rs"]
mod tests;
