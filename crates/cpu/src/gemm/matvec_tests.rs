use super::*;
use crate::conv::testing::{assert_close, pools, run, values};
use crate::gemm::testing::{self, sample_finish};

#[test]
fn agrees_with_the_definition() {
    for threads in pools() {
        for (i, (products, n, k)) in [
            (1, 1, 1),
            (1, 1000, 300),
            (3, 17, 70),
            (1, 7, 2000),
            (2, 130, 5),
            (1, 3000, 9),
            (1, 5, 0),
            (0, 5, 5),
        ]
        .into_iter()
        .enumerate()
        {
            for (dots, matrix_first) in [(false, false), (true, false), (true, true), (false, true)] {
                let (x, w) = (values(products * k, 1), values(products * n * k, 2));
                let want: Vec<f64> = (0..products * n)
                    .map(|at| {
                        let (p, j) = (at / n, at % n);
                        (0..k)
                            .map(|q| {
                                let w = w[p * n * k + if dots { j * k + q } else { q * n + j }];
                                f64::from(x[p * k + q]) * f64::from(w)
                            })
                            .sum()
                    })
                    .collect();
                let (finish, operands) = sample_finish(i, &[products, n]);
                let want = testing::finished(&finish, &operands, &want);
                let mut inputs = if matrix_first { vec![&w[..], &x[..]] } else { vec![&x[..], &w[..]] };
                inputs.extend(operands.iter().map(Vec::as_slice));
                let got = run(MatVec::new(products, n, k, dots, matrix_first, finish), &inputs, &threads);
                assert_close(&got, &want, 1e-5, &format!("{products} {n} {k} {dots}"));
            }
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    testing::hostile(&MatVec::new(2, 3, 4, true, false, Finish::none(vec![2, 3])));
}

/// `cargo test --release -p tactician-cpu speed_of_vectors -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
#[allow(clippy::print_stderr, reason = "the result is for a person")]
fn speed_of_vectors() {
    let threads = crate::Threads::new(1).unwrap();
    for (n, k) in [(1000, 512), (4096, 4096)] {
        let (x, w) = (values(k, 1), values(n * k, 2));
        for dots in [false, true] {
            let kernel = MatVec::new(1, n, k, dots, false, Finish::none(vec![1, n]));
            let best = testing::best_time(kernel, &[&x, &w], &threads);
            eprintln!("{n}x{k} dots {dots}: {:.1} GB/s", 4.0 * (n * k) as f64 / best / 1e9);
        }
    }
}
