//! Transposing matrices tile by tile.

use bytemuck::Pod;

use crate::level::per_level;

/// Rows and columns of a tile: a cache line of `f32`.
const TILE: usize = 16;

/// Writes the transpose of a `rows` × `cols` matrix: `dst[c · dst_step + r] = src[r · src_step + c]`.
///
/// # Safety
/// `dst` is valid for all these writes and nothing else accesses the places meanwhile.
#[inline(always)]
unsafe fn transpose_body<const FMA: bool, T: Pod>(
    src: &[T],
    src_step: usize,
    rows: usize,
    cols: usize,
    dst: *mut T,
    dst_step: usize,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(src.len() > (rows - 1) * src_step + cols - 1);
    let mut r = 0;
    while r < rows {
        let high = (rows - r).min(TILE);
        let mut c = 0;
        while c < cols {
            let wide = (cols - c).min(TILE);
            let corner = r * src_step + c;
            // SAFETY: row `r` and column `c` are inside, so the tile's corner is.
            let to = unsafe { dst.add(c * dst_step + r) };
            if high == TILE && wide == TILE {
                // SAFETY: a whole tile is inside both, by the checks above and by contract.
                unsafe { whole::<T, TILE>(src.as_ptr().add(corner), src_step, to, dst_step) };
            } else if high == 8 && wide >= 8 {
                // SAFETY: as above, with half tiles.
                unsafe { whole::<T, 8>(src.as_ptr().add(corner), src_step, to, dst_step) };
                if wide > 8 {
                    // SAFETY: the rest of the tile is inside both.
                    unsafe {
                        part(
                            src.as_ptr().add(corner + 8),
                            src_step,
                            to.add(8 * dst_step),
                            dst_step,
                            high,
                            wide - 8,
                        );
                    }
                }
            } else {
                // SAFETY: `high` rows of `wide` columns are inside both.
                unsafe { part(src.as_ptr().add(corner), src_step, to, dst_step, high, wide) };
            }
            c += wide;
        }
        r += high;
    }
}

/// A tile of `N` × `N`: rows are read whole, so that stores are what is vectorised.
///
/// # Safety
/// The tile is inside both matrices.
#[inline(always)]
unsafe fn whole<T: Pod, const N: usize>(src: *const T, src_step: usize, dst: *mut T, dst_step: usize) {
    for c in 0..N {
        let mut column = [T::zeroed(); N];
        for r in 0..N {
            // SAFETY: inside the tile, by contract.
            column[r] = unsafe { *src.add(r * src_step + c) };
        }
        // SAFETY: as above.
        unsafe { dst.add(c * dst_step).cast::<[T; N]>().write_unaligned(column) };
    }
}

/// A tile cut by an edge.
///
/// # Safety
/// The tile is inside both matrices.
#[inline(always)]
unsafe fn part<T: Pod>(
    src: *const T,
    src_step: usize,
    dst: *mut T,
    dst_step: usize,
    rows: usize,
    cols: usize,
) {
    for c in 0..cols {
        for r in 0..rows {
            // SAFETY: inside the tile, by contract.
            unsafe { *dst.add(c * dst_step + r) = *src.add(r * src_step + c) };
        }
    }
}

/// A part of a matrix as a function argument.
#[derive(Clone, Copy)]
pub(crate) struct Target<T> {
    ptr: *mut T,
    step: usize,
}

impl<T> Target<T> {
    /// Rows of `step` elements from `ptr` on.
    ///
    /// # Safety
    /// The places that [`transpose`] will write are valid and accessed by nothing else meanwhile.
    pub(crate) unsafe fn new(ptr: *mut T, step: usize) -> Target<T> {
        Target { ptr, step }
    }
}

#[inline(always)]
fn into_target<const FMA: bool, T: Pod>(
    src: &[T],
    src_step: usize,
    rows: usize,
    cols: usize,
    dst: Target<T>,
) {
    // SAFETY: promised when the target was made.
    unsafe { transpose_body::<FMA, T>(src, src_step, rows, cols, dst.ptr, dst.step) };
}

per_level! {
    /// Writes the transpose of a `rows` × `cols` matrix: `dst[c · step + r] = src[r · src_step + c]`.
    ///
    /// Panics when the matrix is not inside `src`.
    pub(crate) fn transpose[T: Pod](src: &[T], src_step: usize, rows: usize, cols: usize, dst: Target<T>) = into_target[T]
}
