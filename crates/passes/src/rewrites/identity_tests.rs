use super::*;
use crate::testing::*;
use tactician_ir::{
    Concat, Dim, Expand, Expr, Pad, PadMode, Pool, Reduce, Reshape, Scalar, Shape, Slice, SliceAxis,
    Transpose, Unary,
};

/// `x[2,3,4,4] -> op -> neg`.
fn wrapped(op: Op) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3, 4, 4]);
    let v = g.add(op, &[x], "op").unwrap();
    let y = unary(&mut g, Unary::Neg, v);
    g.mark_output("y", y);
    g
}

fn slice(start: i64, len: i64, step: i64) -> Op {
    Op::Slice(Slice {
        axes: vec![SliceAxis { axis: 3, start: Dim::known(start), len: Dim::known(len), step }],
    })
}

fn pool(kind: PoolKind, window: usize, stride: usize) -> Op {
    Op::Pool(Pool {
        kind,
        window: vec![window; 2],
        strides: vec![stride; 2],
        pads: vec![(0, 0); 2],
        dilations: vec![1; 2],
        ceil: false,
    })
}

fn pad(n: usize) -> Op {
    Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (n, 0), (0, 0)], mode: PadMode::Constant(Scalar::f32(0.0)) })
}

fn reduce(kind: ReduceKind, axes: &[usize]) -> Op {
    Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims: true })
}

#[test]
fn removes_what_does_nothing() {
    let shape = Shape::known(&[2, 3, 4, 4]);
    for op in [
        Op::Pointwise(Expr::identity()),
        Op::Reshape(Reshape { shape: shape.clone() }),
        Op::Expand(Expand { shape: Shape::known(&[3, 1, 4]) }),
        Op::Transpose(Transpose { perm: vec![0, 1, 2, 3] }),
        pad(0),
        slice(0, 4, 1),
        Op::Concat(Concat { axis: 1 }),
        pool(PoolKind::Max, 1, 1),
        pool(PoolKind::Average { count_pad: false }, 1, 1),
        reduce(ReduceKind::Sum, &[]),
    ] {
        let after = check("identity", &wrapped(op));
        assert_eq!(ops(&after), ["pointwise"]);
    }
}

#[test]
fn leaves_what_does_something() {
    for op in [
        Op::Reshape(Reshape { shape: Shape::known(&[2, 3, 16]) }),
        Op::Expand(Expand { shape: Shape::known(&[5, 1, 1, 1, 1]) }),
        Op::Transpose(Transpose { perm: vec![0, 1, 3, 2] }),
        pad(1),
        slice(3, 4, -1),
        slice(1, 3, 1),
        pool(PoolKind::Max, 1, 2),
        pool(PoolKind::Lp { p: 2 }, 1, 1),
        reduce(ReduceKind::SumSquare, &[]),
        reduce(ReduceKind::Sum, &[1]),
    ] {
        unchanged("identity", &wrapped(op));
    }
}

#[test]
fn an_output_is_never_an_input_nor_another_output() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let y = g.add(Op::Pointwise(Expr::identity()), &[x], "same").unwrap();
    g.mark_output("y", y);
    unchanged("identity", &g);

    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let z = unary(&mut g, Unary::Exp, x);
    let y = g.add(Op::Pointwise(Expr::identity()), &[z], "same").unwrap();
    g.mark_output("y", y);
    assert_eq!(ops(&check("identity", &g)), ["pointwise"]);
    g.mark_output("z", z);
    unchanged("identity", &g);
}
