//! What CUDA families share.

use std::fmt;
use std::sync::Arc;

use tactician_cuda::{Launch, Launches};
use tactician_device::CodeSource;
use tactician_ir::{Problem, Tensor};
use tactician_types::{Growth, Layout};

use crate::Tactic;
use crate::emission::{Arg, Constants, Form, StepSpec, pack, stored};

/// How a constant operand is packed.
pub(crate) type Packer = Arc<dyn Fn(&Tensor) -> Result<Vec<u8>, String> + Send + Sync>;

/// What becomes of an operand.
pub(crate) enum Use {
    /// Passed as it is: an activation in this layout, or a constant stored in it.
    As(Layout),
    /// A constant packed for the kernel: what the note says, what else its bytes depend on, and the packer.
    Packed(&'static str, String, Packer),
}

impl Use {
    /// A constant packed for a kernel. Tactics share packed bytes, so `of` tells two ways of packing apart that have the
    /// same note.
    pub(crate) fn packed(
        note: &'static str,
        of: &dyn fmt::Debug,
        pack: impl Fn(&Tensor) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Use {
        Use::Packed(note, format!("{note} {of:?}"), Arc::new(pack))
    }

    /// What becomes of a constant.
    fn form(&self) -> Form {
        match self {
            Use::As(l) => Form::stored(*l),
            Use::Packed(note, name, _) => Form { note: (*note).to_owned(), name: Some(name.clone()) },
        }
    }

    fn bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, String> {
        match self {
            Use::As(l) => Ok(stored(tensor, *l)),
            Use::Packed(.., pack) => pack(tensor),
        }
    }
}

/// One step of a tactic: a kernel of the backend with its serialised parameters. It takes all operands in order, then
/// the output, then its scratch.
pub(crate) struct DeviceStep {
    pub(crate) kernel: &'static str,
    pub(crate) params: Vec<u8>,
    pub(crate) code: Option<CodeSource>,
    pub(crate) scratch: u64,
}

impl DeviceStep {
    /// Launches of kernels of one source. Argument `i` of a launch is operand `i`; then comes the output, then the
    /// scratch.
    pub(crate) fn launches(code: CodeSource, launches: Vec<Launch>, scratch: u64) -> DeviceStep {
        let params = postcard::to_stdvec(&Launches(launches)).expect("plain data always encodes");
        DeviceStep { kernel: Launches::NAME, params, code: Some(code), scratch }
    }
}

/// A tactic of one step; `uses` says how each operand is passed. `None` when it packs an operand that is not constant.
pub(crate) fn step_tactic(
    id: String,
    problem: &Problem,
    uses: Vec<Use>,
    output: Layout,
    growth: Growth,
    step: DeviceStep,
) -> Option<Tactic> {
    debug_assert_eq!(uses.len(), problem.operands.len());
    let constant: Vec<bool> = problem.operands.iter().map(|o| o.constant).collect();
    if uses.iter().zip(&constant).any(|(u, &c)| matches!(u, Use::Packed(..)) && !c) {
        return None;
    }
    let inputs = uses
        .iter()
        .zip(&constant)
        .map(|(u, &c)| match u {
            Use::As(l) if !c => *l,
            _ => Layout::Plain,
        })
        .collect();
    let (workspace, ahead) = (step.scratch, step.code.clone().into());
    let name = id.clone();
    let emit = move |constants: &Constants<'_>| {
        let (mut out, args) =
            pack(&name, &constant, constants, |i| uses[i].form(), |i, tensor| uses[i].bytes(tensor))?;
        out.steps.push(StepSpec {
            kernel: step.kernel,
            params: step.params.clone(),
            inputs: args,
            outputs: vec![Arg::Output],
            scratch: step.scratch,
            code: step.code.clone(),
        });
        Ok(out)
    };
    Some(Tactic { id, inputs, output, workspace, growth, view: false, ahead, emit: Arc::new(emit) })
}
