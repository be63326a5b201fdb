//! `reformat.cpu`: changes of layout, which the identity on one operand stands for, no scratch.
//!
//! `reformat.cpu/plain.c16` reads plain and writes blocks of 16 channels. Where both layouts have the same bytes the
//! plan gets no step. `reformat.cpu/plain.plain` copies.

use std::sync::Arc;

use tactician_cpu::movement::{CopyAxis, Reformat, Strided};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_types::{Growth, Layout};

use crate::cpu::{Use, kernel_tactic};
use crate::move_strided::{element, layouts};
use crate::{Ahead, Emission, Family, Tactic};

pub(crate) static FAMILY: Reformats = Reformats;

pub(crate) struct Reformats;

impl Family for Reformats {
    fn id(&self) -> &'static str {
        "reformat.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Pointwise(expr)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let [x] = problem.operands.as_slice() else { return vec![] };
        if !expr.is_identity() || !problem.epilogue.is_identity() || x.ty != problem.output {
            return vec![];
        }
        let Some(sizes) = x.ty.sizes() else { return vec![] };
        let mut out: Vec<Tactic> = copy(problem, cpu, &sizes).into_iter().collect();
        if !x.constant {
            let all = layouts(problem, cpu);
            for &from in &all {
                let others = all.iter().filter(|&&to| to != from);
                out.extend(others.filter_map(|&to| change(problem, cpu, &sizes, from, to)));
            }
        }
        out
    }
}

fn copy(problem: &Problem, cpu: &CpuInfo, sizes: &[usize]) -> Option<Tactic> {
    let axes = vec![CopyAxis { size: sizes.iter().product(), step: 1 }];
    let kernel = Strided { element: element(problem.output.dtype), axes, offset: 0 };
    let uses = vec![Use::As(Layout::Plain)];
    kernel_tactic("reformat.cpu/plain.plain".into(), problem, cpu, kernel, uses, Layout::Plain)
}

fn change(problem: &Problem, cpu: &CpuInfo, sizes: &[usize], from: Layout, to: Layout) -> Option<Tactic> {
    let id = format!("reformat.cpu/{from}.{to}");
    if from.same_bytes(to, sizes) {
        return Some(Tactic {
            id,
            inputs: vec![from],
            output: to,
            workspace: 0,
            growth: Growth::NONE,
            view: true,
            ahead: Ahead::Nothing,
            emit: Arc::new(|_| Ok(Emission { view_of: Some(0), ..Emission::default() })),
        });
    }
    let kernel = Reformat {
        element: element(problem.output.dtype),
        from,
        to,
        n: sizes[0],
        channels: sizes[1],
        pixels: sizes[2..].iter().product(),
    };
    kernel_tactic(id, problem, cpu, kernel, vec![Use::As(from)], to)
}

#[cfg(test)]
#[path = "reformat_cpu_tests.rs"]
mod tests;
