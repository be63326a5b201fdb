use super::*;
use crate::conv::testing::{assert_close, pools, run, values};
use crate::gemm::testing::{self, sample_finish};

/// The product by definition.
pub(crate) fn by_definition(s: &MatShape, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    let ((ar, ac), (br, bc)) = (s.a_steps(), s.b_steps());
    for p in 0..s.products() {
        let a = &a[s.matrix(s.a_axes, p) * s.m * s.k..];
        let b = &b[s.matrix(s.b_axes, p) * s.k * s.n..];
        for i in 0..s.m {
            for j in 0..s.n {
                out.push(
                    (0..s.k).map(|q| f64::from(a[i * ar + q * ac]) * f64::from(b[q * br + j * bc])).sum(),
                );
            }
        }
    }
    out
}

fn shapes() -> Vec<MatShape> {
    let mut out = Vec::new();
    for (i, (m, n, k)) in [
        (1, 1, 1),
        (3, 5, 7),
        (12, 32, 256),
        (13, 33, 257),
        (64, 300, 40),
        (37, 64, 520),
        (1, 100, 64),
        (90, 1, 33),
        (4, 9, 0),
        (0, 4, 5),
        (5, 0, 5),
    ]
    .into_iter()
    .enumerate()
    {
        let batch = [vec![], vec![2, 3], vec![4], vec![1, 2]][i % 4].clone();
        let all = (1u16 << batch.len()) - 1;
        let s =
            MatShape { batch, a_axes: all, b_axes: [0, all, all & 1][i % 3], m, n, k, ..MatShape::default() };
        out.push(s.clone());
        out.push(MatShape { trans_b: true, b_axes: all, a_axes: all & 2, ..s.clone() });
        out.push(MatShape { trans_a: true, trans_b: i % 2 == 0, ..s });
    }
    out
}

#[test]
fn agrees_with_the_definition() {
    for threads in pools() {
        for (i, s) in shapes().into_iter().enumerate() {
            let [an, bn, _] = s.lens().unwrap();
            let (a, b) = (values(an, 1), values(bn, 2));
            let sizes = [&s.batch[..], &[s.m, s.n]].concat();
            let kind = if sizes.len() > 1 { i } else { 0 };
            let (finish, operands) = sample_finish(kind, &sizes);
            let want = testing::finished(&finish, &operands, &by_definition(&s, &a, &b));
            let best = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
            for lanes in [8, best] {
                for form in [RightForm::Packed, RightForm::Whole, RightForm::Blocks, RightForm::Direct] {
                    let kernel = MatMul::new(s.clone(), lanes, form, finish.clone());
                    let packed = kernel.pack(&b).unwrap();
                    let right = if form == RightForm::Packed { &packed } else { &b };
                    let mut inputs = vec![&a[..], &right[..]];
                    inputs.extend(operands.iter().map(Vec::as_slice));
                    let got = run(kernel, &inputs, &threads);
                    assert_close(&got, &want, 1e-5, &format!("{s:?} {lanes} {form:?} {finish:?}"));
                }
            }
        }
    }
}

#[test]
fn wide_products_are_split() {
    for threads in pools() {
        let s = MatShape { m: 150, n: 1000, k: 300, trans_b: true, ..MatShape::default() };
        let (a, b) = (values(s.m * s.k, 3), values(s.k * s.n, 4));
        let want = by_definition(&s, &a, &b);
        for form in [RightForm::Packed, RightForm::Blocks, RightForm::Direct, RightForm::Whole] {
            let kernel = MatMul::new(s.clone(), 8, form, Finish::none(vec![s.m, s.n]));
            let right = if form == RightForm::Packed { kernel.pack(&b).unwrap() } else { b.clone() };
            assert_close(&run(kernel, &[&a, &right], &threads), &want, 1e-5, &format!("{form:?}"));
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    let shape = MatShape { batch: vec![2], a_axes: 1, m: 3, n: 5, k: 4, ..MatShape::default() };
    testing::hostile(&MatMul::new(shape, 8, RightForm::Whole, Finish::none(vec![2, 3, 5])));
}

/// `cargo test --release -p tactician-cpu speed_of_products -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
#[allow(clippy::print_stderr, reason = "the result is for a person")]
fn speed_of_products() {
    let threads = crate::Threads::new(1).unwrap();
    let lanes = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
    for n in [64, 256, 512, 1024] {
        let s = MatShape { m: n, n, k: n, ..MatShape::default() };
        let (a, b) = (values(n * n, 1), values(n * n, 2));
        for form in [RightForm::Packed, RightForm::Whole, RightForm::Blocks, RightForm::Direct] {
            let kernel = MatMul::new(s.clone(), lanes, form, Finish::none(vec![n, n]));
            let right = if form == RightForm::Packed { kernel.pack(&b).unwrap() } else { b.clone() };
            let best = testing::best_time(kernel, &[&a, &right], &threads);
            eprintln!("{n}^3 {form:?}: {:.1} GFLOP/s", 2.0 * (n * n * n) as f64 / best / 1e9);
        }
    }
}
