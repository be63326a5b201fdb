//! Checks on the parameters of `cuda.launch` steps, which come from a plan and are untrusted. Needs no driver.

use tactician_device::StepDesc;

use crate::launch::{Launch, LaunchArg, Launches, TensorMap};

/// Most launches of a step.
const MAX_LAUNCHES: usize = 256;

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
    if launches.0.is_empty() || launches.0.len() > MAX_LAUNCHES {
        return Err(format!("it has {} launches, 1 to {MAX_LAUNCHES} are allowed", launches.0.len()));
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
                maps += 1;
                if limits.capability.0 < 9 {
                    return Err(fail("it is a tensor map, which this GPU does not have".into()));
                }
                tensor_map(map, len(map.span).map_err(fail)?).map_err(fail)?;
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
        LaunchArg::TensorMap(_) => 128,
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
    if ![1, 2, 4].contains(&map.element) {
        return Err(format!("elements of {} bytes are not 1, 2 or 4", map.element));
    }
    if map.sizes.iter().any(|&n| n == 0 || n > 1 << 32) {
        return Err(format!("the sizes {:?} are outside 1 to 2^32", map.sizes));
    }
    if map.steps.iter().any(|&n| n % 16 != 0 || n >= 1 << 40) {
        return Err(format!("the steps {:?} are no multiples of 16 below 2^40", map.steps));
    }
    if map.tile.iter().any(|&n| n == 0 || n > 256) {
        return Err(format!("the tile {:?} is outside 1 to 256", map.tile));
    }
    let row = u64::from(map.tile[0]) * u64::from(map.element);
    if row % 16 != 0 {
        return Err(format!("a tile row of {row} bytes is no multiple of 16"));
    }
    match map.swizzle {
        0 => {}
        32 | 64 | 128 if row <= u64::from(map.swizzle) => {}
        32 | 64 | 128 => {
            return Err(format!("a tile row of {row} bytes exceeds the swizzle {}", map.swizzle));
        }
        other => return Err(format!("there is no swizzle of {other} bytes")),
    }
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

#[cfg(test)]
#[path = "launch_check_tests.rs"]
mod tests;
