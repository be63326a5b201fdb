//! Layers that move elements: shuffles, slices, borders, resampling.

use tactician_types::Scalar;

use super::layers::Simple;
use super::{Layer, LayerKind, Lowering, NetworkBuilder, TensorRef};
use crate::dim::Dim;
use crate::graph::ValueId;
use crate::ops::*;
use crate::tensor::Shape;

/// Parameters of a shuffle: transpose, reshape, transpose, each optional.
#[derive(Clone, Debug, Default)]
pub struct Shuffle {
    first: Option<Vec<usize>>,
    shape: Option<Shape>,
    second: Option<Vec<usize>>,
}

/// Parameters of a slice.
#[derive(Clone, Debug)]
pub struct Slicing {
    start: Vec<Dim>,
    size: Vec<Dim>,
    stride: Vec<i64>,
}

/// Parameters of a padding layer.
#[derive(Clone, Debug)]
pub struct Padding {
    before: Vec<i64>,
    after: Vec<i64>,
    fill: Fill,
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    Value(f64),
    Reflect,
    Edge,
    Wrap,
}

/// Parameters of a resize layer.
#[derive(Clone, Debug)]
pub struct Resizing {
    shape: Option<Shape>,
    scales: Option<Vec<f32>>,
    mode: ResizeMode,
    coordinates: CoordinateMode,
}

impl NetworkBuilder {
    /// Transposes and reshapes; see the setters.
    pub fn add_shuffle(&mut self, x: TensorRef) -> Layer<'_, Shuffle> {
        self.layer(&[x], Shuffle::default())
    }

    /// A strided part: `size[i]` elements of axis `i`, from `start[i]` on in steps of `stride[i]`.
    pub fn add_slice(
        &mut self,
        x: TensorRef,
        start: impl Into<Shape>,
        size: impl Into<Shape>,
        stride: impl AsRef<[i64]>,
    ) -> Layer<'_, Slicing> {
        let (start, size) = (start.into().dims().to_vec(), size.into().dims().to_vec());
        self.layer(&[x], Slicing { start, size, stride: stride.as_ref().to_vec() })
    }

    /// Borders round the last axes, as many as the lists have entries; negative ones crop. Zeros unless set.
    pub fn add_padding(
        &mut self,
        x: TensorRef,
        before: impl AsRef<[i64]>,
        after: impl AsRef<[i64]>,
    ) -> Layer<'_, Padding> {
        let (before, after) = (before.as_ref().to_vec(), after.as_ref().to_vec());
        self.layer(&[x], Padding { before, after, fill: Fill::Value(0.0) })
    }

    /// Resampling to [`Layer::shape`] or by [`Layer::scales`]; nearest neighbours, rounded down, unless set.
    pub fn add_resize(&mut self, x: TensorRef) -> Layer<'_, Resizing> {
        let params = Resizing {
            shape: None,
            scales: None,
            mode: ResizeMode::Nearest(NearestMode::Floor),
            coordinates: CoordinateMode::Asymmetric,
        };
        self.layer(&[x], params)
    }

    /// Broadcast to a shape, as NumPy does it.
    pub fn add_expand(&mut self, x: TensorRef, shape: impl Into<Shape>) -> Layer<'_, Simple> {
        self.layer(&[x], Simple::new("expand", Op::Expand(Expand { shape: shape.into() })))
    }
}

impl Layer<'_, Shuffle> {
    /// Permutes the axes first: axis `i` becomes axis `perm[i]` of the input.
    pub fn first_transpose(mut self, perm: impl AsRef<[usize]>) -> Self {
        self.params.first = Some(perm.as_ref().to_vec());
        self
    }

    /// Reshapes. A size of 0 copies the axis at its place, one size of -1 is found from the rest.
    pub fn reshape(mut self, shape: impl Into<Shape>) -> Self {
        self.params.shape = Some(shape.into());
        self
    }

    /// Permutes the axes last.
    pub fn second_transpose(mut self, perm: impl AsRef<[usize]>) -> Self {
        self.params.second = Some(perm.as_ref().to_vec());
        self
    }
}

impl Layer<'_, Padding> {
    /// Fills with a value.
    pub fn value(self, value: f64) -> Self {
        self.fill(Fill::Value(value))
    }

    /// Mirrors without repeating the edge.
    pub fn reflect(self) -> Self {
        self.fill(Fill::Reflect)
    }

    /// Repeats the edge.
    pub fn edge(self) -> Self {
        self.fill(Fill::Edge)
    }

    /// Wraps round.
    pub fn wrap(self) -> Self {
        self.fill(Fill::Wrap)
    }

    fn fill(mut self, fill: Fill) -> Self {
        self.params.fill = fill;
        self
    }
}

impl Layer<'_, Resizing> {
    /// Output sizes, one an axis.
    pub fn shape(mut self, shape: impl Into<Shape>) -> Self {
        self.params.shape = Some(shape.into());
        self
    }

    /// Output size over input size, one an axis.
    pub fn scales(mut self, scales: impl AsRef<[f32]>) -> Self {
        self.params.scales = Some(scales.as_ref().to_vec());
        self
    }

    /// The interpolation.
    pub fn mode(mut self, mode: ResizeMode) -> Self {
        self.params.mode = mode;
        self
    }

    /// The coordinate mapping.
    pub fn coordinates(mut self, coordinates: CoordinateMode) -> Self {
        self.params.coordinates = coordinates;
        self
    }
}

/// A shape with 0 and -1 filled in.
fn complete(shape: &Shape, from: &Shape) -> Result<Shape, String> {
    let mut out = shape.clone();
    for (i, d) in out.0.iter_mut().enumerate() {
        if d.is(0) {
            *d = from
                .dims()
                .get(i)
                .cloned()
                .ok_or_else(|| format!("size 0 copies axis {i}, but {from} has none"))?;
        }
    }
    let open: Vec<usize> = (0..out.rank()).filter(|&i| out.0[i].is(-1)).collect();
    match open.as_slice() {
        [] => {}
        &[at] => {
            out.0[at] = Dim::known(1);
            // Symbols that stand on both sides cancel; quotients of polynomials do not simplify.
            let mut left: Vec<Dim> = from.dims().to_vec();
            let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::known(1), |a, b| a * b);
            let mut right = Vec::new();
            for d in out.dims() {
                match left.iter().position(|l| l == d && d.as_i64().is_none()) {
                    Some(i) => drop(left.swap_remove(i)),
                    None => right.push(d.clone()),
                }
            }
            let (all, rest) = (product(&left), product(&right));
            let size = all.div_floor(&rest);
            if rest.is(0) || size.clone() * rest != all {
                return Err(format!("{from} does not divide into {shape}"));
            }
            out.0[at] = size;
        }
        _ => return Err(format!("{shape} has more than one size of -1")),
    }
    Ok(out)
}

impl LayerKind for Shuffle {
    fn kind(&self) -> &'static str {
        "shuffle"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let x = ctx.input(0)?;
        let mut y = x;
        if let Some(perm) = self.first {
            let suffix = if self.shape.is_some() || self.second.is_some() { ".first" } else { "" };
            y = ctx.add(Op::Transpose(Transpose { perm }), &[y], suffix)?;
        }
        if let Some(shape) = self.shape {
            let shape = complete(&shape, &ctx.ty(y).shape)?;
            let suffix = if self.second.is_some() { ".reshape" } else { "" };
            y = ctx.add(Op::Reshape(Reshape { shape }), &[y], suffix)?;
        }
        if let Some(perm) = self.second {
            y = ctx.add(Op::Transpose(Transpose { perm }), &[y], "")?;
        }
        Ok(y)
    }
}

impl LayerKind for Slicing {
    fn kind(&self) -> &'static str {
        "slice"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let x = ctx.input(0)?;
        let ty = ctx.ty(x);
        if [self.start.len(), self.size.len(), self.stride.len()].iter().any(|&n| n != ty.rank()) {
            return Err(format!("start, size and stride need one entry for each axis of {ty}"));
        }
        let parts = self.start.into_iter().zip(self.size).zip(self.stride).enumerate();
        let axes = parts
            .filter(|(i, ((start, len), step))| !(start.is(0) && *step == 1 && *len == ty.shape.dims()[*i]))
            .map(|(axis, ((start, len), step))| SliceAxis { axis, start, len, step })
            .collect();
        ctx.add(Op::Slice(Slice { axes }), &[x], "")
    }
}

impl LayerKind for Padding {
    fn kind(&self) -> &'static str {
        "padding"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let mut x = ctx.input(0)?;
        let ty = ctx.ty(x);
        let n = self.before.len();
        if self.after.len() != n || n > ty.rank() {
            let lens = (n, self.after.len());
            return Err(format!(
                "needs one list length up to the rank of {ty}, found {} and {}",
                lens.0, lens.1
            ));
        }
        let first = ty.rank() - n;
        let sides: Vec<(i64, i64)> = self.before.into_iter().zip(self.after).collect();
        let crop = |v: i64| Dim::known(v.saturating_neg().max(0));
        let axes: Vec<SliceAxis> = (first..ty.rank())
            .zip(&sides)
            .filter(|(_, (a, b))| *a < 0 || *b < 0)
            .map(|(axis, &(a, b))| {
                let len = ty.shape.dims()[axis].clone() - crop(a) - crop(b);
                SliceAxis { axis, start: crop(a), len, step: 1 }
            })
            .collect();
        let grows = sides.iter().any(|&(a, b)| a > 0 || b > 0);
        if !axes.is_empty() {
            x = ctx.add(Op::Slice(Slice { axes }), &[x], if grows { ".crop" } else { "" })?;
            if !grows {
                return Ok(x);
            }
        }
        let size = |v: i64| usize::try_from(v).unwrap_or(0);
        let mut pads = vec![(0, 0); first];
        pads.extend(sides.iter().map(|&(a, b)| (size(a), size(b))));
        let mode = match self.fill {
            Fill::Value(v) => PadMode::Constant(Scalar::of(ty.dtype, v)),
            Fill::Reflect => PadMode::Reflect,
            Fill::Edge => PadMode::Edge,
            Fill::Wrap => PadMode::Wrap,
        };
        ctx.add(Op::Pad(Pad { pads, mode }), &[x], "")
    }
}

impl LayerKind for Resizing {
    fn kind(&self) -> &'static str {
        "resize"
    }

    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String> {
        let x = ctx.input(0)?;
        let ty = ctx.ty(x);
        let given = self.shape.as_ref().map(Shape::rank).or(self.scales.as_ref().map(Vec::len));
        if given != Some(ty.rank()) || (self.shape.is_some() && self.scales.is_some()) {
            return Err(format!("needs either a shape or scales, one entry for each axis of {ty}"));
        }
        let mut axes = Vec::new();
        for (axis, from) in ty.shape.dims().iter().enumerate() {
            let (size, scale) = match (&self.shape, &self.scales) {
                (Some(shape), _) => {
                    let to = &shape.dims()[axis];
                    if to == from {
                        continue;
                    }
                    match (from.as_usize(), to.as_usize()) {
                        (Some(f), Some(t)) if f > 0 => (to.clone(), t as f32 / f as f32),
                        _ => {
                            return Err(format!("axis {axis} of {ty} cannot be resized from {from} to {to}"));
                        }
                    }
                }
                (None, scales) => {
                    let scale = scales.as_ref().and_then(|s| s.get(axis)).copied().unwrap_or(1.0);
                    if scale == 1.0 {
                        continue;
                    }
                    (
                        scaled(from, scale)
                            .ok_or_else(|| format!("axis {axis} of {ty} cannot be scaled by {scale}"))?,
                        scale,
                    )
                }
            };
            axes.push(ResizeAxis { axis, size, scale, roi: (0.0, 1.0) });
        }
        let Resizing { mode, coordinates, .. } = self;
        ctx.add(Op::Resize(Resize { axes, mode, coordinates, extrapolation: 0.0 }), &[x], "")
    }
}

/// `floor(size·scale)`; a symbol takes whole scales only.
fn scaled(size: &Dim, scale: f32) -> Option<Dim> {
    if !(scale.is_finite() && scale > 0.0) {
        return None;
    }
    match size.as_usize() {
        Some(n) => Some(Dim::from((n as f64 * f64::from(scale)).floor() as usize)),
        None if scale.fract() == 0.0 => Some(size.clone() * Dim::known(scale as i64)),
        None => None,
    }
}
