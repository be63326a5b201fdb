//! Host memory as device memory: what the CPU backend and the replay device hand out.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use tactician_types::Bytes;

use crate::{ALIGNMENT, DeviceError, HostBytes, Memory, Span};

/// The alignment from which constants are used in place; [`crate::Executable::enqueue`] promises it to kernels.
const IN_PLACE_ALIGNMENT: usize = 64;

/// An owned, zeroed block of host memory, aligned to [`ALIGNMENT`].
///
/// The operating system gives large blocks page by page as they are first touched, so memory that is never used
/// costs nothing.
#[derive(Debug)]
pub struct HostMemory {
    base: NonNull<u8>,
    layout: Layout,
    span: Span,
}

// SAFETY: the block is owned and this type offers no access to it beyond its address.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Allocates `bytes` bytes for the device called `device`.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when the allocator refuses, or when the size is more than this machine's
    /// memory: systems that overcommit would grant it and kill the process when it is used.
    pub fn alloc(bytes: u64, device: &str) -> Result<HostMemory, DeviceError> {
        let refuse =
            || DeviceError::OutOfMemory { device: device.to_owned(), wanted: Bytes(bytes), room: None };
        if bytes > physical_memory() {
            return Err(refuse());
        }
        // Zeroed memory of ordinary alignment comes lazily from the system; asking for more alignment would make
        // the allocator write it all. So the block is a little longer and aligned here.
        let size = bytes.checked_add(ALIGNMENT).and_then(|n| usize::try_from(n).ok()).ok_or_else(refuse)?;
        let layout = Layout::from_size_align(size, 16).map_err(|_| refuse())?;
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(refuse)?;
        let address = (base.as_ptr().expose_provenance() as u64).next_multiple_of(ALIGNMENT);
        Ok(HostMemory { base, layout, span: Span { address, len: bytes } })
    }
}

impl Memory for HostMemory {
    fn span(&self) -> Span {
        self.span
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `alloc` with this layout and freed nowhere else.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

struct InPlace {
    span: Span,
    _keep: Arc<dyn HostBytes>,
}

impl Memory for InPlace {
    fn span(&self) -> Span {
        self.span
    }
}

/// Makes host bytes readable as constants: in place when they are aligned to 64 bytes, else copied.
///
/// # Errors
/// [`DeviceError::OutOfMemory`] when a copy is needed and does not fit.
pub fn host_constants(bytes: Arc<dyn HostBytes>, device: &str) -> Result<Box<dyn Memory>, DeviceError> {
    let data = bytes.bytes();
    let start = data.as_ptr();
    let len = data.len();
    if start.addr().is_multiple_of(IN_PLACE_ALIGNMENT) {
        let span = Span { address: start.expose_provenance() as u64, len: len as u64 };
        return Ok(Box::new(InPlace { span, _keep: bytes }));
    }
    let memory = HostMemory::alloc(len as u64, device)?;
    // SAFETY: the new block is `len` bytes long, nobody else has it, and it overlaps no other object.
    unsafe { std::ptr::copy_nonoverlapping(start, host_pointer(memory.span), len) };
    Ok(Box::new(memory))
}

/// The pointer that a span of host memory stands for.
pub fn host_pointer(span: Span) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(span.address as usize)
}

/// Memory of this machine in bytes; without limit where that is unknown.
fn physical_memory() -> u64 {
    static TOTAL: OnceLock<u64> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map_or(u64::MAX, |kib| kib.saturating_mul(1024))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_zeroed() {
        for bytes in [0u64, 1, 255, 4096, 1 << 22] {
            let m = HostMemory::alloc(bytes, "test").unwrap();
            assert!(m.span().address.is_multiple_of(ALIGNMENT) && m.span().address != 0);
            assert_eq!(m.span().len, bytes);
            for at in 0..bytes.min(64) {
                // SAFETY: inside the block, which is zeroed.
                assert_eq!(unsafe { *host_pointer(m.span()).add(at as usize) }, 0);
            }
        }
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for bytes in [u64::MAX, u64::MAX - 255, 1 << 63, i64::MAX as u64, 1 << 60] {
            let e = HostMemory::alloc(bytes, "the test").unwrap_err();
            assert!(matches!(e, DeviceError::OutOfMemory { .. }) && e.to_string().contains("the test"));
        }
    }

    #[test]
    fn constants_keep_their_bytes() {
        struct At(HostMemory, usize);
        impl HostBytes for At {
            fn bytes(&self) -> &[u8] {
                // SAFETY: inside the block, zeroed, never written after construction.
                unsafe { std::slice::from_raw_parts(host_pointer(self.0.span()).add(self.1), 100) }
            }
        }
        for (offset, in_place) in [(0, true), (64, true), (4, false), (1, false)] {
            let m = HostMemory::alloc(200, "test").unwrap();
            // SAFETY: inside the block, not shared yet.
            unsafe { host_pointer(m.span()).add(offset).write(7) };
            let source = Arc::new(At(m, offset));
            let address = source.bytes().as_ptr().addr() as u64;
            let c = host_constants(source, "test").unwrap();
            assert_eq!(c.span().address == address, in_place, "{offset}");
            assert!(c.span().address.is_multiple_of(64) && c.span().len == 100);
            // SAFETY: the first byte of a live block.
            assert_eq!(unsafe { *host_pointer(c.span()) }, 7);
        }
    }
}
