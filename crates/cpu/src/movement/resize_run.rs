//! The loops of `move.resize`.

use half::{bf16, f16};

use crate::level::per_level;
use crate::movement::element::{Element, MAX_AXES, in_parts};
use crate::movement::resize::{BUFFER, ResizeReady, Segment};
use crate::threads::{SharedMut, Threads};

/// What sums are made in.
pub(crate) trait Sum: Copy + Default + Send + Sync + From<f32> + std::ops::Mul<Output = Self> {
    /// `a · b + c`.
    fn fma<const FMA: bool>(a: Self, b: Self, c: Self) -> Self;
}

macro_rules! sums {
    ($($t:ty),*) => {$(
        impl Sum for $t {
            #[inline(always)]
            fn fma<const FMA: bool>(a: Self, b: Self, c: Self) -> Self {
                if FMA { a.mul_add(b, c) } else { a * b + c }
            }
        }
    )*};
}
sums!(f32, f64);

/// A float that can be interpolated.
pub(crate) trait Real: Element {
    /// What its sums are made in.
    type Sum: Sum;
    fn get(self) -> Self::Sum;
    fn put(x: Self::Sum) -> Self;
}

macro_rules! reals {
    ($($t:ty, $sum:ty, $get:expr, $put:expr;)*) => {$(
        impl Real for $t {
            type Sum = $sum;
            #[inline(always)]
            fn get(self) -> $sum {
                $get(self)
            }
            #[inline(always)]
            fn put(x: $sum) -> $t {
                $put(x)
            }
        }
    )*};
}
reals! {
    f32, f32, std::convert::identity, std::convert::identity;
    f64, f64, std::convert::identity, std::convert::identity;
    f16, f32, f16::to_f32, f16::from_f32;
    bf16, f32, bf16::to_f32, bf16::from_f32;
}

impl ResizeReady {
    fn rows(&self) -> usize {
        self.outer.iter().map(|a| a.to).product()
    }

    /// Input places of the rows that output row `row` blends, with their weights; `None` outside the input.
    fn blends(&self, mut row: usize) -> Option<Blends<'_>> {
        let mut out = Blends { base: 0, lists: [(&[], 0); MAX_AXES], count: 0 };
        for a in self.outer.iter().rev() {
            let o = row % a.to;
            row /= a.to;
            match &a.taps {
                None => out.base += o * a.step,
                Some(taps) => {
                    let list = taps.at(o);
                    match list {
                        [] => return None,
                        // A lone tap counts fully.
                        [one] => out.base += one.0 as usize * a.step,
                        _ => {
                            out.lists[out.count] = (list, a.step);
                            out.count += 1;
                        }
                    }
                }
            }
        }
        Some(out)
    }
}

/// The rows that one output row blends: every choice of one tap a list.
#[derive(Clone, Copy)]
struct Blends<'a> {
    base: usize,
    lists: [(&'a [(u32, f32)], usize); MAX_AXES],
    count: usize,
}

impl Blends<'_> {
    fn len(&self) -> usize {
        self.lists[..self.count].iter().map(|l| l.0.len()).product()
    }

    /// Place and weight of choice `i`.
    fn choice<S: Sum>(&self, mut i: usize) -> (usize, S) {
        let (mut at, mut weight) = (self.base, S::from(1.0));
        for (list, step) in &self.lists[..self.count] {
            let (p, w) = list[i % list.len()];
            i /= list.len();
            at += p as usize * step;
            weight = weight * S::from(w);
        }
        (at, weight)
    }
}

/// Picks the nearest elements.
pub(crate) fn nearest<T: Element>(r: &ResizeReady, x: &[T], out: &mut [T], fill: T, threads: &Threads) {
    let bytes = size_of_val(out);
    let out = SharedMut::new(out);
    let (width, inner) = (r.last_to, r.inner);
    in_parts(threads, r.rows() * width, bytes, |range| {
        let mut at = range.start;
        while at < range.end {
            let (row, o) = (at / width, at % width);
            let len = (width - o).min(range.end - at);
            // SAFETY: ranges are disjoint and inside the output.
            let to = unsafe { out.slice(at * inner, len * inner) };
            at += len;
            let Some(blends) = r.blends(row) else {
                to.fill(fill);
                continue;
            };
            let x = &x[blends.base..blends.base + r.last_from * inner];
            if inner == 1 {
                for (i, t) in to.iter_mut().enumerate() {
                    *t = r.last.at(o + i).first().map_or(fill, |p| x[p.0 as usize]);
                }
                continue;
            }
            for (i, t) in to.chunks_exact_mut(inner).enumerate() {
                match r.last.at(o + i).first() {
                    Some(p) => t.copy_from_slice(&x[p.0 as usize * inner..][..inner]),
                    None => t.fill(fill),
                }
            }
        }
    });
}

/// Interpolates: blends rows into a buffer, then the elements of the buffer.
pub(crate) fn weighted<T: Real>(
    r: &ResizeReady,
    x: &[T],
    out: &mut [T],
    extrapolation: T::Sum,
    threads: &Threads,
) {
    let bytes = size_of_val(out);
    let out = SharedMut::new(out);
    let pieces = r.inner.div_ceil(r.piece);
    let level = threads.level();
    in_parts(threads, r.rows() * r.segments.len() * pieces, bytes, |range| {
        let mut buffer = [T::Sum::default(); BUFFER];
        for unit in range {
            let (place, piece) = (unit / pieces, unit % pieces * r.piece);
            let (row, segment) = (place / r.segments.len(), r.segments[place % r.segments.len()]);
            let len = r.piece.min(r.inner - piece);
            let blends = r.blends(row);
            let job = Job { r, blends, segment, row, piece, len, extrapolation };
            // SAFETY: units are disjoint: a row, positions of it, and a piece of what lies behind each.
            unsafe { run(level, &job, x, out, &mut buffer) };
        }
    });
}

/// One unit of work.
struct Job<'a, S> {
    r: &'a ResizeReady,
    blends: Option<Blends<'a>>,
    segment: Segment,
    row: usize,
    piece: usize,
    len: usize,
    extrapolation: S,
}

per_level! {
    fn interpolate[T: Real](
        job: &Job<'_, T::Sum>, x: &[T], out: Target<'_, T>, buffer: &mut [T::Sum; BUFFER]
    ) = interpolate_body[T]
}

/// The output, where a job may write its own places.
#[derive(Clone, Copy)]
struct Target<'a, T>(SharedMut<'a, T>);

/// # Safety
/// Nothing else accesses the job's places meanwhile.
unsafe fn run<T: Real>(
    level: crate::level::Level,
    job: &Job<'_, T::Sum>,
    x: &[T],
    out: SharedMut<'_, T>,
    buffer: &mut [T::Sum; BUFFER],
) {
    interpolate(level, job, x, Target(out), buffer);
}

#[inline(always)]
fn interpolate_body<const FMA: bool, T: Real>(
    job: &Job<'_, T::Sum>,
    x: &[T],
    out: Target<'_, T>,
    buffer: &mut [T::Sum; BUFFER],
) {
    let Job { r, segment: s, len, .. } = *job;
    let at = |o: usize| (job.row * r.last_to + o) * r.inner + job.piece;
    // SAFETY: inside the output; the caller keeps the job's places to it.
    let to = |o: usize| unsafe { out.0.slice(at(o), len) };
    let Some(blends) = job.blends else {
        for o in s.x0..s.x1 {
            to(o).fill(T::put(job.extrapolation));
        }
        return;
    };
    if s.direct {
        return direct::<FMA, T>(job, &blends, x, to(s.x0));
    }
    blend::<FMA, T>(job, &blends, x, buffer);
    if r.inner == 1 {
        let row = (at(s.x0), s.x1 - s.x0);
        // SAFETY: as above; without inner elements the positions are neighbours.
        let to = unsafe { out.0.slice(row.0, row.1) };
        for (t, o) in to.iter_mut().zip(s.x0..) {
            let value = |p: u32| buffer[(p as usize).wrapping_sub(s.from0) % BUFFER];
            *t = T::put(match r.last.at(o) {
                [] => job.extrapolation,
                [(p, _)] => value(*p),
                [(p, v), (q, w)] => T::Sum::fma::<FMA>(value(*q), (*w).into(), value(*p) * (*v).into()),
                list => list
                    .iter()
                    .fold(T::Sum::default(), |sum, &(p, w)| T::Sum::fma::<FMA>(value(p), w.into(), sum)),
            });
        }
        return;
    }
    for o in s.x0..s.x1 {
        let to = to(o);
        match len {
            8 => lanes::<FMA, T, 8>(job, o, buffer, to),
            16 => lanes::<FMA, T, 16>(job, o, buffer, to),
            _ => several::<FMA, T>(job, o, buffer, to),
        }
    }
}

/// Fills the buffer: for each input position of the segment the weighted sum of the rows.
#[inline(always)]
fn blend<const FMA: bool, T: Real>(
    job: &Job<'_, T::Sum>,
    blends: &Blends<'_>,
    x: &[T],
    buffer: &mut [T::Sum; BUFFER],
) {
    let Job { r, segment: s, len, .. } = *job;
    for i in 0..blends.len() {
        let (base, w) = blends.choice::<T::Sum>(i);
        let base = base + s.from0 * r.inner + job.piece;
        // Whole positions lie side by side and make one row.
        let (count, each) =
            if len == r.inner { (1, (s.from1 - s.from0) * len) } else { (s.from1 - s.from0, len) };
        for c in 0..count {
            let from = &x[base + c * r.inner..][..each];
            let to = &mut buffer[c * each..][..each];
            let pairs = to.iter_mut().zip(from);
            match (i, blends.count) {
                (0, 0) => pairs.for_each(|(t, f)| *t = f.get()),
                (0, _) => pairs.for_each(|(t, f)| *t = f.get() * w),
                _ => pairs.for_each(|(t, f)| *t = T::Sum::fma::<FMA>(f.get(), w, *t)),
            }
        }
    }
}

/// Position `o` from the buffer, `N` elements behind it.
#[inline(always)]
fn lanes<const FMA: bool, T: Real, const N: usize>(
    job: &Job<'_, T::Sum>,
    o: usize,
    buffer: &[T::Sum; BUFFER],
    to: &mut [T],
) {
    let list = job.r.last.at(o);
    let mut sum = [T::Sum::default(); N];
    if list.is_empty() {
        sum = [job.extrapolation; N];
    }
    for &(p, w) in list {
        let from = &buffer[(p as usize - job.segment.from0) * N..][..N];
        for i in 0..N {
            sum[i] = if list.len() == 1 { from[i] } else { T::Sum::fma::<FMA>(from[i], w.into(), sum[i]) };
        }
    }
    for (t, s) in to.iter_mut().zip(sum) {
        *t = T::put(s);
    }
}

/// The same for any number of elements.
#[inline(always)]
fn several<const FMA: bool, T: Real>(
    job: &Job<'_, T::Sum>,
    o: usize,
    buffer: &[T::Sum; BUFFER],
    to: &mut [T],
) {
    let list = job.r.last.at(o);
    for (i, t) in to.iter_mut().enumerate() {
        let value = |p: u32| buffer[(p as usize - job.segment.from0) * job.len + i];
        *t = T::put(match list {
            [] => job.extrapolation,
            [(p, _)] => value(*p),
            list => list
                .iter()
                .fold(T::Sum::default(), |sum, &(p, w)| T::Sum::fma::<FMA>(value(p), w.into(), sum)),
        });
    }
}

/// One position whose taps do not fit the buffer.
#[inline(always)]
fn direct<const FMA: bool, T: Real>(job: &Job<'_, T::Sum>, blends: &Blends<'_>, x: &[T], to: &mut [T]) {
    let r = job.r;
    for (i, t) in to.iter_mut().enumerate() {
        let mut sum = T::Sum::default();
        for choice in 0..blends.len() {
            let (base, w) = blends.choice::<T::Sum>(choice);
            for &(p, v) in r.last.at(job.segment.x0) {
                let value = x[base + p as usize * r.inner + job.piece + i].get();
                sum = T::Sum::fma::<FMA>(value, w * v.into(), sum);
            }
        }
        *t = T::put(sum);
    }
}
