//! Where the constants of plans lie on a device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tactician_device::{ALIGNMENT, Device, DeviceError, HostBytes, Memory, Span};
use tactician_plan::{Plan, Section};

/// The constants of one plan, on its device.
pub(crate) struct Constants {
    /// Of each constant.
    pub(crate) spans: Vec<Span>,
    /// What keeps them there.
    _blocks: Vec<Arc<dyn Memory>>,
}

struct Mapped(Arc<Section>);

impl HostBytes for Mapped {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Constants {
    /// The constant section as it is: in place on the CPU, in one copy on a GPU.
    pub(crate) fn whole(plan: &Plan, device: &dyn Device) -> Result<Constants, DeviceError> {
        let block: Arc<dyn Memory> = device.constants(Arc::new(Mapped(plan.constants().clone())))?.into();
        let start = block.span().address;
        let span = |c: &tactician_plan::Constant| Span { address: start + c.offset, len: c.len };
        let spans = plan.meta.constants.iter().map(span).collect();
        Ok(Constants { spans, _blocks: vec![block] })
    }
}

/// Constants on a device that engines share, each once however many plans have it. They go when the last engine that
/// uses them goes.
#[derive(Default)]
pub struct ConstantPool {
    known: Mutex<BTreeMap<[u8; 32], Weak<Placed>>>,
}

/// A constant in a block.
struct Placed {
    span: Span,
    _block: Arc<dyn Memory>,
}

impl Memory for Placed {
    fn span(&self) -> Span {
        self.span
    }
}

impl ConstantPool {
    /// An empty pool, for one device.
    pub fn new() -> ConstantPool {
        ConstantPool::default()
    }

    /// Bytes of the constants that are in use, each counted once.
    pub fn bytes(&self) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(Weak::upgrade).map(|p| p.span.len).sum()
    }

    /// Places what is not there yet, in one block: the plan's own section where none of it is.
    pub(crate) fn place(&self, plan: &Plan, device: &dyn Device) -> Result<Constants, DeviceError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, p| p.strong_count() > 0);
        let all = plan.constants().bytes();
        // Validation has made sure that they lie inside.
        let list = plan.meta.constants.iter().map(|c| &all[c.offset as usize..][..c.len as usize]);
        let list: Vec<([u8; 32], &[u8])> = list.map(|b| (*blake3::hash(b).as_bytes(), b)).collect();
        let mut have: BTreeMap<[u8; 32], Arc<Placed>> = BTreeMap::new();
        for (hash, _) in &list {
            have.extend(known.get(hash).and_then(Weak::upgrade).map(|p| (*hash, p)));
        }
        let whole = have.is_empty();
        let (mut gathered, mut starts) = (Vec::new(), BTreeMap::new());
        for ((hash, bytes), c) in list.iter().zip(&plan.meta.constants) {
            if have.contains_key(hash) || starts.contains_key(hash) {
                continue;
            }
            if whole {
                starts.insert(*hash, (c.offset, c.len));
                continue;
            }
            gathered.resize(gathered.len().next_multiple_of(ALIGNMENT as usize), 0);
            starts.insert(*hash, (gathered.len() as u64, c.len));
            gathered.extend_from_slice(bytes);
        }
        if !starts.is_empty() {
            let bytes: Arc<dyn HostBytes> =
                if whole { Arc::new(Mapped(plan.constants().clone())) } else { Arc::new(gathered) };
            let block: Arc<dyn Memory> = device.constants(bytes)?.into();
            for (hash, (start, len)) in starts {
                let span = Span { address: block.span().address + start, len };
                let placed = Arc::new(Placed { span, _block: block.clone() });
                known.insert(hash, Arc::downgrade(&placed));
                have.insert(hash, placed);
            }
        }
        let spans = list.iter().map(|(hash, _)| have[hash].span).collect();
        Ok(Constants { spans, _blocks: have.into_values().map(|p| p as Arc<dyn Memory>).collect() })
    }
}
