//! What must be cold when a tactic is timed: in a network the weights of all other steps pass through the caches
//! between two runs of a step, while its activations were just written.

use tactician_device::{Device, DeviceError, DeviceInfo, Memory, Span, Stream};
use tactician_tactics::Emission;

/// Bytes of packed constants that a CPU rotates over: beyond the caches close to a core.
const CPU_BYTES: u64 = 24 << 20;

/// Most bytes of packed constants that a GPU rotates over: beyond its last cache, three times over.
const GPU_BYTES: u64 = 160 << 20;

/// The part of a GPU's memory that the constants of one tactic may take while it is timed.
const GPU_SHARE: u64 = 512;

/// Constants smaller than this stay warm on a CPU in a network too.
const SMALL_BYTES: u64 = 32 << 10;

/// How a device keeps weights cold: by rotating over copies, and on a GPU by emptying the last cache before a sample.
pub(crate) struct Cold {
    rotate_bytes: u64,
    small_bytes: u64,
    most_sets: u64,
    flush_bytes: u64,
}

impl Cold {
    /// What suits a device; `most_sets` is the most runs in a sample.
    pub(crate) fn of(info: &DeviceInfo, most_sets: u32) -> Cold {
        match info.cuda() {
            Some(cuda) => Cold {
                rotate_bytes: (cuda.memory_bytes / GPU_SHARE).clamp(CPU_BYTES, GPU_BYTES),
                small_bytes: 0,
                most_sets: most_sets.into(),
                flush_bytes: 2 * cuda.l2_bytes,
            },
            None => Cold { rotate_bytes: CPU_BYTES, small_bytes: SMALL_BYTES, most_sets: 16, flush_bytes: 0 },
        }
    }

    /// How many copies of its packed constants a tactic is timed with.
    pub(crate) fn sets(&self, emission: &Emission) -> usize {
        let packed: u64 = emission.packed.iter().map(|p| p.bytes.len() as u64).sum();
        if packed == 0 || packed < self.small_bytes {
            return 1;
        }
        // A GPU's cache is empty when a sample begins: a copy for each run is enough.
        self.rotate_bytes.div_ceil(packed).clamp(1, self.most_sets) as usize
    }

    /// What empties the last cache, where that is done.
    pub(crate) fn flush(&self, device: &dyn Device) -> Result<Option<Flush>, DeviceError> {
        match self.flush_bytes {
            0 => Ok(None),
            bytes => Ok(Some(Flush(device.alloc(bytes)?))),
        }
    }
}

/// Memory twice as large as the last cache, to be written.
pub(crate) struct Flush(Box<dyn Memory>);

impl Flush {
    /// Enqueues the writing: nothing of what the cache held before stays in it.
    pub(crate) fn enqueue(&self, stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let span: Span = self.0.span();
        // SAFETY: our own memory, which nothing reads.
        unsafe { stream.fill(span, 0) }
    }
}
