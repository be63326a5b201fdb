//! Every tactic of every family goes through the gate: over shapes that reach the corners, for every instruction set
//! here, with one and two threads. And every problem has a tactic that needs no workspace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say what they skip"
)]

use std::time::Duration;

use tactician::ir::*;
use tactician::tactics::is_host;
use tactician::tuning::{TacticTable, TuneOptions, Verdict, allowed, facts, tune};
use tactician::{CpuDevice, Device, DeviceName, TacticFilter};

/// Operands: sizes, type, and whether they are constant.
type Given<'a> = (&'a [usize], DType, bool);

const F: DType = DType::F32;

fn tensor(sizes: &[usize], dtype: DType) -> Tensor {
    let n: usize = sizes.iter().product();
    Tensor::from_bytes(dtype, sizes, vec![0; n * dtype.size()]).unwrap()
}

/// One operation and pointwise operations after it; each of these takes the value so far and one more operand.
fn problem(op: Op, operands: &[Given<'_>], after: &[(Expr, Option<Given<'_>>)]) -> Problem {
    let mut g = Graph::new("g");
    let add = |g: &mut Graph, (sizes, dtype, constant): Given<'_>| {
        let name = format!("v{}", g.len());
        if constant {
            g.add_constant(&name, tensor(sizes, dtype))
        } else {
            g.add_input(&name, TensorType::known(dtype, sizes)).unwrap()
        }
    };
    let inputs: Vec<ValueId> = operands.iter().map(|&o| add(&mut g, o)).collect();
    let mut value = g.add(op, &inputs, "anchor").unwrap();
    let mut nodes = vec![value.node()];
    for (i, (e, other)) in after.iter().enumerate() {
        let mut list = vec![value];
        list.extend(other.map(|o| add(&mut g, o)));
        value = g.add(Op::Pointwise(e.clone()), &list, &format!("after{i}")).unwrap();
        nodes.push(value.node());
    }
    g.mark_output("y", value);
    Region::new("test", &g, &nodes).expect("a region").problem(&g)
}

fn relu() -> (Expr, Option<Given<'static>>) {
    (Expr::unary(Unary::Relu), None)
}

/// `x · sigmoid(x)`.
fn silu() -> (Expr, Option<Given<'static>>) {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let s = e.push(ExprNode::Unary(Unary::Sigmoid, x));
    e.push(ExprNode::Binary(Binary::Mul, x, s));
    (e, None)
}

fn add(other: Given<'_>) -> (Expr, Option<Given<'_>>) {
    (Expr::binary(Binary::Add), Some(other))
}

/// Runs every tactic for the problems on every instruction set, and on the GPU where there is one, and checks the
/// verdicts. `TACTICIAN_TEST_DEVICE=cpu` or `=cuda` holds the tests to one kind.
fn all_pass(problems: &[Problem]) {
    on_cpu(problems);
    on_gpu(problems);
}

/// Whether tests are held to another kind of device.
fn is_held_from(device: &str) -> bool {
    std::env::var("TACTICIAN_TEST_DEVICE").is_ok_and(|only| !only.is_empty() && only != device)
}

fn on_cpu(problems: &[Problem]) {
    if is_held_from("cpu") {
        return;
    }
    for &isa in tactician::isas() {
        for threads in [1, 2] {
            let device = CpuDevice::new(Some(threads)).unwrap().with_isa(isa).unwrap();
            pass_on(&device, problems, TacticFilter::default(), &format!("{isa:?}, {threads} threads"));
        }
    }
}

/// As they are, and with 16-bit floats.
fn on_gpu(problems: &[Problem]) {
    if is_held_from("cuda") {
        return;
    }
    // Other types have other numbers of bits.
    let of_any_float = |p: &&Problem| !matches!(p.anchor, Op::BitCast(_));
    on_gpu_as_given(problems.iter().filter(|p| !of_any_float(p)).cloned().collect(), "as given");
    for dtype in [F, DType::F16, DType::BF16] {
        let list: Vec<Problem> =
            problems.iter().filter(of_any_float).map(|p| with_floats(p, dtype)).collect();
        on_gpu_as_given(list, &dtype.to_string());
    }
}

fn on_gpu_as_given(list: Vec<Problem>, what: &str) {
    let Some(device) = gpu() else { return };
    // A build divides what no kernel serves as a whole; fewer tactics than all serve fewer problems.
    let own = |p: &Problem| allowed(p, device.info(), &options(only())).iter().any(|t| !is_host(&t.id));
    let (served, rest): (Vec<Problem>, Vec<Problem>) = list.into_iter().partition(own);
    for p in rest {
        println!("not served by the GPU: {p}");
    }
    pass_on(device.as_ref(), &served, only(), &format!("GPU, {what}"));
}

/// The first GPU, with the CPU for what it has no kernel for.
fn gpu() -> Option<std::sync::Arc<dyn Device>> {
    match DeviceName::Cuda(0).open(None) {
        Ok(d) => Some(d),
        Err(e) => {
            println!("skipped on the GPU: {e}");
            None
        }
    }
}

/// `TACTICIAN_TEST_TACTICS=conv.cuda,matmul.cuda` holds tests to some families, as `--tactics` does builds.
fn only() -> TacticFilter {
    std::env::var("TACTICIAN_TEST_TACTICS").map_or(TacticFilter::default(), |list| list.parse().unwrap())
}

fn options(tactics: TacticFilter) -> TuneOptions {
    let mut options = TuneOptions { tf32: true, tactics, ..TuneOptions::default() };
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(20);
    options
}

/// The problem with another type in place of `f32`.
fn with_floats(problem: &Problem, dtype: DType) -> Problem {
    let mut p = problem.clone();
    let types = p.operands.iter_mut().map(|o| &mut o.ty).chain([&mut p.result, &mut p.output]);
    types.filter(|t| t.dtype == F).for_each(|t| t.dtype = dtype);
    if let Op::Pad(Pad { mode: PadMode::Constant(value), .. }) = &mut p.anchor
        && value.dtype == F
    {
        *value = Scalar::of(dtype, value.as_f64());
    }
    p
}

fn pass_on(device: &dyn Device, problems: &[Problem], tactics: TacticFilter, on: &str) {
    let options = options(tactics);
    let (mut text, mut table) = (Vec::new(), TacticTable::new());
    for p in problems {
        match tune(device, std::slice::from_ref(p), &mut table, &options, &mut |_| {}) {
            Ok(report) => {
                for (p, t, r) in &report.rejected {
                    let line = format!("{t} for {p}: {r}");
                    // What a vendor's engine gets wrong is what the gate is there for.
                    let foreign = t.contains(".cudnn/") || t.contains(".cublaslt/");
                    if foreign { println!("rejected {line}") } else { text.push(line) }
                }
                let context = table.context(&facts(device));
                let rows = table.rows(&context, &p.to_string()).unwrap();
                if !rows.values().any(|r| r.workspace == 0 && matches!(r.verdict, Verdict::Timed(_))) {
                    text.push(format!("nothing for {p} without workspace"));
                }
            }
            Err(e) => text.push(format!("{p}: {e}")),
        }
    }
    assert!(text.is_empty(), "{on}:\n{}", text.join("\n"));
}

fn conv(spatial: usize, pad: usize, stride: usize, dilation: usize, groups: usize) -> Op {
    Op::Conv(Conv {
        strides: vec![stride; spatial],
        pads: vec![(pad, pad); spatial],
        dilations: vec![dilation; spatial],
        groups,
    })
}

#[test]
fn convolutions() {
    let x: Given<'_> = (&[1, 16, 12, 12], F, false);
    let w: Given<'_> = (&[24, 16, 3, 3], F, true);
    let bias: Given<'_> = (&[24, 1, 1], F, true);
    let full: Given<'_> = (&[1, 24, 12, 12], F, false);
    all_pass(&[
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias), relu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias), add(full), silu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[1, 24, 12, 12], F, true))]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[12, 12], F, false))]),
        problem(conv(2, 2, 2, 2, 1), &[x, w], &[relu()]),
        problem(conv(2, 0, 1, 1, 1), &[x, (&[40, 16, 1, 1], F, true)], &[relu()]),
        problem(conv(2, 0, 2, 1, 1), &[x, (&[40, 16, 1, 1], F, true)], &[]),
        problem(conv(2, 3, 2, 1, 1), &[(&[2, 3, 17, 19], F, false), (&[20, 3, 7, 7], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 16), &[x, (&[16, 1, 3, 3], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 16), &[x, (&[32, 1, 3, 3], F, true)], &[]),
        problem(conv(2, 1, 1, 1, 2), &[(&[1, 32, 9, 9], F, false), (&[32, 16, 3, 3], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 3), &[(&[1, 9, 9, 9], F, false), (&[6, 3, 3, 3], F, true)], &[]),
        problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], F, false)], &[]),
        problem(conv(1, 1, 1, 1, 1), &[(&[2, 5, 30], F, false), (&[7, 5, 3], F, true)], &[relu()]),
        problem(conv(3, 1, 1, 1, 1), &[(&[1, 4, 5, 6, 7], F, false), (&[6, 4, 3, 3, 3], F, true)], &[]),
        problem(conv(2, 0, 1, 1, 1), &[(&[1, 1, 1, 1], F, false), (&[1, 1, 1, 1], F, true)], &[]),
    ]);
}

/// Few channels: windows over plain images, odd sizes and strides, filters that fill no tile.
#[test]
fn first_layers() {
    let first = |x: [usize; 4],
                 (filters, window): (usize, [usize; 2]),
                 strides: [usize; 2],
                 pads: [[usize; 2]; 2]| {
        let op = Op::Conv(Conv {
            strides: strides.to_vec(),
            pads: pads.map(|[a, b]| (a, b)).to_vec(),
            dilations: vec![1; 2],
            groups: 1,
        });
        let bias = [filters, 1, 1];
        let weights = [filters, x[1], window[0], window[1]];
        problem(op, &[(&x, F, false), (&weights, F, true)], &[add((&bias, F, true)), relu()])
    };
    all_pass(&[
        first([1, 3, 64, 64], (64, [7, 7]), [2, 2], [[3, 3], [3, 3]]),
        first([2, 3, 37, 53], (64, [7, 7]), [2, 2], [[3, 3], [3, 3]]),
        first([1, 3, 48, 40], (32, [3, 3]), [2, 2], [[1, 1], [1, 1]]),
        first([1, 3, 30, 36], (64, [3, 3]), [1, 1], [[1, 1], [1, 1]]),
        first([5, 1, 28, 28], (20, [5, 5]), [1, 1], [[2, 2], [2, 2]]),
        first([1, 3, 19, 27], (70, [5, 5]), [1, 1], [[2, 2], [2, 2]]),
        first([3, 2, 33, 34], (7, [3, 5]), [3, 3], [[0, 2], [2, 1]]),
        first([1, 4, 40, 48], (96, [4, 4]), [4, 4], [[0, 0], [0, 0]]),
        first([1, 4, 24, 32], (16, [4, 4]), [2, 2], [[1, 1], [1, 1]]),
        first([4, 3, 24, 38], (65, [8, 8]), [4, 2], [[5, 1], [5, 0]]),
        first([1, 4, 19, 22], (30, [8, 6]), [1, 3], [[9, 1], [11, 20]]),
    ]);
}

#[test]
fn transposed_convolutions() {
    let op = |stride: usize, pad: usize, extra: usize, groups: usize| {
        Op::ConvTranspose(ConvTranspose {
            strides: vec![stride; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            output_padding: vec![extra; 2],
            groups,
        })
    };
    all_pass(&[
        problem(op(2, 0, 0, 1), &[(&[1, 8, 6, 7], F, false), (&[8, 5, 2, 2], F, true)], &[relu()]),
        problem(op(2, 1, 1, 1), &[(&[2, 6, 5, 5], F, false), (&[6, 4, 3, 3], F, true)], &[]),
        problem(
            op(1, 1, 0, 2),
            &[(&[1, 8, 5, 5], F, false), (&[8, 3, 3, 3], F, true)],
            &[add((&[6, 1, 1], F, true))],
        ),
    ]);
}

#[test]
fn matrix_products() {
    let op = |trans_a, trans_b| Op::MatMul(MatMul { trans_a, trans_b });
    let bias: Given<'_> = (&[33], F, true);
    all_pass(&[
        problem(op(false, false), &[(&[7, 20], F, false), (&[20, 33], F, true)], &[add(bias), relu()]),
        problem(op(false, true), &[(&[1, 300], F, false), (&[33, 300], F, true)], &[add(bias)]),
        problem(op(false, false), &[(&[1, 300], F, false), (&[300, 33], F, true)], &[]),
        problem(op(true, false), &[(&[20, 7], F, false), (&[20, 33], F, false)], &[silu()]),
        problem(op(false, true), &[(&[2, 3, 9, 16], F, false), (&[2, 3, 11, 16], F, false)], &[]),
        problem(
            op(false, false),
            &[(&[2, 1, 9, 16], F, false), (&[3, 16, 5], F, false)],
            &[add((&[2, 3, 9, 5], F, false))],
        ),
        problem(op(false, false), &[(&[64, 128], F, false), (&[128, 96], F, true)], &[]),
    ]);
}

#[test]
fn pools() {
    let op = |kind, window: usize, stride: usize, pad: usize, ceil| {
        Op::Pool(Pool {
            kind,
            window: vec![window; 2],
            strides: vec![stride; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            ceil,
        })
    };
    let x: Given<'_> = (&[2, 19, 13, 11], F, false);
    all_pass(&[
        problem(op(PoolKind::Max, 3, 2, 1, false), &[x], &[]),
        problem(op(PoolKind::Max, 2, 2, 0, true), &[x], &[relu()]),
        problem(op(PoolKind::Average { count_pad: false }, 3, 1, 1, false), &[x], &[]),
        problem(
            op(PoolKind::Average { count_pad: true }, 3, 2, 1, true),
            &[x],
            &[add((&[19, 1, 1], F, true))],
        ),
        problem(op(PoolKind::Lp { p: 2 }, 2, 1, 0, false), &[x], &[]),
    ]);
}

#[test]
fn reductions_and_softmax() {
    let reduce =
        |kind, axes: &[usize], keep_dims| Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims });
    let x: Given<'_> = (&[2, 18, 7, 9], F, false);
    let mut list = Vec::new();
    for kind in [
        ReduceKind::Sum,
        ReduceKind::Mean,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::Prod,
        ReduceKind::SumSquare,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::LogSumExp,
    ] {
        list.push(problem(reduce(kind, &[3], false), &[x], &[]));
        list.push(problem(reduce(kind, &[2, 3], true), &[x], &[relu()]));
    }
    list.push(problem(reduce(ReduceKind::Mean, &[1], false), &[x], &[]));
    list.push(problem(reduce(ReduceKind::Sum, &[0, 2], true), &[x], &[]));
    for largest in [false, true] {
        list.push(problem(
            Op::ArgReduce(ArgReduce { largest, axis: 1, keep_dims: true, last: !largest }),
            &[x],
            &[],
        ));
    }
    for (axis, log) in [(3, false), (1, false), (1, true)] {
        list.push(problem(Op::Softmax(Softmax { axis, log }), &[x], &[]));
    }
    all_pass(&list);
}

/// Queries, keys and values, and perhaps a mask.
/// Sizes with their heads outside the length, which the operation may want inside.
fn attention(op: Attention, q: [usize; 4], kv: [usize; 4], dv: usize, mask: Option<&[usize]>) -> Problem {
    let v = [kv[0], kv[1], kv[2], dv];
    let given = [q, kv, v];
    let given: [Vec<usize>; 3] = std::array::from_fn(|i| match op.within[i] {
        // With a few more elements than it takes.
        Some(within) => vec![within.end().unwrap() + i],
        None => op.heads_outside(i, &given[i]).to_vec(),
    });
    let mut operands: Vec<Given<'_>> = given.iter().map(|sizes| (&sizes[..], F, false)).collect();
    operands.extend(mask.map(|m| (m, F, false)));
    problem(Op::Attention(op), &operands, &[])
}

/// Heads that share keys, masks that broadcast, causal ones that begin early and late, caps; sizes that fill no tile; heads
/// inside the length.
fn attentions() -> Vec<Problem> {
    let op = |scale, causal, softcap| Attention { causal, softcap, ..Attention::new(scale) };
    // Queries, keys and values of one position side by side, after those of all positions before.
    let packed = |sizes: [usize; 4], op| {
        let [_, h, s, d] = sizes;
        let within = |i: usize| HeadsIn { offset: i * h * d, sizes, strides: [3 * s * h * d, d, 3 * h * d] };
        Attention {
            within: [0, 1, 2].map(|i| Some(within(i))),
            heads_inside: [false, false, false, true],
            ..op
        }
    };
    let inside = |which: [usize; 4], op| Attention { heads_inside: which.map(|i| i == 1), ..op };
    vec![
        attention(op(0.125, None, 0.0), [1, 3, 50, 64], [1, 3, 50, 64], 64, None),
        attention(op(0.125, None, 0.0), [2, 4, 17, 32], [2, 4, 33, 32], 32, Some(&[2, 1, 1, 33])),
        attention(op(0.2, Some(0), 0.0), [1, 4, 70, 40], [1, 2, 70, 40], 40, None),
        attention(op(0.1, Some(30), 5.0), [1, 6, 35, 96], [1, 1, 65, 96], 96, Some(&[6, 35, 65])),
        attention(op(0.088, None, 0.0), [1, 2, 130, 128], [1, 2, 129, 128], 128, Some(&[130, 129])),
        attention(op(0.3, Some(-5), 0.0), [1, 1, 9, 8], [1, 1, 12, 8], 24, None),
        attention(op(1.0, None, 0.0), [1, 2, 1, 64], [1, 2, 300, 64], 64, Some(&[])),
        attention(op(0.0625, Some(3), 0.0), [1, 2, 20, 256], [1, 1, 24, 256], 200, Some(&[2, 1, 1])),
        attention(op(0.5, None, 1.0), [2, 1, 3, 5], [2, 1, 7, 5], 3, Some(&[2, 1, 3, 7])),
        attention(inside([1; 4], op(0.125, None, 0.0)), [2, 3, 50, 64], [2, 3, 70, 64], 64, None),
        attention(inside([1, 0, 0, 0], op(0.2, Some(2), 0.0)), [1, 4, 70, 40], [1, 2, 70, 40], 40, None),
        attention(
            inside([0, 1, 0, 1], op(0.2, None, 0.0)),
            [2, 6, 33, 32],
            [2, 3, 65, 32],
            48,
            Some(&[33, 65]),
        ),
        attention(packed([2, 8, 33, 64], op(0.125, Some(0), 0.0)), [2, 8, 33, 64], [2, 8, 33, 64], 64, None),
        attention(packed([1, 3, 40, 17], op(0.25, None, 0.0)), [1, 3, 40, 17], [1, 3, 40, 17], 17, None),
        attention(inside([1, 0, 1, 1], op(0.3, None, 3.0)), [2, 2, 9, 5], [2, 2, 11, 5], 3, None),
    ]
}

#[test]
fn attention_of_every_kind() {
    all_pass(&attentions());
}

#[test]
fn attention_of_other_floats() {
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let list: Vec<Problem> = attentions().iter().map(|p| with_floats(p, dtype)).collect();
        let device = CpuDevice::new(Some(2)).unwrap();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}

#[test]
fn normalisations() {
    let x: Given<'_> = (&[2, 12, 5, 6], F, false);
    let c: Given<'_> = (&[12], F, true);
    let last: Given<'_> = (&[6], F, true);
    all_pass(&[
        problem(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c, c, c, c], &[relu()]),
        problem(Op::LayerNorm(LayerNorm { axis: 3, epsilon: 1e-5 }), &[x, last, last], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[x], &[]),
        problem(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 1e-5 }), &[x, last], &[]),
        problem(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[x, c, c], &[relu()]),
        problem(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::Lrn(Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }), &[x], &[]),
    ]);
}

/// What has kernels of `f32` for most, on the CPU, in the other types of floats; `all_pass` does the short ones on a GPU.
#[test]
fn rows_of_every_float_type() {
    let x: Given<'_> = (&[2, 12, 5, 6], F, false);
    let c: Given<'_> = (&[12], F, true);
    let (last, given): (Given<'_>, Given<'_>) = ((&[6], F, true), (&[5, 6], F, false));
    let list = [
        problem(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[x, c, c, c, c], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 3, epsilon: 1e-5 }), &[x, last, last], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 2, epsilon: 1e-5 }), &[x, given], &[]),
        problem(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }), &[x], &[]),
        problem(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 1e-5 }), &[x, last], &[]),
        problem(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[x, c, c], &[]),
        problem(Op::Lrn(Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }), &[x], &[]),
        problem(Op::Softmax(Softmax { axis: 3, log: false }), &[x], &[]),
        problem(Op::Softmax(Softmax { axis: 1, log: true }), &[x], &[]),
    ];
    let device = CpuDevice::new(Some(2)).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let list: Vec<Problem> = list.iter().map(|p| with_floats(p, dtype)).collect();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}

#[test]
fn pointwise() {
    let x: Given<'_> = (&[2, 18, 7, 9], F, false);
    let two = |op| Op::Pointwise(Expr::binary(op));
    let mut list = vec![
        problem(Op::Pointwise(silu().0), &[x], &[]),
        problem(two(Binary::Add), &[x, x], &[relu()]),
        problem(two(Binary::Mul), &[x, (&[2, 18, 1, 1], F, false)], &[]),
        problem(two(Binary::Sub), &[x, (&[18, 1, 1], F, true)], &[]),
        problem(two(Binary::Div), &[x, (&[9], F, true)], &[]),
        problem(two(Binary::Max), &[x, (&[], F, true)], &[]),
        problem(two(Binary::Add), &[(&[5, 1, 3], F, false), (&[4, 1], F, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[], F, false)], &[]),
        problem(two(Binary::Add), &[(&[300], DType::I64, false), (&[300], DType::I64, true)], &[]),
        problem(two(Binary::Lt), &[(&[3, 5], F, false), (&[5], F, false)], &[]),
        problem(two(Binary::And), &[(&[33], DType::Bool, false), (&[33], DType::Bool, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[3, 7], DType::F16, false)], &[]),
        problem(two(Binary::Mul), &[(&[3, 7], DType::F64, false), (&[7], DType::F64, true)], &[]),
    ];
    let mut pairs: Vec<(DType, DType)> =
        [DType::I32, DType::F16, DType::BF16, DType::F64, DType::Bool, DType::U8].map(|to| (F, to)).into();
    for narrow in DType::ALL.into_iter().filter(|t| t.is_narrow()) {
        pairs.extend([(F, narrow), (narrow, F), (DType::F16, narrow), (narrow, DType::I32)]);
        let choice = Expr::from_nodes(vec![
            ExprNode::Input(0),
            ExprNode::Input(1),
            ExprNode::Input(2),
            ExprNode::Select(0, 1, 2),
        ]);
        let x: Given<'_> = (&[7, 9], narrow, false);
        let c: Given<'_> = (&[7, 1], DType::Bool, false);
        list.push(problem(Op::Pointwise(choice.unwrap()), &[c, x, (&[9], narrow, true)], &[]));
    }
    for (from, to) in pairs {
        let mut e = Expr::empty();
        let v = e.push(ExprNode::Input(0));
        e.push(ExprNode::Cast(to, v));
        list.push(problem(Op::Pointwise(e), &[(&[4, 9], from, false)], &[]));
    }
    all_pass(&list);
}

#[test]
fn movement() {
    let types = [F, DType::I64, DType::F16, DType::Bool, DType::F8E5M2, DType::I4];
    let mut list = Vec::new();
    for t in types {
        let x: Given<'_> = (&[2, 32, 5, 6], t, false);
        list.push(problem(Op::Reshape(Reshape { shape: Shape::known(&[64, 30]) }), &[x], &[]));
        list.push(problem(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[x], &[]));
        list.push(problem(Op::Transpose(Transpose { perm: vec![3, 1, 0, 2] }), &[x], &[]));
        list.push(problem(
            Op::Expand(Expand { shape: Shape::known(&[3, 2, 7]) }),
            &[(&[3, 1, 7], t, false)],
            &[],
        ));
        let part = |axis, start: i64, len: i64, step| SliceAxis {
            axis,
            start: Dim::known(start),
            len: Dim::known(len),
            step,
        };
        list.push(problem(Op::Slice(Slice { axes: vec![part(1, 16, 16, 1), part(3, 5, 3, -2)] }), &[x], &[]));
        list.push(problem(Op::Slice(Slice { axes: vec![part(1, 16, 16, 1)] }), &[x], &[]));
        list.push(problem(
            Op::Concat(Concat { axis: 1 }),
            &[x, (&[2, 16, 5, 6], t, false), (&[2, 3, 5, 6], t, false)],
            &[],
        ));
        list.push(problem(Op::Concat(Concat { axis: 3 }), &[x, (&[2, 32, 5, 1], t, true)], &[]));
        for mode in [PadMode::Constant(Scalar::of(t, 1.0)), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
            list.push(problem(Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (1, 2), (3, 0)], mode }), &[x], &[]));
        }
        list.push(problem(Op::Gather(Gather { axis: 1 }), &[x, (&[3, 2], DType::I64, false)], &[]));
        list.push(problem(
            Op::GatherElements(GatherElements { axis: 3 }),
            &[x, (&[2, 32, 5, 4], DType::I32, false)],
            &[],
        ));
        let reductions = [ScatterReduction::Replace, ScatterReduction::Add, ScatterReduction::Max];
        for reduction in reductions.into_iter().take(if t.is_float() || t.is_int() { 3 } else { 1 }) {
            let op = ScatterElements { axis: 1, reduction };
            let part: &[usize] = &[2, 9, 5, 4];
            list.push(problem(
                Op::ScatterElements(op),
                &[x, (part, DType::I64, false), (part, x.1, false)],
                &[],
            ));
        }
        let own = x.1;
        let same =
            DType::ALL.into_iter().filter(|t| t.bits() == own.bits() && own.bits() >= 8 && *t != DType::Bool);
        list.extend(same.map(|to| problem(Op::BitCast(BitCast { to }), &[x], &[])));
        // There is no order of narrow types.
        let orders = [(3, 3, true), (1, 32, false)].into_iter().filter(|_| !t.is_narrow());
        list.extend(orders.map(|(axis, k, largest)| problem(Op::TopK(TopK { axis, k, largest }), &[x], &[])));
    }
    all_pass(&list);
}

#[test]
fn resampling() {
    let mut list = Vec::new();
    let modes = [
        ResizeMode::Nearest(NearestMode::RoundPreferFloor),
        ResizeMode::Nearest(NearestMode::Ceil),
        ResizeMode::Linear { antialias: false },
        ResizeMode::Cubic { coefficient: -0.75, exclude_outside: false, antialias: false },
    ];
    for mode in modes {
        for coordinates in
            [CoordinateMode::HalfPixel, CoordinateMode::Asymmetric, CoordinateMode::AlignCorners]
        {
            for (h, w) in [(10usize, 12usize), (3, 9)] {
                let axis = |axis, size: usize, from: f32| ResizeAxis {
                    axis,
                    size: Dim::from(size),
                    scale: size as f32 / from,
                    roi: (0.0, 1.0),
                };
                let op = Resize {
                    axes: vec![axis(2, h, 5.0), axis(3, w, 6.0)],
                    mode,
                    coordinates,
                    extrapolation: 0.0,
                };
                list.push(problem(Op::Resize(op), &[(&[2, 18, 5, 6], F, false)], &[]));
            }
        }
    }
    all_pass(&list);
}

/// Layers of every kind: sizes that fill vectors and that do not, every optional operand, every function of a gate.
fn recurrent_layers() -> Vec<Problem> {
    use GateFunction::*;
    let functions = [
        Sigmoid,
        Tanh,
        Relu,
        Affine,
        LeakyRelu,
        ThresholdedRelu,
        ScaledTanh,
        HardSigmoid,
        Elu,
        Softsign,
        Softplus,
    ];
    let mut list = Vec::new();
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        let lstm = kind == RecurrentKind::Lstm;
        let mut turn = 0;
        for direction in
            [RecurrentDirection::Forward, RecurrentDirection::Reverse, RecurrentDirection::Bidirectional]
        {
            let d = direction.count();
            for (time, batch, width, hidden) in
                [(1, 1, 3, 5), (7, 3, 20, 16), (4, 2, 33, 35), (0, 2, 3, 4), (2, 3, 5, 1), (3, 17, 8, 24)]
            {
                let rows = kind.gates() * hidden;
                let (x, w, r) = ([time, batch, width], [d, rows, width], [d, rows, hidden]);
                let mut operands: Vec<Given<'_>> = vec![(&x, F, false), (&w, F, true), (&r, F, true)];
                let plain = Recurrent::new(kind, direction);
                list.push(problem(Op::Recurrent(plain.clone()), &operands, &[]));
                let (b, l, state, p) = ([d, 2 * rows], [batch], [d, batch, hidden], [d, 3 * hidden]);
                operands.extend([(&b[..], F, true), (&l, DType::I32, false), (&state, F, false)]);
                if lstm {
                    operands.extend([(&state[..], F, false), (&p, F, true)]);
                }
                turn += 1;
                let mut full = Recurrent {
                    clip: (turn % 2 == 0).then_some(0.75),
                    linear_before_reset: kind == RecurrentKind::Gru && turn % 3 != 0,
                    input_forget: lstm && turn % 3 == 0,
                    bias: true,
                    lengths: true,
                    initial_h: true,
                    initial_c: lstm,
                    peepholes: lstm,
                    ..plain
                };
                list.push(problem(Op::Recurrent(full.clone()), &operands, &[]));
                // Functions without bounds would let states grow out of the range of short floats.
                full.clip = Some(2.0);
                for f in &mut full.functions {
                    turn += 1;
                    *f =
                        GateActivation { function: functions[turn % functions.len()], alpha: 0.3, beta: 0.4 };
                }
                list.push(problem(Op::Recurrent(full), &operands, &[]));
            }
        }
    }
    list
}

#[test]
fn recurrent() {
    let list = recurrent_layers();
    on_cpu(&list);
    // A GPU's kernels are compiled for each layer: some of every kind and size will do.
    on_gpu(&list.into_iter().step_by(7).collect::<Vec<_>>());
}

/// Sizes of real layers: units that clusters share, whose weights fit into shared memory or do not, batches of several
/// tiles.
#[test]
fn recurrent_layers_on_the_gpu() {
    let mut list = Vec::new();
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        for (i, [time, batch, width, hidden]) in
            [[40, 33, 31, 128], [9, 1, 64, 256], [6, 9, 24, 200], [3, 12, 512, 640], [12, 2, 0, 72]]
                .into_iter()
                .enumerate()
        {
            let (direction, gru) = (
                [RecurrentDirection::Bidirectional, RecurrentDirection::Reverse, RecurrentDirection::Forward]
                    [i % 3],
                kind == RecurrentKind::Gru,
            );
            let layer = Recurrent {
                bias: true,
                lengths: i % 2 == 0,
                initial_h: i != 1,
                linear_before_reset: gru && i % 2 == 1,
                ..Recurrent::new(kind, direction)
            };
            let (d, rows) = (direction.count(), kind.gates() * hidden);
            let (x, w, r, b) = ([time, batch, width], [d, rows, width], [d, rows, hidden], [d, 2 * rows]);
            let (lengths, state) = ([batch], [d, batch, hidden]);
            let mut operands: Vec<Given<'_>> =
                vec![(&x, F, false), (&w, F, true), (&r, F, i != 2), (&b, F, true)];
            if layer.lengths {
                operands.push((&lengths, DType::I32, false));
            }
            if layer.initial_h {
                operands.push((&state, F, false));
            }
            list.push(problem(Op::Recurrent(layer), &operands, &[]));
        }
    }
    on_gpu(&list);
}

/// Other types of floats, on the CPU; `all_pass` does the short ones on a GPU.
#[test]
fn recurrent_of_every_float_type() {
    let device = CpuDevice::new(Some(2)).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let list: Vec<Problem> = recurrent_layers().iter().map(|p| with_floats(p, dtype)).collect();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}

#[test]
fn layouts_change_both_ways() {
    let identity = || Op::Pointwise(Expr::identity());
    all_pass(&[
        problem(identity(), &[(&[2, 19, 5, 6], F, false)], &[]),
        problem(identity(), &[(&[1, 32, 7], F, false)], &[]),
        problem(identity(), &[(&[2, 3, 4, 5], DType::F16, false)], &[]),
        problem(identity(), &[(&[6, 5], F, false)], &[]),
    ]);
}

/// Shapes of real networks, where the tiles and splits of tensor-core kernels differ.
#[test]
fn convolutions_of_networks_on_the_gpu() {
    let c = |n: usize, c: usize, k: usize, size: usize, window: usize, stride: usize, residual: bool| {
        let out = (size + 2 * (window / 2) - window) / stride + 1;
        let (x, w) = ([n, c, size, size], [k, c, window, window]);
        let (bias, full) = ([k, 1, 1], [n, k, out, out]);
        let mut after = vec![add((&bias, F, true))];
        if residual {
            after.push(add((&full, F, false)));
        }
        after.push(relu());
        problem(conv(2, window / 2, stride, 1, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        c(1, 64, 64, 56, 3, 1, false),
        c(1, 64, 256, 56, 1, 1, true),
        c(2, 128, 128, 28, 3, 2, false),
        c(1, 256, 1024, 14, 1, 1, true),
        c(3, 256, 256, 14, 3, 1, false),
        c(1, 512, 512, 7, 3, 1, false),
        c(1, 1024, 2048, 14, 1, 2, false),
        c(1, 3, 64, 64, 7, 2, false),
        c(1, 24, 40, 9, 5, 1, true),
    ]);
}

/// Products whose rows lie along the depth: tiles that stick out below and beside, depths that end within a stage, more
/// tiles than blocks, several products that share an operand or not.
#[test]
fn products_of_rows_on_the_gpu() {
    let product = |a: &[usize], b: &[usize], constant, after: &[(Expr, Option<Given<'_>>)]| {
        let op = Op::MatMul(MatMul { trans_a: false, trans_b: true });
        problem(op, &[(a, F, false), (b, F, constant)], after)
    };
    let pointwise = |n: usize, c: usize, k: usize, size: usize, residual: bool| {
        let (x, w, bias, full) = ([n, c, size, size], [k, c, 1, 1], [k, 1, 1], [n, k, size, size]);
        let mut after = vec![add((&bias, F, true))];
        if residual {
            after.push(add((&full, F, false)));
        }
        after.push(silu());
        problem(conv(2, 0, 1, 1, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        product(&[130, 200], &[136, 200], true, &[add((&[136], F, true)), relu()]),
        product(&[257, 72], &[33, 72], true, &[]),
        product(&[64, 1000], &[100, 1000], false, &[silu()]),
        product(&[3, 70, 64], &[3, 42, 64], false, &[add((&[3, 70, 42], F, false))]),
        product(&[100, 40], &[5, 90, 40], false, &[]),
        product(&[700, 256], &[520, 256], true, &[relu()]),
        pointwise(1, 72, 40, 9, true),
        pointwise(3, 64, 264, 14, true),
        pointwise(5, 32, 33, 20, false),
        pointwise(48, 64, 256, 28, true),
        pointwise(21, 512, 256, 28, false),
        pointwise(40, 256, 520, 28, false),
        pointwise(21, 512, 260, 28, false),
        pointwise(4, 512, 260, 28, true),
        product(&[1300, 192], &[1000, 192], true, &[add((&[1300, 1000], F, false)), relu()]),
        product(&[130, 2048], &[136, 2048], true, &[add((&[136], F, true)), relu()]),
        pointwise(1, 2048, 264, 7, true),
        pointwise(4, 1024, 520, 14, true),
        product(&[9000, 128], &[392, 128], true, &[add((&[392], F, true)), add((&[9000, 392], F, false))]),
    ]);
}

/// Windows over whole images, with strides, paddings and dilations, over channels that fill a stage or nearly.
#[test]
fn windows_over_many_channels_on_the_gpu() {
    let c = |x: [usize; 4], k: usize, window: usize, (pad, stride, dilation): (usize, usize, usize)| {
        let out = |size: usize| (size + 2 * pad - dilation * (window - 1) - 1) / stride + 1;
        let (w, bias) = ([k, x[1], window, window], [k, 1, 1]);
        let full = [x[0], k, out(x[2]), out(x[3])];
        let mut after = vec![add((&bias, F, true))];
        if stride == 1 {
            after.push(add((&full, F, false)));
        }
        after.push(relu());
        problem(conv(2, pad, stride, dilation, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        c([2, 64, 13, 11], 72, 3, (1, 1, 1)),
        c([1, 128, 17, 24], 40, 3, (1, 2, 1)),
        c([3, 48, 12, 9], 64, 3, (2, 1, 2)),
        c([2, 64, 15, 16], 130, 1, (0, 2, 1)),
        c([2, 192, 19, 20], 33, 5, (2, 3, 1)),
        c([1, 64, 30, 30], 64, 2, (0, 1, 7)),
        c([20, 64, 28, 28], 264, 3, (1, 1, 1)),
        c([1, 128, 14, 13], 200, 3, (1, 1, 1)),
        c([1, 512, 7, 7], 520, 3, (1, 1, 1)),
        c([2, 96, 9, 14], 72, 5, (4, 1, 2)),
        problem(conv(1, 1, 1, 1, 1), &[(&[5, 64, 30], F, false), (&[48, 64, 3], F, true)], &[silu()]),
    ]);
}

/// A node that converts to a type.
fn cast(to: DType) -> Op {
    let mut e = Expr::identity();
    e.push(ExprNode::Cast(to, 0));
    Op::Pointwise(e)
}

/// Networks of 16-bit floats whose inputs and outputs are `f32`: the ends are converted by the operations next to them.
#[test]
fn conversions_at_the_ends_on_the_gpu() {
    let mut list = Vec::new();
    for short in [DType::F16, DType::BF16] {
        let wide = || match cast(F) {
            Op::Pointwise(e) => (e, None),
            _ => unreachable!(),
        };
        let first = |x: [usize; 4], k: usize, window: usize, stride: usize| {
            let mut g = Graph::new("g");
            let image = g.add_input("x", TensorType::known(F, &x)).unwrap();
            let low = g.add(cast(short), &[image], "low").unwrap();
            let w = g.add_constant("w", tensor(&[k, x[1], window, window], short));
            let b = g.add_constant("b", tensor(&[k, 1, 1], short));
            let y = g.add(conv(2, window / 2, stride, 1, 1), &[low, w], "conv").unwrap();
            let y = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, b], "bias").unwrap();
            let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[y], "relu").unwrap();
            g.mark_output("y", y);
            let nodes: Vec<NodeId> = g
                .topo()
                .into_iter()
                .filter(|&n| !matches!(g.node(n).op, Op::Input | Op::Constant(_)))
                .collect();
            Region::new("test", &g, &nodes).expect("a region").problem(&g)
        };
        let x: Given<'_> = (&[2, 16, 7, 9], short, false);
        list.extend([
            first([1, 3, 224, 224], 64, 7, 2),
            first([2, 3, 33, 31], 32, 3, 2),
            first([1, 1, 17, 19], 20, 5, 1),
            first([3, 4, 20, 20], 24, 3, 1),
            problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], short, true)], &[relu(), wide()]),
            problem(conv(2, 0, 1, 1, 1), &[x, (&[255, 16, 1, 1], short, true)], &[wide()]),
            problem(conv(2, 1, 1, 1, 16), &[x, (&[16, 1, 3, 3], short, true)], &[wide()]),
            problem(conv(2, 1, 1, 1, 4), &[x, (&[16, 4, 3, 3], short, true)], &[wide()]),
            problem(
                Op::MatMul(MatMul { trans_a: false, trans_b: true }),
                &[(&[1, 2048], short, false), (&[1000, 2048], short, true)],
                &[add((&[1000], short, true)), wide()],
            ),
            problem(
                Op::MatMul(MatMul { trans_a: false, trans_b: false }),
                &[(&[100, 72], short, false), (&[72, 33], short, false)],
                &[wide()],
            ),
            problem(Op::Softmax(Softmax { axis: 1, log: false }), &[(&[3, 1000], short, false)], &[wide()]),
            problem(
                Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true }),
                &[x],
                &[wide()],
            ),
            problem(
                Op::Pool(Pool {
                    kind: PoolKind::Max,
                    window: vec![3; 2],
                    strides: vec![2; 2],
                    pads: vec![(1, 1); 2],
                    dilations: vec![1; 2],
                    ceil: false,
                }),
                &[x],
                &[wide()],
            ),
            problem(
                Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }),
                &[(&[5, 64], short, false)],
                &[wide()],
            ),
            problem(cast(short), &[(&[2, 16, 7, 9], F, false)], &[relu(), wide()]),
        ]);
    }
    on_gpu_as_given(list, "f32 outside");
}

/// The CPU's tactics as steps of a GPU's plan: what has no kernel there, and what could do without them.
#[test]
fn steps_of_the_cpu_on_the_gpu() {
    let Some(device) = gpu() else { return };
    let x: Given<'_> = (&[1, 16, 12, 12], F, false);
    let w: Given<'_> = (&[24, 16, 3, 3], F, true);
    let matmul = || Op::MatMul(MatMul { trans_a: false, trans_b: false });
    let mut list = vec![
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[24, 1, 1], F, true)), relu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], F, false)], &[]),
        problem(matmul(), &[(&[7, 20], F, false), (&[20, 33], F, true)], &[relu()]),
        problem(Op::Softmax(Softmax { axis: 1, log: false }), &[(&[2, 18, 7, 9], F, false)], &[]),
        problem(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[(&[2, 32, 5, 6], F, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[], F, false)], &[]),
    ];
    let bias: Given<'_> = (&[24, 1, 1], F, true);
    for dtype in [DType::F64, DType::I64] {
        list.push(problem(matmul(), &[(&[7, 20], dtype, false), (&[20, 33], dtype, true)], &[]));
    }
    list.push(with_floats(&problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias)]), DType::F64));
    pass_on(device.as_ref(), &list, "host.cpu".parse().unwrap(), "CPU steps on the GPU");
}
