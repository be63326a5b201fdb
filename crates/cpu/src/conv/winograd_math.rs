//! The Winograd transforms F(2×2, 3×3) and F(4×4, 3×3), after Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks" (2015): interpolation at 0, ±1 (and ±2) and infinity.
//!
//! Output tile = `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, for a filter `g` and an input tile `d`.

use crate::conv::simd::Simd;

/// A transform pair: output tile `M`, input tile `T = M + 2`.
pub(crate) trait Transform<const M: usize, const T: usize> {
    /// Input transform `Bᵀ`.
    const BT: [[f32; T]; T];
    /// Output transform `Aᵀ`.
    const AT: [[f32; T]; M];
    /// Filter transform `G`.
    const G: [[f64; 3]; T];
}

/// F(2×2, 3×3): 2.25 times fewer multiplications.
pub(crate) struct F2;

impl Transform<2, 4> for F2 {
    const BT: [[f32; 4]; 4] = [[1., 0., -1., 0.], [0., 1., 1., 0.], [0., -1., 1., 0.], [0., 1., 0., -1.]];
    const AT: [[f32; 4]; 2] = [[1., 1., 1., 0.], [0., 1., -1., -1.]];
    const G: [[f64; 3]; 4] = [[1., 0., 0.], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0., 0., 1.]];
}

/// F(4×4, 3×3): 4 times fewer multiplications, larger rounding errors.
pub(crate) struct F4;

impl Transform<4, 6> for F4 {
    const BT: [[f32; 6]; 6] = [
        [4., 0., -5., 0., 1., 0.],
        [0., -4., -4., 1., 1., 0.],
        [0., 4., -4., -1., 1., 0.],
        [0., -2., -1., 2., 1., 0.],
        [0., 2., -1., -2., 1., 0.],
        [0., 4., 0., -5., 0., 1.],
    ];
    const AT: [[f32; 6]; 4] = [
        [1., 1., 1., 1., 1., 0.],
        [0., 1., -1., 2., -2., 0.],
        [0., 1., 1., 4., 4., 0.],
        [0., 1., -1., 8., -8., 1.],
    ];
    const G: [[f64; 3]; 6] = [
        [1. / 4., 0., 0.],
        [-1. / 6., -1. / 6., -1. / 6.],
        [-1. / 6., 1. / 6., -1. / 6.],
        [1. / 24., 1. / 12., 1. / 6.],
        [1. / 24., -1. / 12., 1. / 6.],
        [0., 0., 1.],
    ];
}

/// `row · column` with constants known at compile time: zeros and ones cost nothing.
#[inline(always)]
unsafe fn dot<S: Simd, const T: usize>(row: &[f32; T], column: [S::V; T]) -> S::V {
    // SAFETY: by contract of `Simd`.
    unsafe {
        let mut sum = S::splat(0.0);
        let mut empty = true;
        for j in 0..T {
            let c = row[j];
            if c == 0.0 {
                continue;
            }
            sum = if empty && c == 1.0 {
                column[j]
            } else if empty {
                S::fma(S::splat(c), column[j], sum)
            } else if c == 1.0 {
                S::add(sum, column[j])
            } else if c == -1.0 {
                S::sub(sum, column[j])
            } else {
                S::fma(S::splat(c), column[j], sum)
            };
            empty = false;
        }
        sum
    }
}

/// `C d Cᵀ` for a `T × T` tile and an `R × T` matrix.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
pub(crate) unsafe fn both_sides<S: Simd, const R: usize, const T: usize>(
    matrix: &[[f32; T]; R],
    tile: &[[S::V; T]; T],
) -> [[S::V; R]; R] {
    // SAFETY: by contract.
    unsafe {
        let zero = S::splat(0.0);
        let mut half = [[zero; T]; R];
        for j in 0..T {
            let mut column = [zero; T];
            for i in 0..T {
                column[i] = tile[i][j];
            }
            for r in 0..R {
                half[r][j] = dot::<S, T>(&matrix[r], column);
            }
        }
        let mut out = [[zero; R]; R];
        for i in 0..R {
            for r in 0..R {
                out[i][r] = dot::<S, T>(&matrix[r], half[i]);
            }
        }
        out
    }
}

/// `G g Gᵀ` of one 3×3 filter, row by row, in `f64`.
pub(crate) fn filter<const M: usize, const T: usize, F: Transform<M, T>>(g: &[f32]) -> Vec<f32> {
    let mut half = [[0.0f64; 3]; T];
    for (row, coefficients) in half.iter_mut().zip(&F::G) {
        for (j, v) in row.iter_mut().enumerate() {
            *v = (0..3).map(|i| coefficients[i] * f64::from(g[i * 3 + j])).sum();
        }
    }
    let mut out = Vec::with_capacity(T * T);
    for row in &half {
        for coefficients in &F::G {
            out.push((0..3).map(|j| row[j] * coefficients[j]).sum::<f64>() as f32);
        }
    }
    out
}
