//! What resizing families share.

use tactician_cpu::movement::{Coordinates, Interpolation, Rounding};
use tactician_ir::{CoordinateMode, NearestMode, Resize, ResizeMode};

/// How an operation interpolates and where its samples lie, in the kernels' words.
pub(crate) fn how(resize: &Resize) -> (Interpolation, Coordinates) {
    let how = match resize.mode {
        ResizeMode::Nearest(mode) => Interpolation::Nearest(match mode {
            NearestMode::RoundPreferFloor => Rounding::HalfDown,
            NearestMode::RoundPreferCeil => Rounding::HalfUp,
            NearestMode::Floor => Rounding::Floor,
            NearestMode::Ceil => Rounding::Ceil,
        }),
        ResizeMode::Linear { antialias } => Interpolation::Linear { antialias },
        ResizeMode::Cubic { coefficient, exclude_outside, antialias } => {
            Interpolation::Cubic { coefficient, exclude_outside, antialias }
        }
    };
    let coordinates = match resize.coordinates {
        CoordinateMode::HalfPixel => Coordinates::HalfPixel,
        CoordinateMode::HalfPixelSymmetric => Coordinates::HalfPixelSymmetric,
        CoordinateMode::PytorchHalfPixel => Coordinates::PytorchHalfPixel,
        CoordinateMode::AlignCorners => Coordinates::AlignCorners,
        CoordinateMode::Asymmetric => Coordinates::Asymmetric,
        CoordinateMode::TfCropAndResize => Coordinates::TfCropAndResize,
    };
    (how, coordinates)
}
