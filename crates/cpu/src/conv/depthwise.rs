//! `conv.depthwise`: one filter a channel, blocked layout, no scratch.
//!
//! A tile is some pixels of a row of one channel block; every weight vector serves all of them. Memory is the limit,
//! so the input is read in place; only tiles that touch padding go through a patch.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::conv::direct::range;
use crate::conv::rows::split_row;
use crate::conv::simd::{Body, Simd, check_lanes, with_lanes};
use crate::conv::tile::{MAX_SPAN, Patch, fill};
use crate::epilogue::{Activation, CompiledEpilogue, Epilogue, EpilogueOperand};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::tape::TapeInput;
use crate::threads::{SharedMut, Threads};

/// Pixels of a tile.
const PIXELS: usize = 8;

/// Depthwise convolution: as many groups as channels, in and out. Inputs: `x` blocked, packed weights
/// ([`DepthwiseConv::pack`]), epilogue operands. Output blocked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DepthwiseConv {
    /// The sizes; `c`, `k` and `groups` are equal.
    pub geometry: ConvGeometry,
    /// Channels of a block: 8, or 16 with AVX-512.
    pub block: u8,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<DepthwiseReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct DepthwiseReady {
    epilogue: CompiledEpilogue,
    tiles: Vec<(usize, usize)>,
}

impl DepthwiseConv {
    /// Packs weights `[C, 1, window…]` as `[⌈C/b⌉, window…, b]`.
    ///
    /// # Errors
    /// When there are not as many weights as the geometry says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.sizes(1)?;
        let g = &self.geometry;
        if weights.len() != g.weight_len() {
            return Err(format!("{} weights where {} are needed", weights.len(), g.weight_len()));
        }
        let (b, window) = (self.block as usize, g.kernel.iter().product::<usize>());
        let mut out = vec![0.0; g.c.div_ceil(b) * b * window];
        for c in 0..g.c {
            for s in 0..window {
                out[(c / b * window + s) * b + c % b] = weights[c * window + s];
            }
        }
        Ok(out)
    }
}

impl Kernel for DepthwiseConv {
    const NAME: &'static str = "conv.depthwise";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let g = &self.geometry;
        g.check()?;
        let b = self.block as usize;
        if !matches!(b, 8 | 16) {
            return Err(format!("blocks of {b} channels"));
        }
        if g.c != g.groups || g.k != g.groups {
            return Err(format!("{} to {} channels in {} groups are not depthwise", g.c, g.k, g.groups));
        }
        let span = (PIXELS - 1).saturating_mul(g.strides[2]) + (g.kernel[2] - 1) * g.dilations[2] + 1;
        if span > MAX_SPAN {
            return Err(format!("a tile spans {span} pixels of input, more than {MAX_SPAN}"));
        }
        let channels = g.c.div_ceil(b) * b;
        let len = |pixels: [usize; 3]| channels.checked_mul(pixels.iter().product())?.checked_mul(g.n);
        let out = len(g.output());
        let mut inputs =
            vec![size_of_f32(len(g.input))?, size_of_f32(channels.checked_mul(g.kernel.iter().product()))?];
        inputs.extend(self.epilogue.operand_bytes(channels, out.unwrap_or(0))?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(out)?], scratch: 0 })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.block as usize)?;
        let tiles = split_row(self.geometry.output()[2], PIXELS);
        self.ready = Some(DepthwiseReady { epilogue: self.epilogue.compile(isa)?, tiles });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        let g = &self.geometry;
        let b = self.block as usize;
        let [od, oh, ow] = g.output();
        let (blocks, in_plane) = (g.c.div_ceil(b), g.input.iter().product::<usize>() * b);
        let window = g.kernel.iter().product::<usize>() * b;
        let (x, w) = (args.input::<f32>(0), args.input::<f32>(1));
        let operand = |i: usize| args.input::<f32>(2 + i);
        let out = SharedMut::new(args.output::<f32>(0));
        let e = &ready.epilogue;
        let clamp = match e.activation {
            Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Clamp(lo, hi) => (lo, hi),
        };
        let level = threads.level();
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        threads.for_each_range(g.n * blocks * od * oh, parts, |_, rows| {
            for row in rows {
                let (plane, y) = (row / (od * oh), row % (od * oh));
                let at = row * ow * b;
                let block = plane % blocks;
                let origin = [(y / oh, 0), (y % oh, 1)]
                    .map(|(o, a)| (o * g.strides[a]) as isize - g.pads[a].0 as isize);
                let row = Row {
                    g,
                    tiles: &ready.tiles,
                    x: &raw const x[plane * in_plane],
                    w: &raw const w[block * window],
                    // SAFETY: each row of output belongs to one call.
                    out: unsafe { out.ptr(at) },
                    bias: e.bias.map_or(std::ptr::null(), |i| &raw const operand(i)[block * b]),
                    residual: e.residual.map_or(std::ptr::null(), |i| &raw const operand(i)[at]),
                    clamp,
                    origin,
                    ranges: [range(g, 0, origin[0]), range(g, 1, origin[1])],
                };
                // SAFETY: `sizes` made every argument as long as the geometry needs.
                unsafe { with_lanes(level, b, row) };
                if e.rest.is_some() {
                    // SAFETY: as for the row.
                    let values = unsafe { out.slice(at, ow * b) };
                    e.finish(values, |o, kind| match kind {
                        EpilogueOperand::PerChannel => {
                            TapeInput::Repeat(&operand(o)[block * b..(block + 1) * b])
                        }
                        EpilogueOperand::Full => TapeInput::Stream(&operand(o)[at..at + ow * b]),
                        EpilogueOperand::Scalar => TapeInput::Splat(operand(o)[0]),
                    });
                }
            }
        });
    }
}

/// One row of output of one channel block.
struct Row<'a> {
    g: &'a ConvGeometry,
    tiles: &'a [(usize, usize)],
    x: *const f32,
    w: *const f32,
    out: *mut f32,
    bias: *const f32,
    residual: *const f32,
    clamp: (f32, f32),
    origin: [isize; 2],
    ranges: [(usize, usize); 2],
}

impl Body for Row<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for &(start, pixels) in self.tiles {
            // SAFETY: by contract.
            unsafe {
                match (pixels, self.g.strides[2]) {
                    (8, 1) => self.tile::<S, 8, 1>(start),
                    (8, 2) => self.tile::<S, 8, 2>(start),
                    (7, 1) => self.tile::<S, 7, 1>(start),
                    (7, 2) => self.tile::<S, 7, 2>(start),
                    (4, 1) => self.tile::<S, 4, 1>(start),
                    (n, _) => {
                        for i in 0..n {
                            self.tile::<S, 1, 0>(start + i);
                        }
                    }
                }
            }
        }
    }
}

impl Row<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize, const STRIDE: usize>(&self, start: usize) {
        // SAFETY: by contract.
        unsafe {
            let g = self.g;
            let stride = if STRIDE == 0 { g.strides[2] } else { STRIDE };
            let [_, kh, kw] = g.kernel;
            let origin = (start * g.strides[2]) as isize - g.pads[2].0 as isize;
            let span = (P - 1) * stride + (kw - 1) * g.dilations[2] + 1;
            let inside = origin >= 0 && origin as usize + span <= g.input[2];
            let mut patch = Patch([std::mem::MaybeUninit::uninit(); MAX_SPAN * 16]);
            let patch = patch.0.as_mut_ptr().cast::<f32>();
            let first = if self.bias.is_null() { S::splat(0.0) } else { S::load(self.bias) };
            let mut acc = [first; P];
            for d in self.ranges[0].0..self.ranges[0].1 {
                let z = (self.origin[0] + (d * g.dilations[0]) as isize) as usize;
                for h in self.ranges[1].0..self.ranges[1].1 {
                    let y = (self.origin[1] + (h * g.dilations[1]) as isize) as usize;
                    let row = self.x.add((z * g.input[1] + y) * g.input[2] * S::LANES);
                    let from = if inside {
                        row.add(origin as usize * S::LANES)
                    } else {
                        fill::<S, false>(patch, row, origin, span, g.input[2]);
                        patch.cast_const()
                    };
                    let w = self.w.add((d * kh + h) * kw * S::LANES);
                    for s in 0..kw {
                        let v = S::load(w.add(s * S::LANES));
                        let x = from.add(s * g.dilations[2] * S::LANES);
                        for p in 0..P {
                            acc[p] = S::fma(S::load(x.add(p * stride * S::LANES)), v, acc[p]);
                        }
                    }
                }
            }
            let (lo, hi) = (S::splat(self.clamp.0), S::splat(self.clamp.1));
            for p in 0..P {
                let at = (start + p) * S::LANES;
                let mut v = acc[p];
                if !self.residual.is_null() {
                    v = S::add(v, S::load(self.residual.add(at)));
                }
                S::store(self.out.add(at), S::clamp(v, lo, hi));
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
        let shapes = [
            (20, [13, 17], [3, 3], 1, 1, 1),
            (32, [14, 15], [5, 5], 2, 2, 1),
            (7, [9, 40], [3, 3], 1, 2, 2),
            (16, [6, 29], [7, 7], 3, 3, 1),
            (8, [3, 3], [3, 3], 1, 0, 1),
        ];
        for (c, size, kernel, stride, pad, dilation) in shapes {
            let mut g = ConvGeometry::image(2, c, size, c, kernel, stride, pad);
            g.groups = c;
            g.dilations = [1, dilation, dilation];
            let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
            let (bias, want) = (values(c, 3), plain(&g, &x, &w));
            let [d, h, v] = g.output();
            let want: Vec<f64> = want
                .iter()
                .enumerate()
                .map(|(i, s)| (s + f64::from(bias[i / (d * h * v) % c])).clamp(0.0, 6.0))
                .collect();
            for threads in pools() {
                for block in [8u8, 16] {
                    if check_lanes(threads.level().isa(), block as usize).is_err() {
                        continue;
                    }
                    let b = block as usize;
                    let k = DepthwiseConv { geometry: g.clone(), block, epilogue: relu6(), ready: None };
                    let packed = k.pack(&w).unwrap();
                    let mut padded = bias.clone();
                    padded.resize(c.div_ceil(b) * b, 0.0);
                    let got = run(k, &[&to_blocked(&x, 2, c, b), &packed, &padded], &threads);
                    assert_close(&from_blocked(&got, 2, c, b), &want, 1e-5, &format!("{g:?} c{block}"));
                }
            }
        }
    }

    fn relu6() -> Epilogue {
        use tactician_types::{Binary, Expr, ExprNode, Scalar};
        let mut e = Expr::empty();
        let (x, b) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)));
        let (zero, six) =
            (e.push(ExprNode::Const(Scalar::f32(0.0))), e.push(ExprNode::Const(Scalar::f32(6.0))));
        let t = e.push(ExprNode::Binary(Binary::Add, x, b));
        let t = e.push(ExprNode::Binary(Binary::Max, t, zero));
        let t = e.push(ExprNode::Binary(Binary::Min, t, six));
        Epilogue { expr: e.finish(t), operands: vec![EpilogueOperand::PerChannel] }
    }

    #[test]
    fn refuses_other_groups() {
        let g = ConvGeometry::image(1, 8, [5, 5], 8, [3, 3], 1, 1);
        let k = DepthwiseConv { geometry: g, block: 8, epilogue: Epilogue::default(), ready: None };
        assert!(k.sizes(1).unwrap_err().contains("depthwise"));
    }
}
