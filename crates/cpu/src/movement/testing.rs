//! Running movement kernels in tests.

use tactician_device::Span;

use crate::kernel::{Args, Kernel};
use crate::level::Level;
use crate::threads::Threads;

/// A small generator of test data.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From `least` to `most`.
    pub(crate) fn size(&mut self, least: usize, most: usize) -> usize {
        least + (self.next() >> 33) as usize % (most - least + 1)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Pools of every instruction set here, with one and two threads.
pub(crate) fn pools() -> Vec<Threads> {
    let all = crate::available_isas().iter().flat_map(|&isa| [(isa, 1), (isa, 2)]);
    all.map(|(isa, n)| Threads::new(n).unwrap().with_level(Level::of(isa))).collect()
}

/// Runs a kernel of one output on bytes; the output starts full of ones. Inputs may be longer than needed.
pub(crate) fn run<K: Kernel + Clone>(kernel: &K, inputs: &[&[u8]], threads: &Threads) -> Vec<u8> {
    let mut kernel = kernel.clone();
    let sizes = kernel.sizes(threads.count()).unwrap();
    assert_eq!((sizes.scratch, sizes.outputs.len(), sizes.inputs.len()), (0, 1, inputs.len()));
    kernel.prepare(threads.level().isa()).unwrap();
    let mut blocks: Vec<Vec<u64>> = Vec::new();
    let mut spans = Vec::new();
    for (i, need) in inputs.iter().zip(&sizes.inputs) {
        assert!(i.len() as u64 >= *need, "an input of {} bytes, {need} needed", i.len());
        let mut block = vec![u64::MAX; i.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut block)[..i.len()].copy_from_slice(i);
        // No more than asked for, so that reading beyond it is noticed.
        spans.push(Span { address: block.as_ptr() as u64, len: *need });
        blocks.push(block);
    }
    let n = sizes.outputs[0] as usize;
    let mut out = vec![u64::MAX; n.div_ceil(8)];
    spans.push(Span { address: out.as_mut_ptr() as u64, len: n as u64 });
    spans.push(Span::EMPTY);
    // SAFETY: the blocks outlive the call, are disjoint and have the lengths asked for.
    threads.install(|| kernel.run(&unsafe { Args::new(&spans, inputs.len(), 1) }, threads));
    bytemuck::cast_slice(&out)[..n].to_vec()
}

/// Checks that a kernel gives `want` on every pool.
pub(crate) fn check<K: Kernel + Clone>(kernel: &K, inputs: &[&[u8]], want: &[u8], what: &str) {
    for threads in pools() {
        let got = run(kernel, inputs, &threads);
        let isa = threads.level().isa();
        assert!(got == want, "{what} with {} threads of {isa} differs", threads.count());
    }
}

/// Decodes random bytes and damaged parameters: whatever decodes is refused or has sizes, without a panic, and small
/// kernels that are accepted stay inside their arguments.
pub(crate) fn hostile<K: Kernel + Clone>(good: &K) {
    let good = postcard::to_stdvec(good).unwrap();
    let mut random = Random::new(good.len() as u64);
    let threads = Threads::new(1).unwrap();
    let (mut decoded, mut ran) = (0, 0);
    for round in 0..4000 {
        let mut bytes = good.clone();
        if round % 4 == 0 {
            let n = random.size(0, 60);
            bytes = random.bytes(n);
        } else {
            for _ in 0..random.size(1, 3) {
                let at = random.size(0, bytes.len() - 1);
                bytes[at] = if random.next().is_multiple_of(2) {
                    random.next() as u8
                } else {
                    random.size(0, 5) as u8
                };
            }
            if random.next().is_multiple_of(4) {
                // A number near 2^64.
                let at = random.size(0, bytes.len() - 1);
                bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
            }
        }
        let Ok(mut kernel) = postcard::from_bytes::<K>(&bytes) else { continue };
        decoded += 1;
        let Ok(sizes) = kernel.sizes(2) else { continue };
        let total: u64 = sizes.inputs.iter().chain(&sizes.outputs).sum();
        if total < 1 << 16 && kernel.prepare(crate::detect_isa()).is_ok() {
            ran += 1;
            let inputs: Vec<Vec<u8>> = sizes.inputs.iter().map(|&n| random.bytes(n as usize)).collect();
            let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            run(&kernel, &inputs, &threads);
        }
    }
    assert!(decoded > 100 && ran > 10, "{decoded} of 4000 decode, {ran} run");
}
