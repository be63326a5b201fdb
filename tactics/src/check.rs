use tactician_cuda::{Launch, LaunchArg};
use tactician_device::DeviceInfo;
use tactician_kernels::{Arguments, sources};
use tactician_types::DType;

use crate::cuda::DeviceStep;
use crate::emission::{Arg, StepSpec};

/// What a [`check_output`] step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSizes {
    /// Elements of the output.
    pub elements: u64,
    /// After so many the exact values and their bounds start anew.
    pub period: u64,
    /// Bytes that must not change, a multiple of 16.
    pub inputs: u64,
    /// Bytes of each guard zone.
    pub zone: u32,
    /// What these hold.
    pub guard: u8,
}

/// Guard zones that a check looks at.
pub const CHECKED_ZONES: usize = 4;

/// What one block of a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C)]
pub struct CheckFound {
    /// Largest error over its bound.
    pub worst: f64,
    /// Sum of the squares of errors.
    pub error: f64,
    /// Sum of the squares of exact values.
    pub norm: f64,
    /// A sum over the bytes that must not change.
    pub inputs: u64,
    /// Zones that do not hold the guard byte, a bit each.
    pub zones: u64,
}

/// A step that compares an output with exact values on the device, as `tactician_reference::compare_repeated` does on the
/// host, and looks whether anything else was written.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// Its inputs are the output, the exact values and the bounds (both `f64`, in the order of the output's elements), what
    /// must not change, and the zones; its output is `blocks` times a [`CheckFound`].
    pub step: StepSpec,
    /// Results.
    pub blocks: u32,
}

/// The step for outputs of a type; `None` where the device has none: on a CPU, and for types that are no wide floats.
pub fn check_output(device: &DeviceInfo, dtype: DType, sizes: CheckSizes) -> Option<CheckStep> {
    let cuda = device.cuda().filter(|c| c.nvrtc.is_some())?;
    let code = sources::check_output(dtype)?;
    if sizes.period == 0 || !sizes.inputs.is_multiple_of(16) {
        return None;
    }
    let blocks = sizes.elements.div_ceil(1024).clamp(1, u64::from(cuda.multiprocessors.max(1)) * 2) as u32;
    let arguments = Arguments::new()
        .u64(sizes.elements)
        .u64(sizes.period)
        .u64(sizes.inputs / 16)
        .u32(sizes.zone)
        .u32(sizes.guard.into());
    let spans = 4 + CHECKED_ZONES as u16 + 1;
    let mut args: Vec<LaunchArg> = (0..spans).map(LaunchArg::Span).collect();
    args.push(LaunchArg::Bytes(arguments.bytes()));
    let launch = Launch {
        entry: sources::CHECK_OUTPUT.to_owned(),
        grid: [blocks, 1, 1],
        block: [256, 1, 1],
        cluster: [1, 1, 1],
        shared: 0,
        overlaps: false,
        args,
    };
    let step = DeviceStep::launches(code, vec![launch], 0);
    let step = StepSpec {
        kernel: step.kernel,
        params: step.params,
        inputs: (0..usize::from(spans) - 1).map(Arg::Operand).collect(),
        outputs: vec![Arg::Output],
        scratch: 0,
        code: step.code,
    };
    Some(CheckStep { step, blocks })
}
