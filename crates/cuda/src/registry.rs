//! The steps that this backend runs, by the name of their kernel.

use tactician_device::{DeviceError, Executable, StepDesc};

use crate::copy::Copy;
#[cfg(feature = "cublaslt")]
use crate::cublaslt;
#[cfg(feature = "cudnn")]
use crate::cudnn;
use crate::device::CudaDevice;
use crate::host_run::{HostRun, HostStep};
use crate::launch::Launches;
use crate::launch_step::LaunchStep;

/// Decodes and checks a step for a device.
type Prepare = fn(&CudaDevice, &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError>;

/// A kernel's name, or the beginning of a library's names, up to and with their dot.
const STEPS: &[(&str, Prepare)] = &[
    (Copy::NAME, |_, step| Ok(Box::new(Copy::prepare(step).map_err(bad(step))?))),
    #[cfg(feature = "cublaslt")]
    (cublaslt::MatmulStep::NAME, |device, step| cublaslt::prepare(step, device.context().ordinal())),
    (HostRun::NAME, |device, step| Ok(Box::new(HostStep::prepare(step, device.context(), device.host())?))),
    (Launches::NAME, |device, step| {
        let made = LaunchStep::prepare(step, device.context(), device.modules(), device.limits());
        Ok(Box::new(made.map_err(bad(step))?))
    }),
    #[cfg(feature = "cudnn")]
    (cudnn::NAME, |device, step| cudnn::prepare(step, device.context())),
];

/// Kernels of libraries whose feature this program was built without, by the beginning of their names.
const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "cublaslt"))]
    ("cublaslt.", "cublaslt"),
    #[cfg(not(feature = "cudnn"))]
    ("cudnn.", "cudnn"),
];

/// An error from a clause about what does not fit.
fn bad(step: &StepDesc<'_>) -> impl Fn(String) -> DeviceError {
    let kernel = step.kernel.to_owned();
    move |problem| DeviceError::BadStep { kernel: kernel.clone(), problem }
}

/// Makes a step ready.
pub(crate) fn prepare(device: &CudaDevice, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
    let serves = |name: &str| name == step.kernel || (name.ends_with('.') && step.kernel.starts_with(name));
    match STEPS.iter().find(|(name, _)| serves(name)) {
        Some((_, prepare)) => prepare(device, step),
        None => Err(match LEFT_OUT.iter().find(|(prefix, _)| step.kernel.starts_with(prefix)) {
            Some((_, feature)) => {
                bad(step)(format!("this program was built without the feature `{feature}`"))
            }
            None => DeviceError::UnknownKernel { kernel: step.kernel.to_owned(), device: "CUDA" },
        }),
    }
}
