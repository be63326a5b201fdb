use std::cmp::Ordering;

use tactician_ir::{ArgReduce, DType, Reduce, ReduceKind, Softmax, TopK};

use crate::value::{Data, Value, advance, strides, wrap};

/// For each element of `x` the element of the output that it goes into.
fn targets(x: &Value, axes: &[usize]) -> (Vec<usize>, usize) {
    let kept: Vec<usize> =
        x.sizes.iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
    let steps = strides(&kept);
    let mut index = vec![0; x.sizes.len()];
    let mut out = Vec::with_capacity(x.len());
    for _ in 0..x.len() {
        out.push((0..index.len()).filter(|a| !axes.contains(a)).map(|a| index[a] * steps[a]).sum());
        advance(&mut index, &x.sizes);
    }
    (out, kept.iter().product())
}

/// Reduces whole axes. Without axes every element is its own group.
pub(crate) fn reduce(op: &Reduce, x: &Value, sizes: &[usize]) -> Value {
    let (targets, n) = targets(x, &op.axes);
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (i, t) in targets.into_iter().enumerate() {
        groups[t].push(i);
    }
    let data = match &x.data {
        Data::Float(d) => {
            Data::Float(groups.iter().map(|g| float(op.kind, &|| g.iter().map(|&i| d[i]), g.len())).collect())
        }
        Data::Int(d) => Data::Int(
            groups.iter().map(|g| int(op.kind, x.dtype, &|| g.iter().map(|&i| d[i]), g.len())).collect(),
        ),
    };
    Value { dtype: x.dtype, sizes: sizes.to_vec(), data }
}

fn float<I: Iterator<Item = f64>>(kind: ReduceKind, v: &dyn Fn() -> I, n: usize) -> f64 {
    use ReduceKind::*;
    match kind {
        Sum => v().sum(),
        Mean => v().sum::<f64>() / n as f64,
        Max => v().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
        Min => v().fold(f64::INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }),
        Prod => v().product(),
        SumSquare => v().map(|x| x * x).sum(),
        L1 => v().map(f64::abs).sum(),
        L2 => v().map(|x| x * x).sum::<f64>().sqrt(),
        LogSum => v().sum::<f64>().ln(),
        LogSumExp => {
            let top = v().fold(f64::NEG_INFINITY, f64::max);
            if top.is_infinite() { top } else { top + v().map(|x| (x - top).exp()).sum::<f64>().ln() }
        }
    }
}

fn int<I: Iterator<Item = i64>>(kind: ReduceKind, dtype: DType, v: &dyn Fn() -> I, n: usize) -> i64 {
    use ReduceKind::*;
    let unsigned = dtype == DType::U64;
    let sum = |i: &mut dyn Iterator<Item = i64>| i.fold(0i64, i64::wrapping_add);
    let order = |a: &i64, b: &i64| if unsigned { (*a as u64).cmp(&(*b as u64)) } else { a.cmp(b) };
    let out = match kind {
        Sum => sum(&mut v()),
        // Truncates toward zero.
        Mean if n == 0 => 0,
        Mean => sum(&mut v()) / n as i64,
        Max => v().max_by(order).unwrap_or(range(dtype).0),
        Min => v().min_by(order).unwrap_or(range(dtype).1),
        Prod => v().fold(1i64, i64::wrapping_mul),
        SumSquare => sum(&mut v().map(|x| x.wrapping_mul(x))),
        L1 => sum(&mut v().map(i64::wrapping_abs)),
        L2 | LogSum | LogSumExp => 0,
    };
    wrap(dtype, out)
}

/// Least and greatest value of an integer type; `u64` as `i64` has its bits.
fn range(dtype: DType) -> (i64, i64) {
    let bits = 8 * dtype.size() as u32;
    match dtype {
        DType::Bool => (0, 1),
        DType::U64 => (0, -1),
        t if t.is_signed_int() => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
        _ => (0, (1 << bits) - 1),
    }
}

/// Position of the largest or smallest element.
pub(crate) fn arg_reduce(op: &ArgReduce, x: &Value, sizes: &[usize]) -> Value {
    let (targets, n) = targets(x, &[op.axis]);
    let steps = strides(&x.sizes);
    let mut best: Vec<Option<usize>> = vec![None; n];
    let less = |i: usize, j: usize| match &x.data {
        Data::Float(d) => d[i] < d[j] || d[j].is_nan() && !d[i].is_nan(),
        Data::Int(d) if x.dtype == DType::U64 => (d[i] as u64) < d[j] as u64,
        Data::Int(d) => d[i] < d[j],
    };
    for (i, t) in targets.into_iter().enumerate() {
        let better = match best[t] {
            None => true,
            Some(b) => {
                let (worse, better) =
                    if op.largest { (less(i, b), less(b, i)) } else { (less(b, i), less(i, b)) };
                better || op.last && !worse
            }
        };
        if better {
            best[t] = Some(i);
        }
    }
    let place = |i: usize| (i / steps[op.axis] % x.sizes[op.axis]) as i64;
    Value::int(DType::I64, sizes.to_vec(), best.into_iter().map(|b| b.map_or(0, place)).collect())
}

/// Sorts each line: larger (smaller) elements first, among equals the earlier.
pub(crate) fn top_k(op: &TopK, x: &Value, sizes: &[usize]) -> Value {
    let inner: usize = x.sizes[op.axis + 1..].iter().product();
    let outer: usize = x.sizes[..op.axis].iter().product();
    let n = x.sizes[op.axis];
    let ascending = |i: usize, j: usize| match &x.data {
        Data::Float(d) => match d[i].partial_cmp(&d[j]) {
            Some(order) => order,
            None => d[i].is_nan().cmp(&d[j].is_nan()),
        },
        Data::Int(d) if x.dtype == DType::U64 => (d[i] as u64).cmp(&(d[j] as u64)),
        Data::Int(d) => d[i].cmp(&d[j]),
    };
    let mut out = vec![0; outer * op.k * inner];
    for line in 0..outer * inner {
        let (o, i) = (line / inner, line % inner);
        let place = |p: usize| (o * n + p) * inner + i;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| {
            let by: Ordering = ascending(place(a), place(b));
            if op.largest { by.reverse() } else { by }
        });
        for (j, p) in order.into_iter().take(op.k).enumerate() {
            out[(o * op.k + j) * inner + i] = p as i64;
        }
    }
    Value::int(DType::I64, sizes.to_vec(), out)
}

/// Softmax or its logarithm, shifted by the largest element.
pub(crate) fn softmax(op: &Softmax, x: &Value) -> Value {
    let (targets, n) = targets(x, &[op.axis]);
    let d = x.floats();
    let mut top = vec![f64::NEG_INFINITY; n];
    for (v, &t) in d.iter().zip(&targets) {
        top[t] = top[t].max(*v);
    }
    let mut sum = vec![0.0; n];
    for (v, &t) in d.iter().zip(&targets) {
        sum[t] += (v - top[t]).exp();
    }
    let out = d
        .iter()
        .zip(&targets)
        .map(|(v, &t)| if op.log { v - top[t] - sum[t].ln() } else { (v - top[t]).exp() / sum[t] })
        .collect();
    Value::float(x.dtype, x.sizes.clone(), out)
}
