//! On a machine with a GPU and cuDNN, every tactic of `conv.cudnn` goes through the gate, and a plan of them runs when
//! it is recorded. Elsewhere these tests say why they do nothing.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "it says why it does nothing")]

use std::time::Duration;

use tactician::Device;
use tactician::ir::*;
use tactician::tuning::{TacticTable, TuneOptions, Verdict, facts, tune};
use tactician_cuda::CudaDevice;

/// The GPU; says why a test does nothing where there is none.
fn device() -> Option<CudaDevice> {
    let device = CudaDevice::new(0).map_err(|e| eprintln!("skipped: {e}")).ok()?;
    if device.info().cuda()?.cudnn.is_none() {
        eprintln!("skipped: cuDNN is missing");
        return None;
    }
    Some(device)
}

/// A convolution with padding that keeps the size at stride 1, a bias, perhaps a residual, and what follows.
fn problem(
    dtype: DType,
    [n, c, side, k, window, stride]: [usize; 6],
    groups: usize,
    residual: bool,
    function: Option<&Expr>,
) -> Problem {
    let mut g = Graph::new("g");
    let zeros = |sizes: &[usize]| {
        let len = sizes.iter().product::<usize>() * dtype.size();
        Tensor::from_bytes(dtype, sizes, vec![0; len]).unwrap()
    };
    let x = g.add_input("x", TensorType::known(dtype, &[n, c, side, side])).unwrap();
    let w = g.add_constant("w", zeros(&[k, c / groups, window, window]));
    let b = g.add_constant("b", zeros(&[k, 1, 1]));
    let conv =
        Conv { strides: vec![stride; 2], pads: vec![(window / 2, window / 2); 2], groups, ..Conv::unit(2) };
    let y = g.add(Op::Conv(conv), &[x, w], "conv").unwrap();
    let mut nodes = vec![y.node()];
    let add = || Op::Pointwise(Expr::binary(Binary::Add));
    let mut value = g.add(add(), &[y, b], "bias").unwrap();
    nodes.push(value.node());
    if residual {
        let r = g.add_input("r", g.ty(y).clone()).unwrap();
        value = g.add(add(), &[value, r], "residual").unwrap();
        nodes.push(value.node());
    }
    if let Some(f) = function {
        value = g.add(Op::Pointwise(f.clone()), &[value], "function").unwrap();
        nodes.push(value.node());
    }
    g.mark_output("y", value);
    Region::new("test", &g, &nodes).expect("a region").problem(&g)
}

fn relu() -> Expr {
    Expr::unary(Unary::Relu)
}

fn silu() -> Expr {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let s = e.push(ExprNode::Unary(Unary::Sigmoid, x));
    e.push(ExprNode::Binary(Binary::Mul, x, s));
    e
}

fn relu6(dtype: DType) -> Expr {
    let mut e = Expr::unary(Unary::Relu);
    let x = e.root();
    let six = e.push(ExprNode::Const(Scalar::float(dtype, 6.0)));
    e.push(ExprNode::Binary(Binary::Min, x, six));
    e
}

#[test]
fn every_engine_passes_the_gate() {
    let Some(device) = device() else { return };
    let mut options = TuneOptions { tactics: "conv.cudnn".parse().unwrap(), ..TuneOptions::default() };
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(100);
    let mut problems = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        problems.extend([
            problem(dtype, [1, 64, 14, 64, 3, 1], 1, true, Some(&relu())),
            problem(dtype, [2, 64, 14, 96, 1, 1], 1, false, None),
            problem(dtype, [1, 64, 15, 32, 3, 2], 1, false, Some(&relu())),
            problem(dtype, [1, 3, 32, 32, 7, 2], 1, false, Some(&relu())),
            problem(dtype, [1, 64, 9, 64, 3, 1], 4, false, Some(&relu())),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, false, Some(&Expr::unary(Unary::Sigmoid))),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, false, Some(&silu())),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, true, Some(&relu6(dtype))),
        ]);
    }
    // Problems that only other families serve are no concern of this test.
    problems.retain(|p| {
        let served =
            tactician_tactics::tactics(p, device.info()).iter().any(|t| t.id.starts_with("conv.cudnn"));
        if !served {
            eprintln!("cuDNN has no engine for {p}");
        }
        served
    });
    assert!(problems.len() >= 15, "cuDNN serves only {} problems", problems.len());
    let mut table = TacticTable::new();
    let report = tune(&device, &problems, &mut table, &options, &mut |_| {}).unwrap();
    let context = table.context(&facts(&device));
    for p in &problems {
        let rows = table.rows(&context, &p.to_string()).unwrap();
        let timed = rows.values().filter(|r| matches!(r.verdict, Verdict::Timed(_))).count();
        eprintln!("{timed} of {} right for {p}", rows.len());
    }
    let text: Vec<String> = report.rejected.iter().map(|(p, t, r)| format!("{t} for {p}: {r}")).collect();
    assert!(text.is_empty(), "{}", text.join("\n"));
}
