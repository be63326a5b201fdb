use super::*;
use crate::movement::testing::{Random, check, hostile};

#[test]
fn scatters_as_plain_loops_do() {
    let mut random = Random::new(5);
    for round in 0..200 {
        let combine = [Combine::Replace, Combine::Add, Combine::Mul, Combine::Max, Combine::Min][round % 5];
        let index = if round % 2 == 0 { IndexType::I32 } else { IndexType::I64 };
        let rank = random.size(1, 4);
        let axis = random.size(0, rank - 1);
        let input: Vec<usize> = (0..rank).map(|_| random.size(1, 6)).collect();
        let indices: Vec<usize> =
            (0..rank).map(|a| if a == axis { random.size(0, 9) } else { random.size(1, input[a]) }).collect();
        let (n, m): (usize, usize) = (input.iter().product(), indices.iter().product());
        let mut draw = |n: usize| (0..n).map(|_| random.size(0, 9) as i32 - 4).collect::<Vec<_>>();
        let (x, updates) = (draw(n), draw(m));
        let size = input[axis] as i64;
        // One beyond each end too.
        let places: Vec<i64> =
            (0..m).map(|_| random.size(0, 2 * input[axis] + 1) as i64 - size - 1).collect();
        let mut want = x.clone();
        for (i, (&p, &u)) in places.iter().zip(&updates).enumerate() {
            let p = if p < 0 { p + size } else { p };
            if !(0..size).contains(&p) {
                continue;
            }
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for a in (0..rank).rev() {
                at += if a == axis { p as usize } else { rest % indices[a] } * step;
                rest /= indices[a];
                step *= input[a];
            }
            let v = &mut want[at];
            *v = match combine {
                Combine::Replace => u,
                Combine::Add => *v + u,
                Combine::Mul => v.wrapping_mul(u),
                Combine::Max => u.max(*v),
                Combine::Min => u.min(*v),
            };
        }
        let list: Vec<u8> = match index {
            IndexType::I32 => places.iter().flat_map(|&p| (p as i32).to_le_bytes()).collect(),
            IndexType::I64 => places.iter().flat_map(|p| p.to_le_bytes()).collect(),
        };
        let bytes = |v: &[i32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let kernel = ScatterElements { dtype: DType::I32, index, combine, input, indices, axis };
        check(&kernel, &[&bytes(&x), &list, &bytes(&updates)], &bytes(&want), &format!("{kernel:?}"));
    }
}

#[test]
fn floats_keep_nan_and_their_rounding() {
    assert!(f32::NAN.combine(1.0, Combine::Max).is_nan() && 1f32.combine(f32::NAN, Combine::Min).is_nan());
    let (a, b) = (f16::from_f32(2048.0), f16::from_f32(1.0));
    assert_eq!(a.combine(b, Combine::Add), a);
}

#[test]
fn survives_hostile_parameters() {
    let (input, indices) = (vec![3, 4, 2], vec![2, 5, 2]);
    let combine = Combine::Add;
    hostile(&ScatterElements { dtype: DType::F32, index: IndexType::I64, combine, input, indices, axis: 1 });
}
