//! Axes and the frame of a chart.
//!
//! A chart's lines are an SVG that is stretched to the width of the page, its labels are text around it: so the text
//! keeps its size on a phone. Strokes do not scale (style.css).

use std::fmt::Write;

use crate::text::{esc, exact_bytes};

/// Both sides of a chart's own coordinates.
pub(crate) const SIDE: f64 = 1000.0;

/// Where numbers lie along one side of a chart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Axis {
    /// Evenly between the ends.
    Linear(f64, f64),
    /// By logarithms of base 2 between the ends.
    Log(f64, f64),
    /// Zero, then a gap, then by logarithms: the share of the gap, and the ends behind it.
    ZeroThenLog(f64, f64, f64),
}

impl Axis {
    /// Evenly over some values, with room at both ends.
    pub(crate) fn around(values: impl IntoIterator<Item = f64>) -> Axis {
        let (lo, hi) = ends(values);
        let room = ((hi - lo) * 0.12).max(hi.abs() * 0.005).max(1e-6);
        Axis::Linear((lo - room).max(0.0), hi + room)
    }

    /// For memory: zero has a place of its own, the rest goes by logarithms, or evenly where it varies little.
    pub(crate) fn memory(values: impl IntoIterator<Item = f64>) -> Axis {
        let (zero, rest): (Vec<f64>, Vec<f64>) =
            values.into_iter().filter(|v| v.is_finite()).partition(|&v| v < 1.0);
        if rest.is_empty() {
            return Axis::Linear(0.0, 1024.0);
        }
        let (lo, hi) = ends(rest.iter().copied());
        match (zero.is_empty(), hi / lo) {
            (true, ratio) if ratio < 8.0 => Axis::around(rest),
            (true, _) => Axis::Log(lo / 1.3, hi * 1.3),
            (false, _) => Axis::ZeroThenLog(0.1, lo / 1.3, hi * 1.5),
        }
    }

    /// Place of a number along the side: 0 to 1.
    pub(crate) fn at(self, v: f64) -> f64 {
        let place = match self {
            Axis::Linear(lo, hi) => (v - lo) / (hi - lo),
            Axis::Log(lo, hi) => (v / lo).log2() / (hi / lo).log2(),
            Axis::ZeroThenLog(..) if v < 1.0 => 0.0,
            Axis::ZeroThenLog(gap, lo, hi) => gap + (1.0 - gap) * (v / lo).log2() / (hi / lo).log2(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round numbers to mark, about `most` of them. `binary`: round in powers of two.
    pub(crate) fn ticks(self, most: usize, binary: bool) -> Vec<f64> {
        match self {
            Axis::Linear(lo, hi) => {
                let step = round_step((hi - lo) / most as f64, binary);
                let first = (lo / step).ceil();
                (0..=2 * most)
                    .map(|i| (first + i as f64) * step)
                    .take_while(|&v| v <= hi * (1.0 + 1e-9))
                    .collect()
            }
            Axis::Log(lo, hi) => powers(lo, hi, most, binary),
            Axis::ZeroThenLog(_, lo, hi) => [vec![0.0], powers(lo, hi, most, binary)].concat(),
        }
    }
}

fn ends(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (lo, hi) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo <= hi { (lo, hi) } else { (0.0, 1.0) }
}

/// The round number at or above a step.
fn round_step(step: f64, binary: bool) -> f64 {
    let step = if step.is_finite() { step.max(1e-9) } else { 1.0 };
    if binary {
        return step.log2().ceil().exp2();
    }
    let unit = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].map(|m| m * unit).into_iter().find(|&s| s >= step * 0.999).unwrap_or(10.0 * unit)
}

/// Powers of a base from `lo` to `hi`, spaced so that there are no more than `most`.
fn powers(lo: f64, hi: f64, most: usize, binary: bool) -> Vec<f64> {
    let base: f64 = if binary { 2.0 } else { 10.0 };
    if !binary && hi / lo < 300.0 {
        // Too few powers: their multiples too.
        let unit = 10f64.powf(lo.log10().floor());
        let all = (0..4).flat_map(|p| [1.0, 2.0, 3.0, 5.0].map(|m| m * unit * 10f64.powi(p)));
        return all.filter(|v| (lo..=hi).contains(v)).collect();
    }
    let (from, to) = ((lo.log2() / base.log2()).ceil() as i32, (hi.log2() / base.log2()).floor() as i32);
    if to < from {
        return Vec::new();
    }
    let every = (to - from + 1).div_euclid(most as i32) + 1;
    (from..=to).filter(|p| p.rem_euclid(every) == 0).map(|p| base.powi(p)).collect()
}

/// A label beside a chart: its place along the side, and its text.
pub(crate) type Tick = (f64, String);

/// Labels for numbers.
pub(crate) fn labels(axis: Axis, ticks: &[f64], name: impl Fn(f64) -> String) -> Vec<Tick> {
    ticks.iter().map(|&v| (axis.at(v), name(v))).collect()
}

/// The name of a size on an axis: as exact as the mark.
pub(crate) fn size_name(v: f64) -> String {
    if v < 1.0 { "0".into() } else { exact_bytes(v as u64) }
}

/// A chart around what `body` draws in [`SIDE`] by [`SIDE`], x to the right and y downwards.
pub(crate) struct Chart<'a> {
    /// Classes of the frame.
    pub(crate) class: &'a str,
    /// What it shows, for those who cannot see it.
    pub(crate) label: &'a str,
    /// What the readout says before anything is pointed at.
    pub(crate) hint: &'a str,
    /// Name of the x axis.
    pub(crate) x_name: &'a str,
    /// Labels below.
    pub(crate) x: Vec<Tick>,
    /// Labels at the left, from the bottom.
    pub(crate) y: Vec<Tick>,
    /// Labels above.
    pub(crate) top: Vec<Tick>,
    /// SVG elements.
    pub(crate) body: String,
}

impl Chart<'_> {
    /// The figure.
    pub(crate) fn html(&self) -> String {
        let mut out = format!(
            "<figure class=\"chart {}\"><div class=\"plot\"><svg viewBox=\"0 0 {SIDE} {SIDE}\" \
             preserveAspectRatio=\"none\" role=\"group\" aria-label=\"{}\" data-marks=\"\">",
            self.class,
            esc(self.label)
        );
        for (at, _) in &self.y {
            let y = num(SIDE * (1.0 - at));
            _ = write!(out, "<path class=\"grid\" d=\"M0 {y}H{SIDE}\"/>");
        }
        out.push_str(&self.body);
        out.push_str("</svg>");
        for (at, text) in &self.y {
            _ = write!(
                out,
                "<span class=\"tick y\" style=\"bottom:{}%\">{}</span>",
                num(at * 100.0),
                esc(text)
            );
        }
        for (at, text) in &self.x {
            _ = write!(
                out,
                "<span class=\"tick x\" style=\"left:{}%\">{}</span>",
                num(at * 100.0),
                esc(text)
            );
        }
        for (at, text) in &self.top {
            let side = if *at > 0.6 { "top end" } else { "top" };
            let at = num(at * 100.0);
            _ = write!(out, "<span class=\"tick {side}\" style=\"left:{at}%\">{}</span>", esc(text));
        }
        _ = write!(
            out,
            "</div><p class=\"axis\">{}</p><div class=\"readout\" aria-live=\"polite\">{}</div></figure>",
            esc(self.x_name),
            esc(self.hint)
        );
        out
    }
}

/// A coordinate with few digits.
pub(crate) fn num(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_place_for_zero() {
        let kib = 1024.0;
        let axis = Axis::memory([0.0, 8.0 * kib, 4096.0 * kib]);
        assert_eq!(axis.at(0.0), 0.0);
        assert!(axis.at(8.0 * kib) >= 0.1 && axis.at(4096.0 * kib) < 1.0);
        assert!(axis.at(64.0 * kib) - axis.at(8.0 * kib) > 0.1);
        let ticks = axis.ticks(6, true);
        assert_eq!(ticks[0], 0.0);
        assert!((4..=8).contains(&ticks.len()), "{ticks:?}");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::around([213.0, 248.0]);
        let ticks = axis.ticks(5, false);
        assert_eq!(ticks, [210.0, 220.0, 230.0, 240.0, 250.0]);
        assert!(ticks.iter().all(|&t| (0.0..=1.0).contains(&axis.at(t))));
    }

    #[test]
    fn odd_values_have_an_axis_too() {
        for values in
            [vec![], vec![0.0], vec![f64::NAN], vec![5.0], vec![f64::INFINITY, 1.0], vec![1e300, 1e-300]]
        {
            for axis in [Axis::around(values.clone()), Axis::memory(values.clone())] {
                assert!(axis.ticks(5, true).len() < 20);
                assert!(values.iter().all(|&v| (0.0..=1.0).contains(&axis.at(v))), "{values:?}");
            }
        }
    }
}
