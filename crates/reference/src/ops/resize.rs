//! Resampling, one axis after another: the kernels are separable.

use tactician_ir::{CoordinateMode, NearestMode, Resize, ResizeAxis, ResizeMode};

use crate::value::{Data, Value};

/// Taps of one output position: input positions and weights; `None` lies outside and takes the extrapolation value.
type Taps = Option<Vec<(usize, f64)>>;

pub(crate) fn resize(op: &Resize, x: &Value, sizes: &[usize]) -> Value {
    let mut v = x.clone();
    let mut outside: Vec<(usize, Vec<bool>)> = Vec::new();
    for a in &op.axes {
        let (from, to) = (v.sizes[a.axis], sizes[a.axis]);
        let taps: Vec<Taps> = (0..to).map(|o| self::taps(op, a, o, from, to)).collect();
        outside.push((a.axis, taps.iter().map(Option::is_none).collect()));
        v = along(&v, a.axis, &taps);
    }
    // One coordinate outside puts the whole element outside.
    if let Data::Float(d) = &mut v.data {
        for (axis, flags) in &outside {
            let tail: usize = sizes[axis + 1..].iter().product();
            for (i, e) in d.iter_mut().enumerate() {
                if flags[i / tail % sizes[*axis]] {
                    *e = f64::from(op.extrapolation);
                }
            }
        }
    }
    v
}

fn along(x: &Value, axis: usize, taps: &[Taps]) -> Value {
    let mut sizes = x.sizes.clone();
    let from = sizes[axis];
    sizes[axis] = taps.len();
    let tail: usize = sizes[axis + 1..].iter().product();
    let n: usize = sizes.iter().product();
    let place = |i: usize, p: usize| (i / tail / taps.len() * from + p) * tail + i % tail;
    let data = match &x.data {
        Data::Float(d) => Data::Float(
            (0..n)
                .map(|i| match &taps[i / tail % taps.len()] {
                    Some(list) if list.len() == 1 && list[0].1 == 1.0 => d[place(i, list[0].0)],
                    Some(list) => list.iter().map(|&(p, w)| d[place(i, p)] * w).sum(),
                    None => 0.0,
                })
                .collect(),
        ),
        Data::Int(d) => Data::Int(
            (0..n).map(|i| taps[i / tail % taps.len()].as_ref().map_or(0, |l| d[place(i, l[0].0)])).collect(),
        ),
    };
    Value { dtype: x.dtype, sizes, data }
}

/// The input coordinate of an output position.
fn coordinate(op: &Resize, a: &ResizeAxis, o: usize, from: usize, to: usize) -> f64 {
    let (o, scale, n, m) = (o as f64, f64::from(a.scale), from as f64, to as f64);
    match op.coordinates {
        CoordinateMode::HalfPixel => (o + 0.5) / scale - 0.5,
        CoordinateMode::HalfPixelSymmetric => {
            let adjustment = m / (scale * n);
            n / 2.0 * (1.0 - adjustment) + (o + 0.5) / scale - 0.5
        }
        CoordinateMode::PytorchHalfPixel if to <= 1 => 0.0,
        CoordinateMode::PytorchHalfPixel => (o + 0.5) / scale - 0.5,
        CoordinateMode::AlignCorners if to <= 1 => 0.0,
        CoordinateMode::AlignCorners => o * (n - 1.0) / (m - 1.0),
        CoordinateMode::Asymmetric => o / scale,
        CoordinateMode::TfCropAndResize => {
            let (start, end) = (f64::from(a.roi.0), f64::from(a.roi.1));
            if to > 1 {
                start * (n - 1.0) + o * (end - start) * (n - 1.0) / (m - 1.0)
            } else {
                0.5 * (start + end) * (n - 1.0)
            }
        }
    }
}

fn taps(op: &Resize, a: &ResizeAxis, o: usize, from: usize, to: usize) -> Taps {
    let x = coordinate(op, a, o, from, to);
    if op.coordinates == CoordinateMode::TfCropAndResize && !(0.0..=(from - 1) as f64).contains(&x) {
        return None;
    }
    let clamp = |p: f64| p.clamp(0.0, (from - 1) as f64) as usize;
    let widen = |antialias: bool| if antialias && a.scale < 1.0 { f64::from(a.scale) } else { 1.0 };
    match op.mode {
        ResizeMode::Nearest(mode) => {
            let p = match mode {
                NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
                NearestMode::RoundPreferCeil => (x + 0.5).floor(),
                NearestMode::Floor => x.floor(),
                NearestMode::Ceil => x.ceil(),
            };
            Some(vec![(clamp(p), 1.0)])
        }
        ResizeMode::Linear { antialias } => {
            Some(kernel(x, 1.0, widen(antialias), from, false, &|t| (1.0 - t.abs()).max(0.0)))
        }
        ResizeMode::Cubic { coefficient, exclude_outside, antialias } => {
            let c = f64::from(coefficient);
            Some(kernel(x, 2.0, widen(antialias), from, exclude_outside, &|t| cubic(t.abs(), c)))
        }
    }
}

/// Keys' cubic convolution kernel (1981).
fn cubic(t: f64, a: f64) -> f64 {
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((t - 5.0) * t + 8.0) * t * a - 4.0 * a
    } else {
        0.0
    }
}

/// Weights of a kernel of some reach, stretched by `1/scale`; neighbours outside repeat the edge or count nothing.
fn kernel(
    x: f64,
    reach: f64,
    scale: f64,
    from: usize,
    exclude: bool,
    f: &dyn Fn(f64) -> f64,
) -> Vec<(usize, f64)> {
    let reach = reach / scale;
    let (first, last) = ((x - reach).ceil() as i64, (x + reach).floor() as i64);
    let mut out: Vec<(usize, f64)> = Vec::new();
    let mut total = 0.0;
    for p in first..=last {
        let outside = p < 0 || p >= from as i64;
        let w = if outside && exclude { 0.0 } else { f((p as f64 - x) * scale) };
        total += w;
        if w != 0.0 {
            out.push((p.clamp(0, from as i64 - 1) as usize, w));
        }
    }
    for (_, w) in &mut out {
        *w /= total;
    }
    out
}
