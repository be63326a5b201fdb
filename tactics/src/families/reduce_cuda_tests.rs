use super::*;
use crate::pointwise_cuda::tests::{ids, problem};
use tactician_types::DType;

/// The place of an index, as the kernel computes it.
fn place(axes: &Axes, mut index: u32) -> u32 {
    let mut at = 0;
    for &(size, step) in axes.0[1..].iter().rev() {
        let rest = Divisor::new(size).divide(index);
        at += (index - rest * size) * step;
        index = rest;
    }
    at + index * axes.0[0].1
}

#[test]
fn kept_and_reduced_places_reach_every_element_once() {
    for sizes in [&[2usize, 3, 4, 5][..], &[1, 6, 1, 7], &[5], &[1, 1], &[3, 1, 4]] {
        for mask in 0..1u32 << sizes.len() {
            let (kept, reduced) = split(sizes, |a| mask >> a & 1 == 1);
            let n: usize = sizes.iter().product();
            let mut seen = vec![false; n];
            for o in 0..kept.count() {
                for t in 0..reduced.count() {
                    let at = (place(&kept, o) + place(&reduced, t)) as usize;
                    assert!(!std::mem::replace(&mut seen[at], true), "{sizes:?} {mask:b}");
                }
            }
            assert!(seen.iter().all(|&s| s), "{sizes:?} {mask:b}");
        }
    }
}

#[test]
fn a_global_average_takes_columns_of_channels_last() {
    let op = |axes: &[usize], keep_dims| {
        Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims })
    };
    let of = |op, sizes: &[usize]| ids(&FAMILY, &problem(op, DType::F16, &[sizes]));
    let list = of(op(&[2, 3], true), &[1, 2048, 7, 7]);
    assert!(list.contains(&"reduce.cuda/nhwc-plain.columns.v8".into()), "{list:?}");
    assert!(list.contains(&"reduce.cuda/plain.rows32.v1".into()), "{list:?}");
    assert_eq!(of(op(&[1], false), &[8, 768]), ["reduce.cuda/plain.rows32.v8", "reduce.cuda/plain.rows256.v8"]);
    assert!(of(op(&[1], false), &[8, 0]).is_empty());
}
