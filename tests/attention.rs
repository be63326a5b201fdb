//! Masks that hide every key from a query, with every tactic of attention, on the CPU or on the device that
//! `TACTICIAN_TEST_DEVICE` names. Tuning checks tactics with masks of ordinary numbers.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "it says what it tries")]

use std::collections::BTreeMap;
use std::sync::Arc;

use half::{bf16, f16};
use tactician::ir::{self, Attention, Graph, Op, Region, TensorType};
use tactician::reference::{eval_graph, relative_l2};
use tactician::tuning::TuneOptions;
use tactician::{Builder, CpuDevice, DType, Device, DeviceName, Engine, Network, Tensor};

const SIZES: [usize; 4] = [2, 4, 64, 64];
const MASK: [usize; 4] = [2, 1, 64, 64];

fn device() -> Arc<dyn Device> {
    match std::env::var("TACTICIAN_TEST_DEVICE") {
        Ok(name) => name.parse::<DeviceName>().unwrap().open(Some(2)).unwrap(),
        Err(_) => Arc::new(CpuDevice::new(Some(2)).unwrap()),
    }
}

/// Attention with a mask of its own.
fn graph(dtype: DType, causal: Option<i64>) -> Graph {
    let mut g = Graph::new("attention");
    let mut add = |name: &str, sizes: &[usize]| g.add_input(name, TensorType::known(dtype, sizes)).unwrap();
    let inputs = [add("q", &SIZES), add("k", &SIZES), add("v", &SIZES), add("mask", &MASK)];
    let op = Attention { causal, ..Attention::new(0.125) };
    let y = g.add(Op::Attention(op), &inputs, "y").unwrap();
    g.mark_output("y", y);
    g
}

fn bytes(dtype: DType, sizes: &[usize], at: impl Fn(usize) -> f64) -> Vec<u8> {
    let n: usize = sizes.iter().product();
    let element = |i| match dtype {
        DType::F16 => f16::from_f64(at(i)).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(at(i)).to_le_bytes().to_vec(),
        _ => (at(i) as f32).to_le_bytes().to_vec(),
    };
    (0..n).flat_map(element).collect()
}

fn numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let short = |b: &[u8]| [b[0], b[1]];
    match dtype {
        DType::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(short(b)).to_f64()).collect(),
        DType::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(short(b)).to_f64()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect(),
    }
}

/// Of the queries of an image, the first third sees all keys, the second some, the rest none.
fn hiding(i: usize) -> f64 {
    let (query, key) = (i / 64 % 64, i % 64);
    match query {
        0..21 => 0.25 * (key % 5) as f64,
        21..42 if key % 3 == query % 3 => 0.5,
        _ => f64::NEG_INFINITY,
    }
}

#[test]
fn queries_that_see_no_key_give_zeros_with_every_tactic() {
    let device = device();
    let (mut tried, mut wrong) = (0, Vec::new());
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for causal in [None, Some(5)] {
            let g = graph(dtype, causal);
            let noise = |seed: usize| {
                move |i: usize| {
                    ((i.wrapping_mul(7919) ^ seed.wrapping_mul(104_729)) % 1009) as f64 / 504.0 - 1.0
                }
            };
            let inputs = [
                ("q", SIZES, bytes(dtype, &SIZES, noise(1))),
                ("k", SIZES, bytes(dtype, &SIZES, noise(2))),
                ("v", SIZES, bytes(dtype, &SIZES, noise(3))),
                ("mask", MASK, bytes(dtype, &MASK, hiding)),
            ];
            let given: BTreeMap<String, ir::Tensor> = inputs
                .iter()
                .map(|(n, s, b)| (n.to_string(), ir::Tensor::from_bytes(dtype, s, b.clone()).unwrap()))
                .collect();
            let want = numbers(dtype, eval_graph(&g, &given).unwrap()["y"].bytes());
            let tensors: Vec<(&str, Tensor)> =
                inputs.into_iter().map(|(n, s, b)| (n, Tensor::from_bytes(dtype, &s, &b).unwrap())).collect();
            let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
            let region = Region::new("test", &g, &[g.outputs()[0].1.node()]).unwrap();
            let tactics = tactician::tactics::tactics(&region.problem(&g), device.info());
            for t in tactics.iter().filter(|t| !tactician::tactics::is_host(&t.id)) {
                let mut options = TuneOptions { tf32: true, ..TuneOptions::default() };
                options.timing.rounds = 1;
                options.timing.sample = std::time::Duration::from_micros(20);
                let net = Network::from_graph(g.clone());
                let filter = t.id.parse().unwrap();
                let builder = Builder::new().device(device.clone()).tuning(options).tactics(filter);
                let plan = match builder.tf32(true).build(&net) {
                    Ok(plan) => plan,
                    Err(e) => {
                        wrong.push(format!("{dtype} {}: {e}", t.id));
                        continue;
                    }
                };
                let engine = Engine::new(plan, device.clone()).unwrap();
                let got = engine.new_context().unwrap().run(&named).unwrap();
                tried += 1;
                let error = relative_l2(&numbers(dtype, got[0].1.bytes()), &want);
                eprintln!("{dtype} causal {causal:?} {}: {error:.1e}", t.id);
                if error.is_nan() || error > 2e-2 {
                    wrong.push(format!("{dtype} causal {causal:?} {}: relative error {error:.1e}", t.id));
                }
            }
        }
    }
    assert!(tried >= 6, "only {tried} tactics were tried");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
