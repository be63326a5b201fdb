//! Layer normalisation and root-mean-square normalisation out of their steps.

use std::collections::BTreeSet;

use tactician_ir::{
    Binary, Change, ExprNode, Graph, LayerNorm, NodeId, Op, Patch, PatchValue, Reduce, ReduceKind, RmsNorm,
    Unary, ValueId,
};

use crate::pipeline::Rewrite;
use crate::util::{is_binary, op_of, pointwise, read_once};

/// `(x − mean(x)) / √(mean((x − mean(x))²) + ε)` over the last axes becomes `layer_norm(x)`, and the same without the means
/// `x / √(mean(x²) + ε)` becomes `rms_norm(x)`. The square may be a power or a product, the root a power, and the quotient a
/// product with a reciprocal, in as many nodes as the exporter liked. It stays as it is where a step between has
/// another reader.
#[derive(Debug)]
pub struct NormFromSteps;

impl Rewrite for NormFromSteps {
    fn name(&self) -> &'static str {
        "norm_from_steps"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        pointwise(graph, id)?;
        let mut steps = Steps { graph, seen: BTreeSet::new() };
        let (x, root) = steps.quotient(steps.of(id.value()))?;
        let (square, epsilon) = steps.sum_with_constant(root)?;
        let (squared, axis) = steps.mean(square)?;
        let of_square = steps.squared(squared)?;
        if of_square != x || epsilon.is_nan() || epsilon < 0.0 {
            return None;
        }
        let (from, op) = match steps.centred(x, axis) {
            Some(from) => (from, Op::LayerNorm(LayerNorm { axis, epsilon: epsilon as f32 })),
            None => (steps.value(x)?, Op::RmsNorm(RmsNorm { axis, epsilon: epsilon as f32 })),
        };
        if !graph.ty(from).dtype.is_float() || graph.ty(from) != &graph.node(id).outputs()[0] {
            return None;
        }
        // What lies between `x` and the result is read by nothing else.
        let inner = |&n: &NodeId| {
            let v = n.value();
            n == id || (!graph.is_output(v) && graph.users(v).iter().all(|(u, _)| steps.seen.contains(u)))
        };
        if !steps.seen.iter().all(inner) {
            return None;
        }
        let mut patch = Patch::new(graph);
        let new = patch.add(op, &[from.into()], &graph.node(id).name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// A place in the pointwise nodes of a graph: a value that something else computes, or a node of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    Value(ValueId),
    Part(NodeId, u16),
}

/// Reads steps across the borders of nodes, and remembers the nodes that it has looked into.
struct Steps<'g> {
    graph: &'g Graph,
    seen: BTreeSet<NodeId>,
}

impl Steps<'_> {
    /// The term of a value.
    fn of(&self, v: ValueId) -> Term {
        match pointwise(self.graph, v.node()) {
            Some(e) => self.part(v.node(), e.root()),
            None => Term::Value(v),
        }
    }

    /// The term of a part of an expression; what it reads, where it only reads.
    fn part(&self, node: NodeId, at: u16) -> Term {
        match pointwise(self.graph, node).and_then(|e| e.nodes().get(usize::from(at))) {
            Some(&ExprNode::Input(i)) => match self.graph.node(node).inputs().get(usize::from(i)) {
                Some(&v) => self.of(v),
                None => Term::Part(node, at),
            },
            _ => Term::Part(node, at),
        }
    }

    /// The value of a term, unless it is inside an expression.
    fn value(&self, t: Term) -> Option<ValueId> {
        match t {
            Term::Value(v) => Some(v),
            Term::Part(node, at) => (pointwise(self.graph, node)?.root() == at).then(|| node.value()),
        }
    }

    /// Tries to read something; what it looked into is forgotten when it is something else.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.seen.clone();
        let found = read(self);
        if found.is_none() {
            self.seen = before;
        }
        found
    }

    fn node(&mut self, t: Term) -> Option<ExprNode> {
        let Term::Part(node, at) = t else { return None };
        self.seen.insert(node);
        pointwise(self.graph, node)?.nodes().get(usize::from(at)).copied()
    }

    fn unary(&mut self, t: Term, op: Unary) -> Option<Term> {
        let Term::Part(node, _) = t else { return None };
        match self.node(t)? {
            ExprNode::Unary(found, a) if found == op => Some(self.part(node, a)),
            _ => None,
        }
    }

    fn binary(&mut self, t: Term, op: Binary) -> Option<(Term, Term)> {
        let Term::Part(node, _) = t else { return None };
        match self.node(t)? {
            ExprNode::Binary(found, a, b) if found == op => Some((self.part(node, a), self.part(node, b))),
            _ => None,
        }
    }

    fn constant(&self, t: Term) -> Option<f64> {
        let Term::Part(node, at) = t else { return None };
        match pointwise(self.graph, node)?.nodes().get(usize::from(at)) {
            Some(ExprNode::Const(c)) => Some(c.as_f64()),
            _ => None,
        }
    }

    fn power(&mut self, t: Term, exponent: f64) -> Option<Term> {
        self.attempt(|s| {
            let (a, b) = s.binary(t, Binary::Pow)?;
            (s.constant(b) == Some(exponent)).then_some(a)
        })
    }

    /// `a` and `b` of `a / √b`.
    fn quotient(&mut self, t: Term) -> Option<(Term, Term)> {
        if let Some((a, b)) = self.binary(t, Binary::Div) {
            return Some((a, self.root(b)?));
        }
        let (a, b) = self.binary(t, Binary::Mul)?;
        [(a, b), (b, a)].into_iter().find_map(|(a, b)| Some((a, self.attempt(|s| s.reciprocal_root(b))?)))
    }

    fn root(&mut self, t: Term) -> Option<Term> {
        self.unary(t, Unary::Sqrt).or_else(|| self.power(t, 0.5))
    }

    fn reciprocal_root(&mut self, t: Term) -> Option<Term> {
        if let Some(a) = self.power(t, -0.5) {
            return Some(a);
        }
        let root = match self.unary(t, Unary::Reciprocal) {
            Some(a) => a,
            None => {
                let (one, a) = self.binary(t, Binary::Div)?;
                (self.constant(one) == Some(1.0)).then_some(a)?
            }
        };
        self.root(root)
    }

    fn sum_with_constant(&mut self, t: Term) -> Option<(Term, f64)> {
        let (a, b) = self.binary(t, Binary::Add)?;
        match (self.constant(a), self.constant(b)) {
            (None, Some(c)) => Some((a, c)),
            (Some(c), None) => Some((b, c)),
            _ => None,
        }
    }

    fn squared(&mut self, t: Term) -> Option<Term> {
        if let Some(a) = self.power(t, 2.0) {
            return Some(a);
        }
        let (a, b) = self.binary(t, Binary::Mul)?;
        (a == b).then_some(a)
    }

    /// What a value is the mean of, and the first of the axes, which are the last ones of its operand.
    fn mean(&mut self, t: Term) -> Option<(Term, usize)> {
        let Term::Value(v) = t else { return None };
        let Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }) = op_of(self.graph, v)
        else {
            return None;
        };
        let &[from] = self.graph.producer(v).inputs() else { return None };
        let (&axis, rank) = (axes.first()?, self.graph.ty(from).rank());
        if !axes.iter().copied().eq(axis..rank) {
            return None;
        }
        self.seen.insert(v.node());
        Some((self.of(from), axis))
    }

    /// `x` of `x − mean(x)` over the axes from `axis` on.
    fn centred(&mut self, t: Term, axis: usize) -> Option<ValueId> {
        self.attempt(|s| {
            let (a, b) = s.binary(t, Binary::Sub)?;
            let (of, from) = s.mean(b)?;
            if of == a && from == axis { s.value(a) } else { None }
        })
    }
}

/// A product behind a normalisation becomes its scale, and a sum behind that its bias, where the factor has the
/// sizes of the normalised axes.
#[derive(Debug)]
pub struct ScaleIntoNorm;

impl Rewrite for ScaleIntoNorm {
    fn name(&self) -> &'static str {
        "scale_into_norm"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let expr = pointwise(graph, id)?;
        let &[a, b] = graph.node(id).inputs() else { return None };
        let operands = if is_binary(expr, Binary::Mul) {
            1
        } else if is_binary(expr, Binary::Add) {
            2
        } else {
            return None;
        };
        let [norm, other] = [[a, b], [b, a]].into_iter().find(|&[norm, other]| {
            let (axis, most) = match op_of(graph, norm) {
                Op::LayerNorm(l) => (l.axis, 2),
                Op::RmsNorm(r) => (r.axis, 1),
                _ => return false,
            };
            let ty = graph.ty(norm);
            operands <= most
                && graph.producer(norm).inputs().len() == operands
                && read_once(graph, norm)
                && !graph.is_output(norm)
                && graph.node(id).outputs()[0] == *ty
                && graph.ty(other).dtype == ty.dtype
                && graph.ty(other).sizes().is_some_and(|s| ty.sizes().is_some_and(|of| of[axis..] == s))
        })?;
        let node = graph.producer(norm);
        let mut inputs: Vec<PatchValue> = node.inputs().iter().map(|&v| v.into()).collect();
        inputs.push(other.into());
        let mut patch = Patch::new(graph);
        let new = patch.add(node.op.clone(), &inputs, &graph.node(id).name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
#[path = "norm_from_steps_tests.rs"]
mod tests;
