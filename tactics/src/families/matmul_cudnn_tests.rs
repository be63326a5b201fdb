use tactician_ir::MatMul;
use tactician_types::{Binary, Expr, ExprNode, Unary};

use super::*;
use crate::cudnn::tests::{after_sum, listed, number, operation, relu_of_sum};

fn problem(
    dtype: DType,
    [a, b, y]: [&[usize]; 3],
    [trans_a, trans_b]: [bool; 2],
    more: &[&[usize]],
    epilogue: Expr,
) -> Problem {
    let operands: Vec<&[usize]> = [a, b].into_iter().chain(more.iter().copied()).collect();
    operation(dtype, Op::MatMul(MatMul { trans_a, trans_b }), 2, &operands, y, epilogue)
}

/// Sizes and strides of the factors and the result.
fn tensors(sizes: [&[usize]; 3], transposed: [bool; 2]) -> Option<[(Vec<u64>, Vec<u64>); 3]> {
    let g = graph(&problem(DType::F16, sizes, transposed, &[], Expr::identity()))?.graph;
    let of = |i: usize| (g.tensors[i].sizes.clone(), g.tensors[i].strides.clone());
    Some([of(0), of(1), of(2)])
}

fn pair(sizes: [u64; 3], strides: [u64; 3]) -> (Vec<u64>, Vec<u64>) {
    (sizes.to_vec(), strides.to_vec())
}

#[test]
fn describes_batches_and_transposes() {
    let a = tensors([&[5, 3], &[3, 7], &[5, 7]], [false; 2]).unwrap();
    assert_eq!(a[0], pair([1, 5, 3], [15, 3, 1]));
    assert_eq!(a[1], pair([1, 3, 7], [21, 7, 1]));
    assert_eq!(a[2], pair([1, 5, 7], [35, 7, 1]));
    let t = tensors([&[3, 5], &[7, 3], &[5, 7]], [true; 2]).unwrap();
    assert_eq!(t[0], pair([1, 5, 3], [15, 1, 5]));
    assert_eq!(t[1], pair([1, 3, 7], [21, 1, 3]));
    let batched = tensors([&[2, 4, 5, 3], &[2, 4, 7, 3], &[2, 4, 5, 7]], [false, true]).unwrap();
    assert_eq!(batched[0], pair([8, 5, 3], [15, 3, 1]));
    assert_eq!(batched[1], pair([8, 3, 7], [21, 1, 3]));
    assert_eq!(batched[2], pair([8, 5, 7], [35, 7, 1]));
    // A batch of the left factor alone is rows; of the right one it stays.
    let rows = tensors([&[2, 4, 5, 3], &[3, 7], &[2, 4, 5, 7]], [false; 2]).unwrap();
    assert_eq!((rows[0].0.clone(), rows[2].0.clone()), (vec![1, 40, 3], vec![1, 40, 7]));
    let right = tensors([&[5, 3], &[4, 3, 7], &[4, 5, 7]], [false; 2]).unwrap();
    assert_eq!((right[0].0.clone(), right[1].0.clone()), (vec![1, 5, 3], vec![4, 3, 7]));
    // Unless its rows are columns: those would be wrong.
    assert_eq!(tensors([&[4, 3, 5], &[3, 7], &[4, 5, 7]], [true, false]), None);
    // A part of a batch.
    assert_eq!(tensors([&[2, 4, 5, 3], &[4, 3, 7], &[2, 4, 5, 7]], [false; 2]), None);
}

#[test]
fn epilogues_are_broadcast() {
    let sizes: [&[usize]; 3] = [&[2, 4, 5, 3], &[2, 4, 3, 7], &[2, 4, 5, 7]];
    let shape = |more: &[usize]| {
        let g = graph(&problem(DType::F16, sizes, [false; 2], &[more], relu_of_sum(1)))?.graph;
        g.tensors.iter().find(|t| t.role == Role::Input(2)).map(|t| t.sizes.clone())
    };
    assert_eq!(shape(&[7]), Some(vec![1, 1, 7]));
    assert_eq!(shape(&[5, 1]), Some(vec![1, 5, 1]));
    assert_eq!(shape(&[2, 4, 5, 7]), Some(vec![8, 5, 7]));
    assert_eq!(shape(&[]), Some(vec![1, 1, 1]));
    assert_eq!(shape(&[4, 5, 7]), None, "a part of the batch");
    assert!(graph(&problem(DType::F64, sizes, [false; 2], &[], Expr::identity())).is_none());
}

/// GELU of the product plus a bias.
fn gelu() -> Expr {
    after_sum(1, |e, x| {
        let [root, one, half] = [std::f64::consts::FRAC_1_SQRT_2, 1.0, 0.5].map(|v| number(e, v));
        let scaled = e.push(ExprNode::Binary(Binary::Mul, x, root));
        let erf = e.push(ExprNode::Unary(Unary::Erf, scaled));
        let sum = e.push(ExprNode::Binary(Binary::Add, one, erf));
        let product = e.push(ExprNode::Binary(Binary::Mul, x, sum));
        e.push(ExprNode::Binary(Binary::Mul, product, half))
    })
}

#[test]
fn lists_tactics_where_cudnn_is() {
    let one: [&[usize]; 3] = [&[128, 256], &[256, 512], &[128, 512]];
    let many: [&[usize]; 3] = [&[2, 4, 64, 32], &[2, 4, 48, 32], &[2, 4, 64, 48]];
    let scaled = after_sum(0, |e, x| {
        let eighth = number(e, 0.125);
        e.push(ExprNode::Binary(Binary::Mul, x, eighth))
    });
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for p in [
            problem(dtype, one, [false; 2], &[], Expr::identity()),
            problem(dtype, one, [false; 2], &[&[512]], gelu()),
            problem(dtype, one, [false; 2], &[&[512], &[128, 512]], relu_of_sum(2)),
            problem(dtype, many, [false, true], &[], scaled.clone()),
        ] {
            for t in listed(&FAMILY, &p, "matmul.cudnn/e", false) {
                assert_eq!(t.growth.inputs > 0.0, t.id.ends_with(".tf32"), "{}", t.id);
                assert_eq!(t.id.ends_with(".tf32"), dtype == DType::F32, "{}", t.id);
            }
        }
    }
}
