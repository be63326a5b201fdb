//! Activation layers.

use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, Scalar, Unary};

use super::{Layer, LayerKind, Lowering, NetworkBuilder, TensorRef};
use crate::graph::ValueId;
use crate::ops::Op;

/// What an activation computes. `a` and `b` are set by [`Layer::alpha`] and [`Layer::beta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationKind {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` where `x >= 0`, else `a·x`; `a` 0.01.
    LeakyRelu,
    /// `x` where `x >= 0`, else `a·(exp(x) - 1)`; `a` 1.
    Elu,
    /// `b·x` where `x > 0`, else `b·a·(exp(x) - 1)`; the published constants.
    Selu,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `a·ln(1 + exp(b·x))`; both 1.
    Softplus,
    /// `min(max(x, a), b)`; 0 and 6.
    Clip,
    /// `min(max(a·x + b, 0), 1)`; 0.2 and 0.5.
    HardSigmoid,
    /// `a·tanh(b·x)`; both 1.
    ScaledTanh,
    /// `x` where `x > a`, else 0; `a` 1.
    ThresholdedRelu,
    /// `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// Gelu by its `tanh` approximation.
    GeluTanh,
    /// `x · sigmoid(x)`.
    Silu,
}

impl ActivationKind {
    /// All of them.
    pub const ALL: [ActivationKind; 15] = [
        ActivationKind::Relu,
        ActivationKind::Sigmoid,
        ActivationKind::Tanh,
        ActivationKind::LeakyRelu,
        ActivationKind::Elu,
        ActivationKind::Selu,
        ActivationKind::Softsign,
        ActivationKind::Softplus,
        ActivationKind::Clip,
        ActivationKind::HardSigmoid,
        ActivationKind::ScaledTanh,
        ActivationKind::ThresholdedRelu,
        ActivationKind::Gelu,
        ActivationKind::GeluTanh,
        ActivationKind::Silu,
    ];

    fn defaults(self) -> (f64, f64) {
        match self {
            ActivationKind::LeakyRelu => (0.01, 0.0),
            ActivationKind::Selu => (1.673_263_242_354_377_2, 1.050_700_987_355_480_5),
            ActivationKind::Clip => (0.0, 6.0),
            ActivationKind::HardSigmoid => (0.2, 0.5),
            _ => (1.0, 1.0),
        }
    }

    /// The function as an expression of input 0, of type `dtype`.
    fn expr(self, dtype: DType, a: f64, b: f64) -> Expr {
        use Binary::{Add, Div, Gt, Max, Min, Mul, Sub};
        let mut e = Terms { expr: Expr::empty(), dtype };
        let x = e.expr.push(ExprNode::Input(0));
        let root = match self {
            ActivationKind::Relu => e.unary(Unary::Relu, x),
            ActivationKind::Sigmoid => e.unary(Unary::Sigmoid, x),
            ActivationKind::Tanh => e.unary(Unary::Tanh, x),
            ActivationKind::LeakyRelu => {
                let scaled = e.with(Mul, x, a);
                e.where_positive(x, scaled)
            }
            ActivationKind::Elu | ActivationKind::Selu => {
                let exp = e.unary(Unary::Exp, x);
                let less = e.with(Sub, exp, 1.0);
                let low = e.with(Mul, less, a);
                let both = e.where_positive(x, low);
                if self == ActivationKind::Selu { e.with(Mul, both, b) } else { both }
            }
            ActivationKind::Softsign => {
                let abs = e.unary(Unary::Abs, x);
                let below = e.with(Add, abs, 1.0);
                e.binary(Div, x, below)
            }
            ActivationKind::Softplus | ActivationKind::ScaledTanh => {
                let scaled = if b == 1.0 { x } else { e.with(Mul, x, b) };
                let tanh = self == ActivationKind::ScaledTanh;
                let y = e.unary(if tanh { Unary::Tanh } else { Unary::Softplus }, scaled);
                if a == 1.0 { y } else { e.with(Mul, y, a) }
            }
            ActivationKind::Clip => {
                let low = e.with(Max, x, a);
                e.with(Min, low, b)
            }
            ActivationKind::HardSigmoid => {
                let scaled = e.with(Mul, x, a);
                let shifted = e.with(Add, scaled, b);
                let low = e.with(Max, shifted, 0.0);
                e.with(Min, low, 1.0)
            }
            ActivationKind::ThresholdedRelu => {
                let (above, zero) = (e.with(Gt, x, a), e.number(0.0));
                e.expr.push(ExprNode::Select(above, x, zero))
            }
            ActivationKind::Gelu => {
                let scaled = e.with(Mul, x, std::f64::consts::FRAC_1_SQRT_2);
                let erf = e.unary(Unary::Erf, scaled);
                e.half_of(x, erf)
            }
            ActivationKind::GeluTanh => {
                let square = e.binary(Mul, x, x);
                let cube = e.binary(Mul, square, x);
                let small = e.with(Mul, cube, 0.044_715);
                let sum = e.binary(Add, x, small);
                let scaled = e.with(Mul, sum, 0.797_884_560_802_865_4);
                let tanh = e.unary(Unary::Tanh, scaled);
                e.half_of(x, tanh)
            }
            ActivationKind::Silu => {
                let s = e.unary(Unary::Sigmoid, x);
                e.binary(Mul, x, s)
            }
        };
        e.expr.finish(root)
    }
}

/// Builds an expression of one type.
struct Terms {
    expr: Expr,
    dtype: DType,
}

impl Terms {
    fn number(&mut self, v: f64) -> ExprId {
        self.expr.push(ExprNode::Const(Scalar::of(self.dtype, v)))
    }

    fn unary(&mut self, op: Unary, x: ExprId) -> ExprId {
        self.expr.push(ExprNode::Unary(op, x))
    }

    fn binary(&mut self, op: Binary, x: ExprId, y: ExprId) -> ExprId {
        self.expr.push(ExprNode::Binary(op, x, y))
    }

    fn with(&mut self, op: Binary, x: ExprId, v: f64) -> ExprId {
        let v = self.number(v);
        self.binary(op, x, v)
    }

    /// `x` where it is not negative, else `low`.
    fn where_positive(&mut self, x: ExprId, low: ExprId) -> ExprId {
        let positive = self.with(Binary::Ge, x, 0.0);
        self.expr.push(ExprNode::Select(positive, x, low))
    }

    /// `x/2 · (1 + y)`.
    fn half_of(&mut self, x: ExprId, y: ExprId) -> ExprId {
        let half = self.with(Binary::Mul, x, 0.5);
        let sum = self.with(Binary::Add, y, 1.0);
        self.binary(Binary::Mul, half, sum)
    }
}

/// Parameters of an activation layer.
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    kind: ActivationKind,
    alpha: f64,
    beta: f64,
}

impl NetworkBuilder {
    /// A function of each element. Types other than floats take `Relu` and `Clip` only.
    pub fn add_activation(&mut self, x: TensorRef, kind: ActivationKind) -> Layer<'_, Activation> {
        let (alpha, beta) = kind.defaults();
        self.layer(&[x], Activation { kind, alpha, beta })
    }
}

impl Layer<'_, Activation> {
    /// The parameter `a` of the kind.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.params.alpha = alpha;
        self
    }

    /// The parameter `b` of the kind.
    pub fn beta(mut self, beta: f64) -> Self {
        self.params.beta = beta;
        self
    }
}

impl LayerKind for Activation {
    fn kind(&self) -> &'static str {
        "activation"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let x = ctx.input(0)?;
        let dtype = ctx.ty(x).dtype;
        if !dtype.is_float() && !matches!(self.kind, ActivationKind::Relu | ActivationKind::Clip) {
            return Err(format!("{:?} needs a float tensor, found {}", self.kind, ctx.ty(x)));
        }
        ctx.add(Op::Pointwise(self.kind.expr(dtype, self.alpha, self.beta)), &[x], "")
    }
}
