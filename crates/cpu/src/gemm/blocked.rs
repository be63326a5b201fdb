//! The cache-blocked matrix product: `C = A · B`, blocks of steps outside, tiles of registers inside, the epilogue on
//! results that are still in cache.
//!
//! ```text
//!  for block of columns ─▶ for block of steps ─▶ pack the block of B ─▶ for tile of rows ─▶ for panel ─▶ micro::tile
//! ```

use std::mem::MaybeUninit;

use crate::gemm::finish::{Operands, ReadyFinish};
use crate::gemm::micro::{self, MAX_COLUMNS, MAX_ROWS, Tile};
use crate::gemm::pack::{Left, Right, RowTiles, panel};
use crate::level::Level;
use crate::threads::SharedMut;

/// Most steps of a block: a panel of them fills half a nearest cache.
pub(crate) const STEPS: usize = 256;
/// Columns of a block when nothing else bounds them.
pub(crate) const COLUMNS: usize = 256;
/// Rows of the left matrix are copied together when at least this many panels read them.
const WORTH_PACKING: usize = 4;

/// One matrix product of a run.
pub(crate) struct Product<'a, R: Right> {
    pub(crate) level: Level,
    pub(crate) lanes: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) left: Left,
    pub(crate) right: &'a R,
    /// All outputs of the kernel, and where those of this product begin, row by row.
    pub(crate) out: SharedMut<'a, f32>,
    pub(crate) start: usize,
    pub(crate) finish: Option<(&'a ReadyFinish, &'a Operands<'a>)>,
}

/// How a product is split: parts of rows and of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Split {
    /// For `products` products on `threads` threads.
    pub(crate) fn new(m: usize, n: usize, lanes: usize, products: usize, threads: usize) -> Split {
        if threads <= 1 || m == 0 || n == 0 {
            return Split { rows: 1, columns: 1 };
        }
        let want = (threads * 4).div_ceil(products.max(1));
        // Every part of rows reads all of its columns' right matrix: where that is the larger one, columns are split first, down
        // to single panels.
        let least = if n > m { 1 } else { 4 };
        let columns = want.min(n.div_ceil(panel(lanes) * least));
        let rows = want.div_ceil(columns).min(RowTiles::new(m, lanes).count);
        Split { rows, columns }
    }

    /// Parts of one product.
    pub(crate) fn parts(&self) -> usize {
        self.rows * self.columns
    }
}

impl<R: Right> Product<'_, R> {
    /// Computes part `part` of `split`. The block of columns is as wide as `buffer` allows, which holds packed parts
    /// of the right matrix; without one it is a single panel, on the stack.
    ///
    /// # Safety
    /// The matrices are readable and the outputs inside `out`; no other call computes the same outputs meanwhile; the
    /// level has vectors of `lanes` floats.
    pub(crate) unsafe fn part(&self, split: Split, part: usize, buffer: Option<&mut [f32]>) {
        let width = panel(self.lanes);
        let tiles = RowTiles::new(self.m, self.lanes);
        let at = |n: usize, i: usize, parts: usize| (n as u128 * i as u128 / parts as u128) as usize;
        let (i, j) = (part / split.columns, part % split.columns);
        let tile_range = at(tiles.count, i, split.rows)..at(tiles.count, i + 1, split.rows);
        let panels = self.n.div_ceil(width);
        let from = at(panels, j, split.columns) * width;
        let to = (at(panels, j + 1, split.columns) * width).min(self.n);
        let mut stack = [MaybeUninit::<f32>::uninit(); STEPS * MAX_COLUMNS];
        let (packed, block) = match buffer {
            Some(b) => (b.as_mut_ptr(), b.len() / (STEPS * width) * width),
            None => (stack.as_mut_ptr().cast(), width),
        };
        let whole = self.right.in_place(0, from, width).is_some();
        // What is read in place needs no room, but for the last panel.
        let block = if whole { block.max(COLUMNS) } else { block };
        debug_assert!(block >= width);
        let rows = tiles.start(tile_range.start)..tiles.start(tile_range.end);
        let mut column = from;
        while column < to {
            let end = (column + block).min(to);
            // SAFETY: by contract; `packed` holds all panels that are not read in place: at most the last, or a block.
            unsafe {
                self.block(&tiles, tile_range.clone(), column, end, packed);
                self.finish(rows.clone(), column, end);
            }
            column = end;
        }
    }

    unsafe fn block(
        &self,
        tiles: &RowTiles,
        range: std::ops::Range<usize>,
        from: usize,
        to: usize,
        packed: *mut f32,
    ) {
        let width = panel(self.lanes);
        let blocks = self.k.div_ceil(STEPS);
        let mut rows = [MaybeUninit::<f32>::uninit(); MAX_ROWS * STEPS];
        let copy_rows = (to - from).div_ceil(width) >= WORTH_PACKING;
        if self.k == 0 {
            for i in tiles.start(range.start)..tiles.start(range.end) {
                // SAFETY: by contract of `part`.
                unsafe { self.out.slice(self.start + i * self.n + from, to - from) }.fill(0.0);
            }
        }
        for b in 0..blocks {
            let (k0, k1) = (self.k * b / blocks, self.k * (b + 1) / blocks);
            let mut used = 0;
            for j in (from..to).step_by(width) {
                if self.right.in_place(k0, j, width).is_none() {
                    // SAFETY: by contract of `part`; the panels that need packing fit.
                    unsafe {
                        self.right.pack(
                            k0,
                            k1,
                            j,
                            (to - j).min(width),
                            width,
                            packed.add(used * STEPS * width),
                        );
                    }
                    used += 1;
                }
            }
            for t in range.clone() {
                let (first, next) = (tiles.start(t), tiles.start(t + 1));
                let m = next - first;
                let (a, a_row, a_step) = match self.left {
                    Left::Packed(at) => (at.wrapping_add(first * self.k + k0 * m), 1, m),
                    Left::Strided { at, row, step } => {
                        let a = at.wrapping_add(first * row + k0 * step);
                        if copy_rows && row != 1 {
                            let to: *mut f32 = rows.as_mut_ptr().cast();
                            for i in 0..m {
                                for p in 0..k1 - k0 {
                                    // SAFETY: inside the matrix, and inside `rows`.
                                    unsafe { *to.add(p * m + i) = *a.add(i * row + p * step) };
                                }
                            }
                            (to.cast_const(), 1, m)
                        } else {
                            (a, row, step)
                        }
                    }
                };
                let mut used = 0;
                for j in (from..to).step_by(width) {
                    let (b, b_step) = self.right.in_place(k0, j, width).unwrap_or_else(|| {
                        used += 1;
                        (packed.wrapping_add((used - 1) * STEPS * width).cast_const(), width)
                    });
                    // SAFETY: by contract of `part`.
                    unsafe {
                        let tile = Tile {
                            a,
                            a_row,
                            a_step,
                            b,
                            b_step,
                            steps: k1 - k0,
                            c: self.out.ptr(self.start + first * self.n + j),
                            c_row: self.n,
                            columns: (to - j).min(width),
                            add: k0 > 0,
                        };
                        micro::tile(self.level, self.lanes, m, &tile);
                    }
                }
            }
        }
    }

    unsafe fn finish(&self, rows: std::ops::Range<usize>, from: usize, to: usize) {
        let Some((finish, operands)) = self.finish.filter(|f| !f.0.is_nothing()) else { return };
        let step = to - from;
        if step == self.n {
            let at = self.start + rows.start * self.n;
            // SAFETY: this part's outputs.
            let values = unsafe { self.out.slice(at, rows.len() * self.n) };
            finish.apply(at, values, operands);
            return;
        }
        for i in rows {
            let at = self.start + i * self.n + from;
            // SAFETY: this part's outputs.
            finish.apply(at, unsafe { self.out.slice(at, step) }, operands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_matrix_is_read_once() {
        // A layer of a small transformer, and the last convolution of a network as a product.
        assert_eq!(Split::new(52, 384, 16, 1, 2), Split { rows: 1, columns: 8 });
        let many_filters = Split::new(512, 49, 16, 1, 2);
        assert!(many_filters.columns == 1 && many_filters.rows > 1, "{many_filters:?}");
        assert_eq!(Split::new(52, 384, 16, 1, 1).parts(), 1);
    }
}
