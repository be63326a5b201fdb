//! `move.strided`: a dense output whose elements are picked from the input with a step an axis.

use serde::{Deserialize, Serialize};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::level::Level;
use crate::movement::element::{Element, MAX_AXES, by_size, bytes_of, check_axes, in_parts, product};
use crate::movement::tile::{Target, transpose};
use crate::threads::{SharedMut, Threads};

/// One axis of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAxis {
    /// Its size.
    pub size: usize,
    /// By how many elements of the input one step along it moves; 0 repeats, negative runs backwards.
    pub step: i64,
}

/// Picks elements: transposes, slices, broadcasts. One input, one output, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strided {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element: u8,
    /// Axes of the output, outermost first.
    pub axes: Vec<CopyAxis>,
    /// Element of the input that the output begins with.
    pub offset: usize,
}

/// Rows and columns that a thread transposes at a time.
const PANEL: usize = 64;

impl Strided {
    /// Elements of the output, and how many of the input are needed.
    fn lens(&self) -> Result<(usize, usize), KernelError> {
        check_axes(self.axes.len())?;
        let out = product(self.axes.iter().map(|a| a.size))?;
        if out == 0 {
            return Ok((0, 0));
        }
        let start = i128::try_from(self.offset).map_err(|_| "the offset overflows")?;
        let (mut first, mut last) = (start, start);
        for a in &self.axes {
            // Sizes are below 2^44, so nothing overflows.
            let reach = i128::from(a.step) * (a.size as i128 - 1);
            first += reach.min(0);
            last += reach.max(0);
        }
        if first < 0 {
            return Err("steps reach before the input".into());
        }
        let needed = usize::try_from(last + 1).map_err(|_| "steps overflow")?;
        product([needed])?;
        Ok((out, needed))
    }

    /// Axes without those of one element, neighbours made one where the input allows.
    fn collapsed(&self) -> Axes {
        let mut out = Axes { list: [CopyAxis::default(); MAX_AXES], len: 0 };
        for a in self.axes.iter().filter(|a| a.size != 1) {
            if out.len > 0 {
                let last = &mut out.list[out.len - 1];
                if last.step == a.step * a.size as i64 {
                    *last = CopyAxis { size: last.size * a.size, step: a.step };
                    continue;
                }
            }
            out.list[out.len] = *a;
            out.len += 1;
        }
        if out.len == 0 {
            out.list[0] = CopyAxis { size: 1, step: 1 };
            out.len = 1;
        }
        out
    }
}

/// Collapsed axes.
struct Axes {
    list: [CopyAxis; MAX_AXES],
    len: usize,
}

impl Axes {
    fn all(&self) -> &[CopyAxis] {
        &self.list[..self.len]
    }
}

impl Kernel for Strided {
    const NAME: &'static str = "move.strided";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let (out, needed) = self.lens()?;
        Ok(ArgSizes {
            inputs: vec![bytes_of(needed, self.element)?],
            outputs: vec![bytes_of(out, self.element)?],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let n: usize = self.axes.iter().map(|a| a.size).product();
        if n == 0 {
            return;
        }
        by_size!(self.element, T => {
            copy::<T>(args.input(0), &mut args.output(0)[..n], self.offset, &self.collapsed(), threads);
        });
    }
}

fn copy<T: Element>(x: &[T], out: &mut [T], offset: usize, axes: &Axes, threads: &Threads) {
    let list = axes.all();
    let (last, outer) = (list[list.len() - 1], &list[..list.len() - 1]);
    let crossing = outer.iter().position(|a| a.step == 1 && a.size > 1);
    if let (Some(at), true) = (crossing, last.step > 1 && last.size > 1) {
        return transposed(x, out, offset, axes, at, threads);
    }
    let (n, bytes) = (out.len(), size_of_val(out));
    let out = SharedMut::new(out);
    in_parts(threads, n, bytes, |range| {
        let mut at = range.start;
        while at < range.end {
            let (row, from) = (at / last.size, at % last.size);
            let len = (last.size - from).min(range.end - at);
            let base = place(offset, outer, row) + from as i64 * last.step;
            // SAFETY: ranges are disjoint and inside the output.
            let to = unsafe { out.slice(at, len) };
            line(x, base as usize, last.step, to);
            at += len;
        }
    });
}

/// Where the element of row `row` begins in the input.
fn place(offset: usize, outer: &[CopyAxis], mut row: usize) -> i64 {
    let mut at = offset as i64;
    for a in outer.iter().rev() {
        at += (row % a.size) as i64 * a.step;
        row /= a.size;
    }
    at
}

/// `to[i] = x[base + i · step]`.
fn line<T: Element>(x: &[T], base: usize, step: i64, to: &mut [T]) {
    match step {
        1 => to.copy_from_slice(&x[base..base + to.len()]),
        0 => to.fill(x[base]),
        s if s > 0 => to.iter_mut().zip(x[base..].iter().step_by(s as usize)).for_each(|(t, &v)| *t = v),
        s => {
            let back = s.unsigned_abs() as usize;
            to.iter_mut().zip(x[..=base].iter().rev().step_by(back)).for_each(|(t, &v)| *t = v);
        }
    }
}

/// Axis `at` is dense in the input, the last axis in the output.
fn transposed<T: Element>(x: &[T], out: &mut [T], offset: usize, axes: &Axes, at: usize, threads: &Threads) {
    let list = axes.all();
    let end = list.len() - 1;
    let (dense, last) = (list[at], list[end]);
    let row_step: usize = list[at + 1..].iter().map(|a| a.size).product();
    // Steps of the other axes in the output.
    let mut others = [(CopyAxis::default(), 0usize); MAX_AXES];
    let (mut count, mut step) = (0, 1);
    for (i, a) in list.iter().enumerate().rev() {
        if i != at && i != end {
            others[count] = (*a, step);
            count += 1;
        }
        step *= a.size;
    }
    let others = &others[..count];
    let (down, across) = (last.size.div_ceil(PANEL), dense.size.div_ceil(PANEL));
    let units = others.iter().map(|o| o.0.size).product::<usize>() * down * across;
    let level: Level = threads.level();
    let bytes = size_of_val(out);
    let out = SharedMut::new(out);
    in_parts(threads, units, bytes, |range| {
        for unit in range {
            let (row, col) = (unit % down * PANEL, unit / down % across * PANEL);
            let (mut index, mut from, mut to) = (unit / down / across, offset as i64, 0);
            for (a, step) in others {
                let i = index % a.size;
                index /= a.size;
                from += i as i64 * a.step;
                to += i * step;
            }
            let from = from as usize + row * last.step as usize + col;
            let to = to + col * row_step + row;
            let (rows, cols) = ((last.size - row).min(PANEL), (dense.size - col).min(PANEL));
            // SAFETY: panels are disjoint parts of the output, which the axes cover exactly.
            let target = unsafe { Target::new(out.ptr(to), row_step) };
            transpose(level, &x[from..], last.step as usize, rows, cols, target);
        }
    });
}

#[cfg(test)]
#[path = "strided_tests.rs"]
mod tests;
