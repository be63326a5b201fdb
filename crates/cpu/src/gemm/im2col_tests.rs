use super::*;
use crate::conv::testing::{assert_close, geometries, plain, pools, run, values};
use crate::gemm::testing::{self, sample_finish};

#[test]
fn agrees_with_the_definition() {
    for threads in pools() {
        let lanes = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
        for (i, g) in geometries().into_iter().chain(testing::odd_geometries()).enumerate() {
            let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
            let [d, h, v] = g.output();
            let (finish, operands) = sample_finish(i, &[g.n, g.k, d, h, v]);
            let want = testing::finished(&finish, &operands, &plain(&g, &x, &w));
            let mut forms = vec![ColumnsForm::Whole, ColumnsForm::Panel];
            forms.extend(im2col_tiles(lanes).map(ColumnsForm::Tile));
            if is_pointwise(&g) {
                forms.push(ColumnsForm::InPlace);
            }
            for (form, packed) in forms.into_iter().flat_map(|f| [(f, false), (f, true)]) {
                let kernel = Im2colConv::new(g.clone(), lanes as u8, form, packed, finish.clone());
                let weights = if packed { kernel.pack(&w).unwrap() } else { w.clone() };
                let mut inputs = vec![&x[..], &weights[..]];
                inputs.extend(operands.iter().map(Vec::as_slice));
                let got = run(kernel, &inputs, &threads);
                assert_close(&got, &want, 1e-5, &format!("{g:?} {form:?} {packed}"));
            }
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    let g = ConvGeometry::image(1, 4, [5, 5], 4, [3, 3], 1, 1);
    let finish = Finish::none(vec![1, 4, 1, 5, 5]);
    testing::hostile(&Im2colConv::new(g, 8, ColumnsForm::Tile(32), true, finish));
}

/// `cargo test --release -p tactician-cpu speed_of_im2col -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
#[allow(clippy::print_stderr, reason = "the result is for a person")]
fn speed_of_im2col() {
    let threads = crate::Threads::new(1).unwrap();
    let lanes = if threads.level().isa() == Isa::Avx512 { 16 } else { 8 };
    let image = ConvGeometry::image;
    for g in [
        image(1, 64, [56, 56], 64, [3, 3], 1, 1),
        image(1, 512, [7, 7], 512, [3, 3], 1, 1),
        image(1, 3, [224, 224], 64, [7, 7], 2, 3),
        image(1, 256, [28, 28], 128, [1, 1], 1, 0),
    ] {
        let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
        let [d, h, v] = g.output();
        let finish = Finish::none(vec![g.n, g.k, d, h, v]);
        let rate = |seconds: f64| 2.0 * g.multiplications() as f64 / seconds / 1e9;
        let mut forms = vec![ColumnsForm::Whole, ColumnsForm::Panel];
        forms.extend(im2col_tiles(lanes).map(ColumnsForm::Tile));
        if is_pointwise(&g) {
            forms.push(ColumnsForm::InPlace);
        }
        for form in forms {
            let kernel = Im2colConv::new(g.clone(), lanes as u8, form, true, finish.clone());
            let packed = kernel.pack(&w).unwrap();
            let best = testing::best_time(kernel, &[&x, &packed], &threads);
            eprintln!("{:?} {:?} {form:?}: {:.1} GFLOP/s", g.input, g.kernel, rate(best));
        }
        let kernel = crate::gemm::PlainConv::new(g.clone(), finish);
        let best = testing::best_time(kernel, &[&x, &w], &threads);
        eprintln!("{:?} {:?} plain: {:.1} GFLOP/s", g.input, g.kernel, rate(best));
    }
}
