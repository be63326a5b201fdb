//! `conv.cuda.mma`: convolutions over images as matrix products on tensor cores, channels last, sm_80 and up.
//!
//! `64x32x64` is a block's tile (pixels, filters, depth of a stage), `w2x2` its warps, `st4` its stages in shared memory; `g2` says
//! that two groups of four warps multiply out of shared memory (sm_90a). `c4`
//! shares the depth between the 4 blocks of a cluster, `s4` between 4 blocks that leave partial sums in scratch.
//! `tf32` rounds f32 operands to 11 bits before multiplying. Source: `kernels/cuda/conv/mma.cu`.

use tactician_cpu::ConvGeometry;
use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::gemm::{Limits, MmaPlan, MmaTile, Product, Split, plans};
use tactician_kernels::gemm_epilogue::{MatrixEpilogue, Over, matrix_epilogue, stored_type};
use tactician_kernels::{Divisor, source};
use tactician_types::{DType, Growth, Layout};

use crate::conv::typed_geometry;
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::epilogue::{Spread, spreads};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvMma = ConvMma;

pub(crate) struct ConvMma;

/// Tactics for one problem, at most.
const MOST: usize = 20;

impl Family for ConvMma {
    fn id(&self) -> &'static str {
        "conv.cuda.mma"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Op::Conv(_)) = (device.cuda(), &problem.anchor) else { return vec![] };
        let Some(image) = Image::new(problem) else { return vec![] };
        let dtype = problem.result.dtype;
        let chunk = 16 / dtype.size();
        if !has_tensor_cores(cuda) || image.groups != 1 || !image.channels.is_multiple_of(chunk) {
            return vec![];
        }
        let Some(epilogue) = Epilogue::new(problem, Layout::ChannelsLast) else { return vec![] };
        let product = Product {
            m: image.pixels() as u64,
            n: image.filters as u64,
            k: image.depth() as u64,
            batches: 1,
            dtype,
        };
        let suits = |t: &MmaTile| copies_whole_rows(t);
        plans(&product, &limits(cuda), MOST, suits)
            .into_iter()
            .filter_map(|plan| tactic(problem, cuda, &image, &epilogue, &plan))
            .collect()
    }
}

/// Whether the device runs the kernels of `mma.cuh`, and code can be compiled for it.
pub(crate) fn has_tensor_cores(cuda: &CudaInfo) -> bool {
    cuda.capability >= (8, 0) && cuda.nvrtc.is_some()
}

/// Whether kernels may start early and blocks form clusters.
pub(crate) fn has_clusters(cuda: &CudaInfo) -> bool {
    cuda.capability >= (9, 0)
}

pub(crate) fn limits(cuda: &CudaInfo) -> Limits {
    Limits {
        multiprocessors: cuda.multiprocessors,
        shared: cuda.shared_bytes,
        clusters: has_clusters(cuda),
        groups: cuda.capability == (9, 0),
    }
}

/// How the error of sums on tensor cores may exceed that of additions that round: they truncate, and f32 operands are
/// rounded to the 11 bits of TF32, twice.
pub(crate) fn tensor_cores(dtype: DType) -> Growth {
    let inputs = if dtype == DType::F32 { 2.0 * 2f64.powi(-11) } else { 0.0 };
    Growth { factor: 2.0, inputs, ..Growth::NONE }
}

/// Whether the threads of a block copy a whole number of rows along the depth.
pub(crate) fn copies_whole_rows(t: &MmaTile) -> bool {
    let rows = t.threads() / (t.row / 16);
    t.m.is_multiple_of(rows) && t.n.is_multiple_of(rows) && rows.is_multiple_of(8)
}

/// A convolution over up to two axes, in numbers that kernels take: every product of sizes fits in 31 bits.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) groups: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) window: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) pads: [usize; 2],
    pub(crate) dilations: [usize; 2],
}

impl Image {
    /// Operands of one type, f32, f16 or bf16; constant weights.
    pub(crate) fn new(problem: &Problem) -> Option<Image> {
        let dtype = problem.result.dtype;
        stored_type(dtype)?;
        if problem.anchor_inputs().iter().any(|o| o.ty.dtype != dtype) || !problem.operands.get(1)?.constant {
            return None;
        }
        let g = typed_geometry(problem)?;
        Image::of(&g)
    }

    fn of(g: &ConvGeometry) -> Option<Image> {
        let output = g.output();
        if g.input[0] != 1 || g.kernel[0] != 1 || output[0] != 1 || g.pads[0] != (0, 0) {
            return None;
        }
        let image = Image {
            images: g.n,
            channels: g.c,
            filters: g.k,
            groups: g.groups,
            input: [g.input[1], g.input[2]],
            output: [output[1], output[2]],
            window: [g.kernel[1], g.kernel[2]],
            strides: [g.strides[1], g.strides[2]],
            pads: [g.pads[1].0, g.pads[2].0],
            dilations: [g.dilations[1], g.dilations[2]],
        };
        // Windows may reach a row or column past the padded image before they are found to be outside.
        let reach = |a: usize| {
            let last = (output[a + 1] - 1).checked_mul(image.strides[a])?;
            let window = (image.window[a] + 1).checked_mul(image.dilations[a])?;
            Some(last.checked_add(window)?.checked_add(image.pads[a])?.max(image.input[a]))
        };
        let limit = |sizes: &[usize]| {
            sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&p| p < 1 << 30).map(|_| ())
        };
        limit(&[image.images + 1, reach(0)?, reach(1)?, image.channels])?;
        limit(&[image.images, image.output[0] + 1, image.output[1] + 1, image.filters + 256])?;
        limit(&[image.filters + 256, image.window[0] + 1, image.window[1] + 1, image.channels + 128])?;
        Some(image)
    }

    /// Pixels of the output.
    pub(crate) fn pixels(&self) -> usize {
        self.images * self.output[0] * self.output[1]
    }

    /// Products of an output.
    pub(crate) fn depth(&self) -> usize {
        self.window[0] * self.window[1] * self.channels / self.groups
    }

    /// Whether an output reads one pixel that is always there.
    pub(crate) fn pointwise(&self) -> bool {
        self.window == [1, 1]
            && self.pads == [0, 0]
            && (0..2).all(|a| (self.output[a] - 1) * self.strides[a] < self.input[a])
    }
}

/// The epilogue of a kernel with a matrix as its result.
pub(crate) struct Epilogue {
    /// Generated code.
    pub(crate) prelude: String,
    /// How its operands are passed.
    pub(crate) operands: Vec<Layout>,
    /// Their types, and how they spread over the result.
    pub(crate) kinds: Vec<(DType, Over)>,
    /// What outputs are raised to.
    pub(crate) low: f32,
}

impl Epilogue {
    /// An epilogue over channels as columns, in this layout of the output.
    pub(crate) fn new(problem: &Problem, layout: Layout) -> Option<Epilogue> {
        let columns = *problem.result.sizes()?.get(1)?;
        let (mut kinds, mut operands) = (Vec::new(), Vec::new());
        for (operand, spread) in spreads(problem) {
            let (over, passed) = match spread {
                Spread::Full => (Over::Full, layout),
                Spread::PerChannel => (Over::Columns, Layout::Plain),
                Spread::PerImageChannel => (Over::ImageColumns { columns }, Layout::Plain),
                Spread::Scalar => (Over::Scalar, Layout::Plain),
                _ => return None,
            };
            kinds.push((operand.ty.dtype, over));
            operands.push(passed);
        }
        let MatrixEpilogue { prelude, low } =
            matrix_epilogue(&problem.epilogue, problem.result.dtype, &kinds, problem.output.dtype).ok()?;
        Some(Epilogue { prelude, operands, kinds, low })
    }

    /// This epilogue for kernels that copy an operand of the output's shape and type to shared memory, where there is
    /// one, and that operand's index.
    pub(crate) fn staged(&self, problem: &Problem) -> Option<(String, Option<usize>)> {
        let mut kinds = self.kinds.clone();
        let index = kinds.iter().position(|&k| k == (problem.output.dtype, Over::Full));
        if let Some(i) = index {
            kinds[i].1 = Over::Staged;
        }
        let staged =
            matrix_epilogue(&problem.epilogue, problem.result.dtype, &kinds, problem.output.dtype).ok()?;
        Some((staged.prelude, index))
    }

    /// How all operands are passed, those of the anchor first.
    pub(crate) fn uses(&self, anchor: Vec<Use>) -> Vec<Use> {
        anchor.into_iter().chain(self.operands.iter().map(|&l| Use::As(l))).collect()
    }

    /// Launch arguments of the epilogue: its operands, which follow `anchor` operands, then its lower bound.
    pub(crate) fn args(&self, anchor: usize) -> impl Iterator<Item = LaunchArg> + use<> {
        let operands = (anchor..anchor + self.operands.len()).map(|i| LaunchArg::Span(i as u16));
        operands.chain([low_arg(self.low)])
    }
}

/// The launch argument of an epilogue's lower bound.
pub(crate) fn low_arg(low: f32) -> LaunchArg {
    LaunchArg::Bytes(low.to_ne_bytes().to_vec())
}

/// The largest of 8, 4, 2 and 1 that divides `columns`: outputs stored at once.
pub(crate) fn vector(columns: usize) -> u32 {
    [8, 4, 2].into_iter().find(|&v| columns.is_multiple_of(v as usize)).unwrap_or(1)
}

/// What divides by a number on the device, as the fields of a struct.
pub(crate) fn divisor(value: u32) -> [u32; 3] {
    Divisor::new(value).words()
}

/// Numbers as a C struct of 32-bit members.
pub(crate) fn words(parts: &[&[u32]]) -> LaunchArg {
    LaunchArg::Bytes(parts.iter().flat_map(|p| p.iter()).flat_map(|w| w.to_le_bytes()).collect())
}

/// The launch of `split_finish`: adds `parts` partial sums of `rows` x `columns` outputs, `v` at once. `spans` are the
/// scratch and the output.
pub(crate) fn finish_launch(
    parts: u32,
    v: u32,
    (rows, columns, image_rows): (usize, usize, usize),
    spans: [u16; 2],
    epilogue: impl Iterator<Item = LaunchArg>,
    overlaps: bool,
) -> Launch {
    let vectors = (rows * columns) as u32 / v;
    let mut args = spans.map(LaunchArg::Span).to_vec();
    args.push(words(&[&[parts, vectors], &divisor(columns as u32 / v), &divisor(image_rows as u32)]));
    args.extend(epilogue);
    Launch {
        entry: "split_finish".into(),
        grid: [vectors.div_ceil(256), 1, 1],
        block: [256, 1, 1],
        cluster: [1; 3],
        shared: 0,
        overlaps,
        args,
    }
}

fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    image: &Image,
    epilogue: &Epilogue,
    plan: &MmaPlan,
) -> Option<Tactic> {
    let dtype = problem.result.dtype;
    let tile = &plan.tile;
    let count = problem.operands.len() as u16;
    let (output, scratch) = (count, count + 1);
    let pointwise = image.pointwise();
    let (per_block, stages) = plan.stages(image.depth() as u64, dtype);
    let tiles_m = image.pixels().div_ceil(tile.m as usize);
    let tiles_n = image.filters.div_ceil(tile.n as usize);
    let parts = plan.split.parts();
    let prelude = format!("{}{}", epilogue.prelude, plan.prelude(dtype));
    let mut defines = plan.defines(dtype, vector(image.filters));
    defines.push(format!("POINTWISE={}", u32::from(pointwise)));
    let word = |x: usize| x as u32;
    let step = tile.depth(dtype) as usize;
    let window = step / image.channels;
    let shape = words(&[
        &[image.input[0], image.input[1], image.channels, image.filters, image.window[1]].map(word),
        &image.strides.map(word),
        &image.pads.map(word),
        &image.dilations.map(word),
        &[word(image.pixels()), word(image.depth()), stages as u32, per_block as u32],
        &[window / image.window[1], window % image.window[1], step % image.channels].map(word),
        &divisor(word(image.output[0] * image.output[1])),
        &divisor(word(image.output[1])),
        &divisor(word(tiles_n)),
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
        entry: "conv_mma".into(),
        grid: [word(tiles_m.checked_mul(tiles_n).filter(|&b| b < 1 << 31)?), 1, parts],
        block: [tile.threads(), 1, 1],
        cluster: [1, 1, cluster],
        shared: tile.shared(),
        overlaps,
        args,
    }
    .spread(cuda)];
    let mut bytes = 0;
    if partial {
        let rows = (image.pixels(), image.filters, image.output[0] * image.output[1]);
        launches.push(finish_launch(parts, vector(image.filters), rows, [scratch, output], epilogue.args(2), overlaps));
        bytes = u64::from(parts) * (rows.0 * rows.1) as u64 * 4;
    }
    let tf32 = if dtype == DType::F32 { ".tf32" } else { "" };
    let id = format!("conv.cuda.mma/{}{tf32}", plan.name(dtype));
    let last = Layout::ChannelsLast;
    step_tactic(
        id,
        problem,
        epilogue.uses(vec![Use::As(last), Use::As(last)]),
        last,
        tensor_cores(dtype),
        DeviceStep::launches(source("conv/mma.cu", &prelude, &defines), launches, bytes),
    )
}

#[cfg(test)]
#[path = "conv_cuda_mma_tests.rs"]
pub(crate) mod tests;
