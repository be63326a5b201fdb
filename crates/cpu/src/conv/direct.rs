//! `conv.direct`: convolution by register tiles, blocked output, no scratch.
//!
//! Serves blocked input and, for first layers with few channels, plain input. Each group of up to four output blocks
//! runs over its pixels with all input channels in one go, so an output is written once, after its epilogue.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::conv::rows::{max_pixels, split_row};
use crate::conv::simd::{Body, Simd, check_lanes, with_lanes};
use crate::conv::tile::{MAX_SPAN, Tile, compute};
use crate::epilogue::{Activation, CompiledEpilogue, Epilogue, EpilogueOperand};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::level::Level;
use crate::tape::TapeInput;
use crate::threads::{SharedMut, Threads};

/// Direct convolution. Inputs: `x` (blocked, or plain), packed weights ([`DirectConv::pack`]), epilogue operands.
/// Output blocked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectConv {
    /// The sizes. Several groups need channels per group that are multiples of `block`, in and out.
    pub geometry: ConvGeometry,
    /// Channels of a block: 8, or 16 with AVX-512.
    pub block: u8,
    /// Whether the input is plain.
    pub plain_input: bool,
    /// Output blocks of a tile: 1, 2 or 4.
    pub tile_blocks: u8,
    /// Whether tiles of the same pixels and other filters come after one another, rather than tiles of the same
    /// filters and other pixels: keeps pixels in cache rather than weights.
    pub filters_inner: bool,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<Ready>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct Ready {
    epilogue: CompiledEpilogue,
    tiles: Vec<(usize, usize)>,
    /// The geometry with pixels in one row where windows are single pixels.
    flat: ConvGeometry,
}

impl DirectConv {
    /// Channels per group: in, out.
    fn per_group(&self) -> (usize, usize) {
        (self.geometry.c / self.geometry.groups, self.geometry.k / self.geometry.groups)
    }

    /// Channels of an input block.
    fn c_block(&self) -> usize {
        if self.plain_input { 1 } else { self.block as usize }
    }

    /// A geometry whose windows are single pixels, without steps or padding, is one long row.
    fn flat(&self) -> ConvGeometry {
        let g = &self.geometry;
        let mut flat = g.clone();
        if g.kernel == [1; 3] && g.strides == [1; 3] && g.pads == [(0, 0); 3] {
            flat.input = [1, 1, g.input.iter().product()];
        }
        flat
    }

    /// Floats of the packed weights.
    fn packed_len(&self) -> Option<usize> {
        let (c, k) = self.per_group();
        let b = self.block as usize;
        let window: usize = self.geometry.kernel.iter().product();
        self.geometry
            .groups
            .checked_mul(k.div_ceil(b).checked_mul(b)?)?
            .checked_mul(c.div_ceil(self.c_block()).checked_mul(self.c_block())?)?
            .checked_mul(window)
    }

    /// Packs weights `[K, C/groups, window…]`: for each group of filters, input block and window position the
    /// channels of the block, each with the tile's output channels.
    ///
    /// # Errors
    /// When there are not as many weights as the geometry says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.sizes(1)?;
        let g = &self.geometry;
        if weights.len() != g.weight_len() {
            return Err(format!("{} weights where {} are needed", weights.len(), g.weight_len()));
        }
        let (c, k) = self.per_group();
        let (b, cb) = (self.block as usize, self.c_block());
        let window: usize = g.kernel.iter().product();
        let mut out = Vec::with_capacity(self.packed_len().unwrap_or(0));
        for group in 0..g.groups {
            let mut first = 0;
            while first < k {
                let wide = (self.tile_blocks as usize * b).min((k - first).div_ceil(b) * b);
                for c0 in (0..c).step_by(cb) {
                    for s in 0..window {
                        for ci in c0..c0 + cb {
                            for ki in first..first + wide {
                                out.push(if ci < c && ki < k {
                                    weights[((group * k + ki) * c + ci) * window + s]
                                } else {
                                    0.0
                                });
                            }
                        }
                    }
                }
                first += wide;
            }
        }
        Ok(out)
    }
}

impl Kernel for DirectConv {
    const NAME: &'static str = "conv.direct";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let g = &self.geometry;
        g.check()?;
        let b = self.block as usize;
        if !matches!(b, 8 | 16) || !matches!(self.tile_blocks, 1 | 2 | 4) {
            return Err(format!("blocks of {b} channels, {} a tile", self.tile_blocks));
        }
        let (c, k) = self.per_group();
        if g.groups > 1 && (!k.is_multiple_of(b) || !self.plain_input && !c.is_multiple_of(b)) {
            return Err(format!("groups of {c} to {k} channels do not fill blocks of {b}"));
        }
        let pixels = max_pixels(b, self.tile_blocks.min(2) as usize);
        let span = |p: usize| (p - 1).saturating_mul(g.strides[2]) + (g.kernel[2] - 1) * g.dilations[2] + 1;
        if span(pixels) > MAX_SPAN {
            return Err(format!("a tile of {pixels} pixels spans more than {MAX_SPAN} pixels of input"));
        }
        let (pixels_in, pixels_out) =
            (g.input.iter().product::<usize>(), g.output().iter().product::<usize>());
        let blocked = |channels: usize, pixels: usize| {
            channels.div_ceil(b).checked_mul(b)?.checked_mul(pixels)?.checked_mul(g.n)
        };
        let x = if self.plain_input { Some(g.input_len()) } else { blocked(g.c, pixels_in) };
        let out = blocked(g.k, pixels_out);
        let mut inputs = vec![size_of_f32(x)?, size_of_f32(self.packed_len())?];
        let channels = g.k.div_ceil(b) * b;
        inputs.extend(self.epilogue.operand_bytes(channels, out.unwrap_or(0))?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(out)?], scratch: 0 })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.block as usize)?;
        let flat = self.flat();
        let (_, k) = self.per_group();
        let kb = (self.tile_blocks as usize).min(k.div_ceil(self.block as usize));
        let tiles = split_row(flat.output()[2], max_pixels(self.block as usize, kb));
        self.ready = Some(Ready { epilogue: self.epilogue.compile(isa)?, tiles, flat });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        let run = Run::new(self, ready, args);
        let units = run.units();
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        let level = threads.level();
        threads.for_each_range(units, parts, |_, range| {
            for unit in range {
                run.unit(level, unit);
            }
        });
    }
}

/// One run's arguments.
struct Run<'a> {
    conv: &'a DirectConv,
    ready: &'a Ready,
    x: &'a [f32],
    w: &'a [f32],
    out: SharedMut<'a, f32>,
    operands: [&'a [f32]; crate::MAX_OPERANDS],
    clamp: (f32, f32),
    output: [usize; 3],
    kgroups: usize,
}

impl<'a> Run<'a> {
    fn new(conv: &'a DirectConv, ready: &'a Ready, args: &Args<'a>) -> Run<'a> {
        let mut operands: [&[f32]; crate::MAX_OPERANDS] = [&[]; crate::MAX_OPERANDS];
        for (i, o) in operands.iter_mut().enumerate().take(args.input_count() - 2) {
            *o = args.input(i + 2);
        }
        let clamp = match ready.epilogue.activation {
            Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Clamp(lo, hi) => (lo, hi),
        };
        let (_, k) = conv.per_group();
        Run {
            conv,
            ready,
            x: args.input(0),
            w: args.input(1),
            out: SharedMut::new(args.output(0)),
            operands,
            clamp,
            output: ready.flat.output(),
            kgroups: k.div_ceil(conv.tile_blocks as usize * conv.block as usize),
        }
    }

    /// Tiles of one image, group of channels and group of filters.
    fn tiles(&self) -> usize {
        self.output[0] * self.output[1] * self.ready.tiles.len()
    }

    fn units(&self) -> usize {
        self.ready.flat.n * self.ready.flat.groups * self.kgroups * self.tiles()
    }

    fn unit(&self, level: Level, unit: usize) {
        let g = &self.ready.flat;
        let tiles = self.tiles();
        let (rest, kg, tile) = if self.conv.filters_inner {
            let (rest, kg) = (unit / self.kgroups, unit % self.kgroups);
            (rest / tiles, kg, rest % tiles)
        } else {
            let (rest, tile) = (unit / tiles, unit % tiles);
            (rest / self.kgroups, rest % self.kgroups, tile)
        };
        let (image, group) = (rest / g.groups, rest % g.groups);
        let (row, tile) = (tile / self.ready.tiles.len(), tile % self.ready.tiles.len());
        let (od, oh) = (row / self.output[1], row % self.output[1]);
        let (start, pixels) = self.ready.tiles[tile];

        let b = self.conv.block as usize;
        let (c, k) = self.conv.per_group();
        let c_block = self.conv.c_block();
        let in_plane: usize = g.input.iter().product();
        let out_plane: usize = self.output.iter().product();
        let channels = if self.conv.plain_input { g.c } else { g.c.div_ceil(b) * b };
        let all_blocks = g.k.div_ceil(b);
        let group_blocks = k.div_ceil(b);
        let first = kg * self.conv.tile_blocks as usize;
        let kb = (self.conv.tile_blocks as usize).min(group_blocks - first);

        let origin: [isize; 3] =
            [(0, od), (1, oh), (2, start)].map(|(a, o)| (o * g.strides[a]) as isize - g.pads[a].0 as isize);
        let window: usize = g.kernel.iter().product();
        let packed_c = c.div_ceil(c_block) * c_block;
        let block = group * group_blocks + first;
        let out =
            ((image * all_blocks + block) * out_plane + (od * self.output[1] + oh) * self.output[2] + start)
                * b;
        let e = &self.ready.epilogue;
        let t = Tile {
            x: &raw const self.x[(image * channels + group * c) * in_plane],
            x_block: in_plane * c_block,
            x_depth: g.input[1] * g.input[2] * c_block,
            x_row: g.input[2] * c_block,
            width: g.input[2],
            channels: c,
            c_block,
            origin,
            depth_range: range(g, 0, origin[0]),
            row_range: range(g, 1, origin[1]),
            kernel: g.kernel,
            dilation: g.dilations,
            stride: g.strides[2],
            w: &raw const self.w[(group * group_blocks + first) * b * packed_c * window],
            // SAFETY: every tile has its own outputs, and `sizes` made the output hold all of them.
            out: unsafe { self.out.ptr(out) },
            out_block: out_plane * b,
            bias: e.bias.map_or(std::ptr::null(), |i| &raw const self.operands[i][block * b]),
            residual: e.residual.map_or(std::ptr::null(), |i| &raw const self.operands[i][out]),
            clamp: self.clamp,
        };
        // SAFETY: `sizes` made every argument as long as the geometry needs; the tile lies inside the output.
        unsafe { run_tile(level, b, kb, pixels, self.conv.plain_input, &t) };
        if e.rest.is_some() {
            for i in 0..kb {
                let at = out + i * t.out_block;
                // SAFETY: this tile's own outputs.
                let values = unsafe { self.out.slice(at, pixels * b) };
                e.finish(values, |o, kind| match kind {
                    EpilogueOperand::PerChannel => {
                        TapeInput::Repeat(&self.operands[o][(block + i) * b..(block + i + 1) * b])
                    }
                    EpilogueOperand::Full => TapeInput::Stream(&self.operands[o][at..at + pixels * b]),
                    EpilogueOperand::Scalar => TapeInput::Splat(self.operands[o][0]),
                });
            }
        }
    }
}

/// The window offsets along an axis that fall inside the input.
pub(crate) fn range(g: &ConvGeometry, axis: usize, origin: isize) -> (usize, usize) {
    let (dilation, size) = (g.dilations[axis] as isize, g.input[axis] as isize);
    let from = if origin < 0 { (-origin + dilation - 1) / dilation } else { 0 };
    let to = if size > origin { (size - origin + dilation - 1) / dilation } else { 0 };
    let to = (to as usize).min(g.kernel[axis]);
    ((from as usize).min(to), to)
}

struct Work<'a, const P: usize, const KB: usize, const STRIDE: usize, const PLAIN: bool>(&'a Tile);

impl<const P: usize, const KB: usize, const STRIDE: usize, const PLAIN: bool> Body
    for Work<'_, P, KB, STRIDE, PLAIN>
{
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // Tiles that do not fit the registers are never asked for; this keeps them from being compiled.
        if P > max_pixels(S::LANES, KB) {
            return;
        }
        // SAFETY: by contract.
        unsafe { compute::<S, P, KB, STRIDE, PLAIN>(self.0) }
    }
}

/// Runs the compiled tile of these sizes.
///
/// # Safety
/// As [`compute`].
pub(crate) unsafe fn run_tile(level: Level, lanes: usize, kb: usize, pixels: usize, plain: bool, t: &Tile) {
    macro_rules! pick {
        ($plain:literal, $($kb:literal: $($p:literal)*;)*) => {
            match (kb, pixels) {
                $($(($kb, $p) => match t.stride {
                    // SAFETY: by contract.
                    1 => unsafe { with_lanes(level, lanes, Work::<$p, $kb, 1, $plain>(t)) },
                    // SAFETY: by contract.
                    2 => unsafe { with_lanes(level, lanes, Work::<$p, $kb, 2, $plain>(t)) },
                    // SAFETY: by contract.
                    _ => unsafe { with_lanes(level, lanes, Work::<$p, $kb, 0, $plain>(t)) },
                },)*)*
                _ => unreachable!("a tile of {pixels} pixels and {kb} blocks is not compiled"),
            }
        };
    }
    if plain {
        pick!(true, 1: 1 2 3 4 5 6 7 8 10 12 14; 2: 1 2 3 4 5 6 7 8 10 12 14; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6 7;)
    } else {
        pick!(false, 1: 1 2 3 4 5 6 7 8 10 12 14; 2: 1 2 3 4 5 6 7 8 10 12 14; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6 7;)
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
