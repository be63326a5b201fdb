//! What the tests of this module share.

use tactician_types::{Binary, Expr, ExprNode, Unary};

use crate::conv::ConvGeometry;
use crate::conv::testing::values;
use crate::gemm::finish::Finish;
use crate::kernel::Kernel;

/// Geometries that the fast kernels do not take: depthwise, long sequences, strides beyond the window.
pub(crate) fn odd_geometries() -> Vec<ConvGeometry> {
    let image = ConvGeometry::image;
    let mut depthwise = image(2, 6, [9, 40], 6, [3, 3], 1, 1);
    depthwise.groups = 6;
    let mut doubled = image(1, 5, [8, 37], 10, [3, 5], 2, 2);
    doubled.groups = 5;
    let mut sequence = image(3, 4, [1, 70], 9, [1, 4], 1, 0);
    sequence.pads[2] = (5, 1);
    sequence.dilations[2] = 3;
    let mut solid = image(2, 4, [5, 6], 6, [2, 3], 2, 1);
    (solid.input[0], solid.kernel[0], solid.pads[0], solid.strides[0]) = (5, 2, (0, 1), 2);
    solid.groups = 2;
    vec![
        depthwise,
        doubled,
        sequence,
        solid,
        image(1, 3, [12, 9], 5, [1, 1], 4, 0),
        image(1, 2, [3, 3], 11, [3, 3], 1, 4),
    ]
}

/// An epilogue of some kind over a result of these sizes, and its operands.
pub(crate) fn sample_finish(kind: usize, sizes: &[usize]) -> (Finish, Vec<Vec<f32>>) {
    let last = sizes.len() - 1;
    let all = (1u16 << sizes.len()) - 1;
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let mut masks: Vec<u16> = Vec::new();
    let mut with = |e: &mut Expr, op: Binary, to: u16, mask: u16| {
        masks.push(mask);
        let o = e.push(ExprNode::Input(masks.len() as u16));
        e.push(ExprNode::Binary(op, to, o))
    };
    let root = match kind % 6 {
        0 => x,
        1 => with(&mut e, Binary::Add, x, 1 << 1),
        2 => {
            let t = with(&mut e, Binary::Add, x, 1 << 1);
            let t = with(&mut e, Binary::Add, t, all);
            e.push(ExprNode::Unary(Unary::Relu, t))
        }
        3 => {
            let t = with(&mut e, Binary::Add, x, 1 << last);
            let s = e.push(ExprNode::Unary(Unary::Sigmoid, t));
            e.push(ExprNode::Binary(Binary::Mul, t, s))
        }
        4 => {
            let t = with(&mut e, Binary::Mul, x, 0);
            let t = with(&mut e, Binary::Add, t, 0b11 & all);
            with(&mut e, Binary::Mul, t, (all >> 1) << 1)
        }
        _ => {
            let t = with(&mut e, Binary::Add, x, 1);
            with(&mut e, Binary::Sub, t, 1 | 1 << last)
        }
    };
    let operands = masks
        .iter()
        .enumerate()
        .map(|(i, m)| {
            let n = sizes.iter().enumerate().filter(|(a, _)| m >> a & 1 == 1).map(|(_, s)| s).product();
            values(n, 100 + i as u64)
        })
        .collect();
    (Finish { expr: e.finish(root), sizes: sizes.to_vec(), operands: masks }, operands)
}

/// What an epilogue makes of a result, in `f64`, element by element.
pub(crate) fn finished(finish: &Finish, operands: &[Vec<f32>], result: &[f64]) -> Vec<f64> {
    let rank = finish.sizes.len();
    result
        .iter()
        .enumerate()
        .map(|(at, &value)| {
            let mut index = vec![0; rank];
            let mut rest = at;
            for a in (0..rank).rev() {
                index[a] = rest % finish.sizes[a];
                rest /= finish.sizes[a];
            }
            let operand = |i: usize| {
                let mut flat = 0;
                for a in (0..rank).filter(|a| finish.operands[i] >> a & 1 == 1) {
                    flat = flat * finish.sizes[a] + index[a];
                }
                f64::from(operands[i][flat])
            };
            let mut got: Vec<f64> = Vec::new();
            for n in finish.expr.nodes() {
                got.push(match *n {
                    ExprNode::Input(0) => value,
                    ExprNode::Input(i) => operand(i as usize - 1),
                    ExprNode::Unary(Unary::Relu, a) => got[a as usize].max(0.0),
                    ExprNode::Unary(Unary::Sigmoid, a) => 1.0 / (1.0 + (-got[a as usize]).exp()),
                    ExprNode::Binary(Binary::Add, a, b) => got[a as usize] + got[b as usize],
                    ExprNode::Binary(Binary::Sub, a, b) => got[a as usize] - got[b as usize],
                    ExprNode::Binary(Binary::Mul, a, b) => got[a as usize] * got[b as usize],
                    other => panic!("not in a sample: {other:?}"),
                });
            }
            got[finish.expr.root() as usize]
        })
        .collect()
}

/// Decodes random bytes, and a good kernel's bytes with random changes; `sizes` must not panic, nor `prepare` after it.
pub(crate) fn hostile<K: Kernel>(good: &K) {
    let bytes = postcard::to_stdvec(good).unwrap();
    assert!(good.sizes(1).is_ok());
    let mut s = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        s >> 11
    };
    let mut decoded = 0;
    for round in 0..20_000 {
        let mut b =
            if round % 4 == 0 { (0..next() % 80).map(|_| next() as u8).collect() } else { bytes.clone() };
        for _ in 0..next() % 6 {
            if b.is_empty() {
                break;
            }
            let at = next() as usize % b.len();
            match next() % 3 {
                0 => b[at] = next() as u8,
                1 => b[at] = b[at].wrapping_add(1),
                // A huge number in the place of a small one.
                _ => {
                    b.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
                }
            }
        }
        if let Ok(mut k) = postcard::from_bytes::<K>(&b) {
            decoded += 1;
            for threads in [1, 2, 64] {
                let sizes = k.sizes(threads);
                // Small ones only: what `prepare` makes may grow with the sizes.
                if sizes.is_ok_and(|s| s.outputs[0] < 1 << 20) {
                    let _ = k.prepare(tactician_device::Isa::Portable);
                }
            }
        }
    }
    assert!(decoded > 100, "{decoded} decoded");
}

/// Seconds of the fastest of some runs.
pub(crate) fn best_time<K: Kernel>(mut kernel: K, inputs: &[&[f32]], threads: &crate::Threads) -> f64 {
    use tactician_device::Span;
    let sizes = kernel.sizes(threads.count()).unwrap();
    kernel.prepare(threads.level().isa()).unwrap();
    let mut out = vec![0f32; sizes.outputs[0] as usize / 4];
    let mut scratch = vec![0f32; sizes.scratch as usize / 4];
    let mut spans: Vec<Span> =
        inputs.iter().map(|i| Span { address: i.as_ptr() as u64, len: i.len() as u64 * 4 }).collect();
    for s in [&mut out, &mut scratch] {
        spans.push(Span { address: s.as_mut_ptr() as u64, len: s.len() as u64 * 4 });
    }
    let mut best = f64::INFINITY;
    let begin = std::time::Instant::now();
    while begin.elapsed().as_secs_f64() < 0.3 {
        let start = std::time::Instant::now();
        // SAFETY: the vectors outlive the call, are disjoint and have the lengths asked for.
        threads.install(|| kernel.run(&unsafe { crate::Args::new(&spans, inputs.len(), 1) }, threads));
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
