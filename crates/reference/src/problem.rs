//! Single operations and problems.

use tactician_ir::{DType, Graph, Op, Problem, Tensor};

use crate::error::ReferenceError;
use crate::value::{Data, Value};
use crate::{expr, ops};

pub(crate) fn failed(op: &Op, problem: String) -> ReferenceError {
    ReferenceError::Op { op: op.name().to_owned(), problem }
}

/// The type and sizes that an operation gives for operands of these types, checked as the graph checks them.
fn output_of(op: &Op, inputs: &[&Value]) -> Result<(DType, Vec<usize>), ReferenceError> {
    if let Op::Constant(t) = op {
        return Ok((t.dtype(), t.sizes().to_vec()));
    }
    let mut g = Graph::new("one");
    let mut values = Vec::new();
    for (i, v) in inputs.iter().enumerate() {
        let ty = tactician_ir::TensorType::known(v.dtype, &v.sizes);
        values.push(g.add_input(&format!("x{i}"), ty).map_err(|e| failed(op, e.to_string()))?);
    }
    let out = g.add(op.clone(), &values, "y").map_err(|e| failed(op, e.to_string()))?;
    let ty = g.ty(out);
    let sizes = ty.sizes().ok_or_else(|| failed(op, "its sizes are open".into()))?;
    Ok((ty.dtype, sizes))
}

pub(crate) fn eval_value(op: &Op, inputs: &[&Value], exact: bool) -> Result<Value, ReferenceError> {
    let (dtype, sizes) = output_of(op, inputs)?;
    // The other axes may be so long that nothing must walk along them.
    if sizes.contains(&0) {
        return Ok(Value { dtype, sizes, data: Data::of_bytes(dtype, &[]) });
    }
    ops::eval(op, inputs, &sizes, exact).map_err(|e| failed(op, e))
}

/// Computes one operation; the result is rounded to its type once.
///
/// # Errors
/// When the operands do not fit the operation.
pub fn eval_op(op: &Op, inputs: &[&Tensor]) -> Result<Tensor, ReferenceError> {
    if let Op::Constant(t) = op {
        return Ok(t.clone());
    }
    let values: Vec<Value> = inputs.iter().map(|t| Value::of(t)).collect();
    let list: Vec<&Value> = values.iter().collect();
    Ok(eval_value(op, &list, false)?.to_tensor())
}

/// Operands as the problem's operations read them: those of the anchor that it rounds, rounded.
pub(crate) fn read(problem: &Problem, operands: &[&Tensor]) -> Vec<Value> {
    let one = |(i, t): (usize, &&Tensor)| match problem.read_as(i) {
        Some(dtype) => Value { dtype, ..Value::of(t) }.rounded(),
        None => Value::of(t),
    };
    operands.iter().enumerate().map(one).collect()
}

/// A problem's anchor and output values, from operands as [`read`] gives them.
pub(crate) fn eval_both(
    problem: &Problem,
    values: &[&Value],
    exact: bool,
) -> Result<(Value, Value), ReferenceError> {
    if values.len() != problem.operands.len() {
        let text = format!("{} operands given, {} needed", values.len(), problem.operands.len());
        return Err(failed(&problem.anchor, text));
    }
    let (anchor, rest) = values.split_at(problem.anchor_operands);
    let mut result = eval_value(&problem.anchor, anchor, exact)?;
    if !exact {
        result = result.rounded();
    }
    if problem.epilogue.is_identity() {
        return Ok((result.clone(), result));
    }
    let mut inputs = vec![&result];
    inputs.extend(rest);
    let sizes = result.sizes.clone();
    let out =
        expr::eval(&problem.epilogue, &inputs, &sizes, exact).map_err(|e| failed(&problem.anchor, e))?;
    Ok((result, out))
}

/// Computes a problem, every operation rounded to its type.
///
/// # Errors
/// When the operands do not fit the problem.
pub fn eval_problem(problem: &Problem, operands: &[&Tensor]) -> Result<Tensor, ReferenceError> {
    let values = read(problem, operands);
    let list: Vec<&Value> = values.iter().collect();
    Ok(eval_both(problem, &list, false)?.1.to_tensor())
}
