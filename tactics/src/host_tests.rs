use std::collections::BTreeSet;

use tactician_cpu::CpuDevice;
use tactician_cuda::{HOST_THREADS, HostInput, HostRun};
use tactician_device::{Device, StepDesc};
use tactician_ir::*;
use tactician_types::Layout;

use super::{FAMILY, any_host};
use crate::pointwise_cuda::tests::gpu;
use crate::{ALL, Family, families, family_of, is_host, library_of, tactics, tactics_where};

/// One operation on inputs of these sizes, the first ones of `dtype`; others have their own type.
struct Sample {
    op: Op,
    operands: Vec<(Vec<usize>, Option<DType>)>,
}

fn sample(op: Op, operands: &[&[usize]]) -> Sample {
    Sample { op, operands: operands.iter().map(|s| (s.to_vec(), None)).collect() }
}

/// Every operation of the graph, in every kind that could make a difference.
fn samples(dtype: DType) -> Vec<Sample> {
    let mut list = Vec::new();
    for spatial in 1..=3usize {
        let (x, y) =
            ([&[2, 4][..], &[7, 6, 5][..spatial]].concat(), [&[2, 8][..], &[7, 6, 5][..spatial]].concat());
        let kernel = [&[8, 4][..], &[3, 3, 3][..spatial]].concat();
        let grouped = [&[8, 2][..], &[3, 3, 3][..spatial]].concat();
        let (ones, pads) = (vec![1; spatial], vec![(1, 1); spatial]);
        for (groups, w) in [(1, &kernel), (2, &grouped)] {
            let conv = Conv { strides: ones.clone(), pads: pads.clone(), dilations: ones.clone(), groups };
            list.push(sample(Op::Conv(conv), &[&x, w]));
        }
        let transposed = ConvTranspose {
            strides: vec![2; spatial],
            pads: pads.clone(),
            dilations: ones.clone(),
            output_padding: vec![1; spatial],
            groups: 1,
        };
        let turned = [&[8, 4][..], &[3, 3, 3][..spatial]].concat();
        list.push(sample(Op::ConvTranspose(transposed), &[&y, &turned]));
        for kind in [
            PoolKind::Max,
            PoolKind::Average { count_pad: false },
            PoolKind::Average { count_pad: true },
            PoolKind::Lp { p: 2 },
        ] {
            let pool = Pool {
                kind,
                window: vec![3; spatial],
                strides: vec![2; spatial],
                pads: pads.clone(),
                dilations: ones.clone(),
                ceil: true,
            };
            list.push(sample(Op::Pool(pool), &[&x]));
        }
    }
    let x: &[usize] = &[2, 12, 5, 6];
    for (trans_a, trans_b, a, b) in [
        (false, false, &[7, 20][..], &[20, 9][..]),
        (true, false, &[20, 7], &[20, 9]),
        (false, true, &[2, 3, 7, 20], &[2, 3, 9, 20]),
        (false, false, &[2, 1, 7, 20], &[3, 20, 9]),
        (false, false, &[1, 20], &[20, 9]),
    ] {
        list.push(sample(Op::MatMul(MatMul { trans_a, trans_b }), &[a, b]));
    }
    list.push(sample(Op::Pointwise(Expr::identity()), &[x]));
    list.extend(Unary::ALL.iter().map(|&op| sample(Op::Pointwise(Expr::unary(op)), &[x])));
    for &op in Binary::ALL {
        for other in [x, &[12, 1, 1], &[6], &[]] {
            list.push(sample(Op::Pointwise(Expr::binary(op)), &[x, other]));
        }
    }
    for to in DType::ALL {
        let mut e = Expr::empty();
        let v = e.push(ExprNode::Input(0));
        e.push(ExprNode::Cast(to, v));
        list.push(sample(Op::Pointwise(e), &[x]));
    }
    let mut choice = Expr::empty();
    let [c, a, b] = [0, 1, 2].map(|i| choice.push(ExprNode::Input(i)));
    choice.push(ExprNode::Select(c, a, b));
    let choice = sample(Op::Pointwise(choice), &[x, x, x]);
    let mut operands = choice.operands;
    operands[0].1 = Some(DType::Bool);
    list.push(Sample { operands, ..choice });
    use ReduceKind::*;
    use ScatterReduction::{Add, Mul, Replace};
    for kind in [Sum, Mean, Max, Min, Prod, SumSquare, L1, L2, LogSum, LogSumExp] {
        for axes in [&[3][..], &[1], &[2, 3], &[0, 2], &[0, 1, 2, 3]] {
            for keep_dims in [false, true] {
                list.push(sample(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims }), &[x]));
            }
        }
    }
    for axis in [1, 3] {
        for largest in [false, true] {
            let op = ArgReduce { largest, axis, keep_dims: largest, last: !largest };
            list.push(sample(Op::ArgReduce(op), &[x]));
        }
        for log in [false, true] {
            list.push(sample(Op::Softmax(Softmax { axis, log }), &[x]));
        }
        list.push(sample(Op::LayerNorm(LayerNorm { axis, epsilon: 1e-5 }), &[x]));
        list.push(sample(Op::RmsNorm(RmsNorm { axis, epsilon: 1e-5 }), &[x]));
        list.push(sample(Op::Concat(Concat { axis }), &[x, x, x]));
        for indices in [DType::I32, DType::I64] {
            let mut s = sample(Op::Gather(Gather { axis }), &[x, &[3, 2]]);
            s.operands[1].1 = Some(indices);
            list.push(s);
            let mut s = sample(Op::GatherElements(GatherElements { axis }), &[x, x]);
            s.operands[1].1 = Some(indices);
            list.push(s);
        }
    }
    for (causal, mask) in [(None, None), (Some(0), None), (Some(2), Some(&[5, 9][..]))] {
        let op = Attention { causal, ..Attention::new(0.25) };
        let mut operands: Vec<&[usize]> = vec![&[2, 4, 5, 16], &[2, 2, 9, 16], &[2, 2, 9, 16]];
        operands.extend(mask);
        list.push(sample(Op::Attention(op), &operands));
    }
    for reduction in [Replace, Add, Mul, ScatterReduction::Max, ScatterReduction::Min] {
        let mut s = sample(Op::ScatterElements(ScatterElements { axis: 1, reduction }), &[x, x, x]);
        s.operands[1].1 = Some(DType::I64);
        list.push(s);
    }
    for largest in [false, true] {
        list.push(sample(Op::BitCast(BitCast { to: dtype }), &[x]));
        list.push(sample(Op::TopK(TopK { axis: 1, k: 5, largest }), &[x]));
    }
    let c: &[usize] = &[12];
    list.push(sample(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c, c, c, c]));
    list.push(sample(Op::LayerNorm(LayerNorm { axis: 3, epsilon: 1e-5 }), &[x, &[6], &[6]]));
    list.push(sample(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 1e-5 }), &[x, &[6]]));
    list.push(sample(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[x, c, c]));
    list.push(sample(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[x, c, c]));
    list.push(sample(Op::Lrn(Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }), &[x]));
    list.push(sample(Op::Reshape(Reshape { shape: Shape::known(&[24, 30]) }), &[x]));
    list.push(sample(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[x]));
    list.push(sample(Op::Transpose(Transpose { perm: vec![3, 1, 0, 2] }), &[x]));
    list.push(sample(Op::Expand(Expand { shape: Shape::known(&[3, 2, 7]) }), &[&[3, 1, 7]]));
    let part = SliceAxis { axis: 3, start: Dim::known(5), len: Dim::known(3), step: -2 };
    list.push(sample(Op::Slice(Slice { axes: vec![part] }), &[x]));
    for mode in [PadMode::Constant(Scalar::of(dtype, 1.0)), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        list.push(sample(Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (1, 2), (3, 0)], mode }), &[x]));
    }
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        let rows = kind.gates() * 8;
        let layer = Recurrent::new(kind, RecurrentDirection::Bidirectional);
        let operands: [&[usize]; 3] = [&[5, 2, 6], &[2, rows, 6], &[2, rows, 8]];
        list.push(sample(Op::Recurrent(layer.clone()), &operands));
        let (bias, states, p): ([usize; 2], &[usize], &[usize]) = ([2, 2 * rows], &[2, 2, 8], &[2, 24]);
        let lstm = kind == RecurrentKind::Lstm;
        let layer = Recurrent {
            bias: true,
            lengths: true,
            initial_h: true,
            initial_c: lstm,
            peepholes: lstm,
            ..layer
        };
        let mut all = operands.to_vec();
        all.extend([&bias[..], &[2], states]);
        if lstm {
            all.extend([states, p]);
        }
        let mut s = sample(Op::Recurrent(layer), &all);
        s.operands[4].1 = Some(DType::I32);
        list.push(s);
    }
    for antialias in [false, true] {
        for mode in [
            ResizeMode::Nearest(NearestMode::RoundPreferFloor),
            ResizeMode::Linear { antialias },
            ResizeMode::Cubic { coefficient: -0.75, exclude_outside: antialias, antialias },
        ] {
            let axis = |axis, size: usize, from: f32| ResizeAxis {
                axis,
                size: Dim::from(size),
                scale: size as f32 / from,
                roi: (0.0, 1.0),
            };
            let axes = vec![axis(2, 10, 5.0), axis(3, 3, 6.0)];
            let op = Resize { axes, mode, coordinates: CoordinateMode::HalfPixel, extrapolation: 0.0 };
            list.push(sample(Op::Resize(op), &[x]));
        }
    }
    list
}

/// The sample's problem for a type, with constants behind the first operand or without; none where the operation does
/// not take the type.
fn problem(s: &Sample, dtype: DType, constant: bool) -> Option<Problem> {
    let types: Vec<TensorType> =
        s.operands.iter().map(|(sizes, own)| TensorType::known(own.unwrap_or(dtype), sizes)).collect();
    let result = s.op.infer(&types.iter().collect::<Vec<_>>()).ok()?.remove(0);
    let operand = |(i, ty)| Operand { ty, constant: constant && i > 0 };
    Some(Problem {
        anchor: s.op.clone(),
        anchor_operands: types.len(),
        operands: types.into_iter().enumerate().map(operand).collect(),
        epilogue: Expr::identity(),
        output: result.clone(),
        result,
    })
}

#[test]
fn everything_that_a_graph_can_hold_runs_on_a_cpu() {
    let device = CpuDevice::new(Some(2)).unwrap();
    let mut missing = BTreeSet::new();
    for dtype in DType::ALL {
        for s in samples(dtype) {
            for constant in [false, true] {
                let Some(p) = problem(&s, dtype, constant) else { continue };
                if !tactics(&p, device.info()).iter().any(|t| t.workspace == 0) {
                    missing.insert(format!("{} {dtype}", s.op.name()));
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "no tactic on a CPU");
}

#[test]
fn everything_that_a_graph_can_hold_runs_on_a_gpu() {
    let (mut seen, mut missing, mut host) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for dtype in DType::ALL {
        for s in samples(dtype) {
            for constant in [false, true] {
                let Some(p) = problem(&s, dtype, constant) else { continue };
                seen.insert(s.op.name());
                let list = tactics(&p, &gpu());
                if !list.iter().any(|t| t.workspace == 0) {
                    missing.insert(p.to_string());
                } else if list.iter().all(|t| is_host(&t.id)) {
                    let narrow = dtype.is_narrow() || p.output.dtype.is_narrow();
                    let name = s.op.name();
                    host.insert(match s.op {
                        Op::Pointwise(_) if narrow => "pointwise with a narrow type".into(),
                        _ => format!("{name} {dtype}"),
                    });
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no tactic on a GPU for\n{}",
        missing.into_iter().collect::<Vec<_>>().join("\n")
    );
    // What has no kernel of the GPU yet; whoever writes one shortens this list.
    let wide = ["attention f64", "conv f64", "conv_transpose f64", "matmul f64"].map(str::to_owned);
    let integers = DType::ALL.into_iter().filter(|t| t.is_int()).map(|t| format!("matmul {t}"));
    let served = [DType::F32, DType::F16, DType::BF16];
    let others = DType::ALL.into_iter().filter(|t| t.is_float() && !served.contains(t));
    let recurrent = others.map(|t| format!("recurrent {t}"));
    let scattered = DType::ALL.into_iter().map(|t| format!("scatter_elements {t}"));
    let ordered = DType::ALL.into_iter().filter(|t| !t.is_narrow()).map(|t| format!("top_k {t}"));
    let narrow = ["pointwise with a narrow type".to_owned()];
    let all = wide.into_iter().chain(integers).chain(recurrent).chain(scattered).chain(ordered).chain(narrow);
    assert_eq!(host, all.collect());
    // The operations by name, as the graph's own source lists them.
    let source = include_str!("../../crates/ir/src/ops/mod.rs");
    let names: BTreeSet<&str> = source
        .lines()
        .filter_map(|l| l.trim().strip_prefix("Op::")?.split_once("=> \"")?.1.strip_suffix("\","))
        .collect();
    assert!(names.len() > 20);
    let own: BTreeSet<&str> = ["input", "const"].into();
    assert_eq!(names.difference(&seen).copied().collect::<BTreeSet<_>>(), own, "no sample of an operation");
}

#[test]
fn cpu_steps_come_only_where_nothing_else_is_acceptable() {
    let add = sample(Op::Pointwise(Expr::binary(Binary::Add)), &[&[4, 5], &[4, 5]]);
    let p = problem(&add, DType::F32, false).unwrap();
    assert!(!tactics(&p, &gpu()).iter().any(|t| is_host(&t.id)));
    let some = tactics_where(&p, &gpu(), |t| t.id.ends_with(".v4"));
    assert!(!some.is_empty() && !some.iter().any(|t| is_host(&t.id)));
    let none = tactics_where(&p, &gpu(), |_| false);
    assert!(none.iter().any(|t| t.id == "host.cpu/pointwise.cpu/plain") && none.len() > some.len());
    assert!(tactics_where(&p, &any_host(), |_| false).iter().all(|t| !is_host(&t.id)));
}

/// Whatever processor the host has, it can run what was planned for it.
#[test]
fn cpu_steps_can_be_prepared_on_any_host() {
    let devices: Vec<CpuDevice> = tactician_cpu::available_isas()
        .iter()
        .flat_map(|&isa| {
            [1, 3, HOST_THREADS].map(|n| CpuDevice::new(Some(n)).unwrap().with_isa(isa).unwrap())
        })
        .collect();
    let mut count = 0;
    for dtype in [DType::F32, DType::F16, DType::F64, DType::I32] {
        for s in samples(dtype) {
            let Some(p) = problem(&s, dtype, true) else { continue };
            let zeros = |ty: &TensorType| {
                let bytes = vec![0; ty.bytes().unwrap() as usize];
                Tensor::from_bytes(ty.dtype, &ty.sizes().unwrap(), bytes).unwrap()
            };
            let values: Vec<Option<Tensor>> =
                p.operands.iter().map(|o| o.constant.then(|| zeros(&o.ty))).collect();
            for t in FAMILY.tactics(&p, &gpu()) {
                assert_eq!((t.workspace, t.output), (0, Layout::Plain));
                let emission = t.emit(&values).unwrap();
                assert!(emission.packed.is_empty());
                let [step] = &emission.steps[..] else { panic!("{}", t.id) };
                let run: HostRun = postcard::from_bytes(&step.params).unwrap();
                let mut given = p.operands.iter().filter(|o| !o.constant).map(|o| o.ty.bytes().unwrap());
                let inputs: Vec<u64> = (run.inputs.iter())
                    .map(|i| match i {
                        HostInput::Given => given.next().unwrap(),
                        HostInput::Kept(bytes) => bytes.len() as u64,
                    })
                    .collect();
                let desc = StepDesc {
                    kernel: &run.kernel,
                    params: &run.params,
                    inputs: &inputs,
                    outputs: &[p.output.bytes().unwrap()],
                    scratch: run.scratch,
                    code: None,
                };
                for d in &devices {
                    if let Err(e) = d.prepare(&desc) {
                        panic!("{} on {}, {} threads: {e}", t.id, d.isa(), d.threads().count());
                    }
                    count += 1;
                }
            }
        }
    }
    assert!(count > 1000, "{count}");
}

#[test]
fn tactics_are_named_after_their_families() {
    for dtype in [DType::F32, DType::F16, DType::I64] {
        for s in samples(dtype) {
            let Some(p) = problem(&s, dtype, true) else { continue };
            for device in [gpu(), any_host()] {
                for f in ALL {
                    for t in f.tactics(&p, &device) {
                        assert_eq!(family_of(&t.id), f.id());
                    }
                }
            }
        }
    }
    let names = families();
    assert!(names.len() == ALL.len() + 1 && names.is_sorted() && names.contains(&"host.cpu"));
    let foreign: Vec<&str> = names.into_iter().filter(|n| library_of(n).is_some()).collect();
    let expected = [
        "attention.cudnn",
        "conv.cublaslt",
        "conv.cudnn",
        "matmul.cublaslt",
        "matmul.cudnn",
        "norm.cudnn",
        "pool.cudnn",
        "reduce.cudnn",
    ];
    assert_eq!(foreign, expected);
}
