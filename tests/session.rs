//! Models whose branches, loops and sizes depend on data, run on a device: the CPU, or what `TACTICIAN_TEST_DEVICE` names.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use tactician::{Device, DeviceName, Network, Session, Tensor};

fn device() -> Arc<dyn Device> {
    let name = std::env::var("TACTICIAN_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    name.parse::<DeviceName>().unwrap().open(Some(1)).unwrap()
}

fn session(model: &str) -> Session {
    let path = format!("{}/fuzz/seeds/onnx/{model}.onnx", env!("CARGO_MANIFEST_DIR"));
    Session::new(&Network::from_onnx(path).unwrap(), device()).unwrap()
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::new(&[values.len()], values).unwrap()
}

#[test]
fn a_loop_runs_as_often_as_its_values_say() {
    // `x` doubles until its sum is no longer below 50. Step `i` also gives the sum of the numbers up to `i`.
    let mut session = session("loop_until");
    let mut stages = Vec::new();
    for (x, steps) in [([1f32, 2.], 5), ([10., 20.], 1), ([1., 1.], 5), ([0.1, 0.2], 8)] {
        let out = session.run(&[("x", &floats(&x))]).unwrap();
        let scale = 2f32.powi(steps);
        assert_eq!(out[0].1.values::<f32>().unwrap(), x.map(|v| v * scale), "{x:?}");
        let sums: Vec<f32> = (0..steps).map(|i| (i * (i + 1) / 2) as f32).collect();
        assert_eq!(out[1].1.values::<f32>().unwrap(), sums);
        stages.push(session.stages());
    }
    // As many steps as before need nothing new.
    assert_eq!(stages[1], stages[2], "{stages:?}");
}

#[test]
fn a_branch_gives_what_the_data_say() {
    let mut session = session("branch_sizes");
    for (x, want) in [
        (vec![1f32, 0., 3., 0.], vec![1f32, 3.]),
        (vec![f32::NAN, 1., 2., 3.], vec![f32::NAN, -1., -2., -3.]),
        (vec![0.; 4], vec![]),
    ] {
        let out = session.run(&[("x", &floats(&x))]).unwrap();
        let got = out[0].1.values::<f32>().unwrap();
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(&want).all(|(g, w)| g == w || g.is_nan() && w.is_nan()), "{got:?}");
    }
}
