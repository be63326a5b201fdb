//! Every tactic of every family goes through the gate: over shapes that reach the corners, for every instruction set
//! here, with one and two threads. And every problem has a tactic that needs no workspace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say what they skip"
)]

mod attention;
mod convolutions;
mod elements;
mod ends;
mod products;
mod recurrent;
mod rows;

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

/// A convolution over images of so many axes.
fn conv(spatial: usize, pad: usize, stride: usize, dilation: usize, groups: usize) -> Op {
    Op::Conv(Conv {
        strides: vec![stride; spatial],
        pads: vec![(pad, pad); spatial],
        dilations: vec![dilation; spatial],
        groups,
    })
}
