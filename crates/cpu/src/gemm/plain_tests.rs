use super::*;
use crate::conv::testing::{assert_close, geometries, plain, pools, run, values};
use crate::gemm::testing::{self, sample_finish};

#[test]
fn agrees_with_the_definition() {
    for threads in pools() {
        for (i, g) in geometries().into_iter().chain(testing::odd_geometries()).enumerate() {
            let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
            let want = plain(&g, &x, &w);
            let [d, h, v] = g.output();
            let (finish, operands) = sample_finish(i, &[g.n, g.k, d, h, v]);
            let want = testing::finished(&finish, &operands, &want);
            let mut inputs = vec![&x[..], &w[..]];
            inputs.extend(operands.iter().map(Vec::as_slice));
            let got = run(PlainConv::new(g.clone(), finish), &inputs, &threads);
            assert_close(&got, &want, 1e-5, &format!("{g:?}"));
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    testing::hostile::<PlainConv>(&PlainConv::new(
        ConvGeometry::image(1, 4, [5, 5], 4, [3, 3], 1, 1),
        Finish::none(vec![1, 4, 1, 5, 5]),
    ));
}
