//! `pool.cuda`: pools over one to three spatial axes with any epilogue, on CUDA.
//!
//! `pool.cuda/nhwc.v8` has threads compute 8 channels of a position; `pool.cuda/plain.v1` takes positions of planes;
//! `pool.cuda/nhwc-plain.v1` changes the layout too, of small results. Floats, and for the largest element integers. No
//! scratch.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Pool, PoolKind, Problem};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::Layout;

use crate::pointwise_cuda::{After, bytes, epilogue, launch, layouts, one_step, spans, vector_of};
use crate::{Family, Tactic};

pub(crate) static FAMILY: PoolCuda = PoolCuda;

pub(crate) struct PoolCuda;

/// Elements of a result whose layout is changed by storing elements one by one, at most.
const TURNED: usize = 1 << 18;

/// Elements of a window that a thread loads before it looks at any.
const AT_ONCE: u32 = 9;

impl Family for PoolCuda {
    fn id(&self) -> &'static str {
        "pool.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Pool(op)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.operands[0].ty.sizes() else { return vec![] };
        let result: usize = problem.result.sizes().unwrap_or_default().iter().product();
        let mut pairs: Vec<(Layout, Layout)> = layouts(&sizes).into_iter().map(|l| (l, l)).collect();
        if pairs.len() > 1 && result <= TURNED {
            pairs.push((Layout::ChannelsLast, Layout::Plain));
        }
        pairs.into_iter().flat_map(|p| serve(problem, cuda, op, &sizes, p).unwrap_or_default()).collect()
    }
}

fn serve(
    problem: &Problem,
    cuda: &CudaInfo,
    op: &Pool,
    input: &[usize],
    (layout, to): (Layout, Layout),
) -> Option<Vec<Tactic>> {
    let after = epilogue(problem, layout, to)?;
    let inner = if layout == Layout::ChannelsLast { input[1] } else { 1 };
    let mut vectors = if layout == to { vec![8u32, 4, 2, 1] } else { vec![1] };
    let widest = vector_of(problem.result.dtype);
    vectors.retain(|&v| v <= widest && inner.is_multiple_of(v as usize) && after.grid.vector(v) == v);
    // The narrowest only where nothing else fits.
    if vectors.len() > 1 {
        vectors.retain(|&v| v > 1);
    }
    let one = |v: u32| tactic(problem, cuda, op, input, (layout, to), &after, inner, v);
    Some(vectors.into_iter().filter_map(one).collect())
}

#[expect(clippy::too_many_arguments, reason = "the parameters of one launch")]
fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    op: &Pool,
    input: &[usize],
    (layout, to): (Layout, Layout),
    after: &After,
    inner: usize,
    v: u32,
) -> Option<Tactic> {
    let output = problem.result.sizes()?;
    let lead = 3usize.checked_sub(op.window.len())?;
    let number = |n: usize| i32::try_from(n).ok().filter(|&n| n < 1 << 30);
    // Axes z, y, x; absent ones lead, one element long.
    let three = |of: &dyn Fn(usize) -> usize, absent: usize| -> Option<[i32; 3]> {
        let mut out = [0; 3];
        for (axis, o) in out.iter_mut().enumerate() {
            *o = number(axis.checked_sub(lead).map_or(absent, of))?;
        }
        Some(out)
    };
    let extent = |i: usize| input[2 + i].saturating_add(op.pads[i].0).saturating_add(op.pads[i].1);
    // A position of a window is a 32-bit number, whatever the strides.
    for i in 0..op.window.len() {
        let reach = output[2 + i].checked_mul(op.strides[i])?.checked_add(op.window[i].checked_mul(op.dilations[i])?)?;
        number(reach)?;
    }
    let outputs = three(&|i| output[2 + i], 1)?;
    let packs = (inner as u32) / v;
    let (kind, p) = match op.kind {
        PoolKind::Max => (0, 0),
        PoolKind::Average { count_pad: false } => (1, 0),
        PoolKind::Average { count_pad: true } => (2, 0),
        PoolKind::Lp { p } => (3, p),
    };
    let work = after.grid.elements() / v;
    let mut arguments = [packs, outputs[2] as u32, outputs[1] as u32, outputs[0] as u32]
        .into_iter()
        .fold(Arguments::new(), |a, n| a.divisor(Divisor::new(n)));
    let window = three(&|i| op.window[i], 1)?.map(i32::unsigned_abs);
    let at_once = window.iter().try_fold(1u32, |a, &n| a.checked_mul(n)).is_some_and(|n| n <= AT_ONCE);
    for list in [
        three(&|i| input[2 + i], 1)?,
        three(&|i| op.window[i], 1)?,
        three(&|i| op.strides[i], 1)?,
        three(&|i| op.pads[i].0, 0)?,
        three(&|i| op.dilations[i], 1)?,
        three(&extent, 1)?,
    ] {
        arguments = list.into_iter().fold(arguments, Arguments::i32);
    }
    arguments = arguments.u32(inner as u32).u32(work).u32(p);
    let mut args = spans(problem.operands.len() + 1);
    args.extend([bytes(arguments), bytes(after.grid.arguments())]);
    let launch = launch(cuda, sources::POOL, work, 128, args);
    let turned = layout != to;
    let code = sources::pool(&after.text, problem.result.dtype, kind, v, at_once.then_some(window), turned);
    let layouts = if turned { format!("{layout}-{to}") } else { layout.to_string() };
    one_step(format!("pool.cuda/{layouts}.v{v}"), problem, &after.passes, to, code, launch)
}

#[cfg(test)]
#[path = "pool_cuda_tests.rs"]
mod tests;
