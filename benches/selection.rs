//! How long selection takes, on problems of the size of well-known networks: one budget of scratch, the whole front of
//! scratch, one budget of memory.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tactician::selection::{Budget, SelectError, select, workspace_front};

#[path = "../crates/select/tests/networks/mod.rs"]
mod networks;

fn solver(c: &mut Criterion) {
    for (name, make) in networks::NETWORKS {
        let i = make();
        let free = Budget::workspace(u64::MAX);
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.bench_function("select", |b| b.iter(|| black_box(select(&i, free).expect("it fits"))));
        group.bench_function("workspace front", |b| {
            b.iter(|| black_box(workspace_front(&i).expect("it fits")));
        });
        let most = select(&i, free).expect("it fits").memory.total();
        let nothing = Budget { workspace: u64::MAX, memory: Some(0) };
        let Err(SelectError::OverMemory { least, .. }) = select(&i, nothing) else { continue };
        let half = Budget { workspace: u64::MAX, memory: Some(least.0.midpoint(most)) };
        group.bench_function("select in half the memory", |b| {
            b.iter(|| black_box(select(&i, half).expect("it fits")));
        });
        group.finish();
    }
}

criterion_group!(benches, solver);
criterion_main!(benches);
