//! `reduce.cuda`: reductions over any axes with any epilogue, on CUDA.
//!
//! `reduce.cuda/nhwc-plain.columns.v8`: 8 outputs a thread, neighbours beside each other (a global average pool of
//! channels-last images). `reduce.cuda/plain.rows32.v4`: 32 threads an output, 4 elements at a time. No scratch.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Reduce, ReduceKind};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::Layout;

use crate::pointwise_cpu::stored;
use crate::pointwise_cuda::{After, bytes, epilogue, launch, layouts, one_step, spans, vector_of};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ReduceCuda = ReduceCuda;

pub(crate) struct ReduceCuda;

impl Family for ReduceCuda {
    fn id(&self) -> &'static str {
        "reduce.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Reduce(op)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.operands[0].ty.sizes() else { return vec![] };
        let pairs = layouts(&sizes).into_iter().filter_map(|from| Some((from, target(op, &sizes, from)?)));
        pairs.flat_map(|(from, to)| serve(problem, cuda, op, &sizes, from, to).unwrap_or_default()).collect()
    }
}

/// The layout that the kept axes of `x` stored in `from` are the result in, if any.
fn target(op: &Reduce, sizes: &[usize], from: Layout) -> Option<Layout> {
    let all_spatial = op.axes.len() + 2 == sizes.len() && op.axes.iter().all(|&a| a >= 2);
    match from {
        // Without pixels both layouts are one; plain is what every consumer takes.
        Layout::Plain => Some(Layout::Plain),
        Layout::ChannelsLast if all_spatial => Some(Layout::Plain),
        // Without channels the pixels are in plain order.
        Layout::ChannelsLast if !op.keep_dims && op.axes.contains(&1) => Some(Layout::Plain),
        Layout::ChannelsLast if op.keep_dims => Some(Layout::ChannelsLast),
        _ => None,
    }
}

/// Kept or reduced axes of a stored tensor, neighbours joined: sizes and steps, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Axes(Vec<(u32, u32)>);

impl Axes {
    fn count(&self) -> u32 {
        self.0.iter().map(|a| a.0).product()
    }

    /// Whether its last axis is the tensor's, in packs of `v`, when `other` are the other axes.
    fn packs(&self, other: &Axes, v: u32) -> bool {
        let last = self.0[self.0.len() - 1];
        let steps = self.0[..self.0.len() - 1].iter().chain(&other.0);
        last.1 == 1 && last.0.is_multiple_of(v) && steps.into_iter().all(|a| a.1.is_multiple_of(v))
    }
}

/// The stored axes split into kept and reduced ones.
fn split(sizes: &[usize], reduced: impl Fn(usize) -> bool) -> (Axes, Axes) {
    let (mut step, mut before) = (1u32, None);
    let mut out = [Axes::default(), Axes::default()];
    for (axis, &size) in sizes.iter().enumerate().rev().filter(|(_, s)| **s != 1) {
        let which = usize::from(reduced(axis));
        match out[which].0.last_mut().filter(|_| before == Some(which)) {
            Some(last) => last.0 *= size as u32,
            None => out[which].0.push((size as u32, step)),
        }
        before = Some(which);
        step = step.wrapping_mul(size as u32);
    }
    let [kept, reduced] = out.map(|mut a| {
        a.0.reverse();
        if a.0.is_empty() {
            a.0.push((1, 0));
        }
        a
    });
    (kept, reduced)
}

fn serve(
    problem: &Problem,
    cuda: &CudaInfo,
    op: &Reduce,
    sizes: &[usize],
    from: Layout,
    to: Layout,
) -> Option<Vec<Tactic>> {
    let after = epilogue(problem, from, to)?;
    let rank = sizes.len();
    let logical = |axis: usize| match from {
        Layout::ChannelsLast if axis == rank - 1 => 1,
        Layout::ChannelsLast if axis > 0 => axis + 1,
        _ => axis,
    };
    let (kept, reduced) = split(&stored(sizes, from), |axis| op.axes.contains(&logical(axis)));
    let (outputs, terms) = (kept.count(), reduced.count());
    if terms == 0 || outputs != after.grid.elements() {
        return None;
    }
    let widest = vector_of(problem.result.dtype);
    let fits = |axes: &Axes, other: &Axes| {
        let mut list = vec![8u32, 4, 2, 1];
        list.retain(|&v| v <= widest && (v == 1 || axes.packs(other, v)));
        list
    };
    let mut ways: Vec<(u32, Option<u32>)> = Vec::new();
    let inside = |axes: &Axes| axes.0[axes.0.len() - 1].1 == 1;
    if inside(&reduced) || (outputs <= 1024 && terms >= 4096) || !inside(&kept) {
        let v = fits(&reduced, &kept)[0];
        ways.push((v, Some(32)));
        if terms / v > 32 {
            ways.push((v, Some(256)));
        }
    }
    if inside(&kept) {
        let list = fits(&kept, &reduced);
        let list = list.into_iter().filter(|&v| after.grid.vector(v) == v);
        // The widest, and narrower ones that spread few outputs over more blocks.
        let list = list.enumerate().filter(|&(i, v)| i == 0 || (v != 4 && outputs / v / 32 < cuda.multiprocessors));
        ways.extend(list.map(|(_, v)| (v, None)));
    }
    let one = |(v, lanes)| tactic(problem, cuda, op, (from, to), &after, &kept, &reduced, v, lanes);
    Some(ways.into_iter().filter_map(one).collect())
}

#[expect(clippy::too_many_arguments, reason = "the parameters of one launch")]
fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    op: &Reduce,
    (from, to): (Layout, Layout),
    after: &After,
    kept: &Axes,
    reduced: &Axes,
    v: u32,
    lanes: Option<u32>,
) -> Option<Tactic> {
    let mut arguments = Arguments::new();
    for axes in [kept, reduced] {
        arguments = axes.0.iter().fold(arguments, |a, &(size, _)| a.divisor(Divisor::new(size)));
    }
    for axes in [kept, reduced] {
        arguments = axes.0.iter().fold(arguments, |a, &(_, step)| a.u32(step));
    }
    let (outputs, terms) = (kept.count(), reduced.count());
    arguments = arguments.u32(outputs).u32(terms);
    let kind = match op.kind {
        ReduceKind::Sum => 0,
        ReduceKind::Mean => 1,
        ReduceKind::Max => 2,
        ReduceKind::Min => 3,
        ReduceKind::Prod => 4,
        ReduceKind::SumSquare => 5,
        ReduceKind::L1 => 6,
        ReduceKind::L2 => 7,
        ReduceKind::LogSum => 8,
        ReduceKind::LogSumExp => 9,
    };
    let mut args = spans(problem.operands.len() + 1);
    args.extend([bytes(arguments), bytes(after.grid.arguments())]);
    let layouts = if from == to { format!("{from}") } else { format!("{from}-{to}") };
    let (id, launch) = match lanes {
        Some(n) => {
            let id = format!("reduce.cuda/{layouts}.rows{n}.v{v}");
            (id, launch(cuda, sources::REDUCE_ROWS, outputs.checked_mul(n)?, 256, args))
        }
        None => {
            // A block has 32 threads beside each other.
            let mut one = launch(cuda, sources::REDUCE_COLUMNS, outputs / v, 32, args);
            one.block = [256, 1, 1];
            (format!("reduce.cuda/{layouts}.columns.v{v}"), one)
        }
    };
    let axes = (kept.0.len(), reduced.0.len());
    let code = sources::reduce(&after.text, problem.result.dtype, kind, axes, v, lanes);
    one_step(id, problem, &after.passes, to, code, launch)
}

#[cfg(test)]
#[path = "reduce_cuda_tests.rs"]
mod tests;
