//! How long a CPU tactic takes, guessed from the problem's size alone.

use tactician_device::CpuInfo;
use tactician_ir::Problem;

/// Arithmetic and traffic of one thread with vectors of 16 floats, in 10⁹ operations and bytes a second, by the beginning of a
/// tactic's name; the longest that fits counts. Medians over the problems of ResNet, VGG, Inception, DenseNet, EfficientNetV2,
/// MobileNetV2 and YOLOv8 on an AMD EPYC with AVX-512, rounded. What counts is how they compare with each other.
const RATES: &[(&str, f64, f64)] = &[
    ("attention.cpu/flash", 50.0, 20.0),
    ("attention.cpu/plain", 4.0, 20.0),
    ("conv.cpu.depthwise", 40.0, 20.0),
    ("conv.cpu.direct", 100.0, 20.0),
    ("conv.cpu.gemm", 70.0, 15.0),
    ("conv.cpu.gemm/im2col", 60.0, 10.0),
    ("conv.cpu.plain", 10.0, 5.0),
    // Fast, but less exact, which nobody checks where nothing is measured.
    ("conv.cpu.winograd", 5.0, 5.0),
    ("conv_transpose.cpu", 60.0, 10.0),
    ("matmul.cpu/packed", 90.0, 20.0),
    ("matmul.cpu/vector", 20.0, 20.0),
    ("pointwise.cpu", 20.0, 20.0),
    ("pointwise.cpu/any", 2.0, 5.0),
    ("pool.cpu/plain", 10.0, 1.0),
    ("pool.cpu", 20.0, 15.0),
    ("reduce.cpu/plain", 10.0, 2.0),
    ("reduce.cpu", 20.0, 10.0),
    ("recurrent.cpu", 30.0, 20.0),
    ("move.cpu", 20.0, 20.0),
    ("reformat.cpu", 20.0, 20.0),
];

/// The same of a name that is not among them.
const OTHERS: (f64, f64) = (10.0, 10.0);

/// What a step takes beside its work.
const STEP_US: f64 = 1.0;

/// Rows that the packed product computes at a time.
const ROWS: f64 = 12.0;

/// A guess in microseconds; nothing for a tactic that runs nothing.
pub fn estimate(problem: &Problem, tactic: &str, view: bool, cpu: &CpuInfo) -> f64 {
    if view {
        return 0.0;
    }
    let fits = RATES.iter().filter(|(name, ..)| tactic.starts_with(name));
    let (mut arithmetic, traffic) =
        fits.max_by_key(|(name, ..)| name.len()).map_or(OTHERS, |&(_, a, t)| (a, t));
    let f = problem.features();
    if let (true, Some(p)) = (tactic.starts_with("matmul.cpu/packed"), &f.product) {
        let m = p.m.max(1) as f64;
        arithmetic *= m / ((m / ROWS).ceil() * ROWS);
    }
    let (threads, lanes) = (cpu.threads as f64, cpu.isa.lanes() as f64 / 16.0);
    let work = (f.anchor_flops + f.epilogue_flops) as f64 / (arithmetic * lanes * threads * 1e3);
    let moved = (f.bytes_read + f.bytes_written) as f64 / (traffic * threads * 1e3);
    STEP_US + work.max(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_device::Isa;
    use tactician_ir::{DType, Expr, Graph, Op, Region, TensorType, Unary};

    #[test]
    fn names_are_of_families() {
        for (name, ..) in RATES {
            let family = name.split('/').next().unwrap();
            assert!(crate::families().iter().any(|f| f.starts_with(family)), "{name}");
        }
    }

    #[test]
    fn larger_problems_take_longer_and_more_threads_less() {
        let cpu = |threads| CpuInfo { isa: Isa::Avx2, threads, l1_bytes: 0, l2_bytes: 0, l3_bytes: 0 };
        let of = |size: usize, threads| {
            let mut g = Graph::new("t");
            let x = g.add_input("x", TensorType::known(DType::F32, &[1, size])).unwrap();
            let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[x], "y").unwrap();
            let problem = Region::new("t", &g, &[y.node()]).unwrap().problem(&g);
            estimate(&problem, "pointwise.cpu/plain", false, &cpu(threads))
        };
        assert!(of(1 << 22, 1) > of(1 << 20, 1) && of(1 << 22, 4) < of(1 << 22, 1));
    }
}
