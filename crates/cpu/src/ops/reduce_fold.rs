//! The loops of reductions.

use crate::level::per_level;
use crate::ops::grid::{Collapsed, Grid, MAX_GRID_AXES};
use crate::vmath;

/// The loops of a reduction: axes with their steps in `x`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Kept axes, outermost first; without the last stored axis.
    pub(crate) kept: Vec<(usize, usize)>,
    /// Reduced axes, outermost first; without the last stored axis.
    pub(crate) reduced: Vec<(usize, usize)>,
    /// The last stored axis.
    pub(crate) last: usize,
    /// Whether that is kept.
    pub(crate) last_kept: bool,
    /// Elements that make one output.
    pub(crate) count: usize,
}

impl Plan {
    /// One contiguous row to one output.
    pub(crate) fn whole_row(n: usize) -> Plan {
        Plan { last: n, count: n, ..Plan::default() }
    }

    pub(crate) fn new(grid: &Grid) -> Plan {
        let axes = Collapsed::new(grid);
        let mut plan = Plan { count: 1, ..Plan::default() };
        let mut step = 1;
        for axis in (0..axes.sizes.len()).rev() {
            let (size, keep) = (axes.sizes[axis], axes.masks[0] >> axis & 1 == 1);
            if axis + 1 == axes.sizes.len() {
                (plan.last, plan.last_kept) = (size, keep);
            } else if keep {
                plan.kept.insert(0, (size, step));
            } else {
                plan.reduced.insert(0, (size, step));
            }
            plan.count *= if keep { 1 } else { size };
            step *= size;
        }
        plan
    }
}

/// Position in `x` of number `i` of a list of axes.
pub(crate) fn offset(axes: &[(usize, usize)], mut i: usize) -> usize {
    let mut at = 0;
    for &(size, step) in axes.iter().rev() {
        at += i % size * step;
        i /= size;
    }
    at
}

/// Kept elements that one vector loop accumulates.
pub(crate) const WIDTH: usize = 64;
/// How elements come together.
pub(crate) trait Fold {
    const START: f32;
    fn map<const FMA: bool>(x: f32, shift: f32) -> f32;
    fn join(a: f32, b: f32) -> f32;
}

macro_rules! folds {
    ($($name:ident: $start:expr, |$x:ident, $s:ident| $map:expr, |$a:ident, $b:ident| $join:expr;)*) => {$(
        pub(crate) struct $name;
        impl Fold for $name {
            const START: f32 = $start;
            #[inline(always)]
            fn map<const FMA: bool>($x: f32, $s: f32) -> f32 {
                let _ = $s;
                $map
            }
            #[inline(always)]
            fn join($a: f32, $b: f32) -> f32 {
                $join
            }
        }
    )*};
}

folds! {
    Sum: 0.0, |x, s| x, |a, b| a + b;
    Max: f32::NEG_INFINITY, |x, s| x, |a, b| vmath::max(a, b);
    Min: f32::INFINITY, |x, s| x, |a, b| vmath::min(a, b);
    Prod: 1.0, |x, s| x, |a, b| a * b;
    Square: 0.0, |x, s| x * x, |a, b| a + b;
    Deviation: 0.0, |x, s| (x - s) * (x - s), |a, b| a + b;
    Abs: 0.0, |x, s| x.abs(), |a, b| a + b;
    Exp: 0.0, |x, s| vmath::exp::<FMA>(x - s), |a, b| a + b;
}

per_level! {
    /// Folds everything reduced from one place on, the last axis contiguous.
    pub(crate) fn fold_row[F: Fold](plan: &Plan, x: &[f32], shift: f32) -> f32 = row_body[F]
}

per_level! {
    /// Folds everything reduced for `out.len()` neighbouring outputs.
    pub(crate) fn fold_columns[F: Fold](plan: &Plan, x: &[f32], shift: &[f32; WIDTH], out: &mut [f32]) = columns_body[F]
}

/// Positions in `x` of all combinations of some axes, in order.
pub(crate) struct Odometer<'a> {
    axes: &'a [(usize, usize)],
    index: [usize; MAX_GRID_AXES],
    pub(crate) at: usize,
}

impl<'a> Odometer<'a> {
    #[inline(always)]
    pub(crate) fn new(axes: &'a [(usize, usize)]) -> Self {
        Odometer { axes, index: [0; MAX_GRID_AXES], at: 0 }
    }

    /// Steps on; false after the last.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> bool {
        for (axis, &(size, step)) in self.axes.iter().enumerate().rev() {
            self.index[axis] += 1;
            self.at += step;
            if self.index[axis] < size {
                return true;
            }
            self.at -= size * step;
            self.index[axis] = 0;
        }
        false
    }
}

#[inline(always)]
fn row_body<const FMA: bool, F: Fold>(plan: &Plan, x: &[f32], shift: f32) -> f32 {
    const LANES: usize = 64;
    /// Vectors in a stretch.
    const LONG: usize = 64;
    let mut total = [F::START; LANES];
    let mut tail = F::START;
    let mut odometer = Odometer::new(&plan.reduced);
    loop {
        let line = &x[odometer.at..odometer.at + plan.last];
        let (whole, rest) = line.as_chunks::<LANES>();
        for stretch in whole.chunks(LONG) {
            let mut sums = [F::START; LANES];
            for v in stretch {
                for l in 0..LANES {
                    sums[l] = F::join(sums[l], F::map::<FMA>(v[l], shift));
                }
            }
            for l in 0..LANES {
                total[l] = F::join(total[l], sums[l]);
            }
        }
        let (eights, rest) = rest.as_chunks::<8>();
        for v in eights {
            for l in 0..8 {
                total[l] = F::join(total[l], F::map::<FMA>(v[l], shift));
            }
        }
        for &v in rest {
            tail = F::join(tail, F::map::<FMA>(v, shift));
        }
        if !odometer.step() {
            break;
        }
    }
    // Halves onto halves.
    let mut n = LANES / 2;
    while n > 0 {
        for l in 0..n {
            total[l] = F::join(total[l], total[l + n]);
        }
        n /= 2;
    }
    F::join(total[0], tail)
}

#[inline(always)]
fn columns_body<const FMA: bool, F: Fold>(plan: &Plan, x: &[f32], shift: &[f32; WIDTH], out: &mut [f32]) {
    match out.len() {
        WIDTH => block_of_columns::<FMA, F, WIDTH>(plan, x, shift, out),
        16 => block_of_columns::<FMA, F, 16>(plan, x, shift, out),
        8 => block_of_columns::<FMA, F, 8>(plan, x, shift, out),
        n => {
            for at in 0..n / 8 {
                let mut some = [0.0; WIDTH];
                some[..8].copy_from_slice(&shift[at * 8..][..8]);
                block_of_columns::<FMA, F, 8>(plan, &x[at * 8..], &some, &mut out[at * 8..][..8]);
            }
            for at in n / 8 * 8..n {
                let some = [shift[at]; WIDTH];
                block_of_columns::<FMA, F, 1>(plan, &x[at..], &some, &mut out[at..at + 1]);
            }
        }
    }
}

#[inline(always)]
fn block_of_columns<const FMA: bool, F: Fold, const L: usize>(
    plan: &Plan,
    x: &[f32],
    shift: &[f32; WIDTH],
    out: &mut [f32],
) {
    /// Elements in a stretch.
    const LONG: usize = 64;
    let mut total = [F::START; L];
    let mut sums = [F::START; L];
    let mut odometer = Odometer::new(&plan.reduced);
    let mut filled = 0;
    while let Some(v) = x[odometer.at..].first_chunk::<L>() {
        for l in 0..L {
            sums[l] = F::join(sums[l], F::map::<FMA>(v[l], shift[l]));
        }
        filled += 1;
        if filled == LONG {
            for l in 0..L {
                total[l] = F::join(total[l], sums[l]);
            }
            (sums, filled) = ([F::START; L], 0);
        }
        if !odometer.step() {
            break;
        }
    }
    for (l, o) in out.iter_mut().enumerate().take(L) {
        *o = F::join(total[l], sums[l]);
    }
}
