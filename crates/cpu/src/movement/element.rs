//! Element sizes, bounds of sizes, and how work is cut into parts.

use std::ops::Range;

use bytemuck::Pod;

use crate::kernel::KernelError;
use crate::threads::Threads;

/// An element or index that threads may share.
pub(crate) trait Element: Pod + Send + Sync {}

impl<T: Pod + Send + Sync> Element for T {}

/// Most axes of a stored tensor: eight, and one more for the blocks of a layout.
pub(crate) const MAX_AXES: usize = 9;

/// Bound on element counts: products with element sizes and steps stay inside 63 bits.
const MAX_LEN: usize = 1 << 44;

/// Bytes that are worth another thread.
const PART_BYTES: usize = 32 << 10;

/// The product of sizes, if reasonable. With an empty axis the others must still have a reasonable product.
pub(crate) fn product(sizes: impl IntoIterator<Item = usize>) -> Result<usize, KernelError> {
    let mut empty = false;
    let mut n = 1usize;
    for s in sizes {
        empty |= s == 0;
        n = n.checked_mul(s.max(1)).filter(|&n| n <= MAX_LEN).ok_or("sizes overflow")?;
    }
    Ok(if empty { 0 } else { n })
}

/// Bytes of `n` elements of `element` bytes, where `n` came from [`product`].
pub(crate) fn bytes_of(n: usize, element: u8) -> Result<u64, KernelError> {
    match element {
        1 | 2 | 4 | 8 => Ok(n as u64 * u64::from(element)),
        other => Err(format!("elements have 1, 2, 4 or 8 bytes, not {other}")),
    }
}

/// Refuses tensors of too many axes.
pub(crate) fn check_axes(n: usize) -> Result<(), KernelError> {
    if n > MAX_AXES { Err(format!("{n} axes, at most {MAX_AXES} are possible")) } else { Ok(()) }
}

/// Calls `body(range)` for ranges that cover `0..units`, over the threads, where all units together write `bytes`.
pub(crate) fn in_parts(threads: &Threads, units: usize, bytes: usize, body: impl Fn(Range<usize>) + Sync) {
    if units == 0 {
        return;
    }
    let parts = if threads.count() == 1 { 1 } else { (threads.count() * 4).min(bytes / PART_BYTES + 1) };
    threads.for_each_range(units, parts, |_, range| body(range));
}

/// Runs `$body` with `$t` the unsigned integer of `$element` bytes.
macro_rules! by_size {
    ($element:expr, $t:ident => $body:expr) => {
        match $element {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            8 => {
                type $t = u64;
                $body
            }
            // `sizes` refuses everything else.
            _ => {}
        }
    };
}
pub(crate) use by_size;
