//! Photos as network inputs.

use std::path::Path;

use image::imageops::FilterType;
use tactician::Tensor;
use tactician::runtime::Port;

use crate::error::CliError;

/// The photo that comes with the program; see `assets/README.md`.
const CAT: &[u8] = include_bytes!("../assets/cat.jpg");

/// Whether a port takes one colour image: `f32 [1, 3, H, W]`.
pub(crate) fn fits(port: &Port) -> bool {
    port.dtype == tactician::DType::F32 && matches!(port.shape[..], [1, 3, h, w] if h > 1 && w > 1)
}

/// A photo scaled to the port's size and normalised with ImageNet's channel means and deviations.
pub(crate) fn tensor(path: Option<&Path>, port: &Port) -> Result<Tensor, CliError> {
    let fail = |source| CliError::Photo {
        path: path.map_or("the built-in photo".into(), |p| p.display().to_string()),
        source,
    };
    let photo = match path {
        Some(p) => image::open(p).map_err(fail)?,
        None => image::load_from_memory(CAT).map_err(fail)?,
    };
    let (h, w) = (port.shape[2] as u32, port.shape[3] as u32);
    let rgb = photo.resize_exact(w, h, FilterType::Triangle).to_rgb8();
    let mut values = Vec::with_capacity((3 * h * w) as usize);
    for (c, (mean, deviation)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate() {
        values.extend(rgb.pixels().map(|p| (f32::from(p.0[c]) / 255.0 - mean) / deviation));
    }
    Ok(Tensor::new(&[1, 3, h as usize, w as usize], &values).expect("as many values as the shape says"))
}
