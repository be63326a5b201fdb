//! Packed constants on the device.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tactician_device::{ALIGNMENT, Device, DeviceError, Memory, Span, Stream};
use tactician_tactics::Emission;

/// The constants of an emission, in several sets: timing rotates over them, so that weights are as cold as in a network,
/// where others come between.
pub(crate) struct Sets {
    memory: Box<dyn Memory>,
    /// Where each constant begins in a set, and its length.
    places: Vec<(u64, u64)>,
    set_bytes: u64,
    count: usize,
}

impl Sets {
    fn new(
        device: &dyn Device,
        stream: &mut dyn Stream,
        emission: &Emission,
        count: usize,
    ) -> Result<Sets, DeviceError> {
        let (places, set_bytes) = places(emission);
        let sets = Sets { memory: device.alloc(set_bytes * count as u64)?, places, set_bytes, count };
        for (i, packed) in emission.packed.iter().enumerate() {
            if let Some(span) = sets.span(0, i) {
                // SAFETY: our own memory of exactly this length; nothing is running.
                unsafe { stream.write(span, &packed.bytes)? };
            }
        }
        for set in 1..count {
            // SAFETY: our own memory, of one length and apart; nothing is running.
            unsafe { stream.copy(sets.set(0), sets.set(set))? };
        }
        stream.synchronize()?;
        Ok(sets)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of one set.
    pub(crate) fn set_bytes(&self) -> u64 {
        self.set_bytes
    }

    /// Whether another's constants are as many and as long.
    pub(crate) fn same_places(&self, other: &Sets) -> bool {
        self.places == other.places
    }

    /// Constant `i` of a set.
    pub(crate) fn span(&self, set: usize, i: usize) -> Option<Span> {
        let &(offset, len) = self.places.get(i)?;
        Some(Span { address: self.set(set).address + offset, len })
    }

    fn set(&self, set: usize) -> Span {
        let address = self.memory.span().address + set as u64 * self.set_bytes;
        Span { address, len: self.set_bytes }
    }
}

/// Where the constants of an emission begin in a set and their lengths, and the bytes of a set.
fn places(emission: &Emission) -> (Vec<(u64, u64)>, u64) {
    let mut end = 0;
    let place = |len: u64| {
        let begin = end;
        end += len.next_multiple_of(ALIGNMENT);
        (begin, len)
    };
    let places = emission.packed.iter().map(|p| p.bytes.len() as u64).map(place).collect();
    (places, end)
}

/// Sets that tactics share: those whose constants are the same bytes in memory.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Vec<Kept>>);

struct Kept {
    /// They live as long as this, so that their addresses stay theirs.
    packed: Vec<Arc<Vec<u8>>>,
    sets: Arc<OnceLock<Result<Arc<Sets>, String>>>,
}

impl Shelf {
    /// The sets of an emission, which the first that asks brings to the device and others wait for.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub(crate) fn get(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        emission: &Emission,
        count: usize,
    ) -> Result<Arc<Sets>, String> {
        let cell = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |k: &&Kept| {
                k.packed.len() == emission.packed.len()
                    && k.packed.iter().zip(&emission.packed).all(|(a, b)| Arc::ptr_eq(a, &b.bytes))
            };
            match kept.iter().find(same) {
                Some(k) => k.sets.clone(),
                None => {
                    let sets = Arc::default();
                    let packed = emission.packed.iter().map(|p| p.bytes.clone()).collect();
                    kept.push(Kept { packed, sets: Arc::clone(&sets) });
                    sets
                }
            }
        };
        cell.get_or_init(|| {
            Sets::new(device, stream, emission, count).map(Arc::new).map_err(|e| e.to_string())
        })
        .clone()
    }
}
