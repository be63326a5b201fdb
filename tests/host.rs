//! CPU steps in the plan of a GPU, and lists of tactics, on a GPU on paper: it runs CPU steps on this machine's CPU, and
//! does nothing for any other step.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and says what it skips"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tactician::cuda::{HostInput, HostRun};
use tactician::ir::{Binary, Conv, Expr, Graph, MatMul, Op, TensorType, Unary};
use tactician::reference::{eval_graph, relative_l2};
use tactician::tuning::TuneOptions;
use tactician::{
    Builder, CpuDevice, DType, Device, DeviceInfo, DeviceName, Engine, Needs, Network, Plan, TacticFilter,
    Tensor, Tuned, ir, zoo,
};
use tactician_device::replay::ReplayDevice;
use tactician_device::{CudaInfo, Span, StepDesc};

fn paper() -> DeviceInfo {
    // The cache is emptied before every sample.
    CudaInfo { l2_bytes: 1 << 20, ..CudaInfo::h100() }.on_paper()
}

fn span(bytes: &[u8]) -> Span {
    Span { address: bytes.as_ptr().expose_provenance() as u64, len: bytes.len() as u64 }
}

/// Runs a `host.run` step as the GPU's backend would, without copies.
fn on_cpu(cpu: &CpuDevice, params: &[u8], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
    let run: HostRun = postcard::from_bytes(params).unwrap();
    let (mut kept, mut spans, mut given) = (Vec::new(), Vec::new(), inputs.iter());
    for input in run.inputs {
        spans.push(match input {
            HostInput::Given => span(given.next().unwrap()),
            HostInput::Kept(bytes) => {
                kept.push(cpu.constants(Arc::new(bytes)).unwrap());
                kept.last().unwrap().span()
            }
        });
    }
    let lens: Vec<u64> = spans.iter().map(|s| s.len).collect();
    let out: Vec<u64> = outputs.iter().map(|o| o.len() as u64).collect();
    let desc = StepDesc {
        kernel: &run.kernel,
        params: &run.params,
        inputs: &lens,
        outputs: &out,
        scratch: run.scratch,
        code: None,
    };
    let executable = cpu.prepare(&desc).unwrap();
    spans.extend(outputs.iter_mut().map(|o| span(o)));
    let scratch = cpu.alloc(run.scratch).unwrap();
    spans.push(scratch.span());
    // SAFETY: live memory of the host, as long as in the description; outputs and scratch overlap nothing.
    unsafe { executable.enqueue(&spans, cpu.stream().unwrap().as_mut()).unwrap() };
}

fn gpu() -> Arc<dyn Device> {
    let cpu = CpuDevice::new(Some(2)).unwrap();
    let device = ReplayDevice::new().with_info(paper()).compiles().compute(move |call, inputs, outputs| {
        match call.kernel {
            HostRun::NAME => on_cpu(&cpu, call.params, inputs, outputs),
            "copy" => outputs[0].copy_from_slice(inputs[0]),
            _ => {}
        }
    });
    Arc::new(device)
}

/// With or without comparing, which only CPU steps can stand on this device.
fn tune(net: &Network, tactics: &str, gate: bool) -> Result<Tuned, tactician::BuildError> {
    tune_on(gpu(), net, tactics, gate)
}

fn tune_on(
    device: Arc<dyn Device>,
    net: &Network,
    tactics: &str,
    gate: bool,
) -> Result<Tuned, tactician::BuildError> {
    let mut options = TuneOptions { gate, ..TuneOptions::default() };
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(1);
    let filter: TacticFilter = tactics.parse().unwrap();
    Builder::new().device(device).tuning(options).tactics(filter).tune(net)
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 300.0).collect()
}

/// Largest relative L2 error of a plan's outputs on a device, over several runs: a GPU records the second.
fn error(net: &Network, plan: Plan, device: Arc<dyn Device>) -> f64 {
    let input = net.inputs().remove(0);
    let sizes = input.shape.sizes().unwrap();
    let x = Tensor::new(&sizes, &values(sizes.iter().product())).unwrap();
    let mut context = Engine::new(plan, device).unwrap().new_context().unwrap();
    let mut outputs = Vec::new();
    for _ in 0..4 {
        outputs.extend(context.run(&[(&input.name, &x)]).unwrap());
    }
    let given = ir::Tensor::from_bytes(x.dtype(), x.shape(), x.bytes().to_vec()).unwrap();
    let expected = eval_graph(&net.graph().unwrap(), &BTreeMap::from([(input.name, given)])).unwrap();
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    outputs
        .iter()
        .map(|(n, t)| {
            let want = expected[n].values::<f32>().unwrap();
            relative_l2(&wide(t.values::<f32>().unwrap()), &wide(&want))
        })
        .fold(0.0, f64::max)
}

fn cast(to: DType) -> Op {
    let mut e = Expr::empty();
    let x = e.push(ir::ExprNode::Input(0));
    e.push(ir::ExprNode::Cast(to, x));
    Op::Pointwise(e)
}

/// `f32` at its ends; inside a convolution of `f64` with bias and ReLU, and a product of `i32`.
fn odd_types() -> Network {
    let mut g = Graph::new("odd");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 4, 6, 6])).unwrap();
    let constant = |g: &mut Graph, name: &str, dtype: DType, sizes: &[usize]| {
        let n: usize = sizes.iter().product();
        let bytes: Vec<u8> = match dtype {
            DType::F64 => values(n).iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            _ => (0..n as i32).flat_map(|v| (v % 5 - 2).to_le_bytes()).collect(),
        };
        g.add_constant(name, ir::Tensor::from_bytes(dtype, sizes, bytes).unwrap())
    };
    let w = constant(&mut g, "w", DType::F64, &[8, 4, 3, 3]);
    let b = constant(&mut g, "b", DType::F64, &[8]);
    let m = constant(&mut g, "m", DType::I32, &[6, 5]);
    let conv = Conv { strides: vec![1; 2], pads: vec![(1, 1); 2], dilations: vec![1; 2], groups: 1 };
    let wide = g.add(cast(DType::F64), &[x], "widen").unwrap();
    let y = g.add(Op::Conv(conv), &[wide, w, b], "wide_conv").unwrap();
    let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[y], "relu").unwrap();
    let whole = g.add(cast(DType::I32), &[y], "round").unwrap();
    let y = g.add(Op::MatMul(MatMul { trans_a: false, trans_b: false }), &[whole, m], "product").unwrap();
    let y = g.add(cast(DType::F32), &[y], "narrow").unwrap();
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, y], "twice").unwrap();
    g.mark_output("y", y);
    Network::from_graph(g)
}

#[test]
fn what_no_kernel_serves_becomes_a_step_of_the_cpu() {
    let tuned = tune(&odd_types(), "all", false).unwrap();
    let names: Vec<String> = tuned.host_regions().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["wide_conv", "product"], "{:?}", tuned.host_regions());
    let plan = tuned.plan(0).unwrap();
    assert_eq!(plan.meta.options["tactics"], "all");
    let (host, own): (Vec<_>, Vec<_>) = plan.meta.steps.iter().partition(|s| s.needs() == Needs::Host);
    assert_eq!(host.len(), 2);
    assert!(
        host.iter().all(|s| s.tactic.starts_with("host.cpu/") && s.code.is_none() && s.scratch.is_none())
    );
    assert!(!own.is_empty() && own.iter().all(|s| s.kernel == "cuda.launch"), "{own:?}");
    // Constants of CPU steps stay on the host.
    let places = host.iter().flat_map(|s| &s.inputs);
    assert!(
        places.clone().count() == 2 && places.clone().all(|p| matches!(p, tactician::Place::Arena { .. }))
    );
}

#[test]
fn a_whole_network_of_cpu_steps_passes_the_gate_and_is_right() {
    for (net, allowed) in [(zoo::tiny(1), 1e-4), (odd_types(), 1e-6)] {
        let tuned = tune(&net, "host.cpu", true).unwrap();
        assert!(tuned.report().rejected.is_empty(), "{:?}", tuned.report().rejected);
        let plan = tuned.plan(0).unwrap();
        assert!(plan.meta.steps.iter().all(|s| s.needs() == Needs::Host || s.kernel == "copy"));
        let e = error(&net, plan, gpu());
        assert!(e < allowed, "relative error {e}");
    }
}

#[test]
fn what_a_list_leaves_without_a_kernel_moves_to_the_cpu() {
    let net = zoo::tiny(1);
    assert!(tune(&net, "own", false).unwrap().host_regions().is_empty());
    let tuned = tune(&net, "own,-conv.cuda", false).unwrap();
    let plan = tuned.plan(1 << 20).unwrap();
    assert_eq!(plan.meta.options["tactics"], "own,-conv.cuda");
    let (conv, rest): (Vec<_>, Vec<_>) = plan.meta.steps.iter().partition(|s| s.problem.starts_with("conv"));
    assert!(!conv.is_empty() && conv.iter().all(|s| s.needs() == Needs::Host));
    assert!(!rest.is_empty() && rest.iter().all(|s| s.needs() == Needs::Nothing));
    assert_eq!(tuned.host_regions().len(), conv.len());
    assert!(!tune(&net, "own,-reduce", false).unwrap().host_regions().is_empty());
}

/// Kernels that do nothing on this device are wrong, all of them.
#[test]
fn what_every_kernel_gets_wrong_moves_to_the_cpu() {
    let net = odd_types();
    let tuned = tune(&net, "all", true).unwrap();
    let list = tuned.host_regions();
    let rejected = |name: &str| list.iter().find(|r| r.name == name).is_some_and(|r| r.rejected);
    assert!(list.iter().any(|r| r.rejected) && !rejected("wide_conv"), "{list:?}");
    let wrong = &tuned.report().rejected;
    for r in list.iter().filter(|r| r.rejected) {
        assert!(wrong.iter().any(|(p, t, _)| *p == r.problem && t.contains(".cuda")), "{r:?}");
    }
    let plan = tuned.plan(0).unwrap();
    assert!(plan.meta.steps.iter().all(|s| s.needs() == Needs::Host || s.kernel == "copy"));
    let e = error(&net, plan, gpu());
    assert!(e < 1e-6, "relative error {e}");
    let e = tune(&net, "-host", true).err().unwrap().to_string();
    assert!(e.contains("`-host` excludes all"), "{e}");
}

#[test]
fn a_list_that_leaves_nothing_says_so() {
    let e = tune(&zoo::tiny(1), "conv.cuda", false).err().unwrap().to_string();
    for part in ["no tactic is left for", "`conv.cuda` excludes all", "leave the list out"] {
        assert!(e.contains(part), "{e}");
    }
}

#[test]
fn on_a_real_gpu_plans_with_cpu_steps_are_right() {
    let device = match DeviceName::Cuda(0).open(None) {
        Ok(d) => d,
        Err(e) => return println!("skipped: {e}"),
    };
    for (net, tactics, allowed) in [
        (odd_types(), "all", 1e-6),
        (zoo::tiny(1), "own,-conv.cuda", 1e-4),
        (zoo::tiny(1), "own,-reduce", 1e-4),
        (zoo::tiny(1), "host.cpu", 1e-4),
    ] {
        let tuned = tune_on(device.clone(), &net, tactics, true).unwrap();
        assert!(!tuned.host_regions().is_empty(), "{tactics}");
        let plan = tuned.plan(1 << 20).unwrap();
        println!("{tactics}: {} steps, predicted {} us", plan.meta.steps.len(), plan.meta.predicted_us);
        assert!(plan.meta.steps.iter().any(|s| s.needs() == Needs::Host));
        // On a device opened for this plan, as `Engine::load` does.
        let own = tactician::runtime::device_for(&plan.meta).unwrap();
        let e = error(&net, plan, own);
        assert!(e < allowed, "{tactics}: relative error {e}");
    }
}
