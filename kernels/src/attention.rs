//! The kernels of attention: what each is compiled with.

use tactician_device::CodeSource;
use tactician_types::DType;

use crate::gemm_epilogue::stored_type;
use crate::source;

/// What a kernel of attention is compiled for besides its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionKind {
    /// Element type: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Whether later keys are left out.
    pub causal: bool,
    /// Whether scores are capped.
    pub cap: bool,
    /// Whether there is a mask.
    pub mask: bool,
}

/// The tile of the kernel on tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionTile {
    /// Warps of 16 queries.
    pub warps: u32,
    /// Keys at a time.
    pub keys: u32,
    /// Size of a head of queries and keys, rounded up to a multiple of 16.
    pub head: u32,
    /// Size of a head of values, rounded up likewise.
    pub head_v: u32,
}

impl AttentionTile {
    /// Shared memory of a block in bytes: queries, and two stages of keys and values.
    pub fn shared(&self) -> u32 {
        let pitch = |head: u32| (head + 8) * 2;
        self.warps * 16 * pitch(self.head) + 2 * self.keys * (pitch(self.head) + pitch(self.head_v))
    }
}

fn defines(kind: AttentionKind) -> Option<Vec<String>> {
    let element = stored_type(kind.dtype)?;
    let flags = [("CAUSAL", kind.causal), ("CAP", kind.cap), ("MASK", kind.mask)];
    let mut list = vec![format!("ELEMENT={element}")];
    list.extend(flags.map(|(name, set)| format!("{name}={}", u32::from(set))));
    Some(list)
}

/// `attention/plain.cu`, entry `attention_plain`: `values` elements of a result a lane.
pub fn plain(kind: AttentionKind, values: u32) -> Option<CodeSource> {
    let mut list = defines(kind)?;
    list.push(format!("VALUES={values}"));
    Some(source("attention/plain.cu", "", &list))
}

/// `attention/mma.cu`, entry `attention_mma`, for 16-bit floats.
pub fn mma(kind: AttentionKind, tile: AttentionTile) -> Option<CodeSource> {
    let mut list = defines(kind)?;
    let AttentionTile { warps, keys, head, head_v } = tile;
    list.extend(
        [("WARPS", warps), ("KEYS", keys), ("HEAD", head), ("HEAD_V", head_v)]
            .map(|(n, v)| format!("{n}={v}")),
    );
    Some(source("attention/mma.cu", "", &list))
}

/// One of each kind, for checks.
pub(crate) fn all() -> Vec<CodeSource> {
    let mut out = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (causal, cap, mask) in [(false, false, false), (true, true, true)] {
            let kind = AttentionKind { dtype, causal, cap, mask };
            out.extend([1, 2, 8].into_iter().filter_map(|values| plain(kind, values)));
            if dtype != DType::F32 {
                for (warps, keys, head, head_v) in [
                    (2, 64, 32, 32),
                    (4, 64, 64, 64),
                    (8, 64, 96, 96),
                    (4, 64, 128, 128),
                    (8, 64, 128, 128),
                    (4, 64, 16, 48),
                ] {
                    out.extend(mma(kind, AttentionTile { warps, keys, head, head_v }));
                }
            }
        }
    }
    out
}
