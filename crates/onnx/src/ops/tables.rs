//! Operators that look numbers up: n-grams and labels.

use tactician_ir::{ArgReduce, Binary, DType, Op, ReduceKind, Tensor, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest table of comparisons: 64 Mi.
const MOST: usize = 1 << 26;

/// Most distances and lengths of n-grams.
const MOST_LENGTHS: i64 = 1 << 8;

pub(super) const OPERATORS: &[(&str, Importer)] =
    &[("TfIdfVectorizer", n_grams), ("ai.onnx.ml.LabelEncoder", labels)];

/// How often each n-gram of the pool is found, its numbers next to one another or as far apart as `max_skip_count` allows. `IDF`
/// asks only whether it is; that and `TFIDF` multiply by its weight.
fn n_grams(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let pool = n.ints("pool_int64s").ok_or("n-grams of strings are not supported")?;
    let starts = n.ints("ngram_counts").ok_or("attribute `ngram_counts` is missing")?;
    let places = n.ints("ngram_indexes").ok_or("attribute `ngram_indexes` is missing")?;
    let mode = n.text("mode", "")?;
    if !["TF", "IDF", "TFIDF"].contains(&mode.as_str()) {
        return Err(format!("mode `{mode}` is unknown"));
    }
    let weights = n.floats("weights").filter(|w| !w.is_empty() && mode != "TF");
    let lengths = [n.int("min_gram_length", 1), n.int("max_gram_length", 1), n.int("max_skip_count", 0)];
    let [shortest, longest, skips] = lengths;
    if shortest < 1 || lengths.iter().any(|&v| !(0..=MOST_LENGTHS).contains(&v)) {
        return Err(format!("n-grams of {shortest} to {longest} numbers with {skips} skipped"));
    }
    let width = places.iter().copied().max().map_or(0, |m| m.saturating_add(1));
    let width = usize::try_from(width).ok().filter(|&w| w <= MOST).ok_or("ngram_indexes are out of range")?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let (rows, columns) = match sizes[..] {
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => return Err(format!("found {}, expected rank 1 or 2", c.ty(x))),
    };
    let x = c.cast(x, DType::I64)?;
    let x = c.reshape(x, &[rows, columns])?;
    let mut counts: Vec<ValueId> = Vec::new();
    let mut number = 0;
    let mut targets = Vec::new();
    for (k, &start) in starts.iter().enumerate() {
        let end = starts.get(k + 1).copied().unwrap_or(pool.len() as i64);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok()).filter(|&(s, e)| s <= e);
        let grams = range.and_then(|(s, e)| pool.get(s..e)).ok_or("ngram_counts do not fit the pool")?;
        let length = k + 1;
        if !grams.len().is_multiple_of(length) {
            return Err(format!("{} numbers do not make {length}-grams", grams.len()));
        }
        let of = number..number + grams.len() / length;
        number = of.end;
        if grams.is_empty() || !(shortest..=longest).contains(&(length as i64)) {
            continue;
        }
        for gram in of {
            let target = *places.get(gram).ok_or("ngram_indexes are too few")?;
            let target = usize::try_from(target).map_err(|_| "ngram_indexes are out of range")?;
            let weight = weights.map_or(Some(1.0), |w| w.get(gram).copied()).ok_or("weights are too few")?;
            targets.push((target, weight));
        }
        counts.push(found(&mut c, x, (rows, columns), grams, length, skips)?);
    }
    let y = match counts.as_slice() {
        [] => {
            let zero = c.numbers(DType::F32, &[], &[0.0])?;
            c.expand(zero, &[rows, width])?
        }
        _ => {
            let mut all = c.concat(1, &counts)?;
            if mode == "IDF" {
                all = c.with(Binary::Min, all, 1.0)?;
            }
            let size = targets.len().checked_mul(width).filter(|&t| t <= MOST);
            let mut to = vec![0f32; size.ok_or("its n-grams are too many")?];
            for (row, &(target, weight)) in targets.iter().enumerate() {
                to[row * width + target] = weight;
            }
            let to = Tensor::new(&[targets.len(), width], &to).map_err(|e| e.to_string())?;
            let to = c.import.constant(n.label, to);
            c.matmul(all, to)?
        }
    };
    one(if sizes.len() == 1 { c.reshape(y, &[width])? } else { y })
}

/// How often each of these n-grams is found in each row: `f32 [rows, grams]`.
fn found(
    c: &mut Compose<'_, '_>,
    x: ValueId,
    (rows, columns): (usize, usize),
    grams: &[i64],
    length: usize,
    skips: i64,
) -> Made {
    let count = grams.len() / length;
    if rows.checked_mul(columns).and_then(|v| v.checked_mul(count)).is_none_or(|v| v > MOST) {
        return Err(format!("{count} n-grams in {rows} rows of {columns} are too many"));
    }
    let mut sum: Option<ValueId> = None;
    // Numbers of 1-grams have no distance.
    let farthest = if length == 1 { 1 } else { skips as usize + 1 };
    for step in 1..=farthest {
        let Some(places) = columns.checked_sub((length - 1) * step).filter(|&p| p > 0) else { break };
        let mut all: Option<ValueId> = None;
        for k in 0..length {
            let part = c.slice(x, 1, k * step, places)?;
            let part = c.reshape(part, &[rows, places, 1])?;
            let wanted: Vec<i64> = grams.iter().skip(k).step_by(length).copied().collect();
            let wanted = c.ints(&[count], &wanted)?;
            let same = c.binary(Binary::Eq, part, wanted)?;
            all = Some(match all {
                Some(a) => c.binary(Binary::And, a, same)?,
                None => same,
            });
        }
        let all = c.cast(all.ok_or("an n-gram is empty")?, DType::F32)?;
        let here = c.reduce(ReduceKind::Sum, all, &[1], false)?;
        sum = Some(match sum {
            Some(s) => c.binary(Binary::Add, s, here)?,
            None => here,
        });
    }
    match sum {
        Some(s) => Ok(s),
        None => {
            let zero = c.numbers(DType::F32, &[], &[0.0])?;
            c.expand(zero, &[rows, count])
        }
    }
}

/// A list of keys or values, as numbers: an attribute of one of three names.
fn list(n: &Node<'_>, import: &Import<'_>, what: &str) -> Result<Tensor, String> {
    let made = if let Some(l) = n.ints(&format!("{what}_int64s")) {
        Tensor::new(&[l.len()], l)
    } else if let Some(l) = n.floats(&format!("{what}_floats")) {
        Tensor::new(&[l.len()], l)
    } else if let Some(t) = n.tensor_attribute(&format!("{what}_tensor"), import)? {
        let count = t.len();
        t.reshaped(&[count])
    } else {
        return Err(format!("its {what} are strings, or none; only numbers are supported"));
    };
    made.map_err(|e| e.to_string())
}

/// The value of the key that equals each element, or a default; NaN equals NaN, as since set 4 of its domain.
fn labels(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let (keys, values) = (list(n, i, "keys")?, list(n, i, "values")?);
    let default = match n.tensor_attribute("default_tensor", i)? {
        Some(t) => t,
        None if values.dtype() == DType::F32 => Tensor::scalar(n.float("default_float", -0.0)),
        None => Tensor::scalar(n.int("default_int64", -1)),
    };
    let count = keys.len();
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let all = sizes.iter().try_fold(count, |a, &b| a.checked_mul(b)).filter(|&a| a <= MOST);
    if count == 0 || values.len() != count || default.len() != 1 || all.is_none() {
        return Err(format!("{count} keys and {} values for {sizes:?} elements", values.len()));
    }
    let float = keys.dtype().is_float();
    let (keys, values) = (c.import.constant(n.label, keys), c.import.constant(n.label, values));
    let default = c.import.constant(n.label, default);
    let (default, to) = (c.reshape(default, &[])?, c.dtype(values));
    let default = c.cast(default, to)?;
    let wide = c.reshape(x, &[&sizes[..], &[1]].concat())?;
    let mut same = c.binary(Binary::Eq, wide, keys)?;
    if float {
        let (a, b) = (c.unary(tactician_ir::Unary::IsNan, wide)?, c.unary(tactician_ir::Unary::IsNan, keys)?);
        let both = c.binary(Binary::And, a, b)?;
        same = c.binary(Binary::Or, same, both)?;
    }
    let same = c.cast(same, DType::I32)?;
    let axis = sizes.len();
    let hit = c.reduce(ReduceKind::Max, same, &[axis], false)?;
    let hit = c.with(Binary::Gt, hit, 0.0)?;
    let at =
        c.op(Op::ArgReduce(ArgReduce { largest: true, axis, keep_dims: false, last: false }), &[same])?;
    let v = c.gather(values, at, 0)?;
    one(c.select(hit, v, default)?)
}
