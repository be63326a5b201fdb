use tactician_ir::{
    BitCast, DType, Pad, PadMode, ScatterElements, ScatterReduction, Slice, Tensor, Transpose,
};

use crate::value::{Data, Value, advance, broadcast_strides, offset, round, strides};

/// NaNs lose what else their bits say, since they are computed with as numbers.
pub(crate) fn bit_cast(op: &BitCast, x: &Value, sizes: &[usize]) -> Result<Value, String> {
    let bytes = x.to_tensor().bytes().to_vec();
    Tensor::from_bytes(op.to, sizes, bytes).map(|t| Value::of(&t)).map_err(|e| e.to_string())
}

pub(crate) fn transpose(op: &Transpose, x: &Value, sizes: &[usize]) -> Value {
    let own = strides(&x.sizes);
    let steps: Vec<usize> = op.perm.iter().map(|&p| own[p]).collect();
    x.pick(sizes, (0.0, 0), |_, index| Some(offset(index, &steps)))
}

pub(crate) fn expand(x: &Value, sizes: &[usize]) -> Value {
    let steps = broadcast_strides(&x.sizes, sizes);
    x.pick(sizes, (0.0, 0), |_, index| Some(offset(index, &steps)))
}

pub(crate) fn concat(axis: usize, inputs: &[&Value], sizes: &[usize]) -> Value {
    let tail: usize = sizes[axis + 1..].iter().product();
    let lead: usize = sizes[..axis].iter().product();
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for l in 0..lead {
        for v in inputs {
            let run = v.sizes[axis] * tail;
            match &v.data {
                Data::Float(d) => floats.extend_from_slice(&d[l * run..(l + 1) * run]),
                Data::Int(d) => ints.extend_from_slice(&d[l * run..(l + 1) * run]),
            }
        }
    }
    let data = match &inputs[0].data {
        Data::Float(_) => Data::Float(floats),
        Data::Int(_) => Data::Int(ints),
    };
    Value { dtype: inputs[0].dtype, sizes: sizes.to_vec(), data }
}

pub(crate) fn slice(op: &Slice, x: &Value, sizes: &[usize]) -> Result<Value, String> {
    let own = strides(&x.sizes);
    let mut start = vec![0i64; sizes.len()];
    let mut step = vec![1i64; sizes.len()];
    for a in &op.axes {
        start[a.axis] = a.start.as_i64().ok_or("a slice with an open start")?;
        step[a.axis] = a.step;
    }
    Ok(x.pick(sizes, (0.0, 0), |_, index| {
        Some((0..index.len()).map(|a| (start[a] + index[a] as i64 * step[a]) as usize * own[a]).sum())
    }))
}

pub(crate) fn pad(op: &Pad, x: &Value, sizes: &[usize]) -> Value {
    let own = strides(&x.sizes);
    let fill = match op.mode {
        PadMode::Constant(c) => (round(x.dtype, c.as_f64()), c.as_i64()),
        _ => (0.0, 0),
    };
    x.pick(sizes, fill, |_, index| {
        let mut at = 0;
        for a in 0..index.len() {
            let n = x.sizes[a] as i64;
            let p = index[a] as i64 - op.pads[a].0 as i64;
            let p = match op.mode {
                _ if (0..n).contains(&p) => p,
                PadMode::Constant(_) => return None,
                PadMode::Reflect if p < 0 => -p,
                PadMode::Reflect => 2 * (n - 1) - p,
                PadMode::Edge => p.clamp(0, n - 1),
                PadMode::Wrap => p.rem_euclid(n),
            };
            at += p as usize * own[a];
        }
        Some(at)
    })
}

/// An index, negative ones from the end.
fn resolve(i: i64, n: usize) -> Result<usize, String> {
    let p = if i < 0 { i.checked_add(n as i64).unwrap_or(-1) } else { i };
    usize::try_from(p).ok().filter(|&p| p < n).ok_or_else(|| format!("index {i} is outside an axis of {n}"))
}

pub(crate) fn gather(axis: usize, x: &Value, indices: &Value, sizes: &[usize]) -> Result<Value, String> {
    let n = x.sizes[axis];
    let list = indices.ints().iter().map(|&i| resolve(i, n)).collect::<Result<Vec<_>, _>>()?;
    let tail: usize = x.sizes[axis + 1..].iter().product();
    let run = list.len() * tail;
    Ok(x.pick(sizes, (0.0, 0), |i, _| {
        let (lead, rest) = (i / run, i % run);
        Some((lead * n + list[rest / tail]) * tail + rest % tail)
    }))
}

pub(crate) fn gather_elements(
    axis: usize,
    x: &Value,
    indices: &Value,
    sizes: &[usize],
) -> Result<Value, String> {
    let n = x.sizes[axis];
    let list = indices.ints().iter().map(|&i| resolve(i, n)).collect::<Result<Vec<_>, _>>()?;
    let own = strides(&x.sizes);
    Ok(x.pick(sizes, (0.0, 0), |i, index| {
        Some((0..index.len()).map(|a| if a == axis { list[i] } else { index[a] } * own[a]).sum())
    }))
}

/// Each update by ascending position; integers wrap to their type at the end.
pub(crate) fn scatter_elements(op: &ScatterElements, inputs: &[&Value]) -> Result<Value, String> {
    use ScatterReduction::*;
    let (x, indices, updates) = (inputs[0], inputs[1], inputs[2]);
    let n = x.sizes[op.axis];
    let own = strides(&x.sizes);
    let mut places = Vec::with_capacity(indices.len());
    let mut index = vec![0; x.sizes.len()];
    for &i in indices.ints() {
        let i = resolve(i, n)?;
        places
            .push((0..index.len()).map(|a| if a == op.axis { i } else { index[a] } * own[a]).sum::<usize>());
        advance(&mut index, &indices.sizes);
    }
    let mut out = x.clone();
    match (&mut out.data, &updates.data) {
        (Data::Float(y), Data::Float(u)) => {
            for (&p, &u) in places.iter().zip(u) {
                let old = y[p];
                y[p] = match op.reduction {
                    Replace => u,
                    Add => old + u,
                    Mul => old * u,
                    Max | Min if old.is_nan() || u.is_nan() => f64::NAN,
                    Max => old.max(u),
                    Min => old.min(u),
                };
            }
        }
        (Data::Int(y), Data::Int(u)) => {
            let unsigned = x.dtype == DType::U64;
            let less = |a: i64, b: i64| if unsigned { (a as u64) < b as u64 } else { a < b };
            for (&p, &u) in places.iter().zip(u) {
                let old = y[p];
                y[p] = match op.reduction {
                    Replace => u,
                    Add => old.wrapping_add(u),
                    Mul => old.wrapping_mul(u),
                    Max => {
                        if less(old, u) {
                            u
                        } else {
                            old
                        }
                    }
                    Min => {
                        if less(u, old) {
                            u
                        } else {
                            old
                        }
                    }
                };
            }
        }
        _ => return Err("x and the updates differ in type".into()),
    }
    Ok(out)
}
