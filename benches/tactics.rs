//! Tactics of some convolutions side by side, with the workspace that each takes, by device time: `cargo bench --bench
//! tactics`. `cargo xtask bundle` packs the program for machines without Rust, where it is started with `--bench`.
//!
//! Measured are, on the CPU and on the first GPU: the fastest tactic of every family, and whatever is fastest within some
//! workspace, each with the changes of layout that it asks for. `TACTICIAN_BENCH_DEVICE=cpu` or `=cuda` holds it to one device, and `TACTICIAN_BENCH_TABLE` names a file of
//! measurements to use and add to.

#![allow(clippy::print_stderr, reason = "it says what it skips")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tactician::ir::{Conv, Graph, Op, Tensor, TensorType};
use tactician::{Builder, Bytes, DType, Device, DeviceName, Engine, Network, TacticFilter};

/// A convolution of `c` channels of `size` by `size` pixels to `k` channels.
fn network(c: usize, k: usize, size: usize, window: usize) -> Network {
    let mut g = Graph::new("conv");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, c, size, size])).expect("a valid input");
    let values: Vec<f32> =
        (0..k * c * window * window).map(|i| (i * 7919 % 1000) as f32 / 1000.0 - 0.5).collect();
    let w = g.add_constant("w", Tensor::new(&[k, c, window, window], &values).expect("as many values"));
    let pad = window / 2;
    let conv = Conv { pads: vec![(pad, pad); 2], ..Conv::unit(2) };
    let y = g.add(Op::Conv(conv), &[x, w], "conv").expect("a valid convolution");
    g.mark_output("y", y);
    Network::from_graph(g)
}

/// Workspace, name and median of a tactic.
type Measured = (u64, String, f64);

/// The fastest of every family, and those that no other beats with as little workspace; by workspace.
fn chosen(mut list: Vec<Measured>) -> Vec<Measured> {
    list.sort_by(|a, b| a.2.total_cmp(&b.2));
    let (mut families, mut least) = (BTreeMap::new(), u64::MAX);
    list.retain(|(workspace, id, _)| {
        let family = id.split('/').next().unwrap_or_default().to_owned();
        let first = families.insert(family, ()).is_none();
        let cheaper = *workspace < least;
        least = least.min(*workspace);
        first || cheaper
    });
    list.sort_by(|a, b| a.0.cmp(&b.0).then(a.2.total_cmp(&b.2)));
    list
}

fn on(criterion: &mut Criterion, name: DeviceName, precision: DType) {
    let device: Arc<dyn Device> = match name.open(None) {
        Ok(d) => d,
        Err(e) => return eprintln!("skipped on {name}: {e}"),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table =
        std::env::var_os("TACTICIAN_BENCH_TABLE").map_or_else(|| folder.path().join("t.tac"), PathBuf::from);
    let builder = || Builder::new().device(device.clone()).precision(precision).table(&table);
    for (c, k, size, window) in [(64, 64, 56, 3), (256, 256, 14, 3), (256, 64, 56, 1), (3, 64, 224, 7)] {
        let net = network(c, k, size, window);
        let tuned = builder().tune(&net).expect("it builds");
        let regions = &tuned.instance().regions;
        let candidates = regions.iter().flat_map(|r| &r.candidates).filter(|c| c.id.starts_with("conv"));
        let list: Vec<Measured> = candidates.map(|c| (c.workspace, c.id.clone(), c.time_us)).collect();
        let mut group = criterion
            .benchmark_group(format!("{name} {precision} conv {window}x{window} {c}->{k} at {size}"));
        for (workspace, id, _) in chosen(list) {
            let only = TacticFilter::only([id.as_str(), "reformat", "pointwise", "copy", "view", "move"]);
            let plan = match builder().tactics(only).build(&net) {
                Ok(p) => p,
                Err(e) => {
                    eprintln!("skipped {id}: {e}");
                    continue;
                }
            };
            let engine = Engine::new(plan, device.clone()).expect("it loads");
            let mut context = engine.new_context().expect("memory");
            group.bench_function(format!("{id} ({})", Bytes(workspace)), |b| {
                b.iter_custom(|runs| context.time(runs).expect("it runs"));
            });
        }
        group.finish();
    }
}

fn tactics(criterion: &mut Criterion) {
    let only = std::env::var("TACTICIAN_BENCH_DEVICE").unwrap_or_default();
    if only != "cuda" {
        on(criterion, DeviceName::Cpu, DType::F32);
    }
    if only != "cpu" {
        on(criterion, DeviceName::Cuda(0), DType::F16);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_millis(500))
        .warm_up_time(Duration::from_millis(100));
    targets = tactics
}
criterion_main!(benches);
