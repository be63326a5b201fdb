//! Batch normalisation with known statistics is a scale and a shift.

use tactician_ir::{Binary, Change, Expr, ExprNode, Graph, NodeId, Op, Patch};

use crate::pipeline::Rewrite;
use crate::util::{along, along_shape, float_tensor, size};

/// A batch normalisation whose four parameters are constant becomes one pointwise `x·scale + shift` with
/// constants of shape `[C, 1…]`, computed in `f64`.
#[derive(Debug)]
pub struct BatchNormToAffine;

impl Rewrite for BatchNormToAffine {
    fn name(&self) -> &'static str {
        "batch_norm_to_affine"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::BatchNorm(op), &[x, ref parameters @ ..]) = (&node.op, node.inputs()) else { return None };
        let ty = graph.ty(x);
        let channels = match parameters.first() {
            Some(&p) => size(graph.ty(p), 0)?,
            None => return None,
        };
        let values: Option<Vec<Vec<f64>>> =
            parameters.iter().map(|&p| along(graph.constant(p)?, 1, 0, channels)).collect();
        let values = values?;
        let [scale, bias, mean, variance] = values.as_slice() else { return None };
        let factors: Vec<f64> =
            scale.iter().zip(variance).map(|(s, v)| s / (v + f64::from(op.epsilon)).sqrt()).collect();
        let shifts: Vec<f64> = bias.iter().zip(mean).zip(&factors).map(|((b, m), f)| b - m * f).collect();
        if factors.iter().chain(&shifts).any(|v| !v.is_finite()) {
            return None;
        }
        let sizes = along_shape(ty.rank(), 1, channels);
        let factors = float_tensor(ty.dtype, &sizes, &factors)?;
        let shifts = float_tensor(ty.dtype, &sizes, &shifts)?;

        let mut expr = Expr::empty();
        let [x_in, scale_in, shift_in] = [0, 1, 2].map(|i| expr.push(ExprNode::Input(i)));
        let product = expr.push(ExprNode::Binary(Binary::Mul, x_in, scale_in));
        expr.push(ExprNode::Binary(Binary::Add, product, shift_in));

        let mut patch = Patch::new(graph);
        let scale = patch.constant(&format!("{}.scale", node.name), factors);
        let shift = patch.constant(&format!("{}.shift", node.name), shifts);
        let new = patch.add(Op::Pointwise(expr), &[x.into(), scale, shift], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::{BatchNorm, Tensor};

    fn normalised(constant_stats: bool, variance: f32) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3, 2, 2]);
        let mut inputs = vec![x];
        for i in 0..3 {
            inputs.push(constant(&mut g, &[3], i));
        }
        inputs.push(if constant_stats {
            g.add_constant("v", Tensor::new(&[3], &[variance, 0.5, 2.0]).unwrap())
        } else {
            input(&mut g, "v", &[3])
        });
        let y = g.add(Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &inputs, "bn").unwrap();
        g.mark_output("y", y);
        g
    }

    #[test]
    fn becomes_one_pointwise_node() {
        let after = check("batch_norm_to_affine", &normalised(true, 0.25));
        assert_eq!(ops(&after), ["const", "const", "pointwise"]);
        let y = after.producer(after.outputs()[0].1);
        assert_eq!(after.ty(y.inputs()[1]).sizes().unwrap(), [3, 1, 1]);
    }

    #[test]
    fn open_statistics_stay() {
        unchanged("batch_norm_to_affine", &normalised(false, 1.0));
    }

    #[test]
    fn a_variance_without_a_root_stays() {
        unchanged("batch_norm_to_affine", &normalised(true, -1.0));
    }
}
