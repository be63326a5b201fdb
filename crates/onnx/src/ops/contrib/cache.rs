//! Attention whose queries share keys, behind a cache of them.
//!
//! The cache holds `P` places; behind this step `T` are filled, the most of any sequence in the batch. Of sequence `b`
//! `seqlens[b] + 1` are, the last `S` of them by this step. `T` must be known at import; `seqlens` need not.

use tactician_ir::{
    Attention, Binary, Concat, DType, Dim, Expand, Op, Pad, PadMode, RmsNorm, Scalar, Shape, ValueId,
};

use super::super::attention::{binary, dims, known, reshape, split_heads, turn, zero_or_never};
use super::super::compose::{Compose, Made};
use super::attention::{angles, attend, part, scale};
use super::{optional, wanted};
use crate::import::{Import, Val};
use crate::node::Node;

/// Where the keys of this step stand.
#[derive(Clone, Copy)]
enum Past {
    /// Behind so many others, in every sequence.
    Known(usize),
    /// Behind others, whose number each sequence has of its own: `i64 [B, 1, 1, 1]`.
    Each(ValueId),
}

pub(super) fn grouped(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let label = n.label;
    refuse(n)?;
    let (heads, key_heads) = (n.int("num_heads", 0), n.int("kv_num_heads", 0));
    let [mut q, mut k, v] = projections(i, n, heads, key_heads)?;
    let (qd, kd) = (dims(i, q), dims(i, k));
    let (batch, length) = (known(&qd[0], "the batch")?, known(&qd[2], "the length")?);
    if known(&kd[2], "the number of keys")? != length {
        return Err("keys of another length than the queries are not supported".into());
    }
    let total =
        n.known_ints(6, i)?.and_then(|l| l.first().copied()).ok_or("total_sequence_length is missing")?;
    let total = usize::try_from(total).ok().filter(|&t| t >= length && t < 1 << 31 && length > 0);
    let total = total.ok_or_else(|| format!("total_sequence_length does not fit {length} queries"))?;
    let past = if total == length {
        Past::Known(0)
    } else if batch == 1 {
        Past::Known(total - length)
    } else {
        let filled = n.tensor(5, i)?;
        let mut c = Compose { import: i, name: label };
        let filled = c.cast(filled, DType::I64)?;
        let past = c.with(Binary::Sub, filled, length as f64 - 1.0)?;
        Past::Each(c.reshape(past, &[batch, 1, 1, 1])?)
    };
    for (x, at, epsilon) in [(&mut q, 14, "q_norm_epsilon"), (&mut k, 15, "k_norm_epsilon")] {
        if let Some(weight) = optional(i, n, at)? {
            let epsilon = n.float(epsilon, n.float("qk_norm_epsilon", 1e-6));
            *x = i.add(Op::RmsNorm(RmsNorm { axis: 3, epsilon }), &[*x, weight], label)?;
        }
    }
    if n.int("do_rotary", 0) != 0 {
        let positions = match optional(i, n, 9)? {
            Some(p) => p,
            None => positions(i, past, length, label)?,
        };
        let tables = (n.tensor(7, i)?, n.tensor(8, i)?);
        let half = known(dims(i, tables.0).get(1).ok_or("its angles are no matrix")?, "the angles' width")?;
        let angles = angles(i, tables, positions, label)?;
        for x in [&mut q, &mut k] {
            *x = turn(i, *x, angles, 2 * half, n.int("rotary_interleaved", 0) != 0, label)?;
        }
    }
    let present_k = present(i, n, k, 3, past, total)?;
    let present_v = present(i, n, v, 4, past, total)?;
    let keys = part(i, present_k, 2, 0, total, label)?;
    let values = part(i, present_v, 2, 0, total, label)?;
    let y = scores_and_values(i, n, [q, keys, values], past, total)?;
    Ok([y, present_k, present_v].map(Val::Tensor).to_vec())
}

fn refuse(n: &Node<'_>) -> Result<(), String> {
    let quantised = n.given(12) || n.given(13);
    for (given, what) in [
        (quantised, "a quantised cache is"),
        (n.given(16), "chunks with padding (query_seqlens) are"),
        (n.int("sliding_window_cache", 0) != 0, "a cache that slides is"),
        (n.int("qk_output", 0) != 0 || wanted(n, 3), "its output of scores is"),
    ] {
        if given {
            return Err(format!("{what} not supported"));
        }
    }
    Ok(())
}

/// Queries, keys and values as heads, packed into one or apart.
fn projections(i: &mut Import<'_>, n: &Node<'_>, heads: i64, key_heads: i64) -> Result<[ValueId; 3], String> {
    let label = n.label;
    let query = n.tensor(0, i)?;
    let (key, value) = (optional(i, n, 1)?, optional(i, n, 2)?);
    let parts = match (key, value) {
        (Some(k), Some(v)) => [query, k, v],
        (None, None) => {
            let count = |h: i64| {
                usize::try_from(h).ok().filter(|&h| h > 0 && h < 1 << 31).ok_or("its heads must be positive")
            };
            let (hq, hk) = (count(heads)?, count(key_heads)?);
            let all =
                known(dims(i, query).get(2).ok_or("its queries have too few axes")?, "the hidden size")?;
            let size = all / (hq + 2 * hk);
            if size * (hq + 2 * hk) != all {
                return Err(format!("{all} elements do not divide into {hq} and twice {hk} heads"));
            }
            [
                part(i, query, 2, 0, hq * size, label)?,
                part(i, query, 2, hq * size, hk * size, label)?,
                part(i, query, 2, (hq + hk) * size, hk * size, label)?,
            ]
        }
        _ => return Err("keys and values must be given together".into()),
    };
    Ok([
        split_heads(i, parts[0], heads, label)?,
        split_heads(i, parts[1], key_heads, label)?,
        split_heads(i, parts[2], key_heads, label)?,
    ])
}

/// Places `[B, S]` of the queries.
fn positions(i: &mut Import<'_>, past: Past, length: usize, label: &str) -> Made {
    let mut c = Compose { import: i, name: label };
    match past {
        Past::Known(p) => {
            let places = c.counted(&[1, length])?;
            c.with(Binary::Add, places, p as f64)
        }
        Past::Each(p) => {
            let batch = c.sizes(p)?[0];
            let (p, places) = (c.reshape(p, &[batch, 1])?, c.counted(&[1, length])?);
            c.binary(Binary::Add, places, p)
        }
    }
}

/// The cache behind this step, whose keys or values are `new [B, heads, S, D]`: no shorter than `total`, and no shorter than it
/// was.
fn present(i: &mut Import<'_>, n: &Node<'_>, new: ValueId, at: usize, past: Past, total: usize) -> Made {
    let label = n.label;
    let before = optional(i, n, at)?;
    let mut c = Compose { import: i, name: label };
    let sizes = c.sizes(new)?;
    let length = sizes[2];
    let Some(before) = before else {
        return if total == length { Ok(new) } else { Err("its past is missing".into()) };
    };
    let old = c.sizes(before)?;
    if old.len() != 4 || (0..4).any(|a| a != 2 && old[a] != sizes[a]) {
        return Err(format!("its past {} does not fit {}", c.ty(before), c.ty(new)));
    }
    let places = old[2];
    match past {
        Past::Known(p) => {
            if p > places {
                return Err(format!("total_sequence_length is {total}, its past has {places} places"));
            }
            let mut parts = vec![c.slice(before, 2, 0, p)?, new];
            if places > total {
                parts.push(c.slice(before, 2, total, places - total)?);
            }
            let full: Vec<ValueId> = parts.into_iter().filter(|&v| c.ty(v).elements() != Some(0)).collect();
            if full.len() == 1 { Ok(full[0]) } else { c.concat(2, &full) }
        }
        Past::Each(p) => {
            let all = places.max(total);
            let mut pads = vec![(0, 0); 4];
            pads[2].1 = all - places;
            let mode = PadMode::Constant(Scalar::of(c.dtype(new), 0.0));
            let before = c.op(Op::Pad(Pad { pads, mode }), &[before])?;
            let places = c.counted(&[1, 1, all, 1])?;
            let at = c.binary(Binary::Sub, places, p)?;
            let (from, to) = (c.with(Binary::Ge, at, 0.0)?, c.with(Binary::Lt, at, length as f64)?);
            let written = c.binary(Binary::And, from, to)?;
            let at = c.with(Binary::Max, at, 0.0)?;
            let at = c.with(Binary::Min, at, length as f64 - 1.0)?;
            let at = c.expand(at, &[sizes[0], sizes[1], all, sizes[3]])?;
            let moved = c.gather_elements(new, at, 2)?;
            c.select(written, moved, before)
        }
    }
}

/// Which keys a query may see, `bool [1 or B, 1, S, T]`; `None` for what `causal` of the operation says already.
fn visible(
    i: &mut Import<'_>,
    n: &Node<'_>,
    past: Past,
    length: usize,
    total: usize,
) -> Result<(Option<i64>, Option<ValueId>), String> {
    let window = n.int("local_window_size", -1);
    let causal = n.int("causal", 1) != 0;
    if let (Past::Known(p), true, true) = (past, causal, window < 0) {
        return Ok((Some(p as i64), None));
    }
    let mut c = Compose { import: i, name: n.label };
    let keys = c.counted(&[1, 1, 1, total])?;
    let queries = c.counted(&[1, 1, length, 1])?;
    let queries = match past {
        Past::Known(p) => c.with(Binary::Add, queries, p as f64)?,
        Past::Each(p) => c.binary(Binary::Add, queries, p)?,
    };
    // Of the keys behind the last query of a sequence none is there.
    let last = c.slice(queries, 2, length - 1, 1)?;
    let mut seen = c.binary(Binary::Le, keys, if causal { queries } else { last })?;
    if window >= 0 {
        let oldest = c.with(Binary::Sub, queries, window as f64)?;
        let near = c.binary(Binary::Gt, keys, oldest)?;
        seen = c.binary(Binary::And, seen, near)?;
    }
    Ok((None, Some(seen)))
}

fn scores_and_values(
    i: &mut Import<'_>,
    n: &Node<'_>,
    [q, mut k, mut v]: [ValueId; 3],
    past: Past,
    total: usize,
) -> Made {
    let label = n.label;
    let dtype = i.ty(q).dtype;
    let qd = dims(i, q);
    let (heads, length) = (known(&qd[1], "the number of heads")?, known(&qd[2], "the length")?);
    let (causal, seen) = visible(i, n, past, length, total)?;
    let mut mask = match seen {
        Some(s) => Some(zero_or_never(i, s, dtype, label)?),
        None => None,
    };
    if let Some(bias) = optional(i, n, 10)? {
        mask = Some(match mask {
            Some(m) => binary(i, Binary::Add, m, bias, label)?,
            None => bias,
        });
    }
    let sink = optional(i, n, 11)?;
    let mut causal = causal;
    if sink.is_some() || n.int("smooth_softmax", -1) > 0 {
        // One more key, of zeros, whose score is the sink: it weighs and adds nothing. It stands behind the others, where
        // `causal` would leave it out.
        if let Some(p) = causal.take() {
            let seen = visible_up_to(i, p, length, total, label)?;
            let seen = zero_or_never(i, seen, dtype, label)?;
            mask = Some(match mask {
                Some(m) => binary(i, Binary::Add, m, seen, label)?,
                None => seen,
            });
        }
        for x in [&mut k, &mut v] {
            let mut pads = vec![(0, 0); 4];
            pads[2].1 = 1;
            let mode = PadMode::Constant(Scalar::of(dtype, 0.0));
            *x = i.add(Op::Pad(Pad { pads, mode }), &[*x], label)?;
        }
        let sink = match sink {
            Some(s) => reshape(i, s, &[Dim::from(1), Dim::from(heads), Dim::from(1), Dim::from(1)], label)?,
            None => Compose { import: i, name: label }.numbers(dtype, &[1, 1, 1, 1], &[0.0])?,
        };
        let mut c = Compose { import: i, name: label };
        let m = match mask {
            Some(m) => m,
            None => c.numbers(dtype, &[1, 1, 1, 1], &[0.0])?,
        };
        let batch = c.sizes(m)?[0];
        let whole: Shape = [batch, heads, length, total].into_iter().map(Dim::from).collect();
        let m = c.op(Op::Expand(Expand { shape: whole }), &[m])?;
        let sink = c.expand(sink, &[batch, heads, length, 1])?;
        mask = Some(c.op(Op::Concat(Concat { axis: 3 }), &[m, sink])?);
    }
    let op = Attention { causal, softcap: n.float("softcap", 0.0), ..Attention::new(scale(i, n, q)?) };
    attend(i, op, [q, k, v], mask, label)
}

fn visible_up_to(i: &mut Import<'_>, past: i64, length: usize, total: usize, label: &str) -> Made {
    let mut c = Compose { import: i, name: label };
    let keys = c.counted(&[1, 1, 1, total])?;
    let queries = c.counted(&[1, 1, length, 1])?;
    let queries = c.with(Binary::Add, queries, past as f64)?;
    c.binary(Binary::Le, keys, queries)
}
