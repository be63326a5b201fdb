//! Device memory: plain allocations under a limit, with freed small blocks kept for the next one; and page-locked memory
//! of the host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUresult};
use tactician_device::{DeviceError, Memory, Room, Span, host_pointer};
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
    /// Most bytes that it holds.
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Addresses of kept blocks by size.
    kept: BTreeMap<u64, Vec<u64>>,
    /// Size and address of blocks freed, which what was enqueued before may still use: all are kept blocks once the GPU was
    /// idle.
    freed: Vec<(u64, u64)>,
    /// Bytes of both.
    kept_bytes: u64,
    /// Bytes of all blocks, those kept included.
    held: u64,
}

impl Pool {
    /// A pool for the device called `name` in messages, which never holds more than `limit` bytes.
    pub(crate) fn new(context: Arc<Context>, name: String, limit: u64) -> Arc<Pool> {
        Arc::new(Pool { context, name, limit, state: Mutex::default() })
    }

    /// Bytes that it holds: blocks in use, and blocks kept for the next allocation.
    pub(crate) fn held(&self) -> u64 {
        self.state().held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of at least `bytes` bytes, its contents unspecified.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when the device has not as much, or the limit does not allow it, even with all kept
    /// blocks given back.
    pub(crate) fn alloc(self: &Arc<Pool>, bytes: u64) -> Result<Block, DeviceError> {
        let Some(size) = rounded(bytes) else { return Err(self.refusal(bytes)) };
        let address = match self.take(size) {
            Some(address) => address,
            None => {
                self.context.make_current()?;
                match self.allocate(size)? {
                    Some(address) => address,
                    None => {
                        self.give_back();
                        self.allocate(size)?.ok_or_else(|| self.refusal(bytes))?
                    }
                }
            }
        };
        Ok(Block { pool: self.clone(), size, span: Span { address, len: bytes } })
    }

    /// A kept block of exactly that size.
    fn take(&self, size: u64) -> Option<u64> {
        let mut state = self.state();
        if let Some(address) = state.take(size) {
            return Some(address);
        }
        // One wait serves all that were freed.
        if !state.has_freed(size) || !self.context.synchronize().unwrap_or(false) {
            return None;
        }
        state.settle();
        state.take(size)
    }

    /// The error for an allocation that does not fit.
    fn refusal(&self, bytes: u64) -> DeviceError {
        let held = self.held();
        let limit = (self.limit < u64::MAX).then_some(Bytes(self.limit));
        // A device that does not even tell how much it has is still out of memory.
        let room = self.context.memory_info().ok();
        let room = room.map(|(free, total)| {
            Box::new(Room { free: Bytes(free), total: Bytes(total), held: Bytes(held), limit })
        });
        DeviceError::OutOfMemory { device: self.name.clone(), wanted: Bytes(bytes), room }
    }

    /// Asks the driver; none when it has not as much or the limit forbids it. The context is current.
    fn allocate(&self, size: u64) -> Result<Option<u64>, DeviceError> {
        let Ok(bytes) = usize::try_from(size) else { return Ok(None) };
        if !self.state().reserve(size, self.limit) {
            return Ok(None);
        }
        let mut address = 0;
        // SAFETY: the context is current; the pointer is to a live address.
        let result = unsafe { sys::cuMemAlloc_v2(&mut address, bytes) };
        if result == CUresult::CUDA_SUCCESS {
            return Ok(Some(address));
        }
        self.state().held -= size;
        match result {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY | CUresult::CUDA_ERROR_INVALID_VALUE => Ok(None),
            result => check("cuMemAlloc", result).map(|()| None),
        }
    }

    /// Returns all kept blocks to the driver. The context is current.
    fn give_back(&self) {
        for address in self.state().take_all() {
            // SAFETY: allocated by `allocate`, in nobody's hands; the driver waits for what still runs. Failing means
            // that the context is gone with it.
            let _ = unsafe { sys::cuMemFree_v2(address) };
        }
    }
}

impl State {
    /// A kept block of exactly that size.
    fn take(&mut self, size: u64) -> Option<u64> {
        let address = self.kept.get_mut(&size)?.pop()?;
        self.kept_bytes -= size;
        Some(address)
    }

    /// Whether a block of that size was freed since the GPU was known to be idle.
    fn has_freed(&self, size: u64) -> bool {
        self.freed.iter().any(|(s, _)| *s == size)
    }

    /// The GPU is idle: what was freed can be used again.
    fn settle(&mut self) {
        for (size, address) in std::mem::take(&mut self.freed) {
            self.kept.entry(size).or_default().push(address);
        }
    }

    /// All kept blocks, which it holds no more.
    fn take_all(&mut self) -> Vec<u64> {
        self.held -= self.kept_bytes;
        self.kept_bytes = 0;
        let freed = std::mem::take(&mut self.freed).into_iter().map(|(_, address)| address);
        std::mem::take(&mut self.kept).into_values().flatten().chain(freed).collect()
    }

    /// Counts a block of that size; false where the limit forbids it.
    fn reserve(&mut self, size: u64, limit: u64) -> bool {
        match self.held.checked_add(size).filter(|&n| n <= limit) {
            Some(n) => self.held = n,
            None => return false,
        }
        true
    }

    /// Keeps a freed block; false, and the block counts no more, where it is too much.
    fn keep(&mut self, size: u64, address: u64) -> bool {
        if size <= KEPT_BLOCK && self.kept_bytes + size <= KEPT_TOTAL {
            self.kept_bytes += size;
            self.freed.push((size, address));
            return true;
        }
        self.held -= size;
        false
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
        if self.pool.state().keep(self.size, self.span.address) {
            return;
        }
        // What still runs may use the block; the driver's own free waits likewise.
        let _ = self.pool.context.synchronize();
        // SAFETY: allocated by `Pool::allocate`, freed nowhere else. Failing means that the context is gone with it.
        let _ = unsafe { sys::cuMemFree_v2(self.span.address) };
    }
}

/// An owned block of host memory that the GPU copies from and to by itself, zeroed.
#[derive(Debug)]
pub(crate) struct Pinned {
    context: Arc<Context>,
    span: Span,
}

impl Pinned {
    /// A block of `bytes` bytes, aligned to a page. The context is current.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when the host has not as much to give.
    pub(crate) fn alloc(context: &Arc<Context>, bytes: u64) -> Result<Pinned, DeviceError> {
        let device = "the host (page-locked)";
        let refuse = || DeviceError::OutOfMemory { device: device.into(), wanted: Bytes(bytes), room: None };
        let size = usize::try_from(bytes.max(1)).map_err(|_| refuse())?;
        let mut start = std::ptr::null_mut();
        // SAFETY: the context is current; the pointer is to a live pointer.
        match unsafe { sys::cuMemHostAlloc(&mut start, size, 0) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY | CUresult::CUDA_ERROR_INVALID_VALUE => return Err(refuse()),
            result => check("cuMemHostAlloc", result)?,
        }
        // SAFETY: the block is new, nobody else has it, and it is this long.
        unsafe { std::ptr::write_bytes(start.cast::<u8>(), 0, size) };
        let span = Span { address: start.expose_provenance() as u64, len: bytes };
        Ok(Pinned { context: context.clone(), span })
    }
}

impl Memory for Pinned {
    fn span(&self) -> Span {
        self.span
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.make_current().is_ok() {
            // SAFETY: allocated in `alloc`, freed only here, by an owner whose stream is done with it. Failing means
            // that the context is gone with it.
            let _ = unsafe { sys::cuMemFreeHost(host_pointer(self.span).cast()) };
        }
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

    #[test]
    fn the_limit_counts_blocks_in_use_and_kept() {
        let mut s = State::default();
        assert!(s.reserve(600, 1000) && !s.reserve(600, 1000) && s.reserve(400, 1000));
        assert!(s.keep(600, 1) && s.has_freed(600) && !s.has_freed(400));
        assert_eq!((s.held, s.kept_bytes), (1000, 600));
        // Not before the GPU was idle.
        assert_eq!(s.take(600), None);
        s.settle();
        assert_eq!((s.take(400), s.take(600), s.take(600)), (None, Some(1), None));
        assert!(s.keep(600, 1) && !s.reserve(1, 1000));
        assert_eq!(s.take_all(), [1]);
        assert!(s.held == 400 && s.reserve(600, 1000) && !s.reserve(u64::MAX, u64::MAX));
        let large = KEPT_BLOCK + 1;
        assert!(s.reserve(large, u64::MAX) && !s.keep(large, 3));
        assert_eq!((s.held, s.kept_bytes), (1000, 0));
    }
}
