//! The columns of a convolution's input: for each output pixel all values that its window covers.

use crate::conv::ConvGeometry;
use crate::gemm::micro::MAX_COLUMNS;
use crate::gemm::pack::Right;

/// Columns of one image and group, made as they are packed. Step `(c·KD + d)·KH·KW + h·KW + w` is the value under
/// window offset (d, h, w) of channel `c`.
pub(crate) struct Columns<'a> {
    g: &'a ConvGeometry,
    output: [usize; 3],
    x: *const f32,
}

// SAFETY: only read.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Of the group whose first channel is at `x`.
    pub(crate) fn new(g: &'a ConvGeometry, x: *const f32) -> Columns<'a> {
        Columns { g, output: g.output(), x }
    }
}

/// Neighbouring output pixels of one row.
#[derive(Clone, Copy, Default)]
struct Run {
    /// First column of the panel.
    at: usize,
    len: usize,
    /// Input position of the first pixel at window offset 0; may lie in the padding.
    origin: [isize; 3],
}

impl Right for Columns<'_> {
    fn in_place(&self, _k0: usize, _j: usize, _width: usize) -> Option<(*const f32, usize)> {
        None
    }

    unsafe fn pack(&self, k0: usize, k1: usize, j: usize, columns: usize, width: usize, to: *mut f32) {
        let g = self.g;
        let [_, oh, ow] = self.output;
        let mut runs = [Run::default(); MAX_COLUMNS];
        let mut count = 0;
        let mut at = 0;
        while at < columns {
            let pixel = j + at;
            let place = [pixel / (oh * ow), pixel / ow % oh, pixel % ow];
            let len = (ow - place[2]).min(columns - at);
            let origin = std::array::from_fn(|a| (place[a] * g.strides[a]) as isize - g.pads[a].0 as isize);
            runs[count] = Run { at, len, origin };
            count += 1;
            at += len;
        }
        let runs = &runs[..count];
        let [kd, kh, kw] = g.kernel;
        let plane: usize = g.input.iter().product();
        let (mut channel, rest) = (k0 / (kd * kh * kw), k0 % (kd * kh * kw));
        let mut offset = [rest / (kh * kw), rest / kw % kh, rest % kw];
        let mut to = to;
        for _ in k0..k1 {
            // SAFETY: by contract: the channel is inside the group; `to` has room for a row of the panel.
            unsafe {
                self.row(runs, self.x.add(channel * plane), offset, to);
                for i in columns..width {
                    *to.add(i) = 0.0;
                }
                to = to.add(width);
            }
            offset[2] += 1;
            if offset[2] == kw {
                offset[2] = 0;
                offset[1] += 1;
                if offset[1] == kh {
                    offset[1] = 0;
                    offset[0] += 1;
                    if offset[0] == kd {
                        offset[0] = 0;
                        channel += 1;
                    }
                }
            }
        }
    }
}

impl Columns<'_> {
    /// Writes one step of all runs.
    #[inline(always)]
    unsafe fn row(&self, runs: &[Run], x: *const f32, offset: [usize; 3], to: *mut f32) {
        let g = self.g;
        let [id, ih, iw] = g.input.map(|i| i as isize);
        let [dd, dh, dw]: [isize; 3] = std::array::from_fn(|a| (offset[a] * g.dilations[a]) as isize);
        let stride = g.strides[2] as isize;
        for r in runs {
            let (d, h, w) = (r.origin[0] + dd, r.origin[1] + dh, r.origin[2] + dw);
            // SAFETY: by contract of `pack`; reads are checked against the input's sizes.
            unsafe {
                let to = to.add(r.at);
                if d < 0 || d >= id || h < 0 || h >= ih {
                    std::ptr::write_bytes(to, 0, r.len);
                    continue;
                }
                let line = x.add(((d * ih + h) * iw) as usize);
                let last = w + (r.len as isize - 1) * stride;
                if w >= 0 && last < iw {
                    let from = line.add(w as usize);
                    match stride {
                        1 if r.len == MAX_COLUMNS => {
                            to.cast::<[f32; MAX_COLUMNS]>()
                                .write_unaligned(from.cast::<[f32; MAX_COLUMNS]>().read_unaligned());
                        }
                        1 => std::ptr::copy_nonoverlapping(from, to, r.len),
                        _ => {
                            for i in 0..r.len {
                                *to.add(i) = *from.add(i * stride as usize);
                            }
                        }
                    }
                    continue;
                }
                for i in 0..r.len {
                    let w = w + i as isize * stride;
                    *to.add(i) = if w >= 0 && w < iw { *line.add(w as usize) } else { 0.0 };
                }
            }
        }
    }
}
