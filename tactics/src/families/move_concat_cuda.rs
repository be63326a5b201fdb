//! `move.cuda.concat`: joins row by row, in plain layout and channels last, on CUDA, any type, no scratch.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::{Arguments, Divisor, Grid, sources};
use tactician_types::Layout;

use crate::move_strided::{stored_axes, stored_sizes};
use crate::pointwise_cuda::{bytes, launch, layouts, whole_step};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConcatCuda = ConcatCuda;

pub(crate) struct ConcatCuda;

/// Most operands that one launch joins.
const MOST: usize = 16;

impl Family for ConcatCuda {
    fn id(&self) -> &'static str {
        "move.cuda.concat"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Concat(concat)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.output.sizes() else { return vec![] };
        if !problem.epilogue.is_identity() {
            return vec![];
        }
        let serve = |l| tactic(problem, cuda, concat.axis, &sizes, l);
        layouts(&sizes).into_iter().filter_map(serve).collect()
    }
}

fn tactic(problem: &Problem, cuda: &CudaInfo, axis: usize, out: &[usize], layout: Layout) -> Option<Tactic> {
    // Checks the number of elements.
    Grid::new(out, &[])?;
    let at = stored_axes(layout, out.len()).iter().position(|a| *a == Some(axis))?;
    let element = problem.output.dtype.size();
    let part = |sizes: &[usize]| -> usize { stored_sizes(layout, sizes)[at..].iter().product::<usize>() * element };
    let parts: Option<Vec<usize>> = problem.operands.iter().map(|o| Some(part(&o.ty.sizes()?))).collect();
    let parts = parts.filter(|p| p.iter().all(|&b| b > 0))?;
    let mut unit = 16;
    while parts.iter().any(|p| !p.is_multiple_of(unit)) {
        unit /= 2;
    }
    let rows = stored_sizes(layout, out)[..at].iter().product::<usize>() as u32;
    let parts: Vec<u32> = parts.iter().map(|&p| (p / unit) as u32).collect();
    let row = parts.iter().sum();
    let count = parts.len().min(MOST);
    let mut start = 0;
    let mut launches: Vec<Launch> = Vec::new();
    for (chunk, own) in parts.chunks(count).enumerate() {
        // Places without an operand are never asked for.
        let place = |i: usize| own.get(i).copied().unwrap_or(1);
        let mut arguments = (0..count).fold(Arguments::new(), |a, i| a.divisor(Divisor::new(place(i))));
        for i in 0..count {
            arguments = arguments.u32(start);
            start += own.get(i).copied().unwrap_or(0);
        }
        arguments = arguments.u32(rows).u32(row);
        let span = |i: usize| LaunchArg::Span((chunk * count + i.min(own.len() - 1)) as u16);
        let mut args: Vec<LaunchArg> = (0..count).map(span).collect();
        args.push(LaunchArg::Span(parts.len() as u16));
        args.push(bytes(arguments));
        let longest = own.iter().copied().max()?;
        let mut launch = launch(cuda, sources::CONCAT, rows.checked_mul(longest)?, 256, args);
        launch.grid[1] = own.len() as u32;
        launches.push(launch);
    }
    let code = sources::concat(unit as u32, count);
    whole_step(format!("move.cuda.concat/{layout}"), problem, layout, code, launches)
}
