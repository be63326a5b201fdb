//! `matmul.cudnn`: matrix products with what follows them, by the engines of cuDNN.
//!
//! `f32`, `f16` or `bf16`; each factor has the whole batch or none of it, and may be stored transposed. cuDNN compiles
//! the engines, so any epilogue is served whose functions it has.

use tactician_cuda::cudnn::{NodeSpec, Role, TensorSpec};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::{DType, Layout};

use crate::cudnn::{Call, Description, View};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulCudnn = MatMulCudnn;

pub(crate) struct MatMulCudnn;

impl Family for MatMulCudnn {
    fn id(&self) -> &'static str {
        "matmul.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        graph(problem).map_or(vec![], |call| call.tactics("matmul.cudnn/", problem, device))
    }
}

/// A factor `[batch, rows, columns]`, perhaps stored as `[batch, columns, rows]`.
fn factor(dtype: DType, [batch, rows, columns]: [usize; 3], transposed: bool) -> TensorSpec {
    let (sizes, plane) = ([batch, rows, columns].map(|n| n as u64), (rows as u64).saturating_mul(columns as u64));
    let mut tensor = TensorSpec::plain(dtype, &sizes, Role::Virtual);
    if transposed {
        tensor.strides = vec![plane, 1, rows as u64];
    }
    tensor
}

fn graph(problem: &Problem) -> Option<Call> {
    let Op::MatMul(op) = &problem.anchor else { return None };
    let (a, b) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let result = problem.result.sizes()?;
    let lead = result.len().checked_sub(2)?;
    let (mut rows, columns) = (result[lead], result[lead + 1]);
    let depth = a[if op.trans_a { a.len() - 2 } else { a.len() - 1 }];
    let batch_of = |of: &[usize]| of[..of.len() - 2].iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let (batch, mut in_a, in_b) = (batch_of(&result)?, batch_of(&a)?, batch_of(&b)?);
    // A part of a batch would need several strides.
    if [in_a, in_b].iter().any(|&n| n != batch && n != 1) {
        return None;
    }
    // Batches that only the left factor has are rows.
    let rows_alone = in_b == 1 && in_a == batch && !op.trans_a;
    if rows_alone {
        rows = rows.checked_mul(batch)?;
        in_a = 1;
    }
    let row = if rows_alone { 0 } else { lead };
    let axes = vec![0..row, row..lead + 1, lead + 1..lead + 2];
    // Of a right factor that all matrices of a batch share, cuDNN 9.14 on an H100 takes other numbers.
    if in_b == 1 && in_a != 1 {
        return None;
    }
    let mut d = Description::new(problem, View { axes, layout: Layout::Plain, channels_last: false })?;
    let a = d.operand(0, Layout::Plain, factor(d.dtype, [in_a, rows, depth], op.trans_a))?;
    let b = d.operand(1, Layout::Plain, factor(d.dtype, [in_b, depth, columns], op.trans_b))?;
    d.finish(|y| NodeSpec::MatMul { a, b, y })
}

#[cfg(test)]
#[path = "matmul_cudnn_tests.rs"]
mod tests;
