//! Convolution and its transpose over plain tensors as they are, a row of outputs at a time.
//!
//! A tile is a few vectors of output pixels times up to eight filters. The window's offsets are the outer loops and
//! the channels the inner one, so whether a tile touches the padding is asked once an offset. In a transposed
//! convolution the pixels of a tile lie a stride apart: then they read neighbouring inputs, through the same offsets.

use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::gemm::finish::{Operands, ReadyFinish};
use crate::gemm::simd::{Body, Simd, with_lanes};
use crate::kernel::Args;
use crate::threads::{SharedMut, Threads};

/// What is computed. Channels and filters are those of one group.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    n: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    pads: [usize; 3],
    dilations: [usize; 3],
    transposed: bool,
    lanes: usize,
}

impl Shape {
    /// A convolution.
    pub(crate) fn of_conv(g: &ConvGeometry, isa: Isa) -> Shape {
        Shape {
            n: g.n,
            groups: g.groups,
            channels: g.c / g.groups,
            filters: g.k / g.groups,
            input: g.input,
            output: g.output(),
            kernel: g.kernel,
            strides: g.strides,
            pads: g.pads.map(|p| p.0),
            dilations: g.dilations,
            transposed: false,
            lanes: if isa == Isa::Avx512 { 16 } else { 8 },
        }
    }

    /// The transpose of convolution `g`, from `input` pixels to those that `g` reads.
    pub(crate) fn of_transpose(g: &ConvGeometry, input: [usize; 3], isa: Isa) -> Shape {
        Shape {
            channels: g.k / g.groups,
            filters: g.c / g.groups,
            input,
            output: g.input,
            transposed: true,
            ..Shape::of_conv(g, isa)
        }
    }

    /// The input position on an axis that output `o` reads through window offset `r`; `None` where there is none.
    fn source(&self, axis: usize, o: usize, r: usize) -> Option<usize> {
        let at = self.first(axis, o, r)?;
        usize::try_from(at).ok().filter(|&i| i < self.input[axis])
    }

    /// The same, possibly outside the input.
    #[inline(always)]
    fn first(&self, axis: usize, o: usize, r: usize) -> Option<isize> {
        let (s, p) = (self.strides[axis] as isize, self.pads[axis] as isize);
        let (o, r) = (o as isize, (r * self.dilations[axis]) as isize);
        if !self.transposed {
            return Some(o * s + r - p);
        }
        let t = o + p - r;
        (t.rem_euclid(s) == 0).then(|| t.div_euclid(s))
    }
}

/// Filters of a unit of work.
const FILTERS: usize = 8;
/// Most pixels of a tile.
const MAX_PIXELS: usize = 64;

/// One run.
pub(crate) struct Rows<'a> {
    s: &'a Shape,
    x: &'a [f32],
    w: &'a [f32],
    out: SharedMut<'a, f32>,
    finish: &'a ReadyFinish,
    operands: Operands<'a>,
}

impl<'a> Rows<'a> {
    /// Takes `x`, `w` and the epilogue's operands from the inputs.
    pub(crate) fn new(s: &'a Shape, finish: &'a ReadyFinish, args: &Args<'a>) -> Rows<'a> {
        Rows {
            s,
            x: args.input(0),
            w: args.input(1),
            out: SharedMut::new(args.output(0)),
            finish,
            operands: finish.operands(args, 2),
        }
    }

    /// Computes.
    ///
    /// # Safety
    /// Arguments are as long as the shape needs.
    pub(crate) unsafe fn run(&self, threads: &Threads) {
        let s = self.s;
        let units = s.n * s.groups * s.filters.div_ceil(FILTERS) * s.output[0] * s.output[1];
        let parts = if threads.count() == 1 { 1 } else { threads.count() * 4 };
        threads.for_each_range(units, parts, |_, range| {
            // SAFETY: by contract; units have their own outputs.
            unsafe { with_lanes(threads.level(), s.lanes, Units { rows: self, range }) };
        });
    }
}

/// Units counted over images, groups, blocks of filters and output rows.
struct Units<'r, 'a> {
    rows: &'r Rows<'a>,
    range: std::ops::Range<usize>,
}

impl Body for Units<'_, '_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (run, s) = (self.rows, self.rows.s);
        let [od, oh, ow] = s.output;
        let blocks = s.filters.div_ceil(FILTERS);
        let window: usize = s.kernel.iter().product();
        let plane: usize = s.input.iter().product();
        let out_plane = od * oh * ow;
        for unit in self.range {
            let (rest, line) = (unit / (od * oh), unit % (od * oh));
            let (rest, block) = (rest / blocks, rest % blocks);
            let (image, group) = (rest / s.groups, rest % s.groups);
            let first = block * FILTERS;
            let count = FILTERS.min(s.filters - first);
            let at = ((image * s.groups + group) * s.filters + first) * out_plane + line * ow;
            let (w, w_filter, w_channel) = if s.transposed {
                (group * s.channels * s.filters + first, window, s.filters * window)
            } else {
                ((group * s.filters + first) * s.channels, s.channels * window, window)
            };
            // SAFETY: inside the arguments, which hold all images, channels and filters.
            let mut row = unsafe {
                Row {
                    s,
                    x: run.x.as_ptr().add((image * s.groups + group) * s.channels * plane),
                    plane,
                    place: [line / oh, line % oh],
                    w: run.w.as_ptr().add(w * window),
                    w_filter,
                    w_channel,
                    out: run.out.ptr(at),
                    out_plane,
                    phase: 0,
                    width: ow,
                }
            };
            let mut left = count;
            while left > 0 {
                // SAFETY: the row's filters, inputs and outputs are inside the arguments.
                unsafe {
                    let did = match left {
                        8.. if S::LANES == 16 => row.filters::<S, 8, 2>(),
                        4.. => row.filters::<S, 4, 2>(),
                        2.. => row.filters::<S, 2, 4>(),
                        _ => row.filters::<S, 1, 4>(),
                    };
                    left -= did;
                    if left > 0 {
                        row.w = row.w.add(did * w_filter);
                        row.out = row.out.add(did * out_plane);
                    }
                }
            }
            if !run.finish.is_nothing() {
                for i in 0..count {
                    let at = at + i * out_plane;
                    // SAFETY: this unit's own outputs.
                    let values = unsafe { run.out.slice(at, ow) };
                    run.finish.apply(at, values, &run.operands);
                }
            }
        }
    }
}

/// One output row of some filters.
struct Row<'a> {
    s: &'a Shape,
    /// First channel of the group.
    x: *const f32,
    plane: usize,
    /// Output depth and height.
    place: [usize; 2],
    w: *const f32,
    w_filter: usize,
    w_channel: usize,
    out: *mut f32,
    out_plane: usize,
    /// First output of the row that is computed now, and how many: all, or in a transpose every stride-th.
    phase: usize,
    width: usize,
}

impl Row<'_> {
    /// Computes the row of `K` filters, up to `NV` vectors at a time, and returns `K`.
    #[inline(always)]
    unsafe fn filters<S: Simd, const K: usize, const NV: usize>(&mut self) -> usize {
        let (wide, narrow) = (NV * S::LANES, S::LANES);
        let ow = self.s.output[2];
        let phases = if self.s.transposed { self.s.strides[2].min(ow) } else { 1 };
        for phase in 0..phases {
            self.phase = phase;
            self.width = if self.s.transposed { (ow - phase).div_ceil(self.s.strides[2]) } else { ow };
            // The last tile may overlap those before: the epilogue comes when the row is complete.
            let mut at = 0;
            while at < self.width {
                let left = self.width - at;
                // SAFETY: by contract; a tile ends inside the row, or is the only one and clipped.
                unsafe {
                    if self.width >= wide && left > narrow {
                        self.tile::<S, K, NV>(at.min(self.width - wide));
                        at += wide;
                    } else {
                        self.tile::<S, K, 1>(at.min(self.width.saturating_sub(narrow)));
                        at += narrow;
                    }
                }
            }
        }
        K
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const K: usize, const NV: usize>(&self, start: usize) {
        let s = self.s;
        let pixels = NV * S::LANES;
        let valid = (self.width - start).min(pixels);
        let (in_step, out_step) = if s.transposed { (1, s.strides[2]) } else { (s.strides[2], 1) };
        let (step, width) = (in_step as isize, s.input[2] as isize);
        let place = self.phase + start * out_step;
        // SAFETY: inside a body that was entered for this instruction set.
        let mut acc = [[unsafe { S::splat(0.0) }; NV]; K];
        for kd in 0..s.kernel[0] {
            let Some(d) = s.source(0, self.place[0], kd) else { continue };
            for kh in 0..s.kernel[1] {
                let Some(h) = s.source(1, self.place[1], kh) else { continue };
                let line = (d * s.input[1] + h) * s.input[2];
                for kw in 0..s.kernel[2] {
                    let Some(first) = s.first(2, place, kw) else { continue };
                    // Pixels `from..to` of the tile read inputs, the others padding.
                    let from = if first < 0 { ((-first + step - 1) / step) as usize } else { 0 };
                    let to = if first < width { ((width - first + step - 1) / step) as usize } else { 0 };
                    let to = to.min(valid);
                    if from >= to {
                        continue;
                    }
                    let offset = (kd * s.kernel[1] + kh) * s.kernel[2] + kw;
                    // SAFETY: the offset is inside the window; reads stay in `from..to`.
                    unsafe {
                        let w = self.w.add(offset);
                        let x = self.x.add(line + (first + from as isize * step) as usize);
                        if from == 0 && to == pixels && step == 1 {
                            self.channels::<S, K, NV>(x, w, &mut acc);
                        } else {
                            self.gathered::<S, K, NV>(x, w, from..to, in_step, &mut acc);
                        }
                    }
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            // SAFETY: `valid` pixels of this row from `place` on, `out_step` apart, are inside the output.
            unsafe {
                let to = self.out.add(i * self.out_plane + place);
                if valid == pixels && out_step == 1 {
                    for (v, a) in acc.iter().enumerate() {
                        S::store(to.add(v * S::LANES), *a);
                    }
                } else {
                    let mut buffer = [0.0f32; MAX_PIXELS];
                    for (v, a) in acc.iter().enumerate() {
                        S::store(buffer.as_mut_ptr().add(v * S::LANES), *a);
                    }
                    for (j, b) in buffer[..valid].iter().enumerate() {
                        *to.add(j * out_step) = *b;
                    }
                }
            }
        }
    }

    /// All channels at one window offset, input pixels being neighbours and none missing.
    #[inline(always)]
    unsafe fn channels<S: Simd, const K: usize, const NV: usize>(
        &self,
        x: *const f32,
        w: *const f32,
        acc: &mut [[S::V; NV]; K],
    ) {
        for c in 0..self.s.channels {
            // SAFETY: by contract of the caller.
            unsafe {
                let x = x.add(c * self.plane);
                let mut v = [S::splat(0.0); NV];
                for (i, v) in v.iter_mut().enumerate() {
                    *v = S::load(x.add(i * S::LANES));
                }
                accumulate::<S, K, NV>(v, w.add(c * self.w_channel), self.w_filter, acc);
            }
        }
    }

    /// The same for pixels `step` apart, `lanes` of the tile only; `x` is where the first of them reads.
    #[inline(always)]
    unsafe fn gathered<S: Simd, const K: usize, const NV: usize>(
        &self,
        x: *const f32,
        w: *const f32,
        lanes: std::ops::Range<usize>,
        step: usize,
        acc: &mut [[S::V; NV]; K],
    ) {
        let mut buffer = [0.0f32; MAX_PIXELS];
        let count = lanes.len();
        for c in 0..self.s.channels {
            // SAFETY: by contract of the caller; lanes are among the tile's, which fit the buffer.
            unsafe {
                let x = x.add(c * self.plane);
                let to = buffer.as_mut_ptr().add(lanes.start);
                for i in 0..count {
                    *to.add(i) = *x.add(i * step);
                }
                let mut v = [S::splat(0.0); NV];
                for (i, v) in v.iter_mut().enumerate() {
                    *v = S::load(buffer.as_ptr().add(i * S::LANES));
                }
                accumulate::<S, K, NV>(v, w.add(c * self.w_channel), self.w_filter, acc);
            }
        }
    }
}

/// Adds the products of `v` and one weight of each filter.
#[inline(always)]
unsafe fn accumulate<S: Simd, const K: usize, const NV: usize>(
    v: [S::V; NV],
    w: *const f32,
    step: usize,
    acc: &mut [[S::V; NV]; K],
) {
    for (i, row) in acc.iter_mut().enumerate() {
        // SAFETY: by contract of the caller.
        unsafe {
            let weight = S::splat(*w.add(i * step));
            for (a, v) in row.iter_mut().zip(v) {
                *a = S::fma(weight, v, *a);
            }
        }
    }
}
