use std::sync::Arc;

use tactician_device::CodeSource;
use tactician_ir::Tensor;
use tactician_types::Layout;
use thiserror::Error;

use crate::layout;

/// What a tactic puts into a plan.
#[derive(Clone, Debug, Default)]
pub struct Emission {
    /// Steps in order. None when the output is operand [`Emission::view_of`] as it is.
    pub steps: Vec<StepSpec>,
    /// Constants that the steps read.
    pub packed: Vec<Packed>,
    /// The operand whose bytes are the output's bytes.
    pub view_of: Option<usize>,
}

/// A constant in the form that its tactic wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// What it is, such as `weights c16 winograd f4x4`.
    pub note: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One step, its arguments by role.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Kernel name.
    pub kernel: &'static str,
    /// Serialised parameters.
    pub params: Vec<u8>,
    /// Inputs, in the kernel's order.
    pub inputs: Vec<Arg>,
    /// Outputs, in the kernel's order.
    pub outputs: Vec<Arg>,
    /// Scratch in bytes.
    pub scratch: u64,
    /// Code that the device compiles for it.
    pub code: Option<CodeSource>,
}

/// An argument of a step, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Operand `i` of the problem, in the tactic's layout.
    Operand(usize),
    /// Constant `i` of the emission.
    Packed(usize),
    /// The problem's output.
    Output,
}

/// Makes an emission from the constant operands.
pub type Emit = Arc<dyn Fn(&[Option<Tensor>]) -> Result<Emission, EmitError> + Send + Sync>;

/// Constants do not fit the problem.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{tactic}: {problem}")]
pub struct EmitError {
    /// The tactic.
    pub tactic: String,
    /// What does not fit.
    pub problem: String,
}

/// A constant stored in a layout: what it is then, and its bytes.
pub(crate) fn stored(tensor: &Tensor, layout: Layout) -> (String, Vec<u8>) {
    let bytes = layout::from_plain(tensor.bytes(), tensor.dtype().size(), tensor.sizes(), layout);
    (layout.to_string(), bytes)
}

/// An emission without steps yet that holds the constant operands as `form` makes them, and the arguments of a step
/// that takes all operands in order.
pub(crate) fn pack(
    tactic: &str,
    constant: &[bool],
    constants: &[Option<Tensor>],
    form: impl Fn(usize, &Tensor) -> Result<(String, Vec<u8>), String>,
) -> Result<(Emission, Vec<Arg>), EmitError> {
    let fail = |problem: String| EmitError { tactic: tactic.to_owned(), problem };
    let mut out = Emission::default();
    let mut args = Vec::with_capacity(constant.len());
    for (i, &constant) in constant.iter().enumerate() {
        if !constant {
            args.push(Arg::Operand(i));
            continue;
        }
        let tensor = constants
            .get(i)
            .and_then(Option::as_ref)
            .ok_or_else(|| fail(format!("operand {i} must be constant")))?;
        let (note, bytes) = form(i, tensor).map_err(fail)?;
        args.push(Arg::Packed(out.packed.len()));
        out.packed.push(Packed { note: format!("{} {note}", tensor.ty()), bytes });
    }
    Ok((out, args))
}
