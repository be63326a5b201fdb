//! `resize.cuda`: resampling of any axes in every mode, in plain layout and channels last, on CUDA, no scratch.
//!
//! Where each output position reads, and with what weights, are tables in the plan, made as `resize.cpu` makes them.
//! Nearest neighbours of any type, the rest on floats.

use std::sync::Arc;

use tactician_cpu::movement::{Resampling, Taps};
use tactician_cuda::LaunchArg;
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Resize, ResizeMode};
use tactician_kernels::{Arguments, Divisor, Grid, sources};
use tactician_types::{Growth, Layout};

use crate::cuda::DeviceStep;
use crate::emission::{Arg, Constants, Emission, EmitError, Packed, StepSpec};
use crate::move_strided::{stored_axes, stored_sizes};
use crate::pointwise_cuda::{bytes, launch, layouts, spans, vector_of};
use crate::resize::how;
use crate::{Family, Tactic};

pub(crate) static FAMILY: ResizeCuda = ResizeCuda;

pub(crate) struct ResizeCuda;

impl Family for ResizeCuda {
    fn id(&self) -> &'static str {
        "resize.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Resize(resize)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let (Some(x), Some(out)) = (problem.operands[0].ty.sizes(), problem.output.sizes()) else { return vec![] };
        if !problem.epilogue.is_identity() || problem.operands[0].constant {
            return vec![];
        }
        layouts(&out).into_iter().filter_map(|l| tactic(problem, cuda, resize, &x, &out, l)).collect()
    }
}

/// A stored axis: elements of input and output, and how it is resampled.
struct Axis {
    from: usize,
    to: usize,
    resampling: Option<Resampling>,
}

/// The stored axes, those that stay joined with their neighbours.
fn axes(resize: &Resize, x: &[usize], out: &[usize], layout: Layout) -> Vec<Axis> {
    let mut list: Vec<Axis> = Vec::new();
    let sizes = stored_sizes(layout, x).into_iter().zip(stored_sizes(layout, out));
    for (axis, (from, to)) in stored_axes(layout, x.len()).into_iter().zip(sizes) {
        let own = resize.axes.iter().find(|a| Some(a.axis) == axis);
        let resampling = own.map(|a| Resampling { scale: a.scale, roi: a.roi });
        match list.last_mut() {
            Some(last) if resampling.is_none() && last.resampling.is_none() => {
                *last = Axis { from: last.from * from, to: last.to * to, resampling };
            }
            _ => list.push(Axis { from, to, resampling }),
        }
    }
    list
}

/// The tables of all resized axes: the words, and for each axis where its table and, within, its weights begin.
fn tables(resize: &Resize, axes: &[Axis]) -> (Vec<u32>, Vec<(u32, u32)>) {
    let (how, coordinates) = how(resize);
    let (mut words, mut begins) = (Vec::new(), Vec::new());
    for axis in axes {
        let Some(r) = &axis.resampling else {
            begins.push((0, 0));
            continue;
        };
        let taps = Taps::new(r, how, coordinates, axis.from, axis.to);
        let at = words.len() as u32;
        let mut count = 0;
        words.push(0);
        for o in 0..axis.to {
            count += taps.at(o).len() as u32;
            words.push(count);
        }
        let list = || (0..axis.to).flat_map(|o| taps.at(o));
        words.extend(list().map(|t| t.0));
        words.extend(list().map(|t| t.1.to_bits()));
        begins.push((at, count));
    }
    (words, begins)
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    resize: &Resize,
    x: &[usize],
    out: &[usize],
    layout: Layout,
) -> Option<Tactic> {
    // Checks the numbers of elements.
    let (elements, _) = (Grid::new(out, &[])?.elements(), Grid::new(x, &[])?);
    let dtype = problem.output.dtype;
    let list = axes(resize, x, out, layout);
    let (interpolation, _) = how(resize);
    for axis in &list {
        if let Some(r) = &axis.resampling {
            Taps::check(r, interpolation, axis.from, axis.to).ok()?;
        }
    }
    let nearest = matches!(resize.mode, ResizeMode::Nearest(_));
    let last = list.last()?;
    let mut v = if last.resampling.is_some() { 1 } else { vector_of(dtype) };
    while !last.to.is_multiple_of(v as usize) {
        v /= 2;
    }
    let resized = list.iter().enumerate().filter(|(_, a)| a.resampling.is_some());
    let resized = resized.fold(0u32, |mask, (i, _)| mask | 1 << i);
    let (words, begins) = tables(resize, &list);
    let mut steps = vec![1u32; list.len()];
    for i in (1..list.len()).rev() {
        steps[i - 1] = steps[i] * list[i].from as u32;
    }
    let work = elements / v;
    let mut arguments = list.iter().fold(Arguments::new(), |a, x| a.divisor(Divisor::new(x.to as u32)));
    arguments = steps.iter().fold(arguments, |a, &s| a.u32(s));
    arguments = begins.iter().fold(arguments, |a, b| a.u32(b.0));
    arguments = begins.iter().fold(arguments, |a, b| a.u32(b.1));
    // Integers outside are zero.
    let outside = if dtype.is_float() { resize.extrapolation } else { 0.0 };
    arguments = arguments.u32(work).f32(outside);
    let mut args: Vec<LaunchArg> = spans(3);
    args.push(bytes(arguments));
    let launch = launch(cuda, sources::RESIZE, work, 256, args);
    let code = sources::resize(dtype, list.len(), resized, nearest, v);
    let step = DeviceStep::launches(code, vec![launch], 0);
    let step_code = step.code.clone();
    let table: Arc<Vec<u8>> = Arc::new(bytemuck::cast_slice(&words).to_vec());
    let emit = move |_: &Constants<'_>| -> Result<Emission, EmitError> {
        let packed = Packed { note: "resize tables".into(), bytes: table.clone() };
        let spec = StepSpec {
            kernel: step.kernel,
            params: step.params.clone(),
            inputs: vec![Arg::Operand(0), Arg::Packed(0)],
            outputs: vec![Arg::Output],
            scratch: 0,
            code: step.code.clone(),
        };
        Ok(Emission { steps: vec![spec], packed: vec![packed], view_of: None })
    };
    Some(Tactic {
        id: format!("resize.cuda/{layout}"),
        inputs: vec![layout],
        output: layout,
        workspace: 0,
        growth: Growth::NONE,
        view: false,
        ahead: step_code.into(),
        emit: Arc::new(emit),
    })
}
