//! Pointwise operators: activations, arithmetic, comparisons, casts.

use tactician_ir::{
    Binary, DType, Dim, Expr, ExprId, ExprNode, NarrowFloat, Op, Reshape, Scalar, Unary, ValueId,
};

use super::compose::Compose;
use super::narrow::{self, Conversion};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("Relu", |i, n| unary(i, n, Unary::Relu)),
    ("Sigmoid", |i, n| unary(i, n, Unary::Sigmoid)),
    ("Tanh", |i, n| unary(i, n, Unary::Tanh)),
    ("Erf", |i, n| unary(i, n, Unary::Erf)),
    ("Softplus", |i, n| unary(i, n, Unary::Softplus)),
    ("Abs", |i, n| unary(i, n, Unary::Abs)),
    ("Neg", |i, n| unary(i, n, Unary::Neg)),
    ("Sign", |i, n| unary(i, n, Unary::Sign)),
    ("Floor", |i, n| unary(i, n, Unary::Floor)),
    ("Ceil", |i, n| unary(i, n, Unary::Ceil)),
    ("Round", |i, n| unary(i, n, Unary::Round)),
    ("Sqrt", |i, n| unary(i, n, Unary::Sqrt)),
    ("Exp", |i, n| unary(i, n, Unary::Exp)),
    ("Log", |i, n| unary(i, n, Unary::Log)),
    ("Reciprocal", |i, n| unary(i, n, Unary::Reciprocal)),
    ("Sin", |i, n| unary(i, n, Unary::Sin)),
    ("Cos", |i, n| unary(i, n, Unary::Cos)),
    ("Tan", |i, n| unary(i, n, Unary::Tan)),
    ("Asin", |i, n| unary(i, n, Unary::Asin)),
    ("Acos", |i, n| unary(i, n, Unary::Acos)),
    ("Atan", |i, n| unary(i, n, Unary::Atan)),
    ("Sinh", |i, n| unary(i, n, Unary::Sinh)),
    ("Cosh", |i, n| unary(i, n, Unary::Cosh)),
    ("Asinh", |i, n| unary(i, n, Unary::Asinh)),
    ("Acosh", |i, n| unary(i, n, Unary::Acosh)),
    ("Atanh", |i, n| unary(i, n, Unary::Atanh)),
    ("Not", |i, n| unary(i, n, Unary::Not)),
    ("BitwiseNot", |i, n| unary(i, n, Unary::BitNot)),
    ("IsNaN", |i, n| unary(i, n, Unary::IsNan)),
    ("IsInf", |i, n| {
        let (up, down) = (n.int("detect_positive", 1) != 0, n.int("detect_negative", 1) != 0);
        activation(i, n, |b| {
            let infinite = b.unary(Unary::IsInf, b.x);
            let zero = b.constant(0.0);
            let side = match (up, down) {
                (true, true) => return infinite,
                (true, false) => b.binary(Binary::Gt, b.x, zero),
                (false, true) => b.binary(Binary::Lt, b.x, zero),
                (false, false) => b.e.push(ExprNode::Const(Scalar::int(DType::Bool, 0))),
            };
            b.binary(Binary::And, infinite, side)
        })
    }),
    ("Shrink", |i, n| {
        let (bias, lambd) = (n.float("bias", 0.0), n.float("lambd", 0.5));
        activation(i, n, |b| {
            let (c, low, high, zero) =
                (b.constant(bias), b.constant(-lambd), b.constant(lambd), b.constant(0.0));
            let (below, above) = (b.binary(Binary::Lt, b.x, low), b.binary(Binary::Gt, b.x, high));
            let (up, down) = (b.binary(Binary::Add, b.x, c), b.binary(Binary::Sub, b.x, c));
            let rest = b.e.push(ExprNode::Select(above, down, zero));
            b.e.push(ExprNode::Select(below, up, rest))
        })
    }),
    ("ai.onnx.ml.Binarizer", |i, n| {
        let threshold = n.float("threshold", 0.0);
        activation(i, n, |b| {
            let (t, zero, one) = (b.constant(threshold), b.constant(0.0), b.constant(1.0));
            let c = b.binary(Binary::Gt, b.x, t);
            b.e.push(ExprNode::Select(c, one, zero))
        })
    }),
    ("LeakyRelu", |i, n| {
        let alpha = n.float("alpha", 0.01);
        activation(i, n, |b| b.where_negative(|b, x| b.scale(x, alpha)))
    }),
    ("Elu", |i, n| {
        let alpha = n.float("alpha", 1.0);
        activation(i, n, |b| b.where_negative(|b, x| b.exp_minus_one(x, alpha)))
    }),
    ("Selu", |i, n| {
        let (alpha, gamma) = (n.float("alpha", 1.673_263_2), n.float("gamma", 1.050_701));
        activation(i, n, |b| {
            let v = b.where_negative(|b, x| b.exp_minus_one(x, alpha));
            b.scale(v, gamma)
        })
    }),
    ("Celu", |i, n| {
        let alpha = n.float("alpha", 1.0);
        activation(i, n, |b| {
            b.where_negative(|b, x| {
                let t = b.scale(x, 1.0 / alpha);
                b.exp_minus_one(t, alpha)
            })
        })
    }),
    ("HardSigmoid", |i, n| {
        let (alpha, beta) = (n.float("alpha", 0.2), n.float("beta", 0.5));
        activation(i, n, |b| b.hard_sigmoid(alpha, beta))
    }),
    ("HardSwish", |i, n| {
        activation(i, n, |b| {
            let h = b.hard_sigmoid(1.0 / 6.0, 0.5);
            b.binary(Binary::Mul, b.x, h)
        })
    }),
    ("Softsign", |i, n| {
        activation(i, n, |b| {
            let a = b.unary(Unary::Abs, b.x);
            let one = b.constant(1.0);
            let d = b.binary(Binary::Add, one, a);
            b.binary(Binary::Div, b.x, d)
        })
    }),
    ("ThresholdedRelu", |i, n| {
        let alpha = n.float("alpha", 1.0);
        activation(i, n, |b| {
            let (t, zero) = (b.constant(alpha), b.constant(0.0));
            let c = b.binary(Binary::Gt, b.x, t);
            b.e.push(ExprNode::Select(c, b.x, zero))
        })
    }),
    ("Mish", |i, n| {
        activation(i, n, |b| {
            let s = b.unary(Unary::Softplus, b.x);
            let t = b.unary(Unary::Tanh, s);
            b.binary(Binary::Mul, b.x, t)
        })
    }),
    ("Swish", |i, n| {
        let alpha = n.float("alpha", 1.0);
        activation(i, n, |b| {
            let t = b.scale(b.x, alpha);
            let s = b.unary(Unary::Sigmoid, t);
            b.binary(Binary::Mul, b.x, s)
        })
    }),
    ("Gelu", gelu),
    ("PRelu", |i, n| {
        let mut e = Expr::empty();
        let (x, s) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)));
        let ty = operand_type(i, n)?;
        let zero = e.push(ExprNode::Const(Scalar::of(ty, 0.0)));
        let c = e.push(ExprNode::Binary(Binary::Lt, x, zero));
        let m = e.push(ExprNode::Binary(Binary::Mul, x, s));
        e.push(ExprNode::Select(c, m, x));
        let mut inputs = n.tensors(i)?;
        // Before opset 7 the slopes are one a channel.
        if i.opset < 7
            && inputs.len() == 2
            && i.ty(inputs[1]).rank() == 1
            && i.ty(inputs[1]).elements() != Some(1)
        {
            let behind = i.ty(inputs[0]).rank().saturating_sub(2);
            inputs[1] = with_trailing_axes(i, inputs[1], behind, n.label)?;
        }
        one(i.add(Op::Pointwise(e), &inputs, n.label)?)
    }),
    ("Clip", clip),
    ("Add", |i, n| arithmetic(i, n, Binary::Add)),
    ("Sub", |i, n| arithmetic(i, n, Binary::Sub)),
    ("Mul", |i, n| arithmetic(i, n, Binary::Mul)),
    ("Div", |i, n| arithmetic(i, n, Binary::Div)),
    ("Mod", |i, n| arithmetic(i, n, if n.int("fmod", 0) == 1 { Binary::Fmod } else { Binary::Mod })),
    ("Pow", pow),
    ("And", |i, n| arithmetic(i, n, Binary::And)),
    ("Or", |i, n| arithmetic(i, n, Binary::Or)),
    ("Xor", |i, n| arithmetic(i, n, Binary::Xor)),
    ("BitwiseAnd", |i, n| arithmetic(i, n, Binary::BitAnd)),
    ("BitwiseOr", |i, n| arithmetic(i, n, Binary::BitOr)),
    ("BitwiseXor", |i, n| arithmetic(i, n, Binary::BitXor)),
    ("BitShift", |i, n| match n.text("direction", "")?.as_str() {
        "LEFT" => arithmetic(i, n, Binary::Shl),
        "RIGHT" => arithmetic(i, n, Binary::Shr),
        other => Err(format!("direction `{other}` is unknown")),
    }),
    ("Equal", |i, n| arithmetic(i, n, Binary::Eq)),
    ("Less", |i, n| arithmetic(i, n, Binary::Lt)),
    ("LessOrEqual", |i, n| arithmetic(i, n, Binary::Le)),
    ("Greater", |i, n| arithmetic(i, n, Binary::Gt)),
    ("GreaterOrEqual", |i, n| arithmetic(i, n, Binary::Ge)),
    ("Max", |i, n| many(i, n, Binary::Max, false)),
    ("Min", |i, n| many(i, n, Binary::Min, false)),
    ("Sum", |i, n| many(i, n, Binary::Add, false)),
    ("Mean", |i, n| many(i, n, Binary::Add, true)),
    ("Where", |i, n| {
        let mut e = Expr::empty();
        let (c, a, b) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)), e.push(ExprNode::Input(2)));
        e.push(ExprNode::Select(c, a, b));
        let inputs = n.tensors(i)?;
        one(i.add(Op::Pointwise(e), &inputs, n.label)?)
    }),
    ("Cast", |i, n| {
        let to = i32::try_from(n.int("to", 0)).map_err(|_| "attribute `to` is no type".to_owned())?;
        cast(i, n, tensor::dtype(to)?)
    }),
    ("CastLike", |i, n| {
        let like = n.tensor(1, i)?;
        let to = i.ty(like).dtype;
        cast(i, n, to)
    }),
];

/// Builds an expression of one operand.
struct Build {
    e: Expr,
    x: ExprId,
    ty: DType,
}

impl Build {
    fn constant(&mut self, v: f32) -> ExprId {
        self.e.push(ExprNode::Const(Scalar::of(self.ty, f64::from(v))))
    }
    fn unary(&mut self, op: Unary, a: ExprId) -> ExprId {
        self.e.push(ExprNode::Unary(op, a))
    }
    fn binary(&mut self, op: Binary, a: ExprId, b: ExprId) -> ExprId {
        self.e.push(ExprNode::Binary(op, a, b))
    }
    fn scale(&mut self, a: ExprId, by: f32) -> ExprId {
        let c = self.constant(by);
        self.binary(Binary::Mul, a, c)
    }
    /// `x` where not negative, else a function of it.
    fn where_negative(&mut self, f: impl FnOnce(&mut Build, ExprId) -> ExprId) -> ExprId {
        let zero = self.constant(0.0);
        let c = self.binary(Binary::Lt, self.x, zero);
        let x = self.x;
        let v = f(self, x);
        self.e.push(ExprNode::Select(c, v, x))
    }
    fn exp_minus_one(&mut self, a: ExprId, alpha: f32) -> ExprId {
        let t = self.unary(Unary::Exp, a);
        let one = self.constant(1.0);
        let t = self.binary(Binary::Sub, t, one);
        self.scale(t, alpha)
    }
    /// `min(max(alpha·x + beta, 0), 1)`.
    fn hard_sigmoid(&mut self, alpha: f32, beta: f32) -> ExprId {
        let t = self.scale(self.x, alpha);
        let (b, zero, one) = (self.constant(beta), self.constant(0.0), self.constant(1.0));
        let t = self.binary(Binary::Add, t, b);
        let t = self.binary(Binary::Max, t, zero);
        self.binary(Binary::Min, t, one)
    }
}

fn operand_type(i: &mut Import<'_>, n: &Node<'_>) -> Result<DType, String> {
    let v = n.tensor(0, i)?;
    Ok(i.ty(v).dtype)
}

fn activation(
    i: &mut Import<'_>,
    n: &Node<'_>,
    f: impl FnOnce(&mut Build) -> ExprId,
) -> Result<Vec<Val>, String> {
    let v = n.tensor(0, i)?;
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let mut b = Build { e, x, ty: i.ty(v).dtype };
    let root = f(&mut b);
    one(i.add(Op::Pointwise(b.e.finish(root)), &[v], n.label)?)
}

fn unary(i: &mut Import<'_>, n: &Node<'_>, op: Unary) -> Result<Vec<Val>, String> {
    let v = n.tensor(0, i)?;
    one(i.add(Op::Pointwise(Expr::unary(op)), &[v], n.label)?)
}

/// The exact form with the error function, or the approximation by tanh.
fn gelu(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let approximate = n.text("approximate", "none")? == "tanh";
    activation(i, n, |b| {
        let inner = if approximate {
            let cube = b.binary(Binary::Mul, b.x, b.x);
            let cube = b.binary(Binary::Mul, cube, b.x);
            let cube = b.scale(cube, 0.044_715);
            let sum = b.binary(Binary::Add, b.x, cube);
            let t = b.scale(sum, (2.0 / std::f32::consts::PI).sqrt());
            b.unary(Unary::Tanh, t)
        } else {
            let t = b.scale(b.x, std::f32::consts::FRAC_1_SQRT_2);
            b.unary(Unary::Erf, t)
        };
        let one = b.constant(1.0);
        let t = b.binary(Binary::Add, one, inner);
        let half = b.scale(b.x, 0.5);
        b.binary(Binary::Mul, half, t)
    })
}

/// Limits as attributes (until opset 10) or operands.
fn clip(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let ty = i.ty(x).dtype;
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    let mut inputs = vec![x];
    for (k, (name, op)) in [("min", Binary::Max), ("max", Binary::Min)].into_iter().enumerate() {
        let limit = if i.opset < 11 {
            if !n.has(name) {
                continue;
            }
            e.push(ExprNode::Const(Scalar::of(ty, f64::from(n.float(name, 0.0)))))
        } else {
            if !n.given(k + 1) {
                continue;
            }
            match n.known_floats(k + 1, i) {
                Ok(Some(l)) if l.len() == 1 => e.push(ExprNode::Const(Scalar::of(ty, l[0]))),
                _ => {
                    inputs.push(n.tensor(k + 1, i)?);
                    e.push(ExprNode::Input(inputs.len() as u16 - 1))
                }
            }
        };
        at = e.push(ExprNode::Binary(op, at, limit));
    }
    one(i.add(Op::Pointwise(e.finish(at)), &inputs, n.label)?)
}

/// Sizes that are still open, computed symbolically; `None` when an operand is a tensor.
fn on_dims(i: &Import<'_>, n: &Node<'_>, op: Binary) -> Option<Vec<Val>> {
    let is_dims = |k: usize| matches!(n.val(k), Ok(Val::Dims { .. }));
    if !is_dims(0) && !is_dims(1) {
        return None;
    }
    let (a, b) = (i.dims(n.val(0).ok()?)?, i.dims(n.val(1).ok()?)?);
    let len = a.len().max(b.len());
    if (a.len() != len && a.len() != 1) || (b.len() != len && b.len() != 1) {
        return None;
    }
    let scalar = [0, 1].iter().all(|&k| match n.val(k) {
        Ok(Val::Dims { scalar, .. }) => *scalar,
        Ok(Val::Tensor(v)) => i.graph.ty(*v).rank() == 0,
        _ => false,
    });
    let mut dims = Vec::new();
    for k in 0..len {
        let (x, y) = (a[k.min(a.len() - 1)].clone(), b[k.min(b.len() - 1)].clone());
        dims.push(match op {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            // Sizes are not negative, so that truncating is flooring.
            Binary::Div if y.as_i64().is_some_and(|y| y > 0) => x.div_floor(&y),
            _ => return None,
        });
    }
    Some(vec![Val::Dims { dims, scalar }])
}

fn arithmetic(i: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<Val>, String> {
    if let Some(v) = on_dims(i, n, op) {
        return Ok(v);
    }
    let inputs = operands(i, n)?;
    one(i.add(Op::Pointwise(Expr::binary(op)), &inputs, n.label)?)
}

/// The operands of a function of two. Before opset 7 the second's axes stand for those of the first from `axis` on, or the
/// last, where `broadcast` is set; since then NumPy's rule holds.
fn operands(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<ValueId>, String> {
    let mut inputs = n.tensors(i)?;
    if i.opset >= 7 || inputs.len() != 2 {
        return Ok(inputs);
    }
    let (a, b) = (i.ty(inputs[0]).shape, i.ty(inputs[1]).shape);
    if a == b {
        return Ok(inputs);
    }
    if n.int("broadcast", 0) == 0 {
        return Err(format!("shapes {a} and {b} differ and its attribute `broadcast` is not set"));
    }
    let most = a.rank().checked_sub(b.rank()).ok_or_else(|| format!("{b} has more axes than {a}"))?;
    let axis = n.int("axis", most as i64);
    let first = if axis < 0 { axis + a.rank() as i64 } else { axis };
    let trailing = usize::try_from(first).ok().and_then(|f| most.checked_sub(f));
    let trailing = trailing.ok_or_else(|| format!("{b} does not fit into {a} from axis {axis} on"))?;
    inputs[1] = with_trailing_axes(i, inputs[1], trailing, n.label)?;
    Ok(inputs)
}

/// A value with axes of size 1 behind its own.
fn with_trailing_axes(i: &mut Import<'_>, v: ValueId, axes: usize, name: &str) -> Result<ValueId, String> {
    if axes == 0 {
        return Ok(v);
    }
    let mut shape = i.ty(v).shape;
    shape.0.extend(std::iter::repeat_n(Dim::from(1usize), axes));
    i.add(Op::Reshape(Reshape { shape }), &[v], name)
}

/// The exponent may have another type.
fn pow(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let [x, y] = operands(i, n)?[..] else { return Err("it takes two operands".into()) };
    let ty = i.ty(x).dtype;
    let mut e = Expr::empty();
    let a = e.push(ExprNode::Input(0));
    if let Ok(Some(p)) = n.known_floats(1, i)
        && p.len() == 1
        && i.ty(y).rank() <= i.ty(x).rank()
    {
        let root = match p[0] {
            1.0 => a,
            2.0 => e.push(ExprNode::Binary(Binary::Mul, a, a)),
            0.5 if ty.is_float() => e.push(ExprNode::Unary(Unary::Sqrt, a)),
            p => {
                let c = e.push(ExprNode::Const(Scalar::of(ty, p)));
                e.push(ExprNode::Binary(Binary::Pow, a, c))
            }
        };
        return one(i.add(Op::Pointwise(e.finish(root)), &[x], n.label)?);
    }
    let mut b = e.push(ExprNode::Input(1));
    if i.ty(y).dtype != ty {
        b = e.push(ExprNode::Cast(ty, b));
    }
    e.push(ExprNode::Binary(Binary::Pow, a, b));
    one(i.add(Op::Pointwise(e), &[x, y], n.label)?)
}

fn many(i: &mut Import<'_>, n: &Node<'_>, op: Binary, mean: bool) -> Result<Vec<Val>, String> {
    let inputs = n.tensors(i)?;
    let first: ValueId = *inputs.first().ok_or("it has no operands")?;
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for k in 1..inputs.len() {
        let b = e.push(ExprNode::Input(k as u16));
        at = e.push(ExprNode::Binary(op, at, b));
    }
    if mean {
        let c = e.push(ExprNode::Const(Scalar::of(i.ty(first).dtype, 1.0 / inputs.len() as f64)));
        at = e.push(ExprNode::Binary(Binary::Mul, at, c));
    }
    one(i.add(Op::Pointwise(e.finish(at)), &inputs, n.label)?)
}

fn cast(i: &mut Import<'_>, n: &Node<'_>, to: DType) -> Result<Vec<Val>, String> {
    if let Val::Dims { dims, scalar } = n.val(0)?
        && (to == DType::I64
            || to == DType::I32
            || dims.iter().any(|d: &Dim| d.as_i64().is_none()) && to.is_int())
    {
        return Ok(vec![Val::Dims { dims: dims.clone(), scalar: *scalar }]);
    }
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    one(match NarrowFloat::of(to) {
        Some(t) => narrow::cast(&mut c, x, t, Conversion::of(n)?)?,
        None => c.cast(x, to)?,
    })
}
