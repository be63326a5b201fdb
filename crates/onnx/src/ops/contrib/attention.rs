//! Attention as ONNX Runtime's transformer operators define it: masks are added, with a value that leaves out what nothing else
//! is left of.

use tactician_ir::{
    Attention, Binary, Concat, DType, Dim, Expr, ExprNode, Gather, Op, Scalar, Slice, SliceAxis, Transpose,
    ValueId,
};

use super::super::attention::{binary, dims, join_heads, known, reshape, split_heads, turn};
use super::super::compose::{Compose, Made};
use super::super::{Importer, conv, one};
use super::{cache, optional, wanted};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("com.microsoft.Attention", attention),
    ("com.microsoft.MultiHeadAttention", multi_head),
    ("com.microsoft.GroupQueryAttention", cache::grouped),
    ("com.microsoft.RotaryEmbedding", |i, n| {
        let x = n.tensor(0, i)?;
        one(rotary(i, n, x)?)
    }),
];

/// Part of an axis.
pub(super) fn part(
    i: &mut Import<'_>,
    x: ValueId,
    axis: usize,
    start: usize,
    len: usize,
    label: &str,
) -> Made {
    let axes = vec![SliceAxis { axis, start: Dim::from(start), len: Dim::from(len), step: 1 }];
    i.add(Op::Slice(Slice { axes }), &[x], label)
}

/// The scale of the products: one over the root of a head's size unless it is given.
pub(super) fn scale(i: &Import<'_>, n: &Node<'_>, q: ValueId) -> Result<f32, String> {
    let given = n.float("scale", 0.0);
    if given != 0.0 {
        return Ok(given);
    }
    let size = known(dims(i, q).get(3).ok_or("its heads have no size")?, "the size of a head")?;
    Ok((1.0 / (size as f64).sqrt()) as f32)
}

fn sum(
    i: &mut Import<'_>,
    a: Option<ValueId>,
    b: Option<ValueId>,
    label: &str,
) -> Result<Option<ValueId>, String> {
    match (a, b) {
        (Some(a), Some(b)) => binary(i, Binary::Add, a, b, label).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

/// `filter` where `m` is no more than zero, else 0.
fn filtered(i: &mut Import<'_>, m: ValueId, dtype: DType, filter: f32, label: &str) -> Made {
    let from = i.ty(m).dtype;
    let mut e = Expr::empty();
    let x = e.push(ExprNode::Input(0));
    let zero = e.push(ExprNode::Const(Scalar::of(from, 0.0)));
    let seen = e.push(ExprNode::Binary(Binary::Gt, x, zero));
    let nothing = e.push(ExprNode::Const(Scalar::of(dtype, 0.0)));
    let filter = e.push(ExprNode::Const(Scalar::of(dtype, f64::from(filter))));
    e.push(ExprNode::Select(seen, nothing, filter));
    i.add(Op::Pointwise(e), &[m], label)
}

/// A mask of keys as what is added to the scores `[B, heads, S, T]`. `mask` says for each key whether it is there, or how many
/// of them are, or where they end and where they begin.
fn key_mask(
    i: &mut Import<'_>,
    mask: ValueId,
    (batch, keys): (&Dim, &Dim),
    dtype: DType,
    filter: f32,
    label: &str,
) -> Made {
    let own = dims(i, mask);
    let wide = match own.as_slice() {
        [b, t] => vec![b.clone(), Dim::from(1), Dim::from(1), t.clone()],
        [b, s, t] => vec![b.clone(), Dim::from(1), s.clone(), t.clone()],
        [count] => {
            let batch = known(batch, "the batch")?;
            let (count, keys) = (known(count, "the mask")?, known(keys, "the number of keys")?);
            let bounds = |i: &mut Import<'_>, from: usize| {
                let v = part(i, mask, 0, from, batch, label)?;
                reshape(i, v, &[Dim::from(batch), Dim::from(1), Dim::from(1), Dim::from(1)], label)
            };
            let places = {
                let mut c = Compose { import: i, name: label };
                let places = c.counted(&[keys])?;
                let to = c.dtype(mask);
                c.cast(places, to)?
            };
            let end = bounds(i, 0)?;
            let mut inside = binary(i, Binary::Lt, places, end, label)?;
            if count == 2 * batch {
                let start = bounds(i, batch)?;
                let behind = binary(i, Binary::Ge, places, start, label)?;
                inside = binary(i, Binary::And, inside, behind, label)?;
            } else if count != batch {
                return Err(format!("a mask of {count} numbers for a batch of {batch} is not supported"));
            }
            let inside = Compose { import: i, name: label }.cast(inside, DType::I32)?;
            return filtered(i, inside, dtype, filter, label);
        }
        _ => return Err(format!("its mask is {}, expected rank 1 to 3", i.ty(mask))),
    };
    let m = filtered(i, mask, dtype, filter, label)?;
    reshape(i, m, &wide, label)
}

/// Attention of heads `[B, heads, S, D]`, which come out side by side.
pub(super) fn attend(
    i: &mut Import<'_>,
    op: Attention,
    [q, k, v]: [ValueId; 3],
    mask: Option<ValueId>,
    label: &str,
) -> Made {
    let operands: Vec<ValueId> = [q, k, v].into_iter().chain(mask).collect();
    let y = i.add(Op::Attention(op), &operands, label)?;
    join_heads(i, y, label)
}

/// Behind a past of so many keys query `s` sees keys up to its own place, if it looks back only.
fn causal(i: &Import<'_>, n: &Node<'_>, past: Option<ValueId>, axis: usize) -> Result<Option<i64>, String> {
    if n.int("unidirectional", 0) == 0 {
        return Ok(None);
    }
    match past {
        None => Ok(Some(0)),
        Some(p) => {
            let d = dims(i, p);
            Ok(Some(known(d.get(axis).ok_or("its past has too few axes")?, "the past length")? as i64))
        }
    }
}

/// Queries, keys and values of one product with weights that lie side by side.
fn attention(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let label = n.label;
    if n.int("past_present_share_buffer", 0) != 0 {
        return Err("a past that shares its buffer is not supported".into());
    }
    if n.int("do_rotary", 0) != 0 {
        return Err("rotary embeddings inside of it are not supported".into());
    }
    let (x, w) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let heads = n.int("num_heads", 0);
    let dtype = i.ty(x).dtype;
    let all = known(dims(i, w).get(1).ok_or("its weights are no matrix")?, "the weights' width")?;
    let widths: Vec<usize> = match n.ints("qkv_hidden_sizes") {
        Some(l) => l.iter().map(|&v| usize::try_from(v).unwrap_or(0)).collect(),
        None => vec![all / 3; 3],
    };
    let &[wq, wk, wv] = widths.as_slice() else { return Err("qkv_hidden_sizes are not three".into()) };
    if wq.checked_add(wk).and_then(|s| s.checked_add(wv)) != Some(all) {
        return Err(format!("qkv_hidden_sizes {widths:?} are not the {all} columns of its weights"));
    }
    let mut y = conv::product(i, x, w, label)?;
    if let Some(bias) = optional(i, n, 2)? {
        y = binary(i, Binary::Add, y, bias, label)?;
    }
    let mut parts = [y; 3];
    for (p, (start, width)) in parts.iter_mut().zip([(0, wq), (wq, wk), (wq + wk, wv)]) {
        let v = part(i, y, 2, start, width, label)?;
        *p = split_heads(i, v, heads, label)?;
    }
    let [q, mut k, mut v] = parts;
    let past = optional(i, n, 4)?;
    if let Some(past) = past {
        let d = dims(i, past);
        if d.len() != 5 {
            return Err(format!("its past is {}, expected [2, batch, heads, length, size]", i.ty(past)));
        }
        for (at, x) in [(0, &mut k), (1, &mut v)] {
            let before = part(i, past, 0, at, 1, label)?;
            let before = reshape(i, before, &d[1..], label)?;
            *x = i.add(Op::Concat(Concat { axis: 2 }), &[before, *x], label)?;
        }
    }
    let (qd, kd) = (dims(i, q), dims(i, k));
    let filter = n.float("mask_filter_value", -10_000.0);
    let mask = match optional(i, n, 3)? {
        Some(m) => Some(key_mask(i, m, (&qd[0], &kd[2]), dtype, filter, label)?),
        None => None,
    };
    let bias = optional(i, n, 5)?;
    let mask = sum(i, mask, bias, label)?;
    let causal = causal(i, n, past, 3)?;
    let op = Attention { causal, ..Attention::new(scale(i, n, q)?) };
    let mut out = vec![Val::Tensor(attend(i, op, [q, k, v], mask, label)?)];
    if wanted(n, 1) {
        let mut whole = kd;
        whole.insert(0, Dim::from(1));
        let [k, v] = [reshape(i, k, &whole, label)?, reshape(i, v, &whole, label)?];
        out.push(Val::Tensor(i.add(Op::Concat(Concat { axis: 0 }), &[k, v], label)?));
    }
    Ok(out)
}

/// `[B, L, heads, parts, D]` apart: each `[B, heads, L, D]`.
fn unpacked(i: &mut Import<'_>, x: ValueId, parts: usize, label: &str) -> Result<Vec<ValueId>, String> {
    let d = dims(i, x);
    if d[3].as_usize() != Some(parts) {
        return Err(format!("{} does not hold {parts} parts", i.ty(x)));
    }
    let one = |at: usize| {
        let v = part(i, x, 3, at, 1, label)?;
        let v = reshape(i, v, &[d[0].clone(), d[1].clone(), d[2].clone(), d[4].clone()], label)?;
        i.add(Op::Transpose(Transpose { perm: vec![0, 2, 1, 3] }), &[v], label)
    };
    (0..parts).map(one).collect()
}

/// Queries, keys and values, apart or packed, with a bias of their projections, a past, masks.
fn multi_head(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let label = n.label;
    if n.given(8) || n.given(9) {
        return Err("a past that shares its buffer, or belongs to beams, is not supported".into());
    }
    if wanted(n, 3) {
        return Err("its output of scores is not supported".into());
    }
    let heads = n.int("num_heads", 0);
    let query = n.tensor(0, i)?;
    let dtype = i.ty(query).dtype;
    let (key, value, bias) = (optional(i, n, 1)?, optional(i, n, 2)?, optional(i, n, 3)?);
    let rank = |i: &Import<'_>, v: ValueId| i.ty(v).rank();
    let [mut q, mut k, mut v] = match (key, value) {
        (None, None) if rank(i, query) == 5 => {
            let list = unpacked(i, query, 3, label)?;
            [list[0], list[1], list[2]]
        }
        (Some(key), None) if rank(i, key) == 5 => {
            let list = unpacked(i, key, 2, label)?;
            [split_heads(i, query, heads, label)?, list[0], list[1]]
        }
        (Some(key), Some(value)) => {
            let mut apart = |v: ValueId| match i.ty(v).rank() {
                3 => split_heads(i, v, heads, label),
                4 => Ok(v),
                _ => Err(format!("found {}, expected rank 3 or 4", i.ty(v))),
            };
            [apart(query)?, apart(key)?, apart(value)?]
        }
        _ => return Err("its queries, keys and values are packed in a way that is not supported".into()),
    };
    if let Some(bias) = bias {
        let mut start = 0;
        for x in [&mut q, &mut k, &mut v] {
            let d = dims(i, *x);
            let (heads, size) = (known(&d[1], "the number of heads")?, known(&d[3], "the size of a head")?);
            let b = part(i, bias, 0, start, heads * size, label)?;
            let b = reshape(i, b, &[Dim::from(1), Dim::from(heads), Dim::from(1), Dim::from(size)], label)?;
            *x = binary(i, Binary::Add, *x, b, label)?;
            start += heads * size;
        }
    }
    let past = optional(i, n, 6)?;
    for (at, x) in [(6, &mut k), (7, &mut v)] {
        if let Some(before) = optional(i, n, at)? {
            *x = i.add(Op::Concat(Concat { axis: 2 }), &[before, *x], label)?;
        }
    }
    let (qd, kd) = (dims(i, q), dims(i, k));
    let filter = n.float("mask_filter_value", -10_000.0);
    let mask = match optional(i, n, 4)? {
        Some(m) => Some(key_mask(i, m, (&qd[0], &kd[2]), dtype, filter, label)?),
        None => None,
    };
    let bias = optional(i, n, 5)?;
    let mask = sum(i, mask, bias, label)?;
    let causal = causal(i, n, past, 2)?;
    let op = Attention { causal, ..Attention::new(scale(i, n, q)?) };
    let y = attend(i, op, [q, k, v], mask, label)?;
    Ok([y, k, v].map(Val::Tensor).to_vec())
}

/// Heads turned by the angles of their positions: `[B, S, heads·D]` or `[B, heads, S, D]`.
fn rotary(i: &mut Import<'_>, n: &Node<'_>, x: ValueId) -> Made {
    let label = n.label;
    if n.int("is_packed_batching", 0) != 0 {
        return Err("packed batches are not supported".into());
    }
    if n.float("scale", 1.0) != 1.0 {
        return Err("a scale of the angles is not supported".into());
    }
    let (positions, cos, sin) = (n.tensor(1, i)?, n.tensor(2, i)?, n.tensor(3, i)?);
    let half = known(dims(i, cos).get(1).ok_or("its angles are no matrix")?, "the angles' width")?;
    let given = dims(i, x);
    let turned = usize::try_from(n.int("rotary_embedding_dim", 0)).map_err(|_| "rotary_embedding_dim < 0")?;
    let value = match given.as_slice() {
        [_, _, _, _] => x,
        [_, _, all] => {
            let all = known(all, "the hidden size")?;
            // Without a number of heads their size is that of the angles.
            let heads = match n.int("num_heads", 0) {
                0 if half > 0 => (all / (2 * half)) as i64,
                heads => heads,
            };
            split_heads(i, x, heads, label)?
        }
        _ => return Err(format!("found {}, expected rank 3 or 4", i.ty(x))),
    };
    let length = known(&dims(i, value)[2], "the length")?;
    let positions = match dims(i, positions).len() {
        // The position of the first.
        0 | 1 => {
            let mut c = Compose { import: i, name: label };
            let places = c.counted(&[1, length])?;
            let first = c.reshape(positions, &[1, 1])?;
            c.binary(Binary::Add, places, first)?
        }
        _ => positions,
    };
    let angles = angles(i, (cos, sin), positions, label)?;
    let y = turn(i, value, angles, turned, n.int("interleaved", 0) != 0, label)?;
    if given.len() == 3 { join_heads(i, y, label) } else { Ok(y) }
}

/// Cosines and sines `[B, 1, S, half]` of positions `[B, S]`.
pub(super) fn angles(
    i: &mut Import<'_>,
    tables: (ValueId, ValueId),
    positions: ValueId,
    label: &str,
) -> Result<(ValueId, ValueId), String> {
    let mut one = |table: ValueId| {
        let v = i.add(Op::Gather(Gather { axis: 0 }), &[table, positions], label)?;
        let mut d = dims(i, v);
        if d.len() != 3 {
            return Err(format!("its angles are {}, expected [batch, length, half]", i.ty(v)));
        }
        d.insert(1, Dim::from(1));
        reshape(i, v, &d, label)
    };
    Ok((one(tables.0)?, one(tables.1)?))
}
