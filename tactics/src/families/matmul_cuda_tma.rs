//! `matmul.cuda.tma`: products of matrices on tensor cores of sm_90a, fed by the tensor memory accelerator.
//!
//! `128x256x64` is a block's tile (rows, columns, depth of a stage), `g2` its groups of warps that multiply, `st4` its
//! stages in shared memory, `b2` two blocks of a multiprocessor, `c2` two blocks that share copies of the columns'
//! operand, `e1` that outputs, and an operand of the epilogue of their shape, are copied from and to shared memory, `k4`
//! that four blocks of a cluster share the depth of a tile. Blocks go from tile to tile while copies run ahead. `tf32` says
//! that the tensor cores read 11 bits of f32 operands. Source: `kernels/cuda/gemm/tma.cu`.

use tactician_cuda::{Launch, LaunchArg, TensorMap};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::Problem;
use tactician_kernels::gemm::Product;
use tactician_kernels::source;
use tactician_kernels::gemm_epilogue::Over;
use tactician_kernels::tma::{Outputs, ROW, TmaTile, tma_tiles};
use tactician_types::{DType, Growth, Layout};

use crate::conv_cuda_mma::{Epilogue, divisor, limits, vector, words};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::matmul_cuda_mma::{Matrices, columns_epilogue};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulTma = MatMulTma;

pub(crate) struct MatMulTma;

/// Tactics for one problem, at most.
pub(crate) const MOST: usize = 12;

impl Family for MatMulTma {
    fn id(&self) -> &'static str {
        "matmul.cuda.tma"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_accelerator(c)) else { return vec![] };
        let Some(p) = Matrices::new(problem) else { return vec![] };
        if p.a_along_m || p.b_along_n || p.axes.len() > 1 {
            return vec![];
        }
        let Some(epilogue) = columns_epilogue(problem) else { return vec![] };
        let (_, a_step, b_step) = p.axes.first().copied().unwrap_or((1, 0, 0));
        let rows = Rows {
            m: p.m,
            n: p.n,
            k: p.k,
            batches: p.batches(),
            a_step,
            b_step,
            plane: p.m,
            constant_b: p.constant_b,
        };
        rows.tactics(self.id(), problem, cuda, &epilogue, Layout::Plain, || {
            vec![Use::As(Layout::Plain), p.use_b()]
        })
    }
}

/// Whether the device runs the kernels of `tma.cuh`, and code can be compiled for it.
pub(crate) fn has_accelerator(cuda: &CudaInfo) -> bool {
    cuda.capability == (9, 0) && cuda.nvrtc.is_some()
}

/// How the error of sums on tensor cores may exceed that of additions that round: they truncate, f32 operands to 11 bits
/// too.
pub(crate) fn truncates(dtype: DType) -> Growth {
    let inputs = if dtype == DType::F32 { 2.0 * 2f64.powi(-10) } else { 0.0 };
    Growth { factor: 2.0, inputs, ..Growth::NONE }
}

/// What a tactic's name says of how f32 is multiplied.
pub(crate) fn suffix(dtype: DType) -> &'static str {
    if dtype == DType::F32 { ".tf32" } else { "" }
}

/// Products of matrices whose rows lie along the depth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// How many products.
    pub(crate) batches: usize,
    /// Elements from one matrix of each operand to the next; 0: all products share one.
    pub(crate) a_step: usize,
    pub(crate) b_step: usize,
    /// Rows of an image.
    pub(crate) plane: usize,
    /// Whether the columns' operand is constant.
    pub(crate) constant_b: bool,
}

impl Rows {
    /// Tactics of one launch of `gemm_tma`. Of products so small that most of a tile is empty there are none.
    pub(crate) fn tactics(
        &self,
        family: &str,
        problem: &Problem,
        cuda: &CudaInfo,
        epilogue: &Epilogue,
        output: Layout,
        uses: impl Fn() -> Vec<Use>,
    ) -> Vec<Tactic> {
        let dtype = problem.result.dtype;
        if !(self.k * dtype.size()).is_multiple_of(16) || self.m < 32 || self.n < 16 {
            return vec![];
        }
        let outputs = outputs(problem, epilogue, self.n);
        let product = Product {
            m: self.m as u64,
            n: self.n as u64,
            k: self.k as u64,
            batches: self.batches as u64,
            dtype,
        };
        tma_tiles(&product, &outputs, &limits(cuda), MOST)
            .into_iter()
            .filter_map(|tile| {
                let sizes = [self.n, self.m, self.batches];
                let end = End::new(problem, epilogue, &tile, sizes)?;
                let launch = self.launch(problem, cuda, &end, &tile)?;
                let prelude = format!("{}{}", end.prelude, tile.prelude(dtype));
                let mut defines = end.defines(&tile, dtype);
                defines.push(format!("CONSTANT_B={}", u32::from(self.constant_b)));
                step_tactic(
                    format!("{family}/{}{}", tile.name(dtype), suffix(dtype)),
                    problem,
                    epilogue.uses(uses()),
                    output,
                    truncates(dtype),
                    DeviceStep::launches(source("gemm/tma.cu", &prelude, &defines), vec![launch], 0),
                )
            })
            .collect()
    }

    fn launch(&self, problem: &Problem, cuda: &CudaInfo, end: &End, tile: &TmaTile) -> Option<Launch> {
        let dtype = problem.result.dtype;
        let (tiles_m, tiles_n) = tile.tiles(self.m as u64, self.n as u64);
        let product = tiles_m * tiles_n;
        let tiles = (product * self.batches as u64).try_into().ok().filter(|&t: &u32| t < 1 << 27)?;
        tile.part(tile.stages_of(self.k as u64, dtype))?;
        let count = |step: usize| if step == 0 { 1 } else { self.batches };
        let a = map(0, dtype, [self.k, self.m, count(self.a_step)], self.a_step, tile.m);
        let b = map(1, dtype, [self.k, self.n, count(self.b_step)], self.b_step, tile.n / tile.cluster);
        let shape = words(&[
            &[self.m as u32, self.n as u32, tile.stages_of(self.k as u64, dtype) as u32, tiles],
            &[u32::from(self.a_step > 0), u32::from(self.b_step > 0)],
            &divisor(tiles_n as u32),
            &divisor(product as u32),
            &divisor(self.plane as u32),
        ]);
        let args = end.args([LaunchArg::TensorMap(a), LaunchArg::TensorMap(b)], shape);
        Some(walk(tile, "gemm_tma", tiles, cuda, args, problem.output.dtype))
    }
}

/// What outputs of `n` columns are.
pub(crate) fn outputs(problem: &Problem, epilogue: &Epilogue, n: usize) -> Outputs {
    let dtype = problem.output.dtype;
    Outputs {
        dtype,
        mapped: matches!(dtype.size(), 2 | 4) && (n * dtype.size()).is_multiple_of(16),
        residuals: epilogue.kinds.iter().filter(|k| k.1 == Over::Full).count() as u32,
    }
}

/// How a tile's outputs are computed and stored.
pub(crate) struct End {
    /// Code of the epilogue.
    pub(crate) prelude: String,
    /// Launch arguments of the outputs and the residual, and those of the epilogue's other operands.
    outputs: Vec<LaunchArg>,
    operands: Vec<LaunchArg>,
    vector: u32,
    residual: bool,
}

impl End {
    /// The end of tiles over outputs of `[columns, rows, products]`. The epilogue's operands follow two of the product.
    pub(crate) fn new(problem: &Problem, epilogue: &Epilogue, tile: &TmaTile, sizes: [usize; 3]) -> Option<End> {
        let dtype = problem.output.dtype;
        let span = problem.operands.len() as u16;
        let vector = tile.vector(dtype, vector(sizes[0]));
        let all = epilogue.args(2);
        if tile.slabs == 0 {
            return Some(End {
                prelude: epilogue.prelude.clone(),
                outputs: vec![LaunchArg::Span(span)],
                operands: all.collect(),
                vector,
                residual: false,
            });
        }
        let (prelude, residual) = epilogue.staged(problem)?;
        let size = dtype.size();
        let [rows, columns] = tile.output_box(dtype);
        let map = |span| {
            LaunchArg::TensorMap(TensorMap {
                span,
                element: size as u8,
                sizes: sizes.map(|n| n as u64).to_vec(),
                steps: [sizes[0] * size, sizes[0] * sizes[1] * size].map(|n| n as u64).to_vec(),
                tile: vec![columns, rows, 1],
                swizzle: ROW as u8,
            })
        };
        Some(End {
            prelude,
            outputs: [Some(span), residual.map(|i| 2 + i as u16)].into_iter().flatten().map(map).collect(),
            operands: all.enumerate().filter(|a| Some(a.0) != residual).map(|a| a.1).collect(),
            vector,
            residual: residual.is_some(),
        })
    }

    /// Macros of `tma.cuh`.
    pub(crate) fn defines(&self, tile: &TmaTile, dtype: DType) -> Vec<String> {
        tile.defines(dtype, self.vector, self.residual)
    }

    /// All launch arguments.
    pub(crate) fn args(&self, inputs: [LaunchArg; 2], shape: LaunchArg) -> Vec<LaunchArg> {
        let mut args = inputs.to_vec();
        args.extend(self.outputs.iter().cloned());
        args.push(shape);
        args.extend(self.operands.iter().cloned());
        args
    }
}

/// The launch of blocks that go from tile to tile; tiles of a cluster count as one.
pub(crate) fn walk(
    tile: &TmaTile,
    entry: &str,
    tiles: u32,
    cuda: &CudaInfo,
    args: Vec<LaunchArg>,
    output: DType,
) -> Launch {
    let together = tile.together();
    let at_once = if tile.split > 1 { tiles } else { (cuda.multiprocessors * tile.blocks / together).max(1) };
    Launch {
        entry: entry.into(),
        grid: [tiles.min(at_once) * together, 1, 1],
        block: [tile.threads(), 1, 1],
        cluster: [together, 1, 1],
        shared: tile.shared(output),
        overlaps: true,
        args,
    }
    .spread(cuda)
}

/// A map of matrices of `[depth, rows, matrices]` whose boxes are a stage's part of `rows` rows.
pub(crate) fn map(span: u16, dtype: DType, sizes: [usize; 3], step: usize, rows: u32) -> TensorMap {
    let size = dtype.size();
    let step = if step == 0 { sizes[0] * sizes[1] } else { step };
    TensorMap {
        span,
        element: size as u8,
        sizes: sizes.map(|n| n as u64).to_vec(),
        steps: [sizes[0] * size, step * size].map(|n| n as u64).to_vec(),
        tile: vec![ROW / size as u32, rows, 1],
        swizzle: ROW as u8,
    }
}

#[cfg(test)]
#[path = "matmul_cuda_tma_tests.rs"]
mod tests;
