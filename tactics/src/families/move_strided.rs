//! `move.cpu.strided`: transposes, slices and broadcasts by steps through the input, no scratch.
//!
//! Slices also work on channels last and on blocks, there with channels taken from the start of a block on.

use tactician_cpu::movement::{CopyAxis, Strided};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Slice};
use tactician_types::{DType, Layout};

use crate::cpu::{Use, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: StridedMoves = StridedMoves;

pub(crate) struct StridedMoves;

impl Family for StridedMoves {
    fn id(&self) -> &'static str {
        "move.cpu.strided"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cpu) = device.cpu() else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        let layouts = match &problem.anchor {
            Op::Slice(_) => layouts(problem, cpu),
            Op::Transpose(_) | Op::Expand(_) => vec![Layout::Plain],
            _ => vec![],
        };
        layouts.into_iter().filter_map(|l| tactic(problem, cpu, l)).collect()
    }
}

/// Bytes of an element.
pub(crate) fn element(dtype: DType) -> u8 {
    dtype.size() as u8
}

/// Plain, and for operations that keep the axes of images the layouts that this processor works in.
pub(crate) fn layouts(problem: &Problem, cpu: &CpuInfo) -> Vec<Layout> {
    let rank = problem.output.rank();
    if rank < 3 || problem.operands.iter().any(|o| o.ty.rank() != rank) {
        return vec![Layout::Plain];
    }
    vec![Layout::Plain, Layout::ChannelsLast, Layout::Blocked(cpu.isa.channel_block())]
}

/// The axes of a tensor as `layout` stores them: `None` stands for the position within a block.
pub(crate) fn stored_axes(layout: Layout, rank: usize) -> Vec<Option<usize>> {
    let mut axes: Vec<_> = (0..rank).map(Some).collect();
    match layout {
        Layout::Plain => {}
        Layout::ChannelsLast => {
            axes.remove(1);
            axes.push(Some(1));
        }
        Layout::Blocked(_) => axes.push(None),
    }
    axes
}

/// The sizes of a tensor as `layout` stores them.
pub(crate) fn stored_sizes(layout: Layout, sizes: &[usize]) -> Vec<usize> {
    stored_axes(layout, sizes.len())
        .into_iter()
        .map(|axis| match (axis, layout) {
            (None, Layout::Blocked(b)) => b as usize,
            (Some(1), Layout::Blocked(b)) => sizes[1].div_ceil(b as usize),
            (axis, _) => sizes[axis.unwrap_or(0)],
        })
        .collect()
}

/// Row-major steps.
fn steps(sizes: &[usize]) -> Vec<i64> {
    let mut step = 1i64;
    let mut out: Vec<i64> = sizes
        .iter()
        .rev()
        .map(|&s| {
            let own = step;
            step = step.saturating_mul(s as i64);
            own
        })
        .collect();
    out.reverse();
    out
}

fn tactic(problem: &Problem, cpu: &CpuInfo, layout: Layout) -> Option<Tactic> {
    let (x, out) = (problem.operands[0].ty.sizes()?, problem.output.sizes()?);
    let (axes, offset) = match &problem.anchor {
        Op::Transpose(t) => {
            let own = steps(&x);
            (t.perm.iter().map(|&p| CopyAxis { size: x[p], step: own[p] }).collect(), 0)
        }
        Op::Expand(_) => {
            let own = steps(&x);
            let lead = out.len() - x.len();
            let axis = |(i, &size): (usize, &usize)| {
                let repeats = i < lead || x[i - lead] == 1;
                CopyAxis { size, step: if repeats { 0 } else { own[i - lead] } }
            };
            (out.iter().enumerate().map(axis).collect(), 0)
        }
        Op::Slice(s) => slice(s, layout, &x, &out)?,
        _ => return None,
    };
    let kernel = Strided { element: element(problem.output.dtype), axes, offset };
    let id = format!("move.cpu.strided/{layout}");
    kernel_tactic(id, problem, cpu, kernel, vec![Use::As(layout)], layout)
}

/// Steps of a slice through `x` as `layout` stores it, and its first element.
fn slice(slice: &Slice, layout: Layout, x: &[usize], out: &[usize]) -> Option<(Vec<CopyAxis>, usize)> {
    let sizes = stored_sizes(layout, out);
    let mut offset = 0;
    let mut axes = Vec::with_capacity(sizes.len());
    let own = steps(&stored_sizes(layout, x));
    for ((axis, &size), &own) in stored_axes(layout, x.len()).iter().zip(&sizes).zip(&own) {
        let part = slice.axes.iter().find(|a| Some(a.axis) == *axis);
        let (mut start, step) = match part {
            Some(a) => (a.start.as_usize()?, a.step),
            None => (0, 1),
        };
        if let (Layout::Blocked(b), Some(1)) = (layout, axis) {
            // Whole blocks only; what follows the last channel taken may be anything.
            if part.is_some() && (step != 1 || !start.is_multiple_of(b as usize)) {
                return None;
            }
            start /= b as usize;
        }
        offset += start * own as usize;
        axes.push(CopyAxis { size, step: own.checked_mul(step)? });
    }
    Some((axes, offset))
}

#[cfg(test)]
#[path = "move_strided_tests.rs"]
mod tests;
