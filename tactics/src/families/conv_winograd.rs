//! `conv.cpu.winograd`: 3×3 windows with fewer multiplications, for scratch.
//!
//! `f4` is the side of an output tile, `b4` the output blocks multiplied together, `t28` the tiles of a task: more
//! tiles read the weights less often and need more scratch; `all` transforms every tile before the first product.

use tactician_cpu::WinogradConv;
use tactician_device::DeviceInfo;
use tactician_ir::{Problem, Tensor};
use tactician_types::{Growth, Layout};

use crate::conv::{blocked_epilogue, geometry};
use crate::cpu::{Use, bytes, floats, kernel_tactic};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Winograd = Winograd;

pub(crate) struct Winograd;

/// Fewer channels than this do not pay for the transforms.
const MIN_CHANNELS: usize = 16;

/// Error growth over plain summation for F(2×2) and F(4×4): about 2 and 10 times as measured on random data, with room.
const GROWTH: [f64; 2] = [8.0, 64.0];

impl Family for Winograd {
    fn id(&self) -> &'static str {
        "conv.cpu.winograd"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let mut out = Vec::new();
        let (Some(cpu), Some(geometry)) = (device.cpu(), geometry(problem)) else { return out };
        if geometry.c.min(geometry.k) < MIN_CHANNELS {
            return out;
        }
        let block = cpu.isa.channel_block();
        let blocks = geometry.k.div_ceil(block as usize);
        let [_, h, w] = geometry.output();
        for (i, output_tile) in [2u8, 4].into_iter().enumerate() {
            let side = output_tile as usize;
            let all = h.div_ceil(side) * w.div_ceil(side) * geometry.n;
            for tile_blocks in [2u8, 4] {
                if tile_blocks as usize > blocks {
                    continue;
                }
                for tiles_per_task in [0u32, 7, 14, 28, 56, 112] {
                    // A task for each thread, at least.
                    if tiles_per_task as usize * cpu.threads > all.next_multiple_of(7) {
                        continue;
                    }
                    let Some((epilogue, mut uses)) = blocked_epilogue(problem, block) else { continue };
                    uses.splice(
                        0..0,
                        [
                            Use::As(Layout::Blocked(block)),
                            Use::Packed("transformed and packed for Winograd", pack),
                        ],
                    );
                    let task =
                        if tiles_per_task == 0 { "all".to_owned() } else { format!("t{tiles_per_task}") };
                    let id = format!("conv.cpu.winograd/f{output_tile}.c{block}.b{tile_blocks}.{task}");
                    let kernel = WinogradConv {
                        geometry: geometry.clone(),
                        block,
                        output_tile,
                        tile_blocks,
                        tiles_per_task,
                        epilogue,
                        ready: None,
                    };
                    let tactic = kernel_tactic(id, problem, cpu, kernel, uses, Layout::Blocked(block));
                    out.extend(tactic.map(|t| Tactic { growth: Growth { factor: GROWTH[i], tile: side, ..Growth::NONE }, ..t }));
                }
            }
        }
        out
    }
}

fn pack(kernel: &WinogradConv, weights: &Tensor) -> Result<Vec<u8>, String> {
    kernel.pack(&floats(weights)?).map(bytes)
}
