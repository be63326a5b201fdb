use tactician_cudnn_sys::Cudnn;
use tactician_device::{CudaInfo, DeviceError, StepDesc};
use tactician_types::DType;

use super::plan::Plan;
use super::target::Target;
use super::*;

pub(super) fn h100() -> CudaInfo {
    CudaInfo { cudnn: Some(91400), ..CudaInfo::h100() }
}

/// What follows a convolution.
#[derive(Clone, Copy, Default)]
pub(super) struct After {
    residual: bool,
    bias: bool,
    function: Option<Function>,
}

/// A square convolution over `x [n, c, side, side]` with `k` filters of `window`, padded to keep the size at stride 1.
pub(super) fn convolution(
    dtype: DType,
    [n, c, side, k, window, stride]: [u64; 6],
    after: After,
) -> GraphSpec {
    let pad = (window / 2) as u32;
    let out = (side + 2 * u64::from(pad) - window) / stride + 1;
    let y = [n, k, out, out];
    let mut tensors = vec![
        TensorSpec::channels_last(dtype, &[n, c, side, side], Role::Input(0)),
        TensorSpec::channels_last(dtype, &[k, c, window, window], Role::Input(1)),
    ];
    let mut steps = Vec::new();
    let mut input = 2;
    for (wanted, sizes) in [(after.residual, y), (after.bias, [1, k, 1, 1])] {
        if wanted {
            tensors.push(TensorSpec::channels_last(dtype, &sizes, Role::Input(input)));
            input += 1;
            steps.push((Function::Add, Some(tensors.len() as u16 - 1)));
        }
    }
    steps.extend(after.function.map(|f| (f, None)));
    let mut add = |last: bool| {
        let role = if last { Role::Output(0) } else { Role::Virtual };
        tensors.push(TensorSpec::channels_last(if last { dtype } else { DType::F32 }, &y, role));
        tensors.len() as u16 - 1
    };
    let mut at = add(steps.is_empty());
    let mut nodes = vec![NodeSpec::Convolution {
        x: 0,
        w: 1,
        y: at,
        pads: vec![(pad, pad); 2],
        strides: vec![stride as u32; 2],
        dilations: vec![1; 2],
    }];
    for (i, &(function, b)) in steps.iter().enumerate() {
        let y = add(i + 1 == steps.len());
        nodes.push(NodeSpec::Pointwise { function, x: at, b, y });
        at = y;
    }
    GraphSpec { tensors, nodes }
}

pub(super) const RELU: Option<Function> = Some(Function::Relu { upper: None });

/// The library; says why a test does nothing where there is none. `TACTICIAN_NEED_CUDNN` makes that a failure.
pub(super) fn library() -> Option<&'static Cudnn> {
    match Cudnn::get() {
        Ok(cudnn) => Some(cudnn),
        Err(e) if std::env::var_os("TACTICIAN_NEED_CUDNN").is_some() => panic!("{e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            None
        }
    }
}

/// Without the GPU of this machine: the description alone.
fn described() -> Target {
    Target::Description(super::target::description(&h100()).to_string())
}

pub(super) fn after(residual: bool, bias: bool, function: Option<Function>) -> After {
    After { residual, bias, function }
}

#[test]
fn lists_engines_for_a_described_gpu() {
    let Some(cudnn) = library() else { return };
    // Layer of ResNet-50, stage 4.
    let layer = [1, 256, 14, 256, 3, 1];
    for (name, dtype, after, expected) in [
        ("bare", DType::F16, after(false, false, None), 43),
        ("bias", DType::F16, after(false, true, None), 40),
        ("bias, relu", DType::F16, after(false, true, RELU), 40),
        ("residual, bias", DType::F16, after(true, true, None), 40),
        ("residual, bias, relu", DType::F16, after(true, true, RELU), 40),
        ("residual, bias, relu", DType::BF16, after(true, true, RELU), 38),
        ("residual, bias, relu", DType::F32, after(true, true, RELU), 63),
    ] {
        let spec = convolution(dtype, layer, after);
        let list = engines::list(cudnn, &spec, &described()).unwrap();
        let ready = list.iter().filter(|c| !c.compiles()).count();
        assert!(ready >= 20, "{name} {dtype}: {ready} of {} engines are compiled already", list.len());
        if cudnn.version() == 91400 {
            assert_eq!(ready, expected, "{name} {dtype}");
        }
        assert!(list.iter().any(|c| c.workspace == 0), "{name} {dtype}: all need scratch");
        let exact = list.iter().filter(|c| !c.uses_tensor_cores() && !c.shortens_inputs()).count();
        let least = if dtype == DType::F32 { 20 } else { 1 };
        assert!(exact >= least, "{name} {dtype}: {exact} of {} engines multiply in f32", list.len());
        let texts: std::collections::BTreeSet<String> = list.iter().map(Candidate::to_string).collect();
        assert_eq!(texts.len(), list.len(), "{name} {dtype}: names repeat");
    }
}

#[test]
fn plans_need_the_scratch_that_their_candidates_said() {
    let Some(cudnn) = library() else { return };
    let target = described();
    let spec = convolution(DType::F16, [1, 3, 224, 64, 7, 2], after(false, true, RELU));
    let list = engines::list(cudnn, &spec, &target).unwrap();
    let mut built = 0;
    for c in list.iter().filter(|c| !c.compiles()) {
        let step = CudnnStep::new(spec.clone(), c);
        let plan = step.plan(cudnn, &target).unwrap();
        assert_eq!(plan.workspace().unwrap(), c.workspace, "{c}");
        // Its own text gives the plan again, and a damaged one does not get in the way.
        let text = plan.text().unwrap();
        assert_eq!(Plan::read(cudnn, &target, &text).unwrap().workspace().unwrap(), c.workspace, "{c}");
        let step = CudnnStep { plan: Some(text.clone()), ..step };
        assert!(step.is_plan_of_this(&text), "{c}: its own plan is refused");
        for (from, to) in [("{", "["), ("engineId\":", "engineId\":9"), ("224", "448"), ("dim", "Dim")] {
            let plan = text.replace(from, to);
            assert!(!step.is_plan_of_this(&plan), "{c}: {from} became {to}");
            let step = CudnnStep { plan: Some(plan), ..step.clone() };
            assert_eq!(step.plan(cudnn, &target).unwrap().workspace().unwrap(), c.workspace, "{c}");
        }
        built += 1;
    }
    assert!(built >= 5, "only {built} engines are compiled already");
}

#[test]
fn refuses_engines_that_are_not_there() {
    let Some(cudnn) = library() else { return };
    let spec = convolution(DType::F16, [1, 64, 8, 64, 3, 1], After::default());
    for (engine, knobs) in [(60000, vec![]), (0, vec![(2, 1 << 40)]), (0, vec![(9999, 1)])] {
        let failed = Plan::build(cudnn, &described(), &spec, engine, &knobs).err();
        assert!(matches!(failed, Some(DeviceError::Failed { .. })), "{engine} {knobs:?}: {failed:?}");
    }
}

/// Lengths of the arguments of a graph, and its step in postcard.
pub(super) fn encoded(step: &CudnnStep) -> (Vec<u8>, ArgBytes) {
    (postcard::to_stdvec(step).unwrap(), step.graph.check().unwrap_or_default())
}

pub(super) fn decode(params: &[u8], args: &ArgBytes, scratch: u64) -> Result<CudnnStep, DeviceError> {
    let (inputs, outputs) = (&args.inputs[..], &args.outputs[..]);
    CudnnStep::decode(&StepDesc { kernel: NAME, params, inputs, outputs, scratch, code: None })
}

fn some_step() -> CudnnStep {
    CudnnStep {
        graph: convolution(DType::F16, [2, 8, 9, 16, 3, 2], after(true, true, Some(Function::Swish))),
        engine: 41,
        knobs: vec![(2, 3), (13, 1)],
        workspace: 1000,
        plan: Some("{}".into()),
    }
}

#[test]
fn steps_survive_encoding() {
    let step = some_step();
    let (params, args) = encoded(&step);
    assert_eq!(args.inputs, [2 * 8 * 81 * 2, 16 * 8 * 9 * 2, 2 * 16 * 25 * 2, 16 * 2]);
    assert_eq!(args.outputs, [2 * 16 * 25 * 2]);
    assert_eq!(decode(&params, &args, 1000).unwrap(), step);
    assert_eq!(decode(&params, &args, 4000).unwrap(), step);
}

#[test]
fn refuses_arguments_that_are_too_short() {
    let (params, args) = encoded(&some_step());
    for i in 0..4 {
        let mut short = args.clone();
        short.inputs[i] -= 1;
        assert!(decode(&params, &short, 1000).is_err(), "input {i}");
    }
    let fewer = ArgBytes { inputs: args.inputs[..3].to_vec(), ..args.clone() };
    let short = ArgBytes { outputs: vec![args.outputs[0] - 1], ..args.clone() };
    for args in [&fewer, &short] {
        assert!(decode(&params, args, 1000).is_err());
    }
    let e = decode(&params, &args, 999).unwrap_err().to_string();
    assert!(e.contains("999") && e.contains("1000"), "{e}");
}

#[test]
fn refuses_hostile_parameters() {
    let good = some_step();
    let (params, args) = encoded(&good);
    for cut in 0..params.len() {
        assert!(decode(&params[..cut], &args, 1000).is_err(), "{cut} bytes");
    }
    let stray: Vec<u8> = params.iter().copied().chain([0]).collect();
    assert!(decode(&stray, &args, 1000).is_err());
    let damage: &[(&str, fn(&mut CudnnStep))] = &[
        ("engine", |s| s.engine = -1),
        ("engine", |s| s.engine = i64::MAX),
        ("knobs", |s| s.knobs = vec![(0, 0); 1000]),
        ("knob type", |s| s.knobs[0].0 = -1),
        ("workspace", |s| s.workspace = u64::MAX),
        ("plan", |s| s.plan = Some("{\0}".into())),
        ("no nodes", |s| s.graph.nodes.clear()),
        ("no tensors", |s| s.graph.tensors.clear()),
        ("a size of 0", |s| s.graph.tensors[0].sizes[2] = 0),
        ("a huge size", |s| s.graph.tensors[0].sizes[2] = u64::MAX),
        ("a huge stride", |s| s.graph.tensors[0].strides[0] = u64::MAX),
        ("a larger stride", |s| s.graph.tensors[0].strides[0] *= 2),
        ("another rank", |s| s.graph.tensors[0].sizes.push(1)),
        ("rank 2", |s| s.graph.tensors[3].sizes.truncate(2)),
        ("integers", |s| s.graph.tensors[0].dtype = DType::I8),
        ("f64", |s| s.graph.tensors[0].dtype = DType::F64),
        ("mixed types", |s| s.graph.tensors[1].dtype = DType::F32),
        ("an input twice", |s| s.graph.tensors[1].role = Role::Input(0)),
        ("a missing input", |s| s.graph.tensors[1].role = Role::Input(9)),
        ("no output", |s| s.graph.tensors.last_mut().unwrap().role = Role::Virtual),
        ("an output too many", |s| s.graph.tensors[4].role = Role::Output(1)),
        ("a virtual input", |s| s.graph.tensors[0].role = Role::Virtual),
        ("a cycle", |s| s.graph.nodes.reverse()),
        ("a node twice", |s| s.graph.nodes.push(s.graph.nodes[0].clone())),
        ("an unwritten tensor", |s| drop(s.graph.nodes.pop())),
        ("a tensor that is not there", |s| {
            s.graph.nodes[1] = NodeSpec::Pointwise { function: Function::Swish, x: 99, b: None, y: 5 };
        }),
        ("a result that is not there", |s| {
            s.graph.nodes[1] = NodeSpec::Pointwise { function: Function::Swish, x: 4, b: None, y: 99 };
        }),
        ("one operand of two", |s| {
            s.graph.nodes[1] = NodeSpec::Pointwise { function: Function::Add, x: 4, b: None, y: 5 };
        }),
        ("two operands of one", |s| {
            s.graph.nodes[1] = NodeSpec::Pointwise { function: Function::Tanh, x: 4, b: Some(2), y: 5 };
        }),
        ("a bound that is no number", |s| {
            let function = Function::Relu { upper: Some(f64::NAN) };
            s.graph.nodes[3] = NodeSpec::Pointwise { function, x: 6, b: None, y: 7 };
        }),
        ("other channels", |s| s.graph.tensors[1].sizes[1] = 3),
        ("other filters", |s| s.graph.tensors[1].sizes[0] = 17),
        ("a larger window", |s| s.graph.tensors[1].sizes[2] = 4),
        ("a wider bias", |s| s.graph.tensors[3].sizes[1] = 15),
        ("a larger batch", |s| s.graph.tensors[4].sizes[0] = 3),
    ];
    for (what, damage) in damage {
        let mut step = good.clone();
        damage(&mut step);
        let (params, _) = encoded(&step);
        let refused = decode(&params, &args, 1000);
        assert!(matches!(refused, Err(DeviceError::BadStep { .. })), "{what}: {refused:?}");
    }
    let convolutions: &[(&str, fn(&mut Vec<(u32, u32)>, &mut Vec<u32>, &mut Vec<u32>))] = &[
        ("stride 0", |_, s, _| s[0] = 0),
        ("dilation 0", |_, _, d| d[0] = 0),
        ("a huge dilation", |_, _, d| d[0] = u32::MAX),
        ("a huge pad", |p, _, _| p[0].0 = u32::MAX),
        ("another stride", |_, s, _| s[0] = 1),
        ("one pad", |p, _, _| p.truncate(1)),
        ("three strides", |_, s, _| s.push(1)),
    ];
    for (what, damage) in convolutions {
        let mut step = good.clone();
        let NodeSpec::Convolution { pads, strides, dilations, .. } = &mut step.graph.nodes[0] else {
            panic!("the first node is the convolution")
        };
        damage(pads, strides, dilations);
        let (params, _) = encoded(&step);
        assert!(decode(&params, &args, 1000).is_err(), "{what}");
    }
}

#[test]
fn answers_are_recalled_without_cudnn() {
    let graph = some_step().graph;
    // No version that there is.
    let info = CudaInfo { cudnn: Some(1), ..h100() };
    let found = vec![Candidate {
        engine: 7,
        knobs: vec![(1, 2)],
        workspace: 3,
        numerics: vec![],
        behaviour: vec![4],
    }];
    let question = (postcard::to_stdvec(&graph).unwrap(), format!("{info:?}"));
    engines::recall(b"nothing that reads");
    engines::recall(&postcard::to_stdvec(&vec![(question.clone(), found.clone())]).unwrap());
    assert_eq!(*candidates(&graph, &info).unwrap(), *found);
    let kept: Vec<((Vec<u8>, String), Vec<Candidate>)> = postcard::from_bytes(&engines::answers()).unwrap();
    assert!(kept.contains(&(question, found)));
    // Of another version nothing is known, and this one is not asked in its place.
    assert!(candidates(&graph, &CudaInfo { cudnn: Some(2), ..h100() }).is_err());
}

#[test]
fn says_when_cudnn_is_missing() {
    let Err(e) = candidates(&some_step().graph, &h100()) else {
        assert!(version().is_some());
        return;
    };
    if version().is_none() {
        assert!(e.to_string().contains("libcudnn.so.9"), "{e}");
    }
}
