//! Every tactic of some convolutions, with the workspace that it takes: `cargo bench --bench tactics`.

use criterion::{Criterion, criterion_group, criterion_main};
use tactician::ir::{Conv, DType, Graph, Op, Tensor, TensorType};
use tactician::tuning::Verdict;
use tactician::{Builder, Bytes, Engine, Network, TacticFilter};

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

fn tactics(criterion: &mut Criterion) {
    for (c, k, size, window) in [(64, 64, 56, 3), (256, 256, 14, 3), (256, 64, 56, 1), (3, 64, 224, 7)] {
        let net = network(c, k, size, window);
        let tuned = Builder::new().tune(&net).expect("it builds");
        let mut group = criterion.benchmark_group(format!("conv {window}x{window} {c}->{k} at {size}"));
        let mut list: Vec<(u64, String)> = tuned
            .table()
            .iter()
            .filter(|(_, problem, _, row)| {
                problem.starts_with("conv") && matches!(row.verdict, Verdict::Timed(_))
            })
            .map(|(_, _, id, row)| (row.workspace, id.to_owned()))
            .collect();
        list.sort();
        for (workspace, id) in list {
            let one = TacticFilter::only([id.as_str(), "pointwise", "copy"]);
            let plan = Builder::new().tactics(one).build(&net).expect("it was measured");
            let device = tactician::runtime::device_for(&plan.meta).expect("a CPU");
            let engine = Engine::new(plan, device).expect("it loads");
            let mut context = engine.new_context().expect("memory");
            group.bench_function(format!("{id} ({})", Bytes(workspace)), |b| {
                b.iter(|| context.enqueue().expect("it runs"));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_millis(500)).warm_up_time(std::time::Duration::from_millis(100));
    targets = tactics
}
criterion_main!(benches);
