use proptest::prelude::*;
use tactician_ir::{Dim, Reshape, Shape, SliceAxis, Tensor, TensorType, Transpose};

use super::*;

/// A step that moves elements, as it is drawn.
#[derive(Clone, Debug)]
enum Move {
    Split(usize, usize),
    Join(usize),
    Turn(usize, usize),
    Cut(usize, usize, usize, usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = prop_oneof![
        (0..4usize, 2..4usize).prop_map(|(a, n)| Move::Split(a, n)),
        (0..4usize).prop_map(Move::Join),
        (0..4usize, 0..4usize).prop_map(|(a, b)| Move::Turn(a, b)),
        (0..4usize, 0..3usize, 1..4usize, 1..3usize).prop_map(|(a, s, l, by)| Move::Cut(a, s, l, by)),
    ];
    prop::collection::vec(step, 1..7)
}

/// A value made of numbered elements by moves, those that do not fit left out.
fn moved(moves: &[Move]) -> (Graph, ValueId) {
    let mut g = Graph::new("t");
    let sizes = [4, 6, 12];
    let mut x = g.add_input("x", TensorType::known(tactician_ir::DType::F32, &sizes)).unwrap();
    for m in moves {
        let sizes = g.ty(x).sizes().unwrap();
        let axis = |a: usize| a % sizes.len();
        let op = match *m {
            Move::Split(a, n) if sizes[axis(a)].is_multiple_of(n) && sizes.len() < 6 => {
                let mut to = sizes.clone();
                to[axis(a)] /= n;
                to.insert(axis(a) + 1, n);
                Op::Reshape(Reshape { shape: Shape::known(&to) })
            }
            Move::Join(a) if axis(a) + 1 < sizes.len() => {
                let mut to = sizes.clone();
                to[axis(a)] *= to.remove(axis(a) + 1);
                Op::Reshape(Reshape { shape: Shape::known(&to) })
            }
            Move::Turn(a, b) => {
                let mut perm: Vec<usize> = (0..sizes.len()).collect();
                perm.swap(axis(a), axis(b));
                Op::Transpose(Transpose { perm })
            }
            Move::Cut(a, start, len, step) if start + (len - 1) * step < sizes[axis(a)] => {
                let cut = SliceAxis {
                    axis: axis(a),
                    start: Dim::from(start),
                    len: Dim::from(len),
                    step: step as i64,
                };
                Op::Slice(Slice { axes: vec![cut] })
            }
            _ => continue,
        };
        x = g.add(op, &[x], "m").unwrap();
    }
    g.mark_output("y", x);
    (g, x)
}

/// The elements that a view names.
fn named(v: &View) -> Vec<usize> {
    let mut list = vec![v.offset];
    for (n, s) in v.axes.iter().flatten() {
        list = list.iter().flat_map(|at| (0..*n).map(move |i| at + i * s)).collect();
    }
    list
}

proptest! {
    #[test]
    fn a_view_names_the_elements_that_were_moved(list in moves()) {
        let (g, y) = moved(&list);
        let sizes = g.ty(y).sizes().unwrap();
        let numbers: Vec<f32> = (0..288u16).map(f32::from).collect();
        let given = [("x".to_owned(), Tensor::new(&[4, 6, 12], &numbers).unwrap())].into();
        let want = &tactician_reference::eval_graph(&g, &given).unwrap()["y"];
        let want: Vec<usize> = want.values::<f32>().unwrap().iter().map(|&v| v as usize).collect();
        let axes: Vec<(usize, usize)> = sizes.iter().copied().zip(row_major(&sizes).unwrap()).collect();
        let mut view = View::new(y, &axes);
        while let Some(before) = view.before(&g) {
            view = before;
        }
        // Where it stops short, what it names is right in the value where it stopped.
        if view.value == g.inputs()[0].value() {
            prop_assert_eq!(named(&view), want);
        }
        if let Some(strides) = view.strides() {
            let plain: Vec<(usize, usize)> = sizes.iter().copied().zip(strides).collect();
            prop_assert_eq!(named(&View { offset: view.offset, ..View::new(view.value, &plain) }), named(&view));
        }
    }
}

#[test]
fn runs_merge_where_one_follows_the_other() {
    let value = Graph::new("t").add_input("x", TensorType::known(tactician_ir::DType::F32, &[1])).unwrap();
    let of = |runs: &[Run]| View { value, offset: 0, axes: vec![runs.to_vec()] }.strides();
    assert_eq!(of(&[(3, 8), (4, 2)]), Some(vec![2]));
    assert_eq!(of(&[(3, 9), (4, 2)]), None);
    assert_eq!(of(&[(1, 9), (4, 2), (1, 5)]), Some(vec![2]));
    assert_eq!(of(&[]), Some(vec![0]));
}

#[test]
fn runs_follow_the_axes() {
    // [4, 6, 12]: strides 72, 12 and 1.
    let at = |n, s| digits(n, s, &[4, 6, 12], &[72, 12, 1]);
    assert_eq!(at(12, 1), Some(vec![(2, 12, 1)]));
    assert_eq!(at(24, 1), Some(vec![(1, 2, 1), (2, 12, 1)]));
    assert_eq!(at(6, 4), Some(vec![(1, 2, 1), (2, 3, 4)]));
    assert_eq!(at(5, 4), None);
    assert_eq!(at(288, 1), Some(vec![(0, 4, 1), (1, 6, 1), (2, 12, 1)]));
    assert_eq!(at(1, 5), Some(vec![]));
    assert_eq!(at(3, 5), None);
}
