//! Padding that the next operation can do itself.

use tactician_ir::{Change, Graph, NodeId, Op, Pad, PadMode, Patch, PatchValue, Pool, PoolKind};

use crate::pipeline::Rewrite;
use crate::util::{op_of, read_once};

/// A constant border on spatial axes goes into the convolution or pool that alone reads it: zeros into
/// convolutions and into average pools that count padding (or have none), minus infinity into maximum pools.
///
/// Pools that round up keep their pad: which partial windows count depends on what is padding and what is
/// input.
#[derive(Debug)]
pub struct PadIntoConv;

impl Rewrite for PadIntoConv {
    fn name(&self) -> &'static str {
        "pad_into_conv"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let &padded = node.inputs().first()?;
        let Op::Pad(pad) = op_of(graph, padded) else { return None };
        let (spatial, value) = border(pad)?;
        if !read_once(graph, padded) {
            return None;
        }
        let op = match &node.op {
            Op::Conv(conv) if value == 0.0 => {
                let mut conv = conv.clone();
                conv.pads = sum(&conv.pads, &spatial)?;
                Op::Conv(conv)
            }
            Op::Pool(pool) if !pool.ceil => Op::Pool(padded_pool(pool, &spatial, value)?),
            _ => return None,
        };
        let mut operands: Vec<PatchValue> = node.inputs().iter().map(|&v| v.into()).collect();
        *operands.first_mut()? = (*graph.producer(padded).inputs().first()?).into();
        let mut patch = Patch::new(graph);
        let new = patch.add(op, &operands, &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// The spatial part of a pad by a constant, if that is all there is, and the constant.
fn border(pad: &Pad) -> Option<(Vec<(usize, usize)>, f64)> {
    let PadMode::Constant(value) = pad.mode else { return None };
    match pad.pads.as_slice() {
        [(0, 0), (0, 0), spatial @ ..] => Some((spatial.to_vec(), value.as_f64())),
        _ => None,
    }
}

fn sum(a: &[(usize, usize)], b: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(|(a, b)| Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?))).collect()
}

fn padded_pool(pool: &Pool, spatial: &[(usize, usize)], value: f64) -> Option<Pool> {
    let none = pool.pads.iter().all(|&p| p == (0, 0));
    let kind = match pool.kind {
        PoolKind::Max if value == f64::NEG_INFINITY => PoolKind::Max,
        PoolKind::Average { count_pad } if value == 0.0 && (count_pad || none) => {
            PoolKind::Average { count_pad: true }
        }
        _ => return None,
    };
    let pads = sum(&pool.pads, spatial)?;
    // Kernels may count on every window reaching into the input.
    let reaches = pads.iter().zip(&pool.window).all(|(p, &w)| p.0 < w && p.1 < w);
    reaches.then(|| Pool { kind, pads, ..pool.clone() })
}

#[cfg(test)]
#[path = "pad_into_conv_tests.rs"]
mod tests;
