//! Any bytes as a plan. The checksum would stop nearly all of them, so they are taken as the metadata too.

#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use tactician::{CpuDevice, Device, Engine, Plan};

static DEVICE: OnceLock<Arc<dyn Device>> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    assert!(Plan::from_bytes(bytes.to_vec()).is_err() || !bytes.is_empty());
    let Ok(meta) = postcard::from_bytes::<tactician::PlanMeta>(bytes) else { return };
    // Plans that say they are large get no memory here.
    let total = meta.arena_bytes.saturating_add(meta.constant_bytes());
    if total > 1 << 24 {
        return;
    }
    let constants = vec![0; meta.constant_bytes() as usize];
    let Ok(plan) = Plan::new(meta, constants) else { return };
    let whole = plan.to_bytes().expect("a valid plan is written");
    assert!(Plan::from_bytes(whole).is_ok());
    let device = DEVICE.get_or_init(|| Arc::new(CpuDevice::new(Some(1)).expect("a CPU is there")));
    if let Ok(engine) = Engine::new(plan, device.clone()) {
        let _ = engine.new_context();
    }
});
