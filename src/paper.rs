//! A device that is not here: enough of it to make plans from measurements that were taken there.

use std::sync::Arc;

use tactician_cuda::compile_for;
use tactician_device::{
    CodeSource, Device, DeviceError, DeviceInfo, Executable, HostBytes, Memory, StepDesc, Stream,
};

/// A device by its description. It compiles code where this machine has the compiler, and does nothing else.
pub struct PaperDevice(DeviceInfo);

impl PaperDevice {
    /// The device of a description, such as a tactic table keeps.
    pub fn new(info: DeviceInfo) -> PaperDevice {
        PaperDevice(info)
    }

    fn absent(&self, what: &str) -> DeviceError {
        DeviceError::Failed {
            call: what.to_owned(),
            reason: format!("`{}` is known by its description alone; run this where it is", self.0.name),
        }
    }
}

impl Device for PaperDevice {
    fn info(&self) -> &DeviceInfo {
        &self.0
    }

    fn alloc(&self, _: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Err(self.absent("allocating memory"))
    }

    fn constants(&self, _: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        Err(self.absent("loading constants"))
    }

    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        Err(self.absent(&format!("preparing `{}`", step.kernel)))
    }

    fn compile(&self, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        Ok(compile_for(source, &self.0.architecture())?.cubin.into())
    }

    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        Err(self.absent("opening a stream"))
    }
}
