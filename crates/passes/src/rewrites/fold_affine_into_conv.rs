//! Scaling and shifting behind a convolution or matrix product goes into its weights.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, PatchValue, Tensor, ValueId};

use super::affine::{Affine, affine_of, bias_values, is_conv};
use crate::pipeline::Rewrite;
use crate::util::{float_tensor, floats, op_of};

/// A pointwise node that scales (and shifts) a convolution, transposed or not, by constants of one value a
/// channel goes into constant weights and the bias. A pointwise node that scales a matrix product by
/// constants of one value a column goes into a constant right operand. The result folded into must have no
/// other reader.
#[derive(Debug)]
pub struct FoldAffineIntoConv;

impl Rewrite for FoldAffineIntoConv {
    fn name(&self) -> &'static str {
        "fold_affine_into_conv"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        if let Some(affine) = affine_of(graph, id, |_| 1)
            && is_conv(graph, affine.x)
        {
            return into_conv(graph, id, &affine);
        }
        let affine = affine_of(graph, id, |rank| rank.saturating_sub(1))?;
        into_matmul(graph, id, &affine)
    }
}

fn into_conv(graph: &Graph, id: NodeId, affine: &Affine) -> Option<Change> {
    let Affine { x: result, scale, shift } = affine;
    // Without a factor the weights need no copy: that is a bias.
    if scale.iter().all(|&s| s == 1.0) || scale.iter().chain(shift).any(|v| !v.is_finite()) {
        return None;
    }
    let conv = graph.producer(*result);
    let &[x, w, ..] = conv.inputs() else { return None };
    let weights = graph.constant(w)?;
    let groups = match &conv.op {
        Op::Conv(_) => None,
        Op::ConvTranspose(c) => Some(c.groups),
        _ => return None,
    };
    let scaled = scale_weights(weights, groups, scale)?;
    let before = bias_values(graph, result.node(), scale.len())?;
    let bias: Vec<f64> = before.iter().zip(scale).zip(shift).map(|((b, s), t)| b * s + t).collect();

    let mut patch = Patch::new(graph);
    let w = patch.constant(&graph.producer(w).name, scaled);
    let mut operands: Vec<PatchValue> = vec![x.into(), w];
    if conv.inputs().len() > 2 || bias.iter().any(|&b| b != 0.0) {
        let bias = float_tensor(graph.ty(*result).dtype, &[bias.len()], &bias)?;
        operands.push(patch.constant(&format!("{}.bias", conv.name), bias));
    }
    let new = patch.add(conv.op.clone(), &operands, &conv.name).ok()?;
    patch.replace(id.value(), new).ok()?;
    Some(patch.finish())
}

/// Weights `[K, …]` (or `[C, K/groups, …]` for transposed convolutions, which give `groups`) with output
/// channel `k` multiplied by `scale[k]`.
fn scale_weights(w: &Tensor, groups: Option<usize>, scale: &[f64]) -> Option<Tensor> {
    let mut values = floats(w)?;
    let &[first, second, ref window @ ..] = w.sizes() else { return None };
    let taps = window.iter().product::<usize>();
    match groups {
        None => {
            let each = second.checked_mul(taps)?;
            if first != scale.len() {
                return None;
            }
            for (k, v) in values.chunks_exact_mut(each.max(1)).enumerate() {
                v.iter_mut().for_each(|v| *v *= scale[k]);
            }
        }
        Some(groups) => {
            let per_group = first.checked_div(groups)?;
            if groups.checked_mul(second)? != scale.len() || per_group == 0 {
                return None;
            }
            for (i, v) in values.chunks_exact_mut(taps.max(1)).enumerate() {
                let (c, j) = (i / second, i % second);
                let k = c / per_group * second + j;
                v.iter_mut().for_each(|v| *v *= scale[k]);
            }
        }
    }
    float_tensor(w.dtype(), w.sizes(), &values)
}

fn into_matmul(graph: &Graph, id: NodeId, affine: &Affine) -> Option<Change> {
    let Affine { x: result, scale, shift } = affine;
    let &Op::MatMul(op) = op_of(graph, *result) else { return None };
    if shift.iter().any(|&t| t != 0.0) || scale.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let product = graph.producer(*result);
    let &[a, b]: &[ValueId] = product.inputs() else { return None };
    let weights = graph.constant(b)?;
    let [.., rows, columns] = *weights.sizes() else { return None };
    let n = if op.trans_b { rows } else { columns };
    if n != scale.len() || n == 0 || columns == 0 {
        return None;
    }
    let mut values = floats(weights)?;
    for (row, v) in values.chunks_exact_mut(columns).enumerate() {
        for (column, v) in v.iter_mut().enumerate() {
            *v *= if op.trans_b { scale[row % rows] } else { scale[column] };
        }
    }
    let scaled = float_tensor(weights.dtype(), weights.sizes(), &values)?;
    let mut patch = Patch::new(graph);
    let b = patch.constant(&graph.producer(b).name, scaled);
    let new = patch.add(product.op.clone(), &[a.into(), b], &product.name).ok()?;
    patch.replace(id.value(), new).ok()?;
    Some(patch.finish())
}

#[cfg(test)]
#[path = "fold_affine_into_conv_tests.rs"]
mod tests;
