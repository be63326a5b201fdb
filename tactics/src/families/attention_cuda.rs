//! `attention.cuda`: scaled dot-product attention on CUDA, without a matrix of scores in memory and without scratch.
//!
//! `attention.cuda/mma.q64k64` has 64 queries of a block meet 64 keys at a time on tensor cores: 16-bit floats, heads of up to 128
//! elements, a multiple of 8. `attention.cuda/plain` has a warp for each query: any 32- or 16-bit floats, values of up to 256.

use tactician_cpu::attention::{AttentionShape, AttentionStrides};
use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CodeSource, CudaInfo, DeviceInfo};
use tactician_ir::Problem;
use tactician_kernels::Arguments;
use tactician_kernels::attention::{self, AttentionKind, AttentionTile};
use tactician_types::{DType, Growth, Layout};

use crate::attention_cpu::shape;
use crate::conv_cuda_mma::has_tensor_cores;
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::pointwise_cuda::{bytes, spans};
use crate::{Family, Tactic};

pub(crate) static FAMILY: AttentionCuda = AttentionCuda;

pub(crate) struct AttentionCuda;

/// Warps of a block, each with 16 queries.
const WARPS: [u32; 3] = [2, 4, 8];
/// Keys that a block meets at one time.
const KEYS: u32 = 64;

impl Family for AttentionCuda {
    fn id(&self) -> &'static str {
        "attention.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        let Some(s) = shape(problem) else { return vec![] };
        let dtype = problem.result.dtype;
        let kind = AttentionKind {
            dtype,
            causal: s.causal.is_some(),
            cap: s.softcap > 0.0,
            mask: s.mask.is_some(),
        };
        let mut out: Vec<Tactic> = plain(problem, cuda, &s, kind).into_iter().collect();
        let fits = |n: usize| n <= 128 && n.is_multiple_of(8) && n > 0;
        // Rows are copied eight elements at a time.
        let aligned = (0..3).all(|which| {
            let AttentionStrides { offset, batch, head, row } = s.strides(which);
            [offset, batch, head, row].iter().all(|n| n.is_multiple_of(8))
        });
        if matches!(dtype, DType::F16 | DType::BF16) && fits(s.size) && fits(s.value_size) && aligned {
            // More queries to a block than there are would idle, but for the smallest.
            let useful = |w: &&u32| **w == WARPS[0] || (**w as usize) * 8 < s.queries;
            out.extend(WARPS.iter().filter(useful).filter_map(|&w| mma(problem, cuda, &s, kind, w)));
        }
        out
    }
}

/// The struct `Shape` of the kernels; `None` where it counts too far.
fn arguments(s: &AttentionShape) -> Option<LaunchArg> {
    let int = |n: usize| i32::try_from(n).ok().filter(|&n| n < 1 << 30);
    let mut list = Arguments::new();
    let sizes = [s.batches.checked_mul(s.heads)?, s.heads, s.heads / s.key_heads, s.queries, s.keys, s.size, s.value_size];
    for n in sizes {
        list = list.i32(int(n)?);
    }
    for which in 0..4 {
        let strides = s.strides(which);
        for n in [strides.offset, strides.batch, strides.head, strides.row] {
            list = list.i32(int(n)?);
        }
    }
    let mask = [s.batches, s.heads, s.queries, s.keys];
    for axis in 0..4 {
        let has = |a: usize| s.mask.is_some_and(|m| m >> a & 1 == 1);
        let step = (axis + 1..4).filter(|&a| has(a)).map(|a| mask[a]).try_fold(1usize, usize::checked_mul)?;
        list = list.i32(if has(axis) { int(step)? } else { 0 });
    }
    // Offsets beyond all keys and queries make no difference.
    let offset = s.causal.unwrap_or(0).clamp(-(1 << 30), 1 << 30) as i32;
    Some(bytes(list.i32(offset).f32(s.scale).f32(s.softcap)))
}

fn tactic(
    id: String,
    problem: &Problem,
    cuda: &CudaInfo,
    (entry, code): (&str, CodeSource),
    (blocks, threads, shared): (u32, u32, u32),
    arguments: LaunchArg,
) -> Option<Tactic> {
    let mut args = spans(problem.operands.len() + 1);
    args.push(arguments);
    let launch = Launch {
        entry: entry.to_owned(),
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        cluster: [1; 3],
        shared,
        overlaps: cuda.capability.0 >= 9,
        args,
    };
    let uses = problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect();
    step_tactic(id, problem, uses, Layout::Plain, Growth::NONE, DeviceStep::launches(code, vec![launch], 0))
}

fn blocks(rows: usize) -> Option<u32> {
    u32::try_from(rows).ok().filter(|&n| n > 0 && n < 1 << 31)
}

fn plain(problem: &Problem, cuda: &CudaInfo, s: &AttentionShape, kind: AttentionKind) -> Option<Tactic> {
    let values = u32::try_from(s.value_size.div_ceil(32)).ok().filter(|n| (1..=8).contains(n))?;
    // The queries of four warps.
    let shared = u32::try_from(s.size * 16).ok().filter(|&n| n <= 48 << 10)?;
    let rows = (s.batches * s.heads).checked_mul(s.queries)?;
    let code = attention::plain(kind, values)?;
    let size = (blocks(rows.div_ceil(4))?, 128, shared);
    tactic("attention.cuda/plain".into(), problem, cuda, ("attention_plain", code), size, arguments(s)?)
}

fn mma(
    problem: &Problem,
    cuda: &CudaInfo,
    s: &AttentionShape,
    kind: AttentionKind,
    warps: u32,
) -> Option<Tactic> {
    let whole = |n: usize| (n as u32).next_multiple_of(16);
    let tile = AttentionTile { warps, keys: KEYS, head: whole(s.size), head_v: whole(s.value_size) };
    if u64::from(tile.shared()) > cuda.shared_bytes {
        return None;
    }
    let rows = warps * 16;
    let count = blocks((s.batches * s.heads).checked_mul(s.queries.div_ceil(rows as usize))?)?;
    let code = attention::mma(kind, tile)?;
    let size = (count, warps * 32, tile.shared());
    let id = format!("attention.cuda/mma.q{rows}k{KEYS}");
    tactic(id, problem, cuda, ("attention_mma", code), size, arguments(s)?)
}
