//! `conv.cuda.depthwise`: one filter a channel over images, channels last.
//!
//! `v8` channels and `x4` neighbouring outputs of a row are computed by one thread. Source:
//! `kernels/cuda/conv/depthwise.cu`.


use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Tensor};
use tactician_kernels::gemm_epilogue::stored_type;
use tactician_kernels::source;
use tactician_types::{Growth, Layout};

use crate::conv_cuda_mma::{divisor, Epilogue, Image, has_clusters, has_tensor_cores, vector, words};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvDepthwise = ConvDepthwise;

pub(crate) struct ConvDepthwise;

/// Loads of a window that are unrolled, at most: larger windows go elsewhere.
const MOST_LOADS: usize = 256;

impl Family for ConvDepthwise {
    fn id(&self) -> &'static str {
        "conv.cuda.depthwise"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Conv(_)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(image) = Image::new(problem) else { return vec![] };
        if !has_tensor_cores(cuda) || image.groups != image.channels || image.filters != image.channels {
            return vec![];
        }
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        let widest = vector(image.channels).min(16 / problem.result.dtype.size() as u32);
        let mut out = Vec::new();
        for v in [widest, widest / 2] {
            for columns in [1, 2, 4, 8] {
                let span = (columns - 1) * image.strides[1] + (image.window[1] - 1) * image.dilations[1] + 1;
                let floats = v as usize * (columns + image.window[1] + 1);
                let needless = columns > 1 && columns / 2 >= image.output[1];
                // One output a thread always compiles to something, at worst with few registers to spare.
                let large = image.window[0] * span > MOST_LOADS || floats > 128;
                if v == 0 || needless || large {
                    continue;
                }
                out.extend(tactic(problem, cuda, &image, &epilogue, v, columns));
            }
        }
        out
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    v: u32,
    columns: usize,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let output = problem.operands.len() as u16;
    let word = |x: usize| x as u32;
    let vectors = image.channels / v as usize;
    let stretches = image.output[1].div_ceil(columns);
    let threads =
        (image.images * image.output[0] * stretches).checked_mul(vectors).filter(|&t| t < 1 << 31)?;
    let defines = [
        ("ELEMENT", stored_type(dtype)?),
        ("VECTOR", v),
        ("COLUMNS", word(columns)),
        ("WINDOW_H", word(image.window[0])),
        ("WINDOW_W", word(image.window[1])),
        ("STRIDE_W", word(image.strides[1])),
        ("DILATION_W", word(image.dilations[1])),
    ]
    .map(|(name, value)| format!("{name}={value}"));
    let shape = words(&[
        &[image.input[0], image.input[1], image.channels, image.strides[0]].map(word),
        &image.pads.map(word),
        &[image.dilations[0], image.output[0], image.output[1], threads].map(word),
        &divisor(word(vectors)),
        &divisor(word(stretches)),
        &divisor(word(image.output[0])),
    ]);
    let mut args = vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(output), shape];
    args.extend(epilogue.args(2));
    let launch = Launch {
        entry: "conv_depthwise".into(),
        grid: [word(threads.div_ceil(128)), 1, 1],
        block: [128, 1, 1],
        cluster: [1; 3],
        shared: 0,
        overlaps: has_clusters(cuda),
        args,
    };
    let channels = image.channels;
    let pack = move |t: &Tensor| channels_inner(t.bytes(), channels, t.dtype().size());
    step_tactic(
        format!("conv.cuda.depthwise/v{v}.x{columns}"),
        problem,
        epilogue.uses(vec![Use::As(Layout::ChannelsLast), Use::packed("channels innermost", &channels, pack)]),
        Layout::ChannelsLast,
        Growth::NONE,
        DeviceStep::launches(source("conv/depthwise.cu", &epilogue.prelude, &defines), vec![launch], 0),
    )
}

/// `[channels][rest]` as `[rest][channels]`, elements of `size` bytes.
fn channels_inner(bytes: &[u8], channels: usize, size: usize) -> Result<Vec<u8>, String> {
    if !bytes.len().is_multiple_of(channels * size) {
        return Err(format!("{} bytes are no filters of {channels} channels", bytes.len()));
    }
    let rest = bytes.len() / (channels * size);
    let mut out = Vec::with_capacity(bytes.len());
    for r in 0..rest {
        for c in 0..channels {
            out.extend_from_slice(&bytes[(c * rest + r) * size..][..size]);
        }
    }
    Ok(out)
}
