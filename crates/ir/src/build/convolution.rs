//! Convolution and deconvolution layers.

use super::weights::Source;
use super::{Layer, LayerKind, Lowering, NetworkBuilder, TensorRef, Weights};
use crate::graph::ValueId;
use crate::ops::{Conv, ConvTranspose, Op};
use crate::tensor::TensorType;

/// Parameters of a convolution layer.
#[derive(Clone, Debug)]
pub struct Convolution {
    filters: usize,
    kernel: Vec<usize>,
    weights: Source,
    bias: Option<Source>,
    strides: Option<Vec<usize>>,
    before: Option<Vec<usize>>,
    after: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    groups: usize,
}

/// Parameters of a deconvolution (transposed convolution) layer.
#[derive(Clone, Debug)]
pub struct Deconvolution {
    common: Convolution,
    output_padding: Option<Vec<usize>>,
}

impl NetworkBuilder {
    /// A convolution of `x [N, C, spatial…]` with `filters` filters of size `kernel`; weights
    /// `[filters, C/groups, kernel…]`, bias `[filters]`.
    pub fn add_convolution(
        &mut self,
        x: TensorRef,
        filters: usize,
        kernel: impl AsRef<[usize]>,
        weights: impl Into<Weights>,
        bias: Option<Weights>,
    ) -> Layer<'_, Convolution> {
        let mut inputs = vec![x];
        let params = Convolution::new(filters, kernel.as_ref(), weights.into(), bias, &mut inputs);
        self.layer(&inputs, params)
    }

    /// A transposed convolution of `x [N, C, spatial…]` with `filters` output channels; weights
    /// `[C, filters/groups, kernel…]`, bias `[filters]`.
    pub fn add_deconvolution(
        &mut self,
        x: TensorRef,
        filters: usize,
        kernel: impl AsRef<[usize]>,
        weights: impl Into<Weights>,
        bias: Option<Weights>,
    ) -> Layer<'_, Deconvolution> {
        let mut inputs = vec![x];
        let common = Convolution::new(filters, kernel.as_ref(), weights.into(), bias, &mut inputs);
        self.layer(&inputs, Deconvolution { common, output_padding: None })
    }
}

macro_rules! window_setters {
    ($layer:ty, $($path:ident).+) => {
        impl $layer {
            /// Step between windows, one a spatial axis; 1 when not set.
            pub fn stride(mut self, stride: impl AsRef<[usize]>) -> Self {
                self.$($path).+.strides = Some(stride.as_ref().to_vec());
                self
            }

            /// Padding on both sides, one a spatial axis; none when not set.
            pub fn padding(self, padding: impl AsRef<[usize]>) -> Self {
                self.pre_padding(padding.as_ref()).post_padding(padding.as_ref())
            }

            /// Padding before the data.
            pub fn pre_padding(mut self, padding: impl AsRef<[usize]>) -> Self {
                self.$($path).+.before = Some(padding.as_ref().to_vec());
                self
            }

            /// Padding after the data.
            pub fn post_padding(mut self, padding: impl AsRef<[usize]>) -> Self {
                self.$($path).+.after = Some(padding.as_ref().to_vec());
                self
            }

            /// Step inside a window; 1 when not set.
            pub fn dilation(mut self, dilation: impl AsRef<[usize]>) -> Self {
                self.$($path).+.dilations = Some(dilation.as_ref().to_vec());
                self
            }

            /// Channel groups; 1 when not set.
            pub fn groups(mut self, groups: usize) -> Self {
                self.$($path).+.groups = groups;
                self
            }
        }
    };
}
window_setters!(Layer<'_, Convolution>, params);
window_setters!(Layer<'_, Deconvolution>, params.common);

impl Layer<'_, Deconvolution> {
    /// Added at the end of each axis; none when not set.
    pub fn output_padding(mut self, padding: impl AsRef<[usize]>) -> Self {
        self.params.output_padding = Some(padding.as_ref().to_vec());
        self
    }
}

/// A list with one entry a spatial axis, or the default for all of them.
pub(super) fn per_axis(
    list: Option<Vec<usize>>,
    n: usize,
    default: usize,
    what: &str,
) -> Result<Vec<usize>, String> {
    match list {
        None => Ok(vec![default; n]),
        Some(l) if l.len() == n => Ok(l),
        Some(l) => Err(format!("{what} has {} entries for {n} spatial axes", l.len())),
    }
}

impl Convolution {
    fn new(
        filters: usize,
        kernel: &[usize],
        weights: Weights,
        bias: Option<Weights>,
        inputs: &mut Vec<TensorRef>,
    ) -> Convolution {
        Convolution {
            filters,
            kernel: kernel.to_vec(),
            weights: Source::of(weights, inputs),
            bias: bias.map(|b| Source::of(b, inputs)),
            strides: None,
            before: None,
            after: None,
            dilations: None,
            groups: 1,
        }
    }

    /// The input's known channels, and its type.
    fn channels(&self, ctx: &Lowering<'_>) -> Result<(Result<usize, String>, TensorType), String> {
        let ty = ctx.ty(ctx.input(0)?);
        if ty.rank() != self.kernel.len() + 2 {
            let n = self.kernel.len();
            return Err(format!("a kernel of {n} axes needs a tensor of rank {}, found {ty}", n + 2));
        }
        if self.groups == 0 {
            return Err("the number of groups must be at least 1".into());
        }
        let known = ty.shape.dims().get(1).and_then(|d| d.as_usize());
        let known = known.ok_or_else(|| format!("the number of channels of {ty} must be known"));
        Ok((known, ty))
    }

    fn window(self) -> Result<(Conv, usize), String> {
        let n = self.kernel.len();
        let before = per_axis(self.before, n, 0, "pre-padding")?;
        let after = per_axis(self.after, n, 0, "post-padding")?;
        let conv = Conv {
            strides: per_axis(self.strides, n, 1, "stride")?,
            pads: before.into_iter().zip(after).collect(),
            dilations: per_axis(self.dilations, n, 1, "dilation")?,
            groups: self.groups,
        };
        Ok((conv, n))
    }

    /// Operands `x, w [, bias]`; `sizes` are the weights' before the kernel's.
    fn operands(
        &self,
        ctx: &mut Lowering<'_>,
        ty: &TensorType,
        sizes: Result<[usize; 2], String>,
        fan_in: usize,
    ) -> Result<Vec<ValueId>, String> {
        let sizes = sizes.map(|s| s.iter().chain(&self.kernel).copied().collect());
        let limit = (6.0 / fan_in.max(1) as f32).sqrt();
        let mut operands = vec![ctx.input(0)?];
        operands.push(ctx.weights(self.weights.clone(), ty.dtype, sizes, limit, ".weight")?);
        if let Some(bias) = self.bias.clone() {
            operands.push(ctx.weights(bias, ty.dtype, Ok(vec![self.filters]), 0.1, ".bias")?);
        }
        // Computed weights need not have the shape that the layer was told.
        let found = ctx.ty(operands[1]);
        let window: Vec<_> = found.shape.dims().iter().skip(2).map(|d| d.as_usize()).collect();
        if window.len() != self.kernel.len()
            || window.iter().zip(&self.kernel).any(|(w, &k)| w.is_some_and(|w| w != k))
        {
            return Err(format!("the kernel is {:?}, but the weights are {found}", self.kernel));
        }
        Ok(operands)
    }

    fn volume(&self) -> usize {
        self.kernel.iter().fold(1usize, |a, &b| a.saturating_mul(b))
    }
}

impl LayerKind for Convolution {
    fn kind(&self) -> &'static str {
        "convolution"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let (channels, ty) = self.channels(ctx)?;
        if channels.as_ref().is_ok_and(|c| c % self.groups != 0) {
            return Err(format!("the channels of {ty} do not divide into {} groups", self.groups));
        }
        let per_group = channels.as_ref().map_or(1, |c| c / self.groups);
        let sizes = channels.map(|c| [self.filters, c / self.groups]);
        let operands = self.operands(ctx, &ty, sizes, per_group.saturating_mul(self.volume()))?;
        let filters = ctx.ty(operands[1]).shape.dims()[0].as_usize();
        if filters.is_some_and(|f| f != self.filters) {
            return Err(format!("has {} filters, but weights {}", self.filters, ctx.ty(operands[1])));
        }
        let (conv, _) = self.window()?;
        ctx.add(Op::Conv(conv), &operands, "")
    }
}

impl LayerKind for Deconvolution {
    fn kind(&self) -> &'static str {
        "deconvolution"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let Deconvolution { common, output_padding } = self;
        let (channels, ty) = common.channels(ctx)?;
        if common.filters % common.groups != 0 {
            return Err(format!("{} filters do not divide into {} groups", common.filters, common.groups));
        }
        let per_group = common.filters / common.groups;
        let fan_in = channels.clone().map_or(1, |c| c / common.groups).saturating_mul(common.volume());
        let operands = common.operands(ctx, &ty, channels.map(|c| [c, per_group]), fan_in)?;
        let (Conv { strides, pads, dilations, groups }, n) = common.window()?;
        let output_padding = per_axis(output_padding, n, 0, "output padding")?;
        let op = ConvTranspose { strides, pads, dilations, output_padding, groups };
        ctx.add(Op::ConvTranspose(op), &operands, "")
    }
}
