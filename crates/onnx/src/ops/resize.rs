//! Resampling.

use tactician_ir::{CoordinateMode, Dim, NearestMode, Op, Resize, ResizeAxis, ResizeMode};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("Resize", resize), ("Upsample", upsample)];

fn upsample(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let scales = match n.floats("scales") {
        Some(s) => s.iter().map(|&s| f64::from(s)).collect(),
        None => n.known_floats(1, i)?.ok_or("its scales are missing")?,
    };
    let mode = match n.text("mode", "nearest")?.as_str() {
        "nearest" => ResizeMode::Nearest(NearestMode::Floor),
        "linear" | "bilinear" => ResizeMode::Linear { antialias: false },
        other => return Err(format!("mode `{other}` is unknown")),
    };
    finish(i, n, mode, CoordinateMode::Asymmetric, 0.0, None, Some(scales), None, &[])
}

fn resize(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    // Opset 10 has scales as its second operand and no coordinate modes.
    let old = i.opset < 11;
    let nearest = match n.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?.as_str() {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        other => return Err(format!("nearest_mode `{other}` is unknown")),
    };
    let antialias = n.int("antialias", 0) != 0;
    let mode = match n.text("mode", "nearest")?.as_str() {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" => ResizeMode::Linear { antialias },
        "cubic" => ResizeMode::Cubic {
            coefficient: n.float("cubic_coeff_a", -0.75),
            exclude_outside: n.int("exclude_outside", 0) != 0,
            antialias,
        },
        other => return Err(format!("mode `{other}` is unknown")),
    };
    let name = n.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?;
    let coordinates = match name.as_str() {
        "half_pixel" => CoordinateMode::HalfPixel,
        "half_pixel_symmetric" => CoordinateMode::HalfPixelSymmetric,
        "pytorch_half_pixel" => CoordinateMode::PytorchHalfPixel,
        "align_corners" => CoordinateMode::AlignCorners,
        "asymmetric" => CoordinateMode::Asymmetric,
        "tf_crop_and_resize" => CoordinateMode::TfCropAndResize,
        other => return Err(format!("coordinate_transformation_mode `{other}` is unknown")),
    };
    let (scales_at, sizes_at) = if old { (1, usize::MAX) } else { (2, 3) };
    let scales = n.known_floats(scales_at, i)?.filter(|s| !s.is_empty());
    let sizes = if scales.is_some() { None } else { n.dims(sizes_at, i)? };
    let roi = if coordinates == CoordinateMode::TfCropAndResize { n.known_floats(1, i)? } else { None };
    let x = n.tensor(0, i)?;
    let rank = i.ty(x).rank();
    let axes = match n.ints("axes") {
        Some(a) => a.iter().map(|&a| n.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    finish(i, n, mode, coordinates, n.float("extrapolation_value", 0.0), roi, scales, sizes, &axes)
}

fn finish(
    i: &mut Import<'_>,
    n: &Node<'_>,
    mode: ResizeMode,
    coordinates: CoordinateMode,
    extrapolation: f32,
    roi: Option<Vec<f64>>,
    scales: Option<Vec<f64>>,
    sizes: Option<Vec<Dim>>,
    axes: &[usize],
) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let all: Vec<usize> = (0..shape.rank()).collect();
    let axes = if axes.is_empty() { &all } else { axes };
    let given = scales
        .as_ref()
        .map(Vec::len)
        .or(sizes.as_ref().map(Vec::len))
        .ok_or("neither scales nor sizes are given")?;
    if given != axes.len() {
        return Err(format!("{given} scales or sizes for {} axes", axes.len()));
    }
    let policy = n.text("keep_aspect_ratio_policy", "stretch")?;
    let need = |a: usize| {
        shape.dims()[a]
            .as_usize()
            .ok_or_else(|| format!("the size of axis {a} must be known; give the input shapes (--shape)"))
    };
    // One scale for all axes keeps the aspect ratio.
    let common = match (&sizes, policy.as_str()) {
        (None, _) | (_, "stretch") => None,
        (Some(s), "not_larger" | "not_smaller") => {
            let mut ratios = Vec::new();
            for (k, &a) in axes.iter().enumerate() {
                ratios.push(s[k].as_usize().ok_or("its sizes must be known")? as f32 / need(a)? as f32);
            }
            ratios.into_iter().reduce(|a, b| if policy == "not_larger" { a.min(b) } else { a.max(b) })
        }
        (_, other) => return Err(format!("keep_aspect_ratio_policy `{other}` is unknown")),
    };
    let mut list: Vec<ResizeAxis> = Vec::new();
    for (k, &axis) in axes.iter().enumerate() {
        let dim = &shape.dims()[axis];
        let (size, scale) = match (&scales, &sizes) {
            (Some(s), _) if s[k] == 1.0 => continue,
            (Some(s), _) => {
                let scale = s[k] as f32;
                let to = (need(axis)? as f64 * f64::from(scale)).floor();
                if !(0.0..1e9).contains(&to) {
                    return Err(format!("scale {scale} is not supported"));
                }
                (Dim::known(to as i64), scale)
            }
            (None, Some(s)) => {
                if s[k] == *dim && common.is_none() {
                    continue;
                }
                match common {
                    Some(scale) => (Dim::known((need(axis)? as f32 * scale).round() as i64), scale),
                    None => {
                        let to = s[k]
                            .as_usize()
                            .ok_or("its sizes must be known; give the input shapes (--shape)")?;
                        (Dim::from(to), to as f32 / need(axis)? as f32)
                    }
                }
            }
            (None, None) => return Err("neither scales nor sizes are given".into()),
        };
        let region = match &roi {
            Some(r) if r.len() == 2 * axes.len() => (r[k] as f32, r[k + axes.len()] as f32),
            Some(r) => return Err(format!("a region of {} numbers for {} axes", r.len(), axes.len())),
            None => (0.0, 1.0),
        };
        list.push(ResizeAxis { axis, size, scale, roi: region });
    }
    list.sort_by_key(|a| a.axis);
    // Corners are aligned by sizes that a given scale makes, fractions included: `x·(n − 1)/(n·scale − 1)`, which is
    // an asymmetric scale.
    let mut coordinates = coordinates;
    if coordinates == CoordinateMode::AlignCorners && scales.is_some() && !antialias(&mode) {
        let corner = |a: &ResizeAxis| {
            let n = need(a.axis).ok()? as f64;
            let scale = (n * f64::from(a.scale) - 1.0) / (n - 1.0);
            let broken = (n * f64::from(a.scale)).fract() != 0.0;
            (scale.is_finite() && scale > 0.0).then_some((scale as f32, broken))
        };
        let corners: Option<Vec<(f32, bool)>> = list.iter().map(corner).collect();
        if let Some(corners) = corners.filter(|c| c.iter().any(|(_, broken)| *broken)) {
            coordinates = CoordinateMode::Asymmetric;
            list.iter_mut().zip(corners).for_each(|(a, (scale, _))| a.scale = scale);
        }
    }
    one(i.add(Op::Resize(Resize { axes: list, mode, coordinates, extrapolation }), &[x], n.label)?)
}

fn antialias(mode: &ResizeMode) -> bool {
    match mode {
        ResizeMode::Nearest(_) => false,
        ResizeMode::Linear { antialias } | ResizeMode::Cubic { antialias, .. } => *antialias,
    }
}
