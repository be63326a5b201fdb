use super::*;
use crate::testing::*;
use tactician_ir::{DType, Scalar, TensorType};

fn built(build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> (Graph, NodeId) {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 2, 3, 3]);
    let y = build(&mut g, x);
    g.mark_output("y", y);
    (g, y.node())
}

/// An expression over x (input 0) and a constant of two channels (input 1).
fn with_channels(nodes: &[ExprNode]) -> (Graph, NodeId) {
    let expr = Expr::from_nodes(nodes.to_vec()).unwrap();
    built(|g, x| {
        let c = g.add_constant("c", tactician_ir::Tensor::new(&[2, 1, 1], &[2f32, -4.0]).unwrap());
        g.add(Op::Pointwise(expr), &[x, c], "y").unwrap()
    })
}

#[test]
fn sees_through_arithmetic() {
    use ExprNode::{Binary as B, Const, Input, Unary as U};
    // 3 - (x·c + 1)/c = -x + (3 - 1/c)
    let (g, y) = with_channels(&[
        Input(0),
        Input(1),
        B(Binary::Mul, 1, 0),
        Const(Scalar::f32(1.0)),
        B(Binary::Add, 2, 3),
        B(Binary::Div, 4, 1),
        Const(Scalar::f32(3.0)),
        B(Binary::Sub, 6, 5),
    ]);
    let a = affine_of(&g, y, |_| 1).unwrap();
    assert_eq!((a.scale, a.shift), (vec![-1.0, -1.0], vec![2.5, 3.25]));
    // -x + x·c
    let (g, y) =
        with_channels(&[Input(0), Input(1), U(Unary::Neg, 0), B(Binary::Mul, 0, 1), B(Binary::Add, 2, 3)]);
    let a = affine_of(&g, y, |_| 1).unwrap();
    assert_eq!((a.scale, a.shift), (vec![1.0, -5.0], vec![0.0, 0.0]));
}

#[test]
fn refuses_what_is_not_affine() {
    use ExprNode::{Binary as B, Const, Input, Unary as U};
    for nodes in [
        vec![Input(0), Input(1), B(Binary::Mul, 0, 0), B(Binary::Add, 2, 1)],
        vec![Input(0), Input(1), B(Binary::Div, 1, 0)],
        vec![Input(0), Input(1), B(Binary::Add, 0, 1), U(Unary::Relu, 2)],
        vec![Input(0), Input(1), B(Binary::Max, 0, 1)],
        vec![Input(0), Input(1), Const(Scalar::f32(0.0)), B(Binary::Div, 0, 2), B(Binary::Add, 3, 1)],
    ] {
        let (g, y) = with_channels(&nodes);
        assert!(affine_of(&g, y, |_| 1).is_none(), "{nodes:?}");
    }
}

#[test]
fn refuses_constants_over_other_axes_and_other_readers() {
    for sizes in [&[1, 1, 1, 3][..], &[3], &[1, 2, 3, 3], &[1, 1, 2, 1, 1]] {
        let (g, y) = built(|g, x| {
            let c = constant(g, sizes, 1);
            binary(g, Binary::Add, x, c)
        });
        assert!(affine_of(&g, y, |_| 1).is_none(), "{sizes:?}");
    }
    let (mut g, y) =
        with_channels(&[ExprNode::Input(0), ExprNode::Input(1), ExprNode::Binary(Binary::Add, 0, 1)]);
    assert!(affine_of(&g, y, |_| 1).is_some());
    let x = g.inputs()[0].value();
    g.mark_output("x", x);
    assert!(affine_of(&g, y, |_| 1).is_none());
}

/// A tensor without elements may have an axis that is too long to keep a number for each place.
#[test]
fn refuses_empty_tensors_of_any_length() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[0, 1 << 40])).unwrap();
    let twice =
        vec![ExprNode::Input(0), ExprNode::Const(Scalar::f32(2.0)), ExprNode::Binary(Binary::Mul, 0, 1)];
    let x = g.add(Op::Pointwise(Expr::from_nodes(twice.clone()).unwrap()), &[x], "a").unwrap();
    let y = g.add(Op::Pointwise(Expr::from_nodes(twice).unwrap()), &[x], "b").unwrap();
    g.mark_output("y", y);
    assert!(affine_of(&g, y.node(), |_| 1).is_none());
}
