//! `move.cpu.pad`: borders, in plain layout, and where channels get none in channels last and blocks; no scratch.

use tactician_cpu::movement::{Fill, Pad as Kernel, PadAxis};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Pad, PadMode, Problem};
use tactician_types::{DType, Layout, Scalar, bf16_of, f16_of};

use crate::cpu::{Use, kernel_tactic};
use crate::move_strided::{element, layouts, stored_axes, stored_sizes};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Borders = Borders;

pub(crate) struct Borders;

impl Family for Borders {
    fn id(&self) -> &'static str {
        "move.cpu.pad"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Pad(pad)) = (device.cpu(), &problem.anchor) else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        layouts(problem, cpu).into_iter().filter_map(|l| tactic(problem, cpu, pad, l)).collect()
    }
}

fn tactic(problem: &Problem, cpu: &CpuInfo, pad: &Pad, layout: Layout) -> Option<Tactic> {
    let x = problem.operands[0].ty.sizes()?;
    if matches!(layout, Layout::Blocked(_)) && pad.pads[1] != (0, 0) {
        return None;
    }
    let axes = stored_axes(layout, x.len())
        .into_iter()
        .zip(stored_sizes(layout, &x))
        .map(|(axis, size)| {
            let (before, after) = axis.map_or((0, 0), |a| pad.pads[a]);
            PadAxis { size, before, after }
        })
        .collect();
    let fill = match pad.mode {
        PadMode::Constant(c) => Fill::Constant(bits(c)?),
        PadMode::Reflect => Fill::Reflect,
        PadMode::Edge => Fill::Edge,
        PadMode::Wrap => Fill::Wrap,
    };
    let kernel = Kernel { element: element(problem.output.dtype), axes, fill };
    let id = format!("move.cpu.pad/{layout}");
    kernel_tactic(id, problem, cpu, kernel, vec![Use::As(layout)], layout)
}

/// The bits of a constant, rounded to its type.
fn bits(c: Scalar) -> Option<u64> {
    Some(match c.dtype {
        DType::F32 => u64::from((c.as_f64() as f32).to_bits()),
        DType::F64 => c.as_f64().to_bits(),
        DType::F16 => u64::from(f16_of(c.as_f64()).to_bits()),
        DType::BF16 => u64::from(bf16_of(c.as_f64()).to_bits()),
        DType::Bool => u64::from(c.as_i64() != 0),
        t if t.is_int() => c.as_i64() as u64,
        t if t.is_narrow() => u64::from(c.as_i64() as u8),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "move_pad_tests.rs"]
mod tests;
