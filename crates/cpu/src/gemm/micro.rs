//! The register tile of matrix products: up to 12 rows (6 with eight-float vectors) by two vectors of columns.
//!
//! One step of the inner loop loads two vectors of the right matrix and one value of each row of the left: with 12
//! rows, 24 multiply-adds for 14 loads, in 24 accumulators.

use crate::gemm::simd::{Body, Simd, with_lanes};
use crate::level::Level;

/// Vectors in a panel of columns.
pub(crate) const VECTORS: usize = 2;
/// Most columns of a panel.
pub(crate) const MAX_COLUMNS: usize = 16 * VECTORS;
/// Most rows of a tile.
pub(crate) const MAX_ROWS: usize = 12;

/// Most rows of a tile with vectors of `lanes` floats: 32 registers with AVX-512, else 16.
pub(crate) const fn rows(lanes: usize) -> usize {
    if lanes == 16 { MAX_ROWS } else { 6 }
}

/// One tile. Strides count floats.
pub(crate) struct Tile {
    /// Left matrix at the tile's first row and first step.
    pub(crate) a: *const f32,
    /// From row to row, and from step to step.
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// Right matrix at the tile's first column and first step; a whole panel of columns must be readable.
    pub(crate) b: *const f32,
    pub(crate) b_step: usize,
    /// Steps.
    pub(crate) steps: usize,
    /// Where the result goes.
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// How many columns are stored.
    pub(crate) columns: usize,
    /// Whether the result is added to what is there.
    pub(crate) add: bool,
}

struct Work<'a, const M: usize, const NV: usize, const PACKED: bool>(&'a Tile);

impl<const M: usize, const NV: usize, const PACKED: bool> Body for Work<'_, M, NV, PACKED> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // Never asked for; this keeps them from being compiled.
        if M > rows(S::LANES) {
            return;
        }
        // SAFETY: by contract.
        unsafe { compute::<S, M, NV, PACKED>(self.0) }
    }
}

/// `PACKED`: rows are neighbours, steps `M` apart.
#[inline(always)]
unsafe fn compute<S: Simd, const M: usize, const NV: usize, const PACKED: bool>(t: &Tile) {
    // SAFETY: by contract.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; M];
        let (mut a, mut b) = (t.a, t.b);
        let (row, step) = if PACKED { (1, M) } else { (t.a_row, t.a_step) };
        for _ in 0..t.steps {
            let mut v = [S::splat(0.0); NV];
            for (i, v) in v.iter_mut().enumerate() {
                *v = S::load(b.add(i * S::LANES));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.wrapping_add(r * row));
                for (acc, v) in acc.iter_mut().zip(v) {
                    *acc = S::fma(x, v, *acc);
                }
            }
            // Past the last step these point outside.
            a = a.wrapping_add(step);
            b = b.wrapping_add(t.b_step);
        }
        let whole = t.columns == NV * S::LANES;
        let mut buffer = [0.0f32; MAX_COLUMNS];
        for (r, acc) in acc.iter().enumerate() {
            let c = t.c.add(r * t.c_row);
            if whole {
                for (i, v) in acc.iter().enumerate() {
                    let at = c.add(i * S::LANES);
                    S::store(at, if t.add { S::add(S::load(at), *v) } else { *v });
                }
            } else {
                for (i, v) in acc.iter().enumerate() {
                    S::store(buffer.as_mut_ptr().add(i * S::LANES), *v);
                }
                for (i, v) in buffer[..t.columns].iter().enumerate() {
                    *c.add(i) = if t.add { *c.add(i) + *v } else { *v };
                }
            }
        }
    }
}

/// Runs a tile of `m` rows.
///
/// # Safety
/// Pointers are valid for what the fields describe; `1 ≤ m ≤ rows(lanes)` and `columns ≤ 2 · lanes`; the level has
/// vectors of `lanes` floats.
pub(crate) unsafe fn tile(level: Level, lanes: usize, m: usize, t: &Tile) {
    let packed = t.a_row == 1 && t.a_step == m;
    let narrow = t.columns <= lanes;
    macro_rules! pick {
        ($($m:literal)*) => {
            match (m, narrow, packed) {
                $(
                    // SAFETY: by contract.
                    ($m, false, true) => unsafe { with_lanes(level, lanes, Work::<$m, 2, true>(t)) },
                    // SAFETY: by contract.
                    ($m, false, false) => unsafe { with_lanes(level, lanes, Work::<$m, 2, false>(t)) },
                    // SAFETY: by contract.
                    ($m, true, true) => unsafe { with_lanes(level, lanes, Work::<$m, 1, true>(t)) },
                    // SAFETY: by contract.
                    ($m, true, false) => unsafe { with_lanes(level, lanes, Work::<$m, 1, false>(t)) },
                )*
                _ => unreachable!("tiles of {m} rows"),
            }
        };
    }
    pick!(1 2 3 4 5 6 7 8 9 10 11 12)
}
