//! Running kernels in tests.

use tactician_device::Span;

use crate::kernel::{Args, Kernel};
use crate::threads::Threads;

/// A small generator of test data.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Values between -1 and 1.
    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

/// Prepares and runs a kernel of one output on raw bytes (8-aligned); the output starts as ones.
pub(crate) fn run_bytes<K: Kernel>(mut kernel: K, inputs: &[Vec<u8>], threads: &Threads) -> Vec<u8> {
    let sizes = kernel.sizes(threads.count()).unwrap();
    assert_eq!(sizes.scratch, 0);
    assert_eq!(inputs.iter().map(|i| i.len() as u64).collect::<Vec<_>>(), sizes.inputs);
    kernel.prepare(threads.level().isa()).unwrap();
    let words = |bytes: usize| vec![u64::MAX; bytes.div_ceil(8)];
    let mut blocks: Vec<Vec<u64>> = inputs
        .iter()
        .map(|i| {
            let mut block = words(i.len());
            bytemuck::cast_slice_mut(&mut block)[..i.len()].copy_from_slice(i);
            block
        })
        .collect();
    let n = sizes.outputs[0] as usize;
    blocks.push(words(n));
    let mut spans: Vec<Span> = blocks
        .iter_mut()
        .zip(sizes.inputs.iter().chain(&sizes.outputs))
        .map(|(b, &len)| Span { address: b.as_mut_ptr() as u64, len })
        .collect();
    spans.push(Span::EMPTY);
    // SAFETY: the blocks outlive the call, are disjoint and have the lengths asked for.
    threads.install(|| kernel.run(&unsafe { Args::new(&spans, inputs.len(), 1) }, threads));
    bytemuck::cast_slice(&blocks[inputs.len()])[..n].to_vec()
}

/// Values from bytes of any alignment.
pub(crate) fn of_bytes<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// The same for floats.
pub(crate) fn run<K: Kernel>(kernel: K, inputs: &[Vec<f32>], threads: &Threads) -> Vec<f32> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|x| bytemuck::cast_slice(x).to_vec()).collect();
    of_bytes(&run_bytes(kernel, &inputs, threads))
}

/// Compares within `tolerance` relative to the larger of 1 and the expected value; NaN equals NaN.
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let equal = f64::from(g) == w || g.is_nan() && w.is_nan();
        let close = (f64::from(g) - w).abs() <= tolerance * w.abs().max(1.0);
        assert!(equal || close, "{what}: element {i} is {g}, expected {w}");
    }
}

/// Pools of every instruction set here, with one and two threads.
pub(crate) fn pools() -> Vec<Threads> {
    let mut out = Vec::new();
    for &isa in crate::available_isas() {
        for n in [1, 2] {
            out.push(Threads::new(n).unwrap().with_level(crate::Level::of(isa)));
        }
    }
    out
}

/// Damages `good` parameters at random and checks that whatever decodes is refused or has sizes, without a panic.
pub(crate) fn hostile<K: Kernel>(good: &K) {
    let good = postcard::to_allocvec(good).unwrap();
    let mut rng = Rng::new(good.len() as u64);
    let mut decoded = 0;
    for round in 0..4000 {
        let mut bytes = good.clone();
        if round % 4 == 0 {
            bytes = (0..rng.below(64)).map(|_| rng.next() as u8).collect();
        } else {
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = match rng.below(3) {
                    0 => rng.next() as u8,
                    1 => rng.below(4) as u8,
                    _ => bytes[at] ^ 1 << rng.below(8),
                };
            }
            if rng.below(4) == 0 {
                // A number near 2^64.
                let at = rng.below(bytes.len());
                bytes.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
            }
        }
        let Ok(mut kernel) = postcard::from_bytes::<K>(&bytes) else { continue };
        decoded += 1;
        if let Ok(sizes) = kernel.sizes(2) {
            let total: u64 = sizes.inputs.iter().chain(&sizes.outputs).sum();
            if total < 1 << 16 && kernel.prepare(crate::detect_isa()).is_ok() {
                run_small(&kernel, &sizes);
            }
        }
    }
    assert!(decoded > 100, "{decoded} of 4000 decode");
}

/// Runs a kernel on zeros; indexing must stay inside.
fn run_small<K: Kernel>(kernel: &K, sizes: &crate::ArgSizes) {
    let mut blocks: Vec<Vec<u64>> =
        sizes.inputs.iter().chain(&sizes.outputs).map(|&n| vec![0; n.div_ceil(8) as usize]).collect();
    let mut spans: Vec<Span> = blocks
        .iter_mut()
        .zip(sizes.inputs.iter().chain(&sizes.outputs))
        .map(|(b, &len)| Span { address: b.as_mut_ptr() as u64, len })
        .collect();
    spans.push(Span::EMPTY);
    // SAFETY: as in `run_bytes`.
    let args = unsafe { Args::new(&spans, sizes.inputs.len(), sizes.outputs.len()) };
    kernel.run(&args, &Threads::new(1).unwrap());
}
