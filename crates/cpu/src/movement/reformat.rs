//! `move.reformat`: the same tensor in another layout.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tactician_types::Layout;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::level::{Level, per_level};
use crate::movement::element::{Element, by_size, bytes_of, in_parts, product};
use crate::movement::tile::{Target, transpose};
use crate::threads::{SharedMut, Threads};

/// Changes the layout of `[n, channels, pixels]`. Channels that pad the last block are written as zeros and never
/// read. One input, one output, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reformat {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element: u8,
    /// The layout of the input.
    pub from: Layout,
    /// The layout of the output, another one.
    pub to: Layout,
    /// Images.
    pub n: usize,
    /// Channels.
    pub channels: usize,
    /// Product of the spatial sizes.
    pub pixels: usize,
}

/// Pixels that a thread takes at a time.
const STRETCH: usize = 256;
/// Plain or channels-last channels that a thread takes at a time.
const CHANNELS: usize = 64;

/// How a layout cuts channels into groups that lie apart: the channels of a group, and the groups.
#[derive(Clone, Copy)]
struct Groups {
    /// Channels stored for each pixel of a group.
    width: usize,
    /// How many.
    count: usize,
}

impl Reformat {
    /// Channels in groups: one group of all for channels last. Plain has no groups.
    fn groups(&self, layout: Layout) -> Groups {
        match layout {
            Layout::Blocked(b) => {
                Groups { width: b as usize, count: self.channels.div_ceil(b.max(1) as usize) }
            }
            _ => Groups { width: self.channels, count: 1 },
        }
    }

    fn len(&self, layout: Layout) -> Result<usize, KernelError> {
        if layout == Layout::Blocked(0) {
            return Err("blocks of no channels".into());
        }
        let Groups { width, count } = self.groups(layout);
        product([width, count])?;
        product([self.n, count, width, self.pixels])
    }
}

impl Kernel for Reformat {
    const NAME: &'static str = "move.reformat";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        if self.from == self.to {
            return Err("input and output have one layout".into());
        }
        Ok(ArgSizes {
            inputs: vec![bytes_of(self.len(self.from)?, self.element)?],
            outputs: vec![bytes_of(self.len(self.to)?, self.element)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        by_size!(self.element, T => self.change::<T>(args.input(0), args.output(0), threads));
    }
}

impl Reformat {
    fn change<T: Element>(&self, x: &[T], out: &mut [T], threads: &Threads) {
        let (pixels, channels) = (self.pixels, self.channels);
        if self.n * pixels * channels == 0 {
            return;
        }
        let level = threads.level();
        let g = self.groups(self.to);
        let n = self.n * g.count * g.width * pixels;
        let out = &mut out[..n];
        let bytes = size_of_val(out);
        let out = SharedMut::new(out);
        if self.to == Layout::Plain {
            return self.to_plain(level, x, out, bytes, threads);
        }
        let stretches = pixels.div_ceil(STRETCH);
        in_parts(threads, self.n * g.count * stretches, bytes, |range| {
            for unit in range {
                let (image, group) = (unit / stretches / g.count, unit / stretches % g.count);
                let start = unit % stretches * STRETCH;
                let stretch = start..(start + STRETCH).min(pixels);
                let at = ((image * g.count + group) * pixels + start) * g.width;
                // SAFETY: stretches of groups are disjoint and inside the output.
                let to = unsafe { out.slice(at, stretch.len() * g.width) };
                let first = group * g.width;
                let real = g.width.min(channels - first);
                if self.from == Layout::Plain {
                    let src = &x[(image * channels + first) * pixels + start..];
                    // SAFETY: the slice holds the transpose of `real` rows, `g.width` apart.
                    let target = unsafe { Target::new(to.as_mut_ptr(), g.width) };
                    transpose(level, src, pixels, real, stretch.len(), target);
                    if real < g.width {
                        to.chunks_exact_mut(g.width).for_each(|p| p[real..].fill(T::zeroed()));
                    }
                } else {
                    let own = self.groups(self.from);
                    let x = &x[image * own.count * own.width * pixels..];
                    regroup(level, x, own.width, pixels, stretch, first..first + real, to, g.width);
                }
            }
        });
    }

    fn to_plain<T: Element>(
        &self,
        level: Level,
        x: &[T],
        out: SharedMut<'_, T>,
        bytes: usize,
        threads: &Threads,
    ) {
        let (pixels, channels) = (self.pixels, self.channels);
        let own = self.groups(self.from);
        // Work is cut by groups, wide groups again by channels, and by pixels.
        let cut = own.width.min(CHANNELS);
        let pieces = own.width.min(channels).div_ceil(cut);
        let stretches = pixels.div_ceil(STRETCH);
        in_parts(threads, self.n * own.count * pieces * stretches, bytes, |range| {
            for unit in range {
                let (place, start) = (unit / stretches, unit % stretches * STRETCH);
                let (piece, group) = (place % pieces, place / pieces % own.count);
                let image = place / pieces / own.count;
                let skip = piece * cut;
                let first = group * own.width + skip;
                let real = cut.min(own.width - skip).min(channels.saturating_sub(first));
                if real == 0 {
                    continue;
                }
                let len = STRETCH.min(pixels - start);
                let src = &x[((image * own.count + group) * pixels + start) * own.width + skip..];
                // SAFETY: units write disjoint parts of rows of the output, `pixels` apart.
                let target =
                    unsafe { Target::new(out.ptr((image * channels + first) * pixels + start), pixels) };
                transpose(level, src, own.width, len, real, target);
            }
        });
    }
}

/// Copies channels `take` of pixels `stretch` from groups of `width` channels into groups of `to_width`, one of which
/// is `to`; the rest of it becomes zero.
#[inline(always)]
fn regroup_body<const FMA: bool, T: Element>(
    x: &[T],
    width: usize,
    pixels: usize,
    stretch: Range<usize>,
    take: Range<usize>,
    to: &mut [T],
    to_width: usize,
) {
    let mut channel = take.start;
    while channel < take.end {
        let (group, lane) = (channel / width, channel % width);
        let len = (width - lane).min(take.end - channel);
        let from = &x[(group * pixels + stretch.start) * width..(group * pixels + stretch.end) * width];
        let at = channel - take.start;
        let pairs = to.chunks_exact_mut(to_width).zip(from.chunks_exact(width));
        match len {
            8 => pairs.for_each(|(t, f)| t[at..at + 8].copy_from_slice(&f[lane..lane + 8])),
            16 => pairs.for_each(|(t, f)| t[at..at + 16].copy_from_slice(&f[lane..lane + 16])),
            n => pairs.for_each(|(t, f)| t[at..at + n].copy_from_slice(&f[lane..lane + n])),
        }
        channel += len;
    }
    if take.len() < to_width {
        to.chunks_exact_mut(to_width).for_each(|t| t[take.len()..].fill(T::zeroed()));
    }
}

per_level! {
    fn regroup[T: Element](
        x: &[T],
        width: usize,
        pixels: usize,
        stretch: Range<usize>,
        take: Range<usize>,
        to: &mut [T],
        to_width: usize,
    ) = regroup_body[T]
}

#[cfg(test)]
#[path = "reformat_tests.rs"]
mod tests;
