//! Discrete Fourier transforms as products with constant matrices, and windows.

use std::f64::consts::TAU;

use tactician_ir::{Binary, DType, Op, Pad, PadMode, Scalar, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

/// Most entries of a transform's matrix or of a window: 16 Mi.
const MOST: usize = 1 << 24;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("DFT", dft),
    ("STFT", stft),
    ("HannWindow", |i, n| window(i, n, [0.5, -0.5, 0.0])),
    ("HammingWindow", |i, n| window(i, n, [25.0 / 46.0, -21.0 / 46.0, 0.0])),
    ("BlackmanWindow", |i, n| window(i, n, [0.42, -0.5, 0.08])),
    ("MelWeightMatrix", mel_weights),
];

/// How a transform goes.
#[derive(Clone, Copy)]
struct Direction {
    inverse: bool,
    onesided: bool,
}

/// The transform along `axis` of `x [… , 1 or 2]` (real, or real and imaginary part), its length `n` if given.
fn transform(c: &mut Compose<'_, '_>, x: ValueId, axis: usize, n: Option<usize>, to: Direction) -> Made {
    let sizes = c.sizes(x)?;
    let rank = sizes.len();
    let parts = *sizes.last().ok_or("its operand is a scalar")?;
    if !matches!(parts, 1 | 2) || axis + 1 >= rank {
        return Err(format!("it transforms axis {axis} of {}, expected […, 1 or 2]", c.ty(x)));
    }
    // One side of a spectrum stands for a whole one: `n/2 + 1` bins for `n` real values.
    let to_real = to.inverse && to.onesided;
    let n = n.unwrap_or(if to_real { sizes[axis].saturating_sub(1) * 2 } else { sizes[axis] });
    let half = n / 2 + 1;
    let used = if to_real { half } else { n };
    let bins = if to.onesided && !to.inverse { half } else { n };
    if n == 0 || n.checked_mul(bins.max(used)).is_none_or(|s| s > MOST) {
        return Err(format!("a transform of length {n} is not supported"));
    }
    let mut x = x;
    if sizes[axis] > used {
        x = c.slice(x, axis, 0, used)?;
    } else if sizes[axis] < used {
        let mut pads = vec![(0, 0); rank];
        pads[axis].1 = used - sizes[axis];
        let zero = Scalar::of(c.dtype(x), 0.0);
        x = c.op(Op::Pad(Pad { pads, mode: PadMode::Constant(zero) }), &[x])?;
    }
    // The axis goes last: `[parts, …, used]`.
    let mut perm = vec![rank - 1];
    perm.extend((0..rank - 1).filter(|&a| a != axis));
    perm.push(axis);
    let x = c.transpose(x, perm.clone())?;
    let dtype = c.dtype(x);
    let scale = if to.inverse { 1.0 / n as f64 } else { 1.0 };
    let matrix = |c: &mut Compose<'_, '_>, f: fn(f64) -> f64| {
        let mut values = Vec::with_capacity(used * bins);
        for k in 0..used {
            // Bins between the ends of one side stand for two.
            let twice = to_real && k > 0 && 2 * k != n;
            for b in 0..bins {
                let angle = TAU * ((k * b) % n) as f64 / n as f64;
                values.push(f(angle) * scale * if twice { 2.0 } else { 1.0 });
            }
        }
        c.numbers(dtype, &[used, bins], &values)
    };
    let (cos, sin) = (matrix(c, f64::cos)?, matrix(c, f64::sin)?);
    let times = |c: &mut Compose<'_, '_>, v: ValueId, m: ValueId| -> Made {
        if c.ty(v).rank() == 1 {
            let v = c.reshape(v, &[1, used])?;
            return c.matmul(v, m);
        }
        c.matmul(v, m)
    };
    let part = |c: &mut Compose<'_, '_>, k: usize| c.slice(x, 0, k, 1);
    let re = part(c, 0)?;
    let (rc, rs) = (times(c, re, cos)?, times(c, re, sin)?);
    let (mut real, mut imaginary) = (rc, rs);
    if parts == 2 {
        let im = part(c, 1)?;
        let (ic, is) = (times(c, im, cos)?, times(c, im, sin)?);
        let (plus, minus) = if to.inverse { (Binary::Add, Binary::Sub) } else { (Binary::Sub, Binary::Add) };
        real = c.binary(minus, rc, is)?;
        imaginary = if to.inverse { c.binary(plus, rs, ic)? } else { c.binary(plus, ic, rs)? };
    } else if !to.inverse {
        imaginary = c.unary(tactician_ir::Unary::Neg, rs)?;
    }
    let v = if to_real { real } else { c.concat(0, &[real, imaginary])? };
    let mut back = vec![0; rank];
    for (at, &p) in perm.iter().enumerate() {
        back[p] = at;
    }
    c.transpose(v, back)
}

/// The axis as an attribute until opset 19, as an operand since.
fn dft(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let length = length(n.known_ints(1, i)?)?;
    let rank = i.ty(x).rank();
    let axis = match n.known_ints(2, i)?.as_deref() {
        Some([a]) => *a,
        Some(_) => return Err("its axis is no scalar".into()),
        None if i.opset < 20 => n.int("axis", 1),
        None => -2,
    };
    let axis = n.axis(axis, rank)?;
    let to = Direction { inverse: n.int("inverse", 0) != 0, onesided: n.int("onesided", 0) != 0 };
    let mut c = Compose { import: i, name: n.label };
    one(transform(&mut c, x, axis, length, to)?)
}

fn length(given: Option<Vec<i64>>) -> Result<Option<usize>, String> {
    let Some(l) = given else { return Ok(None) };
    let [l] = l[..] else { return Err("a length is no scalar".into()) };
    usize::try_from(l)
        .ok()
        .filter(|&l| l > 0 && l <= MOST)
        .map(Some)
        .ok_or_else(|| format!("a length of {l}"))
}

/// Frames of `signal [batch, length, 1 or 2]`, each times the window, each transformed.
fn stft(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let step = length(n.known_ints(1, i)?)?.ok_or("its step is missing")?;
    let window = if n.given(2) { Some(n.tensor(2, i)?) } else { None };
    let given = length(n.known_ints(3, i)?)?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let [_, total, parts] = sizes[..] else {
        return Err(format!("its signal is {}, expected [batch, length, 1 or 2]", c.ty(x)));
    };
    let frame = match (given, window) {
        (Some(l), _) => l,
        (None, Some(w)) => c.sizes(w)?.iter().product(),
        (None, None) => return Err("neither a window nor a frame length is given".into()),
    };
    if frame == 0 || frame > total {
        return Err(format!("frames of {frame} in a signal of {total}"));
    }
    let frames = (total - frame) / step + 1;
    if frames.checked_mul(frame).is_none_or(|s| s > MOST) {
        return Err(format!("{frames} frames of {frame} are too many"));
    }
    let places: Vec<i64> = (0..frames).flat_map(|f| (0..frame).map(move |k| (f * step + k) as i64)).collect();
    let places = c.ints(&[frames, frame], &places)?;
    let mut v = c.gather(x, places, 1)?;
    if let Some(w) = window {
        let w = c.reshape(w, &[frame, 1])?;
        v = c.binary(Binary::Mul, v, w)?;
    }
    let onesided = n.int("onesided", 1) != 0;
    if onesided && parts == 2 {
        return Err("one side of a complex signal's spectrum is not all of it; set onesided to 0".into());
    }
    one(transform(&mut c, v, 2, None, Direction { inverse: false, onesided })?)
}

/// `a₀ + a₁·cos(2πk/n) + a₂·cos(4πk/n)`, where `n` is the size, or one less for symmetric windows.
fn window(i: &mut Import<'_>, n: &Node<'_>, a: [f64; 3]) -> Result<Vec<Val>, String> {
    let size = n.known_ints(0, i)?.ok_or("its size is missing")?;
    let [size] = size[..] else { return Err("its size is no scalar".into()) };
    let size =
        usize::try_from(size).ok().filter(|&s| s <= MOST).ok_or_else(|| format!("a size of {size}"))?;
    let periodic = n.int("periodic", 1) != 0;
    let over = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
    let values: Vec<f64> = (0..size)
        .map(|k| {
            let t = TAU * k as f64 / over;
            a[0] + a[1] * t.cos() + a[2] * (2.0 * t).cos()
        })
        .collect();
    let to = i32::try_from(n.int("output_datatype", 1)).map_err(|_| "output_datatype is no type")?;
    let dtype = tensor::dtype(to)?;
    let mut c = Compose { import: i, name: n.label };
    one(c.numbers(dtype, &[size], &values)?)
}

/// Triangles evenly spaced on the mel scale, `mel = 2595·log₁₀(1 + f/700)`, as columns over the bins of a spectrum.
fn mel_weights(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let whole = |k: usize, what: &str| -> Result<usize, String> {
        length(n.known_ints(k, i)?)?.ok_or_else(|| format!("its {what} is missing"))
    };
    let (bands, length, rate) = (whole(0, "number of bands")?, whole(1, "length")?, whole(2, "sample rate")?);
    let edge = |k: usize| -> Result<f64, String> {
        let l = n.known_floats(k, i)?.unwrap_or_default();
        l.first()
            .copied()
            .filter(|f| *f >= 0.0 && f.is_finite())
            .ok_or_else(|| format!("operand {k} is no frequency"))
    };
    let mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
    let (low, high) = (mel(edge(3)?), mel(edge(4)?));
    let bins = length / 2 + 1;
    if bins.checked_mul(bands).is_none_or(|s| s > MOST) {
        return Err(format!("a matrix of {bins} by {bands} is too large"));
    }
    let step = (high - low) / (bands + 2) as f64;
    let places: Vec<usize> = (0..bands + 2)
        .map(|k| {
            let f = 700.0 * (10f64.powf((low + k as f64 * step) / 2595.0) - 1.0);
            ((length + 1) as f64 * f / rate as f64).floor() as usize
        })
        .collect();
    if places.iter().any(|&p| p > bins) {
        return Err("its upper edge is above half the sample rate".into());
    }
    let mut values = vec![0.0; bins * bands];
    for (band, p) in places.windows(3).enumerate() {
        let (from, top, end) = (p[0], p[1], p[2]);
        let mut set = |bin: usize, v: f64| {
            if bin < bins {
                values[bin * bands + band] = v;
            }
        };
        if from == top {
            set(top, 1.0);
        }
        (from..top).for_each(|b| set(b, (b - from) as f64 / (top - from) as f64));
        if from < top {
            set(top, 1.0);
        }
        (top..end).for_each(|b| set(b, (end - b) as f64 / (end - top) as f64));
    }
    let to = i32::try_from(n.int("output_datatype", 1)).map_err(|_| "output_datatype is no type")?;
    let dtype = tensor::dtype(to)?;
    if !dtype.is_float() {
        return Err(format!("weights of {dtype} are not supported"));
    }
    let mut c = Compose { import: i, name: n.label };
    let v = c.numbers(DType::F64, &[bins, bands], &values)?;
    one(c.cast(v, dtype)?)
}
