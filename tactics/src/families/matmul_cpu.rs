//! `matmul.cpu`: matrix products on the CPU.
//!
//! `packed` has the right operand packed at build time. One that is computed at run time is packed into scratch
//! (`whole`, or block by block: `blocks`) or read as it is (`direct`). `vector` is for products with one row or column,
//! `any` takes every element type.

use tactician_cpu::gemm::{MatMul, MatShape, MatVec, RightForm, TypedMatMul};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{Op, Problem, Tensor};
use tactician_types::Layout;

use crate::cpu::{Use, all_f32, bytes, floats, kernel_tactic, lanes, plain_finish};
use crate::{Family, Tactic};

pub(crate) static FAMILY: MatMulCpu = MatMulCpu;

pub(crate) struct MatMulCpu;

impl Family for MatMulCpu {
    fn id(&self) -> &'static str {
        "matmul.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Some(shape)) = (device.cpu(), shape(problem)) else { return vec![] };
        if !all_f32(problem) {
            let dtype = problem.result.dtype;
            if !problem.epilogue.is_identity() || problem.output.dtype != dtype {
                return vec![];
            }
            let uses = vec![Use::As(Layout::Plain), Use::As(Layout::Plain)];
            let kernel = TypedMatMul { dtype, shape };
            let any = kernel_tactic("matmul.cpu/any".into(), problem, cpu, kernel, uses, Layout::Plain);
            return any.into_iter().collect();
        }
        let forms: &[(&str, RightForm)] = if problem.operands[1].constant {
            &[("packed", RightForm::Packed)]
        } else {
            &[("whole", RightForm::Whole), ("blocks", RightForm::Blocks), ("direct", RightForm::Direct)]
        };
        let mut out: Vec<Tactic> =
            forms.iter().filter_map(|&(name, form)| product(problem, cpu, &shape, name, form)).collect();
        out.extend(vector(problem, cpu, &shape));
        out
    }
}

/// The sizes of a product. Batches that only the left operand has become rows.
fn shape(problem: &Problem) -> Option<MatShape> {
    let Op::MatMul(op) = &problem.anchor else { return None };
    let (a, b) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let out = problem.result.sizes()?;
    let rank = out.len().checked_sub(2)?;
    let [m, n] = [out[rank], out[rank + 1]];
    let k = if op.trans_a { a[a.len() - 2] } else { a[a.len() - 1] };
    if rank > 12 {
        return None;
    }
    let axes = |of: &[usize]| {
        let lead = &of[..of.len() - 2];
        let skip = rank - lead.len();
        (0..lead.len()).filter(|&i| lead[i] != 1).fold(0u16, |mask, i| mask | 1 << (i + skip))
    };
    let (a_axes, b_axes) = (axes(&a), axes(&b));
    let mut shape = MatShape {
        batch: out[..rank].to_vec(),
        a_axes,
        b_axes,
        m,
        n,
        k,
        trans_a: op.trans_a,
        trans_b: op.trans_b,
    };
    let wide = (0..rank).filter(|&i| out[i] != 1).fold(0u16, |mask, i| mask | 1 << i);
    if b_axes == 0 && a_axes == wide && (!op.trans_a || wide == 0) {
        shape.m = out[..rank].iter().product::<usize>().checked_mul(m)?;
        shape.batch = vec![];
        shape.a_axes = 0;
    }
    Some(shape)
}

fn product(
    problem: &Problem,
    cpu: &CpuInfo,
    shape: &MatShape,
    name: &str,
    form: RightForm,
) -> Option<Tactic> {
    let (finish, more) = plain_finish(problem)?;
    let right = match form {
        RightForm::Packed => Use::Packed("packed in panels of columns", pack as _),
        _ => Use::As(Layout::Plain),
    };
    let mut uses = vec![Use::As(Layout::Plain), right];
    uses.extend(more);
    let kernel = MatMul::new(shape.clone(), lanes(cpu), form, finish);
    kernel_tactic(format!("matmul.cpu/{name}"), problem, cpu, kernel, uses, Layout::Plain)
}

fn pack(kernel: &MatMul, right: &Tensor) -> Result<Vec<u8>, String> {
    kernel.pack(&floats(right)?).map(bytes)
}

/// Products with one row or one column, of as many matrices as vectors.
fn vector(problem: &Problem, cpu: &CpuInfo, s: &MatShape) -> Option<Tactic> {
    let wide = s.batch.iter().enumerate().filter(|(_, n)| **n != 1).fold(0u16, |mask, (i, _)| mask | 1 << i);
    if s.a_axes != wide || s.b_axes != wide {
        return None;
    }
    let products = s.batch.iter().product();
    let (finish, more) = plain_finish(problem)?;
    let kernel = match (s.m, s.n) {
        (1, n) => MatVec::new(products, n, s.k, s.trans_b, false, finish),
        (m, 1) => MatVec::new(products, m, s.k, !s.trans_a, true, finish),
        _ => return None,
    };
    let mut uses = vec![Use::As(Layout::Plain), Use::As(Layout::Plain)];
    uses.extend(more);
    kernel_tactic("matmul.cpu/vector".into(), problem, cpu, kernel, uses, Layout::Plain)
}
