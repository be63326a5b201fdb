//! `attention.cpu`: scaled dot-product attention on the CPU.
//!
//! `attention.cpu/flash.q96k128` works on 96 queries and 128 keys at a time, `f32` only; its scratch holds their scores and the
//! packed keys for each thread. `attention.cpu/plain` is the definition, any float type, no scratch.

use tactician_cpu::attention::{AttentionShape, AttentionStrides, FlashAttention, PlainAttention};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{HeadsIn, Op, Problem};
use tactician_types::{DType, Layout};

use crate::cpu::{Use, kernel_tactic, lanes};
use crate::{Family, Tactic};

pub(crate) static FAMILY: AttentionCpu = AttentionCpu;

pub(crate) struct AttentionCpu;

/// Queries and keys of a block: small scratch, then more queries for each packing of the keys.
const BLOCKS: [(usize, usize); 4] = [(24, 32), (48, 64), (96, 128), (240, 256)];

impl Family for AttentionCpu {
    fn id(&self) -> &'static str {
        "attention.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Some(shape)) = (device.cpu(), shape(problem)) else { return vec![] };
        let dtype = problem.result.dtype;
        let mut out: Vec<Tactic> = Vec::new();
        if dtype == DType::F32 {
            // Larger blocks than there are queries and keys only take more scratch.
            let useful = |i: usize| i == 0 || BLOCKS[i - 1].0 < shape.queries || BLOCKS[i - 1].1 < shape.keys;
            // Where nothing is measured, the largest that the workspace allows.
            out.extend((0..BLOCKS.len()).rev().filter(|&i| useful(i)).filter_map(|i| {
                let (rows, columns) = BLOCKS[i];
                let kernel = FlashAttention { shape: shape.clone(), lanes: lanes(cpu), rows, columns };
                tactic(format!("attention.cpu/flash.q{rows}k{columns}"), problem, cpu, kernel)
            }));
        }
        out.extend(tactic("attention.cpu/plain".into(), problem, cpu, PlainAttention { dtype, shape }));
        out
    }
}

fn tactic<K: tactician_cpu::Kernel + Clone>(
    id: String,
    problem: &Problem,
    cpu: &CpuInfo,
    kernel: K,
) -> Option<Tactic> {
    let uses = problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect();
    kernel_tactic(id, problem, cpu, kernel, uses, Layout::Plain)
}

/// Sizes and parameters of an attention without epilogue, all of one type.
pub(crate) fn shape(problem: &Problem) -> Option<AttentionShape> {
    let Op::Attention(op) = &problem.anchor else { return None };
    let dtype = problem.result.dtype;
    let plain = problem.epilogue.is_identity() && problem.output.dtype == dtype;
    if !plain || problem.operands.iter().any(|o| o.ty.dtype != dtype) {
        return None;
    }
    let sizes: Vec<Vec<usize>> = problem.operands.iter().map(|o| o.ty.sizes()).collect::<Option<_>>()?;
    let [batches, heads, queries, size] = op.operand_sizes(0, &sizes[0])?;
    let [_, key_heads, keys, value_size] = op.operand_sizes(2, &sizes[2])?;
    let mask = sizes.get(3).map(|m| {
        let skip = 4 - m.len();
        (0..m.len()).filter(|&i| m[i] != 1).fold(0u8, |mask, i| mask | 1 << (i + skip))
    });
    Some(AttentionShape {
        batches,
        heads,
        key_heads: key_heads.max(1),
        queries,
        keys,
        size,
        value_size,
        mask,
        scale: op.scale,
        causal: op.causal,
        softcap: op.softcap,
        heads_inside: op.heads_inside,
        within: std::array::from_fn(|i| {
            let HeadsIn { offset, strides: [batch, head, row], .. } = op.within[i]?;
            Some((AttentionStrides { offset, batch, head, row }, sizes[i].iter().product()))
        }),
    })
}
