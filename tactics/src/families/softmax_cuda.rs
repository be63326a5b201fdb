//! `softmax.cuda`: softmax and its logarithm along one axis with any epilogue, floats, on CUDA.
//!
//! `softmax.cuda/plain.rows32.v8`: 32 threads a row, 8 elements at a time, where the axis is the last in memory;
//! `softmax.cuda/plain.columns` for any other axis. No scratch.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Softmax};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::Layout;

use crate::pointwise_cpu::stored;
use crate::pointwise_cuda::{bytes, epilogue, launch, layouts, one_step, spans, vector_of};
use crate::{Family, Tactic};

pub(crate) static FAMILY: SoftmaxCuda = SoftmaxCuda;

pub(crate) struct SoftmaxCuda;

impl Family for SoftmaxCuda {
    fn id(&self) -> &'static str {
        "softmax.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Softmax(op)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(sizes) = problem.result.sizes().filter(|_| problem.result.dtype.is_float()) else {
            return vec![];
        };
        layouts(&sizes).into_iter().flat_map(|l| serve(problem, cuda, op, &sizes, l).unwrap_or_default()).collect()
    }
}

fn serve(
    problem: &Problem,
    cuda: &CudaInfo,
    op: &Softmax,
    sizes: &[usize],
    layout: Layout,
) -> Option<Vec<Tactic>> {
    let axis = match (layout, op.axis) {
        (Layout::Plain, axis) if axis < sizes.len() => axis,
        (Layout::ChannelsLast, 1) => sizes.len() - 1,
        (Layout::ChannelsLast, axis) if (2..sizes.len()).contains(&axis) => axis - 1,
        _ => return None,
    };
    let after = epilogue(problem, layout, layout)?;
    let axes = stored(sizes, layout);
    let n = axes[axis] as u32;
    let inner = axes[axis + 1..].iter().product::<usize>() as u32;
    let rows = after.grid.elements() / n;
    let arguments = Arguments::new().u32(n).u32(rows).divisor(Divisor::new(inner));
    let mut args = spans(problem.operands.len() + 1);
    args.extend([bytes(arguments), bytes(after.grid.arguments())]);
    let dtype = problem.result.dtype;
    let tactic = |lanes: Option<u32>, v: u32| {
        let code = sources::softmax(&after.text, dtype, op.log, v, lanes);
        let (id, launch) = match lanes {
            Some(l) => {
                let id = format!("softmax.cuda/{layout}.rows{l}.v{v}");
                (id, launch(cuda, sources::SOFTMAX_ROWS, rows.checked_mul(l)?, 256, args.clone()))
            }
            None => {
                let id = format!("softmax.cuda/{layout}.columns");
                (id, launch(cuda, sources::SOFTMAX_COLUMNS, rows, 128, args.clone()))
            }
        };
        one_step(id, problem, &after.passes, layout, code, launch)
    };
    if inner != 1 {
        return Some(tactic(None, 1).into_iter().collect());
    }
    let mut v = vector_of(dtype);
    while v > 1 && !(n.is_multiple_of(v) && after.grid.vector(v) == v) {
        v /= 2;
    }
    let mut ways = vec![32];
    if n / v > 32 {
        ways.push(256);
    }
    Some(ways.into_iter().filter_map(|l| tactic(Some(l), v)).collect())
}
