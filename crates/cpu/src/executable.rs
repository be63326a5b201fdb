use std::sync::Arc;

use tactician_device::{DeviceError, Executable, Span, StepDesc, Stream};

use crate::kernel::{Args, Kernel};
use crate::threads::Threads;

/// A step ready to run on the CPU.
pub(crate) type CpuExecutable = Box<dyn Executable>;

/// A decoded kernel whose argument lengths were checked.
pub(crate) struct Prepared<K> {
    kernel: K,
    inputs: usize,
    outputs: usize,
    threads: Arc<Threads>,
}

impl<K: Kernel> Prepared<K> {
    pub(crate) fn from_step(
        step: &StepDesc<'_>,
        threads: &Arc<Threads>,
    ) -> Result<CpuExecutable, DeviceError> {
        let bad = |problem: String| DeviceError::BadStep { kernel: K::NAME.to_owned(), problem };
        let (mut kernel, rest): (K, &[u8]) = postcard::take_from_bytes(step.params)
            .map_err(|e| bad(format!("its parameters do not decode ({e})")))?;
        if !rest.is_empty() {
            return Err(bad(format!("its parameters are followed by {} stray bytes", rest.len())));
        }
        let sizes = kernel.sizes(threads.count()).map_err(bad)?;
        for (what, needed, given) in
            [("input", &sizes.inputs, step.inputs), ("output", &sizes.outputs, step.outputs)]
        {
            if needed.len() != given.len() {
                return Err(bad(format!("takes {} {what}s, the plan passes {}", needed.len(), given.len())));
            }
            for (i, (n, g)) in needed.iter().zip(given).enumerate() {
                if g < n {
                    return Err(bad(format!("{what} {i} must hold {n} bytes, the plan passes {g}")));
                }
            }
        }
        if step.scratch < sizes.scratch {
            return Err(bad(format!(
                "needs {} bytes of scratch, the plan has {}",
                sizes.scratch, step.scratch
            )));
        }
        kernel.prepare(threads.level().isa()).map_err(bad)?;
        Ok(Box::new(Prepared {
            kernel,
            inputs: step.inputs.len(),
            outputs: step.outputs.len(),
            threads: threads.clone(),
        }))
    }
}

impl<K: Kernel> Executable for Prepared<K> {
    unsafe fn enqueue(&self, args: &[Span], _stream: &mut dyn Stream) -> Result<(), DeviceError> {
        // SAFETY: the caller passes live, disjoint spans as long as in the step description, which `from_step`
        // checked against the kernel's needs.
        let args = unsafe { Args::new(args, self.inputs, self.outputs) };
        self.kernel.run(&args, &self.threads);
        Ok(())
    }
}
