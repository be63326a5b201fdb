use tactician_types::{Binary, DType, Expr, ExprNode, Scalar, Unary};

use super::*;
use crate::isa::available_isas;

/// The expression at one position, in `f64`; `bool` as 0 and 1.
fn naive(e: &Expr, inputs: &[f64]) -> f64 {
    let mut v: Vec<f64> = Vec::new();
    let t = |b: bool| f64::from(u8::from(b));
    for n in e.nodes() {
        let at = |o: u16| v[o as usize];
        let r = match *n {
            ExprNode::Input(i) => inputs[i as usize],
            ExprNode::Const(c) => c.as_f64(),
            ExprNode::Cast(DType::Bool, a) => t(at(a) != 0.0),
            ExprNode::Cast(_, a) => at(a),
            ExprNode::Select(c, a, b) => {
                if at(c) != 0.0 {
                    at(a)
                } else {
                    at(b)
                }
            }
            ExprNode::Unary(op, a) => {
                let x = at(a);
                match op {
                    Unary::Neg => -x,
                    Unary::Abs => x.abs(),
                    Unary::Sign => {
                        if x == 0.0 {
                            x
                        } else {
                            x.signum()
                        }
                    }
                    Unary::Reciprocal => 1.0 / x,
                    Unary::Sqrt => x.sqrt(),
                    Unary::Exp => x.exp(),
                    Unary::Log => x.ln(),
                    Unary::Relu => x.max(0.0),
                    Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                    Unary::Tanh => x.tanh(),
                    Unary::Softplus => x.exp().ln_1p(),
                    Unary::Floor => x.floor(),
                    Unary::Ceil => x.ceil(),
                    Unary::Round => x.round_ties_even(),
                    Unary::Sin => x.sin(),
                    Unary::Cos => x.cos(),
                    Unary::Tan => x.tan(),
                    Unary::Asin => x.asin(),
                    Unary::Acos => x.acos(),
                    Unary::Atan => x.atan(),
                    Unary::Sinh => x.sinh(),
                    Unary::Cosh => x.cosh(),
                    Unary::Asinh => x.asinh(),
                    Unary::Acosh => x.acosh(),
                    Unary::Atanh => x.atanh(),
                    Unary::Not => 1.0 - x,
                    Unary::IsNan => t(x.is_nan()),
                    Unary::IsInf => t(x.is_infinite()),
                    Unary::Erf | Unary::BitNot => unreachable!("not among the cases"),
                }
            }
            ExprNode::Binary(op, a, b) => {
                let (x, y) = (at(a), at(b));
                match op {
                    Binary::Add => x + y,
                    Binary::Sub => x - y,
                    Binary::Mul => x * y,
                    Binary::Div => x / y,
                    Binary::Mod => x - y * (x / y).floor(),
                    Binary::Fmod => x % y,
                    Binary::Pow => x.powf(y),
                    Binary::Max => x.max(y),
                    Binary::Min => x.min(y),
                    Binary::Eq => t(x == y),
                    Binary::Lt => t(x < y),
                    Binary::Le => t(x <= y),
                    Binary::Gt => t(x > y),
                    Binary::Ge => t(x >= y),
                    Binary::And => t(x != 0.0 && y != 0.0),
                    Binary::Or => t(x != 0.0 || y != 0.0),
                    Binary::Xor => t((x != 0.0) != (y != 0.0)),
                    _ => unreachable!("not among the cases"),
                }
            }
        };
        v.push(r);
    }
    v[v.len() - 1]
}

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / (1 << 21) as f32 - 4.0
        })
        .collect()
}

fn agree(got: f32, want: f64, what: impl Fn() -> String) {
    let ok = if want.is_nan() {
        got.is_nan()
    } else {
        f64::from(got) == want || (f64::from(got) - want).abs() <= 4e-6 * want.abs().max(0.05)
    };
    assert!(ok, "{}: got {got}, want {want}", what());
}

/// Checks an expression on every instruction set, several lengths, and all ways of giving and placing inputs.
fn check(e: &Expr) {
    let arity = e.arity();
    for &isa in available_isas() {
        let tape = Tape::compile(e, isa).unwrap();
        assert_eq!(tape.arity(), arity);
        for n in [0, 1, 15, 16, 17, 255, 256, 257, 700] {
            for style in 0..4usize {
                let data: Vec<Vec<f32>> = (0..arity).map(|i| values(n.max(1), i as u32 + 7)).collect();
                // Lengths 3 and 50 do not divide the block, 8 does.
                let period = |i: usize| [3, 8, 50][(i + style) % 3].min(n.max(1));
                let input = |i: usize| match (style + i) % 4 {
                    2 => TapeInput::Splat(data[i][0]),
                    3 => TapeInput::Repeat(&data[i][..period(i)]),
                    _ => TapeInput::Stream(&data[i]),
                };
                let at = |i: usize, j: usize| match input(i) {
                    TapeInput::Stream(s) => s[j],
                    TapeInput::Splat(v) => v,
                    TapeInput::Repeat(r) => r[j % r.len()],
                };
                let inputs: Vec<_> = (0..arity).map(input).collect();
                let what = |j: usize| format!("{e} at {j} of {n} on {isa}, style {style}");
                let mut out = vec![f32::NAN; n];
                tape.run(&inputs, &mut out);
                for j in 0..n {
                    let x: Vec<f64> = (0..arity).map(|i| f64::from(at(i, j))).collect();
                    agree(out[j], naive(e, &x), || what(j));
                }
                if arity == 0 {
                    continue;
                }
                let mut out: Vec<f32> = (0..n).map(|j| at(0, j)).collect();
                tape.run_in_place(&mut out, &inputs[1..]);
                for j in 0..n {
                    let x: Vec<f64> = (0..arity).map(|i| f64::from(at(i, j))).collect();
                    agree(out[j], naive(e, &x), || what(j));
                }
            }
        }
    }
}

/// The same, its result made a number if it is a truth.
fn as_f32(mut e: Expr, dtype: DType) -> Expr {
    if dtype == DType::Bool {
        let root = e.root();
        e.push(ExprNode::Cast(DType::F32, root));
    }
    e
}

#[test]
fn every_unary_function() {
    for &op in Unary::ALL {
        if matches!(op, Unary::Not | Unary::BitNot | Unary::Erf) {
            continue;
        }
        let e = Expr::unary(op);
        let t = e.dtypes(&[DType::F32]).unwrap()[1];
        check(&as_f32(e, t));
    }
}

#[test]
fn every_binary_function() {
    for &op in Binary::ALL {
        use Binary::*;
        let mut e = Expr::empty();
        let (mut x, mut y) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)));
        match op {
            BitAnd | BitOr | BitXor | Shl | Shr => continue,
            // Comparisons alone would seldom meet equality.
            Eq | Lt | Le | Gt | Ge => {
                x = e.push(ExprNode::Unary(Unary::Round, x));
                y = e.push(ExprNode::Unary(Unary::Round, y));
            }
            And | Or | Xor => {
                let zero = e.push(ExprNode::Const(Scalar::f32(0.5)));
                x = e.push(ExprNode::Binary(Gt, x, zero));
                y = e.push(ExprNode::Binary(Gt, y, zero));
                x = e.push(ExprNode::Unary(Unary::Not, x));
            }
            _ => {}
        }
        e.push(ExprNode::Binary(op, x, y));
        let t = *e.dtypes(&[DType::F32; 2]).unwrap().last().unwrap();
        check(&as_f32(e, t));
    }
}

#[test]
fn compound_expressions() {
    // Hard-swish with a residual: x·clip(x/6 + ½, 0, 1) + y.
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let y = e.push(ExprNode::Input(1));
    let c = |e: &mut Expr, v: f32| e.push(ExprNode::Const(Scalar::f32(v)));
    let (sixth, half, zero, one) = (c(&mut e, 1.0 / 6.0), c(&mut e, 0.5), c(&mut e, 0.0), c(&mut e, 1.0));
    let t = e.push(ExprNode::Binary(Binary::Mul, x, sixth));
    let t = e.push(ExprNode::Binary(Binary::Add, t, half));
    let t = e.push(ExprNode::Binary(Binary::Max, t, zero));
    let t = e.push(ExprNode::Binary(Binary::Min, t, one));
    let t = e.push(ExprNode::Binary(Binary::Mul, x, t));
    e.push(ExprNode::Binary(Binary::Add, t, y));
    check(&e);

    // PRelu by selection, a cast to truth and back, and a node that nothing uses.
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let slope = e.push(ExprNode::Input(1));
    e.push(ExprNode::Unary(Unary::Exp, slope));
    let zero = e.push(ExprNode::Const(Scalar::f32(0.0)));
    let below = e.push(ExprNode::Binary(Binary::Lt, x, zero));
    let scaled = e.push(ExprNode::Binary(Binary::Mul, x, slope));
    let y = e.push(ExprNode::Select(below, scaled, x));
    let f = e.push(ExprNode::Unary(Unary::Floor, y));
    let b = e.push(ExprNode::Cast(DType::Bool, f));
    let b = e.push(ExprNode::Cast(DType::F32, b));
    e.push(ExprNode::Binary(Binary::Sub, y, b));
    check(&e);

    check(&Expr::identity());
    let mut constant = Expr::empty();
    constant.push(ExprNode::Const(Scalar::f32(2.5)));
    check(&constant);
    // A square by way of a power.
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let two = e.push(ExprNode::Const(Scalar::f32(2.0)));
    e.push(ExprNode::Binary(Binary::Pow, x, two));
    check(&e);
}

#[test]
fn slots_are_used_again() {
    // A long chain of steps that each use the one before needs few slots.
    let mut e = Expr::empty();
    let mut x = e.push(ExprNode::Input(0));
    for _ in 0..30 {
        x = e.push(ExprNode::Unary(Unary::Neg, x));
        x = e.push(ExprNode::Unary(Unary::Abs, x));
    }
    let t = Tape::compile(&e, Isa::Portable).unwrap();
    assert!(t.code.iter().all(|i| i.d < 4 && i.d != i.a));
    check(&e);
}

#[test]
fn unfit_expressions_are_refused() {
    let refused = |e: &Expr| Tape::compile(e, Isa::Portable).unwrap_err();
    // All values live until the end.
    let mut e = Expr::empty();
    let mut x = e.push(ExprNode::Input(0));
    let mut all = vec![x];
    for _ in 0..60 {
        x = e.push(ExprNode::Unary(Unary::Exp, x));
        all.push(x);
    }
    for y in all.into_iter().rev() {
        x = e.push(ExprNode::Binary(Binary::Add, x, y));
    }
    assert!(refused(&e).contains("split"));
    let e = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(DType::I32, 0)]).unwrap();
    assert!(refused(&e).contains("i32"));
    assert!(refused(&Expr::binary(Binary::Lt)).contains("bool"));
    assert!(Tape::compile(&Expr::empty(), Isa::Portable).is_err());
}
