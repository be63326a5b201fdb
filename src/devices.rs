//! Which device a plan is built for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tactician_cpu::CpuDevice;
use tactician_cuda::{CudaDevice, HOST_THREADS, host_threads};
use tactician_device::{Device, DeviceError};

/// A device by name: `cpu`, `cuda` (the first GPU) or `cuda:1`.
///
/// ```
/// use tactician::DeviceName;
///
/// assert_eq!("cuda:1".parse(), Ok(DeviceName::Cuda(1)));
/// assert_eq!(DeviceName::Cuda(0).to_string(), "cuda:0");
/// assert!("tpu".parse::<DeviceName>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The host processor.
    Cpu,
    /// An NVIDIA GPU, counted from 0 as the driver counts them.
    Cuda(usize),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let number = s.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        match (s, number) {
            ("cpu", _) => Ok(DeviceName::Cpu),
            ("cuda", _) => Ok(DeviceName::Cuda(0)),
            (_, Some(n)) if s.starts_with("cuda:") && n.bytes().all(|b| b.is_ascii_digit()) => {
                n.parse().map(DeviceName::Cuda).map_err(|_| format!("`{n}` is no number of a GPU"))
            }
            _ => Err(format!("there is no device `{s}`: write cpu, cuda or cuda:N")),
        }
    }
}

impl DeviceName {
    /// Opens the device; `threads` are the CPU's, the caller's included (default: one a processor). A GPU comes with the
    /// CPU that computes what it has no kernel for, with at most [`HOST_THREADS`] threads.
    ///
    /// # Errors
    /// When there is no such device, or it cannot be used.
    pub fn open(self, threads: Option<usize>) -> Result<Arc<dyn Device>, DeviceError> {
        match self {
            DeviceName::Cpu => Ok(Arc::new(CpuDevice::new(threads)?)),
            DeviceName::Cuda(n) => {
                let gpu = CudaDevice::new(n)?;
                let threads = threads.map_or_else(host_threads, |n| n.min(HOST_THREADS));
                Ok(Arc::new(gpu.with_host(Arc::new(CpuDevice::new(Some(threads))?))))
            }
        }
    }

    /// The best device present: the first GPU where one can be used, else the CPU. Whoever asks for a number of threads
    /// means the CPU.
    pub fn best(threads: Option<usize>) -> Result<Arc<dyn Device>, DeviceError> {
        if threads.is_none()
            && let Ok(gpu) = DeviceName::Cuda(0).open(None)
        {
            return Ok(gpu);
        }
        DeviceName::Cpu.open(threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_strictly() {
        for bad in ["", "CPU", "cuda:", "cuda1", "cuda:-1", "cuda:+1", "cuda:1x", "cuda:99999999999999999999"]
        {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad}");
        }
        for name in [DeviceName::Cpu, DeviceName::Cuda(0), DeviceName::Cuda(7)] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn there_is_always_a_best_device() {
        assert_eq!(DeviceName::best(Some(1)).unwrap().info().kind_name(), "cpu");
        let kind = DeviceName::best(None).unwrap().info().kind_name();
        assert_eq!(kind, if tactician_cuda::obstacle().is_none() { "cuda" } else { "cpu" });
    }

    #[test]
    fn a_missing_gpu_is_an_error_that_says_so() {
        let e = DeviceName::Cuda(4000).open(None).err().unwrap().to_string();
        assert!(e.contains("GPU 4000"), "{e}");
    }
}
