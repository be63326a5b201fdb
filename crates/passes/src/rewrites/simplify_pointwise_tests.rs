use super::*;
use crate::testing::*;
use tactician_ir::{Scalar, Tensor, TensorType};

const NAME: &str = "simplify_pointwise";

fn expression(nodes: &[ExprNode]) -> Graph {
    let mut g = Graph::new("t");
    let (x, y) = (input(&mut g, "x", &[2, 3]), input(&mut g, "y", &[2, 3]));
    let expr = Expr::from_nodes(nodes.to_vec()).unwrap();
    let inputs = &[x, y][..expr.arity()];
    let y = g.add(Op::Pointwise(expr), inputs, "e").unwrap();
    g.mark_output("y", y);
    g
}

fn result(g: &Graph) -> String {
    pointwise(g, g.outputs()[0].1.node()).unwrap().to_string()
}

#[test]
fn neutral_elements_go() {
    use ExprNode::{Binary as B, Const, Input, Unary as U};
    let c = |v| Const(Scalar::f32(v));
    for nodes in [
        vec![Input(0), c(0.0), B(Binary::Add, 0, 1)],
        vec![Input(0), c(0.0), B(Binary::Add, 1, 0)],
        vec![Input(0), c(0.0), B(Binary::Sub, 0, 1)],
        vec![Input(0), c(1.0), B(Binary::Mul, 1, 0)],
        vec![Input(0), c(1.0), B(Binary::Div, 0, 1)],
        vec![Input(0), c(1.0), B(Binary::Pow, 0, 1)],
        vec![Input(0), U(Unary::Neg, 0), U(Unary::Neg, 1)],
        vec![Input(0), ExprNode::Cast(DType::F32, 0)],
        vec![Input(0), U(Unary::IsNan, 0), ExprNode::Select(1, 0, 0)],
    ] {
        assert_eq!(result(&check(NAME, &expression(&nodes))), Expr::identity().to_string(), "{nodes:?}");
    }
    let twice = expression(&[Input(0), U(Unary::Relu, 0), U(Unary::Relu, 1)]);
    assert_eq!(result(&check(NAME, &twice)), Expr::unary(Unary::Relu).to_string());
}

#[test]
fn small_powers_are_products() {
    use ExprNode::{Binary as B, Const, Input};
    let power = |v| vec![Input(0), Const(Scalar::f32(v)), B(Binary::Pow, 0, 1)];
    let pass = |v| result(&check(NAME, &expression(&power(v))));
    let square = [Input(0), B(Binary::Mul, 0, 0)];
    let cube = [square[0], square[1], B(Binary::Mul, 1, 0)];
    assert_eq!(pass(2.0), Expr::from_nodes(square.to_vec()).unwrap().to_string());
    assert_eq!(pass(3.0), Expr::from_nodes(cube.to_vec()).unwrap().to_string());
    // Roots and larger powers have roundings of their own.
    for v in [0.5, -1.0, 4.0] {
        unchanged(NAME, &expression(&power(v)));
    }
}

#[test]
fn everything_else_stays() {
    use ExprNode::{Binary as B, Const, Input, Unary as U};
    let c = |v| Const(Scalar::f32(v));
    for nodes in [
        vec![Input(0), c(0.0), B(Binary::Sub, 1, 0)],
        vec![Input(0), c(1.0), B(Binary::Div, 1, 0)],
        vec![Input(0), c(0.0), B(Binary::Mul, 0, 1)],
        vec![Input(0), U(Unary::Neg, 0), U(Unary::Abs, 1)],
        vec![Input(0), Input(1), B(Binary::Sub, 0, 1)],
    ] {
        unchanged(NAME, &expression(&nodes));
    }
}

#[test]
fn constants_of_one_value_move_in() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 3]);
    let k = filled(&mut g, &[1, 3], 2.5);
    let y = binary(&mut g, Binary::Mul, k, x);
    g.mark_output("y", y);
    let after = check(NAME, &g);
    assert_eq!(ops(&after), ["pointwise"]);
    assert!(result(&after).contains("2.5"));

    let mut g = Graph::new("t");
    let x = g.add_input("x", TensorType::known(DType::I64, &[3])).unwrap();
    let k = g.add_constant("k", Tensor::scalar(-7i64));
    let y = binary(&mut g, Binary::Add, x, k);
    g.mark_output("y", y);
    assert!(result(&run(NAME, &g)).contains("-7"));
}

#[test]
fn an_operand_that_gives_the_shape_stays() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let k = filled(&mut g, &[4, 1], 2.0);
    let y = binary(&mut g, Binary::Mul, x, k);
    g.mark_output("y", y);
    let after = check(NAME, &g);
    assert_eq!(after.ty(after.outputs()[0].1).sizes().unwrap(), [4, 3]);
    assert_eq!(after.producer(after.outputs()[0].1).inputs().len(), 2);
}

#[test]
fn an_operand_given_twice_is_read_once() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let y = binary(&mut g, Binary::Mul, x, x);
    g.mark_output("y", y);
    let after = check(NAME, &g);
    assert_eq!(after.producer(after.outputs()[0].1).inputs().len(), 1);
}

#[test]
fn constants_of_many_values_and_constant_nodes_stay() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let (a, b) = (constant(&mut g, &[3], 1), filled(&mut g, &[3], 1.0));
    let y = binary(&mut g, Binary::Mul, x, a);
    let z = binary(&mut g, Binary::Mul, a, b);
    g.mark_output("y", y);
    g.mark_output("z", z);
    unchanged(NAME, &g);
}

#[test]
fn what_is_merely_repeated_is_an_expansion() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[]);
    let ones = g.add_constant("ones", Tensor::new(&[3], &[1f32; 3]).unwrap());
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Mul)), &[x, ones], "e").unwrap();
    g.mark_output("y", y);
    let after = check(NAME, &g);
    assert!(matches!(after.node(after.outputs()[0].1.node()).op, Op::Expand(_)));
}
