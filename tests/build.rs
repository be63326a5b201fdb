//! Whole builds: from a network through measuring, selection and plan to outputs, against the reference interpreter.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use tactician::reference::{eval_graph, relative_l2};
use tactician::tuning::TuneOptions;
use tactician::{BuildError, Builder, DType, Engine, Network, Plan, Tensor, Tuned, ir, zoo};

/// Options that time briefly: what is tested here is right, not fast.
fn quick() -> TuneOptions {
    let mut options = TuneOptions::default();
    options.timing.rounds = 1;
    options.timing.sample = std::time::Duration::from_micros(50);
    options
}

fn tune(net: &Network) -> Tuned {
    Builder::new().threads(2).tuning(quick()).tune(net).unwrap()
}

fn image(sizes: &[usize]) -> Tensor {
    let n: usize = sizes.iter().product();
    let v: Vec<f32> = (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 300.0).collect();
    Tensor::new(sizes, &v).unwrap()
}

/// Largest relative L2 error of a plan's outputs.
fn error(net: &Network, plan: Plan, name: &str, input: &Tensor) -> f64 {
    let device = tactician::runtime::device_for(&plan.meta).unwrap();
    let engine = Engine::new(plan, device).unwrap();
    let outputs = engine.new_context().unwrap().run(&[(name, input)]).unwrap();
    let given = ir::Tensor::from_bytes(input.dtype(), input.shape(), input.bytes().to_vec()).unwrap();
    let expected = eval_graph(&net.graph().unwrap(), &BTreeMap::from([(name.to_owned(), given)])).unwrap();
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    outputs
        .iter()
        .map(|(n, t)| {
            let want = expected[n].values::<f32>().unwrap();
            relative_l2(&wide(t.values::<f32>().unwrap()), &wide(&want))
        })
        .fold(0.0, f64::max)
}

/// Narrow types as input, constant, output and on the way: measured, written to a plan, read and run.
#[test]
fn narrow_types_go_through_a_plan() {
    let text = "graph narrow {
  %x: f32[4,6] = input \"x\"
  %q: i4[6,4] = input \"q\"
  %w: f8e4m3fn[6,4] = const seed 5
  %s: f8e8m0[4,1] = const {1.0, 0.5, 4.0, 1.0}
  %turned: i4[4,6] = transpose(%q) perm=[1,0]
  %wide: f32[4,6] = pointwise(%turned) {cast($0, f32)}
  %weights: f32[6,4] = pointwise(%w) {cast($0, f32)}
  %scale: f32[4,1] = pointwise(%s) {cast($0, f32)}
  %sum: f32[4,6] = pointwise(%x, %wide) {add($0, $1)}
  %product: f32[4,4] = matmul(%sum, %weights)
  %scaled: f32[4,4] = pointwise(%product, %scale) {mul($0, $1)}
  %low: f8e5m2[4,4] = pointwise(%scaled) {cast($0, f8e5m2)}
  %part: f8e5m2[2,4] = slice(%low) axes=[(0,0,2,1)]
  %both: f8e5m2[6,4] = concat(%low, %part) axis=0
  output \"low\" %both
  output \"turned\" %turned
}
";
    let net = Network::from_graph(ir::text::parse(text).unwrap());
    let plan = tune(&net).plan(1 << 20).unwrap();
    let plan = Plan::from_bytes(plan.to_bytes().unwrap()).unwrap();
    assert_eq!(plan.meta.inputs.iter().map(|p| p.dtype).collect::<Vec<_>>(), [DType::F32, DType::I4]);
    // Whole numbers and multiples of 2^-9: sums of products are exact.
    let x: Vec<f32> = (0..24).map(|i| (i % 9) as f32 - 4.0).collect();
    let q: Vec<u8> = (0..24).map(|i| (i % 16 - 8) as i8 as u8).collect();
    let inputs = [
        ("x", Tensor::new(&[4, 6], &x).unwrap()),
        ("q", Tensor::from_bytes(DType::I4, &[6, 4], &q).unwrap()),
    ];
    let given = |t: &Tensor| ir::Tensor::from_bytes(t.dtype(), t.shape(), t.bytes().to_vec()).unwrap();
    let values = inputs.iter().map(|(n, t)| ((*n).to_owned(), given(t))).collect();
    let expected = eval_graph(&net.graph().unwrap(), &values).unwrap();
    let device = tactician::runtime::device_for(&plan.meta).unwrap();
    let engine = Engine::new(plan, device).unwrap();
    let refs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
    for (name, t) in engine.new_context().unwrap().run(&refs).unwrap() {
        let want = &expected[&name];
        assert_eq!((t.dtype(), t.shape()), (want.dtype(), want.sizes()));
        assert_eq!(t.bytes(), want.bytes(), "{name}");
    }
    assert!(expected["low"].bytes().iter().any(|b| b & 0x7f != 0));
}

#[test]
fn one_measuring_serves_every_budget() {
    let net = zoo::tiny(1);
    let input = net.inputs().remove(0);
    let tuned = tune(&net);
    assert!(tuned.report().rejected.is_empty(), "{:?}", tuned.report().rejected);
    let mut before = f64::INFINITY;
    for workspace in [0, 1 << 12, 1 << 16, 1 << 20, 1 << 30] {
        let plan = tuned.plan(workspace).unwrap();
        assert!(plan.meta.scratch_bytes <= workspace);
        assert!(plan.meta.predicted_us <= before * (1.0 + 1e-9), "a larger budget is predicted slower");
        before = plan.meta.predicted_us;
        let e = error(&net, plan, &input.name, &image(&input.shape.sizes().unwrap()));
        assert!(e < 1e-4, "workspace {workspace}: relative error {e}");
    }
}

#[test]
fn builds_repeat() {
    let net = zoo::tiny(1);
    let tuned = tune(&net);
    let once = tuned.plan(1 << 20).unwrap().to_bytes().unwrap();
    assert_eq!(once, tuned.plan(1 << 20).unwrap().to_bytes().unwrap());

    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("tiny.tac");
    let build = |frozen| {
        let options = TuneOptions { frozen, ..quick() };
        Builder::new().threads(2).table(&table).tuning(options).workspace(1 << 20).build(&net).unwrap()
    };
    let first = build(false).to_bytes().unwrap();
    assert_eq!(first, build(true).to_bytes().unwrap(), "the same table must give the same plan");
}

#[test]
fn a_saved_plan_runs_as_the_one_in_memory() {
    let net = zoo::tiny(1);
    let input = net.inputs().remove(0);
    let x = image(&input.shape.sizes().unwrap());
    let plan = tune(&net).plan(1 << 20).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.plan");
    plan.save(&path).unwrap();
    let engine = Engine::load(&path).unwrap();
    let from_file = engine.new_context().unwrap().run(&[(&input.name, &x)]).unwrap();
    let device = tactician::runtime::device_for(&plan.meta).unwrap();
    let in_memory =
        Engine::new(plan, device).unwrap().new_context().unwrap().run(&[(&input.name, &x)]).unwrap();
    assert_eq!(from_file.len(), in_memory.len());
    for ((n, a), (m, b)) in from_file.iter().zip(&in_memory) {
        assert_eq!(n, m);
        assert_eq!(a.bytes(), b.bytes());
    }
}

#[test]
fn contexts_run_in_parallel_threads() {
    let net = zoo::tiny(1);
    let input = net.inputs().remove(0);
    let x = image(&input.shape.sizes().unwrap());
    let plan = Builder::new().threads(1).tuning(quick()).build(&net).unwrap();
    let device = tactician::runtime::device_for(&plan.meta).unwrap();
    let engine = Engine::new(plan, device).unwrap();
    let expected = engine.new_context().unwrap().run(&[(&input.name, &x)]).unwrap();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let mut context = engine.new_context().unwrap();
                for _ in 0..20 {
                    let got = context.run(&[(&input.name, &x)]).unwrap();
                    assert_eq!(got[0].1.bytes(), expected[0].1.bytes());
                }
            });
        }
    });
}

#[test]
fn without_fusion_the_outputs_are_the_same() {
    let net = zoo::tiny(1);
    let input = net.inputs().remove(0);
    let x = image(&input.shape.sizes().unwrap());
    let plan =
        Builder::new().threads(1).tuning(quick()).policy(tactician::passes::NoFusion).build(&net).unwrap();
    let fused = Builder::new().threads(1).tuning(quick()).build(&net).unwrap();
    assert!(plan.meta.steps.len() > fused.meta.steps.len());
    assert!(error(&net, plan, &input.name, &x) < 1e-4);
}

#[test]
fn sixteen_bits_inside_give_the_same_outputs_nearly() {
    let net = zoo::tiny(1);
    let input = net.inputs().remove(0);
    let x = image(&input.shape.sizes().unwrap());
    for (dtype, allowed) in [(DType::F16, 5e-3), (DType::BF16, 4e-2)] {
        let tuned = Builder::new().threads(2).tuning(quick()).precision(dtype).tune(&net).unwrap();
        assert!(tuned.report().rejected.is_empty(), "{:?}", tuned.report().rejected);
        let plan = tuned.plan(0).unwrap();
        assert_eq!(plan.meta.options["precision"], dtype.name());
        assert!(plan.meta.inputs.iter().chain(&plan.meta.outputs).all(|p| p.dtype == DType::F32));
        let convolutions = plan.meta.steps.iter().filter(|s| s.problem.starts_with("conv"));
        assert!(convolutions.clone().count() > 0);
        assert!(convolutions.clone().all(|s| s.problem.contains(&format!("*{dtype}["))));
        let e = error(&net, plan, &input.name, &x);
        assert!(e > 1e-6 && e < allowed, "{dtype}: relative error {e}");
    }
}

#[test]
fn open_sizes_are_asked_for() {
    let mut g = ir::Graph::new("open");
    let shape: ir::Shape = ["N", "C"].into_iter().collect();
    let x = g.add_input("x", ir::TensorType { dtype: ir::DType::F32, shape }).unwrap();
    let y = g.add(ir::Op::Pointwise(ir::Expr::unary(ir::Unary::Relu)), &[x], "relu").unwrap();
    g.mark_output("y", y);
    let net = Network::from_graph(g);
    let e = Builder::new().threads(1).build(&net).unwrap_err();
    assert!(matches!(&e, BuildError::Unbound { .. }));
    assert!(e.to_string().contains("--shape") && e.to_string().contains("`x`"), "{e}");
    let plan = Builder::new().threads(1).tuning(quick()).shape("x", &[2, 5]).build(&net).unwrap();
    assert_eq!(plan.meta.inputs[0].shape, [2, 5]);
}

/// A network that joins an empty input, multiplies over it and gives one back.
const EMPTY: &str = "graph g {
  %x: f32[2,3] = input
  %e: f32[2,0] = input
  %c: f32[2,3] = concat(%x, %e) axis=1
  %r: f32[2,1] = reduce(%e) prod axes=[1] keep_dims
  %y: f32[2,3] = pointwise(%c, %r) {add($0, $1)}
  %m: f32[2] = reduce(%e) max axes=[1]
  %z: f32[0,2] = transpose(%e) perm=[1,0]
  output \"y\" %y
  output \"m\" %m
  output \"z\" %z
}";

#[test]
fn networks_take_and_give_empty_tensors() {
    let net = Network::from_graph(ir::text::parse(EMPTY).unwrap());
    let x = Tensor::new(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]).unwrap();
    let e = Tensor::new(&[2, 0], &[0f32; 0]).unwrap();
    let builder = || Builder::new().threads(1).tuning(quick());
    let plans = [
        builder().build(&net).unwrap(),
        builder().untuned(&net).unwrap(),
        builder().precision(DType::F16).build(&net).unwrap(),
    ];
    for plan in plans {
        let plan = Plan::from_bytes(plan.to_bytes().unwrap()).unwrap();
        let device = tactician::runtime::device_for(&plan.meta).unwrap();
        let mut context = Engine::new(plan, device).unwrap().new_context().unwrap();
        let out = context.run(&[("x", &x), ("e", &e)]).unwrap();
        assert_eq!(out[0].1.values::<f32>().unwrap(), [2., 3., 4., 5., 6., 7.]);
        assert_eq!(out[1].1.values::<f32>().unwrap(), [f32::NEG_INFINITY; 2]);
        assert_eq!((out[2].1.shape(), out[2].1.bytes()), (&[0, 2][..], &[][..]));
        assert!(context.host_output("z").unwrap().is_empty());
        assert!(context.host_input("e").unwrap().is_empty());
    }
}

#[test]
fn what_computes_with_an_empty_tensor_all_the_same_is_named() {
    let text = "graph g {
  %x: f32[0,1,2] = input
  %w: f32[1,3,2] = input
  %r: f32[1,3,3] = input
  %h: f32[1,1,3] = input
  %y: f32[1,1,1,3] = recurrent(%x, %w, %r, %h) rnn initial_h
  output \"y\" %y
}";
    let net = Network::from_graph(ir::text::parse(text).unwrap());
    let e = Builder::new().threads(1).build(&net).unwrap_err();
    assert!(matches!(&e, BuildError::Empty { .. }), "{e}");
    assert!(e.to_string().contains("`x` of shape [0,1,2]"), "{e}");
}
