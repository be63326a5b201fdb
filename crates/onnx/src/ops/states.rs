//! Layers that carry a state along a sequence: linear attention, and causal convolutions.

use tactician_ir::{Binary, Conv, DType, Op, Unary, ValueId};

use super::Importer;
use super::compose::{Compose, Made};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] =
    &[("LinearAttention", linear_attention), ("CausalConvWithState", causal_convolution)];

/// Operations of one step.
const STEP: usize = 24;

/// What a step makes of the state.
struct Rule {
    /// Whether the state decays.
    gated: bool,
    /// Whether the value that the state holds for the key already is taken off.
    delta: bool,
}

/// `[B, T, heads·D]` as `[B, heads, T, D]`.
fn heads(c: &mut Compose<'_, '_>, v: ValueId, count: usize) -> Made {
    let sizes = c.sizes(v)?;
    let &[batch, length, all] = sizes.as_slice() else {
        return Err(format!("found {}, expected [batch, length, size]", c.ty(v)));
    };
    if count == 0 || !all.is_multiple_of(count) {
        return Err(format!("{all} elements do not divide into {count} heads"));
    }
    let v = c.cast(v, DType::F32)?;
    let v = c.reshape(v, &[batch, length, count, all / count])?;
    c.transpose(v, vec![0, 2, 1, 3])
}

/// Unrolled over the sequence: `S = decay·S + k ⊗ (beta·(v − Sᵀk))`, `o = scale·Sᵀq`, in `f32`.
fn linear_attention(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let rule = match n.text("update_rule", "gated_delta")?.as_str() {
        "linear" => Rule { gated: false, delta: false },
        "gated" => Rule { gated: true, delta: false },
        "delta" => Rule { gated: false, delta: true },
        "gated_delta" => Rule { gated: true, delta: true },
        other => return Err(format!("update_rule `{other}` is unknown")),
    };
    let count = |name: &str| {
        let v = n.int(name, 0);
        usize::try_from(v).ok().filter(|&v| v > 0).ok_or(format!("attribute `{name}` is {v}"))
    };
    let (query_heads, key_heads) = (count("q_num_heads")?, count("kv_num_heads")?);
    if !query_heads.is_multiple_of(key_heads) {
        return Err(format!("{query_heads} heads of queries do not divide among {key_heads} of keys"));
    }
    let [q, k, v] = [n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?];
    let past = if n.given(3) { Some(n.tensor(3, i)?) } else { None };
    let decay = if rule.gated { Some(n.tensor(4, i)?) } else { None };
    let beta = if rule.delta { Some(n.tensor(5, i)?) } else { None };
    let label = n.label;
    let dtype = i.ty(q).dtype;
    let state_type = past.map_or(dtype, |p| i.ty(p).dtype);
    let mut c = Compose { import: i, name: label };
    let (q, k, v) =
        (heads(&mut c, q, query_heads)?, heads(&mut c, k, key_heads)?, heads(&mut c, v, key_heads)?);
    let (qs, ks, vs) = (c.sizes(q)?, c.sizes(k)?, c.sizes(v)?);
    let (batch, length, size, width) = (qs[0], qs[2], qs[3], vs[3]);
    if ks != [batch, key_heads, length, size] || vs[..3] != [batch, key_heads, length] {
        return Err(format!("its queries, keys and values are {qs:?}, {ks:?} and {vs:?}"));
    }
    let scale = match n.float("scale", 0.0) {
        0.0 => 1.0 / (size as f64).sqrt(),
        s => f64::from(s),
    };
    let decay = decay.map(|g| heads(&mut c, g, key_heads)).transpose()?;
    let beta = match beta {
        Some(b) => {
            let of = if c.sizes(b)?.last() == Some(&1) { 1 } else { key_heads };
            Some(heads(&mut c, b, of)?)
        }
        None => None,
    };
    let decay = decay.map(|g| c.unary(Unary::Exp, g)).transpose()?;
    let mut state = match past {
        Some(p) if c.sizes(p)? == [batch, key_heads, size, width] => c.cast(p, DType::F32)?,
        Some(p) => return Err(format!("its past state {} does not fit its keys and values", c.ty(p))),
        None => {
            let zero = c.numbers(DType::F32, &[], &[0.0])?;
            c.expand(zero, &[batch, key_heads, size, width])?
        }
    };
    let steps = length.checked_mul(STEP).ok_or("it is too long")?;
    let mut outputs = Vec::new();
    i.inside(steps, |i| {
        let mut c = Compose { import: i, name: label };
        for t in 0..length {
            let [q, k, v] = [c.slice(q, 2, t, 1)?, c.slice(k, 2, t, 1)?, c.slice(v, 2, t, 1)?];
            let column = c.transpose(k, vec![0, 1, 3, 2])?;
            if let Some(g) = decay {
                let g = c.slice(g, 2, t, 1)?;
                let g = c.transpose(g, vec![0, 1, 3, 2])?;
                state = c.binary(Binary::Mul, state, g)?;
            }
            let mut new = v;
            if let Some(b) = beta {
                let held = c.matmul(k, state)?;
                new = c.binary(Binary::Sub, v, held)?;
                let b = c.slice(b, 2, t, 1)?;
                new = c.binary(Binary::Mul, new, b)?;
            }
            let update = c.binary(Binary::Mul, column, new)?;
            state = c.binary(Binary::Add, state, update)?;
            // Queries of one head of keys lie side by side.
            let group = c.reshape(q, &[batch, key_heads, query_heads / key_heads, size])?;
            let o = c.matmul(group, state)?;
            outputs.push(c.reshape(o, &[batch, 1, query_heads * width])?);
        }
        Ok(())
    })?;
    let mut c = Compose { import: i, name: label };
    let y = match outputs.as_slice() {
        [] => {
            let zero = c.numbers(dtype, &[], &[0.0])?;
            c.expand(zero, &[batch, 0, query_heads * width])?
        }
        _ => {
            let y = c.concat(1, &outputs)?;
            let y = c.with(Binary::Mul, y, scale)?;
            c.cast(y, dtype)?
        }
    };
    Ok([y, c.cast(state, state_type)?].map(Val::Tensor).to_vec())
}

/// Each channel's own window over its past and present; the last `k − 1` places are the state.
fn causal_convolution(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, w) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let bias = if n.given(2) { Some(n.tensor(2, i)?) } else { None };
    let past = if n.given(3) { Some(n.tensor(3, i)?) } else { None };
    let act = n.text("activation", "none")?;
    let mut c = Compose { import: i, name: n.label };
    let (xs, ws, dtype) = (c.sizes(x)?, c.sizes(w)?, c.dtype(x));
    let (&[batch, channels, length], &[rows, 1, window]) = (xs.as_slice(), ws.as_slice()) else {
        return Err(format!("found {} and {}, expected [B, C, L] and [C, 1, k]", c.ty(x), c.ty(w)));
    };
    if rows != channels || window == 0 {
        return Err(format!("windows {} for {}", c.ty(w), c.ty(x)));
    }
    let keep = window - 1;
    let past = match past {
        Some(p) if c.sizes(p)? == [batch, channels, keep] => p,
        Some(p) => {
            return Err(format!("its past state is {}, expected [{batch},{channels},{keep}]", c.ty(p)));
        }
        None => {
            let zero = c.numbers(dtype, &[], &[0.0])?;
            c.expand(zero, &[batch, channels, keep])?
        }
    };
    let all = if keep == 0 { x } else { c.concat(2, &[past, x])? };
    let operands: Vec<ValueId> = [all, w].into_iter().chain(bias).collect();
    let mut y = c.op(Op::Conv(Conv { groups: channels.max(1), ..Conv::unit(1) }), &operands)?;
    y = match act.as_str() {
        "none" => y,
        "silu" | "swish" => {
            let s = c.unary(Unary::Sigmoid, y)?;
            c.binary(Binary::Mul, y, s)?
        }
        other => return Err(format!("activation `{other}` is unknown")),
    };
    Ok([y, c.slice(all, 2, length, keep)?].map(Val::Tensor).to_vec())
}
