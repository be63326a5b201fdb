//! `matmul.cuda.simt`: products of matrices on CUDA cores with sums in f32, any sizes.
//!
//! `64x64` is a block's tile, `s4` shares the depth between 4 blocks that leave partial sums in scratch. Source:
//! `kernels/cuda/gemm/simt.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::Problem;
use tactician_kernels::gemm_epilogue::strided_index;
use tactician_kernels::source;
use tactician_types::{DType, Growth, Layout};

use crate::conv_cuda_mma::{divisor, Epilogue, finish_launch, has_clusters, has_tensor_cores, vector, words};
use crate::conv_cuda_simt::{DEPTH, SimtTile, choices};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::matmul_cuda_mma::{Matrices, columns_epilogue};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulSimt = MatMulSimt;

pub(crate) struct MatMulSimt;

impl Family for MatMulSimt {
    fn id(&self) -> &'static str {
        "matmul.cuda.simt"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        let Some(p) = Matrices::new(problem) else { return vec![] };
        let Some(epilogue) = columns_epilogue(problem) else { return vec![] };
        // Tensor cores serve short floats whose rows are whole chunks.
        let row = |along: bool, across: usize| if along { across } else { p.k };
        let chunked =
            row(p.a_along_m, p.m).is_multiple_of(8) && row(p.b_along_n, p.n).is_multiple_of(8) && p.axes.len() <= 3;
        if problem.result.dtype != DType::F32 && chunked {
            return vec![];
        }
        choices(cuda, (p.m, p.n, p.k), p.batches())
            .into_iter()
            .filter_map(|(tile, parts)| tactic(problem, cuda, &p, &epilogue, tile, parts))
            .collect()
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    p: &Matrices,
    epilogue: &Epilogue,
    tile: SimtTile,
    parts: u32,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let count = problem.operands.len() as u16;
    let (output, scratch) = (count, count + 1);
    let v = vector(p.n).min(4);
    let word = |x: usize| x as u32;
    let stages = p.k.div_ceil(DEPTH);
    let tiles_n = p.n.div_ceil(tile.n);
    let tiles = p.m.div_ceil(tile.m) * tiles_n;
    let blocks = tiles.checked_mul(p.batches()).filter(|&b| b < 1 << 31)?;
    let mut defines = tile.defines(dtype, v, parts);
    defines.push(format!("A_ALONG_M={}", u32::from(p.a_along_m)));
    defines.push(format!("B_ALONG_N={}", u32::from(p.b_along_n)));
    let shape = words(&[
        &[p.m, p.n, p.k, p.batches(), stages, stages.div_ceil(parts as usize)].map(word),
        &divisor(word(tiles_n)),
        &divisor(word(tiles)),
    ]);
    let sizes: Vec<usize> = p.axes.iter().map(|a| a.0).collect();
    let a_steps: Vec<usize> = p.axes.iter().map(|a| a.1).collect();
    let b_steps: Vec<usize> = p.axes.iter().map(|a| a.2).collect();
    let prelude = format!(
        "{}{}{}",
        epilogue.prelude,
        strided_index("batch_a", &sizes, &a_steps).ok()?,
        strided_index("batch_b", &sizes, &b_steps).ok()?
    );
    let overlaps = has_clusters(cuda);
    let mut args = vec![
        LaunchArg::Span(0),
        LaunchArg::Span(1),
        LaunchArg::Span(if parts > 1 { scratch } else { output }),
        shape,
    ];
    args.extend(epilogue.args(2));
    let mut launches = vec![Launch {
        entry: "gemm_simt".into(),
        grid: [word(blocks), 1, parts],
        block: [tile.threads(), 1, 1],
        cluster: [1; 3],
        shared: tile.shared(),
        overlaps,
        args,
    }];
    let mut bytes = 0;
    if parts > 1 {
        let rows = (p.batches() * p.m, p.n, p.m);
        launches.push(finish_launch(parts, v, rows, [scratch, output], epilogue.args(2), overlaps));
        bytes = u64::from(parts) * (rows.0 * rows.1) as u64 * 4;
    }
    let split = if parts > 1 { format!(".s{parts}") } else { String::new() };
    step_tactic(
        format!("matmul.cuda.simt/{}x{}{split}", tile.m, tile.n),
        problem,
        epilogue.uses(vec![Use::As(Layout::Plain), p.use_b()]),
        Layout::Plain,
        Growth::NONE,
        DeviceStep::launches(source("gemm/simt.cu", &prelude, &defines), launches, bytes),
    )
}
