use tactician_types::Bytes;
use thiserror::Error;

/// What can go wrong on a device.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such kernel in this backend.
    #[error(
        "this {device} backend has no kernel `{kernel}`: the plan needs a newer tactician or another device"
    )]
    UnknownKernel {
        /// The kernel asked for.
        kernel: String,
        /// The kind of device.
        device: &'static str,
    },
    /// The parameters do not decode or contradict the argument sizes.
    #[error("kernel `{kernel}`: {problem}")]
    BadStep {
        /// The kernel asked for.
        kernel: String,
        /// What does not fit.
        problem: String,
    },
    /// Not enough memory.
    #[error("out of memory on {device}: {wanted} could not be allocated")]
    OutOfMemory {
        /// The device.
        device: String,
        /// The size asked for.
        wanted: Bytes,
    },
    /// The processor lacks instructions that the step needs.
    #[error("kernel `{kernel}` needs {needs}, which this processor lacks")]
    MissingFeature {
        /// The kernel asked for.
        kernel: String,
        /// The instruction set.
        needs: String,
    },
    /// A library or the driver reported a failure.
    #[error("{call} failed: {reason}")]
    Failed {
        /// The call.
        call: String,
        /// What it said.
        reason: String,
    },
}
