//! A few tactics of each family of own CUDA kernels whose threads share memory, each run a few times: small enough for
//! checkers that slow a kernel down a hundred times, such as `compute-sanitizer --tool racecheck`. Every output still
//! goes through the gate. `tests/tactics/` runs all tactics on more shapes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say what they skip"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use tactician::cuda::CudaDevice;
use tactician::ir::*;
use tactician::tactics::tactics;
use tactician::tuning::{TacticTable, TuneOptions, tune};
use tactician::{Device, DeviceInfo, TacticFilter};
use tactician_device::CudaInfo;

/// Tactics of one family for one problem; `TACTICIAN_RACE_TACTICS` is another number.
const TACTICS: usize = 4;

/// An operation over operands of these sizes, the second one constant, with a ReLU after it.
fn problem(op: Op, operands: &[&[usize]], dtype: DType) -> Problem {
    let mut g = Graph::new("g");
    let mut inputs = Vec::new();
    for (i, sizes) in operands.iter().enumerate() {
        let name = format!("v{i}");
        let bytes = vec![0; sizes.iter().product::<usize>() * dtype.size()];
        inputs.push(match i {
            1 => g.add_constant(&name, Tensor::from_bytes(dtype, sizes, bytes).unwrap()),
            _ => g.add_input(&name, TensorType::known(dtype, sizes)).unwrap(),
        });
    }
    let y = g.add(op, &inputs, "anchor").unwrap();
    let z = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[y], "after").unwrap();
    let fused = Region::new("test", &g, &[y.node(), z.node()]);
    fused.or_else(|| Region::new("test", &g, &[y.node()])).unwrap().problem(&g)
}

/// Names of some tactics of each own family, spread evenly over all that it has.
fn selection(problem: &Problem, device: &DeviceInfo) -> Vec<String> {
    let most =
        std::env::var("TACTICIAN_RACE_TACTICS").ok().and_then(|n| n.parse().ok()).unwrap_or(TACTICS).max(1);
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for t in tactics(problem, device) {
        let family = t.id.split('/').next().unwrap_or_default().to_owned();
        if family.split('.').any(|part| part == "cuda") {
            families.entry(family).or_default().push(t.id);
        }
    }
    let spread = |list: Vec<String>| {
        let n = most.min(list.len());
        (0..n).map(|i| list[i * (list.len() - 1) / n.saturating_sub(1).max(1)].clone()).collect::<Vec<_>>()
    };
    families.into_values().flat_map(spread).collect()
}

fn check(problems: &[Problem]) {
    let device = match CudaDevice::new(0) {
        Ok(d) => d,
        Err(e) => return println!("skipped: {e}"),
    };
    for p in problems {
        let only = selection(p, device.info());
        if only.is_empty() {
            println!("not served by own kernels: {p}");
            continue;
        }
        println!("{p}: {}", only.join(" "));
        let mut options =
            TuneOptions { tactics: TacticFilter::only(only), tf32: true, ..TuneOptions::default() };
        (options.timing.rounds, options.timing.max_runs) = (1, 1);
        options.timing.sample = Duration::from_micros(1);
        let report = tune(&device, std::slice::from_ref(p), &mut TacticTable::new(), &options, &mut |_| {});
        let rejected = report.unwrap().rejected;
        assert!(rejected.is_empty(), "{rejected:?}");
    }
}

fn matmul() -> Op {
    Op::MatMul(MatMul { trans_a: false, trans_b: false })
}

fn conv(window: usize, stride: usize) -> Op {
    Op::Conv(Conv { strides: vec![stride; 2], pads: vec![(window / 2, window / 2); 2], ..Conv::unit(2) })
}

#[test]
fn tensor_core_products() {
    check(&[problem(matmul(), &[&[80, 192], &[192, 136]], DType::F16)]);
}

#[test]
fn plain_products() {
    check(&[
        problem(matmul(), &[&[40, 72], &[72, 48]], DType::F32),
        problem(matmul(), &[&[1, 300], &[300, 64]], DType::F16),
    ]);
}

#[test]
fn convolutions() {
    check(&[
        problem(conv(3, 1), &[&[1, 64, 10, 10], &[64, 64, 3, 3]], DType::F16),
        problem(conv(1, 1), &[&[2, 72, 9, 9], &[72, 72, 1, 1]], DType::F16),
        problem(conv(7, 2), &[&[1, 3, 33, 33], &[64, 3, 7, 7]], DType::F16),
    ]);
}

#[test]
fn reductions() {
    let reduce =
        |axes: &[usize]| Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims: false });
    check(&[
        problem(reduce(&[2, 3]), &[&[2, 18, 7, 9]], DType::F16),
        problem(reduce(&[1]), &[&[2, 300, 5]], DType::F32),
        problem(Op::Softmax(Softmax { axis: 2, log: false }), &[&[2, 3, 700]], DType::F16),
        problem(Op::Softmax(Softmax { axis: 1, log: false }), &[&[2, 30, 12]], DType::F16),
    ]);
}

#[test]
fn normalisations() {
    check(&[
        problem(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[&[5, 700]], DType::F16),
        problem(Op::RmsNorm(RmsNorm { axis: 1, epsilon: 1e-5 }), &[&[5, 96], &[96]], DType::F16),
    ]);
}

#[test]
fn transposes() {
    check(&[problem(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[&[2, 40, 5, 9]], DType::F16)]);
}

#[test]
fn recurrent_layers() {
    let layer = |kind| Op::Recurrent(Recurrent::new(kind, RecurrentDirection::Bidirectional));
    check(&[
        problem(layer(RecurrentKind::Lstm), &[&[3, 9, 8], &[2, 288, 8], &[2, 288, 72]], DType::F16),
        problem(layer(RecurrentKind::Gru), &[&[3, 3, 5], &[2, 216, 5], &[2, 216, 72]], DType::F32),
    ]);
}

#[test]
fn the_selection_is_spread() {
    let problem = problem(conv(3, 1), &[&[1, 64, 14, 14], &[64, 64, 3, 3]], DType::F16);
    let list = selection(&problem, &CudaInfo::h100().on_paper());
    let tensor_cores: Vec<&String> = list.iter().filter(|t| t.starts_with("conv.cuda.mma/")).collect();
    assert_eq!(tensor_cores.len(), TACTICS, "{list:?}");
    assert!(tensor_cores.windows(2).all(|w| w[0] < w[1]), "{list:?}");
    assert!(list.len() > TACTICS && list.iter().all(|t| t.contains(".cuda")), "{list:?}");
}
