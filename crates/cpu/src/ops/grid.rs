//! Expressions over a grid of stored elements, with operands that span some of its axes.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::Expr;

use crate::kernel::{KernelError, size_of_f32};
use crate::tape::{Tape, TapeInput};

/// Most axes of a grid: eight, and one more for the blocks of a layout.
pub const MAX_GRID_AXES: usize = 9;
/// Most operands of an expression over a grid.
pub const MAX_GRID_OPERANDS: usize = 48;
/// Operands that may be expanded at one time.
const MAX_EXPANDED: usize = 4;
/// Elements expanded at a time.
const EXPANDED: usize = 512;
/// Last axes shorter than this are run together with the axis before them.
const SHORT: usize = 512;
/// Bound on element counts: products with element sizes stay inside 63 bits.
const MAX_LEN: usize = 1 << 44;

/// The product of sizes, if reasonable.
pub(crate) fn product(sizes: &[usize]) -> Result<usize, KernelError> {
    sizes
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b))
        .filter(|&n| n <= MAX_LEN)
        .ok_or_else(|| format!("sizes {sizes:?} are too large"))
}

/// The stored axes of a tensor and which of them each operand spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Sizes of the stored axes, outermost first.
    pub sizes: Vec<usize>,
    /// For each operand the axes that it has, bit `i` for axis `i`; it is dense over these, in their order.
    pub operands: Vec<u16>,
}

impl Grid {
    /// Elements of the grid.
    ///
    /// # Errors
    /// When there are too many axes or operands, or sizes overflow.
    pub fn elements(&self) -> Result<usize, KernelError> {
        if self.sizes.len() > MAX_GRID_AXES || self.operands.len() > MAX_GRID_OPERANDS {
            return Err(format!("a grid has at most {MAX_GRID_AXES} axes and {MAX_GRID_OPERANDS} operands"));
        }
        // With an empty axis the others are unbounded; their products are used all the same.
        product(&self.sizes.iter().map(|&s| s.max(1)).collect::<Vec<_>>())?;
        product(&self.sizes)
    }

    /// Elements of operand `i`.
    fn operand_len(&self, i: usize) -> usize {
        let mask = self.operands[i];
        self.sizes.iter().enumerate().filter(|(a, _)| mask >> a & 1 == 1).map(|(_, s)| s).product()
    }

    /// Elements of each operand.
    ///
    /// # Errors
    /// As [`Grid::elements`], and when an operand has an axis that is not there.
    pub fn operand_lens(&self) -> Result<Vec<usize>, KernelError> {
        self.elements()?;
        let rank = self.sizes.len();
        if self.operands.iter().any(|m| m >> rank != 0) {
            return Err(format!("an operand has an axis beyond the {rank} of the grid"));
        }
        Ok((0..self.operands.len()).map(|i| self.operand_len(i)).collect())
    }
}

/// An `f32` expression over a grid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridExpr {
    /// The expression. As an operation its input `i` is operand `i`; as an epilogue input 0 is the value so far and
    /// input `i + 1` operand `i`.
    pub expr: Expr,
    /// The grid.
    pub grid: Grid,
}

impl GridExpr {
    /// Bytes of each operand when this follows an operation that stores `out` elements.
    pub(crate) fn epilogue_bytes(&self, out: usize) -> Result<Vec<u64>, KernelError> {
        let lens = self.grid.operand_lens()?;
        if self.grid.elements()? != out {
            return Err(format!("the epilogue covers {} elements of {out}", self.grid.elements()?));
        }
        self.expr.check()?;
        if self.expr.arity() > lens.len() + 1 {
            return Err("the epilogue uses an operand that it does not have".into());
        }
        lens.into_iter().map(|n| size_of_f32(Some(n))).collect()
    }

    /// Compiles as an epilogue; `None` for one that does nothing.
    pub(crate) fn epilogue(&self, isa: Isa) -> Result<Option<ReadyGrid>, KernelError> {
        if self.expr.is_identity() {
            return Ok(None);
        }
        Ok(Some(ReadyGrid::new(self, isa)?))
    }
}

/// How a run of elements reads an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Consecutive elements.
    Stream,
    /// One element.
    Splat,
    /// The last axis' elements over and over.
    Repeat,
    /// Each element as often as the last axis is long.
    Expand,
}

/// Neighbouring axes that every operand has or lacks together, made one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collapsed {
    pub(crate) sizes: Vec<usize>,
    pub(crate) masks: Vec<u16>,
}

impl Collapsed {
    pub(crate) fn new(grid: &Grid) -> Collapsed {
        let n = grid.operands.len();
        let mut out = Collapsed { sizes: Vec::new(), masks: vec![0; n] };
        for (axis, &size) in grid.sizes.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let has: Vec<bool> = grid.operands.iter().map(|m| m >> axis & 1 == 1).collect();
            let same = out
                .sizes
                .len()
                .checked_sub(1)
                .is_some_and(|last| (0..n).all(|i| (out.masks[i] >> last & 1 == 1) == has[i]));
            if same {
                *out.sizes.last_mut().expect("not empty") *= size;
                continue;
            }
            for (m, h) in out.masks.iter_mut().zip(has) {
                *m |= u16::from(h) << out.sizes.len();
            }
            out.sizes.push(size);
        }
        if out.sizes.is_empty() {
            out.sizes.push(1);
        }
        out
    }

    /// Steps of operand `i` along each axis, 0 where it has none.
    pub(crate) fn strides(&self, i: usize) -> [usize; MAX_GRID_AXES] {
        let mut strides = [0; MAX_GRID_AXES];
        let mut step = 1;
        for axis in (0..self.sizes.len()).rev() {
            if self.masks[i] >> axis & 1 == 1 {
                strides[axis] = step;
                step *= self.sizes[axis];
            }
        }
        strides
    }
}

/// A compiled [`GridExpr`].
#[derive(Clone, Debug)]
pub(crate) struct ReadyGrid {
    tape: Tape,
    /// Axes outside the run.
    outer: Vec<usize>,
    /// Elements of a run.
    run: usize,
    /// Length of the last axis.
    inner: usize,
    operands: Vec<(Read, [usize; MAX_GRID_AXES])>,
    repeats: bool,
    expanded: usize,
}

impl ReadyGrid {
    /// Compiles for `isa`.
    pub(crate) fn new(e: &GridExpr, isa: Isa) -> Result<ReadyGrid, KernelError> {
        let tape = Tape::compile(&e.expr, isa)?;
        let axes = Collapsed::new(&e.grid);
        let (n, last) = (e.grid.operands.len(), axes.sizes.len() - 1);
        let has = |i: usize, axis: usize| axes.masks[i] >> axis & 1 == 1;
        let inner = axes.sizes[last];
        let wide = last > 0 && inner < SHORT;
        let lone = (0..n).filter(|&i| last > 0 && has(i, last - 1) && !has(i, last)).count();
        let wide = wide && lone <= MAX_EXPANDED;
        let reads = |i: usize| match (wide && has(i, last - 1), has(i, last)) {
            (true, true) => Read::Stream,
            (false, true) if wide => Read::Repeat,
            (false, true) => Read::Stream,
            (true, false) => Read::Expand,
            (false, false) => Read::Splat,
        };
        let operands: Vec<_> = (0..n).map(|i| (reads(i), axes.strides(i))).collect();
        let count = |r: Read| operands.iter().filter(|o| o.0 == r).count();
        let (repeats, expanded) = (count(Read::Repeat) > 0, count(Read::Expand));
        let cut = if wide { last - 1 } else { last };
        let run = axes.sizes[cut..].iter().product();
        Ok(ReadyGrid { tape, outer: axes.sizes[..cut].to_vec(), run, inner, operands, repeats, expanded })
    }

    /// Evaluates into `out`, the elements from number `start` on.
    pub(crate) fn run<'a>(&self, start: usize, out: &mut [f32], operand: &dyn Fn(usize) -> &'a [f32]) {
        self.pieces(start, out, operand, &|tape, inputs, out| tape.run(inputs, out));
    }

    /// The same with input 0 being the value in `out` and input `i + 1` operand `i`.
    pub(crate) fn finish<'a>(&self, start: usize, out: &mut [f32], operand: &dyn Fn(usize) -> &'a [f32]) {
        self.pieces(start, out, operand, &|tape, inputs, out| tape.run_in_place(out, inputs));
    }

    fn pieces<'a>(
        &self,
        start: usize,
        out: &mut [f32],
        operand: &dyn Fn(usize) -> &'a [f32],
        eval: &dyn Fn(&Tape, &[TapeInput<'_>], &mut [f32]),
    ) {
        if self.expanded > 0 {
            self.walk(start, out, operand, eval, &mut [[0.0; EXPANDED]; MAX_EXPANDED]);
        } else {
            self.walk(start, out, operand, eval, &mut []);
        }
    }

    fn walk<'a>(
        &self,
        start: usize,
        out: &mut [f32],
        operand: &dyn Fn(usize) -> &'a [f32],
        eval: &dyn Fn(&Tape, &[TapeInput<'_>], &mut [f32]),
        buffers: &mut [[f32; EXPANDED]],
    ) {
        let n = self.operands.len();
        let mut done = 0;
        while done < out.len() {
            let at = start + done;
            let (mut index, offset) = (at / self.run, at % self.run);
            let phase = offset % self.inner;
            let mut len = (self.run - offset).min(out.len() - done);
            if self.expanded > 0 {
                len = len.min(EXPANDED);
            }
            if self.repeats && phase != 0 {
                len = len.min(self.inner - phase);
            }
            let mut bases = [0; MAX_GRID_OPERANDS];
            for (axis, &size) in self.outer.iter().enumerate().rev() {
                let i = index % size;
                index /= size;
                for (base, o) in bases.iter_mut().zip(&self.operands) {
                    *base += i * o.1[axis];
                }
            }
            let mut buffer = 0;
            for (i, &(read, _)) in self.operands.iter().enumerate() {
                if read == Read::Expand {
                    let x = &operand(i)[bases[i]..];
                    expand(x, self.inner, offset, &mut buffers[buffer][..len]);
                    buffer += 1;
                }
            }
            let mut inputs = [TapeInput::Splat(0.0); MAX_GRID_OPERANDS];
            let mut buffer = 0;
            for (i, &(read, _)) in self.operands.iter().enumerate() {
                let (x, base) = (operand(i), bases[i]);
                inputs[i] = match read {
                    Read::Stream => TapeInput::Stream(&x[base + offset..base + offset + len]),
                    Read::Splat => TapeInput::Splat(x[base]),
                    Read::Repeat if phase == 0 => TapeInput::Repeat(&x[base..base + self.inner]),
                    Read::Repeat => TapeInput::Stream(&x[base + phase..base + phase + len]),
                    Read::Expand => {
                        buffer += 1;
                        TapeInput::Stream(&buffers[buffer - 1][..len])
                    }
                };
            }
            eval(&self.tape, &inputs[..n], &mut out[done..done + len]);
            done += len;
        }
    }
}

/// Writes element `(offset + i) / times` of `x` to place `i`.
fn expand(x: &[f32], times: usize, offset: usize, out: &mut [f32]) {
    let (mut from, mut left) = (offset / times, times - offset % times);
    let mut done = 0;
    while done < out.len() {
        let len = left.min(out.len() - done);
        out[done..done + len].fill(x[from]);
        done += len;
        from += 1;
        left = times;
    }
}
