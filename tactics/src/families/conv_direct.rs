//! `conv.cpu.direct`: register tiles over blocked channels, no scratch.
//!
//! `c16` is the channel block, `b4` the output blocks of a tile, `f` marks tiles that go through the filters first.
//! `first` reads plain input: for first layers, whose few channels would leave blocks almost empty.

use tactician_cpu::DirectConv;
use tactician_device::DeviceInfo;
use tactician_ir::{Problem, Tensor};
use tactician_types::Layout;

use crate::conv::{blocked_epilogue, geometry};
use crate::cpu::{Use, bytes, floats, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Direct = Direct;

pub(crate) struct Direct;

/// Up to this many channels, plain input is tried too.
const FEW_CHANNELS: usize = 8;

impl Family for Direct {
    fn id(&self) -> &'static str {
        "conv.cpu.direct"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let mut out = Vec::new();
        let (Some(cpu), Some(geometry)) = (device.cpu(), geometry(problem)) else { return out };
        let block = cpu.isa.channel_block();
        let blocks = (geometry.k / geometry.groups).div_ceil(block as usize);
        let sizes = [4u8, 2, 1].into_iter().filter(|&b| b as usize <= blocks).take(2);
        for (tile_blocks, plain_input, filters_inner) in sizes
            .flat_map(|b| [(b, false), (b, true)])
            .flat_map(|(b, plain)| [(b, plain, false), (b, plain, true)])
        {
            if plain_input && geometry.c > FEW_CHANNELS {
                continue;
            }
            // With one group of filters both orders are the same.
            if filters_inner && blocks <= tile_blocks as usize {
                continue;
            }
            let Some((epilogue, mut uses)) = blocked_epilogue(problem, block) else { continue };
            let input = if plain_input { Layout::Plain } else { Layout::Blocked(block) };
            uses.splice(0..0, [Use::As(input), Use::Packed("packed for direct convolution", pack)]);
            let id = format!(
                "conv.cpu.direct/c{block}.b{tile_blocks}{}{}",
                if filters_inner { ".f" } else { "" },
                if plain_input { ".first" } else { "" }
            );
            let kernel = DirectConv {
                geometry: geometry.clone(),
                block,
                plain_input,
                tile_blocks,
                filters_inner,
                epilogue,
                ready: None,
            };
            out.extend(kernel_tactic(id, problem, cpu, kernel, uses, Layout::Blocked(block)));
        }
        out
    }
}

fn pack(kernel: &DirectConv, weights: &Tensor) -> Result<Vec<u8>, String> {
    kernel.pack(&floats(weights)?).map(bytes)
}
