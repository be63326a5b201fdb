//! `conv.cpu.depthwise`: one filter a channel, blocked layout, no scratch. `c16` is the channel block.

use tactician_cpu::DepthwiseConv;
use tactician_device::DeviceInfo;
use tactician_ir::{Problem, Tensor};
use tactician_types::Layout;

use crate::conv::{blocked_epilogue, geometry};
use crate::cpu::{Use, bytes, floats, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Depthwise = Depthwise;

pub(crate) struct Depthwise;

impl Family for Depthwise {
    fn id(&self) -> &'static str {
        "conv.cpu.depthwise"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Some(geometry)) = (device.cpu(), geometry(problem)) else { return vec![] };
        let block = cpu.isa.channel_block();
        let Some((epilogue, mut uses)) = blocked_epilogue(problem, block) else { return vec![] };
        uses.splice(0..0, [Use::As(Layout::Blocked(block)), Use::Packed("packed for depthwise", pack)]);
        let kernel = DepthwiseConv { geometry, block, epilogue, ready: None };
        let id = format!("conv.cpu.depthwise/c{block}");
        kernel_tactic(id, problem, cpu, kernel, uses, Layout::Blocked(block)).into_iter().collect()
    }
}

fn pack(kernel: &DepthwiseConv, weights: &Tensor) -> Result<Vec<u8>, String> {
    kernel.pack(&floats(weights)?).map(bytes)
}
