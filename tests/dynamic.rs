//! Plans for open shapes: every shape within a profile, against the reference interpreter, on the CPU or on the device that
//! `TACTICIAN_TEST_DEVICE` names.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use tactician::ir::{
    self, Conv, Expr, Graph, Op, Pool, PoolKind, Reduce, ReduceKind, Shape, TensorType, Unary,
};
use tactician::reference::{eval_graph, relative_l2};
use tactician::tuning::TuneOptions;
use tactician::{
    Budget, Builder, CpuDevice, DType, Device, DeviceName, DynamicEngine, DynamicError, Engine, Network,
    Plan, Profile, Tensor, zoo,
};

/// Options that time briefly: what is tested here is right, not fast.
fn quick() -> TuneOptions {
    let mut options = TuneOptions::default();
    options.timing.rounds = 1;
    options.timing.sample = std::time::Duration::from_micros(50);
    options
}

fn builder<'a>() -> Builder<'a> {
    Builder::new().device(device()).tuning(quick())
}

/// The CPU, or what `TACTICIAN_TEST_DEVICE` names.
fn device() -> Arc<dyn Device> {
    match std::env::var("TACTICIAN_TEST_DEVICE") {
        Ok(name) => name.parse::<DeviceName>().unwrap().open(Some(2)).unwrap(),
        Err(_) => Arc::new(CpuDevice::new(Some(2)).unwrap()),
    }
}

fn engine(plan: Plan) -> DynamicEngine {
    DynamicEngine::new(plan, device()).unwrap()
}

fn values(sizes: &[usize]) -> Tensor {
    let n: usize = sizes.iter().product();
    let v: Vec<f32> = (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 300.0).collect();
    Tensor::new(sizes, &v).unwrap()
}

fn weights(sizes: &[usize]) -> ir::Tensor {
    let n: usize = sizes.iter().product();
    let v: Vec<f32> = (0..n).map(|i| ((i * 131 % 257) as f32 - 128.0) / 512.0).collect();
    ir::Tensor::new(sizes, &v).unwrap()
}

/// An image network with batch, height and width open: two convolutions, a pool, a softmax over the mean.
fn open_image() -> Network {
    let mut g = Graph::new("open");
    let shape: Shape = [ir::Dim::symbol("N"), 3.into(), ir::Dim::symbol("H"), ir::Dim::symbol("W")].into();
    let x = g.add_input("x", TensorType { dtype: DType::F32, shape }).unwrap();
    let conv = |stride| {
        Op::Conv(Conv { strides: vec![stride; 2], pads: vec![(1, 1); 2], dilations: vec![1; 2], groups: 1 })
    };
    let (w1, b1) = (g.add_constant("w1", weights(&[8, 3, 3, 3])), g.add_constant("b1", weights(&[8])));
    let w2 = g.add_constant("w2", weights(&[40, 8, 3, 3]));
    let a = g.add(conv(1), &[x, w1, b1], "a").unwrap();
    let b = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[a], "b").unwrap();
    let pool = Pool {
        kind: PoolKind::Max,
        window: vec![2; 2],
        strides: vec![2; 2],
        pads: vec![(0, 0); 2],
        dilations: vec![1; 2],
        ceil: true,
    };
    let p = g.add(Op::Pool(pool), &[b], "p").unwrap();
    let c = g.add(conv(2), &[p, w2], "c").unwrap();
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: false };
    let m = g.add(Op::Reduce(mean), &[c], "m").unwrap();
    let s = g.add(Op::Softmax(ir::Softmax { axis: 1, log: false }), &[m], "s").unwrap();
    g.mark_output("map", c);
    g.mark_output("scores", s);
    Network::from_graph(g)
}

/// Compares outputs for one input with the reference.
fn assert_right(net: &Network, input: &Tensor, outputs: &[(String, Tensor)]) {
    let name = &net.inputs()[0].name;
    let graph = net.bind(&BTreeMap::from([(name.clone(), input.shape().to_vec())])).unwrap();
    let given = ir::Tensor::from_bytes(input.dtype(), input.shape(), input.bytes().to_vec()).unwrap();
    let expected = eval_graph(&graph, &BTreeMap::from([(name.clone(), given)])).unwrap();
    assert_eq!(outputs.len(), expected.len());
    for (name, got) in outputs {
        let want = &expected[name];
        assert_eq!(got.shape(), want.sizes(), "{name}");
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let e = relative_l2(&wide(got.values::<f32>().unwrap()), &wide(&want.values::<f32>().unwrap()));
        assert!(e < 1e-5, "{name} for {:?}: relative error {e}", input.shape());
    }
}

#[test]
fn every_shape_within_a_profile_is_right() {
    let net = open_image();
    let profile = Profile::new().input("x", &[1, 3, 4, 5], &[2, 3, 16, 16], &[5, 3, 40, 33]);
    let plan = builder().profile(profile).build(&net).unwrap();
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("open.plan");
    plan.save(&path).unwrap();
    let engine = DynamicEngine::load(&path).unwrap();
    let mut context = engine.new_context().unwrap();
    let shapes = [
        [2, 3, 16, 16],
        [1, 3, 4, 5],
        [5, 3, 40, 33],
        [3, 3, 7, 32],
        [2, 3, 16, 16],
        [1, 3, 40, 5],
        [5, 3, 9, 9],
    ];
    for sizes in shapes {
        let x = values(&sizes);
        let outputs = context.run(&[("x", &x)]).unwrap();
        assert_right(&net, &x, &outputs);
        let one = engine.prepare(&[("x", &sizes)]).unwrap();
        assert!(one.meta().arena_bytes <= engine.arena_bytes(), "{sizes:?}");
    }
    assert_eq!(engine.shapes_ready(), 6);
}

#[test]
fn weights_are_there_once_for_all_shapes() {
    let net = zoo::tiny("N");
    let plan = builder().profile("input=1x3x32x32:4x3x32x32:9x3x32x32".parse().unwrap()).build(&net).unwrap();
    let engine = engine(plan);
    let first = engine.weight_bytes();
    let mut context = engine.new_context().unwrap();
    for batch in [1, 2, 3, 7, 9, 4] {
        let x = values(&[batch, 3, 32, 32]);
        assert_right(&net, &x, &context.run(&[("input", &x)]).unwrap());
    }
    assert_eq!(engine.shapes_ready(), 6);
    // Packings differ by shape at most a little: the same tactics run.
    assert!(engine.weight_bytes() <= 2 * first, "{} of {first} bytes", engine.weight_bytes());
}

#[test]
fn the_tactics_chosen_at_opt_run_elsewhere() {
    let net = zoo::tiny("N");
    let profile: Profile = "input=1x3x32x32:4x3x32x32:9x3x32x32".parse().unwrap();
    let tuned = builder().profile(profile).tune_profiles(&net).unwrap();
    let plan = tuned.plan_within(Budget::workspace(1 << 24)).unwrap();
    // How layouts change is up to the sizes.
    let of = |meta: &tactician::PlanMeta| -> Vec<(String, String)> {
        let computes = meta.steps.iter().filter(|s| !s.tactic.starts_with("reformat"));
        computes.map(|s| (s.name.clone(), s.tactic.clone())).collect()
    };
    let at_opt = of(&plan.meta);
    let engine = engine(plan);
    for batch in [5usize, 8] {
        let other = engine.prepare(&[("input", &[batch, 3, 32, 32])]).unwrap();
        assert_eq!(of(other.meta()), at_opt);
        assert!(other.meta().scratch_bytes <= 1 << 24);
    }
}

#[test]
fn shapes_that_no_profile_serves_are_refused_with_the_range() {
    let net = open_image();
    let profile = Profile::new().input("x", &[1, 3, 4, 4], &[2, 3, 16, 16], &[5, 3, 40, 33]);
    let other = Profile::new().input("x", &[8, 3, 8, 8], &[8, 3, 8, 8], &[8, 3, 8, 8]);
    let plan = builder().profile(profile).profile(other).build(&net).unwrap();
    let engine = engine(plan.clone());
    let mut context = engine.new_context().unwrap();
    for bad in [vec![6, 3, 8, 8], vec![1, 3, 3, 8], vec![1, 3, 8, 34], vec![1, 4, 8, 8], vec![1, 3, 8]] {
        let e = context.run(&[("x", &values(&bad))]).unwrap_err();
        assert!(matches!(e, DynamicError::OutOfRange { .. }), "{bad:?}: {e}");
        let text = e.to_string();
        assert!(text.contains("[1..=5, 3, 4..=40, 4..=33] or [8, 3, 8, 8]"), "{text}");
    }
    let x = values(&[8, 3, 8, 8]);
    assert_right(&net, &x, &context.run(&[("x", &x)]).unwrap());
    let wrong = Tensor::new(&[2, 3, 16, 16], &vec![0i32; 2 * 3 * 16 * 16]).unwrap();
    assert!(matches!(context.run(&[("x", &wrong)]), Err(DynamicError::Run(_))));
    assert!(matches!(context.run(&[]), Err(DynamicError::MissingInput { .. })));
    assert!(context.run(&[("y", &x)]).unwrap_err().to_string().contains("`y`"));
    // The runtime alone knows the first profile's usual shape.
    let fixed = Engine::new(plan, device()).unwrap();
    let x = values(&[2, 3, 16, 16]);
    assert_right(&net, &x, &fixed.new_context().unwrap().run(&[("x", &x)]).unwrap());
    assert!(fixed.new_context().unwrap().run(&[("x", &values(&[1, 3, 16, 16]))]).is_err());
}

#[test]
fn profiles_that_cannot_be_are_refused_before_anything_is_measured() {
    let net = open_image();
    let build = |text: &str| builder().profile(text.parse().unwrap()).build(&net).unwrap_err().to_string();
    assert!(build("y=1:1:1").contains("`y`"));
    assert!(build("x=1x3x8:1x3x8:1x3x8").contains("rank"));
    assert!(build("x=1x3x8x8:1x4x8x8:1x5x8x8").contains("[N,3,H,W]"));
    assert!(build("x=1x3x8x8:1x3x9x8:1x3x8x8").contains("axis 2"));
    assert!(builder().tune_profiles(&net).is_err());
}

#[test]
fn a_plan_of_fixed_shapes_runs_at_those() {
    let net = zoo::tiny(1);
    let engine = engine(builder().build(&net).unwrap());
    let mut context = engine.new_context().unwrap();
    let x = values(&[1, 3, 32, 32]);
    assert_right(&net, &x, &context.run(&[("input", &x)]).unwrap());
    let e = context.run(&[("input", &values(&[2, 3, 32, 32]))]).unwrap_err().to_string();
    assert!(e.contains("[1, 3, 32, 32]"), "{e}");
}

#[test]
fn more_shapes_than_are_kept_still_run() {
    let mut g = Graph::new("rows");
    let shape: Shape = ["N", "C"].into_iter().collect();
    let x = g.add_input("x", TensorType { dtype: DType::F32, shape }).unwrap();
    let s = g.add(Op::Softmax(ir::Softmax { axis: 1, log: false }), &[x], "s").unwrap();
    g.mark_output("s", s);
    let net = Network::from_graph(g);
    let plan = builder().profile("x=1x3:8x3:200x3".parse().unwrap()).build(&net).unwrap();
    let engine = engine(plan);
    let mut context = engine.new_context().unwrap();
    for n in (1..=100).chain([1, 8, 200]) {
        let x = values(&[n, 3]);
        assert_right(&net, &x, &context.run(&[("x", &x)]).unwrap());
    }
    assert!(engine.shapes_ready() <= 64);
}

#[test]
fn a_plan_whose_network_is_damaged_is_refused() {
    let net = zoo::tiny("N");
    let plan = builder().profile("input=1x3x32x32:4x3x32x32:9x3x32x32".parse().unwrap()).build(&net).unwrap();
    let (profiles, form, bytes) =
        (plan.meta.profiles.clone(), plan.meta.network_form, plan.network().bytes().to_vec());
    for cut in [1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let short = plan.clone().with_profiles(profiles.clone(), form, bytes[..cut].to_vec()).unwrap();
        let e = DynamicEngine::new(short, device()).err().unwrap().to_string();
        assert!(e.contains("damaged"), "{cut}: {e}");
    }
    for (option, value) in [("precision", "f99"), ("workspace", "much"), ("tactics", "-")] {
        let mut odd = plan.clone();
        odd.meta.options.insert(option.into(), value.into());
        assert!(DynamicEngine::new(odd, device()).err().unwrap().to_string().contains(option));
    }
}
