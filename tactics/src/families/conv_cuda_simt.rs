//! `conv.cuda.simt`: convolutions over images on CUDA cores, channels last: f32 without any shortened product, and the
//! channel counts and groups of short floats that tensor cores do not take.
//!
//! `64x64` is a block's tile (pixels, filters), `s4` shares the depth between 4 blocks that leave partial sums in
//! scratch. Source: `kernels/cuda/conv/simt.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm_epilogue::stored_type;
use tactician_kernels::source;
use tactician_types::{DType, Growth, Layout};

use crate::conv_cuda_mma::{divisor, Epilogue, Image, finish_launch, has_clusters, has_tensor_cores, vector, words};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvSimt = ConvSimt;

pub(crate) struct ConvSimt;

/// A block's tile, and a thread's part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimtTile {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) thread: (usize, usize),
}

/// Depth of a stage.
pub(crate) const DEPTH: usize = 16;

/// Large ones first.
pub(crate) const TILES: &[SimtTile] = &[
    SimtTile { m: 128, n: 128, thread: (8, 8) },
    SimtTile { m: 128, n: 64, thread: (8, 4) },
    SimtTile { m: 64, n: 64, thread: (4, 4) },
    SimtTile { m: 64, n: 32, thread: (4, 4) },
    SimtTile { m: 32, n: 32, thread: (4, 4) },
];

impl SimtTile {
    pub(crate) fn threads(&self) -> u32 {
        (self.m / self.thread.0 * (self.n / self.thread.1)) as u32
    }

    /// Shared memory in bytes: two stages of both operands.
    pub(crate) fn shared(&self) -> u32 {
        (2 * DEPTH * (self.m + 4 + self.n + 4) * 4) as u32
    }

    /// Macros that both kernels on CUDA cores take.
    pub(crate) fn defines(&self, dtype: DType, vector: u32, parts: u32) -> Vec<String> {
        [
            ("TILE_M", self.m as u32),
            ("TILE_N", self.n as u32),
            ("TILE_K", DEPTH as u32),
            ("THREAD_M", self.thread.0 as u32),
            ("THREAD_N", self.thread.1 as u32),
            ("ELEMENT", stored_type(dtype).unwrap_or(0)),
            ("VECTOR", vector),
            ("PARTIAL", u32::from(parts > 1)),
        ]
        .map(|(name, value)| format!("{name}={value}"))
        .to_vec()
    }
}

/// Tiles and parts of the depth that are worth measuring for products of `m` x `n` over a depth of `k`, `batches` of
/// them. One without scratch is among them.
pub(crate) fn choices(
    cuda: &CudaInfo,
    (m, n, k): (usize, usize, usize),
    batches: usize,
) -> Vec<(SimtTile, u32)> {
    let processors = cuda.multiprocessors.max(1) as usize;
    let stages = k.div_ceil(DEPTH);
    let mut out = Vec::new();
    for (at, tile) in TILES.iter().enumerate() {
        let smallest = at + 1 == TILES.len();
        if !smallest && (tile.m / 2 >= m || tile.n / 2 >= n) {
            continue;
        }
        let blocks = m.div_ceil(tile.m).saturating_mul(n.div_ceil(tile.n)).saturating_mul(batches);
        for parts in [1, 2, 4, 8, 16] {
            let per_block = stages.div_ceil(parts);
            let fills = blocks.saturating_mul(parts) <= 4 * processors;
            if parts > 1 && (per_block < 4 || per_block * (parts - 1) >= stages || !fills) {
                continue;
            }
            // Few blocks that do everything themselves only make sense where nothing smaller is left.
            if parts == 1 && !smallest && blocks * 4 < processors && stages > 8 {
                continue;
            }
            out.push((*tile, parts as u32));
        }
    }
    out
}

impl Family for ConvSimt {
    fn id(&self) -> &'static str {
        "conv.cuda.simt"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Conv(_)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(image) = Image::new(problem) else { return vec![] };
        let dtype = problem.result.dtype;
        let chunked = image.groups == 1 && image.channels.is_multiple_of(16 / dtype.size());
        if !has_tensor_cores(cuda) || image.groups > 65535 || dtype != DType::F32 && chunked {
            return vec![];
        }
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        let sizes = (image.pixels(), image.filters / image.groups, image.depth());
        choices(cuda, sizes, image.groups)
            .into_iter()
            .filter_map(|(tile, parts)| tactic(problem, cuda, &image, &epilogue, tile, parts))
            .collect()
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    tile: SimtTile,
    parts: u32,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let count = problem.operands.len() as u16;
    let (output, scratch) = (count, count + 1);
    let (channels, filters) = (image.channels / image.groups, image.filters / image.groups);
    let v = vector(filters).min(4);
    let load = if channels.is_multiple_of(4) { 4 } else { 1 };
    let stages = image.depth().div_ceil(DEPTH);
    let tiles_m = image.pixels().div_ceil(tile.m);
    let tiles_n = filters.div_ceil(tile.n);
    let word = |x: usize| x as u32;
    let mut defines = tile.defines(dtype, v, parts);
    defines.push(format!("LOAD={load}"));
    let shape = words(&[
        &[image.input[0], image.input[1], image.channels, image.filters].map(word),
        &image.strides.map(word),
        &image.pads.map(word),
        &image.dilations.map(word),
        &[image.pixels(), image.depth(), filters].map(word),
        &[parts, word(stages), word(stages.div_ceil(parts as usize))],
        &divisor(word(channels)),
        &divisor(word(image.window[1])),
        &divisor(word(image.output[0] * image.output[1])),
        &divisor(word(image.output[1])),
        &divisor(word(tiles_n)),
    ]);
    let overlaps = has_clusters(cuda);
    let mut args = vec![
        LaunchArg::Span(0),
        LaunchArg::Span(1),
        LaunchArg::Span(if parts > 1 { scratch } else { output }),
        shape,
    ];
    args.extend(epilogue.args(2));
    let mut launches = vec![Launch {
        entry: "conv_simt".into(),
        grid: [word(tiles_m.checked_mul(tiles_n).filter(|&b| b < 1 << 31)?), word(image.groups), parts],
        block: [tile.threads(), 1, 1],
        cluster: [1; 3],
        shared: tile.shared(),
        overlaps,
        args,
    }];
    let mut bytes = 0;
    if parts > 1 {
        let rows = (image.pixels(), image.filters, image.output[0] * image.output[1]);
        launches.push(finish_launch(parts, v, rows, [scratch, output], epilogue.args(2), overlaps));
        bytes = u64::from(parts) * (rows.0 * rows.1) as u64 * 4;
    }
    let split = if parts > 1 { format!(".s{parts}") } else { String::new() };
    let last = Layout::ChannelsLast;
    step_tactic(
        format!("conv.cuda.simt/{}x{}{split}", tile.m, tile.n),
        problem,
        epilogue.uses(vec![Use::As(last), Use::As(last)]),
        last,
        Growth::NONE,
        DeviceStep::launches(source("conv/simt.cu", &epilogue.prelude, &defines), launches, bytes),
    )
}

#[cfg(test)]
#[path = "conv_cuda_simt_tests.rs"]
mod tests;
