use tactician_cuda::{Launch, LaunchArg};
use tactician_device::DeviceInfo;
use tactician_kernels::{Arguments, sources};

use crate::cuda::DeviceStep;
use crate::emission::{Arg, StepSpec};

/// A step that looks whether its operand's `bytes` bytes repeat after every `period` bytes, the last time perhaps in
/// part. It sets something of its output, 4 bytes that are zero before, where they do not. `None` where the device has
/// no such step: on a CPU, for sizes beyond 32 bits of units.
pub fn repeats(device: &DeviceInfo, bytes: u64, period: u64) -> Option<StepSpec> {
    let cuda = device.cuda()?;
    let unit = [16u64, 4, 2, 1].into_iter().find(|&u| bytes.is_multiple_of(u) && period.is_multiple_of(u))?;
    let (units, period) = (u32::try_from(bytes / unit).ok()?, u32::try_from(period / unit).ok()?);
    if period == 0 || period > units {
        return None;
    }
    let most = cuda.multiprocessors.max(1) * 8;
    let arguments = Arguments::new().u32(units).u32(period);
    let launch = Launch {
        entry: sources::REPEATS.to_owned(),
        grid: [(units - period).div_ceil(256).clamp(1, most), 1, 1],
        block: [256, 1, 1],
        cluster: [1, 1, 1],
        shared: 0,
        overlaps: cuda.capability.0 >= 9,
        args: vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Bytes(arguments.bytes())],
    };
    let step = DeviceStep::launches(sources::repeats(unit as u32), vec![launch], 0);
    Some(StepSpec {
        kernel: step.kernel,
        params: step.params,
        inputs: vec![Arg::Operand(0)],
        outputs: vec![Arg::Output],
        scratch: 0,
        code: step.code,
    })
}
