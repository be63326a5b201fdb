//! `move.cuda.pad`: borders, in plain layout and channels last, on CUDA, any type, no scratch.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Pad, PadMode, Problem};
use tactician_kernels::{Arguments, Divisor, Grid, sources};
use tactician_types::{DType, Layout, Scalar, bf16_of, f16_of};

use crate::move_strided::{stored_axes, stored_sizes};
use crate::pointwise_cuda::{bytes, launch, layouts, spans, whole_step};
use crate::{Family, Tactic};

pub(crate) static FAMILY: PadCuda = PadCuda;

pub(crate) struct PadCuda;

impl Family for PadCuda {
    fn id(&self) -> &'static str {
        "move.cuda.pad"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Pad(pad)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let (Some(out), Some(x)) = (problem.output.sizes(), problem.operands[0].ty.sizes()) else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        layouts(&out).into_iter().filter_map(|l| tactic(problem, cuda, pad, &x, &out, l)).collect()
    }
}

/// An axis: elements of the input, and of its borders before and after.
type Axis = (u32, u32, u32);

/// The stored axes, those without borders joined with the axis before them.
fn joined(axes: impl Iterator<Item = Axis>) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for (size, before, after) in axes.filter(|&a| a != (1, 0, 0)) {
        match out.last_mut() {
            Some(last) if before == 0 && after == 0 => *last = (last.0 * size, last.1 * size, last.2 * size),
            _ => out.push((size, before, after)),
        }
    }
    if out.is_empty() {
        out.push((1, 0, 0));
    }
    out
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    pad: &Pad,
    x: &[usize],
    out: &[usize],
    layout: Layout,
) -> Option<Tactic> {
    // Checks the numbers of elements.
    let (units, _) = (Grid::new(out, &[])?.elements(), Grid::new(x, &[])?);
    let constant = matches!(pad.mode, PadMode::Constant(_));
    let axes = stored_axes(layout, x.len()).into_iter().zip(stored_sizes(layout, x)).map(|(axis, size)| {
        let (before, after) = axis.map_or((0, 0), |a| pad.pads[a]);
        (size as u32, before as u32, after as u32)
    });
    // Other modes fill borders with single elements of an axis, so only constants allow joining with bordered axes.
    let mut axes = if constant { joined(axes) } else { axes.collect() };
    let element = problem.output.dtype.size() as u32;
    let mut times = 1;
    if let Some(last) = axes.last_mut() {
        let whole = last.1 == 0 && last.2 == 0;
        if constant || whole {
            times = 16 / element;
            while ![last.0, last.1, last.2].iter().all(|n| n.is_multiple_of(times)) {
                times /= 2;
            }
            *last = (last.0 / times, last.1 / times, last.2 / times);
        }
    }
    let (mode, fill) = match pad.mode {
        PadMode::Constant(c) => (0, bits(c)?),
        PadMode::Reflect => (1, vec![0; element as usize]),
        PadMode::Edge => (2, vec![0; element as usize]),
        PadMode::Wrap => (3, vec![0; element as usize]),
    };
    let mut arguments = axes.iter().fold(Arguments::new(), |a, x| a.divisor(Divisor::new(x.0 + x.1 + x.2)));
    arguments = axes.iter().fold(arguments, |a, x| a.i32(x.0 as i32));
    arguments = axes.iter().fold(arguments, |a, x| a.i32(x.1 as i32));
    let mut steps = vec![1u32; axes.len()];
    for i in (1..axes.len()).rev() {
        steps[i - 1] = steps[i] * axes[i].0;
    }
    arguments = steps.iter().fold(arguments, |a, &s| a.u32(s));
    let units = units / times;
    arguments = arguments.u32(units);
    let pattern: Vec<u8> = fill.iter().copied().cycle().take(16).collect();
    for word in pattern.chunks_exact(4) {
        arguments = arguments.u32(u32::from_ne_bytes(word.try_into().ok()?));
    }
    let mut args = spans(2);
    args.push(bytes(arguments));
    let launch = launch(cuda, sources::PAD, units, 256, args);
    let code = sources::pad(element * times, axes.len(), mode);
    whole_step(format!("move.cuda.pad/{layout}"), problem, layout, code, vec![launch])
}

/// The bytes of a constant, rounded to its type.
fn bits(c: Scalar) -> Option<Vec<u8>> {
    Some(match c.dtype {
        DType::F32 => (c.as_f64() as f32).to_ne_bytes().to_vec(),
        DType::F64 => c.as_f64().to_ne_bytes().to_vec(),
        DType::F16 => f16_of(c.as_f64()).to_ne_bytes().to_vec(),
        DType::BF16 => bf16_of(c.as_f64()).to_ne_bytes().to_vec(),
        DType::Bool => vec![u8::from(c.as_i64() != 0)],
        t if t.is_narrow() => vec![c.as_i64() as u8],
        // The low bytes come first on every host that drives a GPU.
        t if t.is_int() => c.as_i64().to_le_bytes()[..t.size()].to_vec(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_axes_without_borders() {
        let join = |axes: &[Axis]| joined(axes.iter().copied());
        assert_eq!(join(&[(2, 0, 0), (5, 1, 2), (7, 1, 1), (8, 0, 0)]), [(2, 0, 0), (5, 1, 2), (56, 8, 8)]);
        assert_eq!(join(&[(1, 0, 0), (1, 0, 0)]), [(1, 0, 0)]);
        assert_eq!(join(&[(1, 0, 0), (1, 2, 0), (3, 0, 0)]), [(3, 6, 0)]);
    }
}
