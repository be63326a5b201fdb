use super::*;
use crate::movement::testing::{Random, check, hostile};

/// Indices of an axis of `n` elements: inside, counted from the end, and some outside; with where they point.
fn indices(count: usize, n: usize, index: IndexType, random: &mut Random) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let i = match random.size(0, 19) {
            0 => i64::from(i32::MAX),
            1 => i64::from(i32::MIN),
            _ => random.size(0, 2 * n - 1) as i64 - n as i64,
        };
        match index {
            IndexType::I32 => bytes.extend((i as i32).to_le_bytes()),
            IndexType::I64 => bytes.extend(i.to_le_bytes()),
        }
        let i = if i < 0 { i + n as i64 } else { i };
        places.push(i.clamp(0, n as i64 - 1) as usize);
    }
    (bytes, places)
}

#[test]
fn gathers_parts() {
    let mut random = Random::new(1);
    for round in 0..160 {
        let index = if round % 2 == 0 { IndexType::I32 } else { IndexType::I64 };
        let (outer, axis, count) = (random.size(1, 4), random.size(1, 9), random.size(0, 12));
        let inner = if round % 20 == 0 { random.size(10_000, 20_000) } else { random.size(1, 40) };
        let x = random.bytes(outer * axis * inner);
        let (list, places) = indices(count, axis, index, &mut random);
        let mut want = Vec::new();
        for o in 0..outer {
            for &p in &places {
                want.extend_from_slice(&x[(o * axis + p) * inner..][..inner]);
            }
        }
        let kernel = Gather { index, outer, axis, count, inner };
        check(&kernel, &[&x, &list], &want, &format!("{kernel:?}"));
    }
}

#[test]
fn gathers_elements() {
    let mut random = Random::new(2);
    for round in 0..200 {
        let index = if round % 2 == 0 { IndexType::I32 } else { IndexType::I64 };
        let element = [1u8, 2, 4, 8][round / 2 % 4];
        let rank = random.size(1, 4);
        let axis = random.size(0, rank - 1);
        let most = if round % 20 == 0 { 24 } else { 6 };
        let input: Vec<usize> = (0..rank).map(|_| random.size(1, most)).collect();
        let output: Vec<usize> =
            (0..rank).map(|i| if i == axis { random.size(1, 9) } else { random.size(1, input[i]) }).collect();
        let e = element as usize;
        let x = random.bytes(input.iter().product::<usize>() * e);
        let n: usize = output.iter().product();
        let (list, places) = indices(n, input[axis], index, &mut random);
        let mut want = Vec::new();
        for i in 0..n {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for a in (0..rank).rev() {
                let p = if a == axis { places[i] } else { rest % output[a] };
                rest /= output[a];
                at += p * step;
                step *= input[a];
            }
            want.extend_from_slice(&x[at * e..][..e]);
        }
        let kernel = GatherElements { element, index, input, output, axis };
        check(&kernel, &[&x, &list], &want, &format!("{kernel:?}"));
    }
}

#[test]
fn extreme_indices_stay_inside() {
    for (index, n, want) in [
        (i64::MIN, 5, 0),
        (i64::MAX, 5, 4),
        (-1, 5, 4),
        (-5, 5, 0),
        (-6, 5, 0),
        (5, 5, 4),
        (2, 5, 2),
        (0, 1, 0),
    ] {
        assert_eq!(resolve(index, n), want, "{index}");
    }
}

#[test]
fn refuses_empty_axes_and_overflow() {
    let g = Gather { index: IndexType::I64, outer: 2, axis: 0, count: 3, inner: 4 };
    assert!(g.sizes(1).unwrap_err().contains("empty"));
    assert!(Gather { axis: usize::MAX, ..g.clone() }.sizes(1).is_err());
    assert!(Gather { count: usize::MAX, inner: 0, ..g }.sizes(1).is_err());
    let e = |input: &[usize], output: &[usize], axis| {
        let (input, output) = (input.to_vec(), output.to_vec());
        GatherElements { element: 4, index: IndexType::I32, input, output, axis }.sizes(1)
    };
    assert!(e(&[2, 3], &[2, 4], 1).is_ok());
    assert!(e(&[2, 3], &[2, 4], 0).unwrap_err().contains("axis 1"));
    assert!(
        e(&[2, 3], &[2, 3], 2).is_err() && e(&[2, 3], &[2], 0).is_err() && e(&[2, 0], &[2, 1], 1).is_err()
    );
}

#[test]
fn survives_hostile_parameters() {
    hostile(&Gather { index: IndexType::I32, outer: 2, axis: 4, count: 3, inner: 12 });
    let (input, output) = (vec![3, 4, 2], vec![2, 5, 2]);
    hostile(&GatherElements { element: 4, index: IndexType::I64, input, output, axis: 1 });
}
