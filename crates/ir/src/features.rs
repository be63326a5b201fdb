//! What a problem is in numbers: sizes, arithmetic, traffic. For data sets of measurements and for heuristics.

use serde::{Deserialize, Serialize};
use tactician_types::{DType, Expr, ExprNode};

use crate::ops::{Op, ReduceKind, ResizeMode};
use crate::region::Problem;

/// A problem in numbers.
///
/// # Arithmetic
///
/// One operation is one addition, multiplication, comparison or other function of numbers, so that a multiply-add counts
/// two and an exponential one. Conversions and constants count nothing. It is the arithmetic of the definition, whatever a
/// tactic does (Winograd's convolution does less). With `E` for the elements of the anchor's result and `I` for those of
/// its first operand:
///
/// | anchor | operations |
/// |---|---|
/// | `conv` | 2 · E · channels/groups · elements of a window; padding counts as if it were multiplied |
/// | `conv_transpose` | 2 · I · kernels/groups · elements of a window; what is cropped counts too |
/// | `matmul` | 2 · E · K |
/// | `pool` | E · elements of a window; `Lp` twice that, for the powers |
/// | `reduce` | I; twice that where each element is squared, made positive or exponentiated first |
/// | `arg_reduce` | I |
/// | `softmax` | 5 · I: largest, subtract, exponential, sum, divide (or subtract) |
/// | `batch_norm` | 2 · I: the statistics are known, which leaves a scale and a shift |
/// | `attention` | B · Hq · Sq · Sk · (2 · D + 2 · Dv + 5): two products and a softmax between them |
/// | `layer_norm` | 6 · I: sum, subtract, square, sum, and once more subtract and scale; one more for each of scale and bias |
/// | `instance_norm`, `group_norm` | 8 · I, likewise |
/// | `rms_norm` | 3 · I: square, sum, scale; one more for a scale |
/// | `lrn` | I · (size + 5): square, `size` additions, scale, shift, power, multiply |
/// | `resize` | nearest 0; else 2 · E · 2 (linear) or 4 (cubic) to the number of resized axes |
/// | `pointwise` | E · operations of the expression |
/// | others | 0: they move elements |
///
/// # Traffic
///
/// The least that must move: each operand read once, the output written once, as stored, without padding of layouts and
/// without scratch. Of what is only picked from (`slice`, `gather`), as much as the result holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// The anchor's operation, such as `conv`.
    pub op: String,
    /// Type of the anchor's result.
    pub dtype: DType,
    /// Sizes of the anchor's result.
    pub result: Vec<u64>,
    /// Sizes of a convolution, transposed or not, or of a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowFeatures>,
    /// Sizes of a matrix product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductFeatures>,
    /// Operations of the anchor.
    pub anchor_flops: u64,
    /// Operations of the epilogue on all elements.
    pub epilogue_flops: u64,
    /// Operations of the epilogue on one element.
    pub epilogue_ops: u64,
    /// Operands that only the epilogue reads.
    pub epilogue_operands: u64,
    /// Bytes of operands other than constants.
    pub bytes_read: u64,
    /// Bytes of constant operands: weights, biases.
    pub constant_bytes: u64,
    /// Bytes of the output.
    pub bytes_written: u64,
}

/// Sizes of an operation over windows, spatial axes in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowFeatures {
    /// Images.
    pub batch: u64,
    /// Channels of the input.
    pub in_channels: u64,
    /// Channels of the output.
    pub out_channels: u64,
    /// Channel groups; of a pool, the channels.
    pub groups: u64,
    /// Spatial sizes of the input.
    pub input: Vec<u64>,
    /// Spatial sizes of the output.
    pub output: Vec<u64>,
    /// Window.
    pub kernel: Vec<u64>,
    /// Step between windows.
    pub strides: Vec<u64>,
    /// Step inside a window.
    pub dilations: Vec<u64>,
    /// Padding before and after.
    pub pads: Vec<(u64, u64)>,
}

/// Sizes of a matrix product: so many products of `M x K` by `K x N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductFeatures {
    /// Products in the batch.
    pub matrices: u64,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Terms of each sum.
    pub k: u64,
}

impl Features {
    /// Operations in all.
    pub fn flops(&self) -> u64 {
        self.anchor_flops.saturating_add(self.epilogue_flops)
    }

    /// Bytes moved in all.
    pub fn bytes(&self) -> u64 {
        self.bytes_read.saturating_add(self.constant_bytes).saturating_add(self.bytes_written)
    }

    /// Arithmetic intensity: operations a byte moved; 0 where nothing moves.
    pub fn intensity(&self) -> f64 {
        if self.bytes() == 0 { 0.0 } else { self.flops() as f64 / self.bytes() as f64 }
    }
}

impl Problem {
    /// The problem in numbers. A size that is not known counts 0; sums stop at the largest number.
    pub fn features(&self) -> Features {
        let window = window(self);
        let product = product(self);
        let elements = count(&sizes(&self.result));
        let epilogue_ops = operations(&self.epilogue);
        let (mut bytes_read, mut constant_bytes) = (0u64, 0u64);
        for (i, o) in self.operands.iter().enumerate() {
            let mut bytes = o.ty.bytes().unwrap_or(0);
            if i == 0 && matches!(self.anchor, Op::Slice(_) | Op::Gather(_) | Op::GatherElements(_)) {
                bytes = bytes.min(self.result.bytes().unwrap_or(0));
            }
            let sum = if o.constant { &mut constant_bytes } else { &mut bytes_read };
            *sum = sum.saturating_add(bytes);
        }
        Features {
            op: self.anchor.name().to_owned(),
            dtype: self.result.dtype,
            result: sizes(&self.result),
            anchor_flops: anchor_flops(self, window.as_ref(), product.as_ref()),
            window,
            product,
            epilogue_flops: elements.saturating_mul(epilogue_ops),
            epilogue_ops,
            epilogue_operands: self.epilogue_inputs().len() as u64,
            bytes_read,
            constant_bytes,
            bytes_written: self.output.bytes().unwrap_or(0),
        }
    }
}

/// Operations of an expression on one element.
fn operations(e: &Expr) -> u64 {
    let counts =
        |n: &&ExprNode| matches!(n, ExprNode::Unary(..) | ExprNode::Binary(..) | ExprNode::Select(..));
    e.nodes().iter().filter(counts).count() as u64
}

fn sizes(ty: &crate::tensor::TensorType) -> Vec<u64> {
    ty.shape.dims().iter().map(|d| d.as_usize().unwrap_or(0) as u64).collect()
}

fn count(sizes: &[u64]) -> u64 {
    sizes.iter().fold(1, |a, &b| a.saturating_mul(b))
}

fn wide(list: &[usize]) -> Vec<u64> {
    list.iter().map(|&n| n as u64).collect()
}

fn window(p: &Problem) -> Option<WindowFeatures> {
    let input = sizes(&p.operands.first()?.ty);
    let result = sizes(&p.result);
    let weights = || p.operands.get(1).map(|o| sizes(&o.ty));
    let pairs = |list: &[(usize, usize)]| list.iter().map(|&(a, b)| (a as u64, b as u64)).collect();
    let (kernel, strides, dilations, pads, groups) = match &p.anchor {
        Op::Conv(c) => {
            (weights()?.get(2..)?.to_vec(), &c.strides, &c.dilations, pairs(&c.pads), c.groups as u64)
        }
        Op::ConvTranspose(c) => {
            (weights()?.get(2..)?.to_vec(), &c.strides, &c.dilations, pairs(&c.pads), c.groups as u64)
        }
        Op::Pool(c) => (wide(&c.window), &c.strides, &c.dilations, pairs(&c.pads), *result.get(1)?),
        _ => return None,
    };
    Some(WindowFeatures {
        batch: *input.first()?,
        in_channels: *input.get(1)?,
        out_channels: *result.get(1)?,
        groups,
        input: input.get(2..)?.to_vec(),
        output: result.get(2..)?.to_vec(),
        kernel,
        strides: wide(strides),
        dilations: wide(dilations),
        pads,
    })
}

fn product(p: &Problem) -> Option<ProductFeatures> {
    let Op::MatMul(op) = &p.anchor else { return None };
    let (a, result) = (sizes(&p.operands.first()?.ty), sizes(&p.result));
    let [lead @ .., m, n] = result.as_slice() else { return None };
    let [.., rows, columns] = a.as_slice() else { return None };
    let k = if op.trans_a { rows } else { columns };
    Some(ProductFeatures { matrices: count(lead), m: *m, n: *n, k: *k })
}

fn anchor_flops(p: &Problem, window: Option<&WindowFeatures>, product: Option<&ProductFeatures>) -> u64 {
    let result = count(&sizes(&p.result));
    let input = p.operands.first().map_or(0, |o| count(&sizes(&o.ty)));
    let taps = window.map_or(0, |w| count(&w.kernel));
    let group = |channels: fn(&WindowFeatures) -> u64| window.map_or(0, |w| channels(w) / w.groups.max(1));
    let times = |factors: &[u64]| count(factors);
    let affine = p.anchor_operands.saturating_sub(1) as u64;
    match &p.anchor {
        Op::Conv(_) => times(&[2, result, group(|w| w.in_channels), taps]),
        Op::ConvTranspose(_) => times(&[2, input, group(|w| w.out_channels), taps]),
        Op::MatMul(_) => times(&[2, result, product.map_or(0, |p| p.k)]),
        Op::Pool(o) => {
            times(&[result, taps, if matches!(o.kind, crate::ops::PoolKind::Lp { .. }) { 2 } else { 1 }])
        }
        Op::Reduce(o) => times(&[
            input,
            match o.kind {
                ReduceKind::Sum
                | ReduceKind::Mean
                | ReduceKind::Max
                | ReduceKind::Min
                | ReduceKind::Prod
                | ReduceKind::LogSum => 1,
                _ => 2,
            },
        ]),
        Op::ArgReduce(_) => input,
        // Every step multiplies the weights of its input and of its state.
        Op::Recurrent(_) => {
            let weights = [1, 2].iter().map(|&i| p.operands.get(i).map_or(0, |o| count(&sizes(&o.ty))));
            let x = p.operands.first().map(|o| sizes(&o.ty)).unwrap_or_default();
            let steps = x.iter().take(2).copied().fold(1, u64::saturating_mul);
            times(&[2, steps, weights.fold(0, u64::saturating_add)])
        }
        Op::Softmax(_) => times(&[5, input]),
        Op::Attention(o) => {
            // Two products, and the softmax between them.
            let sizes = |i: usize| p.operands.get(i).and_then(|x| o.operand_sizes(i, &x.ty.sizes()?));
            let (Some(q), Some(v)) = (sizes(0), sizes(2)) else { return 0 };
            let ([b, heads, queries, size], [.., keys, value]) = (q.map(|n| n as u64), v.map(|n| n as u64));
            times(&[b, heads, queries, keys, 2 * size + 2 * value + 5])
        }
        Op::BatchNorm(_) => times(&[2, input]),
        Op::LayerNorm(_) | Op::InstanceNorm(_) | Op::GroupNorm(_) => times(&[6 + affine, input]),
        Op::RmsNorm(_) => times(&[3 + affine, input]),
        Op::Lrn(o) => times(&[o.size as u64 + 5, input]),
        Op::Resize(o) => {
            let taps: u64 = match o.mode {
                ResizeMode::Nearest(_) => return 0,
                ResizeMode::Linear { .. } => 2,
                ResizeMode::Cubic { .. } => 4,
            };
            times(&[2, result, taps.saturating_pow(o.axes.len() as u32)])
        }
        Op::Pointwise(e) => times(&[result, operations(e)]),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
