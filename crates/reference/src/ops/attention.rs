use tactician_ir::Attention;

use crate::value::{Value, broadcast_strides};

/// What a query gives to each value, and what its scores are: for the result and for its error bound.
pub(crate) struct Row<'a> {
    /// Scores after scale, cap and mask; minus infinity where a key is left out.
    pub(crate) scores: &'a [f64],
    /// Their softmax.
    pub(crate) weights: &'a [f64],
    /// Sums of absolute products of query and key, times the scale.
    pub(crate) sizes: &'a [f64],
    /// The values: key `j` has those from `j · Dv` on.
    pub(crate) values: &'a [f64],
    /// Where the query's result begins.
    pub(crate) at: usize,
}

/// Calls `each` for every query.
pub(crate) fn rows(op: &Attention, x: &[&Value], mut each: impl FnMut(Row<'_>)) {
    let [batches, heads, queries, d] = [0, 1, 2, 3].map(|i| x[0].sizes[i]);
    let [key_heads, keys] = [1, 2].map(|i| x[1].sizes[i]);
    let dv = x[2].sizes[3];
    let (q, k, v) = (x[0].floats(), x[1].floats(), x[2].floats());
    let mask = x.get(3).map(|m| (m.floats(), broadcast_strides(&m.sizes, &[batches, heads, queries, keys])));
    let (scale, cap) = (f64::from(op.scale), f64::from(op.softcap));
    let (mut scores, mut weights, mut sizes) = (vec![0.0; keys], vec![0.0; keys], vec![0.0; keys]);
    for b in 0..batches {
        for h in 0..heads {
            let from = b * key_heads + h / (heads / key_heads);
            for i in 0..queries {
                let at = (b * heads + h) * queries + i;
                let query = &q[at * d..][..d];
                for j in 0..keys {
                    let key = &k[(from * keys + j) * d..][..d];
                    let mut s = 0.0;
                    sizes[j] = 0.0;
                    for (a, b) in query.iter().zip(key) {
                        s += a * b;
                        sizes[j] += (a * b * scale).abs();
                    }
                    s *= scale;
                    if cap > 0.0 {
                        s = cap * (s / cap).tanh();
                    }
                    if let Some((m, steps)) = &mask {
                        s += m[b * steps[0] + h * steps[1] + i * steps[2] + j * steps[3]];
                    }
                    let seen = op.causal.is_none_or(|offset| j as i128 <= i as i128 + i128::from(offset));
                    scores[j] = if seen { s } else { f64::NEG_INFINITY };
                }
                let top =
                    scores.iter().fold(f64::NEG_INFINITY, |t, &s| if s > t || s.is_nan() { s } else { t });
                let mut sum = 0.0;
                for (w, s) in weights.iter_mut().zip(&scores) {
                    *w = if *s == f64::NEG_INFINITY { 0.0 } else { (s - top).exp() };
                    sum += *w;
                }
                if sum != 0.0 {
                    weights.iter_mut().for_each(|w| *w /= sum);
                }
                let values = &v[from * keys * dv..][..keys * dv];
                each(Row { scores: &scores, weights: &weights, sizes: &sizes, values, at: at * dv });
            }
        }
    }
}

/// Attention by its definition.
pub(crate) fn attention(op: &Attention, x: &[&Value], sizes: &[usize]) -> Value {
    let dv = sizes[3];
    let mut out = vec![0.0; sizes.iter().product()];
    rows(op, x, |row| {
        for (j, w) in row.weights.iter().enumerate() {
            // A key that is left out gives nothing, whatever its value.
            if *w != 0.0 {
                for (o, v) in out[row.at..row.at + dv].iter_mut().zip(&row.values[j * dv..]) {
                    *o += w * v;
                }
            }
        }
    });
    Value::float(x[0].dtype, sizes.to_vec(), out)
}
