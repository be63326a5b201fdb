//! `matmul.cuda.gemv`: a few rows times a matrix whose rows run along the depth: fully connected layers at small batches,
//! bound by reading the matrix.
//!
//! `w4` warps share the depth of `o2` neighbouring outputs. Source: `kernels/cuda/gemm/gemv.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::Problem;
use tactician_kernels::gemm_epilogue::stored_type;
use tactician_kernels::source;
use tactician_types::{Growth, Layout};

use crate::conv_cuda_mma::{Epilogue, has_clusters, has_tensor_cores, words};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::matmul_cuda_mma::{Matrices, columns_epilogue};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulGemv = MatMulGemv;

pub(crate) struct MatMulGemv;

/// Rows that one block computes, at most.
const ROWS: usize = 4;

/// With more rows than this, tiles read less.
const MOST_ROWS: usize = 16;

/// Warps and outputs of a block.
const SHAPES: &[(usize, usize)] = &[(8, 1), (8, 2), (4, 2), (4, 4), (2, 2), (2, 4), (1, 4)];

impl Family for MatMulGemv {
    fn id(&self) -> &'static str {
        "matmul.cuda.gemv"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        let Some(p) = Matrices::new(problem) else { return vec![] };
        if !p.axes.is_empty() || p.a_along_m || p.b_along_n || p.m > MOST_ROWS {
            return vec![];
        }
        let Some(epilogue) = columns_epilogue(problem) else { return vec![] };
        SHAPES.iter().filter_map(|&shape| tactic(problem, cuda, &p, &epilogue, shape)).collect()
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    p: &Matrices,
    epilogue: &Epilogue,
    (warps, outputs): (usize, usize),
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let widest = 16 / dtype.size();
    let v = [8, 4, 2, 1].into_iter().find(|&v| v <= widest && p.k.is_multiple_of(v))?;
    // Every warp has something to read.
    if warps > 1 && (warps - 1) * 32 * v >= p.k {
        return None;
    }
    let rows = p.m.min(ROWS);
    let output = problem.operands.len() as u16;
    let defines = [
        ("ELEMENT", stored_type(dtype)? as usize),
        ("VECTOR", v),
        ("WARPS", warps),
        ("OUTPUTS", outputs),
        ("ROWS", rows),
        ("CONSTANT_B", usize::from(p.constant_b)),
    ]
    .map(|(name, value)| format!("{name}={value}"));
    let mut args = vec![
        LaunchArg::Span(0),
        LaunchArg::Span(1),
        LaunchArg::Span(output),
        words(&[&[p.m, p.n, p.k].map(|x| x as u32)]),
    ];
    args.extend(epilogue.args(2));
    let launch = Launch {
        entry: "gemm_gemv".into(),
        grid: [p.n.div_ceil(outputs) as u32, p.m.div_ceil(rows) as u32, 1],
        block: [warps as u32 * 32, 1, 1],
        cluster: [1; 3],
        shared: (warps * rows * outputs * 4) as u32,
        overlaps: has_clusters(cuda),
        args,
    };
    step_tactic(
        format!("matmul.cuda.gemv/w{warps}.o{outputs}"),
        problem,
        epilogue.uses(vec![Use::As(Layout::Plain), p.use_b()]),
        Layout::Plain,
        Growth::NONE,
        DeviceStep::launches(source("gemm/gemv.cu", &epilogue.prelude, &defines), vec![launch], 0),
    )
}
