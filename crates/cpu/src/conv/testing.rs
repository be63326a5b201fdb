//! Running a kernel in tests, and the plain convolution that results are compared with.

use tactician_device::Span;

use crate::conv::ConvGeometry;
use crate::kernel::{Args, Kernel};
use crate::threads::Threads;

/// Seeded values between -1 and 1.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Prepares and runs a kernel on floats; the output and scratch start as NaN.
pub(crate) fn run<K: Kernel>(mut kernel: K, inputs: &[&[f32]], threads: &Threads) -> Vec<f32> {
    let sizes = kernel.sizes(threads.count()).unwrap();
    for (have, need) in inputs.iter().zip(&sizes.inputs) {
        assert_eq!(have.len() as u64 * 4, *need);
    }
    kernel.prepare(threads.level().isa()).unwrap();
    let mut out = vec![f32::NAN; sizes.outputs[0] as usize / 4];
    let mut scratch = vec![f32::NAN; sizes.scratch as usize / 4];
    let mut spans: Vec<Span> =
        inputs.iter().map(|i| Span { address: i.as_ptr() as u64, len: i.len() as u64 * 4 }).collect();
    for s in [&mut out, &mut scratch] {
        spans.push(Span { address: s.as_mut_ptr() as u64, len: s.len() as u64 * 4 });
    }
    // SAFETY: the vectors outlive the call, are disjoint and have the lengths asked for.
    threads.install(|| kernel.run(&unsafe { Args::new(&spans, inputs.len(), 1) }, threads));
    out
}

/// `[n, c, pixels]` with channels in blocks; padding is NaN, which must reach nothing.
pub(crate) fn to_blocked(x: &[f32], n: usize, c: usize, block: usize) -> Vec<f32> {
    let pixels = x.len() / (n * c);
    let mut out = vec![f32::NAN; n * c.div_ceil(block) * block * pixels];
    for i in 0..n {
        for k in 0..c {
            for p in 0..pixels {
                out[((i * c.div_ceil(block) + k / block) * pixels + p) * block + k % block] =
                    x[(i * c + k) * pixels + p];
            }
        }
    }
    out
}

/// The inverse of [`to_blocked`].
pub(crate) fn from_blocked(x: &[f32], n: usize, c: usize, block: usize) -> Vec<f32> {
    let blocks = c.div_ceil(block);
    let pixels = x.len() / (n * blocks * block);
    let mut out = vec![0.0; n * c * pixels];
    for i in 0..n {
        for k in 0..c {
            for p in 0..pixels {
                out[(i * c + k) * pixels + p] =
                    x[((i * blocks + k / block) * pixels + p) * block + k % block];
            }
        }
    }
    out
}

/// Convolution in `f64`, by definition.
pub(crate) fn plain(g: &ConvGeometry, x: &[f32], w: &[f32]) -> Vec<f64> {
    let (c, k) = (g.c / g.groups, g.k / g.groups);
    let [od, oh, ow] = g.output();
    let mut out = Vec::with_capacity(g.output_len());
    for n in 0..g.n {
        for ko in 0..g.k {
            for at in 0..od * oh * ow {
                let o = [at / (oh * ow), at / ow % oh, at % ow];
                let mut sum = 0.0;
                for ci in 0..c {
                    let window: usize = g.kernel.iter().product();
                    for s in 0..window {
                        let r =
                            [s / (g.kernel[1] * g.kernel[2]), s / g.kernel[2] % g.kernel[1], s % g.kernel[2]];
                        let i: [isize; 3] = std::array::from_fn(|a| {
                            (o[a] * g.strides[a] + r[a] * g.dilations[a]) as isize - g.pads[a].0 as isize
                        });
                        if (0..3).all(|a| i[a] >= 0 && i[a] < g.input[a] as isize) {
                            let [d, h, v] = i.map(|i| i as usize);
                            let channel = n * g.c + ko / k * c + ci;
                            let x = x[((channel * g.input[0] + d) * g.input[1] + h) * g.input[2] + v];
                            sum += f64::from(x) * f64::from(w[(ko * c + ci) * window + s]);
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Compares within `tolerance` of the largest value.
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w).abs();
        assert!(error <= tolerance * scale, "{what}: element {i} is {g}, expected {w}");
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

/// Geometries that reach the corners: padding, steps, dilation, ragged channels, groups, three axes, tiny images.
pub(crate) fn geometries() -> Vec<ConvGeometry> {
    let image = ConvGeometry::image;
    let mut list = vec![
        image(1, 3, [19, 23], 20, [7, 7], 2, 3),
        image(2, 16, [9, 31], 40, [3, 3], 1, 1),
        image(1, 20, [7, 7], 64, [1, 1], 1, 0),
        image(1, 33, [8, 8], 17, [1, 1], 2, 0),
        image(1, 5, [4, 5], 8, [3, 3], 2, 1),
        image(1, 7, [30, 17], 24, [5, 3], 3, 2),
        image(1, 1, [1, 1], 1, [1, 1], 1, 0),
        image(1, 4, [2, 2], 4, [3, 3], 1, 1),
    ];
    let mut dilated = image(1, 16, [20, 20], 16, [3, 3], 1, 4);
    dilated.dilations = [1, 4, 4];
    let mut uneven = image(1, 8, [6, 9], 16, [2, 4], 1, 0);
    uneven.pads = [(0, 0), (1, 0), (0, 3)];
    let mut solid = image(1, 6, [5, 6], 9, [3, 3], 1, 1);
    (solid.input[0], solid.kernel[0], solid.pads[0]) = (4, 3, (1, 1));
    let mut groups = image(1, 32, [6, 6], 64, [3, 3], 1, 1);
    groups.groups = 2;
    list.extend([dilated, uneven, solid, groups]);
    list
}
