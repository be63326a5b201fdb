//! How exact products of `f32` on tensor cores are, on a real GPU. Without one the test says why it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use std::time::Duration;

use tactician::DeviceName;
use tactician::ir::{Conv, DType, Graph, MatMul, Op, Problem, Region, Tensor, TensorType};
use tactician::tuning::{TacticTable, TuneOptions, Verdict, facts, tune};

fn problem(op: Op, x: &[usize], w: &[usize]) -> Problem {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, x)).unwrap();
    let w = g.add_constant("w", Tensor::new(w, &vec![0f32; w.iter().product()]).unwrap());
    let y = g.add(op, &[x, w], "y").unwrap();
    g.mark_output("y", y);
    Region::new("test", &g, &[y.node()]).unwrap().problem(&g)
}

/// Rounding both factors to the 11 bits of TF32 leaves a relative error of about 3e-4, whatever the depth. Where bits are
/// cut off instead, every product is also about 7e-4 too small, which no sum averages out: of a network of 50 layers that
/// would be 3.5 %.
#[test]
fn products_in_tf32_keep_their_size() {
    let device = match DeviceName::Cuda(0).open(None) {
        Ok(d) => d,
        Err(e) => return println!("skipped: {e}"),
    };
    let window = Conv { strides: vec![1; 2], pads: vec![(1, 1); 2], dilations: vec![1; 2], groups: 1 };
    let product = MatMul { trans_a: false, trans_b: false };
    let problems = [
        problem(Op::MatMul(product), &[256, 512], &[512, 192]),
        problem(Op::Conv(window), &[2, 64, 20, 20], &[96, 64, 3, 3]),
    ];
    let mut options = TuneOptions { tf32: true, ..TuneOptions::default() };
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(20);
    let mut table = TacticTable::new();
    tune(device.as_ref(), &problems, &mut table, &options, &mut |_| {}).unwrap();
    let context = table.context(&facts(device.as_ref()));
    let (mut own, mut far) = (0, Vec::new());
    for p in &problems {
        for (id, row) in table.rows(&context, &p.to_string()).unwrap() {
            let Verdict::Timed(t) = &row.verdict else { continue };
            if !id.ends_with(".tf32") {
                continue;
            }
            println!("{:.2e} {id}", t.relative_l2);
            let foreign = id.contains(".cudnn/") || id.contains(".cublaslt/");
            own += u32::from(!foreign);
            if t.relative_l2 > 5e-4 && !foreign {
                far.push(format!("{id} of {p}: {:.2e}", t.relative_l2));
            }
        }
    }
    assert!(own > 0, "no kernel of ours takes TF32 on this GPU");
    assert!(far.is_empty(), "{}", far.join("\n"));
}
