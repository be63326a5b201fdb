//! `move.cuda.strided`: transposes, slices and broadcasts, on CUDA, any type, no scratch.
//!
//! `move.cuda.strided/nhwc` copies by steps through the input in units of up to 16 bytes; `move.cuda.strided/tiled`
//! permutes by tiles in shared memory where the last axis moves; `move.cuda.strided/copy` copies a constant under
//! another shape. Slices also work on channels last.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Slice};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::{Growth, Layout};

use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::move_strided::{stored_axes, stored_sizes};
use crate::pointwise_cuda::{bytes, launch, layouts, spans, whole_step};
use crate::{COPY_KERNEL, Family, Tactic, copy_params};

pub(crate) static FAMILY: StridedCuda = StridedCuda;

pub(crate) struct StridedCuda;

impl Family for StridedCuda {
    fn id(&self) -> &'static str {
        "move.cuda.strided"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|_| problem.epilogue.is_identity()) else { return vec![] };
        let (Some(out), Some(x)) = (problem.output.sizes(), problem.operands.first().and_then(|o| o.ty.sizes()))
        else {
            return vec![];
        };
        match &problem.anchor {
            Op::Reshape(_) | Op::BitCast(_) if problem.operands[0].constant => copy(problem).into_iter().collect(),
            Op::Slice(s) => {
                let mut both = layouts(&x);
                both.extend(layouts(&out).into_iter().filter(|l| !layouts(&x).contains(l)));
                let serve = |l| strided(problem, cuda, Moves::slice(s, l, &x, &out)?, l);
                both.into_iter().filter_map(serve).collect()
            }
            Op::Transpose(t) => {
                let Some(moves) = Moves::transpose(&x, &t.perm) else { return vec![] };
                let tiled = tiled(problem, cuda, &moves, "move.cuda.strided/tiled");
                strided(problem, cuda, moves, Layout::Plain).into_iter().chain(tiled).collect()
            }
            Op::Expand(_) => {
                let moves = Moves::expand(&x, &out);
                moves.and_then(|m| strided(problem, cuda, m, Layout::Plain)).into_iter().collect()
            }
            _ => vec![],
        }
    }
}

/// The copy that every device can do.
fn copy(problem: &Problem) -> Option<Tactic> {
    let params = copy_params(problem.output.bytes()?);
    let step = DeviceStep { kernel: COPY_KERNEL, params, code: None, scratch: 0 };
    let uses = vec![Use::As(Layout::Plain)];
    step_tactic("move.cuda.strided/copy".into(), problem, uses, Layout::Plain, Growth::NONE, step)
}

/// An output whose elements are copied from places that are sums of index times step: sizes and steps, outermost
/// first, neighbours joined, none of size 1 unless it is alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moves {
    axes: Vec<(u32, i64)>,
    offset: i64,
}

impl Moves {
    /// `None` when there is nothing to move or too much for kernels.
    pub(crate) fn new(axes: impl IntoIterator<Item = (usize, i64)>, offset: i64) -> Option<Moves> {
        let mut out: Vec<(u32, i64)> = Vec::new();
        let mut elements = 1u64;
        for (size, step) in axes {
            elements = elements.checked_mul(size as u64).filter(|n| (1..1 << 31).contains(n))?;
            match out.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.1 == step * size as i64 => *last = (last.0 * size as u32, step),
                _ => out.push((size as u32, step)),
            }
        }
        if out.is_empty() {
            out.push((1, 1));
        }
        let moves = Moves { axes: out, offset };
        // The farthest places on either side.
        let reach = |sign: i64| moves.axes.iter().map(|a| (i64::from(a.0) - 1) * a.1).filter(|r| r * sign > 0).sum::<i64>();
        let inside = offset + reach(-1) >= 0 && offset + reach(1) < 1 << 31;
        inside.then_some(moves)
    }

    fn transpose(x: &[usize], perm: &[usize]) -> Option<Moves> {
        let own = steps(x);
        Moves::new(perm.iter().map(|&p| (x[p], own[p])), 0)
    }

    fn expand(x: &[usize], out: &[usize]) -> Option<Moves> {
        let (own, lead) = (steps(x), out.len().checked_sub(x.len())?);
        let step = |i: usize| if i < lead || x[i - lead] == 1 { 0 } else { own[i - lead] };
        Moves::new(out.iter().enumerate().map(|(i, &n)| (n, step(i))), 0)
    }

    fn slice(slice: &Slice, layout: Layout, x: &[usize], out: &[usize]) -> Option<Moves> {
        let own = steps(&stored_sizes(layout, x));
        let mut offset = 0i64;
        let mut axes = Vec::new();
        for ((axis, size), own) in stored_axes(layout, x.len()).into_iter().zip(stored_sizes(layout, out)).zip(own) {
            let part = slice.axes.iter().find(|a| Some(a.axis) == axis);
            let (start, step) = match part {
                Some(a) => (i64::try_from(a.start.as_usize()?).ok()?, a.step),
                None => (0, 1),
            };
            offset = offset.checked_add(start.checked_mul(own)?)?;
            axes.push((size, own.checked_mul(step)?));
        }
        Moves::new(axes, offset)
    }

    fn last(&self) -> (u32, i64) {
        self.axes[self.axes.len() - 1]
    }

    /// The same in the largest units that it allows, and their bytes.
    fn in_units(mut self, element: u32) -> (Moves, u32) {
        let mut times = 16 / element;
        let before = self.axes.len() - 1;
        let fits = |m: &Moves, t: i64| {
            let (size, step) = m.last();
            let others = m.axes[..before].iter().all(|a| a.1 % t == 0);
            t == 1 || (step == 1 && i64::from(size) % t == 0 && others && m.offset % t == 0)
        };
        while !fits(&self, i64::from(times)) {
            times /= 2;
        }
        self.axes[..before].iter_mut().for_each(|a| a.1 /= i64::from(times));
        self.axes[before].0 /= times;
        self.offset /= i64::from(times);
        (self, element * times)
    }
}

/// Row-major steps.
fn steps(sizes: &[usize]) -> Vec<i64> {
    let mut out = vec![1i64; sizes.len()];
    for i in (1..sizes.len()).rev() {
        out[i - 1] = out[i].saturating_mul(sizes[i] as i64);
    }
    out
}

/// A copy by steps.
fn strided(problem: &Problem, cuda: &CudaInfo, moves: Moves, layout: Layout) -> Option<Tactic> {
    let id = format!("move.cuda.strided/{layout}");
    strided_as(id, problem, cuda, moves, layout)
}

pub(crate) fn strided_as(
    id: String,
    problem: &Problem,
    cuda: &CudaInfo,
    moves: Moves,
    layout: Layout,
) -> Option<Tactic> {
    let (moves, unit) = moves.in_units(problem.output.dtype.size() as u32);
    let units = moves.axes.iter().map(|a| a.0).product();
    let mut arguments = moves.axes.iter().fold(Arguments::new(), |a, x| a.divisor(Divisor::new(x.0)));
    for &(_, step) in &moves.axes {
        arguments = arguments.i32(i32::try_from(step).ok()?);
    }
    arguments = arguments.u32(u32::try_from(moves.offset).ok()?).u32(units);
    let mut args = spans(2);
    args.push(bytes(arguments));
    let launch = launch(cuda, sources::STRIDED, units, 256, args);
    whole_step(id, problem, layout, sources::strided(unit, moves.axes.len()), vec![launch])
}

/// The launch of a permutation by tiles, with its code: for one that moves the last axis.
pub(crate) fn tiles(
    cuda: &CudaInfo,
    moves: &Moves,
    element: u32,
) -> Option<(tactician_device::CodeSource, tactician_cuda::Launch)> {
    let out_steps: Vec<u32> = {
        let sizes: Vec<usize> = moves.axes.iter().map(|a| a.0 as usize).collect();
        steps(&sizes).into_iter().map(|s| s as u32).collect()
    };
    let (rows, row_step) = moves.last();
    let across = moves.axes.iter().position(|a| a.1 == 1)?;
    if across == moves.axes.len() - 1 || moves.axes.iter().any(|a| a.1 <= 0) {
        return None;
    }
    let columns = moves.axes[across].0;
    let (row_step, column_step) = (u32::try_from(row_step).ok()?, out_steps[across]);
    let mut batch: Vec<(u32, u32, u32)> = (moves.axes.iter().zip(&out_steps).enumerate())
        .filter(|&(i, _)| i != across && i != moves.axes.len() - 1)
        .map(|(_, (a, &out))| Some((a.0, u32::try_from(a.1).ok()?, out)))
        .collect::<Option<_>>()?;
    if batch.is_empty() {
        batch.push((1, 0, 0));
    }
    let mut pack = (4 / element).max(1);
    let steps = batch.iter().flat_map(|b| [b.1, b.2]).chain([rows, columns, row_step, column_step]);
    if steps.into_iter().any(|s| !s.is_multiple_of(pack)) {
        pack = 1;
    }
    let tile = 32 * pack;
    let (across, down) = (columns.div_ceil(tile), rows.div_ceil(tile));
    let mut arguments = batch.iter().fold(Arguments::new(), |a, b| a.divisor(Divisor::new(b.0)));
    arguments = arguments.divisor(Divisor::new(across)).divisor(Divisor::new(down));
    arguments = batch.iter().fold(arguments, |a, b| a.u32(b.1));
    arguments = batch.iter().fold(arguments, |a, b| a.u32(b.2));
    arguments = arguments.u32(row_step).u32(column_step).u32(rows).u32(columns);
    let blocks = batch.iter().try_fold(across.checked_mul(down)?, |n, b| n.checked_mul(b.0))?;
    let mut args = spans(2);
    args.push(bytes(arguments));
    let mut launch = launch(cuda, sources::TRANSPOSE, 1, 256, args);
    launch.grid = [blocks, 1, 1];
    (blocks < 1 << 31).then_some((sources::transpose(element, pack, batch.len()), launch))
}

fn tiled(problem: &Problem, cuda: &CudaInfo, moves: &Moves, id: &str) -> Option<Tactic> {
    let (code, launch) = tiles(cuda, moves, problem.output.dtype.size() as u32)?;
    whole_step(id.into(), problem, Layout::Plain, code, vec![launch])
}

#[cfg(test)]
#[path = "move_strided_cuda_tests.rs"]
mod tests;
