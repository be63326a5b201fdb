use tactician_ir::{Conv, ConvTranspose};

use crate::value::{Value, advance, strides};

/// Filters that go over a row of the input together.
const FILTERS: usize = 4;

/// `y[n,k,o] = Σ x[n, c, o·s + r·d − p] · w[k,c,r] + bias[k]`.
pub(crate) fn conv(op: &Conv, inputs: &[&Value], sizes: &[usize]) -> Value {
    let (x, w) = (inputs[0], inputs[1]);
    let (xd, wd) = (x.floats(), w.floats());
    let (channels, per_group) = (w.sizes[1], sizes[1] / op.groups);
    let window = &w.sizes[2..];
    let (xs, out_spatial) = (&x.sizes[2..], &sizes[2..]);
    let in_plane: usize = xs.iter().product();
    let out_plane: usize = out_spatial.iter().product();
    let points: usize = window.iter().product();
    let steps = strides(xs);
    let last = xs.len() - 1;
    let together = if per_group.is_multiple_of(FILTERS) { FILTERS } else { 1 };
    // Where every output reads its own place, the plane is one row.
    let whole = points == 1
        && in_plane == out_plane
        && op.strides.iter().all(|&s| s == 1)
        && op.pads.iter().all(|&p| p == (0, 0));
    let mut out = vec![0.0f64; sizes.iter().product()];
    let planes: Vec<(usize, &mut [f64])> =
        if out_plane == 0 { vec![] } else { out.chunks_mut(together * out_plane).enumerate().collect() };
    parallel(planes, |(at, planes)| {
        let (n, first_filter) = (at * together / sizes[1], at * together % sizes[1]);
        if let Some(b) = inputs.get(2) {
            planes.chunks_mut(out_plane).zip(&b.floats()[first_filter..]).for_each(|(y, b)| y.fill(*b));
        }
        for c in 0..channels {
            let from =
                &xd[(n * x.sizes[1] + first_filter / per_group * channels + c) * in_plane..][..in_plane];
            let mut r = vec![0; window.len()];
            for point in 0..points {
                let weight = |filter: usize| wd[((first_filter + filter) * channels + c) * points + point];
                if whole {
                    for (f, y) in planes.chunks_mut(out_plane).enumerate() {
                        let w = weight(f);
                        y.iter_mut().zip(from).for_each(|(v, x)| *v += x * w);
                    }
                    continue;
                }
                // Row by row: the last axis is a strided run whose valid part is known.
                let row_len = out_spatial[last];
                let (shift, pad, step) = (r[last] * op.dilations[last], op.pads[last].0, op.strides[last]);
                // Outputs `first..end` read inside the row: pad ≤ i·step + shift < pad + size.
                let first = pad.saturating_sub(shift).div_ceil(step).min(row_len);
                let end = (pad + xs[last]).saturating_sub(shift).div_ceil(step).clamp(first, row_len);
                let skip = (first * step + shift).saturating_sub(pad);
                let mut o = vec![0; last];
                for row_start in (0..out_plane).step_by(row_len) {
                    let mut base = 0usize;
                    let mut inside = true;
                    for a in 0..last {
                        let p = (o[a] * op.strides[a] + r[a] * op.dilations[a]).checked_sub(op.pads[a].0);
                        match p {
                            Some(p) if p < xs[a] => base += p * steps[a],
                            _ => inside = false,
                        }
                    }
                    if inside && first < end {
                        let x = &from[base + skip..];
                        for (f, y) in planes.chunks_mut(out_plane).enumerate() {
                            let w = weight(f);
                            let row = &mut y[row_start..][first..end];
                            if step == 1 {
                                row.iter_mut().zip(x).for_each(|(v, x)| *v += x * w);
                            } else {
                                row.iter_mut().zip(x.iter().step_by(step)).for_each(|(v, x)| *v += x * w);
                            }
                        }
                    }
                    advance(&mut o, &out_spatial[..last]);
                }
                advance(&mut r, window);
            }
        }
    });
    Value::float(x.dtype, sizes.to_vec(), out)
}

/// Scatters: every input adds its weighted window to the output.
pub(crate) fn conv_transpose(op: &ConvTranspose, inputs: &[&Value], sizes: &[usize]) -> Value {
    let (x, w) = (inputs[0], inputs[1]);
    let (xd, wd) = (x.floats(), w.floats());
    let per_group_out = w.sizes[1];
    let per_group_in = x.sizes[1] / op.groups;
    let window = &w.sizes[2..];
    let (xs, out_spatial) = (&x.sizes[2..], &sizes[2..]);
    let in_plane: usize = xs.iter().product();
    let out_plane: usize = out_spatial.iter().product();
    let points: usize = window.iter().product();
    let steps = strides(out_spatial);
    let mut out = vec![0.0f64; sizes.iter().product()];
    let planes: Vec<(usize, &mut [f64])> =
        if out_plane == 0 { vec![] } else { out.chunks_mut(out_plane).enumerate().collect() };
    parallel(planes, |(plane, y)| {
        let (n, k) = (plane / sizes[1], plane % sizes[1]);
        if let Some(b) = inputs.get(2) {
            y.fill(b.floats()[k]);
        }
        let group = k / per_group_out;
        for c in group * per_group_in..(group + 1) * per_group_in {
            let mut at = vec![0; xs.len()];
            for i in 0..in_plane {
                let value = xd[(n * x.sizes[1] + c) * in_plane + i];
                let mut r = vec![0; window.len()];
                for point in 0..points {
                    let mut place = Some(0);
                    for a in 0..xs.len() {
                        let p = (at[a] * op.strides[a] + r[a] * op.dilations[a]).wrapping_sub(op.pads[a].0);
                        place = place.filter(|_| p < out_spatial[a]).map(|s| s + p * steps[a]);
                    }
                    if let Some(p) = place {
                        y[p] += value * wd[(c * per_group_out + k % per_group_out) * points + point];
                    }
                    advance(&mut r, window);
                }
                advance(&mut at, xs);
            }
        }
    });
    Value::float(x.dtype, sizes.to_vec(), out)
}

/// Spreads work over the processors.
fn parallel<T: Send>(list: Vec<T>, body: impl Fn(T) + Sync + Send) {
    use rayon::prelude::*;
    list.into_par_iter().for_each(body);
}
