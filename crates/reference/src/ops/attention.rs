use std::borrow::Cow;

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

/// The sizes `[B, H, S, D]` of an operand, which inference made sure of.
pub(crate) fn sizes(op: &Attention, x: &[&Value], which: usize) -> [usize; 4] {
    op.operand_sizes(which, &x[which].sizes).unwrap_or_default()
}

/// An operand as `[B, H, S, D]`.
fn outside<'a>(op: &Attention, x: &[&'a Value], which: usize) -> Cow<'a, [f64]> {
    let from = x[which].floats();
    let [batches, heads, length, d] = sizes(op, x, which);
    let (offset, [batch, head, row]) = match op.within[which] {
        Some(within) => (within.offset, within.strides),
        None if op.heads_inside[which] => (0, [length * heads * d, d, heads * d]),
        None => return Cow::Borrowed(from),
    };
    let mut out = Vec::with_capacity(batches * heads * length * d);
    for b in 0..batches {
        for h in 0..heads {
            for i in 0..length {
                out.extend_from_slice(&from[offset + b * batch + h * head + i * row..][..d]);
            }
        }
    }
    Cow::Owned(out)
}

/// Calls `each` for every query.
pub(crate) fn rows(op: &Attention, x: &[&Value], mut each: impl FnMut(Row<'_>)) {
    let [batches, heads, queries, d] = sizes(op, x, 0);
    let [_, key_heads, keys, _] = sizes(op, x, 1);
    let [.., dv] = sizes(op, x, 2);
    let [q, k, v] = [0, 1, 2].map(|which| outside(op, x, which));
    let mask = x.get(3).map(|m| (m.floats(), broadcast_strides(&m.sizes, &[batches, heads, queries, keys])));
    let (scale, cap) = (f64::from(op.scale), f64::from(op.softcap));
    let (mut scores, mut weights, mut sizes) = (vec![0.0; keys], vec![0.0; keys], vec![0.0; keys]);
    for b in 0..batches {
        for h in 0..heads {
            let from = b * key_heads + h / (heads / key_heads);
            for i in 0..queries {
                let row = (b * heads + h) * queries + i;
                let query = &q[row * d..][..d];
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
                let at = if op.heads_inside[3] { (b * queries + i) * heads + h } else { row };
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
