//! `reformat.cuda`: changes of layout, which the identity on one operand stands for, on CUDA, any type, no scratch.
//!
//! `reformat.cuda/plain.nhwc` moves tiles through shared memory, `reformat.cuda/plain.nhwc.thin` few channels through
//! registers. Where both layouts have the same bytes the plan gets no step. `reformat.cuda/plain.plain` copies.

use std::sync::Arc;

use tactician_device::{CodeSource, CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::{Growth, Layout};

use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::move_strided_cuda::{Moves, strided_as, tiles};
use crate::pointwise_cuda::{bytes, launch, spans};
use crate::{Ahead, Emission, Family, Tactic};

pub(crate) static FAMILY: ReformatCuda = ReformatCuda;

pub(crate) struct ReformatCuda;

/// Most channels that a thread moves through registers.
const THIN: usize = 8;

impl Family for ReformatCuda {
    fn id(&self) -> &'static str {
        "reformat.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Pointwise(expr)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let [x] = problem.operands.as_slice() else { return vec![] };
        if !expr.is_identity() || !problem.epilogue.is_identity() || x.ty != problem.output {
            return vec![];
        }
        let Some(sizes) = x.ty.sizes() else { return vec![] };
        let elements: usize = sizes.iter().product();
        let copy = Moves::new([(elements, 1)], 0);
        let copy = copy.and_then(|m| strided_as("reformat.cuda/plain.plain".into(), problem, cuda, m, Layout::Plain));
        let mut out: Vec<Tactic> = copy.into_iter().collect();
        if sizes.len() >= 3 && !x.constant {
            for (from, to) in [(Layout::Plain, Layout::ChannelsLast), (Layout::ChannelsLast, Layout::Plain)] {
                out.extend(change(problem, cuda, &sizes, from, to));
            }
        }
        out
    }
}

fn change(problem: &Problem, cuda: &CudaInfo, sizes: &[usize], from: Layout, to: Layout) -> Vec<Tactic> {
    let id = format!("reformat.cuda/{from}.{to}");
    if from.same_bytes(to, sizes) {
        return vec![Tactic {
            id,
            inputs: vec![from],
            output: to,
            workspace: 0,
            growth: Growth::NONE,
            view: true,
            ahead: Ahead::Nothing,
            emit: Arc::new(|_| Ok(Emission { view_of: Some(0), ..Emission::default() })),
        }];
    }
    let element = problem.output.dtype.size() as u32;
    let (images, channels) = (sizes[0], sizes[1]);
    let pixels: usize = sizes[2..].iter().product();
    let (out_axis, in_axis) = match to {
        Layout::Plain => (channels, pixels),
        _ => (pixels, channels),
    };
    // The input's last axis is the output's last but one.
    let axes = [(images, (channels * pixels) as i64), (out_axis, 1), (in_axis, out_axis as i64)];
    let Some(moves) = Moves::new(axes, 0) else { return vec![] };
    let step = |id: String, (code, launch): (CodeSource, tactician_cuda::Launch)| {
        let step = DeviceStep::launches(code, vec![launch], 0);
        step_tactic(id, problem, vec![Use::As(from)], to, Growth::NONE, step)
    };
    let mut out: Vec<Tactic> = Vec::new();
    out.extend(tiles(cuda, &moves, element).and_then(|t| step(id.clone(), t)));
    if channels <= THIN {
        let thin = thin(cuda, images as u32, channels as u32, pixels as u32, element, to == Layout::Plain);
        out.extend(step(format!("{id}.thin"), thin));
    }
    out
}

/// The launch that moves few channels through registers.
fn thin(
    cuda: &CudaInfo,
    images: u32,
    channels: u32,
    pixels: u32,
    element: u32,
    back: bool,
) -> (CodeSource, tactician_cuda::Launch) {
    let mut pack = 16 / element;
    while !pixels.is_multiple_of(pack) {
        pack /= 2;
    }
    let packs = pixels / pack;
    let work = images * packs;
    let arguments = Arguments::new().divisor(Divisor::new(packs)).u32(pixels).u32(work);
    let mut args = spans(2);
    args.push(bytes(arguments));
    let entry = if back { sources::DEINTERLEAVE } else { sources::INTERLEAVE };
    (sources::interleave(element, channels, pack), launch(cuda, entry, work, 128, args))
}
