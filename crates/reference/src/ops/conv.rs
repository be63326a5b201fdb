use rayon::prelude::*;
use tactician_ir::{Conv, ConvTranspose};

use crate::value::{Value, advance, strides};

/// Filters that go over a row of the input together.
const FILTERS: usize = 4;

/// Filters that read an element of the input together, and outputs that they compute together: sums that a first cache holds.
const BLOCK: usize = 64;
const PIXELS: usize = 32;

/// `y[n,k,o] = Σ x[n, c, o·s + r·d − p] · w[k,c,r] + bias[k]`, summed over c, then r.
pub(crate) fn conv(op: &Conv, inputs: &[&Value], sizes: &[usize]) -> Value {
    let per_group = sizes[1] / op.groups;
    let out =
        if per_group < 2 * FILTERS { by_rows(op, inputs, sizes) } else { by_filters(op, inputs, sizes) };
    Value::float(inputs[0].dtype, sizes.to_vec(), out)
}

/// For many filters in a group: blocks of them go over blocks of outputs.
fn by_filters(op: &Conv, inputs: &[&Value], sizes: &[usize]) -> Vec<f64> {
    let (x, w) = (inputs[0], inputs[1]);
    let (xd, wd) = (x.floats(), w.floats());
    let (channels, per_group) = (w.sizes[1], sizes[1] / op.groups);
    let (window, xs, out_spatial) = (&w.sizes[2..], &x.sizes[2..], &sizes[2..]);
    let in_plane: usize = xs.iter().product();
    let out_plane: usize = out_spatial.iter().product();
    let points: usize = window.iter().product();
    let steps = strides(xs);
    // Weights of a block beside each other: [group, block][channel, point][filter of the block].
    let blocks = per_group.div_ceil(BLOCK);
    let mut turned = vec![0.0f64; op.groups * blocks * channels * points * BLOCK];
    for (filter, row) in wd.chunks(channels * points).enumerate() {
        let (group, k) = (filter / per_group, filter % per_group);
        let block = &mut turned[(group * blocks + k / BLOCK) * channels * points * BLOCK..];
        row.iter().enumerate().for_each(|(i, v)| block[i * BLOCK + k % BLOCK] = *v);
    }
    // Where each window's elements lie in a plane, for some outputs; `usize::MAX` outside.
    let places = |first: usize, count: usize| -> Vec<usize> {
        let mut list = Vec::with_capacity(points * count);
        let mut r = vec![0; window.len()];
        for _ in 0..points {
            for pixel in first..first + count {
                let (mut rest, mut place) = (pixel, Some(0));
                for a in (0..xs.len()).rev() {
                    let o = rest % out_spatial[a];
                    rest /= out_spatial[a];
                    let p = (o * op.strides[a] + r[a] * op.dilations[a]).checked_sub(op.pads[a].0);
                    place = p.filter(|&p| p < xs[a]).and_then(|p| Some(place? + p * steps[a]));
                }
                list.push(place.unwrap_or(usize::MAX));
            }
            advance(&mut r, window);
        }
        list
    };
    let parts = out_plane.div_ceil(PIXELS);
    let tasks = sizes[0] * op.groups * blocks * parts;
    let sums = (0..tasks).into_par_iter().map(|task| {
        let (at, part) = (task / parts, task % parts);
        let (n, group) = (at / blocks / op.groups, at / blocks % op.groups);
        let first = part * PIXELS;
        let count = PIXELS.min(out_plane - first);
        let places = places(first, count);
        let weights = &turned[at % (op.groups * blocks) * channels * points * BLOCK..];
        let mut sums = vec![0.0f64; count * BLOCK];
        if let Some(b) = inputs.get(2) {
            let filters = group * per_group + at % blocks * BLOCK..(group + 1) * per_group;
            let bias = &b.floats()[filters];
            sums.chunks_mut(BLOCK).for_each(|s| s.iter_mut().zip(bias).for_each(|(s, b)| *s = *b));
        }
        for c in 0..channels {
            let from = &xd[(n * x.sizes[1] + group * channels + c) * in_plane..][..in_plane];
            for (point, places) in places.chunks(count).enumerate() {
                let weights = &weights[(c * points + point) * BLOCK..][..BLOCK];
                for (sums, &place) in sums.chunks_exact_mut(BLOCK).zip(places) {
                    if place != usize::MAX {
                        let v = from[place];
                        sums.iter_mut().zip(weights).for_each(|(s, w)| *s += v * w);
                    }
                }
            }
        }
        sums
    });
    let sums: Vec<Vec<f64>> = sums.collect();
    let mut out = vec![0.0f64; sizes.iter().product()];
    for (task, sums) in sums.iter().enumerate() {
        let (at, part) = (task / parts, task % parts);
        let (image_group, block) = (at / blocks, at % blocks);
        let filters = BLOCK.min(per_group - block * BLOCK);
        for k in 0..filters {
            let plane = image_group * per_group + block * BLOCK + k;
            let to = &mut out[plane * out_plane + part * PIXELS..];
            to.iter_mut().zip(sums.chunks(BLOCK)).for_each(|(y, s)| *y = s[k]);
        }
    }
    out
}

/// For few filters in a group: each goes over the input row by row.
fn by_rows(op: &Conv, inputs: &[&Value], sizes: &[usize]) -> Vec<f64> {
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
    out
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
    list.into_par_iter().for_each(body);
}
