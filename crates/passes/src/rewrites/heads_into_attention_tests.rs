use super::*;
use crate::testing::*;

const PASS: &str = "heads_into_attention";

fn turn() -> Op {
    Op::Transpose(Transpose { perm: vec![0, 2, 1, 3] })
}

/// Attention of 4 queries to 5 keys with 6 heads of queries and 3 of keys, whose operands and result are transposed where
/// `turned` says so.
fn steps(turned: [bool; 4]) -> Graph {
    let mut g = Graph::new("t");
    let mut operand = |which: usize, name: &str, [heads, length, size]: [usize; 3]| {
        if !turned[which] {
            return input(&mut g, name, &[2, heads, length, size]);
        }
        let x = input(&mut g, name, &[2, length, heads, size]);
        g.add(turn(), &[x], &format!("{name}t")).unwrap()
    };
    let inputs = [operand(0, "q", [6, 4, 8]), operand(1, "k", [3, 5, 8]), operand(2, "v", [3, 5, 7])];
    let mask = input(&mut g, "mask", &[6, 4, 5]);
    let op = Op::Attention(Attention { causal: Some(1), ..Attention::new(0.3) });
    let mut y = g.add(op, &[&inputs[..], &[mask]].concat(), "attention").unwrap();
    if turned[3] {
        y = g.add(turn(), &[y], "yt").unwrap();
    }
    g.mark_output("y", y);
    g
}

fn inside(g: &Graph) -> [bool; 4] {
    let Op::Attention(op) = op_of(g, g.outputs()[0].1) else { panic!("attention is not last") };
    op.heads_inside
}

#[test]
fn every_operand_and_the_result_take_transposes_in() {
    for bits in 1..16 {
        let turned = std::array::from_fn(|i| bits >> i & 1 == 1);
        let g = check(PASS, &steps(turned));
        assert_eq!((ops(&g), inside(&g)), (vec!["attention"], turned));
    }
}

#[test]
fn a_transpose_back_is_taken_out_again() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 4, 4, 8]);
    let t = g.add(turn(), &[x], "t").unwrap();
    let op = Attention { heads_inside: [true; 4], ..Attention::new(0.5) };
    let y = g.add(Op::Attention(op), &[t, x, x], "y").unwrap();
    let back = g.add(turn(), &[y], "back").unwrap();
    g.mark_output("y", back);
    let g = check(PASS, &g);
    assert_eq!((ops(&g), inside(&g)), (vec!["attention"], [false, true, true, false]));
}

#[test]
fn others_stay() {
    unchanged(PASS, &steps([false; 4]));
    // Another order, and a result that two read.
    let mut g = steps([false; 4]);
    let y = g.outputs()[0].1;
    let other = g.add(Op::Transpose(Transpose { perm: vec![0, 1, 3, 2] }), &[y], "other").unwrap();
    g.mark_output("other", other);
    unchanged(PASS, &g);
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 4, 8]);
    let y = g.add(Op::Attention(Attention::new(0.5)), &[x, x, x], "y").unwrap();
    let a = g.add(turn(), &[y], "a").unwrap();
    let b = unary(&mut g, tactician_ir::Unary::Relu, y);
    g.mark_output("a", a);
    g.mark_output("b", b);
    unchanged(PASS, &g);
}

#[test]
fn a_transpose_that_others_read_stays_for_them() {
    let mut g = steps([true, false, false, false]);
    let y = g.outputs()[0].1;
    let q = g.producer(y).inputs()[0];
    let b = unary(&mut g, tactician_ir::Unary::Relu, q);
    g.mark_output("b", b);
    let g = check(PASS, &g);
    assert_eq!(inside(&g), [true, false, false, false]);
    let mut left = ops(&g);
    left.sort_unstable();
    assert_eq!(left, ["attention", "pointwise", "transpose"]);
}

#[test]
fn what_lies_within_a_turned_tensor_keeps_no_other_from_being_read() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 4, 3, 8]);
    let t = g.add(turn(), &[x], "t").unwrap();
    let within = tactician_ir::HeadsIn { offset: 0, sizes: [2, 3, 4, 8], strides: [96, 32, 8] };
    let op = Attention { within: [Some(within), None, None], ..Attention::new(0.5) };
    let y = g.add(Op::Attention(op), &[t, t, t], "y").unwrap();
    g.mark_output("y", y);
    assert_eq!(inside(&check(PASS, &g)), [false, true, true, false]);
}
