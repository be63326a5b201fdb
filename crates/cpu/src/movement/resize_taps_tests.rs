use super::*;

fn nearest(mode: Rounding, coordinates: Coordinates, scale: f32, from: usize, to: usize) -> Vec<u32> {
    let r = Resampling { scale, roi: (0.0, 1.0) };
    let t = Taps::new(&r, Interpolation::Nearest(mode), coordinates, from, to);
    (0..to).map(|o| t.at(o)[0].0).collect()
}

fn weights(how: Interpolation, scale: f32, from: usize, to: usize) -> Vec<Vec<f64>> {
    let t = Taps::new(&Resampling { scale, roi: (0.0, 1.0) }, how, Coordinates::HalfPixel, from, to);
    (0..to)
        .map(|o| {
            let mut row = vec![0.0; from];
            t.at(o).iter().for_each(|&(p, w)| row[p as usize] += f64::from(w));
            row
        })
        .collect()
}

#[test]
fn rounds_as_named() {
    use Coordinates::{Asymmetric, HalfPixel};
    // Asymmetric, doubled: coordinates 0, 0.5, 1, 1.5.
    assert_eq!(nearest(Rounding::Floor, Asymmetric, 2.0, 2, 4), [0, 0, 1, 1]);
    assert_eq!(nearest(Rounding::Ceil, Asymmetric, 2.0, 2, 4), [0, 1, 1, 1]);
    assert_eq!(nearest(Rounding::HalfDown, Asymmetric, 2.0, 2, 4), [0, 0, 1, 1]);
    assert_eq!(nearest(Rounding::HalfUp, Asymmetric, 2.0, 2, 4), [0, 1, 1, 1]);
    // Half pixel, halved: coordinates 0.5, 2.5.
    assert_eq!(nearest(Rounding::HalfDown, HalfPixel, 0.5, 4, 2), [0, 2]);
    assert_eq!(nearest(Rounding::HalfUp, HalfPixel, 0.5, 4, 2), [1, 3]);
}

#[test]
fn linear_weights() {
    let plain = Interpolation::Linear { antialias: false };
    assert_eq!(weights(plain, 2.0, 2, 4), [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]);
    // Widened by two: a triangle of reach 2 around 0.5 and 2.5.
    let wide = Interpolation::Linear { antialias: true };
    assert_eq!(weights(wide, 0.5, 4, 2), [[0.5, 0.375, 0.125, 0.0], [0.0, 0.125, 0.375, 0.5]]);
}

#[test]
fn cubic_weights() {
    let cubic = Interpolation::Cubic { coefficient: -0.75, exclude_outside: false, antialias: false };
    // At distances 1.75, 0.75, 0.25, 1.25 of coordinate 1.25 (ONNX' example: 4 elements doubled).
    let row = &weights(cubic, 2.0, 4, 8)[3];
    for (got, want) in row.iter().zip([-0.10546875, 0.87890625, 0.26171875, -0.03515625]) {
        assert!((got - want).abs() < 1e-6, "{row:?}");
    }
    let cut = Interpolation::Cubic { coefficient: -0.75, exclude_outside: true, antialias: false };
    for how in [cubic, cut] {
        for row in weights(how, 1.7, 6, 10) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn other_coordinates() {
    let at =
        |c, roi, from, to, o| coordinate(&Resampling { scale: to as f32 / from as f32, roi }, c, o, from, to);
    let roi = (0.25, 0.75);
    assert_eq!(at(Coordinates::AlignCorners, roi, 5, 9, 8), 4.0);
    assert_eq!(at(Coordinates::AlignCorners, roi, 5, 1, 0), 0.0);
    assert_eq!(at(Coordinates::PytorchHalfPixel, roi, 5, 1, 0), 0.0);
    assert_eq!(at(Coordinates::HalfPixelSymmetric, roi, 4, 8, 0), -0.25);
    assert_eq!(at(Coordinates::TfCropAndResize, roi, 5, 3, 0), 1.0);
    assert_eq!(at(Coordinates::TfCropAndResize, roi, 5, 3, 2), 3.0);
    assert_eq!(at(Coordinates::TfCropAndResize, roi, 5, 1, 0), 2.0);
}

#[test]
fn refuses_endless_tables() {
    let cubic = Interpolation::Cubic { coefficient: -0.5, exclude_outside: false, antialias: true };
    let check = |scale, from, to| Taps::check(&Resampling { scale, roi: (0.0, 1.0) }, cubic, from, to);
    assert!(check(0.5, 100, 50).is_ok());
    assert!(check(1e-30, 100, 50).unwrap_err().contains("too large"));
    assert!(
        check(f32::NAN, 100, 50).is_err() && check(0.0, 100, 50).is_err() && check(-1.0, 100, 50).is_err()
    );
    assert!(check(1.0, 0, 5).unwrap_err().contains("empty"));
    assert!(check(1.0, 100, usize::MAX).is_err());
}
