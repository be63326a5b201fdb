//! `FlexAttention`: attention with graphs that change its scores and its weights.

use tactician_ir::{Attention, Binary, DType, Expr, ExprNode, MatMul, Op, Scalar, Softmax, ValueId};

use crate::control::body;
use crate::import::{Import, Val};
use crate::node::Node;
use crate::ops::repeated_heads;
use crate::tensor;
use crate::walk::Scope;

pub(crate) fn flex_attention<'m>(
    import: &mut Import<'_>,
    n: &Node<'m>,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let label = n.label;
    let [q, k, v] = [n.tensor(0, import)?, n.tensor(1, import)?, n.tensor(2, import)?];
    let (q_type, k_type) = (import.ty(q), import.ty(k));
    if [q, k, v].iter().any(|&x| import.ty(x).rank() != 4) {
        return Err(format!("found {q_type}, {k_type} and {}, expected rank 4", import.ty(v)));
    }
    let size =
        q_type.shape.dims()[3].as_usize().ok_or("the size of a head is open; give the shapes (--shape)")?;
    let scale = if n.has("scale") { n.float("scale", 1.0) } else { (1.0 / (size as f64).sqrt()) as f32 };
    if !n.has("score_mod") && !n.has("prob_mod") {
        let op = Attention::new(scale);
        return Ok(vec![Val::Tensor(import.add(Op::Attention(op), &[q, k, v], label)?)]);
    }
    let own = q_type.dtype;
    let precision = match i32::try_from(n.int("softmax_precision", 0)) {
        Ok(0) if own == DType::F64 => DType::F64,
        Ok(0) => DType::F32,
        Ok(t) => tensor::dtype(t)?,
        Err(_) => return Err("softmax_precision is no type".into()),
    };
    let heads =
        q_type.shape.dims()[1].as_usize().ok_or("the number of heads is open; give the shapes (--shape)")?;
    let (k, v) = (repeated_heads(import, k, heads, label)?, repeated_heads(import, v, heads, label)?);
    let mut x = import.add(Op::MatMul(MatMul { trans_a: false, trans_b: true }), &[q, k], label)?;
    let mut e = Expr::identity();
    let c = e.push(ExprNode::Const(Scalar::of(own, f64::from(scale))));
    let scaled = e.push(ExprNode::Binary(Binary::Mul, 0, c));
    if precision != own {
        e.push(ExprNode::Cast(precision, scaled));
    }
    x = import.add(Op::Pointwise(e), &[x], label)?;
    let change = |import: &mut Import<'_>, name: &str, x: ValueId| -> Result<ValueId, String> {
        if !n.has(name) {
            return Ok(x);
        }
        let results = body(import, n.graph(name)?, scope, vec![Val::Tensor(x)])?;
        let [y] = results.as_slice() else { return Err(format!("`{name}` gives {} values", results.len())) };
        let y = import.tensor(y, label)?;
        if import.ty(y) != import.ty(x) {
            return Err(format!("`{name}` makes {} of {}", import.ty(y), import.ty(x)));
        }
        Ok(y)
    };
    x = change(import, "score_mod", x)?;
    x = import.add(Op::Softmax(Softmax { axis: 3, log: false }), &[x], label)?;
    x = change(import, "prob_mod", x)?;
    if precision != own {
        let mut e = Expr::identity();
        e.push(ExprNode::Cast(own, 0));
        x = import.add(Op::Pointwise(e), &[x], label)?;
    }
    Ok(vec![Val::Tensor(import.add(Op::MatMul(MatMul::default()), &[x, v], label)?)])
}
