use tactician_types::{DType, ExprNode, Unary};

use super::*;
use crate::cudnn::tests::{after_sum, convolution, number};

const X: &[usize] = &[2, 16, 7, 7];
const W: &[usize] = &[8, 16, 3, 3];
const BIAS: &[usize] = &[8, 1, 1];
const FULL: &[usize] = &[2, 8, 7, 7];

fn chain(more: &[&[usize]], epilogue: Expr) -> Option<Chain> {
    Chain::of(&convolution(DType::F16, X, W, 1, more, epilogue))
}

#[test]
fn recognises_sums() {
    let sum = |n| after_sum(n, |_, x| x);
    let of = |residual, bias| Some(Chain { residual, bias, function: None });
    assert_eq!(chain(&[], Expr::identity()), of(None, None));
    assert_eq!(chain(&[BIAS], sum(1)), of(None, Some(2)));
    assert_eq!(chain(&[FULL], sum(1)), of(Some(2), None));
    assert_eq!(chain(&[BIAS, FULL], sum(2)), of(Some(3), Some(2)));
    assert_eq!(chain(&[FULL, BIAS], sum(2)), of(Some(2), Some(3)));
    // The order of addition does not matter.
    let mut e = Expr::empty();
    let [c, b, r] = [0, 1, 2].map(|i| e.push(ExprNode::Input(i)));
    let first = e.push(ExprNode::Binary(Binary::Add, b, r));
    e.push(ExprNode::Binary(Binary::Add, first, c));
    assert_eq!(chain(&[BIAS, FULL], e), of(Some(3), Some(2)));
}

#[test]
fn recognises_functions() {
    let of = |make: &dyn Fn(&mut Expr, ExprId) -> ExprId| {
        chain(&[BIAS], after_sum(1, make)).map(|c| (c.bias, c.function))
    };
    let some = |f| Some((Some(2), Some(f)));
    let relu = some(Function::Relu { upper: None });
    let clip = some(Function::Relu { upper: Some(6.0) });
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Relu, x))), relu);
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Sigmoid, x))), some(Function::Sigmoid));
    assert_eq!(of(&|e, x| e.push(ExprNode::Unary(Unary::Tanh, x))), some(Function::Tanh));
    let bound = |e: &mut Expr, op, x, v| {
        let v = number(e, v);
        e.push(ExprNode::Binary(op, x, v))
    };
    assert_eq!(of(&|e, x| bound(e, Binary::Max, x, 0.0)), relu);
    assert_eq!(
        of(&|e, x| {
            let low = bound(e, Binary::Max, x, 0.0);
            bound(e, Binary::Min, low, 6.0)
        }),
        clip
    );
    assert_eq!(
        of(&|e, x| {
            let high = bound(e, Binary::Min, x, 6.0);
            e.push(ExprNode::Unary(Unary::Relu, high))
        }),
        clip
    );
    for swapped in [false, true] {
        let swish = of(&|e, x| {
            let s = e.push(ExprNode::Unary(Unary::Sigmoid, x));
            let (a, b) = if swapped { (s, x) } else { (x, s) };
            e.push(ExprNode::Binary(Binary::Mul, a, b))
        });
        assert_eq!(swish, some(Function::Swish));
    }
}

#[test]
fn leaves_other_epilogues_alone() {
    let relu = |e: &mut Expr, x| e.push(ExprNode::Unary(Unary::Relu, x));
    // A residual after the function.
    let late = after_sum(1, |e, x| {
        let y = relu(e, x);
        let r = e.push(ExprNode::Input(2));
        e.push(ExprNode::Binary(Binary::Add, y, r))
    });
    assert_eq!(chain(&[BIAS, FULL], late), None);
    // Two biases; a value a column; the result twice; bounds that are no ReLU; a function of the result alone.
    assert_eq!(chain(&[BIAS, BIAS], after_sum(2, |_, x| x)), None);
    assert_eq!(chain(&[&[7]], after_sum(1, |_, x| x)), None);
    assert_eq!(chain(&[], after_sum(0, |e, x| e.push(ExprNode::Binary(Binary::Add, x, x)))), None);
    for (low, high) in [(-1.0, 1.0), (0.0, 0.0), (0.0, f64::INFINITY), (1.0, 2.0)] {
        let e = after_sum(1, |e, x| {
            let (l, h) = (number(e, low), number(e, high));
            let x = e.push(ExprNode::Binary(Binary::Max, x, l));
            e.push(ExprNode::Binary(Binary::Min, x, h))
        });
        assert_eq!(chain(&[BIAS], e), None, "{low} {high}");
    }
    let scaled = after_sum(0, |e, x| {
        let b = e.push(ExprNode::Input(1));
        e.push(ExprNode::Binary(Binary::Mul, x, b))
    });
    assert_eq!(chain(&[BIAS], scaled), None);
}
