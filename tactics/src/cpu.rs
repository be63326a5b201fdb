//! What CPU families share.

use std::sync::Arc;

use tactician_cpu::Kernel;
use tactician_cpu::gemm::Finish;
use tactician_device::{CpuInfo, Isa};
use tactician_ir::{Problem, Tensor};
use tactician_types::{Binary, DType, Expr, Growth, Layout};

use crate::emission::{Arg, Constants, EmitError, Form, StepSpec, pack, stored};
use crate::epilogue::{Spread, spreads};
use crate::pointwise_cpu::epilogue;
use crate::{Ahead, Tactic};

/// How a constant operand is packed: what the note says, and the packer.
pub(crate) type Packer<K> = fn(&K, &Tensor) -> Result<Vec<u8>, String>;

/// What becomes of an operand.
pub(crate) enum Use<K> {
    /// Passed as it is: an activation in this layout, or a constant stored in it.
    As(Layout),
    /// A constant packed for the kernel.
    Packed(&'static str, Packer<K>),
}

/// A tactic of one kernel that takes the operands in order; `uses` says how, one an operand. `None` when the kernel
/// refuses its own parameters.
pub(crate) fn kernel_tactic<K: Kernel + Clone>(
    id: String,
    problem: &Problem,
    cpu: &CpuInfo,
    kernel: K,
    uses: Vec<Use<K>>,
    output: Layout,
) -> Option<Tactic> {
    let sizes = kernel.sizes(cpu.threads).ok()?;
    debug_assert_eq!(uses.len(), problem.operands.len());
    let inputs = uses
        .iter()
        .zip(&problem.operands)
        .map(|(u, o)| match u {
            Use::As(l) if !o.constant => *l,
            _ => Layout::Plain,
        })
        .collect();
    let constant: Vec<bool> = problem.operands.iter().map(|o| o.constant).collect();
    // A kernel that packs weights cannot take them as activations.
    if uses.iter().zip(&constant).any(|(u, &c)| matches!(u, Use::Packed(..)) && !c) {
        return None;
    }
    let scratch = sizes.scratch;
    let name = id.clone();
    let emit = move |constants: &Constants<'_>| {
        let fail = |problem: String| EmitError { tactic: name.clone(), problem };
        let form = |i: usize| match &uses[i] {
            Use::As(l) => Form::stored(*l),
            // It depends on the kernel, so hardly two tactics want the same.
            Use::Packed(note, _) => Form { note: (*note).to_owned(), name: None },
        };
        let (mut out, args) = pack(&name, &constant, constants, form, |i, tensor| match &uses[i] {
            Use::As(l) => Ok(stored(tensor, *l)),
            Use::Packed(_, pack) => pack(&kernel, tensor),
        })?;
        out.steps.push(StepSpec {
            kernel: K::NAME,
            params: encode(&kernel).map_err(fail)?,
            inputs: args,
            outputs: vec![Arg::Output],
            scratch,
            code: None,
        });
        Ok(out)
    };
    Some(Tactic {
        id,
        inputs,
        output,
        workspace: scratch,
        growth: Growth::NONE,
        view: false,
        ahead: Ahead::Nothing,
        emit: Arc::new(emit),
    })
}

pub(crate) fn encode<K: Kernel>(kernel: &K) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(kernel).map_err(|e| format!("its parameters do not encode: {e}"))
}

/// The floats of a constant.
pub(crate) fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    tensor
        .values::<f32>()
        .map(|v| v.into_owned())
        .ok_or_else(|| format!("expected f32 weights, found {}", tensor.ty()))
}

/// Floats as bytes.
pub(crate) fn bytes(values: Vec<f32>) -> Vec<u8> {
    bytemuck::cast_slice(&values).to_vec()
}

/// Whether every operand and the output are `f32`.
pub(crate) fn all_f32(problem: &Problem) -> bool {
    problem.output.dtype == DType::F32 && problem.operands.iter().all(|o| o.ty.dtype == DType::F32)
}

/// The float type of every operand, of the result and of the output, where nothing follows the operation.
pub(crate) fn one_float(problem: &Problem) -> Option<DType> {
    let dtype = problem.output.dtype;
    let types = problem.operands.iter().map(|o| o.ty.dtype).chain([problem.result.dtype]);
    let one = dtype.is_float() && types.into_iter().all(|t| t == dtype);
    (one && problem.epilogue.is_identity()).then_some(dtype)
}

/// Floats in a vector of matrix products.
pub(crate) fn lanes(cpu: &CpuInfo) -> u8 {
    if cpu.isa == Isa::Avx512 { 16 } else { 8 }
}

/// The epilogue of a kernel with a plain result, and how its operands are passed.
pub(crate) fn plain_finish<K>(problem: &Problem) -> Option<(Finish, Vec<Use<K>>)> {
    let (e, passes) = epilogue(problem, Layout::Plain)?;
    let uses = passes.iter().map(|_| Use::As(Layout::Plain)).collect();
    Some((Finish { expr: e.expr, sizes: e.grid.sizes, operands: e.grid.operands }, uses))
}

/// The element type of a problem all of one type, and whether its epilogue is a bias; `None` when it is any other.
pub(crate) fn typed_bias(problem: &Problem) -> Option<(DType, bool)> {
    let dtype = problem.output.dtype;
    if problem.operands.iter().any(|o| o.ty.dtype != dtype) {
        return None;
    }
    if problem.epilogue.is_identity() {
        return Some((dtype, false));
    }
    let bias = problem.epilogue == Expr::binary(Binary::Add)
        && matches!(spreads(problem)[..], [(_, Spread::PerChannel)]);
    bias.then_some((dtype, true))
}
