use tactician_ir::{Pool, PoolKind};

use crate::value::{Data, Value, advance, strides};

/// Pools each channel over windows.
pub(crate) fn pool(op: &Pool, x: &Value, sizes: &[usize]) -> Value {
    let (xs, os) = (&x.sizes[2..], &sizes[2..]);
    let (in_plane, out_plane): (usize, usize) = (xs.iter().product(), os.iter().product());
    let steps = strides(xs);
    let planes = sizes[0] * sizes[1];
    // For each output position: the positions inside the input, and how many count with padding.
    let mut windows = Vec::with_capacity(out_plane);
    let mut o = vec![0; os.len()];
    for _ in 0..out_plane {
        let (mut inside, mut padded) = (Vec::new(), 0usize);
        let mut r = vec![0; op.window.len()];
        for _ in 0..op.window.iter().product::<usize>() {
            let (mut place, mut counts) = (Some(0), true);
            for a in 0..xs.len() {
                let p = o[a] * op.strides[a] + r[a] * op.dilations[a];
                counts &= p < xs[a] + op.pads[a].0 + op.pads[a].1;
                let q = p.wrapping_sub(op.pads[a].0);
                place = place.filter(|_| q < xs[a]).map(|s| s + q * steps[a]);
            }
            padded += usize::from(counts);
            inside.extend(place);
            advance(&mut r, &op.window);
        }
        windows.push((inside, padded));
        advance(&mut o, os);
    }
    let data = match &x.data {
        Data::Int(d) => {
            let mut out = Vec::with_capacity(planes * out_plane);
            for p in 0..planes {
                for (inside, _) in &windows {
                    let least = if x.dtype.is_signed_int() { i64::MIN } else { 0 };
                    out.push(inside.iter().map(|i| d[p * in_plane + i]).max().unwrap_or(least));
                }
            }
            Data::Int(out)
        }
        Data::Float(d) => {
            let mut out = Vec::with_capacity(planes * out_plane);
            for p in 0..planes {
                for (inside, padded) in &windows {
                    let values = inside.iter().map(|i| d[p * in_plane + i]);
                    out.push(match op.kind {
                        PoolKind::Max => values.fold(f64::NEG_INFINITY, |a, b| {
                            if a.is_nan() || b > a || b.is_nan() { if a.is_nan() { a } else { b } } else { a }
                        }),
                        PoolKind::Average { count_pad: true } => values.sum::<f64>() / *padded as f64,
                        PoolKind::Average { count_pad: false } => values.sum::<f64>() / inside.len() as f64,
                        PoolKind::Lp { p } => {
                            let p = f64::from(p);
                            values.map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
                        }
                    });
                }
            }
            Data::Float(out)
        }
    };
    Value { dtype: x.dtype, sizes: sizes.to_vec(), data }
}
