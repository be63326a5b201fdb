//! The register tile of direct convolution: up to 14 output pixels of a row times up to 4 channel blocks.
//!
//! Every multiply-add takes a weight vector (a block of output channels) and one broadcast input value. A tile of
//! `P × KB` accumulators loads `KB` vectors and `P` scalars for `P·KB` multiply-adds; with 28 accumulators that
//! leaves the multiply-adder as the only limit.

use crate::conv::simd::Simd;

/// Longest row of input that a tile may span, in pixels: bounds the patch on the stack.
pub(crate) const MAX_SPAN: usize = 96;

/// What a tile computes. Pointers are to floats; strides count floats.
pub(crate) struct Tile {
    /// Input of this image and group, at channel 0, pixel (0, 0, 0).
    pub(crate) x: *const f32,
    /// From one input block to the next.
    pub(crate) x_block: usize,
    /// From one input depth slice, and from one row, to the next.
    pub(crate) x_depth: usize,
    pub(crate) x_row: usize,
    /// Input width in pixels.
    pub(crate) width: usize,
    /// Input channels, and how many lie in a block (1 for plain input).
    pub(crate) channels: usize,
    pub(crate) c_block: usize,
    /// First input pixel of the tile on each axis; may lie in the padding.
    pub(crate) origin: [isize; 3],
    /// Window offsets that fall inside the input, along depth and height.
    pub(crate) depth_range: (usize, usize),
    pub(crate) row_range: (usize, usize),
    /// Window sizes and steps.
    pub(crate) kernel: [usize; 3],
    pub(crate) dilation: [usize; 3],
    /// Step between output pixels along the row.
    pub(crate) stride: usize,
    /// Packed weights of this group of filters.
    pub(crate) w: *const f32,
    /// Where the first pixel of the first output block goes, and the distance between blocks.
    pub(crate) out: *mut f32,
    pub(crate) out_block: usize,
    /// Channel blocks of values to add, or null.
    pub(crate) bias: *const f32,
    /// Added after the bias, at the output's place, or null.
    pub(crate) residual: *const f32,
    /// Bounds of the result.
    pub(crate) clamp: (f32, f32),
}

/// A patch of input with its padding, on the stack.
#[repr(align(64))]
pub(crate) struct Patch(pub(crate) [std::mem::MaybeUninit<f32>; MAX_SPAN * 16]);

/// Computes `P` pixels of `KB` blocks. `STRIDE` is the pixel step when known at compile time, else 0.
///
/// # Safety
/// The pointers are valid for all that the fields describe; the instruction set of `S` is there; the row span of the
/// tile is at most [`MAX_SPAN`] pixels and `c_block` at most 16.
#[inline(always)]
pub(crate) unsafe fn compute<
    S: Simd,
    const P: usize,
    const KB: usize,
    const STRIDE: usize,
    const PLAIN: bool,
>(
    t: &Tile,
) {
    // SAFETY: by contract.
    unsafe {
        let unit = if PLAIN { 1 } else { S::LANES };
        let stride = if STRIDE == 0 { t.stride } else { STRIDE };
        let mut acc = [[S::splat(0.0); KB]; P];
        if !t.bias.is_null() {
            for k in 0..KB {
                let b = S::load(t.bias.add(k * S::LANES));
                for row in &mut acc {
                    row[k] = b;
                }
            }
        }
        let step = KB * S::LANES;
        let [kd, kh, kw] = t.kernel;
        let span = (P - 1) * stride + (kw - 1) * t.dilation[2] + 1;
        let inside = t.origin[2] >= 0 && t.origin[2] as usize + span <= t.width;
        let mut patch = Patch([std::mem::MaybeUninit::uninit(); MAX_SPAN * 16]);
        let patch = patch.0.as_mut_ptr().cast::<f32>();
        let blocks = t.channels.div_ceil(t.c_block);
        for cb in 0..blocks {
            let count = if PLAIN { 1 } else { (t.channels - cb * t.c_block).min(t.c_block) };
            for d in t.depth_range.0..t.depth_range.1 {
                let z = (t.origin[0] + (d * t.dilation[0]) as isize) as usize;
                for h in t.row_range.0..t.row_range.1 {
                    let y = (t.origin[1] + (h * t.dilation[1]) as isize) as usize;
                    let row = t.x.add(cb * t.x_block + z * t.x_depth + y * t.x_row);
                    let from = if inside {
                        row.add(t.origin[2] as usize * unit)
                    } else {
                        fill::<S, PLAIN>(patch, row, t.origin[2], span, t.width);
                        patch.cast_const()
                    };
                    let mut w = t.w.add(((cb * kd + d) * kh + h) * kw * t.c_block * step);
                    for s in 0..kw {
                        let x = from.add(s * t.dilation[2] * unit);
                        for c in 0..count {
                            let mut v = [S::splat(0.0); KB];
                            for k in 0..KB {
                                v[k] = S::load(w.add(c * step + k * S::LANES));
                            }
                            for p in 0..P {
                                let b = S::splat(*x.add(p * stride * unit + c));
                                for k in 0..KB {
                                    acc[p][k] = S::fma(b, v[k], acc[p][k]);
                                }
                            }
                        }
                        w = w.add(t.c_block * step);
                    }
                }
            }
        }
        let (lo, hi) = (S::splat(t.clamp.0), S::splat(t.clamp.1));
        for k in 0..KB {
            for p in 0..P {
                let at = k * t.out_block + p * S::LANES;
                let mut v = acc[p][k];
                if !t.residual.is_null() {
                    v = S::add(v, S::load(t.residual.add(at)));
                }
                S::store(t.out.add(at), S::clamp(v, lo, hi));
            }
        }
    }
}

/// Copies `span` pixels from `origin` on, zeros where they lie outside.
#[inline(always)]
pub(crate) unsafe fn fill<S: Simd, const PLAIN: bool>(
    patch: *mut f32,
    row: *const f32,
    origin: isize,
    span: usize,
    width: usize,
) {
    for i in 0..span {
        let at = origin + i as isize;
        let inside = at >= 0 && (at as usize) < width;
        // SAFETY: the patch holds `span` pixels, the row `width`.
        unsafe {
            if PLAIN {
                *patch.add(i) = if inside { *row.add(at as usize) } else { 0.0 };
            } else {
                let v = if inside { S::load(row.add(at as usize * S::LANES)) } else { S::splat(0.0) };
                S::store(patch.add(i * S::LANES), v);
            }
        }
    }
}
