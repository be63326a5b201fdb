//! `move.pad`: borders around a tensor.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::movement::element::{Element, MAX_AXES, by_size, bytes_of, check_axes, in_parts, product};
use crate::threads::{SharedMut, Threads};

/// What borders hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// An element given by its bits, the lowest bytes first.
    Constant(u64),
    /// The tensor mirrored, its edge not repeated.
    Reflect,
    /// The edge.
    Edge,
    /// The tensor again.
    Wrap,
}

/// One axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PadAxis {
    /// Size of the input.
    pub size: usize,
    /// Elements added before.
    pub before: usize,
    /// Elements added after.
    pub after: usize,
}

/// Adds borders. One input, one output, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element: u8,
    /// The stored axes, outermost first.
    pub axes: Vec<PadAxis>,
    /// What the borders hold.
    pub fill: Fill,
}

impl PadAxis {
    fn padded(self) -> Option<usize> {
        self.size.checked_add(self.before)?.checked_add(self.after)
    }

    /// Elements of the output.
    fn out(self) -> usize {
        self.size + self.before + self.after
    }

    /// Which element of the input lies at output position `o`; `None` in a constant border.
    fn source(self, o: usize, fill: Fill) -> Option<usize> {
        let Some(p) = o.checked_sub(self.before) else {
            let back = self.before - o;
            return match fill {
                Fill::Constant(_) => None,
                Fill::Reflect => Some(back),
                Fill::Edge => Some(0),
                Fill::Wrap => Some(self.size - back),
            };
        };
        if p < self.size {
            return Some(p);
        }
        match fill {
            Fill::Constant(_) => None,
            Fill::Reflect => Some(2 * (self.size - 1) - p),
            Fill::Edge => Some(self.size - 1),
            Fill::Wrap => Some(p - self.size),
        }
    }
}

impl Kernel for Pad {
    const NAME: &'static str = "move.pad";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        check_axes(self.axes.len())?;
        let n = product(self.axes.iter().map(|a| a.size))?;
        let mut padded = [0; MAX_AXES];
        for (p, a) in padded.iter_mut().zip(&self.axes) {
            *p = a.padded().ok_or("sizes overflow")?;
        }
        let out = product(padded[..self.axes.len()].iter().copied())?;
        for (i, a) in self.axes.iter().enumerate() {
            let limit = match self.fill {
                Fill::Constant(_) => usize::MAX,
                Fill::Reflect => a.size.saturating_sub(1),
                Fill::Wrap => a.size,
                Fill::Edge if a.size == 0 => 0,
                Fill::Edge => usize::MAX,
            };
            if a.before.max(a.after) > limit {
                return Err(format!("axis {i} of {} elements is too short for its borders", a.size));
            }
        }
        Ok(ArgSizes {
            inputs: vec![bytes_of(n, self.element)?],
            outputs: vec![bytes_of(out, self.element)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        by_size!(self.element, T => {
            let fill = match self.fill {
                // The lowest bytes of the bits are the element.
                Fill::Constant(bits) => bits as T,
                _ => 0,
            };
            self.copy::<T>(args.input(0), args.output(0), fill, threads);
        });
    }
}

/// What the rows of a pad have in common: trailing axes without borders are part of the elements.
struct Rows<'a> {
    outer: &'a [PadAxis],
    last: PadAxis,
    /// Elements behind one position of the last axis.
    inner: usize,
    /// Steps of the outer axes in the input.
    steps: [usize; MAX_AXES],
}

impl Pad {
    fn rows(&self) -> Rows<'_> {
        let cut = self.axes.iter().rposition(|a| a.before + a.after > 0).unwrap_or(0);
        let inner = self.axes.iter().skip(cut + 1).map(|a| a.size).product();
        let last = self.axes.get(cut).copied().unwrap_or(PadAxis { size: 1, before: 0, after: 0 });
        let outer = &self.axes[..cut];
        let mut steps = [0; MAX_AXES];
        let mut step = last.size * inner;
        for (i, a) in outer.iter().enumerate().rev() {
            steps[i] = step;
            step *= a.size;
        }
        Rows { outer, last, inner, steps }
    }
}

impl Pad {
    fn copy<T: Element>(&self, x: &[T], out: &mut [T], fill: T, threads: &Threads) {
        let rows = self.rows();
        let count: usize = rows.outer.iter().map(|a| a.out()).product();
        let width = rows.last.out() * rows.inner;
        if count * width == 0 {
            return;
        }
        let out = &mut out[..count * width];
        let bytes = size_of_val(out);
        let out = SharedMut::new(out);
        // Positions of the last axis are the units: a single long row is shared out too.
        in_parts(threads, count * rows.last.out(), bytes, |range| {
            let mut at = range.start;
            while at < range.end {
                let (row, from) = (at / rows.last.out(), at % rows.last.out());
                let len = (rows.last.out() - from).min(range.end - at);
                // SAFETY: ranges are disjoint and inside the output.
                let to = unsafe { out.slice(at * rows.inner, len * rows.inner) };
                match self.base(&rows, row) {
                    Some(base) => self.line(&rows, x, base, from..from + len, to, fill),
                    None => to.fill(fill),
                }
                at += len;
            }
        });
    }

    /// Where the input of output row `row` begins; `None` for a row of a constant border.
    fn base(&self, rows: &Rows<'_>, mut row: usize) -> Option<usize> {
        let mut at = 0;
        for (i, a) in rows.outer.iter().enumerate().rev() {
            at += a.source(row % a.out(), self.fill)? * rows.steps[i];
            row /= a.out();
        }
        Some(at)
    }

    /// Positions `range` of an output row.
    fn line<T: Element>(
        &self,
        rows: &Rows<'_>,
        x: &[T],
        base: usize,
        range: Range<usize>,
        to: &mut [T],
        fill: T,
    ) {
        let (last, inner) = (rows.last, rows.inner);
        let middle = range.start.max(last.before)..range.end.min(last.before + last.size);
        let mut border = |r: Range<usize>| {
            for o in r {
                let to = &mut to[(o - range.start) * inner..][..inner];
                match last.source(o, self.fill) {
                    Some(p) => to.copy_from_slice(&x[base + p * inner..][..inner]),
                    None => to.fill(fill),
                }
            }
        };
        border(range.start..range.end.min(last.before));
        border(range.start.max(last.before + last.size)..range.end);
        if middle.start < middle.end {
            let from = base + (middle.start - last.before) * inner;
            let len = middle.len() * inner;
            to[(middle.start - range.start) * inner..][..len].copy_from_slice(&x[from..from + len]);
        }
    }
}

#[cfg(test)]
#[path = "pad_tests.rs"]
mod tests;
