use tactician_ir::Lrn;

use crate::value::{Value, advance, broadcast_strides, offset};

/// `scale·(x − mean)/√(variance + ε) + bias`.
pub(crate) fn batch_norm(epsilon: f32, inputs: &[&Value]) -> Value {
    let x = inputs[0];
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| inputs[i].floats());
    let plane: usize = x.sizes[2..].iter().product();
    let channels = x.sizes[1];
    let out = x
        .floats()
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let c = i / plane % channels;
            scale[c] * (v - mean[c]) / (variance[c] + f64::from(epsilon)).sqrt() + bias[c]
        })
        .collect();
    Value::float(x.dtype, x.sizes.clone(), out)
}

/// `(x − mean)/√(variance + ε)` over runs of `len`; without `centre` the mean square takes the variance's place.
fn normalised(x: &[f64], len: usize, epsilon: f32, centre: bool) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for run in x.chunks(len.max(1)) {
        let n = run.len() as f64;
        let mean = if centre { run.iter().sum::<f64>() / n } else { 0.0 };
        let variance = run.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let root = (variance + f64::from(epsilon)).sqrt();
        out.extend(run.iter().map(|v| (v - mean) / root));
    }
    out
}

/// Layer normalisation, or with `centre` off its root-mean-square form.
pub(crate) fn tail_norm(axis: usize, epsilon: f32, centre: bool, inputs: &[&Value]) -> Value {
    let x = inputs[0];
    let mut out = normalised(x.floats(), x.sizes[axis..].iter().product(), epsilon, centre);
    for (which, p) in inputs[1..].iter().enumerate() {
        let steps = broadcast_strides(&p.sizes, &x.sizes);
        let mut index = vec![0; x.sizes.len()];
        for v in &mut out {
            let q = p.floats()[offset(&index, &steps)];
            *v = if which == 0 { *v * q } else { *v + q };
            advance(&mut index, &x.sizes);
        }
    }
    Value::float(x.dtype, x.sizes.clone(), out)
}

/// Group normalisation; with as many groups as channels, instance normalisation.
pub(crate) fn group_norm(groups: usize, epsilon: f32, inputs: &[&Value]) -> Value {
    let x = inputs[0];
    let (scale, bias) = (inputs[1].floats(), inputs[2].floats());
    let plane: usize = x.sizes[2..].iter().product();
    let channels = x.sizes[1];
    let out = normalised(x.floats(), channels / groups * plane, epsilon, true)
        .into_iter()
        .enumerate()
        .map(|(i, v)| {
            let c = i / plane.max(1) % channels;
            scale[c] * v + bias[c]
        })
        .collect();
    Value::float(x.dtype, x.sizes.clone(), out)
}

/// `x / (bias + alpha/size · Σ x²)^beta` over neighbouring channels.
pub(crate) fn lrn(op: &Lrn, x: &Value) -> Value {
    let plane: usize = x.sizes[2..].iter().product();
    let channels = x.sizes[1];
    let d = x.floats();
    let out = (0..d.len())
        .map(|i| {
            let c = i / plane % channels;
            let (before, after) = ((op.size - 1) / 2, op.size / 2);
            let sum: f64 = (c.saturating_sub(before)..(c + after + 1).min(channels))
                .map(|j| d[i - c * plane + j * plane].powi(2))
                .sum();
            let base = f64::from(op.bias) + f64::from(op.alpha) / op.size as f64 * sum;
            d[i] / base.powf(f64::from(op.beta))
        })
        .collect();
    Value::float(x.dtype, x.sizes.clone(), out)
}
