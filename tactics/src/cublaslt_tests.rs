//! Calls are held against the reference by computing them as the library is told to, in plain loops over its
//! column-major terms.

use tactician_cuda::cublaslt::{Factor, Place};
use tactician_device::CudaInfo;
use tactician_ir::{Conv, Graph, MatMul, Region, Scalar, Tensor, ValueId};
use tactician_reference::{eval_problem, random_operands};

use super::*;
use crate::layout::{from_plain, to_plain};

/// The call on operands in their layouts, as `f64`.
fn emulate(gemm: &Gemm, inputs: &Inputs, operands: &[Vec<f64>]) -> Vec<f64> {
    let extents = gemm.check().unwrap();
    let size = gemm.dtype.size() as u64;
    let mut d = vec![f64::NAN; (extents.d / size) as usize];
    let of = |i: u16| &operands[usize::from(i)];
    let (a, b) = (of(inputs.a), of(inputs.b));
    assert!(a.len() as u64 >= extents.a / size && b.len() as u64 >= extents.b / size);
    let at =
        |p: Place, batch: u64, row: u64, column: u64| (batch * p.step + column * p.leading + row) as usize;
    let read = |m: &[f64], f: Factor, batch, row, column| {
        m[if f.transposed { at(f.place, batch, column, row) } else { at(f.place, batch, row, column) }]
    };
    for z in 0..gemm.batch {
        for i in 0..gemm.m {
            for j in 0..gemm.n {
                let sum: f64 = (0..gemm.k).map(|l| read(a, gemm.a, z, i, l) * read(b, gemm.b, z, l, j)).sum();
                let place = at(gemm.d, z, i, j);
                let mut x = f64::from(gemm.alpha) * sum;
                x += inputs.residual.map_or(0.0, |r| of(r)[place]);
                x += inputs.bias.map_or(0.0, |v| of(v)[i as usize]);
                d[place] = match gemm.activation {
                    Activation::Identity => x,
                    Activation::Relu => x.max(0.0),
                    Activation::Gelu => {
                        let t = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                        0.5 * x * (1.0 + t.tanh())
                    }
                };
            }
        }
    }
    d
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
}

/// Holds the call for a problem against the reference.
#[track_caller]
fn same_as_the_reference(problem: &Problem, call: &Call) {
    let operands = random_operands(problem, 7).unwrap();
    let list: Vec<&Tensor> = operands.iter().collect();
    let want = eval_problem(problem, &list).unwrap();
    let stored: Vec<Vec<f64>> = operands
        .iter()
        .zip(&call.layouts)
        .map(|(t, &l)| floats(&from_plain(t.bytes(), 4, t.sizes(), l)))
        .collect();
    let got = emulate(&call.gemm, &call.inputs, &stored);
    let bytes: Vec<u8> = got.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    let got = floats(&to_plain(&bytes, 4, want.sizes(), call.output));
    let want = floats(want.bytes());
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= 1e-4 * w.abs().max(1.0), "{problem}: element {i} is {g}, not {w}");
    }
}

/// An anchor and expressions behind it, each of which takes the value so far and new operands.
fn problem_of(dtype: DType, anchor: Op, operands: &[&[usize]], after: &[(Expr, &[&[usize]])]) -> Problem {
    let mut g = Graph::new("g");
    let add = |g: &mut Graph, sizes: &[usize]| {
        let name = format!("v{}", g.len());
        g.add_input(&name, TensorType::known(dtype, sizes)).unwrap()
    };
    let inputs: Vec<ValueId> = operands.iter().map(|s| add(&mut g, s)).collect();
    let mut value = g.add(anchor, &inputs, "anchor").unwrap();
    let mut nodes = vec![value.node()];
    for (expr, more) in after {
        let mut list = vec![value];
        list.extend(more.iter().map(|s| add(&mut g, s)));
        value = g.add(Op::Pointwise(expr.clone()), &list, "after").unwrap();
        nodes.push(value.node());
    }
    g.mark_output("y", value);
    Region::new("test", &g, &nodes).unwrap().problem(&g)
}

fn product(trans_a: bool, trans_b: bool) -> Op {
    Op::MatMul(MatMul { trans_a, trans_b })
}

const RELU: fn() -> Expr = || Expr::unary(Unary::Relu);
const ADD: fn() -> Expr = || Expr::binary(Binary::Add);

/// A function of one input and constants.
fn built(f: impl FnOnce(&mut Expr, ExprId) -> ExprId) -> Expr {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let root = f(&mut e, x);
    e.finish(root)
}

fn with(e: &mut Expr, op: Binary, x: ExprId, c: f64) -> ExprId {
    let c = e.push(ExprNode::Const(Scalar::float(DType::F32, c)));
    e.push(ExprNode::Binary(op, x, c))
}

fn gelu(third: f64) -> Expr {
    built(|e, x| {
        let square = e.push(ExprNode::Binary(Binary::Mul, x, x));
        let cube = e.push(ExprNode::Binary(Binary::Mul, square, x));
        let small = with(e, Binary::Mul, cube, third);
        let sum = e.push(ExprNode::Binary(Binary::Add, x, small));
        let scaled = with(e, Binary::Mul, sum, 0.797_884_560_8);
        let tanh = e.push(ExprNode::Unary(Unary::Tanh, scaled));
        let one = with(e, Binary::Add, tanh, 1.0);
        let half = with(e, Binary::Mul, x, 0.5);
        e.push(ExprNode::Binary(Binary::Mul, half, one))
    })
}

#[test]
fn matrix_products_are_called_right() {
    let f = DType::F32;
    let bias: (Expr, &[&[usize]]) = (ADD(), &[&[5]]);
    let cases = [
        problem_of(f, product(false, false), &[&[3, 4], &[4, 5]], &[]),
        problem_of(f, product(true, false), &[&[4, 3], &[4, 5]], &[bias.clone(), (RELU(), &[])]),
        problem_of(f, product(false, true), &[&[3, 4], &[5, 4]], &[bias.clone(), (ADD(), &[&[3, 5]])]),
        problem_of(f, product(true, true), &[&[4, 3], &[5, 4]], &[(gelu(0.044_715), &[])]),
        problem_of(f, product(false, false), &[&[2, 3, 4], &[4, 5]], std::slice::from_ref(&bias)),
        problem_of(f, product(true, false), &[&[2, 4, 3], &[4, 5]], std::slice::from_ref(&bias)),
        problem_of(f, product(false, true), &[&[2, 6, 3, 4], &[2, 6, 5, 4]], &[(RELU(), &[])]),
        problem_of(f, product(false, false), &[&[3, 4], &[6, 4, 5]], &[(ADD(), &[&[6, 3, 5]])]),
        problem_of(f, product(false, false), &[&[1, 4], &[4, 5]], &[bias.clone(), (ADD(), &[&[1, 5]])]),
        problem_of(f, product(false, false), &[&[3, 4], &[4, 1]], &[(ADD(), &[&[1]])]),
        problem_of(
            f,
            product(false, true),
            &[&[2, 3, 8], &[2, 5, 8]],
            &[(built(|e, x| with(e, Binary::Div, x, 8.0)), &[])],
        ),
    ];
    for p in &cases {
        same_as_the_reference(p, &matmul(p).unwrap_or_else(|| panic!("no call for {p}")));
    }
    let call = matmul(&cases[4]).unwrap();
    assert_eq!((call.gemm.n, call.gemm.batch), (6, 1), "a batch of the left operand becomes rows");
    assert_eq!(matmul(&cases[7]).unwrap().gemm.b.place.step, 0, "a shared operand repeats");
}

#[test]
fn convolutions_are_called_right() {
    let f = DType::F32;
    let unit = || Op::Conv(Conv::unit(2));
    let (x, w): (&[usize], &[usize]) = (&[2, 4, 3, 5], &[6, 4, 1, 1]);
    let bias: (Expr, &[&[usize]]) = (ADD(), &[&[6, 1, 1]]);
    let cases = [
        problem_of(f, unit(), &[x, w], &[]),
        problem_of(f, unit(), &[x, w], &[bias.clone(), (RELU(), &[])]),
        problem_of(f, unit(), &[x, w], &[bias.clone(), (ADD(), &[&[2, 6, 3, 5]]), (RELU(), &[])]),
        problem_of(f, unit(), &[x, w], &[(ADD(), &[&[2, 6, 3, 5]]), bias.clone()]),
        problem_of(f, Op::Conv(Conv::unit(1)), &[&[2, 4, 9], &[6, 4, 1]], &[(ADD(), &[&[6, 1]])]),
        problem_of(f, Op::Conv(Conv::unit(3)), &[&[1, 4, 2, 3, 2], &[6, 4, 1, 1, 1]], &[(RELU(), &[])]),
    ];
    for p in &cases {
        same_as_the_reference(p, &conv(p).unwrap_or_else(|| panic!("no call for {p}")));
    }
}

#[test]
fn other_problems_are_left_alone() {
    let f = DType::F32;
    let (x, w): (&[usize], &[usize]) = (&[2, 4, 3, 5], &[6, 4, 1, 1]);
    let strided = Conv { strides: vec![2, 2], ..Conv::unit(2) };
    let padded = Conv { pads: vec![(1, 1); 2], ..Conv::unit(2) };
    let grouped = Conv { groups: 2, ..Conv::unit(2) };
    for p in [
        problem_of(f, Op::Conv(strided), &[x, w], &[]),
        problem_of(f, Op::Conv(padded), &[x, w], &[]),
        problem_of(f, Op::Conv(grouped), &[x, &[6, 2, 1, 1]], &[]),
        problem_of(f, Op::Conv(Conv::unit(2)), &[x, &[6, 4, 3, 3]], &[]),
        problem_of(f, Op::Conv(Conv::unit(2)), &[x, w], &[(Expr::unary(Unary::Sigmoid), &[])]),
        problem_of(f, Op::Conv(Conv::unit(2)), &[x, w], &[(ADD(), &[&[5]])]),
        problem_of(DType::F64, Op::Conv(Conv::unit(2)), &[x, w], &[]),
    ] {
        assert_eq!(conv(&p), None, "{p}");
        assert_eq!(matmul(&p), None, "{p}");
    }
    let two: &[&[usize]] = &[&[3, 4], &[4, 5]];
    let plain = |after: &[(Expr, &[&[usize]])]| problem_of(f, product(false, false), two, after);
    for p in [
        problem_of(f, product(false, false), &[&[2, 1, 3, 4], &[3, 4, 5]], &[]),
        plain(&[(ADD(), &[&[3, 1]])]),
        plain(&[(ADD(), &[&[5]]), (ADD(), &[&[5]])]),
        plain(&[(ADD(), &[&[3, 5]]), (ADD(), &[&[3, 5]])]),
        plain(&[(gelu(0.05), &[])]),
        plain(&[(Expr::binary(Binary::Mul), &[&[5]])]),
        plain(&[(built(|e, x| e.push(ExprNode::Binary(Binary::Add, x, x))), &[])]),
        plain(&[(built(|e, x| with(e, Binary::Add, x, 1.0)), &[])]),
        problem_of(DType::I32, product(false, false), two, &[]),
    ] {
        assert_eq!(matmul(&p), None, "{p}");
    }
}

#[test]
fn half_precision_is_served_in_its_own_type() {
    for dtype in [DType::F16, DType::BF16] {
        let p = problem_of(dtype, product(false, false), &[&[3, 4], &[4, 5]], &[(ADD(), &[&[5]])]);
        let call = matmul(&p).unwrap();
        assert_eq!((call.gemm.dtype, call.gemm.bias), (dtype, true));
        assert_eq!(call.gemm.check().unwrap().bias, 10);
    }
}

/// A made-up GPU whose library is not the one here, if there is one: no tactics, no failure.
#[test]
fn without_the_library_there_are_no_tactics() {
    let cuda = |cublaslt| CudaInfo { nvrtc: None, cublaslt, ..CudaInfo::h100() }.on_paper();
    let p = problem_of(DType::F16, product(false, false), &[&[3, 4], &[4, 5]], &[]);
    for version in [None, Some(1)] {
        assert!(matmul(&p).unwrap().tactics("matmul.cublaslt", &p, &cuda(version)).is_empty());
    }
}
