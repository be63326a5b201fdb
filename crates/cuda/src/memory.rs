//! Device memory: plain allocations, with freed small blocks kept for the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUresult};
use tactician_device::{DeviceError, Memory, Span};
use tactician_types::Bytes;

use crate::driver::{Context, check};

/// Blocks up to this size are kept when freed: tuning allocates and frees many.
const KEPT_BLOCK: u64 = 512 << 20;

/// Most bytes of kept blocks.
const KEPT_TOTAL: u64 = 4 << 30;

/// Least size of an allocation.
const SMALLEST: u64 = 512;

/// Allocates on one device.
#[derive(Debug)]
pub(crate) struct Pool {
    context: Arc<Context>,
    name: String,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Addresses by size.
    blocks: BTreeMap<u64, Vec<u64>>,
    /// Freed, but what was enqueued before may still use them: all become blocks when the GPU was idle.
    freed: Vec<(u64, u64)>,
    /// Bytes of both.
    bytes: u64,
}

impl Pool {
    /// A pool for the device called `name` in messages.
    pub(crate) fn new(context: Arc<Context>, name: String) -> Arc<Pool> {
        Arc::new(Pool { context, name, kept: Mutex::default() })
    }

    /// A block of at least `bytes` bytes, its contents unspecified.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when the device has not as much, even with all kept blocks given back.
    pub(crate) fn alloc(self: &Arc<Pool>, bytes: u64) -> Result<Block, DeviceError> {
        let refuse = || DeviceError::OutOfMemory { device: self.name.clone(), wanted: Bytes(bytes) };
        let size = rounded(bytes).ok_or_else(refuse)?;
        let address = match self.take(size) {
            Some(address) => address,
            None => {
                self.context.make_current()?;
                match self.allocate(size)? {
                    Some(address) => address,
                    None => {
                        self.give_back();
                        self.allocate(size)?.ok_or_else(refuse)?
                    }
                }
            }
        };
        Ok(Block { pool: self.clone(), size, span: Span { address, len: bytes } })
    }

    fn take(&self, size: u64) -> Option<u64> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |kept: &mut Kept| kept.blocks.get_mut(&size).and_then(Vec::pop);
        let mut address = known(&mut kept);
        if address.is_none() && kept.freed.iter().any(|(s, _)| *s == size) {
            // One wait serves all that were freed.
            if !self.context.synchronize().unwrap_or(false) {
                return None;
            }
            for (size, address) in std::mem::take(&mut kept.freed) {
                kept.blocks.entry(size).or_default().push(address);
            }
            address = known(&mut kept);
        }
        kept.bytes -= address.map_or(0, |_| size);
        address
    }

    /// Asks the driver; none when it has not as much. The context is current.
    fn allocate(&self, size: u64) -> Result<Option<u64>, DeviceError> {
        let Ok(bytes) = usize::try_from(size) else { return Ok(None) };
        let mut address = 0;
        // SAFETY: the context is current; the pointer is to a live address.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY | CUresult::CUDA_ERROR_INVALID_VALUE => Ok(None),
            result => check("cuMemAlloc", result).map(|()| Some(address)),
        }
    }

    /// Returns all kept blocks to the driver. The context is current.
    fn give_back(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *kept);
        let freed = all.freed.into_iter().map(|(_, address)| address);
        for address in all.blocks.into_values().flatten().chain(freed) {
            // SAFETY: allocated by `allocate`, in nobody's hands; the driver waits for what still runs. Failing means
            // that the context is gone with it.
            let _ = unsafe { sys::cuMemFree_v2(address) };
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.context.make_current().is_ok() {
            self.give_back();
        }
    }
}

/// The size that is allocated for `bytes`: at most an eighth more, so that few sizes serve many.
fn rounded(bytes: u64) -> Option<u64> {
    if bytes > KEPT_BLOCK {
        return Some(bytes);
    }
    let step = (bytes.max(SMALLEST).next_power_of_two() / 16).max(SMALLEST);
    Some(bytes.max(SMALLEST).next_multiple_of(step)).filter(|&n| n <= i64::MAX as u64)
}

/// An owned block of device memory.
#[derive(Debug)]
pub(crate) struct Block {
    pool: Arc<Pool>,
    size: u64,
    span: Span,
}

impl Memory for Block {
    fn span(&self) -> Span {
        self.span
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut kept = self.pool.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size <= KEPT_BLOCK && kept.bytes + self.size <= KEPT_TOTAL {
            kept.bytes += self.size;
            kept.freed.push((self.size, self.span.address));
            return;
        }
        drop(kept);
        // What still runs may use the block; the driver's own free waits likewise.
        let _ = self.pool.context.synchronize();
        // SAFETY: allocated by `Pool::allocate`, freed nowhere else. Failing means that the context is gone with it.
        let _ = unsafe { sys::cuMemFree_v2(self.span.address) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_a_little() {
        assert_eq!(rounded(0), Some(512));
        assert_eq!(rounded(513), Some(1024));
        assert_eq!(rounded(1 << 20), Some(1 << 20));
        for bytes in [5000u64, 123_456, 7_654_321, KEPT_BLOCK, KEPT_BLOCK + 1, u64::MAX] {
            let n = rounded(bytes).unwrap();
            assert!(n >= bytes && n - bytes <= (bytes / 8).max(512), "{bytes}");
        }
    }
}
