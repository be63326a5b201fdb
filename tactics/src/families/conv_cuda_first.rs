//! `conv.cuda.first`: convolutions over images with few channels on tensor cores: first layers of f16 and bf16.
//!
//! Reads plain (`plain`) or channels-last (`nhwc`) input, also of f32, which it rounds; writes channels last. `64x64` is a
//! block's tile. Source: `kernels/cuda/conv/first.cu`.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Tensor};
use tactician_kernels::gemm_epilogue::stored_type;
use tactician_kernels::source;
use tactician_types::{DType, Layout};


use crate::conv_cuda_mma::{
    divisor, Epilogue, Image, has_clusters, has_tensor_cores, tensor_cores, vector, words,
};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvFirst = ConvFirst;

pub(crate) struct ConvFirst;

/// Depth of a stage in elements of 16 bits: rows of 64 bytes.
const DEPTH: usize = 32;

/// The whole depth lies in shared memory: more stages leave no room for a second block.
const MOST_STAGES: usize = 16;

/// A block's tile and its warps.
const TILES: &[((u32, u32), (u32, u32))] =
    &[((128, 64), (4, 1)), ((128, 32), (4, 1)), ((64, 64), (2, 2)), ((64, 32), (2, 2)), ((32, 64), (1, 4))];

impl Family for ConvFirst {
    fn id(&self) -> &'static str {
        "conv.cuda.first"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Conv(_)) = (device.cuda(), &problem.anchor) else { return vec![] };
        if problem.read_as(0).is_some() && problem.operands[0].ty.dtype != DType::F32 {
            return vec![];
        }
        let Some(image) = Image::new(&rounded(problem)) else { return vec![] };
        let short = matches!(problem.result.dtype, DType::F16 | DType::BF16);
        if !has_tensor_cores(cuda) || !short || image.groups != 1 || image.channels.is_multiple_of(8) {
            return vec![];
        }
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        if image.depth().div_ceil(DEPTH) > MOST_STAGES {
            return vec![];
        }
        let mut out = Vec::new();
        for &(tile, warps) in TILES {
            for input in [Layout::Plain, Layout::ChannelsLast] {
                if tile.1 == 32 || image.filters > 32 {
                    out.extend(tactic(problem, cuda, &image, &epilogue, (tile, warps), input));
                }
            }
        }
        out
    }
}

/// The problem with its image stored as it is multiplied.
pub(crate) fn rounded(problem: &Problem) -> Problem {
    let mut rounded = problem.clone();
    if let Some(dtype) = problem.read_as(0) {
        rounded.operands[0].ty.dtype = dtype;
    }
    rounded
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    ((m, n), warps): ((u32, u32), (u32, u32)),
    input: Layout,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let output = problem.operands.len() as u16;
    let depth = image.depth();
    let (stages, row) = (depth.div_ceil(DEPTH), depth.next_multiple_of(8));
    let shared = (stages as u32 * (m + n) * 64).max(m * (n + 8) * 4);
    if u64::from(shared) > cuda.shared_bytes {
        return None;
    }
    let word = |x: usize| x as u32;
    let tiles_n = image.filters.div_ceil(n as usize);
    let defines = [
        ("TILE_M", m),
        ("TILE_N", n),
        ("TILE_K", DEPTH as u32),
        ("WARPS_M", warps.0),
        ("WARPS_N", warps.1),
        ("STAGES", word(stages)),
        ("ELEMENT", stored_type(dtype)?),
        ("INPUT", stored_type(problem.operands[0].ty.dtype)?),
        ("VECTOR", vector(image.filters)),
    ]
    .map(|(name, value)| format!("{name}={value}"));
    let ([height, width], c) = (image.input, image.channels);
    // Elements between images, channels, rows and columns.
    let steps = match input {
        Layout::Plain => [height * width * c, height * width, width, 1],
        _ => [height * width * c, 1, width * c, c],
    };
    let shape = words(&[
        &[height, width, c, image.filters].map(word),
        &image.window.map(word),
        &image.strides.map(word),
        &image.pads.map(word),
        &image.dilations.map(word),
        &[image.pixels(), depth, row].map(word),
        &steps.map(word),
        &divisor(word(image.output[0] * image.output[1])),
        &divisor(word(image.output[1])),
        &divisor(word(tiles_n)),
    ]);
    let mut args = vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(output), shape];
    args.extend(epilogue.args(2));
    let tiles = image.pixels().div_ceil(m as usize).checked_mul(tiles_n).filter(|&b| b < 1 << 31)?;
    let launch = Launch {
        entry: "conv_first".into(),
        grid: [word(tiles), 1, 1],
        block: [warps.0 * warps.1 * 32, 1, 1],
        cluster: [1; 3],
        shared,
        overlaps: has_clusters(cuda),
        args,
    };
    let filters = image.filters;
    let pack = move |t: &Tensor| pad_rows(t.bytes(), filters, depth * t.dtype().size(), row * t.dtype().size());
    let name = if input == Layout::Plain { "plain" } else { "nhwc" };
    step_tactic(
        format!("conv.cuda.first/{m}x{n}.{name}"),
        problem,
        epilogue.uses(vec![Use::As(input), Use::packed("filters padded to 16 bytes", &(depth, row), pack)]),
        Layout::ChannelsLast,
        tensor_cores(dtype),
        DeviceStep::launches(source("conv/first.cu", &epilogue.prelude, &defines), vec![launch], 0),
    )
}

/// Rows of `from` bytes padded with zeros to `to` bytes.
pub(crate) fn pad_rows(bytes: &[u8], rows: usize, from: usize, to: usize) -> Result<Vec<u8>, String> {
    if bytes.len() != rows * from {
        return Err(format!("expected {rows} rows of {from} bytes, found {} bytes", bytes.len()));
    }
    let mut out = vec![0; rows * to];
    for (r, row) in bytes.chunks_exact(from).enumerate() {
        out[r * to..][..from].copy_from_slice(row);
    }
    Ok(out)
}

#[cfg(test)]
#[path = "conv_cuda_first_tests.rs"]
mod tests;
