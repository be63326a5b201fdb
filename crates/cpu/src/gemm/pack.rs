//! The two sides of a matrix product, and how they are packed for [`super::micro`].

use crate::gemm::micro::{MAX_COLUMNS, VECTORS, rows};

/// Rows split into tiles of at most `rows(lanes)`, as even as they can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowTiles {
    rows: usize,
    pub(crate) count: usize,
}

impl RowTiles {
    pub(crate) fn new(m: usize, lanes: usize) -> RowTiles {
        RowTiles { rows: m, count: m.div_ceil(rows(lanes)) }
    }

    /// First row of tile `t`.
    pub(crate) fn start(&self, t: usize) -> usize {
        (self.rows as u128 * t as u128 / self.count.max(1) as u128) as usize
    }
}

/// The left matrix, `m × k`.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// Element (i, p) is at `i·row + p·step`.
    Strided { at: *const f32, row: usize, step: usize },
    /// As [`pack_left`] made it.
    Packed(*const f32),
}

/// The left matrix tile by tile, in each the rows of one step together.
pub(crate) fn pack_left(a: &[f32], m: usize, k: usize, row: usize, step: usize, lanes: usize) -> Vec<f32> {
    let tiles = RowTiles::new(m, lanes);
    let mut out = Vec::with_capacity(m * k);
    for t in 0..tiles.count {
        for p in 0..k {
            out.extend((tiles.start(t)..tiles.start(t + 1)).map(|i| a[i * row + p * step]));
        }
    }
    out
}

/// Columns of a panel.
pub(crate) const fn panel(lanes: usize) -> usize {
    VECTORS * lanes
}

/// Floats of a right matrix packed whole, `None` on overflow.
pub(crate) fn packed_len(k: usize, n: usize, lanes: usize) -> Option<usize> {
    n.div_ceil(panel(lanes)).checked_mul(panel(lanes))?.checked_mul(k)
}

/// The right matrix, `k × n`, read in panels of columns.
pub(crate) trait Right: Sync {
    /// Where step `k0` of the columns from `j` on is readable as a whole panel of `width` columns, and the distance
    /// of steps; `None` if it must be packed.
    fn in_place(&self, k0: usize, j: usize, width: usize) -> Option<(*const f32, usize)>;

    /// Writes steps `k0..k1` of `columns` columns from `j` on to `to`, steps `width` apart, zeros after the columns.
    ///
    /// # Safety
    /// These are inside the matrix and `columns ≤ width ≤ MAX_COLUMNS`; `to` is valid for `(k1 − k0) · width` floats.
    unsafe fn pack(&self, k0: usize, k1: usize, j: usize, columns: usize, width: usize, to: *mut f32);
}

/// Packed whole: panels of all steps, one after another.
pub(crate) struct Panels {
    pub(crate) at: *const f32,
    pub(crate) k: usize,
}

// SAFETY: only read.
unsafe impl Sync for Panels {}

impl Right for Panels {
    fn in_place(&self, k0: usize, j: usize, width: usize) -> Option<(*const f32, usize)> {
        // Panel `j / width` starts at that many times `k · width`.
        Some((self.at.wrapping_add(j * self.k + k0 * width), width))
    }

    unsafe fn pack(&self, _k0: usize, _k1: usize, _j: usize, _columns: usize, _width: usize, _to: *mut f32) {
        unreachable!("packed panels are read in place");
    }
}

/// Element (p, j) is at `p·step + j·column`.
pub(crate) struct Strided {
    pub(crate) at: *const f32,
    pub(crate) step: usize,
    pub(crate) column: usize,
    /// Columns.
    pub(crate) n: usize,
    /// Whether panels are read in place where they can be.
    pub(crate) in_place: bool,
}

// SAFETY: only read.
unsafe impl Sync for Strided {}

impl Right for Strided {
    fn in_place(&self, k0: usize, j: usize, width: usize) -> Option<(*const f32, usize)> {
        let whole = self.in_place && self.column == 1 && j + width <= self.n;
        whole.then(|| (self.at.wrapping_add(k0 * self.step + j), self.step))
    }

    unsafe fn pack(&self, k0: usize, k1: usize, j: usize, columns: usize, width: usize, to: *mut f32) {
        debug_assert!(columns <= width && width <= MAX_COLUMNS);
        // SAFETY: by contract.
        unsafe {
            if columns < width {
                std::ptr::write_bytes(to, 0, (k1 - k0) * width);
            }
            if self.column == 1 {
                for p in k0..k1 {
                    let from = self.at.add(p * self.step + j);
                    std::ptr::copy_nonoverlapping(from, to.add((p - k0) * width), columns);
                }
                return;
            }
            // Eight steps of one column share a cache line when the matrix is stored transposed.
            for p0 in (k0..k1).step_by(8) {
                let p1 = (p0 + 8).min(k1);
                for i in 0..columns {
                    let from = self.at.add((j + i) * self.column);
                    for p in p0..p1 {
                        *to.add((p - k0) * width + i) = *from.add(p * self.step);
                    }
                }
            }
        }
    }
}

/// A right matrix packed whole, for [`Panels`].
pub(crate) fn pack_right(b: &Strided, k: usize, lanes: usize) -> Vec<f32> {
    let width = panel(lanes);
    let mut out = vec![0.0; b.n.div_ceil(width) * width * k];
    if k > 0 {
        for (p, to) in out.chunks_exact_mut(width * k).enumerate() {
            let j = p * width;
            // SAFETY: the caller's matrix holds `k × n` elements; the chunk is a panel.
            unsafe { b.pack(0, k, j, (b.n - j).min(width), width, to.as_mut_ptr()) };
        }
    }
    out
}
