//! Running a plan allocates nothing.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tactician::tuning::TuneOptions;
use tactician::{Builder, Engine, Tensor, zoo};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn enqueue_allocates_nothing() {
    let net = zoo::tiny(1);
    let mut options = TuneOptions::default();
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(20);
    let tuned = Builder::new().threads(2).tuning(options).tune(&net).unwrap();
    for workspace in [0, 1 << 30] {
        let plan = tuned.plan(workspace).unwrap();
        let device = tactician::runtime::device_for(&plan.meta).unwrap();
        let engine = Engine::new(plan, device).unwrap();
        let mut context = engine.new_context().unwrap();
        for p in engine.inputs() {
            let shape: Vec<usize> = p.shape.iter().map(|&d| d as usize).collect();
            context.set_input(&p.name, &Tensor::zeros(p.dtype, &shape).unwrap()).unwrap();
        }
        // The first runs may set up the threads.
        (0..20).for_each(|_| context.enqueue().unwrap());
        let before = COUNT.load(Ordering::Relaxed);
        (0..20).for_each(|_| context.enqueue().unwrap());
        assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "workspace {workspace}");
    }
}
