//! Where each output position of a resized axis reads, and with what weights.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::KernelError;

/// How an output coordinate maps to an input coordinate, as ONNX `Resize` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "ONNX defines these by name")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// How a coordinate is rounded to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// To the nearest, halves down.
    HalfDown,
    /// To the nearest, halves up.
    HalfUp,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// The interpolation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Interpolation {
    /// One element.
    Nearest(Rounding),
    /// Linear.
    Linear {
        /// Whether the kernel is widened when shrinking.
        antialias: bool,
    },
    /// Keys' cubic convolution.
    Cubic {
        /// Keys' `a`.
        coefficient: f32,
        /// Whether neighbours outside count nothing; else the edge stands in for them.
        exclude_outside: bool,
        /// Whether the kernel is widened when shrinking.
        antialias: bool,
    },
}

/// How one axis is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// Output size over input size, as coordinates use it.
    pub scale: f32,
    /// Region of interest in units of the axis, for `TfCropAndResize`.
    pub roi: (f32, f32),
}

/// Bound on the taps of all axes, so that a file cannot ask for endless tables.
pub(crate) const MAX_TAPS: f64 = (1u64 << 25) as f64;

/// For each output position of an axis its taps; none where the coordinate lies outside the input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taps {
    /// Position `o` has the taps `starts[o]..starts[o + 1]`.
    starts: Vec<u32>,
    /// Input position and weight.
    list: Vec<(u32, f32)>,
}

impl Taps {
    /// Checks that tables for an axis of `from` elements resized to `to` are possible, and bounds their taps.
    ///
    /// # Errors
    /// When the scale is unfit, the axis is empty, or the tables would be too large.
    pub fn check(r: &Resampling, how: Interpolation, from: usize, to: usize) -> Result<f64, KernelError> {
        if !(r.scale.is_finite() && r.scale > 0.0) {
            return Err(format!("scale {} is no positive number", r.scale));
        }
        if from == 0 && to > 0 {
            return Err("an empty axis cannot be resized".into());
        }
        // Edges stand in for taps outside, so no list is longer than the axis; making it takes the whole reach.
        let taps = to as f64 * (2.0 * reach(r, how) + 2.0);
        // Positions are stored in 32 bits.
        if taps > MAX_TAPS || from > 1 << 31 {
            return Err(format!(
                "resizing {from} elements to {to} with scale {} takes too large tables",
                r.scale
            ));
        }
        Ok(taps)
    }

    /// The taps of an axis that [`Taps::check`] accepted.
    pub fn new(r: &Resampling, how: Interpolation, coordinates: Coordinates, from: usize, to: usize) -> Taps {
        let mut out = Taps { starts: vec![0], list: Vec::new() };
        for o in 0..to {
            let x = coordinate(r, coordinates, o, from, to);
            let inside = (0.0..=(from - 1) as f64).contains(&x);
            if coordinates != Coordinates::TfCropAndResize || inside {
                out.push(r, how, x, from);
            }
            out.starts.push(out.list.len() as u32);
        }
        out
    }

    /// The taps of an axis of one element that stays.
    pub(crate) fn one() -> Taps {
        Taps { starts: vec![0, 1], list: vec![(0, 1.0)] }
    }

    /// The taps of output position `o`: input position and weight.
    #[inline(always)]
    pub fn at(&self, o: usize) -> &[(u32, f32)] {
        &self.list[self.starts[o] as usize..self.starts[o + 1] as usize]
    }

    /// The input positions that the taps of `o` span; empty without taps.
    pub(crate) fn span(&self, o: usize) -> Range<usize> {
        let positions = || self.at(o).iter().map(|t| t.0 as usize);
        positions().min().unwrap_or(0)..positions().max().map_or(0, |m| m + 1)
    }

    fn push(&mut self, r: &Resampling, how: Interpolation, x: f64, from: usize) {
        let clamp = |p: f64| p.clamp(0.0, (from - 1) as f64) as u32;
        let nearest = match how {
            Interpolation::Nearest(Rounding::HalfDown) => (x - 0.5).ceil(),
            Interpolation::Nearest(Rounding::HalfUp) => (x + 0.5).floor(),
            Interpolation::Nearest(Rounding::Floor) => x.floor(),
            Interpolation::Nearest(Rounding::Ceil) => x.ceil(),
            Interpolation::Linear { .. } => {
                return self.push_kernel(r, how, x, from, false, |t| (1.0 - t).max(0.0));
            }
            Interpolation::Cubic { coefficient, exclude_outside, .. } => {
                let a = f64::from(coefficient);
                return self.push_kernel(r, how, x, from, exclude_outside, |t| cubic(t, a));
            }
        };
        self.list.push((clamp(nearest), 1.0));
    }

    /// The elements within reach of `x`, weighted by `kernel` of their distance, weights made to sum to 1.
    fn push_kernel(
        &mut self,
        r: &Resampling,
        how: Interpolation,
        x: f64,
        from: usize,
        exclude: bool,
        kernel: impl Fn(f64) -> f64,
    ) {
        let (reach, scale) = (reach(r, how), stretch(r, how));
        let begin = self.list.len();
        let edge = from as i64 - 1;
        let (first, last) = ((x - reach).ceil() as i64, (x + reach).floor() as i64);
        let weight = |p: i64| {
            let outside = p < 0 || p > edge;
            if outside && exclude { 0.0 } else { kernel(((p as f64 - x) * scale).abs()) }
        };
        let total: f64 = (first..=last).map(weight).sum();
        let mut run: Option<(i64, f64)> = None;
        for p in first..=last {
            let (place, w) = (p.clamp(0, edge), weight(p));
            if w == 0.0 {
                continue;
            }
            run = match run {
                Some((at, sum)) if at == place => Some((at, sum + w)),
                other => {
                    self.list.extend(other.map(|(at, sum)| (at as u32, (sum / total) as f32)));
                    Some((place, w))
                }
            };
        }
        self.list.extend(run.map(|(at, sum)| (at as u32, (sum / total) as f32)));
        if self.list.len() == begin {
            // Every neighbour counts nothing, which no ordinary kernel does: take the edge.
            self.list.push((x.clamp(0.0, edge as f64) as u32, 1.0));
        }
    }
}

/// Keys' cubic convolution kernel (1981) at distance `t`.
fn cubic(t: f64, a: f64) -> f64 {
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        a * (((t - 5.0) * t + 8.0) * t - 4.0)
    } else {
        0.0
    }
}

/// By how much distances shrink: below 1 when a kernel is widened.
fn stretch(r: &Resampling, how: Interpolation) -> f64 {
    match how {
        Interpolation::Linear { antialias: true } | Interpolation::Cubic { antialias: true, .. } => {
            f64::from(r.scale).min(1.0)
        }
        _ => 1.0,
    }
}

/// How far taps lie from the coordinate, in elements of the input.
fn reach(r: &Resampling, how: Interpolation) -> f64 {
    let own = match how {
        Interpolation::Nearest(_) => 0.0,
        Interpolation::Linear { .. } => 1.0,
        Interpolation::Cubic { .. } => 2.0,
    };
    own / stretch(r, how)
}

/// The input coordinate of output position `o`.
fn coordinate(r: &Resampling, coordinates: Coordinates, o: usize, from: usize, to: usize) -> f64 {
    let (o, scale, n, m) = (o as f64, f64::from(r.scale), from as f64, to as f64);
    let half_pixel = (o + 0.5) / scale - 0.5;
    match coordinates {
        Coordinates::HalfPixel => half_pixel,
        Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - m / (scale * n)) + half_pixel,
        Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if to <= 1 => 0.0,
        Coordinates::PytorchHalfPixel => half_pixel,
        Coordinates::AlignCorners => o * (n - 1.0) / (m - 1.0),
        Coordinates::Asymmetric => o / scale,
        Coordinates::TfCropAndResize => {
            let (start, end) = (f64::from(r.roi.0), f64::from(r.roi.1));
            if to > 1 {
                start * (n - 1.0) + o * (end - start) * (n - 1.0) / (m - 1.0)
            } else {
                0.5 * (start + end) * (n - 1.0)
            }
        }
    }
}

#[cfg(test)]
#[path = "resize_taps_tests.rs"]
mod tests;
