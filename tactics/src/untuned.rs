use tactician_device::DeviceInfo;
use tactician_ir::Problem;

use crate::{ALL, Family, Tactic, host};

/// What one would take without measuring: libraries before own kernels, on tensor cores before others, on the CPU the
/// algorithms with the fewest surprises. Families that are not named follow.
const PREFERENCE: &[&str] = &[
    "view",
    "conv.cudnn",
    "matmul.cublaslt",
    "conv.cublaslt",
    "conv.cuda.depthwise",
    "conv.cuda.mma",
    "matmul.cuda.mma",
    "conv.cpu.depthwise",
    "conv.cpu.gemm",
    "conv.cpu.direct",
];

/// Tactics in the order in which heuristics would take them, no time known: families in a fixed order, libraries first, and in
/// each its tactics as it lists them, which for a library is the order of its own heuristics.
pub fn untuned(problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
    let rank = |f: &&dyn Family| {
        let known = PREFERENCE.iter().position(|p| *p == f.id());
        (known.unwrap_or(PREFERENCE.len()), f.id())
    };
    let mut families: Vec<&dyn Family> = ALL.to_vec();
    families.sort_by_key(rank);
    families.push(&host::FAMILY);
    families.iter().flat_map(|f| f.tactics(problem, device)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_families_exist() {
        let all = crate::families();
        for p in PREFERENCE {
            assert!(all.contains(p), "{p}");
        }
    }
}
