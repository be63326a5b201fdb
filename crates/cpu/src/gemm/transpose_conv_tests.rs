use super::*;
use crate::conv::testing::{assert_close, geometries, pools, run, values};
use crate::gemm::testing::{self, sample_finish};

/// By definition: every input scatters.
fn by_definition(s: &TransposeShape, x: &[f32], w: &[f32]) -> Vec<f64> {
    let f = &s.forward;
    let (channels, filters) = (f.k / f.groups, f.c / f.groups);
    let [id, ih, iw] = s.input;
    let [od, oh, ow] = f.input;
    let [kd, kh, kw] = f.kernel;
    let mut out = vec![0.0; f.input_len()];
    let to = |a: usize, i: usize, r: usize| {
        let o = (i * f.strides[a] + r * f.dilations[a]) as isize - f.pads[a].0 as isize;
        usize::try_from(o).ok().filter(|&o| o < f.input[a])
    };
    for n in 0..f.n {
        for c in 0..f.k {
            for i in 0..id * ih * iw {
                let v = f64::from(x[(n * f.k + c) * id * ih * iw + i]);
                for k in 0..filters {
                    for r in 0..kd * kh * kw {
                        let (Some(d), Some(h), Some(q)) = (
                            to(0, i / (ih * iw), r / (kh * kw)),
                            to(1, i / iw % ih, r / kw % kh),
                            to(2, i % iw, r % kw),
                        ) else {
                            continue;
                        };
                        let channel = n * f.c + c / channels * filters + k;
                        let weight = w[(c * filters + k) * kd * kh * kw + r];
                        out[((channel * od + d) * oh + h) * ow + q] += v * f64::from(weight);
                    }
                }
            }
        }
    }
    out
}

#[test]
fn agrees_with_the_definition() {
    for threads in pools() {
        for (i, g) in geometries().into_iter().chain(testing::odd_geometries()).enumerate() {
            let mut shape = TransposeShape { input: g.output(), forward: g };
            if i % 5 == 4 {
                // As with output padding.
                shape.input[2] = shape.input[2].div_ceil(2);
            }
            let f = &shape.forward;
            let x = values(f.n * f.k * shape.pixels(), 1);
            let w = values(f.weight_len(), 2);
            let (finish, operands) = sample_finish(i, &[f.n, f.c, f.input[0], f.input[1], f.input[2]]);
            let want = testing::finished(&finish, &operands, &by_definition(&shape, &x, &w));
            let mut inputs = vec![&x[..], &w[..]];
            inputs.extend(operands.iter().map(Vec::as_slice));
            let got = run(TransposeConv::new(shape.clone(), finish.clone()), &inputs, &threads);
            assert_close(&got, &want, 1e-5, &format!("{shape:?}"));
            let got = run(TransposeGemmConv::new(shape.clone(), 8, finish), &inputs, &threads);
            assert_close(&got, &want, 1e-5, &format!("{shape:?} by products"));
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    let forward = ConvGeometry::image(1, 4, [5, 5], 4, [3, 3], 1, 1);
    let shape = TransposeShape { input: forward.output(), forward };
    testing::hostile(&TransposeConv::new(shape.clone(), Finish::none(vec![1, 4, 1, 5, 5])));
    testing::hostile(&TransposeGemmConv::new(shape, 8, Finish::none(vec![1, 4, 1, 5, 5])));
}
