//! The steps that this backend runs, by the name of their kernel.

use tactician_device::{DeviceError, Executable, StepDesc};

use crate::copy::Copy;
use crate::device::CudaDevice;
use crate::launch::Launches;
use crate::launch_step::LaunchStep;

/// Decodes and checks a step; the error is a clause about what does not fit.
type Prepare = fn(&CudaDevice, &StepDesc<'_>) -> Result<Box<dyn Executable>, String>;

/// A kernel's name, or the beginning of a library's names, up to and with their dot.
const STEPS: &[(&str, Prepare)] = &[
    (Copy::NAME, |_, step| Ok(Box::new(Copy::prepare(step)?))),
    (Launches::NAME, |device, step| {
        Ok(Box::new(LaunchStep::prepare(step, device.context(), device.modules(), device.limits())?))
    }),
];

/// Makes a step ready.
pub(crate) fn prepare(device: &CudaDevice, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
    let serves = |name: &str| name == step.kernel || (name.ends_with('.') && step.kernel.starts_with(name));
    let Some((_, prepare)) = STEPS.iter().find(|(name, _)| serves(name)) else {
        return Err(DeviceError::UnknownKernel { kernel: step.kernel.to_owned(), device: "CUDA" });
    };
    prepare(device, step).map_err(|problem| DeviceError::BadStep { kernel: step.kernel.to_owned(), problem })
}
