//! `conv.cuda.any`: convolutions and transposed convolutions over one to three axes, plain layout, any groups, one output
//! a thread: the last resort, so that every convolution has a tactic without scratch. Source: `kernels/cuda/conv/any.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm_epilogue::{Strided, stored_type, strided_epilogue};
use tactician_kernels::source;
use tactician_types::{Growth, Layout};

use crate::conv_cuda_mma::{has_clusters, has_tensor_cores};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvAny = ConvAny;

pub(crate) struct ConvAny;

impl Family for ConvAny {
    fn id(&self) -> &'static str {
        "conv.cuda.any"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        any(problem, has_clusters(cuda)).into_iter().collect()
    }
}

/// The prelude of a kernel that computes one output a thread: any operand that broadcasts.
pub(crate) fn broadcast_epilogue(problem: &Problem) -> Option<String> {
    let sizes = problem.result.sizes()?;
    let mut operands = Vec::new();
    for o in problem.epilogue_inputs() {
        operands.push(Strided { dtype: o.ty.dtype, steps: broadcast_steps(&o.ty.sizes()?, &sizes)? });
    }
    strided_epilogue(&problem.epilogue, problem.result.dtype, &sizes, &operands, problem.output.dtype).ok()
}

/// Elements from one position to the next of a plain operand that broadcasts to `sizes`.
pub(crate) fn broadcast_steps(operand: &[usize], sizes: &[usize]) -> Option<Vec<usize>> {
    let skip = sizes.len().checked_sub(operand.len())?;
    let mut steps = vec![0; sizes.len()];
    let mut step = 1usize;
    for (i, &n) in operand.iter().enumerate().rev() {
        if n != 1 {
            if n != sizes[skip + i] {
                return None;
            }
            steps[skip + i] = step;
        }
        step = step.checked_mul(n)?;
    }
    Some(steps)
}

fn any(problem: &Problem, overlaps: bool) -> Option<Tactic> {
    let (strides, pads, dilations, groups, transposed) = match &problem.anchor {
        Op::Conv(c) => (&c.strides, &c.pads, &c.dilations, c.groups, false),
        Op::ConvTranspose(c) => (&c.strides, &c.pads, &c.dilations, c.groups, true),
        _ => return None,
    };
    let dtype = problem.result.dtype;
    let element = stored_type(dtype)?;
    if problem.anchor_inputs().iter().any(|o| o.ty.dtype != dtype) {
        return None;
    }
    let (x, w) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let out = problem.result.sizes()?;
    let axes = x.len().checked_sub(2).filter(|n| (1..=3).contains(n))?;
    // Absent axes lead and have size 1.
    let three = |of: &dyn Fn(usize) -> usize, absent: usize| -> Option<[u8; 12]> {
        let mut bytes = [0; 12];
        for a in 0..3 {
            let value = (a + axes).checked_sub(3).map_or(absent, of);
            bytes[a * 4..][..4].copy_from_slice(&i32::try_from(value).ok()?.to_le_bytes());
        }
        Some(bytes)
    };
    let window: usize = w[2..].iter().product();
    let outputs: usize = out.iter().product();
    let int = |v: usize| i32::try_from(v).ok().map(i32::to_le_bytes);
    int(window)?;
    let blocks = u32::try_from(outputs.div_ceil(128)).ok().filter(|&b| b < 1 << 31)?;
    if outputs == 0 || groups == 0 {
        return None;
    }
    let mut shape = (outputs as i64).to_le_bytes().to_vec();
    for v in [out[1], out[1] / groups, x[1] / groups] {
        shape.extend(int(v)?);
    }
    shape.extend(three(&|i| x[2 + i], 1)?);
    shape.extend(three(&|i| out[2 + i], 1)?);
    shape.extend(three(&|i| w[2 + i], 1)?);
    shape.extend(three(&|i| strides[i], 1)?);
    shape.extend(three(&|i| pads[i].0, 0)?);
    shape.extend(three(&|i| dilations[i], 1)?);
    // The struct's alignment is that of its first member.
    shape.resize(shape.len().next_multiple_of(8), 0);
    let count = problem.operands.len() as u16;
    let mut args =
        vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(count), LaunchArg::Bytes(shape)];
    args.extend((2..count).map(LaunchArg::Span));
    let launch = Launch {
        entry: "conv_any".into(),
        grid: [blocks, 1, 1],
        block: [128, 1, 1],
        cluster: [1; 3],
        shared: 0,
        overlaps,
        args,
    };
    let prelude = broadcast_epilogue(problem)?;
    let defines = [format!("ELEMENT={element}"), format!("TRANSPOSED={}", u32::from(transposed))];
    step_tactic(
        format!("conv.cuda.any/{}", if transposed { "transposed" } else { "plain" }),
        problem,
        problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect(),
        Layout::Plain,
        Growth::NONE,
        DeviceStep::launches(source("conv/any.cu", &prelude, &defines), vec![launch], 0),
    )
}
