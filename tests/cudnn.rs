//! On a machine with a GPU and cuDNN, every tactic of `conv.cudnn` goes through the gate. With cuDNN alone, whole
//! networks are asked for their engines on a described H100 (`cargo xtask cudnn` fetches it). Elsewhere these tests say
//! why they do nothing.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "it says why it does nothing")]

use std::collections::BTreeMap;
use std::time::Duration;

use tactician::ir::*;
use tactician::passes::{FusionPolicy, Greedy, canonicalize, lower, proposals};
use tactician::tuning::{TacticTable, TuneOptions, Verdict, facts, filtered, tune};
use tactician::{Device, DeviceInfo, Network, zoo};
use tactician_cuda::{CudaDevice, cudnn};
use tactician_device::CudaInfo;

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

/// Engines of f32 whose results are as inexact as those of TF32, though they do not say so: the gate rejects them, as it
/// should.
const WRONG: [&str; 1] = ["conv.cudnn/e13"];

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
        let all = tactician_tactics::tactics(p, device.info());
        let served = all.iter().any(|t| t.id.starts_with("conv.cudnn") && filtered(t, &options).is_none());
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
    let known = |t: &str, p: &str| WRONG.iter().any(|w| t.starts_with(w)) && p.contains("-> f32");
    let wrong = report.rejected.iter().filter(|(p, t, _)| !known(t, p));
    let text: Vec<String> = wrong.map(|(p, t, r)| format!("{t} for {p}: {r}")).collect();
    assert!(text.is_empty(), "{}", text.join("\n"));
}

/// An H100 that is not there, with the cuDNN that is; says why a test does nothing without one. `TACTICIAN_NEED_CUDNN`
/// makes that a failure.
fn described() -> Option<DeviceInfo> {
    let version = cudnn::version();
    if version.is_none() {
        assert!(std::env::var_os("TACTICIAN_NEED_CUDNN").is_none(), "cuDNN is missing");
        eprintln!("skipped: cuDNN is missing");
    }
    Some(CudaInfo { nvrtc: None, cudnn: Some(version?), ..CudaInfo::h100() }.on_paper())
}

/// The different convolutions of a network as it is fused, with what follows them.
fn convolutions(net: &Network, dtype: DType) -> Vec<Problem> {
    let (mut g, _) = canonicalize(net.graph().unwrap()).unwrap();
    if dtype != DType::F32 {
        (g, _) = canonicalize(lower(&g, dtype).unwrap()).unwrap();
    }
    let regions = Greedy.choose(&g, &proposals(&g)).into_regions();
    let problems: BTreeMap<String, Problem> =
        regions.iter().map(|r| r.problem(&g)).map(|p| (p.to_string(), p)).collect();
    // Conversions at the ends of a network are measured within regions of other families and apart.
    let converts =
        |p: &Problem| (0..p.operands.len()).any(|i| p.read_as(i).is_some()) || p.output.dtype != dtype;
    problems.into_values().filter(|p| matches!(p.anchor, Op::Conv(_)) && !converts(p)).collect()
}

#[test]
fn every_convolution_of_a_network_has_engines() {
    let Some(device) = described() else { return };
    for (name, net) in [("resnet50", zoo::resnet50(1)), ("vgg16", zoo::vgg16(8))] {
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            let list = convolutions(&net, dtype);
            assert!(list.len() >= 8, "{name} has {} convolutions", list.len());
            let mut all = 0;
            for p in &list {
                let tactics = tactician_tactics::tactics(p, &device);
                let own: Vec<_> = tactics.iter().filter(|t| t.id.starts_with("conv.cudnn/")).collect();
                let free = own.iter().filter(|t| t.workspace == 0).count();
                assert!(free > 0, "{name} {dtype}: none of {} without workspace for {p}", own.len());
                all += own.len();
            }
            eprintln!("{name} {dtype}: {all} tactics for {} convolutions", list.len());
            assert!(all >= 10 * list.len(), "{name} {dtype}: {all} tactics for {} convolutions", list.len());
        }
    }
}
