use std::fmt;

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
    #[error("out of memory on {device}: {wanted} could not be allocated{}", room.as_ref().map(|r| r.to_string()).unwrap_or_default())]
    OutOfMemory {
        /// The device.
        device: String,
        /// The size asked for.
        wanted: Bytes,
        /// How much there is, where the device tells.
        room: Option<Box<Room>>,
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

/// How much memory a device has, when it was asked for more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What nobody has.
    pub free: Bytes,
    /// All of it.
    pub total: Bytes,
    /// What this process has through the device that was asked, memory kept for the next allocation included.
    pub held: Bytes,
    /// The most that it may have, where a limit was set.
    pub limit: Option<Bytes>,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Room { free, total, held, limit } = self;
        write!(f, "; {free} of {total} are free, {held} are held here")?;
        match limit {
            Some(limit) => write!(f, " of {limit} allowed; raise the limit")?,
            None => f.write_str("; end other programs on the device")?,
        }
        f.write_str(
            ", drop engines and contexts that are not needed, or build for a smaller batch or workspace",
        )
    }
}
