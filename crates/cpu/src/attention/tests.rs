use tactician_device::{Isa, Span};
use tactician_types::DType;

use super::*;
use crate::kernel::{Args, Kernel};
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use crate::threads::Threads;

/// The definition, with all scores of a query at once.
fn naive(s: &AttentionShape, x: &[Vec<f32>]) -> Vec<f64> {
    let steps = s.mask_steps();
    let mut out = vec![0.0; s.batches * s.heads * s.queries * s.value_size];
    for matrix in 0..s.batches * s.heads {
        let (b, h) = (matrix / s.heads, matrix % s.heads);
        let shared = h * s.key_heads / s.heads;
        let place = |which: usize, head: usize, i: usize| {
            if let Some((w, _)) = s.within[which] {
                return w.offset + b * w.batch + head * w.head + i * w.row;
            }
            let (heads, length, size) = match which {
                0 => (s.heads, s.queries, s.size),
                1 => (s.key_heads, s.keys, s.size),
                _ => (s.key_heads, s.keys, s.value_size),
            };
            let row = if s.heads_inside[which] {
                (b * length + i) * heads + head
            } else {
                (b * heads + head) * length + i
            };
            row * size
        };
        for i in 0..s.queries {
            let scores: Vec<f64> = (0..s.keys)
                .map(|j| {
                    if s.causal.is_some_and(|o| j as i64 > i as i64 + o) {
                        return f64::NEG_INFINITY;
                    }
                    let dot: f64 = (0..s.size)
                        .map(|c| {
                            let q = x[0][place(0, h, i) + c];
                            f64::from(q) * f64::from(x[1][place(1, shared, j) + c])
                        })
                        .sum();
                    let mut y = dot * f64::from(s.scale);
                    if s.softcap > 0.0 {
                        y = (y / f64::from(s.softcap)).tanh() * f64::from(s.softcap);
                    }
                    let at = b * steps[0] + h * steps[1] + i * steps[2] + j * steps[3];
                    y + x.get(3).map_or(0.0, |m| f64::from(m[at]))
                })
                .collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> =
                scores.iter().map(|y| if *y == f64::NEG_INFINITY { 0.0 } else { (y - top).exp() }).collect();
            let sum: f64 = weights.iter().sum();
            for c in 0..s.value_size {
                let total: f64 =
                    (0..s.keys).map(|j| weights[j] * f64::from(x[2][place(2, shared, j) + c])).sum();
                let row = if s.heads_inside[3] {
                    (b * s.queries + i) * s.heads + h
                } else {
                    matrix * s.queries + i
                };
                out[row * s.value_size + c] = if sum == 0.0 { 0.0 } else { total / sum };
            }
        }
    }
    out
}

/// Runs a kernel with scratch that begins as NaN.
fn run_with_scratch(mut kernel: FlashAttention, inputs: &[Vec<f32>], threads: &Threads) -> Vec<f32> {
    let sizes = kernel.sizes(threads.count()).unwrap();
    kernel.prepare(threads.level().isa()).unwrap();
    let mut blocks: Vec<Vec<f32>> = inputs.to_vec();
    blocks.push(vec![f32::NAN; sizes.outputs[0] as usize / 4]);
    blocks.push(vec![f32::NAN; sizes.scratch as usize / 4]);
    let lens = sizes.inputs.iter().chain(&sizes.outputs).chain([&sizes.scratch]);
    let spans: Vec<Span> =
        blocks.iter_mut().zip(lens).map(|(b, &len)| Span { address: b.as_mut_ptr() as u64, len }).collect();
    // SAFETY: the blocks outlive the call, are disjoint and have the lengths asked for.
    threads.install(|| kernel.run(&unsafe { Args::new(&spans, inputs.len(), 1) }, threads));
    blocks.swap_remove(inputs.len())
}

#[test]
fn attention_by_definition() {
    let mut rng = Rng::new(5);
    let pools = pools();
    for round in 0..60 {
        let (key_heads, group) = (rng.pick(&[1, 2, 3]), rng.pick(&[1, 1, 2, 4]));
        let mut s = AttentionShape {
            batches: rng.pick(&[1, 2]),
            heads: key_heads * group,
            key_heads,
            queries: rng.pick(&[1, 3, 12, 30, 61]),
            keys: rng.pick(&[1, 5, 31, 64, 100]),
            size: rng.pick(&[1, 7, 32, 40]),
            value_size: rng.pick(&[1, 8, 32, 45]),
            mask: rng.pick(&[None, None, Some(0b1111), Some(0b1100), Some(0b1000), Some(0b0101), Some(0)]),
            scale: rng.pick(&[0.2, 1.0, 5.0]),
            causal: rng.pick(&[None, None, Some(0), Some(7), Some(-4)]),
            softcap: rng.pick(&[0.0, 0.0, 2.0]),
            heads_inside: [0; 4].map(|_| rng.below(2) == 1),
            within: [None; 3],
        };
        for which in 0..3 {
            if rng.below(3) > 0 {
                continue;
            }
            // In rows that are longer, and with something before and behind.
            let (heads, length, size) = [
                (s.heads, s.queries, s.size),
                (s.key_heads, s.keys, s.size),
                (s.key_heads, s.keys, s.value_size),
            ][which];
            let row = heads * size + rng.below(9);
            let strides =
                AttentionStrides { offset: rng.below(20), batch: length * row + 3, head: size, row };
            s.within[which] = Some((strides, strides.offset + s.batches * strides.batch + 5));
        }
        if round == 0 {
            s.keys = 0;
        }
        let lens = s.lens().unwrap();
        let mut x: Vec<Vec<f32>> = lens[..lens.len() - 1].iter().map(|&n| rng.floats(n)).collect();
        if let Some(mask) = x.get_mut(3) {
            for m in mask {
                *m = if rng.below(3) == 0 { f32::NEG_INFINITY } else { *m * 3.0 };
            }
        }
        let want = naive(&s, &x);
        for threads in &pools {
            let what = format!("{s:?} {:?}", threads.level());
            let plain = PlainAttention { dtype: DType::F32, shape: s.clone() };
            assert_close(&run(plain, &x, threads), &want, 2e-6, &what);
            let lanes = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
            for (rows, columns) in [(12, 32), (48, 64)] {
                let flash = FlashAttention { shape: s.clone(), lanes, rows, columns };
                assert_close(&run_with_scratch(flash, &x, threads), &want, 5e-6, &what);
            }
        }
    }
}

#[test]
fn hostile_parameters() {
    let shape = AttentionShape {
        batches: 1,
        heads: 4,
        key_heads: 2,
        queries: 5,
        keys: 6,
        size: 3,
        value_size: 4,
        mask: Some(0b1010),
        scale: 1.0,
        causal: Some(1),
        softcap: 1.0,
        heads_inside: [false, true, true, false],
        within: [None; 3],
    };
    // An operand without elements that begins behind its end.
    let beyond = AttentionStrides { offset: 9, batch: 0, head: 0, row: 0 };
    let empty = AttentionShape { size: 0, within: [Some((beyond, 8)), None, None], ..shape.clone() };
    assert!(PlainAttention { dtype: DType::F32, shape: empty }.sizes(1).is_err());
    hostile(&PlainAttention { dtype: DType::F32, shape });
}
