//! `matmul.cuda.any`: products of matrices with any epilogue operand that broadcasts, one output a thread: the last
//! resort, so that every product has a tactic without scratch. Source: `kernels/cuda/gemm/any.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm_epilogue::{stored_type, strided_index};
use tactician_kernels::source;
use tactician_types::{Growth, Layout};

use crate::conv_cuda_any::{broadcast_epilogue, broadcast_steps};
use crate::conv_cuda_mma::{has_clusters, has_tensor_cores};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulAny = MatMulAny;

pub(crate) struct MatMulAny;

impl Family for MatMulAny {
    fn id(&self) -> &'static str {
        "matmul.cuda.any"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        any(problem, has_clusters(cuda)).into_iter().collect()
    }
}

fn any(problem: &Problem, overlaps: bool) -> Option<Tactic> {
    let Op::MatMul(op) = &problem.anchor else { return None };
    let dtype = problem.result.dtype;
    let element = stored_type(dtype)?;
    if problem.anchor_inputs().iter().any(|o| o.ty.dtype != dtype) {
        return None;
    }
    let (a, b) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let out = problem.result.sizes()?;
    let rank = out.len().checked_sub(2)?;
    let [m, n] = [out[rank], out[rank + 1]];
    let k = if op.trans_a { a[a.len() - 2] } else { a[a.len() - 1] };
    let scaled = |steps: Vec<usize>, matrix: usize| {
        steps.into_iter().map(|s| s.checked_mul(matrix)).collect::<Option<Vec<usize>>>()
    };
    let a_steps = scaled(broadcast_steps(&a[..a.len() - 2], &out[..rank])?, m.checked_mul(k)?)?;
    let b_steps = scaled(broadcast_steps(&b[..b.len() - 2], &out[..rank])?, n.checked_mul(k)?)?;
    let outputs: usize = out.iter().product();
    let blocks = u32::try_from(outputs.div_ceil(128)).ok().filter(|&b| (1..1 << 31).contains(&b))?;
    let (a_m, a_k) = if op.trans_a { (1, m) } else { (k, 1) };
    let (b_k, b_n) = if op.trans_b { (1, k) } else { (n, 1) };
    let mut shape = (outputs as i64).to_le_bytes().to_vec();
    for v in [m, n, k, a_m, a_k, b_k, b_n] {
        shape.extend(i32::try_from(v).ok()?.to_le_bytes());
    }
    // The struct's alignment is that of its first member.
    shape.resize(shape.len().next_multiple_of(8), 0);
    let count = problem.operands.len() as u16;
    let mut args =
        vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(count), LaunchArg::Bytes(shape)];
    args.extend((2..count).map(LaunchArg::Span));
    let launch = Launch {
        entry: "gemm_any".into(),
        grid: [blocks, 1, 1],
        block: [128, 1, 1],
        cluster: [1; 3],
        shared: 0,
        overlaps,
        args,
    };
    let prelude = format!(
        "{}{}{}",
        broadcast_epilogue(problem)?,
        strided_index("batch_a", &out[..rank], &a_steps).ok()?,
        strided_index("batch_b", &out[..rank], &b_steps).ok()?
    );
    step_tactic(
        "matmul.cuda.any/plain".into(),
        problem,
        problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect(),
        Layout::Plain,
        Growth::NONE,
        DeviceStep::launches(source("gemm/any.cu", &prelude, &[format!("ELEMENT={element}")]), vec![launch], 0),
    )
}
