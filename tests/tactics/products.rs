//! Matrix products.

use super::*;

#[test]
fn matrix_products() {
    let op = |trans_a, trans_b| Op::MatMul(MatMul { trans_a, trans_b });
    let bias: Given<'_> = (&[33], F, true);
    all_pass(&[
        problem(op(false, false), &[(&[7, 20], F, false), (&[20, 33], F, true)], &[add(bias), relu()]),
        problem(op(false, true), &[(&[1, 300], F, false), (&[33, 300], F, true)], &[add(bias)]),
        problem(op(false, false), &[(&[1, 300], F, false), (&[300, 33], F, true)], &[]),
        problem(op(true, false), &[(&[20, 7], F, false), (&[20, 33], F, false)], &[silu()]),
        problem(op(false, true), &[(&[2, 3, 9, 16], F, false), (&[2, 3, 11, 16], F, false)], &[]),
        problem(
            op(false, false),
            &[(&[2, 1, 9, 16], F, false), (&[3, 16, 5], F, false)],
            &[add((&[2, 3, 9, 5], F, false))],
        ),
        problem(op(false, false), &[(&[64, 128], F, false), (&[128, 96], F, true)], &[]),
    ]);
}

/// Products whose rows lie along the depth: tiles that stick out below and beside, depths that end within a stage, more
/// tiles than blocks, several products that share an operand or not.
#[test]
fn products_of_rows_on_the_gpu() {
    let product = |a: &[usize], b: &[usize], constant, after: &[(Expr, Option<Given<'_>>)]| {
        let op = Op::MatMul(MatMul { trans_a: false, trans_b: true });
        problem(op, &[(a, F, false), (b, F, constant)], after)
    };
    let pointwise = |n: usize, c: usize, k: usize, size: usize, residual: bool| {
        let (x, w, bias, full) = ([n, c, size, size], [k, c, 1, 1], [k, 1, 1], [n, k, size, size]);
        let mut after = vec![add((&bias, F, true))];
        if residual {
            after.push(add((&full, F, false)));
        }
        after.push(silu());
        problem(conv(2, 0, 1, 1, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        product(&[130, 200], &[136, 200], true, &[add((&[136], F, true)), relu()]),
        product(&[257, 72], &[33, 72], true, &[]),
        product(&[64, 1000], &[100, 1000], false, &[silu()]),
        product(&[3, 70, 64], &[3, 42, 64], false, &[add((&[3, 70, 42], F, false))]),
        product(&[100, 40], &[5, 90, 40], false, &[]),
        product(&[700, 256], &[520, 256], true, &[relu()]),
        pointwise(1, 72, 40, 9, true),
        pointwise(3, 64, 264, 14, true),
        pointwise(5, 32, 33, 20, false),
        pointwise(48, 64, 256, 28, true),
        pointwise(21, 512, 256, 28, false),
        pointwise(40, 256, 520, 28, false),
        pointwise(21, 512, 260, 28, false),
        pointwise(4, 512, 260, 28, true),
        product(&[1300, 192], &[1000, 192], true, &[add((&[1300, 1000], F, false)), relu()]),
        product(&[130, 2048], &[136, 2048], true, &[add((&[136], F, true)), relu()]),
        pointwise(1, 2048, 264, 7, true),
        pointwise(4, 1024, 520, 14, true),
        product(&[9000, 128], &[392, 128], true, &[add((&[392], F, true)), add((&[9000, 392], F, false))]),
    ]);
}
