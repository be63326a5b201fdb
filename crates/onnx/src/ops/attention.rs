//! Attention and rotary embeddings.

use tactician_ir::{
    Attention, Binary, Concat, DType, Dim, Expand, Expr, ExprNode, Gather, MatMul, Op, Pad, PadMode, Reshape,
    Scalar, Shape, Slice, SliceAxis, Softmax, Tensor, Transpose, Unary, ValueId,
};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest causal mask that is made as a constant, for the output of scores: 16 Mi elements.
const MOST: usize = 1 << 24;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("Attention", attention), ("RotaryEmbedding", rotary)];

pub(super) fn reshape(i: &mut Import<'_>, x: ValueId, dims: &[Dim], label: &str) -> Result<ValueId, String> {
    let shape: Shape = dims.iter().cloned().collect();
    i.add(Op::Reshape(Reshape { shape }), &[x], label)
}

pub(super) fn dims(i: &Import<'_>, x: ValueId) -> Vec<Dim> {
    i.ty(x).shape.dims().to_vec()
}

pub(super) fn known(d: &Dim, what: &str) -> Result<usize, String> {
    d.as_usize().ok_or_else(|| format!("{what} is {d}; give the input shapes (--shape NAME=1x128x768)"))
}

pub(super) fn binary(
    i: &mut Import<'_>,
    op: Binary,
    a: ValueId,
    b: ValueId,
    label: &str,
) -> Result<ValueId, String> {
    i.add(Op::Pointwise(Expr::binary(op)), &[a, b], label)
}

/// `x` and a constant.
pub(super) fn with_constant(
    i: &mut Import<'_>,
    op: Binary,
    x: ValueId,
    c: f64,
    label: &str,
) -> Result<ValueId, String> {
    let mut e = Expr::identity();
    let c = e.push(ExprNode::Const(Scalar::of(i.ty(x).dtype, c)));
    e.push(ExprNode::Binary(op, 0, c));
    i.add(Op::Pointwise(e), &[x], label)
}

/// `[B, S, heads·D]` as `[B, heads, S, D]`.
pub(super) fn split_heads(
    i: &mut Import<'_>,
    x: ValueId,
    heads: i64,
    label: &str,
) -> Result<ValueId, String> {
    let d = dims(i, x);
    let [b, s, all] = d.as_slice() else { return Err(format!("found {}, expected rank 3", i.ty(x))) };
    let all = known(all, "the hidden size")?;
    let heads = usize::try_from(heads).ok().filter(|&h| h > 0 && all.is_multiple_of(h));
    let heads = heads.ok_or_else(|| format!("a hidden size of {all} does not divide into the heads"))?;
    let parts = [b.clone(), s.clone(), Dim::from(heads), Dim::from(all / heads)];
    let x = reshape(i, x, &parts, label)?;
    i.add(Op::Transpose(Transpose { perm: vec![0, 2, 1, 3] }), &[x], label)
}

/// Zero where `b` holds, else minus infinity.
pub(super) fn zero_or_never(
    i: &mut Import<'_>,
    b: ValueId,
    dtype: DType,
    label: &str,
) -> Result<ValueId, String> {
    let mut e = Expr::identity();
    let zero = e.push(ExprNode::Const(Scalar::of(dtype, 0.0)));
    let never = e.push(ExprNode::Const(Scalar::of(dtype, f64::NEG_INFINITY)));
    e.push(ExprNode::Select(0, zero, never));
    i.add(Op::Pointwise(e), &[b], label)
}

fn attention(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let label = n.label;
    let [mut q, mut k, mut v] = [n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?];
    let dtype = i.ty(q).dtype;
    let flat = i.ty(q).rank() == 3;
    if flat {
        let (heads, key_heads) = (n.int("q_num_heads", 0), n.int("kv_num_heads", 0));
        q = split_heads(i, q, heads, label)?;
        k = split_heads(i, k, key_heads, label)?;
        v = split_heads(i, v, key_heads, label)?;
    }
    if [q, k, v].iter().any(|&x| i.ty(x).rank() != 4) {
        return Err(format!("found {}, {} and {}, expected rank 3 or 4", i.ty(q), i.ty(k), i.ty(v)));
    }
    let mut past = 0;
    for (at, x) in [(4, &mut k), (5, &mut v)] {
        if n.given(at) {
            let before = n.tensor(at, i)?;
            if n.int("is_causal", 0) != 0 {
                past = known(dims(i, before).get(2).ok_or("a past of rank 4 is needed")?, "the past length")?;
            }
            *x = i.add(Op::Concat(Concat { axis: 2 }), &[before, *x], label)?;
        }
    }
    let (qd, kd) = (dims(i, q), dims(i, k));
    let mask = mask(i, n, dtype, &kd[2])?;
    let size = known(&qd[3], "the size of a head")?;
    let scale = if n.has("scale") { n.float("scale", 1.0) } else { (1.0 / (size as f64).sqrt()) as f32 };
    let softcap = n.float("softcap", 0.0);
    let causal = (n.int("is_causal", 0) != 0).then_some(past as i64);
    let op = Attention { causal, softcap, ..Attention::new(scale) };
    let mut inputs = vec![q, k, v];
    inputs.extend(mask);
    let mut y = i.add(Op::Attention(op), &inputs, label)?;
    if flat {
        y = join_heads(i, y, label)?;
    }
    let mut out = vec![Val::Tensor(y), Val::Tensor(k), Val::Tensor(v)];
    if n.proto.output.get(3).is_some_and(|o| !o.is_empty()) {
        out.push(Val::Tensor(scores(i, n, &op, (q, k), mask)?));
    }
    Ok(out)
}

/// Everything that is added to scores, but for what `is_causal` leaves out.
fn mask(i: &mut Import<'_>, n: &Node<'_>, dtype: DType, keys: &Dim) -> Result<Option<ValueId>, String> {
    let label = n.label;
    let mut mask = None;
    if n.given(3) {
        let mut m = n.tensor(3, i)?;
        if i.ty(m).dtype == DType::Bool {
            m = zero_or_never(i, m, dtype, label)?;
        } else if i.ty(m).dtype != dtype {
            let mut e = Expr::identity();
            e.push(ExprNode::Cast(dtype, 0));
            m = i.add(Op::Pointwise(e), &[m], label)?;
        }
        let d = dims(i, m);
        if let (Some(own), Some(all)) = (d.last().and_then(Dim::as_usize), keys.as_usize())
            && own < all
        {
            // Keys beyond the mask are left out.
            let mut pads = vec![(0, 0); d.len()];
            pads[d.len() - 1].1 = all - own;
            let mode = PadMode::Constant(Scalar::of(dtype, f64::NEG_INFINITY));
            m = i.add(Op::Pad(Pad { pads, mode }), &[m], label)?;
        }
        mask = Some(m);
    }
    if n.given(6) {
        let lengths = n.tensor(6, i)?;
        let batches = dims(i, lengths).first().cloned().ok_or("its key lengths have no axis")?;
        let lengths = reshape(i, lengths, &[batches, Dim::from(1), Dim::from(1), Dim::from(1)], label)?;
        let count = known(keys, "the number of keys")?;
        let places = super::compose::Compose { import: i, name: label }.counted(&[count])?;
        let inside = binary(i, Binary::Lt, places, lengths, label)?;
        let padding = zero_or_never(i, inside, dtype, label)?;
        mask = Some(match mask {
            Some(m) => binary(i, Binary::Add, m, padding, label)?,
            None => padding,
        });
    }
    Ok(mask)
}

/// Keys or values `[B, heads, S, D]` of which each head serves several of the `heads` of queries, once for each.
pub(crate) fn repeated_heads(
    i: &mut Import<'_>,
    k: ValueId,
    heads: usize,
    label: &str,
) -> Result<ValueId, String> {
    let d = dims(i, k);
    let [b, h, s, size] = d.as_slice() else { return Err(format!("found {}, expected rank 4", i.ty(k))) };
    let own = known(h, "the number of heads")?;
    if own == heads {
        return Ok(k);
    }
    if own == 0 || !heads.is_multiple_of(own) {
        return Err(format!("{heads} heads of queries do not divide among {own} of keys"));
    }
    let k = reshape(i, k, &[b.clone(), h.clone(), Dim::from(1), s.clone(), size.clone()], label)?;
    let group = Dim::from(heads / own);
    let shape: Shape = [b.clone(), h.clone(), group, s.clone(), size.clone()].into_iter().collect();
    let k = i.add(Op::Expand(Expand { shape }), &[k], label)?;
    reshape(i, k, &[b.clone(), Dim::from(heads), s.clone(), size.clone()], label)
}

/// The scores as `qk_matmul_output_mode` wants them: products, capped, masked, or their softmax.
fn scores(
    i: &mut Import<'_>,
    n: &Node<'_>,
    op: &Attention,
    (q, mut k): (ValueId, ValueId),
    mask: Option<ValueId>,
) -> Result<ValueId, String> {
    let label = n.label;
    let (qd, kd) = (dims(i, q), dims(i, k));
    let heads = known(&qd[1], "the number of heads")?;
    k = repeated_heads(i, k, heads, label)?;
    let mut x = i.add(Op::MatMul(MatMul { trans_a: false, trans_b: true }), &[q, k], label)?;
    x = with_constant(i, Binary::Mul, x, f64::from(op.scale), label)?;
    let mode = n.int("qk_matmul_output_mode", 0);
    if mode == 0 {
        return Ok(x);
    }
    if op.softcap > 0.0 {
        let cap = f64::from(op.softcap);
        x = with_constant(i, Binary::Div, x, cap, label)?;
        x = i.add(Op::Pointwise(Expr::unary(Unary::Tanh)), &[x], label)?;
        x = with_constant(i, Binary::Mul, x, cap, label)?;
    }
    if mode == 1 {
        return Ok(x);
    }
    if let Some(m) = mask {
        x = binary(i, Binary::Add, x, m, label)?;
    }
    if let Some(offset) = op.causal {
        let (rows, columns) = (known(&qd[2], "the number of queries")?, known(&kd[2], "the number of keys")?);
        let count = rows.checked_mul(columns).filter(|&c| c <= MOST);
        let count = count.ok_or_else(|| format!("a causal mask of {rows} by {columns} is too large"))?;
        let seen: Vec<u8> =
            (0..count).map(|at| u8::from((at % columns) as i64 <= (at / columns) as i64 + offset)).collect();
        let seen = Tensor::from_bytes(DType::Bool, &[rows, columns], seen).map_err(|e| e.to_string())?;
        let seen = i.constant(label, seen);
        let dtype = i.ty(x).dtype;
        let causal = zero_or_never(i, seen, dtype, label)?;
        x = binary(i, Binary::Add, x, causal, label)?;
    }
    match mode {
        2 => Ok(x),
        3 => i.add(Op::Softmax(Softmax { axis: 3, log: false }), &[x], label),
        other => Err(format!("its qk_matmul_output_mode is {other}, expected 0 to 3")),
    }
}

/// Pairs of elements of a head turned by the angles of their positions.
fn rotary(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let label = n.label;
    let [x, mut cos, mut sin] = [n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?];
    let given = dims(i, x);
    if n.given(3) {
        let positions = n.tensor(3, i)?;
        cos = i.add(Op::Gather(Gather { axis: 0 }), &[cos, positions], label)?;
        sin = i.add(Op::Gather(Gather { axis: 0 }), &[sin, positions], label)?;
    }
    // `[B, H, S, D]`, or `[B, S, H, D]` where heads lie side by side; angles broadcast over heads.
    let (mut value, heads_axis) = match given.as_slice() {
        [_, _, _, _] => (x, 1),
        [b, s, all] => {
            let all = known(all, "the hidden size")?;
            let heads =
                usize::try_from(n.int("num_heads", 0)).ok().filter(|&h| h > 0 && all.is_multiple_of(h));
            let heads =
                heads.ok_or_else(|| format!("a hidden size of {all} does not divide into num_heads"))?;
            let parts = [b.clone(), s.clone(), Dim::from(heads), Dim::from(all / heads)];
            (reshape(i, x, &parts, label)?, 2)
        }
        _ => return Err(format!("found {}, expected rank 3 or 4", i.ty(x))),
    };
    for angles in [&mut cos, &mut sin] {
        let mut d = dims(i, *angles);
        if d.len() != 3 {
            return Err(format!("its angles are {}, expected [batch, length, half]", i.ty(*angles)));
        }
        d.insert(heads_axis, Dim::from(1));
        *angles = reshape(i, *angles, &d, label)?;
    }
    let turned = usize::try_from(n.int("rotary_embedding_dim", 0)).map_err(|_| "rotary_embedding_dim < 0")?;
    value = turn(i, value, (cos, sin), turned, n.int("interleaved", 0) != 0, label)?;
    one(reshape(i, value, &given, label)?)
}

/// Turns the first `turned` elements (0 stands for all) of heads, the last axis of four, by angles that broadcast against
/// half of them. Pairs lie side by side, or half of the elements apart.
pub(super) fn turn(
    i: &mut Import<'_>,
    value: ValueId,
    (cos, sin): (ValueId, ValueId),
    turned: usize,
    pairs: bool,
    label: &str,
) -> Result<ValueId, String> {
    let whole = dims(i, value);
    let size = known(&whole[3], "the size of a head")?;
    let turned = if turned == 0 { size } else { turned };
    if turned > size {
        return Err(format!("{turned} elements are turned of a head of {size}"));
    }
    if turned % 2 != 0 {
        return Err(format!("{turned} elements do not make pairs"));
    }
    let half = turned / 2;
    let part = |i: &mut Import<'_>, start: usize, len: usize, step: i64| {
        let axis = SliceAxis { axis: 3, start: Dim::from(start), len: Dim::from(len), step };
        i.add(Op::Slice(Slice { axes: vec![axis] }), &[value], label)
    };
    let (a, b) = if pairs {
        (part(i, 0, half, 2)?, part(i, 1, half, 2)?)
    } else {
        (part(i, 0, half, 1)?, part(i, half, half, 1)?)
    };
    let rest = if turned < size { Some(part(i, turned, size - turned, 1)?) } else { None };
    let [ca, sb, sa, cb] =
        [(cos, a), (sin, b), (sin, a), (cos, b)].map(|(t, x)| binary(i, Binary::Mul, x, t, label));
    let mut real = binary(i, Binary::Sub, ca?, sb?, label)?;
    let mut imaginary = binary(i, Binary::Add, sa?, cb?, label)?;
    if pairs {
        let d = [whole[0].clone(), whole[1].clone(), whole[2].clone(), Dim::from(half), Dim::from(1)];
        real = reshape(i, real, &d, label)?;
        imaginary = reshape(i, imaginary, &d, label)?;
    }
    let mut y = i.add(Op::Concat(Concat { axis: if pairs { 4 } else { 3 } }), &[real, imaginary], label)?;
    if pairs {
        let d = [whole[0].clone(), whole[1].clone(), whole[2].clone(), Dim::from(turned)];
        y = reshape(i, y, &d, label)?;
    }
    match rest {
        Some(rest) => i.add(Op::Concat(Concat { axis: 3 }), &[y, rest], label),
        None => Ok(y),
    }
}

/// The result of attention with its heads side by side: `[B, heads, S, D]` as `[B, S, heads·D]`.
pub(super) fn join_heads(i: &mut Import<'_>, y: ValueId, label: &str) -> Result<ValueId, String> {
    let turned = i.add(Op::Transpose(Transpose { perm: vec![0, 2, 1, 3] }), &[y], label)?;
    let d = dims(i, turned);
    reshape(i, turned, &[d[0].clone(), d[1].clone(), d[2].clone() * d[3].clone()], label)
}
