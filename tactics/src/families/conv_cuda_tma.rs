//! `conv.cuda.tma`: convolutions over images on tensor cores of sm_90a, channels last, fed by the tensor memory
//! accelerator.
//!
//! Windows of one element with stride 1 are products of matrices, pixels by channels, as `matmul.cuda.tma` has them;
//! other windows are copied by im2col tensor maps. Names are those of `matmul.cuda.tma`. Sources:
//! `kernels/cuda/gemm/tma.cu` and `kernels/cuda/conv/tma.cu`.

use tactician_cuda::{LaunchArg, TensorMap, WindowMap};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm::Product;
use tactician_kernels::source;
use tactician_kernels::tma::{ROW, TmaTile, tma_tiles};
use tactician_types::{DType, Layout};

use crate::conv_cuda_mma::{Epilogue, Image, divisor, limits, words};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::matmul_cuda_tma::{End, MOST, Rows, has_accelerator, outputs, suffix, truncates, walk};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvTma = ConvTma;

pub(crate) struct ConvTma;

impl Family for ConvTma {
    fn id(&self) -> &'static str {
        "conv.cuda.tma"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_accelerator(c)) else { return vec![] };
        let Op::Conv(_) = &problem.anchor else { return vec![] };
        let Some(image) = Image::new(problem).filter(|i| i.groups == 1) else { return vec![] };
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        if image.pointwise() && image.strides == [1, 1] {
            let rows = Rows {
                m: image.pixels(),
                n: image.filters,
                k: image.channels,
                batches: 1,
                a_step: 0,
                b_step: 0,
                plane: image.output[0] * image.output[1],
                constant_b: true,
            };
            return rows.tactics(self.id(), problem, cuda, &epilogue, Layout::ChannelsLast, uses);
        }
        windows(problem, cuda, &image, &epilogue)
    }
}

fn uses() -> Vec<Use> {
    vec![Use::As(Layout::ChannelsLast), Use::As(Layout::ChannelsLast)]
}

/// Tactics of one launch of `conv_tma`. None where channels leave much of a stage empty, images are smaller than half a
/// tile, or windows reach further than tensor maps do.
fn windows(problem: &Problem, cuda: &CudaInfo, image: &Image, epilogue: &Epilogue) -> Vec<Tactic> {
    let dtype = problem.result.dtype;
    let parts = image.channels.div_ceil(ROW as usize / dtype.size());
    let padded = parts * ROW as usize / dtype.size();
    if !(image.channels * dtype.size()).is_multiple_of(16)
        || padded * 2 > image.channels * 3
        || image.pixels() < 32
        || image.filters < 16
        || !reachable(image)
    {
        return vec![];
    }
    let product = Product {
        m: image.pixels() as u64,
        n: image.filters as u64,
        k: (image.window[0] * image.window[1] * padded) as u64,
        batches: 1,
        dtype,
    };
    tma_tiles(&product, &outputs(problem, epilogue, image.filters), &limits(cuda), MOST)
        .into_iter()
        .filter_map(|tile| tactic(problem, cuda, image, epilogue, &tile, parts))
        .collect()
}

/// Whether tensor maps describe the windows: strides of at most 8, and offsets in a byte.
fn reachable(image: &Image) -> bool {
    (0..2).all(|a| {
        let offset = (image.window[a] - 1).checked_mul(image.dilations[a]);
        image.strides[a] <= 8 && image.pads[a] <= 128 && offset.is_some_and(|o| o < 256)
    }) && corners(image).is_some()
}

/// Column and row of the last window's first element, counted from the image's last, where that fits a byte.
fn corners(image: &Image) -> Option<[i32; 2]> {
    let last = |a: usize| {
        let at = (image.output[a] - 1) * image.strides[a];
        let beyond = at as i64 - image.pads[a] as i64 - (image.input[a] as i64 - 1);
        i32::try_from(beyond).ok().filter(|b| (-128..128).contains(b))
    };
    Some([last(1)?, last(0)?])
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    tile: &TmaTile,
    parts: usize,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let (tiles_m, tiles_n) = tile.tiles(image.pixels() as u64, image.filters as u64);
    let tiles = (tiles_m * tiles_n).try_into().ok().filter(|&t: &u32| t < 1 << 27)?;
    tile.part((image.window[0] * image.window[1] * parts) as u64)?;
    let word = |x: usize| x as u32;
    let shape = words(&[
        &[image.pixels(), image.filters, image.window[0] * image.window[1] * parts].map(word),
        &[tiles],
        &[image.channels, image.window[1]].map(word),
        &image.strides.map(word),
        &image.pads.map(word),
        &image.dilations.map(word),
        &divisor(tiles_n as u32),
        &divisor(word(image.output[0] * image.output[1])),
        &divisor(word(image.output[1])),
    ]);
    let pixels = WindowMap {
        span: 0,
        element: dtype.size() as u8,
        sizes: [image.channels, image.input[1], image.input[0], image.images].map(|n| n as u64),
        first: [-(image.pads[1] as i32), -(image.pads[0] as i32)],
        last: corners(image)?,
        strides: [word(image.strides[1]), word(image.strides[0])],
        channels: ROW / dtype.size() as u32,
        pixels: tile.m,
        swizzle: ROW as u8,
    };
    let end = End::new(problem, epilogue, tile, [image.filters, image.pixels(), 1])?;
    let weights = LaunchArg::TensorMap(filters(dtype, image, tile));
    let args = end.args([LaunchArg::WindowMap(pixels), weights], shape);
    let prelude = format!("{}{}", end.prelude, tile.prelude(dtype));
    let mut defines = end.defines(tile, dtype);
    defines.push("CONSTANT_B=1".into());
    step_tactic(
        format!("conv.cuda.tma/{}{}", tile.name(dtype), suffix(dtype)),
        problem,
        epilogue.uses(uses()),
        Layout::ChannelsLast,
        truncates(dtype),
        DeviceStep::launches(
            source("conv/tma.cu", &prelude, &defines),
            vec![walk(tile, "conv_tma", tiles, cuda, args, problem.output.dtype)],
            0,
        ),
    )
}

/// A map of the weights as `[channels, window, filters]`, whose boxes are a stage's part of a tile's filters at one place
/// of the window.
fn filters(dtype: DType, image: &Image, tile: &TmaTile) -> TensorMap {
    let size = dtype.size();
    let window = image.window[0] * image.window[1];
    TensorMap {
        span: 1,
        element: size as u8,
        sizes: [image.channels, window, image.filters].map(|n| n as u64).to_vec(),
        steps: [image.channels * size, window * image.channels * size].map(|n| n as u64).to_vec(),
        tile: vec![ROW / size as u32, 1, tile.n / tile.cluster],
        swizzle: ROW as u8,
    }
}

#[cfg(test)]
#[path = "conv_cuda_tma_tests.rs"]
mod tests;
