//! How operands of an epilogue may spread over the anchor's result.
//!
//! Kernels apply epilogues tile by tile and know operands of the result's shape, of one value, and of one
//! value a channel or column. An operand that broadcasts otherwise is left to a pointwise region, which takes
//! any.

use tactician_ir::{Problem, Shape};

/// Every epilogue operand is of the result's shape, one value, or one value a channel (axis 1).
pub(super) fn by_channel(problem: &Problem) -> bool {
    all(problem, |rank| vec![1.min(rank)])
}

/// Every epilogue operand is of the result's shape, one value, or one value a column (last axis).
pub(super) fn by_column(problem: &Problem) -> bool {
    all(problem, |rank| vec![rank.saturating_sub(1)])
}

/// Either of the two, operand by operand.
pub(super) fn by_channel_or_column(problem: &Problem) -> bool {
    all(problem, |rank| vec![1, rank.saturating_sub(1)])
}

fn all(problem: &Problem, axes: impl Fn(usize) -> Vec<usize>) -> bool {
    let result = &problem.result.shape;
    let axes = axes(result.rank());
    problem.epilogue_inputs().iter().all(|o| {
        let shape = &o.ty.shape;
        shape == result || over_none(shape) || axes.iter().any(|&axis| over(shape, result, axis))
    })
}

fn over_none(shape: &Shape) -> bool {
    shape.dims().iter().all(|d| d.is(1))
}

/// Whether all of `shape` but `axis` of the result is 1.
fn over(shape: &Shape, result: &Shape, axis: usize) -> bool {
    let Some(lead) = result.rank().checked_sub(shape.rank()) else { return false };
    shape.dims().iter().enumerate().all(|(i, d)| {
        let whole = i + lead == axis && result.dims().get(axis) == Some(d);
        whole || d.is(1)
    })
}
