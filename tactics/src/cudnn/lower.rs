//! Epilogues of any form, node by node: for the engines that cuDNN compiles.

use std::collections::BTreeMap;

use tactician_cuda::cudnn::{Function, NodeSpec, Role, TensorSpec};
use tactician_types::{Binary, Expr, ExprId, ExprNode, Unary};

use super::Description;

/// Most nodes of an epilogue: longer ones are no epilogues of one operation.
const MOST_NODES: usize = 24;

/// What a node of an expression is in the graph.
#[derive(Clone, Copy)]
enum Value {
    /// A tensor of the result's sizes.
    Whole(u16),
    /// A tensor that is broadcast.
    Spread(u16),
    /// A number.
    Number(f32),
}

/// Adds the nodes of the problem's epilogue behind the anchor's result, tensor `anchor`, and returns the last result.
/// `None` when cuDNN lacks a function, or would have to begin with something smaller than the result.
pub(super) fn append(to: &mut Description<'_>, anchor: u16) -> Option<u16> {
    let e: &Expr = &to.problem.epilogue;
    if e.nodes().len() > MOST_NODES || !e.uses_input(0) {
        return None;
    }
    let first = to.problem.anchor_operands.checked_sub(1)?;
    let mut values: BTreeMap<ExprId, Value> = BTreeMap::new();
    for (id, node) in e.nodes().iter().enumerate() {
        let value = match *node {
            ExprNode::Input(0) => Value::Whole(anchor),
            ExprNode::Input(i) => {
                let tensor = to.epilogue_operand(first + usize::from(i))?;
                match to.is_whole(tensor) {
                    true => Value::Whole(tensor),
                    false => Value::Spread(tensor),
                }
            }
            ExprNode::Const(c) if c.dtype.is_float() => Value::Number(c.as_f64() as f32),
            ExprNode::Unary(op, x) => {
                let Value::Whole(x) = values[&x] else { return None };
                step(to, unary(op)?, x, None)
            }
            ExprNode::Binary(op, a, b) => binary(to, op, values[&a], values[&b])?,
            _ => return None,
        };
        values.insert(id as ExprId, value);
    }
    match values.get(&e.root()) {
        Some(&Value::Whole(last)) => Some(last),
        _ => None,
    }
}

/// Adds a node, whose result it returns.
fn step(to: &mut Description<'_>, function: Function, x: u16, b: Option<u16>) -> Value {
    let y = to.result(Role::Virtual);
    to.graph.nodes.push(NodeSpec::Pointwise { function, x, b, y });
    Value::Whole(y)
}

fn binary(to: &mut Description<'_>, op: Binary, a: Value, b: Value) -> Option<Value> {
    let function = match op {
        Binary::Add => Function::Add,
        Binary::Sub => Function::Sub,
        Binary::Mul => Function::Mul,
        Binary::Div => Function::Div,
        Binary::Max => Function::Max,
        Binary::Min => Function::Min,
        _ => return None,
    };
    match (a, b) {
        (Value::Whole(x), b) => {
            let b = tensor(to, b);
            Some(step(to, function, x, Some(b)))
        }
        (a, Value::Whole(x)) if op.commutes() => {
            let a = tensor(to, a);
            Some(step(to, function, x, Some(a)))
        }
        // cuDNN's first operand is never broadcast.
        (a, Value::Whole(x)) if op == Binary::Sub => {
            let Value::Whole(negative) = step(to, Function::Neg, x, None) else { return None };
            let a = tensor(to, a);
            Some(step(to, Function::Add, negative, Some(a)))
        }
        _ => None,
    }
}

/// The tensor of a value.
fn tensor(to: &mut Description<'_>, value: Value) -> u16 {
    match value {
        Value::Whole(t) | Value::Spread(t) => t,
        Value::Number(v) => to.add(TensorSpec::value(to.view.rank(), v)),
    }
}

fn unary(op: Unary) -> Option<Function> {
    Some(match op {
        Unary::Neg => Function::Neg,
        Unary::Abs => Function::Abs,
        Unary::Reciprocal => Function::Reciprocal,
        Unary::Sqrt => Function::Sqrt,
        Unary::Exp => Function::Exp,
        Unary::Log => Function::Log,
        Unary::Relu => Function::Relu { upper: None },
        Unary::Sigmoid => Function::Sigmoid,
        Unary::Tanh => Function::Tanh,
        Unary::Erf => Function::Erf,
        Unary::Softplus => Function::Softplus,
        Unary::Floor => Function::Floor,
        Unary::Ceil => Function::Ceil,
        Unary::Sin => Function::Sin,
        Unary::Cos => Function::Cos,
        Unary::Tan => Function::Tan,
        _ => return None,
    })
}
