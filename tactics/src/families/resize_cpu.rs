//! `resize.cpu`: resampling, in plain layout, channels last and (with channels kept) blocks, no scratch.

use tactician_cpu::movement::{Resampling, Resize as Kernel, ResizeDim};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Resize};
use tactician_types::Layout;

use crate::cpu::{Use, kernel_tactic};
use crate::move_strided::{layouts, stored_axes, stored_sizes};
use crate::resize::how;
use crate::{Family, Tactic};

pub(crate) static FAMILY: Resampler = Resampler;

pub(crate) struct Resampler;

impl Family for Resampler {
    fn id(&self) -> &'static str {
        "resize.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Resize(resize)) = (device.cpu(), &problem.anchor) else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        layouts(problem, cpu).into_iter().filter_map(|l| tactic(problem, cpu, resize, l)).collect()
    }
}

fn tactic(problem: &Problem, cpu: &CpuInfo, resize: &Resize, layout: Layout) -> Option<Tactic> {
    if matches!(layout, Layout::Blocked(_)) && resize.axes.iter().any(|a| a.axis == 1) {
        return None;
    }
    let (x, out) = (problem.operands[0].ty.sizes()?, problem.output.sizes()?);
    let axes = stored_axes(layout, x.len())
        .into_iter()
        .zip(stored_sizes(layout, &x))
        .zip(stored_sizes(layout, &out))
        .map(|((axis, from), to)| {
            let own = resize.axes.iter().find(|a| Some(a.axis) == axis);
            ResizeDim { from, to, resampling: own.map(|a| Resampling { scale: a.scale, roi: a.roi }) }
        })
        .collect();
    let (how, coordinates) = how(resize);
    let dtype = problem.output.dtype;
    let kernel = Kernel { dtype, axes, how, coordinates, extrapolation: resize.extrapolation, ready: None };
    let id = format!("resize.cpu/{layout}");
    kernel_tactic(id, problem, cpu, kernel, vec![Use::As(layout)], layout)
}

#[cfg(test)]
#[path = "resize_cpu_tests.rs"]
mod tests;
