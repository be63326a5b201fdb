use tactician_ir::{Dim, Slice, SliceAxis, Transpose, Unary};

use super::*;
use crate::testing::*;

fn transpose(g: &mut Graph, x: ValueId, perm: &[usize]) -> ValueId {
    g.add(Op::Transpose(Transpose { perm: perm.to_vec() }), &[x], "t").unwrap()
}

fn reshape(g: &mut Graph, x: ValueId, sizes: &[usize]) -> ValueId {
    g.add(Op::Reshape(Reshape { shape: Shape::known(sizes) }), &[x], "r").unwrap()
}

fn slice(g: &mut Graph, x: ValueId, axis: usize, start: usize, len: usize) -> ValueId {
    let cut = SliceAxis { axis, start: Dim::from(start), len: Dim::from(len), step: 1 };
    g.add(Op::Slice(Slice { axes: vec![cut] }), &[x], "s").unwrap()
}

fn attention(g: &mut Graph, inputs: &[ValueId]) -> ValueId {
    let y = g.add(Op::Attention(Attention::new(0.4)), inputs, "attention").unwrap();
    g.mark_output("y", y);
    y
}

fn last(g: &Graph) -> Attention {
    let Op::Attention(op) = op_of(g, g.outputs()[0].1) else { panic!("attention is not last") };
    *op
}

/// Queries, keys and values of 2 batches, 3 heads, 5 positions and 8 elements, side by side in the rows of one tensor.
#[test]
fn parts_of_rows_are_read_where_they_lie() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 5, 72]);
    let part = |g: &mut Graph, i: usize| {
        let s = slice(g, x, 2, 24 * i, 24);
        let r = reshape(g, s, &[2, 5, 3, 8]);
        transpose(g, r, &[0, 2, 1, 3])
    };
    let inputs = [0, 1, 2].map(|i| part(&mut g, i));
    attention(&mut g, &inputs);
    let g = check("heads_within", &g);
    assert_eq!(ops(&g), ["attention"]);
    let within = |i: usize| HeadsIn { offset: 24 * i, sizes: [2, 3, 5, 8], strides: [360, 8, 72] };
    assert_eq!(last(&g).within, [0, 1, 2].map(|i| Some(within(i))));
}

/// As PyTorch's own attention module is exported: a product for all three, positions before batches, heads as batches.
#[test]
fn parts_that_were_turned_several_times_are_read_where_they_lie() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[5, 2, 72]);
    let r = reshape(&mut g, x, &[5, 2, 3, 24]);
    let r = reshape(&mut g, r, &[1, 5, 2, 3, 24]);
    let t = transpose(&mut g, r, &[3, 1, 2, 0, 4]);
    let t = reshape(&mut g, t, &[3, 5, 2, 24]);
    let part = |g: &mut Graph, i: usize| {
        let s = slice(g, t, 0, i, 1);
        let r = reshape(g, s, &[5, 6, 8]);
        let t = transpose(g, r, &[1, 0, 2]);
        reshape(g, t, &[2, 3, 5, 8])
    };
    let inputs = [0, 1, 2].map(|i| part(&mut g, i));
    attention(&mut g, &inputs);
    let g = check("heads_within", &g);
    assert_eq!(ops(&g), ["attention"]);
    let within = |i: usize| HeadsIn { offset: 24 * i, sizes: [2, 3, 5, 8], strides: [72, 8, 144] };
    assert_eq!(last(&g).within, [0, 1, 2].map(|i| Some(within(i))));
}

#[test]
fn what_lies_unevenly_or_askew_stays() {
    // Rows that are no multiple of eight elements apart; a turned head; only a reshape.
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 5, 9]);
    let askew = slice(&mut g, x, 3, 0, 8);
    attention(&mut g, &[askew; 3]);
    unchanged("heads_within", &g);
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 8, 5]);
    let turned = transpose(&mut g, x, &[0, 1, 3, 2]);
    attention(&mut g, &[turned; 3]);
    unchanged("heads_within", &g);
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[6, 5, 8]);
    let same = reshape(&mut g, x, &[2, 3, 5, 8]);
    attention(&mut g, &[same; 3]);
    unchanged("heads_within", &g);
}

/// `q`, `k` and `v` as products of `x`, of the last in `columns` by another tensor.
fn products(sources: [usize; 3], bias: bool, trans_b: bool) -> Graph {
    let mut g = Graph::new("t");
    let x = [input(&mut g, "x", &[2, 5, 7]), input(&mut g, "z", &[2, 5, 7])];
    let part = |g: &mut Graph, i: usize| {
        let columns = if i == 0 { 48 } else { 24 };
        let sizes = if trans_b { [columns, 7] } else { [7, columns] };
        let w = constant(g, &sizes, 3 + i as u64);
        let mut y = g.add(Op::MatMul(MatMul { trans_a: false, trans_b }), &[x[sources[i]], w], "m").unwrap();
        if bias {
            let b = constant(g, &[columns], 9 + i as u64);
            y = binary(g, Binary::Add, b, y);
        }
        let r = reshape(g, y, &[2, 5, columns / 8, 8]);
        transpose(g, r, &[0, 2, 1, 3])
    };
    let inputs = [0, 1, 2].map(|i| part(&mut g, i));
    attention(&mut g, &inputs);
    g
}

fn count(g: &Graph, name: &str) -> usize {
    ops(g).iter().filter(|n| **n == name).count()
}

#[test]
fn products_of_one_tensor_become_one() {
    for bias in [false, true] {
        for trans_b in [false, true] {
            let g = check("products_of_heads", &products([0, 0, 0], bias, trans_b));
            assert_eq!((count(&g, "matmul"), count(&g, "transpose")), (1, 0));
            let op = last(&g);
            let of = |offset, heads| HeadsIn { offset, sizes: [2, heads, 5, 8], strides: [480, 8, 96] };
            assert_eq!(op.within, [Some(of(0, 6)), Some(of(48, 3)), Some(of(72, 3))]);
        }
    }
    // Keys and values of another tensor than the queries.
    let g = check("products_of_heads", &products([0, 1, 1], true, false));
    assert_eq!(count(&g, "matmul"), 2);
    let of = |offset| HeadsIn { offset, sizes: [2, 3, 5, 8], strides: [240, 8, 48] };
    assert_eq!(last(&g).within, [None, Some(of(0)), Some(of(24))]);
}

#[test]
fn a_product_that_others_read_stays() {
    let mut g = products([0, 0, 1], true, false);
    let k = g.producer(g.outputs()[0].1).inputs()[1];
    let other = unary(&mut g, Unary::Relu, k);
    g.mark_output("k", other);
    unchanged("products_of_heads", &g);
}
