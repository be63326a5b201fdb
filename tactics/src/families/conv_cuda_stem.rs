//! `conv.cuda.stem`: first layers of f16 and bf16 on tensor cores: up to four channels, windows of up to 8 columns.
//!
//! `8x16x64` is a block's tile: rows and columns of pixels, and filters; `w4` its warps. Reads plain input, or channels
//! last with `.nhwc`; plain input may be f32, which it rounds. Writes channels last. Source: `kernels/cuda/conv/stem.cu`.


use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Tensor};
use tactician_kernels::gemm_epilogue::stored_type;
use tactician_kernels::source;
use tactician_types::{DType, Layout};

use crate::conv_cuda_first::rounded;
use crate::conv_cuda_mma::{
    Epilogue, Image, divisor, has_clusters, has_tensor_cores, tensor_cores, vector, words,
};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvStem = ConvStem;

pub(crate) struct ConvStem;

const MOST_CHANNELS: usize = 4;

/// Steps along the depth, which are unrolled, at most.
const MOST_STEPS: usize = 16;

/// Rows and columns of a tile of pixels, and its warps.
#[derive(Clone, Copy, Debug)]
struct Tile {
    rows: usize,
    columns: usize,
    warps: u32,
}

/// The first one also for input with channels last.
const TILES: &[Tile] = &[
    Tile { rows: 8, columns: 16, warps: 4 },
    Tile { rows: 16, columns: 16, warps: 8 },
    Tile { rows: 8, columns: 8, warps: 2 },
];

impl Family for ConvStem {
    fn id(&self) -> &'static str {
        "conv.cuda.stem"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Conv(_)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let wide = problem.read_as(0).is_some();
        if wide && problem.operands[0].ty.dtype != DType::F32 {
            return vec![];
        }
        let Some(image) = Image::new(&rounded(problem)) else { return vec![] };
        let short = matches!(problem.result.dtype, DType::F16 | DType::BF16);
        let few = image.groups == 1 && image.channels <= MOST_CHANNELS && image.dilations == [1, 1];
        if !has_tensor_cores(cuda) || !short || !few || image.window[1] > 8 {
            return vec![];
        }
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        let plain = TILES.iter().map(|t| (t, Layout::Plain));
        plain
            .chain([(&TILES[0], Layout::ChannelsLast)].into_iter().filter(|_| !wide))
            .filter_map(|(tile, input)| tactic(problem, cuda, &image, &epilogue, tile, input))
            .collect()
    }
}

/// How windows and patches lie, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lie {
    load: usize,
    shift: usize,
    extra: usize,
    padded: usize,
    /// Columns before the image at which the first patch begins.
    left: usize,
}

impl Lie {
    /// With loads of up to `most` elements.
    fn new(image: &Image, input: Layout, most: usize) -> Lie {
        let window = image.window[1];
        let padded = if window <= 4 { 4 } else { 8 };
        // Chunks of the widest load that divides the rows of the image, if windows can then begin at even columns.
        let load = (vector(image.input[1]) as usize).min(most);
        let left = image.pads[1].next_multiple_of(load);
        let before = left - image.pads[1];
        let shift = before % 2;
        if input != Layout::Plain || window + shift > padded {
            return Lie { load: 1, shift: 0, extra: 0, padded, left: image.pads[1] };
        }
        Lie { load, shift, extra: before - shift, padded, left }
    }

    /// Columns of a patch.
    fn columns(&self, image: &Image, tile: &Tile) -> usize {
        self.extra + (tile.columns - 1) * image.strides[1] + self.padded
    }

    fn steps(&self, image: &Image) -> usize {
        (image.channels * image.window[0] * self.padded).div_ceil(16)
    }

    /// Elements from one row of a patch to the next, or to its copy.
    fn pitch(&self, image: &Image, tile: &Tile) -> usize {
        let stride = image.strides[1];
        let whole = self.columns(image, tile).next_multiple_of(8);
        // The eight or four stretches of words that a warp reads at once lie in different banks.
        match (stride % 2, self.padded) {
            (1, _) => (whole + 16).next_multiple_of(32) - 16,
            (_, 4) => (whole + 32).next_multiple_of(64) - 32,
            _ => whole,
        }
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    tile: &Tile,
    input: Layout,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let output = problem.operands.len() as u16;
    let stored = problem.operands[0].ty.dtype;
    let lie = Lie::new(image, input, 16 / stored.size());
    let steps = lie.steps(image);
    if steps > MOST_STEPS {
        return None;
    }
    // Filters in tiles of 64, or of 32 where those would leave half a tile unused.
    let n = if image.filters.div_ceil(32) % 2 == 1 { 32 } else { 64 };
    let tiles_n = image.filters.div_ceil(n);
    let [height, width] = [0, 1].map(|a| image.output[a].div_ceil([tile.rows, tile.columns][a]));
    let tiles = image.images.checked_mul(height)?.checked_mul(width).filter(|&t| t < 1 << 30)?;

    let pitch = lie.pitch(image, tile);
    let rows = ((tile.rows - 1).checked_mul(image.strides[0])?).checked_add(image.window[0])?;
    let patch = rows.checked_mul(image.channels * (1 + image.strides[1] % 2) * 2)?.checked_mul(pitch)?;
    // Patches that arrive: as they are used, or with whole pairs of wider columns.
    let arriving = match stored == dtype {
        true => patch,
        false => {
            let row = lie.columns(image, tile).next_multiple_of(lie.load).next_multiple_of(2);
            rows.checked_mul(image.channels)?.checked_mul(row * stored.size())?
        }
    };
    let shared = patch.checked_add(arriving)?.checked_add(steps * n * 32)?;
    if shared as u64 > cuda.shared_bytes || tiles_n > 65535 {
        return None;
    }
    let word = |x: usize| x as u32;
    let defines = [
        ("TILE_H", word(tile.rows)),
        ("TILE_W", word(tile.columns)),
        ("TILE_N", word(n)),
        ("WARPS_M", tile.warps),
        ("CHANNELS", word(image.channels)),
        ("WINDOW_H", word(image.window[0])),
        ("WINDOW_W", word(image.window[1])),
        ("STRIDE_H", word(image.strides[0])),
        ("STRIDE_W", word(image.strides[1])),
        ("LOAD", word(lie.load)),
        ("SHIFT", word(lie.shift)),
        ("EXTRA", word(lie.extra)),
        ("PADDED", word(lie.padded)),
        ("ROW_PITCH", word(pitch)),
        ("NHWC", u32::from(input != Layout::Plain)),
        ("ELEMENT", stored_type(dtype)?),
        ("INPUT", stored_type(stored)?),
        ("VECTOR", vector(image.filters)),
    ]
    .map(|(name, value)| format!("{name}={value}"));
    let shape = words(&[
        &image.input.map(word),
        &image.output.map(word),
        &[image.filters, image.pads[0], lie.left, tiles].map(word),
        &divisor(word(height * width)),
        &divisor(word(width)),
    ]);
    let mut args = vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(output), shape];
    args.extend(epilogue.args(2));
    // As many blocks as run at once, or fewer that walk over as many tiles. Registers leave room for so many warps.
    let warps = if vector(image.filters) == 8 { 16 } else { 12 };
    let resident = u64::from(warps / tile.warps).min(cuda.shared_bytes / shared as u64) as usize;
    let blocks = (resident * cuda.multiprocessors as usize / tiles_n).max(1);
    let launch = Launch {
        entry: "conv_stem".into(),
        grid: [word(tiles.div_ceil(tiles.div_ceil(blocks))), word(tiles_n), 1],
        block: [tile.warps * 32, 1, 1],
        cluster: [1; 3],
        shared: word(shared),
        overlaps: has_clusters(cuda),
        args,
    }
    .spread(cuda);
    let filters = Filters {
        count: image.filters,
        rows: image.channels * image.window[0],
        columns: image.window[1],
        tile: n,
        lie,
        steps,
    };
    let suffix = if input == Layout::Plain { "" } else { ".nhwc" };
    step_tactic(
        format!("conv.cuda.stem/{}x{}x{n}.w{}{suffix}", tile.rows, tile.columns, tile.warps),
        problem,
        epilogue.uses(vec![
            Use::As(input),
            Use::packed("filters in order of mma.m16n8k16 registers", &format!("{filters:?}"), move |t| filters.pack(t)),
        ]),
        Layout::ChannelsLast,
        tensor_cores(dtype),
        DeviceStep::launches(source("conv/stem.cu", &epilogue.prelude, &defines), vec![launch], 0),
    )
}

/// Filters as the kernel wants them.
#[derive(Debug)]
struct Filters {
    count: usize,
    /// Rows of a window, of all channels.
    rows: usize,
    columns: usize,
    tile: usize,
    lie: Lie,
    steps: usize,
}

impl Filters {
    /// The weight of elements (k, n) of the product of a tile, counted in depth and filters: its place in the tensor.
    fn weight(&self, k: usize, filter: usize) -> Option<usize> {
        let row = k / self.lie.padded;
        let column = (k % self.lie.padded).checked_sub(self.lie.shift)?;
        (row < self.rows && column < self.columns && filter < self.count)
            .then(|| (filter * self.rows + row) * self.columns + column)
    }

    /// `[tile][step][two fragments of 8 filters][lane][8 elements]`.
    fn pack(&self, tensor: &Tensor) -> Result<Vec<u8>, String> {
        let bytes = tensor.bytes();
        if bytes.len() != self.count * self.rows * self.columns * 2 {
            return Err(format!("{} bytes are not {} filters of 16-bit elements", bytes.len(), self.count));
        }
        let pairs = self.tile / 16;
        let units = self.count.div_ceil(self.tile) * self.steps * pairs * 32;
        let mut out = vec![0; units * 16];
        for (unit, to) in out.chunks_exact_mut(16).enumerate() {
            let (lane, pair) = (unit % 32, unit / 32 % pairs);
            let (step, tile) = (unit / 32 / pairs % self.steps, unit / 32 / pairs / self.steps);
            for (e, to) in to.chunks_exact_mut(2).enumerate() {
                // Register b0 or b1 of the first or second fragment holds two neighbours along the depth.
                let k = step * 16 + e / 2 % 2 * 8 + lane % 4 * 2 + e % 2;
                let (fragment, column) = (pair * 2 + e / 4, lane / 4);
                let filter =
                    tile * self.tile + fragment / 4 * 32 + column / 2 * 8 + fragment % 4 * 2 + column % 2;
                if let Some(at) = self.weight(k, filter) {
                    to.copy_from_slice(&bytes[at * 2..][..2]);
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "conv_cuda_stem_tests.rs"]
mod tests;
