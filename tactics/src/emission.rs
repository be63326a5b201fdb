use std::sync::Arc;

use tactician_device::CodeSource;
use tactician_ir::Tensor;
use tactician_types::{Layout, Memo};
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
    /// The bytes, which other tactics may share.
    pub bytes: Arc<Vec<u8>>,
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
pub type Emit = Arc<dyn Fn(&Constants<'_>) -> Result<Emission, EmitError> + Send + Sync>;

/// Values of a problem's constant operands.
#[derive(Clone, Copy, Debug)]
pub struct Constants<'a> {
    /// Operand `i`, if it is constant.
    pub values: &'a [Option<Tensor>],
    /// What was packed of them before.
    pub forms: Option<&'a Forms>,
}

/// What tactics packed of one problem's constants: many want the same form, which is made once and shared.
#[derive(Debug, Default)]
pub struct Forms(Memo<(usize, String), Result<Arc<Vec<u8>>, String>>);

impl Forms {
    /// The form of operand `i` that a name stands for, made by `pack` unless it was made before.
    fn get(
        &self,
        i: usize,
        name: String,
        pack: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Vec<u8>>, String> {
        self.0.get((i, name), || pack().map(Arc::new))
    }
}

/// How a constant is packed.
pub(crate) struct Form {
    /// What it becomes, for people.
    pub(crate) note: String,
    /// What its bytes depend on beside the constant; `None` where tactics do not share it.
    pub(crate) name: Option<String>,
}

/// Constants do not fit the problem.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{tactic}: {problem}")]
pub struct EmitError {
    /// The tactic.
    pub tactic: String,
    /// What does not fit.
    pub problem: String,
}

impl Form {
    /// A constant stored in a layout.
    pub(crate) fn stored(layout: Layout) -> Form {
        Form { note: layout.to_string(), name: Some(format!("as {layout}")) }
    }
}

/// The bytes of a constant stored in a layout.
pub(crate) fn stored(tensor: &Tensor, layout: Layout) -> Vec<u8> {
    layout::from_plain(tensor.bytes(), tensor.dtype().size(), tensor.sizes(), layout)
}

/// An emission without steps yet that holds the constant operands in the forms that `form` names
/// and `bytes` makes, and the arguments of a step
/// that takes all operands in order.
pub(crate) fn pack(
    tactic: &str,
    constant: &[bool],
    constants: &Constants<'_>,
    form: impl Fn(usize) -> Form,
    bytes: impl Fn(usize, &Tensor) -> Result<Vec<u8>, String>,
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
            .values
            .get(i)
            .and_then(Option::as_ref)
            .ok_or_else(|| fail(format!("operand {i} must be constant")))?;
        let Form { note, name } = form(i);
        let bytes = match (constants.forms, name) {
            (Some(forms), Some(name)) => forms.get(i, name, || bytes(i, tensor)),
            _ => bytes(i, tensor).map(Arc::new),
        };
        args.push(Arg::Packed(out.packed.len()));
        out.packed.push(Packed { note: format!("{} {note}", tensor.ty()), bytes: bytes.map_err(fail)? });
    }
    Ok((out, args))
}
