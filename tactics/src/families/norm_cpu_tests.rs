use crate::pointwise_cpu::tests::{at, chain, chained, check, floats, problem};
use tactician_ir::{GroupNorm, InstanceNorm, LayerNorm, Lrn, Op, RmsNorm};
use tactician_types::Expr;

/// Normalises stretches of `n` elements.
fn normalised(x: &[f32], n: usize, rms: bool, epsilon: f32) -> Vec<f64> {
    let row = |row: &[f32]| {
        let mean = if rms { 0.0 } else { row.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64 };
        let var = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
        row.iter().map(|&v| (f64::from(v) - mean) / (var + f64::from(epsilon)).sqrt()).collect::<Vec<_>>()
    };
    x.chunks(n).flat_map(row).collect()
}

const SIZES: &[usize] = &[2, 12, 3, 5];

/// Checks a normalisation of stretches of `n` with parameters of these sizes, `view` being how they broadcast.
fn rows(anchor: Op, n: usize, rms: bool, params: &[(&[usize], bool)], view: &[&[usize]]) {
    let epsilon = 1e-3;
    let mut operands = vec![(SIZES, false)];
    operands.extend(params);
    operands.push((SIZES, false));
    let p = problem(anchor, 1 + params.len(), &operands, chain(2));
    let data: Vec<Vec<f32>> =
        operands.iter().zip(1..).map(|((s, _), i)| floats(s.iter().product(), i)).collect();
    let want: Vec<f64> = normalised(&data[0], n, rms, epsilon)
        .into_iter()
        .enumerate()
        .map(|(i, mut v)| {
            if let Some(scale) = view.first() {
                v *= at(&data[1], scale, SIZES, i);
            }
            if let Some(bias) = view.get(1) {
                v += at(&data[2], bias, SIZES, i);
            }
            chained(&[v, f64::from(data[operands.len() - 1][i])])
        })
        .collect();
    check(&p, "norm.cpu", &data, &want, 1e-5);
}

#[test]
fn rows_with_scale_and_bias() {
    let epsilon = 1e-3;
    let layer = |axis| Op::LayerNorm(LayerNorm { axis, epsilon });
    rows(layer(3), 5, false, &[], &[]);
    rows(layer(3), 5, false, &[(&[5], true)], &[&[5]]);
    rows(layer(2), 15, false, &[(&[3, 5], true), (&[5], false)], &[&[3, 5], &[5]]);
    rows(layer(1), 180, false, &[(&[12, 1, 1], true), (&[1], true)], &[&[12, 1, 1], &[1]]);
    rows(Op::RmsNorm(RmsNorm { axis: 2, epsilon }), 15, true, &[(&[3, 5], false)], &[&[3, 5]]);
    let c: (&[usize], bool) = (&[12], true);
    let view: &[&[usize]] = &[&[12, 1, 1], &[12, 1, 1]];
    rows(Op::InstanceNorm(InstanceNorm { epsilon }), 15, false, &[c, c], view);
    rows(Op::GroupNorm(GroupNorm { groups: 3, epsilon }), 60, false, &[c, c], view);
}

#[test]
fn local_response() {
    let anchor = Op::Lrn(Lrn { size: 4, alpha: 0.5, beta: 0.75, bias: 2.0 });
    let p = problem(anchor, 1, &[(SIZES, false)], Expr::identity());
    let x = floats(360, 1);
    let want: Vec<f64> = (0..360usize)
        .map(|i| {
            let c = i / 15 % 12;
            let sum: f64 = (c.saturating_sub(1)..=(c + 2).min(11))
                .map(|k| f64::from(x[i - c * 15 + k * 15]).powi(2))
                .sum();
            f64::from(x[i]) / (2.0f64 + 0.125 * sum).powf(0.75)
        })
        .collect();
    check(&p, "norm.cpu", &[x], &want, 2e-6);
}
