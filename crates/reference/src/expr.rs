//! Pointwise expressions.

use tactician_ir::{Binary, DType, Expr, ExprNode, Unary};
use tactician_types::{NarrowFloat, narrow_integer};

use crate::value::{Data, Value, advance, broadcast_strides, offset, round, wrap};

/// One element of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    F(f64),
    I(i64),
}

impl Number {
    fn f(self) -> f64 {
        match self {
            Number::F(x) => x,
            Number::I(x) => x as f64,
        }
    }

    fn i(self) -> i64 {
        match self {
            Number::F(x) => x as i64,
            Number::I(x) => x,
        }
    }
}

/// Evaluates an expression over broadcast operands. With `exact`, float nodes are not rounded to their types.
pub(crate) fn eval(expr: &Expr, inputs: &[&Value], sizes: &[usize], exact: bool) -> Result<Value, String> {
    let types: Vec<DType> = inputs.iter().map(|v| v.dtype).collect();
    let types = expr.dtypes(&types)?;
    let steps: Vec<Vec<usize>> = inputs.iter().map(|v| broadcast_strides(&v.sizes, sizes)).collect();
    let n: usize = sizes.iter().product();
    let root = expr.root() as usize;
    let dtype = types[root];
    let mut out =
        if dtype.is_float() { Data::Float(Vec::with_capacity(n)) } else { Data::Int(Vec::with_capacity(n)) };
    let mut index = vec![0; sizes.len()];
    let mut values = vec![Number::I(0); expr.nodes().len()];
    for _ in 0..n {
        for (at, node) in expr.nodes().iter().enumerate() {
            let v = match *node {
                ExprNode::Input(i) => {
                    let place = offset(&index, &steps[i as usize]);
                    match &inputs[i as usize].data {
                        Data::Float(d) => Number::F(d[place]),
                        Data::Int(d) => Number::I(d[place]),
                    }
                }
                ref other => apply(other, &types, at, |o| values[o as usize]),
            };
            values[at] = match v {
                Number::F(x) if !exact => Number::F(round(types[at], x)),
                v => v,
            };
        }
        match (&mut out, values[root]) {
            (Data::Float(d), v) => d.push(v.f()),
            (Data::Int(d), v) => d.push(v.i()),
        }
        advance(&mut index, sizes);
    }
    Ok(Value { dtype, sizes: sizes.to_vec(), data: out })
}

/// One node that is no input.
pub(crate) fn apply(node: &ExprNode, types: &[DType], at: usize, value: impl Fn(u16) -> Number) -> Number {
    match *node {
        ExprNode::Input(_) => Number::I(0),
        ExprNode::Const(c) if c.dtype.is_float() => Number::F(round(c.dtype, c.as_f64())),
        ExprNode::Const(c) => Number::I(wrap(c.dtype, c.as_i64())),
        ExprNode::Cast(t, a) => cast(t, types[a as usize], value(a)),
        ExprNode::Select(c, a, b) => {
            if value(c).i() != 0 {
                value(a)
            } else {
                value(b)
            }
        }
        ExprNode::Unary(op, a) => unary(op, types[at], value(a)),
        ExprNode::Binary(op, a, b) => binary(op, types[a as usize], value(a), value(b)),
    }
}

/// The number that stands for an element: of a narrow float the code is taken apart.
pub(crate) fn decoded(dtype: DType, v: Number) -> Number {
    match (NarrowFloat::of(dtype), v) {
        (Some(t), Number::I(code)) => Number::F(t.value(code as u8)),
        (_, v) => v,
    }
}

fn cast(to: DType, from: DType, v: Number) -> Number {
    if to == from {
        return v;
    }
    let v = decoded(from, v);
    if let Some(t) = NarrowFloat::of(to) {
        let x = if from == DType::U64 { v.i() as u64 as f64 } else { v.f() };
        return Number::I(i64::from(t.code(x)));
    }
    match v {
        Number::F(x) if to.is_float() => Number::F(round(to, x)),
        Number::F(x) if to == DType::Bool => Number::I(i64::from(x != 0.0)),
        Number::F(x) if to == DType::U64 => Number::I(x as u64 as i64),
        // Saturates at the 64-bit range, then at the type's own.
        Number::F(x) => Number::I(saturate(to, x)),
        Number::I(x) if to.is_float() && from == DType::U64 => Number::F(round(to, x as u64 as f64)),
        Number::I(x) if to.is_float() => Number::F(round(to, x as f64)),
        Number::I(x) => Number::I(wrap(to, x)),
    }
}

/// A float to an integer type: toward zero, saturating (narrow ones wrap), NaN as zero.
fn saturate(to: DType, x: f64) -> i64 {
    match to {
        DType::I8 => i64::from(x as i8),
        DType::I16 => i64::from(x as i16),
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::U16 => i64::from(x as u16),
        DType::U32 => i64::from(x as u32),
        t => narrow_integer(t, x).unwrap_or(x as i64),
    }
}

fn unary(op: Unary, dtype: DType, v: Number) -> Number {
    use Unary::*;
    match v {
        Number::I(x) => Number::I(match op {
            Neg => wrap(dtype, x.wrapping_neg()),
            Abs if dtype.is_signed_int() => wrap(dtype, x.wrapping_abs()),
            Sign if dtype == DType::U64 => i64::from(x != 0),
            Sign => x.signum(),
            Relu if dtype.is_signed_int() => x.max(0),
            Not => i64::from(x == 0),
            BitNot => wrap(dtype, !x),
            _ => x,
        }),
        Number::F(x) => match op {
            IsNan => Number::I(i64::from(x.is_nan())),
            IsInf => Number::I(i64::from(x.is_infinite())),
            _ => Number::F(function(op, x)),
        },
    }
}

/// A float function.
pub(crate) fn function(op: Unary, x: f64) -> f64 {
    use Unary::*;
    match op {
        Neg => -x,
        Abs => x.abs(),
        Sign if x == 0.0 || x.is_nan() => x,
        Sign => x.signum(),
        Reciprocal => 1.0 / x,
        Sqrt => x.sqrt(),
        Exp => x.exp(),
        Log => x.ln(),
        Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Tanh => x.tanh(),
        Erf => libm::erf(x),
        Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round_ties_even(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Asin => x.asin(),
        Acos => x.acos(),
        Atan => x.atan(),
        Sinh => x.sinh(),
        Cosh => x.cosh(),
        Asinh => x.asinh(),
        Acosh => x.acosh(),
        Atanh => x.atanh(),
        Not | BitNot | IsNan | IsInf => x,
    }
}

fn binary(op: Binary, dtype: DType, a: Number, b: Number) -> Number {
    use Binary::*;
    if let (Number::F(x), Number::F(y)) = (a, b) {
        return match op {
            Eq => Number::I(i64::from(x == y)),
            Lt => Number::I(i64::from(x < y)),
            Le => Number::I(i64::from(x <= y)),
            Gt => Number::I(i64::from(x > y)),
            Ge => Number::I(i64::from(x >= y)),
            _ => Number::F(float_binary(op, x, y)),
        };
    }
    let (x, y) = (a.i(), b.i());
    let unsigned = dtype == DType::U64;
    let order = if unsigned { (x as u64).cmp(&(y as u64)) } else { x.cmp(&y) };
    let bits = dtype.size() as i64 * 8;
    let out = match op {
        Add => x.wrapping_add(y),
        Sub => x.wrapping_sub(y),
        Mul => x.wrapping_mul(y),
        Div if y == 0 => 0,
        Div if unsigned => ((x as u64) / (y as u64)) as i64,
        Div => x.wrapping_div(y),
        Mod | Fmod if y == 0 => 0,
        Mod | Fmod if unsigned => ((x as u64) % (y as u64)) as i64,
        Fmod => x.wrapping_rem(y),
        Mod => {
            let r = x.wrapping_rem(y);
            if r != 0 && (r < 0) != (y < 0) { r.wrapping_add(y) } else { r }
        }
        Pow => power(x, y),
        Max => {
            if order.is_lt() {
                y
            } else {
                x
            }
        }
        Min => {
            if order.is_gt() {
                y
            } else {
                x
            }
        }
        Eq => return Number::I(i64::from(x == y)),
        Lt => return Number::I(i64::from(order.is_lt())),
        Le => return Number::I(i64::from(order.is_le())),
        Gt => return Number::I(i64::from(order.is_gt())),
        Ge => return Number::I(i64::from(order.is_ge())),
        And | BitAnd => x & y,
        Or | BitOr => x | y,
        Xor | BitXor => x ^ y,
        Shl if !(0..bits).contains(&y) => 0,
        Shl => x.wrapping_shl(y as u32),
        Shr if !(0..bits).contains(&y) => {
            if dtype.is_signed_int() && x < 0 {
                -1
            } else {
                0
            }
        }
        Shr if unsigned => ((x as u64) >> y) as i64,
        Shr => x >> y,
    };
    Number::I(wrap(dtype, out))
}

fn power(x: i64, y: i64) -> i64 {
    match (x, y) {
        (_, 0) | (1, _) => 1,
        (-1, y) => {
            if y % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, y) if y < 0 => 0,
        (x, y) => {
            let (mut base, mut exponent, mut out) = (x, y, 1i64);
            while exponent > 0 {
                if exponent & 1 == 1 {
                    out = out.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                exponent >>= 1;
            }
            out
        }
    }
}

/// A float function of two operands.
pub(crate) fn float_binary(op: Binary, x: f64, y: f64) -> f64 {
    use Binary::*;
    match op {
        Add => x + y,
        Sub => x - y,
        Mul => x * y,
        Div => x / y,
        Fmod => x % y,
        Mod => {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        }
        Pow => x.powf(y),
        Max if x.is_nan() || y.is_nan() => f64::NAN,
        Min if x.is_nan() || y.is_nan() => f64::NAN,
        Max => x.max(y),
        Min => x.min(y),
        _ => f64::NAN,
    }
}
