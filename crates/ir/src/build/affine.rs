//! Scale and normalisation layers.

use tactician_types::{Binary, Expr, ExprNode};

use super::{Layer, LayerKind, Lowering, NetworkBuilder, TensorRef};
use crate::graph::ValueId;
use crate::ops::{GroupNorm, InstanceNorm, LayerNorm, Op, Reshape};
use crate::tensor::{Shape, Tensor};

/// Which elements of a tensor share one coefficient of a scale layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleMode {
    /// All of them: coefficients have one value.
    Uniform,
    /// Those of one channel (axis 1): coefficients have one value a channel.
    Channel,
    /// None: coefficients have the tensor's shape, or one that broadcasts to it.
    Elementwise,
}

/// Parameters of a scale layer, `(x·scale + shift)^power`.
#[derive(Clone, Debug)]
pub struct Scale {
    mode: ScaleMode,
    terms: Vec<(Binary, Tensor)>,
}

/// Parameters of a normalisation layer.
#[derive(Clone, Debug)]
pub struct Normalization {
    axes: Vec<usize>,
    groups: usize,
    epsilon: f32,
}

impl NetworkBuilder {
    /// `(x·scale + shift)^power`, each coefficient optional.
    pub fn add_scale(&mut self, x: TensorRef, mode: ScaleMode) -> Layer<'_, Scale> {
        self.layer(&[x], Scale { mode, terms: Vec::new() })
    }

    /// Normalisation of `x` over `axes` to mean 0 and variance 1, then `·scale + bias`: over all axes from one on
    /// (layer normalisation), or over the spatial axes (instance, or with [`Layer::groups`] group normalisation;
    /// scale and bias then have one value a channel). Epsilon is 1e-5 when not set.
    pub fn add_normalization(
        &mut self,
        x: TensorRef,
        scale: TensorRef,
        bias: TensorRef,
        axes: impl AsRef<[usize]>,
    ) -> Layer<'_, Normalization> {
        let mut axes = axes.as_ref().to_vec();
        axes.sort_unstable();
        self.layer(&[x, scale, bias], Normalization { axes, groups: 1, epsilon: 1e-5 })
    }
}

impl Layer<'_, Scale> {
    /// Factors.
    pub fn scale(self, values: Tensor) -> Self {
        self.term(Binary::Mul, values)
    }

    /// Terms added after the factors.
    pub fn shift(self, values: Tensor) -> Self {
        self.term(Binary::Add, values)
    }

    /// Exponents, last.
    pub fn power(self, values: Tensor) -> Self {
        self.term(Binary::Pow, values)
    }

    fn term(mut self, op: Binary, values: Tensor) -> Self {
        self.params.terms.retain(|(o, _)| *o != op);
        self.params.terms.push((op, values));
        self
    }
}

impl Layer<'_, Normalization> {
    /// Added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.params.epsilon = epsilon;
        self
    }

    /// Channel groups that are normalised together.
    pub fn groups(mut self, groups: usize) -> Self {
        self.params.groups = groups;
        self
    }
}

impl LayerKind for Scale {
    fn kind(&self) -> &'static str {
        "scale"
    }

    fn lower(mut self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let x = ctx.input(0)?;
        let ty = ctx.ty(x);
        self.terms
            .sort_by_key(|(op, _)| [Binary::Mul, Binary::Add, Binary::Pow].iter().position(|o| o == op));
        let mut e = Expr::empty();
        let mut root = e.push(ExprNode::Input(0));
        let mut inputs = vec![x];
        for (op, values) in self.terms {
            let what = if op == Binary::Mul {
                "scale"
            } else if op == Binary::Add {
                "shift"
            } else {
                "power"
            };
            let sizes = match self.mode {
                ScaleMode::Uniform => vec![],
                ScaleMode::Channel if ty.rank() < 2 => {
                    return Err(format!("a tensor of type {ty} has no channels"));
                }
                ScaleMode::Channel => {
                    let channels = &ty.shape.dims()[1];
                    if channels.as_usize().is_some_and(|c| c != values.len()) {
                        return Err(format!("needs a {what} of {channels} values, found {}", values.len()));
                    }
                    let mut sizes = vec![1; ty.rank() - 1];
                    sizes[0] = values.len();
                    sizes
                }
                ScaleMode::Elementwise => values.sizes().to_vec(),
            };
            let values = values
                .reshaped(&sizes)
                .map_err(|_| format!("needs a {what} of one value, found {}", values.len()))?;
            let number = e.push(ExprNode::Input(inputs.len() as u16));
            inputs.push(ctx.constant(values, &format!(".{what}")));
            root = e.push(ExprNode::Binary(op, root, number));
        }
        let y = ctx.add(Op::Pointwise(e.finish(root)), &inputs, "")?;
        if ctx.ty(y) != ty {
            return Err(format!("the coefficients do not broadcast to {ty}"));
        }
        Ok(y)
    }
}

impl LayerKind for Normalization {
    fn kind(&self) -> &'static str {
        "normalization"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let Normalization { axes, groups, epsilon } = self;
        let (x, mut operands) = (ctx.input(0)?, vec![ctx.input(0)?]);
        let ty = ctx.ty(x);
        let tail = |from: usize| axes.iter().copied().eq(from..ty.rank());
        let spatial = ty.rank() > 2 && tail(2);
        let op = match axes.first() {
            Some(_) if spatial && groups > 1 => Op::GroupNorm(GroupNorm { groups, epsilon }),
            Some(_) if groups != 1 => return Err("groups need the axes to be the spatial ones".into()),
            Some(_) if spatial => Op::InstanceNorm(InstanceNorm { epsilon }),
            Some(&axis) if tail(axis) => Op::LayerNorm(LayerNorm { axis, epsilon }),
            _ => {
                let rank = ty.rank();
                return Err(format!(
                    "axes {axes:?} are not all axes of {ty} from one on (up to {})",
                    rank.max(1) - 1
                ));
            }
        };
        for (i, what) in [(1, "scale"), (2, "bias")] {
            let v = ctx.input(i)?;
            let given = ctx.ty(v);
            // One value a channel may come as `[1, C, 1, 1]`.
            operands.push(if spatial && given.rank() > 1 {
                let c = ty.shape.dims()[1].clone();
                let count = given.shape.elements();
                if count != c {
                    return Err(format!("the {what} {given} must have one value for each of {c} channels"));
                }
                let shape = Shape::from([count]);
                ctx.add(Op::Reshape(Reshape { shape }), &[v], &format!(".{what}"))?
            } else {
                v
            });
        }
        ctx.add(op, &operands, "")
    }
}
