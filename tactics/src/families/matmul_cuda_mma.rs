//! `matmul.cuda.mma`: products of matrices on tensor cores, sm_80 and up.
//!
//! `64x32x64` is a block's tile (rows, columns, depth of a stage), `w2x2` its warps, `st4` its stages in shared memory; `g2` says
//! that two groups of four warps multiply out of shared memory (sm_90a). `c4`
//! shares the depth between the 4 blocks of a cluster, `s4` between 4 blocks that leave partial sums in scratch.
//! `tf32` rounds f32 operands to 11 bits before multiplying. Source: `kernels/cuda/gemm/mma.cu`.


use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm::{MmaPlan, MmaTile, Product, Split, plans};
use tactician_kernels::gemm_epilogue::{MatrixEpilogue, Over, matrix_epilogue, stored_type};
use tactician_kernels::source;
use tactician_types::{DType, Layout};

use crate::conv_cuda_any::broadcast_steps;
use crate::conv_cuda_mma::{
    divisor, Epilogue, copies_whole_rows, finish_launch, has_clusters, has_tensor_cores, limits, tensor_cores, vector,
    words,
};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::epilogue::{Spread, spreads};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulMma = MatMulMma;

pub(crate) struct MatMulMma;

/// Tactics for one problem, at most.
const MOST: usize = 16;

impl Family for MatMulMma {
    fn id(&self) -> &'static str {
        "matmul.cuda.mma"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        let Some(p) = Matrices::new(problem) else { return vec![] };
        let dtype = problem.result.dtype;
        let chunk = 16 / dtype.size();
        let row_a = if p.a_along_m { p.m } else { p.k };
        let row_b = if p.b_along_n { p.n } else { p.k };
        // 32-bit elements cannot be turned on their way to the tensor cores.
        let turned = dtype == DType::F32 && (p.a_along_m || p.b_along_n);
        if turned || !row_a.is_multiple_of(chunk) || !row_b.is_multiple_of(chunk) || p.axes.len() > 3 {
            return vec![];
        }
        let Some(epilogue) = columns_epilogue(problem) else { return vec![] };
        let product =
            Product { m: p.m as u64, n: p.n as u64, k: p.k as u64, batches: p.batches() as u64, dtype };
        let suits = |t: &MmaTile| {
            if t.groups && (p.a_along_m || p.b_along_n) {
                return false;
            }
            let a = if p.a_along_m { t.fits_along(t.m, dtype) } else { copies_whole_rows(t) };
            let b = if p.b_along_n { t.fits_along(t.n, dtype) } else { copies_whole_rows(t) };
            a && b
        };
        plans(&product, &limits(cuda), MOST, suits)
            .into_iter()
            .filter_map(|plan| tactic(problem, cuda, &p, &epilogue, &plan))
            .collect()
    }
}

/// A product of matrices in numbers that kernels take.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrices {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Batch axes, outermost first, merged where both operands allow: size, and elements from one matrix of `a` and of
    /// `b` to the next.
    pub(crate) axes: Vec<(usize, usize, usize)>,
    /// `a` is stored `[K][M]`.
    pub(crate) a_along_m: bool,
    /// `b` is stored `[K][N]`. Never so when it is constant: then it is packed as `[N][K]`.
    pub(crate) b_along_n: bool,
    /// Whether `b` is constant and stored `[K][N]`.
    pub(crate) turns_b: bool,
    /// Whether `b` is constant.
    pub(crate) constant_b: bool,
}

impl Matrices {
    /// Operands of one type, f32, f16 or bf16, with fewer than 2^30 elements each.
    pub(crate) fn new(problem: &Problem) -> Option<Matrices> {
        let Op::MatMul(op) = &problem.anchor else { return None };
        let dtype = problem.result.dtype;
        stored_type(dtype)?;
        if problem.anchor_inputs().iter().any(|o| o.ty.dtype != dtype) {
            return None;
        }
        let (a, b) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
        let out = problem.result.sizes()?;
        let rank = out.len().checked_sub(2)?;
        let [mut m, n] = [out[rank], out[rank + 1]];
        let k = if op.trans_a { a[a.len() - 2] } else { a[a.len() - 1] };
        for sizes in [&a, &b, &out] {
            let count = sizes.iter().try_fold(1usize, |p, &s| p.checked_mul(s))?;
            if count == 0 || count >= 1 << 30 {
                return None;
            }
        }
        let a_steps = broadcast_steps(&a[..a.len() - 2], &out[..rank])?;
        let b_steps = broadcast_steps(&b[..b.len() - 2], &out[..rank])?;
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        for ((&size, &sa), &sb) in out[..rank].iter().zip(&a_steps).zip(&b_steps) {
            if size == 1 {
                continue;
            }
            let (sa, sb) = (sa * m * k, sb * n * k);
            match axes.last_mut() {
                Some(last) if last.1 == sa * size && last.2 == sb * size => *last = (last.0 * size, sa, sb),
                _ => axes.push((size, sa, sb)),
            }
        }
        // Batches that only `a` has are more rows.
        if let [(size, sa, 0)] = axes[..]
            && !op.trans_a
            && sa == m * k
        {
            m *= size;
            axes.clear();
        }
        let constant_b = problem.operands[1].constant;
        let turns_b = constant_b && !op.trans_b && n > 1 && k > 1;
        // One row or column lies along the depth and across it alike.
        let a_along_m = op.trans_a && m > 1 && k > 1;
        let b_along_n = !op.trans_b && !turns_b && n > 1 && k > 1;
        Some(Matrices { m, n, k, axes, a_along_m, b_along_n, turns_b, constant_b })
    }

    /// How many products there are.
    pub(crate) fn batches(&self) -> usize {
        self.axes.iter().map(|a| a.0).product()
    }

    /// How `b` is passed.
    pub(crate) fn use_b(&self) -> Use {
        if !self.turns_b {
            return Use::As(Layout::Plain);
        }
        let (n, k) = (self.n, self.k);
        Use::packed("rows along the depth", &(k, n), move |t| turn(t.bytes(), k, n, t.dtype().size()))
    }
}

/// Matrices `[rows][columns]` as `[columns][rows]`, elements of `size` bytes.
fn turn(bytes: &[u8], rows: usize, columns: usize, size: usize) -> Result<Vec<u8>, String> {
    if !bytes.len().is_multiple_of(rows * columns * size) {
        return Err(format!("{} bytes are no matrices of {rows} x {columns}", bytes.len()));
    }
    let mut out = Vec::with_capacity(bytes.len());
    for matrix in bytes.chunks_exact(rows * columns * size) {
        for c in 0..columns {
            for r in 0..rows {
                out.extend_from_slice(&matrix[(r * columns + c) * size..][..size]);
            }
        }
    }
    Ok(out)
}

/// The epilogue of a kernel whose columns are the last axis.
pub(crate) fn columns_epilogue(problem: &Problem) -> Option<Epilogue> {
    let rank = problem.result.rank();
    let (mut kinds, mut operands) = (Vec::new(), Vec::new());
    for (operand, spread) in spreads(problem) {
        kinds.push((
            operand.ty.dtype,
            match spread {
                Spread::Full => Over::Full,
                Spread::PerLast => Over::Columns,
                Spread::PerChannel if rank == 2 => Over::Columns,
                Spread::Scalar => Over::Scalar,
                _ => return None,
            },
        ));
        operands.push(Layout::Plain);
    }
    let MatrixEpilogue { prelude, low } =
        matrix_epilogue(&problem.epilogue, problem.result.dtype, &kinds, problem.output.dtype).ok()?;
    Some(Epilogue { prelude, operands, kinds, low })
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    p: &Matrices,
    epilogue: &Epilogue,
    plan: &MmaPlan,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let tile = &plan.tile;
    let count = problem.operands.len() as u16;
    let (output, scratch) = (count, count + 1);
    let (per_block, stages) = plan.stages(p.k as u64, dtype);
    let tiles_n = p.n.div_ceil(tile.n as usize);
    let tiles = p.m.div_ceil(tile.m as usize) * tiles_n;
    let blocks = tiles.checked_mul(p.batches()).filter(|&b| b < 1 << 31)?;
    let parts = plan.split.parts();
    let prelude = format!("{}{}", epilogue.prelude, plan.prelude(dtype));
    let mut defines = plan.defines(dtype, vector(p.n));
    defines.push(format!("A_ALONG_M={}", u32::from(p.a_along_m)));
    defines.push(format!("B_ALONG_N={}", u32::from(p.b_along_n)));
    defines.push(format!("CONSTANT_B={}", u32::from(p.constant_b)));
    let word = |x: usize| x as u32;
    let mut axes = vec![(1, 0, 0); 3 - p.axes.len()];
    axes.extend(&p.axes);
    let shape = words(&[
        &[p.m, p.n, p.k].map(word),
        &[stages as u32, per_block as u32],
        &divisor(word(tiles_n)),
        &divisor(word(tiles)),
        &divisor(word(axes[1].0)),
        &divisor(word(axes[2].0)),
        &[axes[0].1, axes[1].1, axes[2].1].map(word),
        &[axes[0].2, axes[1].2, axes[2].2].map(word),
    ]);
    let partial = matches!(plan.split, Split::Scratch(_));
    let overlaps = has_clusters(cuda);
    let mut args = vec![
        LaunchArg::Span(0),
        LaunchArg::Span(1),
        LaunchArg::Span(if partial { scratch } else { output }),
        shape,
    ];
    args.extend(epilogue.args(2));
    let cluster = if let Split::Cluster(n) = plan.split { n } else { 1 };
    let mut launches = vec![Launch {
        entry: "gemm_mma".into(),
        grid: [word(blocks), 1, parts],
        block: [tile.threads(), 1, 1],
        cluster: [1, 1, cluster],
        shared: tile.shared(),
        overlaps,
        args,
    }
    .spread(cuda)];
    let mut bytes = 0;
    if partial {
        let rows = (p.batches() * p.m, p.n, p.m);
        launches.push(finish_launch(parts, vector(p.n), rows, [scratch, output], epilogue.args(2), overlaps));
        bytes = u64::from(parts) * (rows.0 * rows.1) as u64 * 4;
    }
    let tf32 = if dtype == DType::F32 { ".tf32" } else { "" };
    step_tactic(
        format!("matmul.cuda.mma/{}{tf32}", plan.name(dtype)),
        problem,
        epilogue.uses(vec![Use::As(Layout::Plain), p.use_b()]),
        Layout::Plain,
        tensor_cores(dtype),
        DeviceStep::launches(source("gemm/mma.cu", &prelude, &defines), launches, bytes),
    )
}

#[cfg(test)]
#[path = "matmul_cuda_mma_tests.rs"]
mod tests;
