//! `copy`: bytes from one place to another. The same name and parameters as the CPU's.

use cudarc::driver::sys;
use serde::{Deserialize, Serialize};
use tactician_device::{DeviceError, Executable, Span, StepDesc, Stream};

use crate::driver::check;
use crate::stream::CudaStream;

/// Copies `bytes` bytes. One input, one output, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// How many.
    pub bytes: u64,
}

impl Copy {
    /// The kernel name of such steps.
    pub const NAME: &'static str = "copy";

    /// Decodes and checks a step.
    pub(crate) fn prepare(step: &StepDesc<'_>) -> Result<Copy, String> {
        let (copy, rest): (Copy, &[u8]) = postcard::take_from_bytes(step.params)
            .map_err(|e| format!("its parameters do not decode ({e})"))?;
        if !rest.is_empty() {
            return Err(format!("its parameters are followed by {} stray bytes", rest.len()));
        }
        for (what, lens) in [("input", step.inputs), ("output", step.outputs)] {
            match lens {
                [len] if *len >= copy.bytes => {}
                [len] => {
                    return Err(format!("its {what} must hold {} bytes, the plan passes {len}", copy.bytes));
                }
                _ => return Err(format!("takes 1 {what}, the plan passes {}", lens.len())),
            }
        }
        Ok(copy)
    }
}

impl Executable for Copy {
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let s = CudaStream::of(stream)?;
        let &[from, to, ..] = args else {
            return Err(DeviceError::BadStep {
                kernel: Self::NAME.into(),
                problem: "too few arguments".into(),
            });
        };
        if self.bytes == 0 {
            return Ok(());
        }
        // SAFETY: both spans are live and as long as `prepare` was told, so at least this long; they do not overlap.
        check("cuMemcpyDtoDAsync", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to.address, from.address, self.bytes as usize, s.raw())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfit_steps_are_refused() {
        let refused = |bytes: u64, inputs: &[u64], outputs: &[u64]| {
            let params = postcard::to_stdvec(&Copy { bytes }).unwrap();
            let step =
                StepDesc { kernel: Copy::NAME, params: &params, inputs, outputs, scratch: 0, code: None };
            Copy::prepare(&step).unwrap_err()
        };
        assert!(refused(8, &[7], &[8]).contains("input must hold 8 bytes, the plan passes 7"));
        assert!(refused(8, &[8], &[]).contains("takes 1 output, the plan passes 0"));
        let step =
            StepDesc { kernel: "copy", params: &[], inputs: &[], outputs: &[], scratch: 0, code: None };
        assert!(Copy::prepare(&step).unwrap_err().contains("do not decode"));
    }
}
