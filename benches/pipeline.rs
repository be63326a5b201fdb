//! The stages of a build and the runtime: `cargo bench --bench pipeline`.
//!
//! `TACTICIAN_MODEL=model.onnx` names a model for the import benchmark; without it a small one is imported.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use tactician::{Builder, Engine, Network, Tensor, passes, zoo};

fn import(c: &mut Criterion) {
    let small = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/onnx/conv.onnx");
    let path = std::env::var_os("TACTICIAN_MODEL").map_or(PathBuf::from(small), PathBuf::from);
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    c.bench_function(&format!("import/{name}"), |b| {
        b.iter(|| {
            let net = Network::from_onnx(&path).expect("the model imports");
            black_box(net.graph().expect("its shapes are known or stay open"))
        });
    });
}

fn rewrite(c: &mut Criterion) {
    let net = zoo::resnet50(1);
    c.bench_function("canonicalize and fuse/resnet50", |b| {
        b.iter_batched(
            || net.graph().expect("the zoo is valid"),
            |g| {
                let (g, _) = passes::canonicalize(g).expect("the zoo is valid");
                black_box(passes::FusionPolicy::choose(&passes::Greedy, &g, &passes::proposals(&g)))
            },
            criterion::BatchSize::PerIteration,
        );
    });
}

fn select_load_run(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let net = zoo::resnet18(1);
    let tuned = Builder::new().tune(&net).expect("the zoo builds");
    let budget = tactician::Budget::workspace(4 << 20);
    c.bench_function("select/resnet18", |b| b.iter(|| black_box(tuned.select(budget).expect("it fits"))));
    c.bench_function("plan/resnet18", |b| b.iter(|| black_box(tuned.plan(4 << 20).expect("it fits"))));

    let path = folder.path().join("resnet18.plan");
    tuned.plan(64 << 20).expect("it fits").save(&path).expect("it is saved");
    c.bench_function("load/resnet18", |b| b.iter(|| black_box(Engine::load(&path).expect("it loads"))));

    let engine = Engine::load(&path).expect("it loads");
    c.bench_function("context/resnet18", |b| b.iter(|| black_box(engine.new_context().expect("memory"))));
    let mut context = engine.new_context().expect("memory");
    let image = Tensor::new(&[1, 3, 224, 224], &vec![0.5f32; 3 * 224 * 224]).expect("an image");
    context.set_input("input", &image).expect("it fits");
    // Device time: on a GPU enqueueing says nothing of running.
    c.bench_function("run/resnet18", |b| b.iter_custom(|runs| context.time(runs).expect("it runs")));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = import, rewrite, select_load_run
}
criterion_main!(benches);
