//! Checks on the parameters of `cuda.launch` steps, which come from a plan and are untrusted. Needs no driver.

use tactician_device::StepDesc;

use crate::launch::{Launch, LaunchArg, Launches, TensorMap, WindowMap};

/// Most parameters of a kernel.
pub(crate) const MAX_ARGS: usize = 64;

/// Most tensor maps among them.
pub(crate) const MAX_MAPS: usize = 8;

/// Most bytes of all parameters of a kernel together: what every GPU takes.
const MAX_ARG_BYTES: usize = 4096;

/// Most axes of a tensor map.
pub(crate) const MAX_RANK: usize = 5;

/// What a device allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Compute capability.
    pub(crate) capability: (u32, u32),
    /// Shared memory of a block, in bytes.
    pub(crate) shared_bytes: u64,
}

/// Decodes a step's parameters and checks them against its arguments and the device.
///
/// # Errors
/// A clause about the first thing that does not fit.
pub(crate) fn decode(step: &StepDesc<'_>, limits: Limits) -> Result<Launches, String> {
    let (launches, rest): (Launches, &[u8]) =
        postcard::take_from_bytes(step.params).map_err(|e| format!("its parameters do not decode ({e})"))?;
    if !rest.is_empty() {
        return Err(format!("its parameters are followed by {} stray bytes", rest.len()));
    }
    if launches.0.is_empty() || launches.0.len() > Launches::MOST {
        return Err(format!("it has {} launches, 1 to {} are allowed", launches.0.len(), Launches::MOST));
    }
    let mut lens: Vec<u64> = step.inputs.iter().chain(step.outputs).copied().collect();
    lens.push(step.scratch);
    for (i, l) in launches.0.iter().enumerate() {
        launch(l, &lens, limits).map_err(|e| format!("launch {i} (`{}`): {e}", l.entry))?;
    }
    Ok(launches)
}

/// Checks one launch; `lens` are the lengths of the step's arguments.
fn launch(l: &Launch, lens: &[u64], limits: Limits) -> Result<(), String> {
    // Of CUDA's own limits, which have been the same for all GPUs since compute capability 3.
    const GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];
    const BLOCK: [u32; 3] = [1024, 1024, 64];
    if l.entry.is_empty() || l.entry.len() > 1024 || l.entry.contains('\0') {
        return Err("its name is no name".into());
    }
    for (what, sizes, most) in [("grid", l.grid, GRID), ("block", l.block, BLOCK)] {
        if sizes.iter().zip(most).any(|(&n, most)| n == 0 || n > most) {
            return Err(format!("the {what} {sizes:?} is outside 1 to {most:?}"));
        }
    }
    let volume = |sizes: [u32; 3]| sizes.iter().map(|&n| u64::from(n)).product::<u64>();
    if volume(l.block) > 1024 {
        return Err(format!("a block of {} threads is more than 1024", volume(l.block)));
    }
    if l.cluster.contains(&0) || l.cluster.iter().any(|&n| n > 16) || volume(l.cluster) > 16 {
        return Err(format!("the cluster {:?} is outside 1 to 16 blocks", l.cluster));
    }
    if volume(l.cluster) > 1 {
        if limits.capability.0 < 9 {
            return Err("it asks for clusters, which this GPU does not have".into());
        }
        if l.grid.iter().zip(l.cluster).any(|(g, c)| g % c != 0) {
            return Err(format!("the grid {:?} is no multiple of the cluster {:?}", l.grid, l.cluster));
        }
    }
    if u64::from(l.shared) > limits.shared_bytes {
        return Err(format!(
            "{} bytes of shared memory are more than the GPU's {}",
            l.shared, limits.shared_bytes
        ));
    }
    if l.args.len() > MAX_ARGS {
        return Err(format!("{} parameters are more than {MAX_ARGS}", l.args.len()));
    }
    let len = |span: u16| {
        let none = || format!("argument {span} does not exist, the step has {}", lens.len());
        lens.get(usize::from(span)).copied().ok_or_else(none)
    };
    let (mut bytes, mut maps) = (0, 0);
    for (i, arg) in l.args.iter().enumerate() {
        let fail = |e: String| format!("parameter {i}: {e}");
        bytes += parameter_bytes(arg);
        match arg {
            LaunchArg::Span(span) => {
                len(*span).map_err(fail)?;
            }
            LaunchArg::Bytes(b) if b.is_empty() => return Err(fail("it has no bytes".into())),
            LaunchArg::Bytes(_) => {}
            LaunchArg::TensorMap(map) => {
                tensor_map(map, len(map.span).map_err(fail)?).map_err(fail)?;
            }
            LaunchArg::WindowMap(map) => {
                window_map(map, len(map.span).map_err(fail)?).map_err(fail)?;
            }
        }
        if matches!(arg, LaunchArg::TensorMap(_) | LaunchArg::WindowMap(_)) {
            maps += 1;
            if limits.capability.0 < 9 {
                return Err(fail("it is a tensor map, which this GPU does not have".into()));
            }
        }
    }
    if bytes > MAX_ARG_BYTES {
        return Err(format!("{bytes} bytes of parameters are more than {MAX_ARG_BYTES}"));
    }
    if maps > MAX_MAPS {
        return Err(format!("{maps} tensor maps are more than {MAX_MAPS}"));
    }
    Ok(())
}

/// Bytes that a parameter takes.
pub(crate) fn parameter_bytes(arg: &LaunchArg) -> usize {
    match arg {
        LaunchArg::Span(_) => 8,
        LaunchArg::Bytes(b) => b.len(),
        LaunchArg::TensorMap(_) | LaunchArg::WindowMap(_) => 128,
    }
}

/// Checks a tensor map over an argument of `len` bytes: what it describes lies inside, and the driver will take it.
fn tensor_map(map: &TensorMap, len: u64) -> Result<(), String> {
    let rank = map.sizes.len();
    if rank == 0 || rank > MAX_RANK || map.tile.len() != rank || map.steps.len() != rank - 1 {
        return Err(format!(
            "a tensor map of {rank} sizes, {} steps and {} tile sizes is none of rank 1 to {MAX_RANK}",
            map.steps.len(),
            map.tile.len()
        ));
    }
    element(map.element)?;
    if map.sizes.iter().any(|&n| n == 0 || n > 1 << 32) {
        return Err(format!("the sizes {:?} are outside 1 to 2^32", map.sizes));
    }
    if map.steps.iter().any(|&n| n % 16 != 0 || n >= 1 << 40) {
        return Err(format!("the steps {:?} are no multiples of 16 below 2^40", map.steps));
    }
    if map.tile.iter().any(|&n| n == 0 || n > 256) {
        return Err(format!("the tile {:?} is outside 1 to 256", map.tile));
    }
    row(u64::from(map.tile[0]) * u64::from(map.element), map.swizzle)?;
    // The byte after the last element. No sum overflows: 4 axes of at most 2^32 times 2^40 bytes.
    let mut end = u128::from(map.sizes[0]) * u128::from(map.element);
    for (&n, &step) in map.sizes[1..].iter().zip(&map.steps) {
        end += u128::from(n - 1) * u128::from(step);
    }
    if end > u128::from(len) {
        return Err(format!("the tensor map reaches {end} bytes into an argument of {len}"));
    }
    Ok(())
}

/// Checks a map of windows in the same way.
fn window_map(map: &WindowMap, len: u64) -> Result<(), String> {
    element(map.element)?;
    if map.sizes.iter().any(|&n| n == 0 || n > 1 << 32) {
        return Err(format!("the sizes {:?} are outside 1 to 2^32", map.sizes));
    }
    let bytes = map.sizes.iter().try_fold(u128::from(map.element), |all, &n| all.checked_mul(u128::from(n)));
    if bytes.is_none_or(|b| b > u128::from(len)) {
        return Err(format!("windows over {:?} reach beyond an argument of {len} bytes", map.sizes));
    }
    // The steps from pixel to pixel, from row to row and from image to image: none exceeds all bytes.
    let [channels, columns, rows, _] = map.sizes;
    let pixel = channels * u64::from(map.element);
    if !pixel.is_multiple_of(16) || pixel.saturating_mul(columns).saturating_mul(rows) >= 1 << 40 {
        return Err(format!("pixels of {pixel} bytes are no multiples of 16, or images exceed 2^40"));
    }
    if map.channels == 0 || map.channels > 256 || map.pixels == 0 || map.pixels > 256 {
        return Err(format!(
            "copies of {} channels of {} pixels are outside 1 to 256",
            map.channels, map.pixels
        ));
    }
    row(u64::from(map.channels) * u64::from(map.element), map.swizzle)?;
    if map.strides.iter().any(|&n| n == 0 || n > 8) {
        return Err(format!("the strides {:?} are outside 1 to 8", map.strides));
    }
    if map.first.iter().chain(&map.last).any(|n| !(-128..128).contains(n)) {
        return Err(format!("windows from {:?} to {:?} leave -128 to 127", map.first, map.last));
    }
    let last = |i: usize| i64::from(map.last[i]) + map.sizes[i + 1] as i64 - 1;
    if (0..2).any(|i| last(i) < i64::from(map.first[i])) {
        return Err(format!("there are no windows from {:?} to {:?}", map.first, map.last));
    }
    Ok(())
}

/// Checks the bytes of an element.
fn element(bytes: u8) -> Result<(), String> {
    if ![1, 2, 4].contains(&bytes) {
        return Err(format!("elements of {bytes} bytes are not 1, 2 or 4"));
    }
    Ok(())
}

/// Checks the bytes of a tile's row against the swizzle.
fn row(bytes: u64, swizzle: u8) -> Result<(), String> {
    if !bytes.is_multiple_of(16) {
        return Err(format!("a tile row of {bytes} bytes is no multiple of 16"));
    }
    match swizzle {
        0 => Ok(()),
        32 | 64 | 128 if bytes <= u64::from(swizzle) => Ok(()),
        32 | 64 | 128 => Err(format!("a tile row of {bytes} bytes exceeds the swizzle {swizzle}")),
        other => Err(format!("there is no swizzle of {other} bytes")),
    }
}

#[cfg(test)]
#[path = "launch_check_tests.rs"]
mod tests;
