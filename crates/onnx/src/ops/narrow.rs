//! Conversion to floats of 8 bits and fewer, as the standard's `Cast` defines it.

use tactician_ir::{Binary, DType, Expr, ExprId, ExprNode, NarrowFloat, Op, Scalar, ValueId};

use super::compose::{Compose, Made};
use crate::node::Node;

/// How `float8e8m0` is rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundMode {
    Up,
    Down,
    /// Halfway up.
    Nearest,
}

/// What the attributes of `Cast`, `CastLike` and `QuantizeLinear` say about numbers that do not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversion {
    saturate: bool,
    round: RoundMode,
}

impl Conversion {
    /// Reads `saturate` and `round_mode`.
    pub(super) fn of(n: &Node<'_>) -> Result<Conversion, String> {
        let round = match n.text("round_mode", "up")?.as_str() {
            "up" => RoundMode::Up,
            "down" => RoundMode::Down,
            "nearest" => RoundMode::Nearest,
            other => return Err(format!("round_mode `{other}` is unknown, expected up, down or nearest")),
        };
        Ok(Conversion { saturate: n.int("saturate", 1) != 0, round })
    }
}

/// `x` as `to`. The graph's own conversion saturates and rounds up to `float8e8m0`: what is beyond the type, or rounds
/// otherwise, is chosen beside it.
pub(super) fn cast(c: &mut Compose<'_, '_>, x: ValueId, to: NarrowFloat, how: Conversion) -> Made {
    let from = c.dtype(x);
    if from == to.dtype() {
        return Ok(x);
    }
    let mut e = Expr::empty();
    let input = e.push(ExprNode::Input(0));
    let root = if to == NarrowFloat::E8M0 {
        power(&mut e, input, how)
    } else {
        let beyond = beyond(to).filter(|_| !how.saturate);
        let converted = e.push(ExprNode::Cast(to.dtype(), input));
        match beyond {
            Some(b) => unsaturated(&mut e, (input, from), converted, to, b),
            None => converted,
        }
    };
    c.op(Op::Pointwise(e.finish(root)), &[x])
}

/// Where numbers begin that round beyond a format's largest value.
struct Beyond {
    /// Halfway from the largest value to what would come next.
    limit: f64,
    /// Whether the limit itself rounds up, to an even last digit.
    from: Binary,
    /// The standard's result: infinity, or NaN.
    code: u8,
    /// Its sign.
    sign: u8,
}

fn beyond(t: NarrowFloat) -> Option<Beyond> {
    let (limit, from, code, sign) = match t {
        NarrowFloat::E4M3FN => (464.0, Binary::Gt, 0x7f, 0x80),
        NarrowFloat::E4M3FNUZ => (248.0, Binary::Ge, 0x80, 0),
        NarrowFloat::E5M2 => (61440.0, Binary::Ge, 0x7c, 0x80),
        NarrowFloat::E5M2FNUZ => (61440.0, Binary::Ge, 0x80, 0),
        // The attribute concerns 8 bits; E8M0 has rules of its own.
        NarrowFloat::E2M1 | NarrowFloat::E8M0 => return None,
    };
    Some(Beyond { limit, from, code, sign })
}

fn unsaturated(
    e: &mut Expr,
    (input, from): (ExprId, DType),
    converted: ExprId,
    to: NarrowFloat,
    b: Beyond,
) -> ExprId {
    // Every float type has the limits exactly.
    let wide = if from.is_float() { from } else { DType::F64 };
    let x = if wide == from { input } else { e.push(ExprNode::Cast(wide, input)) };
    let code = |e: &mut Expr, code: u8| e.push(ExprNode::Const(Scalar::int(to.dtype(), i64::from(code))));
    let limit = e.push(ExprNode::Const(Scalar::float(wide, b.limit)));
    let least = e.push(ExprNode::Const(Scalar::float(wide, -b.limit)));
    let (high, low) = (code(e, b.code), code(e, b.code | b.sign));
    let above = e.push(ExprNode::Binary(b.from, x, limit));
    // `limit` and `-limit` alike: the operands change places.
    let below = e.push(ExprNode::Binary(b.from, least, x));
    let inner = e.push(ExprNode::Select(below, low, converted));
    e.push(ExprNode::Select(above, high, inner))
}

/// To powers of two, in `f64`, which has all of them and the middles between them.
fn power(e: &mut Expr, input: ExprId, how: Conversion) -> ExprId {
    let t = DType::F8E8M0;
    let number = |e: &mut Expr, v: f64| e.push(ExprNode::Const(Scalar::float(DType::F64, v)));
    let x = e.push(ExprNode::Cast(DType::F64, input));
    let up = e.push(ExprNode::Cast(t, x));
    let rounded = match how.round {
        RoundMode::Up => up,
        RoundMode::Down | RoundMode::Nearest => {
            let value = e.push(ExprNode::Cast(DType::F64, up));
            let half = number(e, 0.5);
            let half = e.push(ExprNode::Binary(Binary::Mul, value, half));
            let lower = e.push(ExprNode::Cast(t, half));
            let limit = if how.round == RoundMode::Down {
                value
            } else {
                let part = number(e, 0.75);
                e.push(ExprNode::Binary(Binary::Mul, value, part))
            };
            let less = e.push(ExprNode::Binary(Binary::Lt, x, limit));
            e.push(ExprNode::Select(less, lower, up))
        }
    };
    if how.saturate {
        return rounded;
    }
    // The largest value rounded up to by nothing above it, and the first that rounds beyond it.
    let most = 2f64.powi(127);
    let (limit, from) = match how.round {
        RoundMode::Up => (most, Binary::Gt),
        RoundMode::Down => (2.0 * most, Binary::Ge),
        RoundMode::Nearest => (1.5 * most, Binary::Ge),
    };
    let (most, least) = (number(e, limit), number(e, 2f64.powi(-127)));
    let nan = e.push(ExprNode::Const(Scalar::int(t, 0xff)));
    let above = e.push(ExprNode::Binary(from, x, most));
    let below = e.push(ExprNode::Binary(Binary::Lt, x, least));
    let inner = e.push(ExprNode::Select(below, nan, rounded));
    e.push(ExprNode::Select(above, nan, inner))
}
