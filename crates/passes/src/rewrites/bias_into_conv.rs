//! What is added per channel behind a convolution is its bias.

use tactician_ir::{Change, Graph, NodeId, Patch};

use super::affine::{affine_of, bias_values, is_conv};
use crate::pipeline::Rewrite;
use crate::util::float_tensor;

/// A pointwise node that adds constants of one value a channel to a convolution, transposed or not, becomes
/// its bias. The weights need not be constant. The convolution must have no other reader.
#[derive(Debug)]
pub struct BiasIntoConv;

impl Rewrite for BiasIntoConv {
    fn name(&self) -> &'static str {
        "bias_into_conv"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let affine = affine_of(graph, id, |_| 1)?;
        if !is_conv(graph, affine.x) || affine.scale.iter().any(|&s| s != 1.0) {
            return None;
        }
        let conv = graph.producer(affine.x);
        let before = bias_values(graph, affine.x.node(), affine.shift.len())?;
        let sum: Vec<f64> = before.iter().zip(&affine.shift).map(|(a, b)| a + b).collect();
        let bias = float_tensor(graph.ty(affine.x).dtype, &[sum.len()], &sum)?;
        let &[x, w, ..] = conv.inputs() else { return None };
        let mut patch = Patch::new(graph);
        let bias = patch.constant(&format!("{}.bias", conv.name), bias);
        let new = patch.add(conv.op.clone(), &[x.into(), w.into(), bias], &conv.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
#[path = "bias_into_conv_tests.rs"]
mod tests;
