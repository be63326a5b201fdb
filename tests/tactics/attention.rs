//! Attention.

use super::*;

/// Queries, keys and values, and perhaps a mask.
/// Sizes with their heads outside the length, which the operation may want inside.
fn attention(op: Attention, q: [usize; 4], kv: [usize; 4], dv: usize, mask: Option<&[usize]>) -> Problem {
    let v = [kv[0], kv[1], kv[2], dv];
    let given = [q, kv, v];
    let given: [Vec<usize>; 3] = std::array::from_fn(|i| match op.within[i] {
        // With a few more elements than it takes.
        Some(within) => vec![within.end().unwrap() + i],
        None => op.heads_outside(i, &given[i]).to_vec(),
    });
    let mut operands: Vec<Given<'_>> = given.iter().map(|sizes| (&sizes[..], F, false)).collect();
    operands.extend(mask.map(|m| (m, F, false)));
    problem(Op::Attention(op), &operands, &[])
}

/// Heads that share keys, masks that broadcast, causal ones that begin early and late, caps; sizes that fill no tile; heads
/// inside the length.
fn attentions() -> Vec<Problem> {
    let op = |scale, causal, softcap| Attention { causal, softcap, ..Attention::new(scale) };
    // Queries, keys and values of one position side by side, after those of all positions before.
    let packed = |sizes: [usize; 4], op| {
        let [_, h, s, d] = sizes;
        let within = |i: usize| HeadsIn { offset: i * h * d, sizes, strides: [3 * s * h * d, d, 3 * h * d] };
        Attention {
            within: [0, 1, 2].map(|i| Some(within(i))),
            heads_inside: [false, false, false, true],
            ..op
        }
    };
    let inside = |which: [usize; 4], op| Attention { heads_inside: which.map(|i| i == 1), ..op };
    vec![
        attention(op(0.125, None, 0.0), [1, 3, 50, 64], [1, 3, 50, 64], 64, None),
        attention(op(0.125, None, 0.0), [2, 4, 17, 32], [2, 4, 33, 32], 32, Some(&[2, 1, 1, 33])),
        attention(op(0.2, Some(0), 0.0), [1, 4, 70, 40], [1, 2, 70, 40], 40, None),
        attention(op(0.1, Some(30), 5.0), [1, 6, 35, 96], [1, 1, 65, 96], 96, Some(&[6, 35, 65])),
        attention(op(0.088, None, 0.0), [1, 2, 130, 128], [1, 2, 129, 128], 128, Some(&[130, 129])),
        attention(op(0.3, Some(-5), 0.0), [1, 1, 9, 8], [1, 1, 12, 8], 24, None),
        attention(op(1.0, None, 0.0), [1, 2, 1, 64], [1, 2, 300, 64], 64, Some(&[])),
        attention(op(0.0625, Some(3), 0.0), [1, 2, 20, 256], [1, 1, 24, 256], 200, Some(&[2, 1, 1])),
        attention(op(0.5, None, 1.0), [2, 1, 3, 5], [2, 1, 7, 5], 3, Some(&[2, 1, 3, 7])),
        attention(inside([1; 4], op(0.125, None, 0.0)), [2, 3, 50, 64], [2, 3, 70, 64], 64, None),
        attention(inside([1, 0, 0, 0], op(0.2, Some(2), 0.0)), [1, 4, 70, 40], [1, 2, 70, 40], 40, None),
        attention(
            inside([0, 1, 0, 1], op(0.2, None, 0.0)),
            [2, 6, 33, 32],
            [2, 3, 65, 32],
            48,
            Some(&[33, 65]),
        ),
        attention(packed([2, 8, 33, 64], op(0.125, Some(0), 0.0)), [2, 8, 33, 64], [2, 8, 33, 64], 64, None),
        attention(packed([1, 3, 40, 17], op(0.25, None, 0.0)), [1, 3, 40, 17], [1, 3, 40, 17], 17, None),
        attention(inside([1, 0, 1, 1], op(0.3, None, 3.0)), [2, 2, 9, 5], [2, 2, 11, 5], 3, None),
    ]
}

#[test]
fn attention_of_every_kind() {
    all_pass(&attentions());
}

#[test]
fn attention_of_other_floats() {
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let list: Vec<Problem> = attentions().iter().map(|p| with_floats(p, dtype)).collect();
        let device = CpuDevice::new(Some(2)).unwrap();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}
