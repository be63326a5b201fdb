//! Epilogues in the form that cuDNN's compiled engines know.

use tactician_cuda::cudnn::{Function, NodeSpec, Role};
use tactician_ir::Problem;
use tactician_types::{Binary, Expr, ExprId, ExprNode, Unary};

use super::Description;
use crate::epilogue::{Spread, spread};

/// An epilogue as cuDNN's engines know it: the anchor's result, plus a residual, plus a bias, then a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chain {
    /// The problem's operand that is added element by element.
    pub(crate) residual: Option<usize>,
    /// The problem's operand that is added channel by channel.
    pub(crate) bias: Option<usize>,
    /// What is done to the sum.
    pub(crate) function: Option<Function>,
}

/// Most operands of a sum that are looked at.
const MOST_TERMS: usize = 4;

impl Chain {
    /// The epilogue of a problem, if it has this form.
    pub(crate) fn of(problem: &Problem) -> Option<Chain> {
        let epilogue = &problem.epilogue;
        let (sum, function) = function(epilogue);
        let mut chain = Chain { function, ..Chain::default() };
        let mut anchor = 0;
        for input in terms(epilogue, sum)? {
            if input == 0 {
                anchor += 1;
                continue;
            }
            let operand = problem.anchor_operands + usize::from(input) - 1;
            let ty = &problem.operands.get(operand)?.ty;
            let one_channel = problem.result.sizes()?.get(1) == Some(&1);
            let place = match spread(ty, &problem.result) {
                Spread::Full => &mut chain.residual,
                Spread::PerChannel => &mut chain.bias,
                Spread::Scalar if one_channel => &mut chain.bias,
                _ => return None,
            };
            if place.replace(operand).is_some() {
                return None;
            }
        }
        (anchor == 1).then_some(chain)
    }

    /// Adds the nodes behind the anchor's result, tensor `at`, and returns the last result. Residual before bias: only in
    /// that order do cuDNN's engines that are compiled already match.
    pub(super) fn append(&self, to: &mut Description<'_>, mut at: u16) -> Option<u16> {
        for operand in [self.residual, self.bias].into_iter().flatten() {
            let b = Some(to.epilogue_operand(operand)?);
            let y = to.result(Role::Virtual);
            to.graph.nodes.push(NodeSpec::Pointwise { function: Function::Add, x: at, b, y });
            at = y;
        }
        if let Some(function) = self.function {
            let y = to.result(Role::Virtual);
            to.graph.nodes.push(NodeSpec::Pointwise { function, x: at, b: None, y });
            at = y;
        }
        Some(at)
    }
}

/// The inputs that a node sums, if it is a sum of inputs.
fn terms(epilogue: &Expr, root: ExprId) -> Option<Vec<u16>> {
    let (mut open, mut found) = (vec![root], Vec::new());
    while let Some(id) = open.pop() {
        match epilogue.nodes()[id as usize] {
            ExprNode::Input(i) => found.push(i),
            ExprNode::Binary(Binary::Add, a, b) => open.extend([a, b]),
            _ => return None,
        }
        if found.len() + open.len() > MOST_TERMS {
            return None;
        }
    }
    Some(found)
}

/// The outermost function of an epilogue that cuDNN knows, and the node that it is applied to; the result itself when
/// there is none.
fn function(epilogue: &Expr) -> (ExprId, Option<Function>) {
    let root = epilogue.root();
    let nodes = epilogue.nodes();
    if let Some((x, upper)) = clamp(epilogue, root) {
        return (x, Some(Function::Relu { upper }));
    }
    match nodes[root as usize] {
        ExprNode::Unary(Unary::Sigmoid, x) => return (x, Some(Function::Sigmoid)),
        ExprNode::Unary(Unary::Tanh, x) => return (x, Some(Function::Tanh)),
        ExprNode::Binary(Binary::Mul, a, b) => {
            let gates = |x: ExprId, s: ExprId| nodes[s as usize] == ExprNode::Unary(Unary::Sigmoid, x);
            if let Some(x) = [(a, b), (b, a)].into_iter().find(|&(x, s)| gates(x, s)).map(|p| p.0) {
                return (x, Some(Function::Swish));
            }
        }
        _ => {}
    }
    (root, None)
}

/// What a ReLU at a node is applied to, and its upper bound if it has one. A lower bound of 0 and an upper one above it
/// may stand in either order.
fn clamp(epilogue: &Expr, root: ExprId) -> Option<(ExprId, Option<f64>)> {
    let nodes = epilogue.nodes();
    let (mut at, mut low, mut high) = (root, false, None);
    loop {
        let constant = |a: ExprId, b: ExprId| match (nodes[a as usize], nodes[b as usize]) {
            (_, ExprNode::Const(c)) => Some((a, c.as_f64())),
            (ExprNode::Const(c), _) => Some((b, c.as_f64())),
            _ => None,
        };
        match nodes[at as usize] {
            ExprNode::Unary(Unary::Relu, x) if !low => (at, low) = (x, true),
            ExprNode::Binary(Binary::Max, a, b) if !low => match constant(a, b) {
                Some((x, 0.0)) => (at, low) = (x, true),
                _ => break,
            },
            ExprNode::Binary(Binary::Min, a, b) if high.is_none() => match constant(a, b) {
                Some((x, u)) if u > 0.0 && u.is_finite() => (at, high) = (x, Some(u)),
                _ => break,
            },
            _ => break,
        }
    }
    low.then_some((at, high))
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
