//! Simplifies pointwise expressions and drops operands that they need not read.

use tactician_ir::{
    Binary, Change, DType, Expand, Expr, ExprId, ExprNode, Graph, NodeId, Op, Patch, PatchValue, Unary,
    ValueId,
};

use crate::pipeline::Rewrite;
use crate::util::{pointwise, splat};

/// Inside a pointwise node: constants of one value move into the expression, an operand read twice is read
/// once, operands not read go (where the shape depends on them and one is merely repeated, that is an expansion); `x + 0`, `x - 0`, `x · 1`, `x / 1`,
/// `x ^ 1`, `-(-x)`, repeated ReLU and absolute value, casts to the same type and selections among equals
/// become their operand.
#[derive(Debug)]
pub struct SimplifyPointwise;

impl Rewrite for SimplifyPointwise {
    fn name(&self) -> &'static str {
        "simplify_pointwise"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let expr = pointwise(graph, id)?;
        let inputs = graph.node(id).inputs();
        if inputs.iter().all(|&v| graph.constant(v).is_some()) {
            return None;
        }
        let simple = simplify(graph, expr, inputs)?;

        // Operands in order of first use, without those that are not used.
        let mut used: Vec<u16> = Vec::new();
        for node in simple.nodes() {
            if let ExprNode::Input(i) = node
                && !used.contains(i)
            {
                used.push(*i);
            }
        }
        used.sort_unstable();
        if used.is_empty() {
            return None;
        }
        let renamed = simple.rename_inputs(|i| used.iter().position(|&u| u == i).unwrap_or(0) as u16);
        let kept: Vec<ValueId> = used.iter().filter_map(|&i| inputs.get(usize::from(i)).copied()).collect();
        if renamed == *expr && kept == inputs {
            return None;
        }
        // An operand may be there for its shape alone: then all of them stay, unless one is merely repeated.
        replaced(graph, id, renamed.clone(), &kept)
            .or_else(|| if renamed.is_identity() { expanded(graph, id, *kept.first()?) } else { None })
            .or_else(|| if simple == *expr { None } else { replaced(graph, id, simple, inputs) })
    }
}

fn replaced(graph: &Graph, id: NodeId, expr: Expr, inputs: &[ValueId]) -> Option<Change> {
    let operands: Vec<PatchValue> = inputs.iter().map(|&v| v.into()).collect();
    let mut patch = Patch::new(graph);
    let new = patch.add(Op::Pointwise(expr), &operands, &graph.node(id).name).ok()?;
    patch.replace(id.value(), new).ok()?;
    Some(patch.finish())
}

fn expanded(graph: &Graph, id: NodeId, operand: ValueId) -> Option<Change> {
    let shape = graph.ty(id.value()).shape.clone();
    let mut patch = Patch::new(graph);
    let new = patch.add(Op::Expand(Expand { shape }), &[operand.into()], &graph.node(id).name).ok()?;
    patch.replace(id.value(), new).ok()?;
    Some(patch.finish())
}

fn simplify(graph: &Graph, expr: &Expr, inputs: &[ValueId]) -> Option<Expr> {
    let dtypes: Vec<DType> = inputs.iter().map(|&v| graph.ty(v).dtype).collect();
    let types = expr.dtypes(&dtypes).ok()?;
    let mut out = Expr::empty();
    let mut map: Vec<ExprId> = Vec::with_capacity(expr.nodes().len());
    for node in expr.nodes() {
        let at = |i: ExprId| map.get(usize::from(i)).copied();
        let new = match *node {
            ExprNode::Input(i) => {
                let &v = inputs.get(usize::from(i))?;
                match graph.constant(v).and_then(splat) {
                    Some(c) => out.push(ExprNode::Const(c)),
                    None => {
                        let first = inputs.iter().position(|&w| w == v)?;
                        out.push(ExprNode::Input(first as u16))
                    }
                }
            }
            ExprNode::Const(c) => out.push(ExprNode::Const(c)),
            ExprNode::Unary(op, a) => push_unary(&mut out, op, at(a)?),
            ExprNode::Binary(op, a, b) => push_binary(&mut out, op, at(a)?, at(b)?),
            ExprNode::Select(_, a, b) if at(a)? == at(b)? => at(a)?,
            ExprNode::Select(c, a, b) => out.push(ExprNode::Select(at(c)?, at(a)?, at(b)?)),
            ExprNode::Cast(t, a) if types.get(usize::from(a)) == Some(&t) => at(a)?,
            ExprNode::Cast(t, a) => out.push(ExprNode::Cast(t, at(a)?)),
        };
        map.push(new);
    }
    Some(out.finish(*map.last()?))
}

fn push_unary(out: &mut Expr, op: Unary, a: ExprId) -> ExprId {
    match (op, out.nodes().get(usize::from(a))) {
        (Unary::Neg, Some(&ExprNode::Unary(Unary::Neg, x))) => x,
        (Unary::Relu | Unary::Abs, Some(&ExprNode::Unary(inner, _))) if inner == op => a,
        _ => out.push(ExprNode::Unary(op, a)),
    }
}

fn push_binary(out: &mut Expr, op: Binary, a: ExprId, b: ExprId) -> ExprId {
    let constant = |id: ExprId| match out.nodes().get(usize::from(id)) {
        Some(ExprNode::Const(c)) => Some(c.as_f64()),
        _ => None,
    };
    let float = |id: ExprId| matches!(out.nodes().get(usize::from(id)), Some(ExprNode::Const(c)) if c.dtype.is_float());
    let is = |id: ExprId, value: f64| constant(id) == Some(value);
    match op {
        Binary::Add if is(a, 0.0) => b,
        Binary::Mul if is(a, 1.0) => b,
        Binary::Add | Binary::Sub if is(b, 0.0) => a,
        Binary::Mul | Binary::Div | Binary::Pow if is(b, 1.0) => a,
        // Products take a fraction of a power's time, and their roundings are as small.
        Binary::Pow if is(b, 2.0) && float(b) => out.push(ExprNode::Binary(Binary::Mul, a, a)),
        Binary::Pow if is(b, 3.0) && float(b) => {
            let square = out.push(ExprNode::Binary(Binary::Mul, a, a));
            out.push(ExprNode::Binary(Binary::Mul, square, a))
        }
        _ => out.push(ExprNode::Binary(op, a, b)),
    }
}

#[cfg(test)]
#[path = "simplify_pointwise_tests.rs"]
mod tests;
