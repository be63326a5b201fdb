//! On a machine with a GPU and cuDNN, every tactic of the families on cuDNN goes through the gate. With cuDNN alone, whole
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
use tactician_device::{CudaInfo, DeviceKind};

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
    let mut problems = Vec::new();
    for dtype in FLOATS {
        problems.extend([
            problem(dtype, [1, 64, 14, 64, 3, 1], 1, true, Some(&relu())),
            problem(dtype, [2, 64, 14, 96, 1, 1], 1, false, None),
            problem(dtype, [1, 64, 15, 32, 3, 2], 1, false, Some(&relu())),
            problem(dtype, [1, 3, 32, 32, 7, 2], 1, false, Some(&relu())),
            problem(dtype, [1, 64, 9, 64, 3, 1], 4, false, Some(&relu())),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, false, Some(&Expr::unary(Unary::Sigmoid))),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, false, Some(&silu())),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, true, Some(&relu6(dtype))),
            problem(dtype, [1, 32, 9, 32, 3, 1], 1, true, Some(&hard_swish(dtype))),
        ]);
    }
    all_pass_the_gate("conv.cudnn", problems, 15);
}

/// Tunes what a family serves of these problems, `least` at least, and expects all its tactics to be right.
fn all_pass_the_gate(family: &str, mut problems: Vec<Problem>, least: usize) {
    let Some(device) = device() else { return };
    // Of f32 products and attention cuDNN has engines with TF32 alone.
    let tf32 = matches!(family, "matmul.cudnn" | "attention.cudnn");
    let mut options = TuneOptions { tactics: family.parse().unwrap(), tf32, ..TuneOptions::default() };
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(100);
    // Problems that only other families serve are no concern of this test.
    problems.retain(|p| {
        let all = tactician_tactics::tactics(p, device.info());
        let of = |id: &str| tactician_tactics::family_of(id) == family;
        let served = all.iter().any(|t| of(&t.id) && filtered(t, &options).is_none());
        if !served {
            eprintln!("cuDNN has no engine for {p}");
        }
        served
    });
    assert!(problems.len() >= least, "cuDNN serves only {} problems", problems.len());
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

const FLOATS: [DType; 3] = [DType::F16, DType::BF16, DType::F32];

/// An operation on inputs and constants (`true` in front of their sizes), then a sum with more of them, then a function.
fn operation(
    dtype: DType,
    op: Op,
    operands: &[(bool, &[usize])],
    more: &[(bool, &[usize])],
    function: Option<&Expr>,
) -> Problem {
    let mut g = Graph::new("g");
    let value = |g: &mut Graph, i: usize, (constant, sizes): (bool, &[usize])| {
        if !constant {
            return g.add_input(&format!("x{i}"), TensorType::known(dtype, sizes)).unwrap();
        }
        let zeros = vec![0; sizes.iter().product::<usize>() * dtype.size()];
        g.add_constant(&format!("c{i}"), Tensor::from_bytes(dtype, sizes, zeros).unwrap())
    };
    let inputs: Vec<ValueId> = operands.iter().enumerate().map(|(i, &o)| value(&mut g, i, o)).collect();
    let mut at = g.add(op, &inputs, "op").unwrap();
    let mut nodes = vec![at.node()];
    for (i, &o) in more.iter().enumerate() {
        let b = value(&mut g, 10 + i, o);
        at = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[at, b], &format!("sum{i}")).unwrap();
        nodes.push(at.node());
    }
    if let Some(f) = function {
        at = g.add(Op::Pointwise(f.clone()), &[at], "function").unwrap();
        nodes.push(at.node());
    }
    g.mark_output("y", at);
    Region::new("test", &g, &nodes).expect("a region").problem(&g)
}

/// `x · min(max(x + 3, 0), 6) / 6`.
fn hard_swish(dtype: DType) -> Expr {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let [three, zero, six] = [3.0, 0.0, 6.0].map(|v| e.push(ExprNode::Const(Scalar::float(dtype, v))));
    let shifted = e.push(ExprNode::Binary(Binary::Add, x, three));
    let low = e.push(ExprNode::Binary(Binary::Max, shifted, zero));
    let clamped = e.push(ExprNode::Binary(Binary::Min, low, six));
    let product = e.push(ExprNode::Binary(Binary::Mul, x, clamped));
    e.push(ExprNode::Binary(Binary::Div, product, six));
    e
}

/// `x/2 · (1 + erf(x/√2))`.
fn gelu(dtype: DType) -> Expr {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let [root, one, half] =
        [std::f64::consts::FRAC_1_SQRT_2, 1.0, 0.5].map(|v| e.push(ExprNode::Const(Scalar::float(dtype, v))));
    let scaled = e.push(ExprNode::Binary(Binary::Mul, x, root));
    let erf = e.push(ExprNode::Unary(Unary::Erf, scaled));
    let sum = e.push(ExprNode::Binary(Binary::Add, erf, one));
    let product = e.push(ExprNode::Binary(Binary::Mul, x, sum));
    e.push(ExprNode::Binary(Binary::Mul, product, half));
    e
}

/// A pool of windows of these sizes, with pads before and behind.
fn pool(kind: PoolKind, [window, stride]: [usize; 2], pads: (usize, usize), ceil: bool, axes: usize) -> Op {
    Op::Pool(Pool {
        kind,
        window: vec![window; axes],
        strides: vec![stride; axes],
        pads: vec![pads; axes],
        dilations: vec![1; axes],
        ceil,
    })
}

#[test]
fn every_pool_passes_the_gate() {
    let [mean, padded] = [false, true].map(|count_pad| PoolKind::Average { count_pad });
    let mut problems = Vec::new();
    for dtype in FLOATS {
        let x: (bool, &[usize]) = (false, &[2, 64, 15, 15]);
        let sum: (bool, &[usize]) = (false, &[2, 64, 8, 8]);
        for kind in [PoolKind::Max, mean, padded] {
            let op = pool(kind, [3, 2], (1, 1), false, 2);
            problems.push(operation(dtype, op.clone(), &[x], &[], None));
            problems.push(operation(dtype, op, &[x], &[sum], Some(&relu())));
            let odd: (bool, &[usize]) = (false, &[1, 3, 10, 10]);
            problems.push(operation(dtype, pool(kind, [2, 2], (1, 0), false, 2), &[odd], &[], None));
            let line: (bool, &[usize]) = (false, &[2, 16, 33]);
            problems.push(operation(dtype, pool(kind, [3, 1], (1, 1), false, 1), &[line], &[], None));
            let volume: (bool, &[usize]) = (false, &[1, 16, 7, 7, 7]);
            problems.push(operation(dtype, pool(kind, [3, 2], (0, 0), false, 3), &[volume], &[], None));
        }
        // Windows that reach beyond the input.
        for kind in [PoolKind::Max, mean] {
            let even: (bool, &[usize]) = (false, &[1, 32, 14, 14]);
            problems.push(operation(dtype, pool(kind, [3, 2], (0, 0), true, 2), &[even], &[], None));
        }
    }
    all_pass_the_gate("pool.cudnn", problems, 30);
}

#[test]
fn every_global_pool_passes_the_gate() {
    let mut problems = Vec::new();
    for dtype in FLOATS {
        for (kind, keep_dims) in [(ReduceKind::Mean, false), (ReduceKind::Max, true)] {
            let op = Op::Reduce(Reduce { kind, axes: vec![2, 3], keep_dims });
            for x in [&[2, 64, 7, 7][..], &[1, 96, 16, 9]] {
                problems.push(operation(dtype, op.clone(), &[(false, x)], &[], None));
                problems.push(operation(dtype, op.clone(), &[(false, x)], &[], Some(&relu())));
            }
        }
    }
    all_pass_the_gate("reduce.cudnn", problems, 12);
}

#[test]
fn every_product_passes_the_gate() {
    let mut problems = Vec::new();
    for dtype in FLOATS {
        let plain = |trans_a, trans_b| Op::MatMul(MatMul { trans_a, trans_b });
        let (x, w): ((bool, &[usize]), (bool, &[usize])) = ((false, &[64, 96]), (true, &[96, 128]));
        let bias: (bool, &[usize]) = (true, &[128]);
        let like: (bool, &[usize]) = (false, &[64, 128]);
        let op = plain(false, false);
        problems.push(operation(dtype, op.clone(), &[x, w], &[], None));
        problems.push(operation(dtype, op.clone(), &[x, w], &[bias], Some(&gelu(dtype))));
        problems.push(operation(dtype, op.clone(), &[x, w], &[bias, like], Some(&relu())));
        problems.push(operation(dtype, op.clone(), &[x, w], &[bias], Some(&silu())));
        let row: (bool, &[usize]) = (false, &[1, 512]);
        problems.push(operation(dtype, op.clone(), &[row, (true, &[512, 1000])], &[], None));
        let odd: (bool, &[usize]) = (false, &[33, 17]);
        problems.push(operation(dtype, op.clone(), &[odd, (true, &[17, 31])], &[], None));
        let (q, k): ((bool, &[usize]), (bool, &[usize])) =
            ((false, &[2, 3, 48, 32]), (false, &[2, 3, 40, 32]));
        problems.push(operation(dtype, plain(false, true), &[q, k], &[], None));
        let t: (bool, &[usize]) = (false, &[2, 3, 32, 48]);
        problems.push(operation(dtype, plain(true, true), &[t, k], &[], None));
        // One factor has no batch.
        problems.push(operation(dtype, plain(false, false), &[q, (true, &[32, 24])], &[(true, &[24])], None));
        problems.push(operation(dtype, plain(false, true), &[(false, &[48, 32]), k], &[], None));
        problems.push(operation(dtype, plain(true, false), &[t, (true, &[32, 24])], &[], None));
    }
    all_pass_the_gate("matmul.cudnn", problems, 30);
}

#[test]
fn every_norm_passes_the_gate() {
    let mut problems = Vec::new();
    for dtype in FLOATS {
        let x: (bool, &[usize]) = (false, &[2, 24, 256]);
        let (row, channel): ((bool, &[usize]), (bool, &[usize])) = ((true, &[256]), (true, &[64]));
        let layer = Op::LayerNorm(LayerNorm { axis: 2, epsilon: 1e-5 });
        problems.push(operation(dtype, layer.clone(), &[x, row, row], &[], None));
        problems.push(operation(dtype, layer, &[x, row], &[], None));
        let rms = Op::RmsNorm(RmsNorm { axis: 2, epsilon: 1e-6 });
        problems.push(operation(dtype, rms, &[x, row], &[], None));
        let instance = Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 });
        let images: (bool, &[usize]) = (false, &[2, 64, 14, 14]);
        problems.push(operation(dtype, instance, &[images, channel, channel], &[], None));
    }
    all_pass_the_gate("norm.cudnn", problems, 9);
}

#[test]
fn every_attention_passes_the_gate() {
    let mut problems = Vec::new();
    for dtype in FLOATS {
        for (op, q, kv, mask) in [
            ((None, 0.0), [2, 8, 50, 64], [2, 4, 70, 64], None),
            ((None, 0.0), [1, 12, 197, 64], [1, 12, 197, 64], None),
            ((Some(0), 0.0), [1, 4, 96, 128], [1, 4, 96, 128], None),
            ((Some(30), 5.0), [2, 6, 35, 96], [2, 6, 65, 96], Some(&[2, 1, 1, 65][..])),
            ((None, 0.0), [2, 3, 40, 40], [2, 3, 77, 40], Some(&[3, 40, 77])),
            ((None, 0.0), [2, 8, 1, 64], [2, 2, 300, 64], Some(&[])),
        ] {
            let op = Op::Attention(Attention { causal: op.0, softcap: op.1, ..Attention::new(0.125) });
            let operands: Vec<(bool, &[usize])> =
                [&q[..], &kv, &kv].into_iter().chain(mask).map(|s| (false, s)).collect();
            problems.push(operation(dtype, op, &operands, &[], None));
        }
    }
    all_pass_the_gate("attention.cudnn", problems, 12);
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

#[test]
fn engines_do_not_depend_on_the_thread_that_asks() {
    let here = CudaDevice::new(0).ok().map(|d| d.info().clone());
    let Some(device) = here.or_else(described) else { return };
    // The same GPU under another key: what cuDNN is not told of.
    let mut again = device.clone();
    let DeviceKind::Cuda(cuda) = &mut again.kind else { panic!("{device:?} is no GPU") };
    cuda.nvrtc = Some(1);
    let ids = |p: &Problem, device: &DeviceInfo| -> Vec<String> {
        let list = tactician_tactics::tactics(p, device).into_iter().map(|t| t.id);
        list.filter(|id| id.starts_with("conv.cudnn/")).collect()
    };
    let list = convolutions(&zoo::resnet50(1), DType::F16);
    let at_once: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = list.iter().map(|p| scope.spawn(|| ids(p, &device))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (p, found) in list.iter().zip(at_once) {
        assert_eq!(ids(p, &again), found, "{p}");
    }
}
