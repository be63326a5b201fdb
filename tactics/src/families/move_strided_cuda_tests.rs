use super::*;
use crate::pointwise_cuda::tests::{ids, problem};
use tactician_ir::Transpose;
use tactician_types::DType;

/// The input byte that each output byte comes from.
fn bytes_of(moves: &Moves, unit: u32) -> Vec<i64> {
    let n: u32 = moves.axes.iter().map(|a| a.0).product();
    let mut out = Vec::new();
    for at in 0..n {
        let (mut rest, mut from) = (at, moves.offset);
        for &(size, step) in moves.axes.iter().rev() {
            from += i64::from(rest % size) * step;
            rest /= size;
        }
        out.extend((0..i64::from(unit)).map(|b| from * i64::from(unit) + b));
    }
    out
}

#[test]
fn larger_units_move_the_same_bytes() {
    for (axes, offset, unit) in [
        (vec![(3usize, 64i64), (8, 1)], 16, 16),
        (vec![(3, 64), (6, 1)], 16, 4),
        (vec![(3, 65), (8, 1)], 0, 2),
        (vec![(3, 64), (8, 1)], 3, 2),
        (vec![(3, -64), (8, 1)], 128, 16),
        (vec![(3, 64), (8, 2)], 0, 2),
        (vec![(3, 0), (8, 1)], 0, 16),
        (vec![(3, 1), (8, 0)], 0, 2),
    ] {
        let moves = Moves::new(axes.clone(), offset).unwrap();
        let (wide, found) = moves.clone().in_units(2);
        assert_eq!(found, unit, "{axes:?}");
        assert_eq!(bytes_of(&wide, found), bytes_of(&moves, 2), "{axes:?}");
    }
}

#[test]
fn axes_join_and_bounds_hold() {
    let m = Moves::new([(2, 12), (1, 7), (3, 4), (4, 1)], 0).unwrap();
    assert_eq!(m.axes, [(24, 1)]);
    assert!(Moves::new([(2, -5)], 4).is_none() && Moves::new([(2, -5)], 5).is_some());
    assert!(Moves::new([(0, 1)], 0).is_none() && Moves::new([(1 << 20, 1 << 12)], 0).is_none());
    assert_eq!(Moves::new([(4, 0), (2, 0)], 0).unwrap().axes, [(8, 0)]);
}

#[test]
fn permutations_that_move_the_last_axis_are_tiled() {
    let of = |perm: &[usize]| {
        ids(&FAMILY, &problem(Op::Transpose(Transpose { perm: perm.to_vec() }), DType::F16, &[&[2, 8, 6, 4]]))
    };
    assert_eq!(of(&[0, 2, 3, 1]), ["move.cuda.strided/plain", "move.cuda.strided/tiled"]);
    assert_eq!(of(&[0, 2, 1, 3]), ["move.cuda.strided/plain"]);
}
