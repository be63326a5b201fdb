use super::*;
use crate::movement::testing::{Random, check, hostile};

/// Every output element by its index.
fn naive(k: &Strided, x: &[u8]) -> Vec<u8> {
    let e = k.element as usize;
    let n: usize = k.axes.iter().map(|a| a.size).product();
    let mut out = Vec::with_capacity(n * e);
    for i in 0..n {
        let (mut rest, mut at) = (i, k.offset as i64);
        for a in k.axes.iter().rev() {
            at += (rest % a.size) as i64 * a.step;
            rest /= a.size;
        }
        out.extend_from_slice(&x[at as usize * e..][..e]);
    }
    out
}

fn compare(k: &Strided, random: &mut Random) {
    let n = k.sizes(1).unwrap().inputs[0] as usize;
    let x = random.bytes(n);
    check(k, &[&x], &naive(k, &x), &format!("{k:?}"));
}

#[test]
fn picks_what_an_index_loop_picks() {
    let mut random = Random::new(1);
    for round in 0..300 {
        let element = [1, 2, 4, 8][round % 4];
        let rank = random.size(0, 6);
        let axes: Vec<CopyAxis> = (0..rank)
            .map(|_| CopyAxis { size: random.size(1, 5), step: random.size(0, 12) as i64 - 6 })
            .collect();
        let back: i64 = axes.iter().map(|a| (a.step * (a.size as i64 - 1)).min(0)).sum();
        let offset = -back as usize + random.size(0, 3);
        compare(&Strided { element, axes, offset }, &mut random);
    }
}

#[test]
fn transposes() {
    let mut random = Random::new(2);
    for round in 0..60 {
        let rank = random.size(2, 5);
        let most = if rank == 2 { 150 } else { 70 / rank };
        let sizes: Vec<usize> = (0..rank).map(|_| random.size(1, most)).collect();
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            perm.swap(i, random.size(0, i));
        }
        let step = |p: usize| sizes[p + 1..].iter().product::<usize>() as i64;
        let axes = perm.iter().map(|&p| CopyAxis { size: sizes[p], step: step(p) }).collect();
        compare(&Strided { element: [1, 2, 4, 8][round % 4], axes, offset: 0 }, &mut random);
    }
}

#[test]
fn large_enough_for_several_threads() {
    let mut random = Random::new(3);
    for steps in [[300, 1], [1, 700], [0, 1], [1, 0], [300, -1]] {
        let axes = vec![CopyAxis { size: 700, step: steps[0] }, CopyAxis { size: 300, step: steps[1] }];
        compare(&Strided { element: 4, axes, offset: 300 }, &mut random);
    }
}

#[test]
fn refuses_what_leaves_the_input() {
    let of = |size, step, offset| Strided { element: 4, axes: vec![CopyAxis { size, step }], offset };
    assert!(of(4, -1, 2).sizes(1).unwrap_err().contains("before the input"));
    assert!(of(usize::MAX, 1, 0).sizes(1).is_err());
    assert!(of(2, i64::MAX, 0).sizes(1).is_err());
    assert!(of(2, i64::MIN, usize::MAX).sizes(1).is_err());
    assert!(Strided { element: 3, ..of(1, 1, 0) }.sizes(1).unwrap_err().contains("1, 2, 4 or 8"));
    assert_eq!(of(4, -2, 6).sizes(1).unwrap().inputs, [28]);
    assert_eq!(of(0, -2, 0).sizes(1).unwrap().inputs, [0]);
}

#[test]
fn survives_hostile_parameters() {
    let axes =
        vec![CopyAxis { size: 3, step: 4 }, CopyAxis { size: 4, step: -1 }, CopyAxis { size: 2, step: 0 }];
    hostile(&Strided { element: 4, axes, offset: 3 });
}
