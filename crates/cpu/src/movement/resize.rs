//! `move.resize`: resampling of some axes, in any layout.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::DType;

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::movement::element::{MAX_AXES, by_size, bytes_of, check_axes, product};
use crate::movement::resize_run::{nearest, weighted};
use crate::movement::resize_taps::{Coordinates, Interpolation, MAX_TAPS, Resampling, Taps};
use crate::threads::Threads;

/// One stored axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResizeDim {
    /// Size of the input.
    pub from: usize,
    /// Size of the output.
    pub to: usize,
    /// How it is resampled; `None` for an axis that stays.
    pub resampling: Option<Resampling>,
}

/// Resamples. One input, one output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resize {
    /// Element type: any for nearest, else a float.
    pub dtype: DType,
    /// The stored axes, outermost first.
    pub axes: Vec<ResizeDim>,
    /// The interpolation.
    pub how: Interpolation,
    /// The coordinate mapping.
    pub coordinates: Coordinates,
    /// Value where a coordinate lies outside the input, for `TfCropAndResize`; integers get 0.
    pub extrapolation: f32,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<ResizeReady>,
}

/// What `prepare` makes: the axes before the last resized one, that one, and the elements behind it.
#[derive(Clone, Debug)]
pub struct ResizeReady {
    pub(crate) outer: Vec<OuterAxis>,
    pub(crate) last: Taps,
    pub(crate) last_from: usize,
    pub(crate) last_to: usize,
    pub(crate) inner: usize,
    /// Elements of `inner` taken at a time, and runs of output positions whose taps fit the buffer.
    pub(crate) piece: usize,
    pub(crate) segments: Vec<Segment>,
}

/// An axis before the last resized one.
#[derive(Clone, Debug)]
pub(crate) struct OuterAxis {
    pub(crate) to: usize,
    /// Elements of the input that one step moves by.
    pub(crate) step: usize,
    /// `None` for an axis that stays.
    pub(crate) taps: Option<Taps>,
}

/// Output positions `x0..x1`, whose taps lie in `from0..from1`; `direct` when these are more than the buffer holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) x0: usize,
    pub(crate) x1: usize,
    pub(crate) from0: usize,
    pub(crate) from1: usize,
    pub(crate) direct: bool,
}

/// Elements of the buffer that rows are blended in; a power of two.
pub(crate) const BUFFER: usize = 4096;
/// Most elements behind a position that are taken at a time.
const PIECE: usize = 256;

impl Kernel for Resize {
    const NAME: &'static str = "move.resize";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        check_axes(self.axes.len())?;
        let element = self.dtype.size() as u8;
        if !matches!(self.how, Interpolation::Nearest(_)) && !self.dtype.is_float() {
            return Err(format!("cannot interpolate {}", self.dtype));
        }
        let mut taps = 0.0;
        for (i, a) in self.axes.iter().enumerate() {
            match &a.resampling {
                Some(r) => taps += Taps::check(r, self.how, a.from, a.to)?,
                None if a.from != a.to => return Err(format!("axis {i} changes but is not resampled")),
                None => {}
            }
        }
        if taps > MAX_TAPS {
            return Err("resizing takes too large tables".into());
        }
        Ok(ArgSizes {
            inputs: vec![bytes_of(product(self.axes.iter().map(|a| a.from))?, element)?],
            outputs: vec![bytes_of(product(self.axes.iter().map(|a| a.to))?, element)?],
            scratch: 0,
        })
    }

    fn prepare(&mut self, _isa: Isa) -> Result<(), KernelError> {
        let cut = self.axes.iter().rposition(|a| a.resampling.is_some());
        let taps = |a: &ResizeDim| {
            a.resampling.as_ref().map(|r| Taps::new(r, self.how, self.coordinates, a.from, a.to))
        };
        let mut outer: Vec<OuterAxis> = Vec::new();
        let inner: usize = self.axes.iter().skip(cut.map_or(0, |c| c + 1)).map(|a| a.from).product();
        let (last, last_from, last_to) = match cut.map(|c| self.axes[c]) {
            Some(a) => (taps(&a).unwrap_or_default(), a.from, a.to),
            None => (Taps::one(), 1, 1),
        };
        let mut step = last_from * inner;
        for a in self.axes[..cut.unwrap_or(0)].iter().rev() {
            let own = taps(a);
            match outer.last_mut() {
                Some(before) if own.is_none() && before.taps.is_none() => before.to *= a.to,
                _ => outer.push(OuterAxis { to: a.to, step, taps: own }),
            }
            step *= a.from;
        }
        outer.reverse();
        debug_assert!(outer.len() <= MAX_AXES);
        let widest = (0..last_to).map(|o| last.span(o).len()).max().unwrap_or(1);
        let piece = inner.min(PIECE).min(BUFFER / widest.max(1)).max(1);
        let segments = segments(&last, last_to, piece);
        self.ready = Some(ResizeReady { outer, last, last_from, last_to, inner, piece, segments });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        let n: usize = self.axes.iter().map(|a| a.to).product();
        if n == 0 {
            return;
        }
        let e = self.extrapolation;
        if matches!(self.how, Interpolation::Nearest(_)) {
            let bits = match self.dtype {
                DType::F32 => u64::from(e.to_bits()),
                DType::F64 => f64::from(e).to_bits(),
                DType::F16 => u64::from(half::f16::from_f32(e).to_bits()),
                DType::BF16 => u64::from(half::bf16::from_f32(e).to_bits()),
                _ => 0,
            };
            by_size!(self.dtype.size(), T => {
                // The lowest bytes of the bits are the element.
                nearest::<T>(ready, args.input(0), &mut args.output(0)[..n], bits as T, threads);
            });
            return;
        }
        match self.dtype {
            DType::F32 => weighted::<f32>(ready, args.input(0), &mut args.output(0)[..n], e, threads),
            DType::F64 => {
                weighted::<f64>(ready, args.input(0), &mut args.output(0)[..n], f64::from(e), threads);
            }
            DType::F16 => weighted::<half::f16>(ready, args.input(0), &mut args.output(0)[..n], e, threads),
            DType::BF16 => weighted::<half::bf16>(ready, args.input(0), &mut args.output(0)[..n], e, threads),
            // `sizes` refuses everything else.
            _ => {}
        }
    }
}

/// Cuts output positions into runs whose taps fit the buffer.
fn segments(taps: &Taps, to: usize, piece: usize) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for o in 0..to {
        let span = taps.span(o);
        if let Some(s) = out.last_mut() {
            let (from0, from1) = match (s.from0 == s.from1, span.is_empty()) {
                (_, true) => (s.from0, s.from1),
                (true, _) => (span.start, span.end),
                _ => (s.from0.min(span.start), s.from1.max(span.end)),
            };
            if !s.direct && (from1 - from0) * piece <= BUFFER {
                *s = Segment { x0: s.x0, x1: o + 1, from0, from1, direct: false };
                continue;
            }
        }
        let direct = span.len() * piece > BUFFER;
        out.push(Segment { x0: o, x1: o + 1, from0: span.start, from1: span.end, direct });
    }
    out
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
