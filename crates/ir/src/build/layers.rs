//! Layers that compute: pooling, matrix products, pointwise functions, reductions.

use tactician_types::{Binary, DType, Expr, ExprNode, Unary};

use super::convolution::per_axis;
use super::{Layer, LayerKind, Lowering, NetworkBuilder, TensorRef};
use crate::graph::ValueId;
use crate::ops::*;
use crate::tensor::Tensor;

/// Parameters of a constant layer.
#[derive(Clone, Debug)]
pub struct Constant(Tensor);

/// A layer that is one operation, without parameters to set.
#[derive(Clone, Debug)]
pub struct Simple(&'static str, Op);

impl Simple {
    pub(super) fn new(kind: &'static str, op: Op) -> Simple {
        Simple(kind, op)
    }
}

/// Parameters of a pooling layer.
#[derive(Clone, Debug)]
pub struct Pooling {
    kind: PoolKind,
    window: Vec<usize>,
    strides: Option<Vec<usize>>,
    before: Option<Vec<usize>>,
    after: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    ceil: bool,
}

/// Parameters of a matrix product.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatrixMultiply(MatMul);

/// Parameters of a concatenation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Concatenation(Option<usize>);

/// Parameters of a softmax.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftMax {
    axis: Option<usize>,
    log: bool,
}

impl NetworkBuilder {
    /// A constant tensor.
    pub fn add_constant(&mut self, tensor: Tensor) -> Layer<'_, Constant> {
        self.layer(&[], Constant(tensor))
    }

    /// Pooling of `x [N, C, spatial…]` over windows.
    pub fn add_pooling(
        &mut self,
        x: TensorRef,
        kind: PoolKind,
        window: impl AsRef<[usize]>,
    ) -> Layer<'_, Pooling> {
        let (strides, before, after, dilations) = (None, None, None, None);
        let window = window.as_ref().to_vec();
        self.layer(&[x], Pooling { kind, window, strides, before, after, dilations, ceil: false })
    }

    /// The matrix product `a·b` over the last two axes.
    pub fn add_matmul(&mut self, a: TensorRef, b: TensorRef) -> Layer<'_, MatrixMultiply> {
        self.layer(&[a, b], MatrixMultiply::default())
    }

    /// A function of two tensors' elements, broadcast as in NumPy.
    pub fn add_elementwise(&mut self, a: TensorRef, b: TensorRef, op: Binary) -> Layer<'_, Simple> {
        self.layer(&[a, b], Simple("elementwise", Op::Pointwise(Expr::binary(op))))
    }

    /// A function of each element.
    pub fn add_unary(&mut self, x: TensorRef, op: Unary) -> Layer<'_, Simple> {
        self.layer(&[x], Simple("unary", Op::Pointwise(Expr::unary(op))))
    }

    /// `a` where `condition` (`bool`) holds, else `b`, broadcast as in NumPy.
    pub fn add_select(&mut self, condition: TensorRef, a: TensorRef, b: TensorRef) -> Layer<'_, Simple> {
        let mut e = Expr::empty();
        let [c, x, y] = [0, 1, 2].map(|i| e.push(ExprNode::Input(i)));
        e.push(ExprNode::Select(c, x, y));
        self.layer(&[condition, a, b], Simple("select", Op::Pointwise(e)))
    }

    /// Tensors joined along the channel axis (third from the end), or another set with [`Layer::axis`].
    pub fn add_concatenation(&mut self, tensors: &[TensorRef]) -> Layer<'_, Concatenation> {
        self.layer(tensors, Concatenation::default())
    }

    /// Softmax along the channel axis (third from the end), or another set with [`Layer::axis`].
    pub fn add_softmax(&mut self, x: TensorRef) -> Layer<'_, SoftMax> {
        self.layer(&[x], SoftMax::default())
    }

    /// Reduction over whole axes.
    pub fn add_reduce(
        &mut self,
        x: TensorRef,
        kind: ReduceKind,
        axes: impl AsRef<[usize]>,
        keep_dims: bool,
    ) -> Layer<'_, Simple> {
        let mut axes = axes.as_ref().to_vec();
        axes.sort_unstable();
        self.layer(&[x], Simple("reduce", Op::Reduce(Reduce { kind, axes, keep_dims })))
    }

    /// `x / (k + alpha/size · Σ x²)^beta` over `size` neighbouring channels.
    pub fn add_lrn(&mut self, x: TensorRef, size: usize, alpha: f32, beta: f32, k: f32) -> Layer<'_, Simple> {
        self.layer(&[x], Simple("lrn", Op::Lrn(Lrn { size, alpha, beta, bias: k })))
    }

    /// Slices of `x` picked by index along an axis.
    pub fn add_gather(&mut self, x: TensorRef, indices: TensorRef, axis: usize) -> Layer<'_, Simple> {
        self.layer(&[x, indices], Simple("gather", Op::Gather(Gather { axis })))
    }

    /// The tensor itself.
    pub fn add_identity(&mut self, x: TensorRef) -> Layer<'_, Simple> {
        self.layer(&[x], Simple("identity", Op::Pointwise(Expr::identity())))
    }

    /// Conversion to another element type.
    pub fn add_cast(&mut self, x: TensorRef, to: DType) -> Layer<'_, Simple> {
        let mut e = Expr::identity();
        e.push(ExprNode::Cast(to, 0));
        self.layer(&[x], Simple("cast", Op::Pointwise(e)))
    }
}

impl Layer<'_, Pooling> {
    /// Step between windows, one a spatial axis; 1 when not set.
    pub fn stride(mut self, stride: impl AsRef<[usize]>) -> Self {
        self.params.strides = Some(stride.as_ref().to_vec());
        self
    }

    /// Padding on both sides, one a spatial axis; none when not set.
    pub fn padding(self, padding: impl AsRef<[usize]>) -> Self {
        self.pre_padding(padding.as_ref()).post_padding(padding.as_ref())
    }

    /// Padding before the data.
    pub fn pre_padding(mut self, padding: impl AsRef<[usize]>) -> Self {
        self.params.before = Some(padding.as_ref().to_vec());
        self
    }

    /// Padding after the data.
    pub fn post_padding(mut self, padding: impl AsRef<[usize]>) -> Self {
        self.params.after = Some(padding.as_ref().to_vec());
        self
    }

    /// Step inside a window; 1 when not set.
    pub fn dilation(mut self, dilation: impl AsRef<[usize]>) -> Self {
        self.params.dilations = Some(dilation.as_ref().to_vec());
        self
    }

    /// Counts a last, partial window.
    pub fn ceil(mut self) -> Self {
        self.params.ceil = true;
        self
    }
}

impl Layer<'_, MatrixMultiply> {
    /// Takes `a` as stored transposed.
    pub fn transpose_a(mut self) -> Self {
        self.params.0.trans_a = true;
        self
    }

    /// Takes `b` as stored transposed.
    pub fn transpose_b(mut self) -> Self {
        self.params.0.trans_b = true;
        self
    }
}

impl Layer<'_, Concatenation> {
    /// The axis to join along.
    pub fn axis(mut self, axis: usize) -> Self {
        self.params.0 = Some(axis);
        self
    }
}

impl Layer<'_, SoftMax> {
    /// The axis.
    pub fn axis(mut self, axis: usize) -> Self {
        self.params.axis = Some(axis);
        self
    }

    /// Takes the logarithm.
    pub fn log(mut self) -> Self {
        self.params.log = true;
        self
    }
}

impl LayerKind for Constant {
    fn kind(&self) -> &'static str {
        "constant"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        Ok(ctx.constant(self.0, ""))
    }
}

impl LayerKind for Simple {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let inputs = ctx.inputs.clone();
        ctx.add(self.1, &inputs, "")
    }
}

impl LayerKind for Pooling {
    fn kind(&self) -> &'static str {
        "pooling"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let n = self.window.len();
        let before = per_axis(self.before, n, 0, "pre-padding")?;
        let after = per_axis(self.after, n, 0, "post-padding")?;
        let pool = Pool {
            kind: self.kind,
            window: self.window,
            strides: per_axis(self.strides, n, 1, "stride")?,
            pads: before.into_iter().zip(after).collect(),
            dilations: per_axis(self.dilations, n, 1, "dilation")?,
            ceil: self.ceil,
        };
        ctx.add(Op::Pool(pool), &[ctx.input(0)?], "")
    }
}

impl LayerKind for MatrixMultiply {
    fn kind(&self) -> &'static str {
        "matmul"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        ctx.add(Op::MatMul(self.0), &[ctx.input(0)?, ctx.input(1)?], "")
    }
}

/// The channel axis: third from the end, or the first.
fn channel_axis(ctx: &Lowering<'_>, given: Option<usize>) -> Result<usize, String> {
    let rank = ctx.ty(ctx.input(0)?).rank();
    Ok(given.unwrap_or(rank.saturating_sub(3)))
}

impl LayerKind for Concatenation {
    fn kind(&self) -> &'static str {
        "concatenation"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let axis = channel_axis(ctx, self.0)?;
        let inputs = ctx.inputs.clone();
        ctx.add(Op::Concat(Concat { axis }), &inputs, "")
    }
}

impl LayerKind for SoftMax {
    fn kind(&self) -> &'static str {
        "softmax"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let axis = channel_axis(ctx, self.axis)?;
        ctx.add(Op::Softmax(Softmax { axis, log: self.log }), &[ctx.input(0)?], "")
    }
}
