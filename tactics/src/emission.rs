use std::sync::Arc;

use tactician_device::CodeSource;
use tactician_ir::Tensor;
use thiserror::Error;

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
