//! `conv.winograd`: 3×3 convolution by Winograd's minimal filtering, blocked layout, weights transformed when packed.
//!
//! ```text
//!  input tiles ──Bᵀ d B──▶ V[ξ][c][tile] ──one matrix product per ξ, with U[ξ][c][k]──▶ W[ξ][k][tile] ──Aᵀ w A──▶ out
//! ```
//!
//! `V` and `W` are the workspace. Either a task is some tiles with its own `V` and `W` (less scratch, weights read once
//! a task), or all tiles are transformed first and then tasks are groups of filters (more scratch, weights read once).

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::conv::direct::run_tile;
use crate::conv::rows::{max_pixels, split_row};
use crate::conv::simd::{Body, Simd, check_lanes, with_lanes};
use crate::conv::tile::Tile;
use crate::conv::winograd_math::{F2, F4, Transform, both_sides, filter};
use crate::epilogue::{Activation, CompiledEpilogue, Epilogue, EpilogueOperand};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::level::Level;
use crate::tape::TapeInput;
use crate::threads::{SharedMut, Threads};

/// Winograd convolution: 3×3 windows, step 1, one group, two spatial axes. Inputs: `x` blocked, packed weights
/// ([`WinogradConv::pack`]), epilogue operands. Output blocked. Scratch as [`WinogradConv::sizes`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WinogradConv {
    /// The sizes.
    pub geometry: ConvGeometry,
    /// Channels of a block: 8, or 16 with AVX-512.
    pub block: u8,
    /// Side of an output tile: 2 or 4.
    pub output_tile: u8,
    /// Output blocks that are multiplied together: 1, 2 or 4.
    pub tile_blocks: u8,
    /// Tiles of a task; 0 transforms all tiles before the first product.
    pub tiles_per_task: u32,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<WinogradReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct WinogradReady {
    epilogue: CompiledEpilogue,
    /// How a full task and the last one split into register tiles.
    full: Vec<(usize, usize)>,
    last: Vec<(usize, usize)>,
}

impl WinogradConv {
    fn side(&self) -> usize {
        self.output_tile as usize + 2
    }

    /// Tiles down, across, and in all images.
    fn tiles(&self) -> (usize, usize, usize) {
        let [_, h, w] = self.geometry.output();
        let (down, across) = (h.div_ceil(self.output_tile as usize), w.div_ceil(self.output_tile as usize));
        (down, across, down * across * self.geometry.n)
    }

    /// Tiles that are transformed together.
    fn task(&self) -> usize {
        let all = self.tiles().2;
        if self.tiles_per_task == 0 { all } else { (self.tiles_per_task as usize).min(all) }
    }

    /// Floats of one `V` and one `W`.
    fn scratch(&self) -> Option<(usize, usize)> {
        let b = self.block as usize;
        let points = self.side() * self.side();
        let v = points.checked_mul(self.task())?.checked_mul(self.geometry.c.div_ceil(b) * b)?;
        let w = points.checked_mul(self.task())?.checked_mul(self.tile_blocks as usize * b)?;
        Some((v, w))
    }

    fn packed_len(&self) -> Option<usize> {
        let b = self.block as usize;
        let (c, k) = (self.geometry.c.div_ceil(b) * b, self.geometry.k.div_ceil(b) * b);
        c.checked_mul(k)?.checked_mul(self.side() * self.side())
    }

    /// Transforms weights `[K, C, 3, 3]` and packs them: for each group of filters and point `ξ` the channels, each
    /// with the group's filters.
    ///
    /// # Errors
    /// When there are not as many weights as the geometry says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.sizes(1)?;
        let g = &self.geometry;
        if weights.len() != g.weight_len() {
            return Err(format!("{} weights where {} are needed", weights.len(), g.weight_len()));
        }
        let b = self.block as usize;
        let (c, k) = (g.c.div_ceil(b) * b, g.k.div_ceil(b) * b);
        let points = self.side() * self.side();
        let mut out = vec![0.0; points * c * k];
        let wide = self.tile_blocks as usize * b;
        for ki in 0..g.k {
            let first = ki / wide * wide;
            let width = wide.min(k - first);
            for ci in 0..g.c {
                let at = &weights[(ki * g.c + ci) * 9..][..9];
                let u = if self.output_tile == 2 { filter::<2, 4, F2>(at) } else { filter::<4, 6, F4>(at) };
                for (p, u) in u.into_iter().enumerate() {
                    out[first * points * c + (p * c + ci) * width + ki - first] = u;
                }
            }
        }
        Ok(out)
    }
}

impl Kernel for WinogradConv {
    const NAME: &'static str = "conv.winograd";

    fn sizes(&self, threads: usize) -> Result<ArgSizes, KernelError> {
        let g = &self.geometry;
        g.check()?;
        let b = self.block as usize;
        if !matches!(b, 8 | 16)
            || !matches!(self.tile_blocks, 1 | 2 | 4)
            || !matches!(self.output_tile, 2 | 4)
        {
            return Err(format!(
                "blocks of {b} channels, {} together, tiles of {}",
                self.tile_blocks, self.output_tile
            ));
        }
        let fits = g.kernel == [1, 3, 3]
            && g.strides == [1; 3]
            && g.dilations == [1; 3]
            && g.groups == 1
            && g.input[0] == 1
            && g.pads[0] == (0, 0);
        if !fits {
            return Err("only 3x3 windows with step 1, no dilation and one group".into());
        }
        let len = |channels: usize, pixels: usize| {
            channels.div_ceil(b).checked_mul(b)?.checked_mul(pixels)?.checked_mul(g.n)
        };
        let out = len(g.k, g.output().iter().product());
        let mut inputs =
            vec![size_of_f32(len(g.c, g.input.iter().product()))?, size_of_f32(self.packed_len())?];
        inputs.extend(self.epilogue.operand_bytes(g.k.div_ceil(b) * b, out.unwrap_or(0))?);
        let scratch = self.scratch().and_then(|(v, w)| {
            let own = w.checked_mul(threads)?;
            let vs = if self.tiles_per_task == 0 { 1 } else { threads };
            own.checked_add(v.checked_mul(vs)?)
        });
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(out)?], scratch: size_of_f32(scratch)? })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.block as usize)?;
        let (task, all) = (self.task(), self.tiles().2);
        let kb = (self.tile_blocks as usize).min(self.geometry.k.div_ceil(self.block as usize));
        let most = max_pixels(self.block as usize, kb);
        self.ready = Some(WinogradReady {
            epilogue: self.epilogue.compile(isa)?,
            full: split_row(task, most),
            last: split_row(all % task, most),
        });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        if self.output_tile == 2 {
            Run::new(self, args, threads).all::<2, 4, F2>(threads);
        } else {
            Run::new(self, args, threads).all::<4, 6, F4>(threads);
        }
    }
}

/// One run's arguments.
struct Run<'a> {
    conv: &'a WinogradConv,
    ready: &'a WinogradReady,
    level: Level,
    x: &'a [f32],
    u: &'a [f32],
    out: SharedMut<'a, f32>,
    scratch: SharedMut<'a, f32>,
    operands: [&'a [f32]; crate::MAX_OPERANDS],
    clamp: (f32, f32),
    c_blocks: usize,
    k_blocks: usize,
    tiles: (usize, usize, usize),
}

impl<'a> Run<'a> {
    fn new(conv: &'a WinogradConv, args: &Args<'a>, threads: &Threads) -> Run<'a> {
        let ready = conv.ready.as_ref().expect("prepared");
        let mut operands: [&[f32]; crate::MAX_OPERANDS] = [&[]; crate::MAX_OPERANDS];
        for (i, o) in operands.iter_mut().enumerate().take(args.input_count() - 2) {
            *o = args.input(i + 2);
        }
        let clamp = match ready.epilogue.activation {
            Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Clamp(lo, hi) => (lo, hi),
        };
        let b = conv.block as usize;
        Run {
            conv,
            ready,
            level: threads.level(),
            x: args.input(0),
            u: args.input(1),
            out: SharedMut::new(args.output(0)),
            scratch: SharedMut::new(args.scratch()),
            operands,
            clamp,
            c_blocks: conv.geometry.c.div_ceil(b),
            k_blocks: conv.geometry.k.div_ceil(b),
            tiles: conv.tiles(),
        }
    }

    fn all<const M: usize, const T: usize, F: Transform<M, T>>(&self, threads: &Threads) {
        let (v_len, w_len) = self.conv.scratch().expect("checked by sizes");
        let groups = self.k_blocks.div_ceil(self.conv.tile_blocks as usize);
        let (task, all) = (self.conv.task(), self.tiles.2);
        if self.conv.tiles_per_task == 0 {
            threads.for_each_range(self.c_blocks * all, threads.count() * 2, |_, range| {
                self.forward::<M, T, F>(0, 0, all, range);
            });
            threads.for_each_range(groups, threads.count(), |part, range| {
                for group in range {
                    self.group::<M, T, F>(0, v_len + part * w_len, 0, all, group);
                }
            });
            return;
        }
        threads.for_each_range(all.div_ceil(task), threads.count(), |part, range| {
            let v = part * (v_len + w_len);
            for t in range {
                let (first, count) = (t * task, task.min(all - t * task));
                self.forward::<M, T, F>(v, first, count, 0..self.c_blocks * count);
                for group in 0..groups {
                    self.group::<M, T, F>(v, v + v_len, first, count, group);
                }
            }
        });
    }

    /// Transforms input tiles: unit `i` is tile `i % count` of block `i / count`.
    fn forward<const M: usize, const T: usize, F: Transform<M, T>>(
        &self,
        v: usize,
        first: usize,
        count: usize,
        units: std::ops::Range<usize>,
    ) {
        let body =
            Forward::<M, T, F> { run: self, v, first, count, units, transform: std::marker::PhantomData };
        // SAFETY: `sizes` made every argument as long as the geometry needs; units have their own places in `V`.
        unsafe { with_lanes(self.level, self.conv.block as usize, body) };
    }

    /// Multiplies and transforms back one group of filters.
    fn group<const M: usize, const T: usize, F: Transform<M, T>>(
        &self,
        v: usize,
        w: usize,
        first: usize,
        count: usize,
        group: usize,
    ) {
        let b = self.conv.block as usize;
        let start = group * self.conv.tile_blocks as usize;
        let kb = (self.conv.tile_blocks as usize).min(self.k_blocks - start);
        let c = self.c_blocks * b;
        let u = start * b * T * T * c;
        let split = if count == self.conv.task() { &self.ready.full } else { &self.ready.last };
        for point in 0..T * T {
            for &(at, pixels) in split {
                let t = Tile {
                    // SAFETY: inside this task's `V`.
                    x: unsafe { self.scratch.ptr(v + (point * self.c_blocks * count + at) * b) }.cast_const(),
                    x_block: count * b,
                    x_depth: 0,
                    x_row: 0,
                    width: pixels,
                    channels: self.conv.geometry.c,
                    c_block: b,
                    origin: [0; 3],
                    depth_range: (0, 1),
                    row_range: (0, 1),
                    kernel: [1; 3],
                    dilation: [1; 3],
                    stride: 1,
                    w: &raw const self.u[u + point * c * kb * b],
                    // SAFETY: inside this task's `W`.
                    out: unsafe { self.scratch.ptr(w + (point * kb * count + at) * b) },
                    out_block: count * b,
                    bias: std::ptr::null(),
                    residual: std::ptr::null(),
                    clamp: (f32::NEG_INFINITY, f32::INFINITY),
                };
                // SAFETY: the scratch holds `V` and `W` of this task, as `sizes` asked.
                unsafe { run_tile(self.level, b, kb, pixels, false, &t) };
            }
        }
        let body =
            Back::<M, T, F> { run: self, w, first, count, start, kb, transform: std::marker::PhantomData };
        // SAFETY: as above; a group of filters has its own outputs.
        unsafe { with_lanes(self.level, b, body) };
    }

    /// Image, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (down, across, _) = self.tiles;
        (tile / (down * across), tile / across % down, tile % across)
    }
}

struct Forward<'a, const M: usize, const T: usize, F> {
    run: &'a Run<'a>,
    v: usize,
    first: usize,
    count: usize,
    units: std::ops::Range<usize>,
    transform: std::marker::PhantomData<F>,
}

impl<const M: usize, const T: usize, F: Transform<M, T>> Body for Forward<'_, M, T, F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let r = self.run;
        let g = &r.conv.geometry;
        let [_, height, width] = g.input;
        let plane = height * width * S::LANES;
        for unit in self.units {
            let (block, tile) = (unit / self.count, unit % self.count);
            let (image, ty, tx) = r.place(self.first + tile);
            let x = &r.x[(image * r.c_blocks + block) * plane..][..plane];
            let (y0, x0) =
                ((ty * M) as isize - g.pads[1].0 as isize, (tx * M) as isize - g.pads[2].0 as isize);
            // SAFETY: pixels outside the image are not read; the place in `V` is this unit's own.
            unsafe {
                let zero = S::splat(0.0);
                let mut d = [[zero; T]; T];
                let inside = y0 >= 0 && x0 >= 0 && y0 as usize + T <= height && x0 as usize + T <= width;
                for i in 0..T {
                    for j in 0..T {
                        let (y, c) = (y0 + i as isize, x0 + j as isize);
                        let there =
                            inside || y >= 0 && c >= 0 && (y as usize) < height && (c as usize) < width;
                        if there {
                            d[i][j] = S::load(x.as_ptr().add((y as usize * width + c as usize) * S::LANES));
                        }
                    }
                }
                let t = both_sides::<S, T, T>(&F::BT, &d);
                for i in 0..T {
                    for j in 0..T {
                        let at = ((i * T + j) * r.c_blocks + block) * self.count + tile;
                        S::store(r.scratch.ptr(self.v + at * S::LANES), t[i][j]);
                    }
                }
            }
        }
    }
}

struct Back<'a, const M: usize, const T: usize, F> {
    run: &'a Run<'a>,
    w: usize,
    first: usize,
    count: usize,
    start: usize,
    kb: usize,
    transform: std::marker::PhantomData<F>,
}

impl<const M: usize, const T: usize, F: Transform<M, T>> Body for Back<'_, M, T, F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let r = self.run;
        let e = &r.ready.epilogue;
        let [_, height, width] = r.conv.geometry.output();
        for k in 0..self.kb {
            let block = self.start + k;
            for tile in 0..self.count {
                let (image, ty, tx) = r.place(self.first + tile);
                let plane = (image * r.k_blocks + block) * height * width;
                // SAFETY: reads this task's `W`, writes only pixels inside the image that belong to this tile.
                unsafe {
                    let (lo, hi) = (S::splat(r.clamp.0), S::splat(r.clamp.1));
                    let mut m = [[lo; T]; T];
                    for i in 0..T {
                        for j in 0..T {
                            let at = ((i * T + j) * self.kb + k) * self.count + tile;
                            m[i][j] = S::load(r.scratch.ptr(self.w + at * S::LANES).cast_const());
                        }
                    }
                    let y = both_sides::<S, M, T>(&F::AT, &m);
                    let bias = match e.bias {
                        Some(i) => S::load(r.operands[i].as_ptr().add(block * S::LANES)),
                        None => S::splat(0.0),
                    };
                    let columns = M.min(width - tx * M);
                    for i in 0..M.min(height - ty * M) {
                        let row = (plane + (ty * M + i) * width + tx * M) * S::LANES;
                        for j in 0..M {
                            if j < columns {
                                let at = row + j * S::LANES;
                                let mut v = S::add(y[i][j], bias);
                                if let Some(o) = e.residual {
                                    v = S::add(v, S::load(r.operands[o].as_ptr().add(at)));
                                }
                                S::store(r.out.ptr(at), S::clamp(v, lo, hi));
                            }
                        }
                        if e.rest.is_some() {
                            let len = columns * S::LANES;
                            e.finish(r.out.slice(row, len), |o, kind| match kind {
                                EpilogueOperand::PerChannel => TapeInput::Repeat(
                                    &r.operands[o][block * S::LANES..(block + 1) * S::LANES],
                                ),
                                EpilogueOperand::Full => TapeInput::Stream(&r.operands[o][row..row + len]),
                                EpilogueOperand::Scalar => TapeInput::Splat(r.operands[o][0]),
                            });
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::testing::*;

    #[test]
    fn agrees_with_the_definition() {
        for (n, c, size, k, pad) in
            [(1, 16, [8, 8], 16, 1), (2, 20, [7, 13], 40, 1), (1, 3, [5, 5], 70, 0), (1, 33, [14, 9], 8, 2)]
        {
            let g = ConvGeometry::image(n, c, size, k, [3, 3], 1, pad);
            let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
            let (bias, want) = (values(k, 3), plain(&g, &x, &w));
            let residual = values(g.output_len(), 5);
            let pixels = g.output().iter().product::<usize>();
            let silu = |v: f64| v / (1.0 + (-v).exp());
            let sums: Vec<f64> = want
                .iter()
                .enumerate()
                .map(|(i, s)| s + f64::from(bias[i / pixels % k]) + f64::from(residual[i]))
                .collect();
            for threads in pools() {
                for (block, output_tile, tile_blocks, tiles_per_task, plain_relu) in [
                    (8u8, 2u8, 1u8, 0u32, true),
                    (8, 4, 2, 3, false),
                    (16, 2, 4, 5, false),
                    (16, 4, 2, 0, true),
                ] {
                    if check_lanes(threads.level().isa(), block as usize).is_err() {
                        continue;
                    }
                    let b = block as usize;
                    let conv = WinogradConv {
                        geometry: g.clone(),
                        block,
                        output_tile,
                        tile_blocks,
                        tiles_per_task,
                        epilogue: epilogue(plain_relu),
                        ready: None,
                    };
                    let want: Vec<f64> =
                        sums.iter().map(|&v| if plain_relu { v.max(0.0) } else { silu(v) }).collect();
                    let packed = conv.pack(&w).unwrap();
                    let mut padded = bias.clone();
                    padded.resize(k.div_ceil(b) * b, 0.0);
                    let (xb, rb) = (to_blocked(&x, n, c, b), to_blocked(&residual, n, k, b));
                    let got = run(conv, &[&xb, &packed, &padded, &rb], &threads);
                    let what = format!("{g:?} c{block} f{output_tile} {tiles_per_task}");
                    assert_close(&from_blocked(&got, n, k, b), &want, 2e-5, &what);
                }
            }
        }
    }

    fn epilogue(relu: bool) -> Epilogue {
        use tactician_types::{Binary, Expr, ExprNode, Unary};
        let mut e = Expr::empty();
        let (x, b, r) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)), e.push(ExprNode::Input(2)));
        let t = e.push(ExprNode::Binary(Binary::Add, x, b));
        let t = e.push(ExprNode::Binary(Binary::Add, t, r));
        let root = if relu {
            e.push(ExprNode::Unary(Unary::Relu, t))
        } else {
            let s = e.push(ExprNode::Unary(Unary::Sigmoid, t));
            e.push(ExprNode::Binary(Binary::Mul, t, s))
        };
        Epilogue { expr: e.finish(root), operands: vec![EpilogueOperand::PerChannel, EpilogueOperand::Full] }
    }
}
