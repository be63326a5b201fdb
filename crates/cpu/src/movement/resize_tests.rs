use super::*;
use crate::movement::resize_taps::Rounding;
use crate::movement::testing::{Random, hostile, pools, run};

const COORDINATES: [Coordinates; 6] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
    Coordinates::TfCropAndResize,
];

/// The sum over all taps of all axes, element by element, in `f64`.
fn naive(k: &Resize, x: &[f64]) -> Vec<f64> {
    let from: Vec<usize> = k.axes.iter().map(|a| a.from).collect();
    let taps: Vec<Option<Taps>> = k
        .axes
        .iter()
        .map(|a| a.resampling.map(|r| Taps::new(&r, k.how, k.coordinates, a.from, a.to)))
        .collect();
    let n: usize = k.axes.iter().map(|a| a.to).product();
    (0..n)
        .map(|i| {
            let mut choices = vec![(0, 1.0)];
            let (mut rest, mut step) = (i, 1);
            for (a, t) in k.axes.iter().zip(&taps).rev() {
                let o = rest % a.to;
                rest /= a.to;
                let list: Vec<(usize, f64)> = match t {
                    None => vec![(o, 1.0)],
                    Some(t) => t.at(o).iter().map(|&(p, w)| (p as usize, f64::from(w))).collect(),
                };
                choices = choices
                    .iter()
                    .flat_map(|&(at, v): &(usize, f64)| {
                        list.iter().map(move |&(p, w)| (at + p * step, v * w))
                    })
                    .collect();
                step *= a.from;
            }
            assert!(choices.iter().all(|c| c.0 < from.iter().product()));
            if choices.is_empty() {
                return f64::from(k.extrapolation);
            }
            choices.iter().map(|&(at, w)| x[at] * w).sum()
        })
        .collect()
}

fn values(n: usize, random: &mut Random) -> Vec<f64> {
    (0..n).map(|_| f64::from((random.float() * 2.0 - 1.0) as f32)).collect()
}

fn encode(dtype: DType, x: &[f64]) -> Vec<u8> {
    match dtype {
        DType::F64 => x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => x.iter().flat_map(|&v| half::f16::from_f64(v).to_le_bytes()).collect(),
        DType::BF16 => x.iter().flat_map(|&v| half::bf16::from_f64(v).to_le_bytes()).collect(),
        _ => x.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
    }
}

fn decode(dtype: DType, x: &[u8]) -> Vec<f64> {
    match dtype {
        DType::F64 => x.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        DType::F16 => {
            x.chunks_exact(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect()
        }
        DType::BF16 => {
            x.chunks_exact(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect()
        }
        _ => x.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
    }
}

fn compare(k: &Resize, random: &mut Random) {
    let n = k.axes.iter().map(|a| a.from).product();
    let bytes = encode(k.dtype, &values(n, random));
    let want = naive(k, &decode(k.dtype, &bytes));
    let tolerance = match k.dtype {
        DType::F64 => 1e-6,
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        _ => 1e-5,
    };
    for threads in pools() {
        let got = decode(k.dtype, &run(k, &[&bytes], &threads));
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!((g - w).abs() <= tolerance, "{k:?}: element {i} is {g}, expected {w}");
        }
    }
}

fn resized(from: usize, to: usize) -> ResizeDim {
    let resampling = Some(Resampling { scale: to as f32 / from as f32, roi: (-0.1, 0.9) });
    ResizeDim { from, to, resampling }
}

fn kept(size: usize) -> ResizeDim {
    ResizeDim { from: size, to: size, resampling: None }
}

fn kernel(how: Interpolation, coordinates: Coordinates, axes: Vec<ResizeDim>) -> Resize {
    Resize { dtype: DType::F32, axes, how, coordinates, extrapolation: 7.5, ready: None }
}

fn kinds() -> Vec<Interpolation> {
    let mut out: Vec<_> = [Rounding::HalfDown, Rounding::HalfUp, Rounding::Floor, Rounding::Ceil]
        .into_iter()
        .map(Interpolation::Nearest)
        .collect();
    for antialias in [false, true] {
        out.push(Interpolation::Linear { antialias });
        for exclude_outside in [false, true] {
            out.push(Interpolation::Cubic { coefficient: -0.75, exclude_outside, antialias });
        }
    }
    out
}

#[test]
fn resamples_images_in_every_layout() {
    let mut random = Random::new(1);
    for how in kinds() {
        for coordinates in COORDINATES {
            let (h, w) = (resized(5, random.size(1, 12)), resized(7, random.size(1, 15)));
            compare(&kernel(how, coordinates, vec![kept(2), kept(3), h, w]), &mut random);
            for lanes in [3, 8, 16] {
                compare(&kernel(how, coordinates, vec![kept(2), h, w, kept(lanes)]), &mut random);
            }
        }
    }
}

#[test]
fn resamples_any_axes() {
    let mut random = Random::new(2);
    for round in 0..150 {
        let how = kinds()[round % kinds().len()];
        let rank = random.size(0, 5);
        let axes = (0..rank)
            .map(|_| {
                let from = random.size(1, 5);
                if random.next().is_multiple_of(2) { kept(from) } else { resized(from, random.size(1, 6)) }
            })
            .collect();
        let mut k = kernel(how, COORDINATES[random.size(0, 5)], axes);
        k.dtype = [DType::F32, DType::F64, DType::F16, DType::BF16][round % 4];
        compare(&k, &mut random);
    }
}

#[test]
fn rows_longer_than_the_buffer() {
    let mut random = Random::new(3);
    let linear = Interpolation::Linear { antialias: false };
    let wide = Interpolation::Linear { antialias: true };
    compare(&kernel(linear, Coordinates::HalfPixel, vec![kept(2), resized(9000, 12_000)]), &mut random);
    compare(&kernel(linear, Coordinates::HalfPixel, vec![resized(30, 45), kept(700)]), &mut random);
    compare(
        &kernel(linear, Coordinates::HalfPixel, vec![resized(3, 5), resized(30, 45), kept(300)]),
        &mut random,
    );
    // Taps over more than the buffer.
    compare(
        &kernel(wide, Coordinates::HalfPixel, vec![resized(2, 3), resized(20_000, 3), kept(2)]),
        &mut random,
    );
}

#[test]
fn nearest_takes_every_type() {
    let how = Interpolation::Nearest(Rounding::Floor);
    let axes = vec![kept(1), resized(2, 4)];
    for (dtype, size) in [(DType::U8, 1), (DType::I16, 2), (DType::I32, 4), (DType::I64, 8), (DType::Bool, 1)]
    {
        let k = Resize { dtype, ..kernel(how, Coordinates::Asymmetric, axes.clone()) };
        let x: Vec<u8> = (1..=2 * size).collect();
        let (a, b) = x.split_at(size as usize);
        for threads in pools() {
            assert_eq!(run(&k, &[&x], &threads), [a, a, b, b].concat(), "{dtype}");
        }
    }
    let k = Resize {
        dtype: DType::I32,
        ..kernel(Interpolation::Linear { antialias: false }, Coordinates::Asymmetric, axes)
    };
    assert!(k.sizes(1).unwrap_err().contains("cannot interpolate"));
}

#[test]
fn refuses_axes_that_change_alone() {
    let mut k = kernel(Interpolation::Linear { antialias: false }, Coordinates::Asymmetric, vec![kept(3)]);
    k.axes[0].to = 4;
    assert!(k.sizes(1).unwrap_err().contains("not resampled"));
    k.axes =
        vec![ResizeDim { from: 4, to: 8, resampling: Some(Resampling { scale: -1.0, roi: (0.0, 1.0) }) }];
    assert!(k.sizes(1).is_err());
    k.axes = vec![kept(2); 10];
    assert!(k.sizes(1).unwrap_err().contains("axes"));
}

#[test]
fn survives_hostile_parameters() {
    for how in kinds() {
        hostile(&kernel(
            how,
            Coordinates::TfCropAndResize,
            vec![kept(2), resized(3, 5), resized(4, 2), kept(8)],
        ));
    }
}
