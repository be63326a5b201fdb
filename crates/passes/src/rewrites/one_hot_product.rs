//! A product with rows that have a single one chooses rows.

use tactician_ir::{
    Binary, Change, DType, Expr, ExprNode, Gather, Graph, MatMul, NodeId, Op, Patch, Reshape, Scalar, Shape,
    Tensor, ValueId,
};

use crate::pipeline::Rewrite;
use crate::util::{floats, op_of};

/// `matmul(cast(eq(ids, [0, 1, …, n-1])), w)` becomes a gather of `w`'s rows, as models from JAX look up embeddings. Numbers
/// outside of `0..n` are equal to none and give zeros: `w` gets a row of zeros behind its own for them.
#[derive(Debug)]
pub struct OneHotProduct;

impl Rewrite for OneHotProduct {
    fn name(&self) -> &'static str {
        "one_hot_product"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::MatMul(MatMul { trans_a: false, trans_b: false }), &[hot, w]) = (&node.op, node.inputs())
        else {
            return None;
        };
        let ids = chosen(graph, hot)?;
        let ty = graph.ty(ids);
        let weights = graph.constant(w)?;
        let &[rows, columns] = weights.sizes() else { return None };
        // Zero times infinity would not be zero.
        if floats(weights)?.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let mut bytes = weights.bytes().to_vec();
        bytes.resize(bytes.len() + columns * weights.dtype().size(), 0);
        let table = Tensor::from_bytes(weights.dtype(), &[rows + 1, columns], bytes).ok()?;
        let sizes = ty.sizes()?;
        let (_, lead) = sizes.split_last()?;

        let mut patch = Patch::new(graph);
        let inside = patch.add(Op::Pointwise(within(ty.dtype, rows)), &[ids.into()], &node.name).ok()?;
        let flat = Op::Reshape(Reshape { shape: Shape::known(lead) });
        let flat = patch.add(flat, &[inside], &node.name).ok()?;
        let table = patch.constant(&graph.producer(w).name, table);
        let new = patch.add(Op::Gather(Gather { axis: 0 }), &[table, flat], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// The numbers of which `hot` says, along its last axis, which position each is; their last axis has one element.
fn chosen(graph: &Graph, hot: ValueId) -> Option<ValueId> {
    let Op::Pointwise(cast) = op_of(graph, hot) else { return None };
    let [ExprNode::Input(0), ExprNode::Cast(to, 0)] = cast.nodes() else { return None };
    let &[equal] = graph.producer(hot).inputs() else { return None };
    let Op::Pointwise(test) = op_of(graph, equal) else { return None };
    let [ExprNode::Input(_), ExprNode::Input(_), ExprNode::Binary(Binary::Eq, 0, 1)] = test.nodes() else {
        return None;
    };
    let &[a, b] = graph.producer(equal).inputs() else { return None };
    let sizes = graph.ty(equal).sizes()?;
    let (&n, lead) = sizes.split_last()?;
    if !to.is_float() || n < 2 {
        return None;
    }
    let counts = |v: ValueId| {
        let t = graph.constant(v)?;
        (t.sizes().iter().product::<usize>() == n && t.sizes().last() == Some(&n)).then_some(())?;
        match t.dtype() {
            DType::I32 => t.values::<i32>()?.iter().zip(0..).all(|(&v, i)| v == i),
            DType::I64 => t.values::<i64>()?.iter().zip(0..).all(|(&v, i)| v == i),
            _ => false,
        }
        .then_some(())
    };
    let ids = match (counts(a), counts(b)) {
        (None, Some(())) => a,
        (Some(()), None) => b,
        _ => return None,
    };
    let of = graph.ty(ids).sizes()?;
    (of.len() == sizes.len() && of.last() == Some(&1) && of[..lead.len()] == *lead).then_some(ids)
}

/// `x` where it is in `0..n`, else `n`.
fn within(dtype: DType, n: usize) -> Expr {
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let zero = e.push(ExprNode::Const(Scalar::int(dtype, 0)));
    let end = e.push(ExprNode::Const(Scalar::int(dtype, n as i64)));
    let from = e.push(ExprNode::Binary(Binary::Ge, x, zero));
    let to = e.push(ExprNode::Binary(Binary::Lt, x, end));
    let inside = e.push(ExprNode::Binary(Binary::And, from, to));
    e.push(ExprNode::Select(inside, x, end));
    e
}

#[cfg(test)]
mod tests {
    use tactician_ir::TensorType;

    use super::*;
    use crate::testing::*;

    /// Embeds `trunc(scale · x)`, by comparing with `against`.
    fn embedding(sizes: &[usize], scale: f32, against: &[i32], weight: f32) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", sizes);
        let mut e = Expr::empty();
        let i = e.push(ExprNode::Input(0));
        let by = e.push(ExprNode::Const(Scalar::f32(scale)));
        let scaled = e.push(ExprNode::Binary(Binary::Mul, i, by));
        e.push(ExprNode::Cast(DType::I32, scaled));
        let ids = g.add(Op::Pointwise(e), &[x], "ids").unwrap();
        let mut shape = vec![1; sizes.len()];
        *shape.last_mut().unwrap() = against.len();
        let all = g.add_constant("all", Tensor::new(&shape, against).unwrap());
        let equal = g.add(Op::Pointwise(Expr::binary(Binary::Eq)), &[ids, all], "equal").unwrap();
        let mut cast = Expr::empty();
        let v = cast.push(ExprNode::Input(0));
        cast.push(ExprNode::Cast(DType::F32, v));
        let hot = g.add(Op::Pointwise(cast), &[equal], "hot").unwrap();
        let mut w = noise(7, against.len() * 3);
        w[4] *= weight;
        let w = g.add_constant("w", Tensor::new(&[against.len(), 3], &w).unwrap());
        let y = g.add(Op::MatMul(MatMul { trans_a: false, trans_b: false }), &[hot, w], "y").unwrap();
        g.mark_output("y", y);
        g
    }

    #[test]
    fn rows_are_chosen_and_numbers_outside_give_zeros() {
        // From -5 to 5, so that some are negative and some too large.
        let g = embedding(&[2, 9, 1], 6.0, &[0, 1, 2, 3], 1.0);
        let after = check("one_hot_product", &g);
        assert!(ops(&after).contains(&"gather") && !ops(&after).contains(&"matmul"));
        assert_eq!(after.ty(after.outputs()[0].1), &TensorType::known(DType::F32, &[2, 9, 3]));
        let zeros =
            evaluate(&after)[0].values::<f32>().unwrap().chunks(3).filter(|r| **r == [0.0; 3]).count();
        assert!(zeros > 0 && zeros < 18, "{zeros} of 18 rows are outside");
    }

    #[test]
    fn others_stay() {
        // Not counting from 0, an infinite weight, and numbers that have more than one element along the last axis.
        unchanged("one_hot_product", &embedding(&[2, 9, 1], 6.0, &[1, 2, 3, 4], 1.0));
        unchanged("one_hot_product", &embedding(&[2, 9, 1], 6.0, &[0, 1, 3, 2], 1.0));
        unchanged("one_hot_product", &embedding(&[2, 9, 1], 6.0, &[0, 1, 2, 3], f32::INFINITY));
        unchanged("one_hot_product", &embedding(&[2, 9, 4], 6.0, &[0, 1, 2, 3], 1.0));
    }
}
