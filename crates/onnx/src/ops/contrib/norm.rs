//! Normalisations of sums, of channels last, and of embeddings.

use tactician_ir::{Binary, DType, GroupNorm, LayerNorm, Op, ReduceKind, RmsNorm, Unary, ValueId};

use super::super::compose::{Compose, Made};
use super::super::{Importer, conv};
use super::{fused, optional, wanted};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("SimplifiedLayerNormalization", simplified),
    ("com.microsoft.SimplifiedLayerNormalization", simplified),
    ("com.microsoft.SkipLayerNormalization", |i, n| skip(i, n, true)),
    ("com.microsoft.SkipSimplifiedLayerNormalization", |i, n| skip(i, n, false)),
    ("com.microsoft.EmbedLayerNormalization", embed),
    ("com.microsoft.GroupNorm", |i, n| group(i, n, false)),
    ("com.microsoft.SkipGroupNorm", |i, n| group(i, n, true)),
];

/// One over the root of the mean square, as training wants it.
fn inverse_root(c: &mut Compose<'_, '_>, x: ValueId, axis: usize, epsilon: f32) -> Made {
    let to = if c.dtype(x) == DType::F64 { DType::F64 } else { DType::F32 };
    let x = c.cast(x, to)?;
    let square = c.binary(Binary::Mul, x, x)?;
    let axes: Vec<usize> = (axis..c.ty(x).rank()).collect();
    let mean = c.reduce(ReduceKind::Mean, square, &axes, true)?;
    let mean = c.with(Binary::Add, mean, f64::from(epsilon))?;
    let root = c.unary(Unary::Sqrt, mean)?;
    c.unary(Unary::Reciprocal, root)
}

fn simplified(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (mut x, scale) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let mut c = Compose { import: i, name: n.label };
    let axis = n.axis(n.int("axis", -1), c.ty(x).rank())?;
    let epsilon = n.float("epsilon", 1e-5);
    let inverse = match wanted(n, 1) {
        true => Some(inverse_root(&mut c, x, axis, epsilon)?),
        false => None,
    };
    // The result has the type of the scale.
    let (from, to) = (c.dtype(x), c.dtype(scale));
    let mut scale = scale;
    if from != to {
        let wide = if from == DType::F64 || to == DType::F64 { DType::F64 } else { DType::F32 };
        (x, scale) = (c.cast(x, wide)?, c.cast(scale, wide)?);
    }
    let y = c.op(Op::RmsNorm(RmsNorm { axis, epsilon }), &[x, scale])?;
    let y = c.cast(y, to)?;
    Ok([y].into_iter().chain(inverse).map(Val::Tensor).collect())
}

/// The norm of `input + skip + bias`; the last output is that sum.
fn skip(i: &mut Import<'_>, n: &Node<'_>, centred: bool) -> Result<Vec<Val>, String> {
    if wanted(n, 1) || wanted(n, 2) {
        return Err("its outputs for training (mean and inverse deviation) are not supported".into());
    }
    let (x, skip, gamma) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let beta = if centred { optional(i, n, 3)? } else { None };
    let bias = optional(i, n, if centred { 4 } else { 3 })?;
    let epsilon = n.float("epsilon", 1e-12);
    let mut c = Compose { import: i, name: n.label };
    let mut sum = c.binary(Binary::Add, x, skip)?;
    if let Some(bias) = bias {
        sum = c.binary(Binary::Add, sum, bias)?;
    }
    let axis = c.ty(sum).rank().checked_sub(1).ok_or("its operand is a scalar")?;
    let operands: Vec<ValueId> = [sum, gamma].into_iter().chain(beta).collect();
    let op = match centred {
        true => Op::LayerNorm(LayerNorm { axis, epsilon }),
        false => Op::RmsNorm(RmsNorm { axis, epsilon }),
    };
    let y = c.op(op, &operands)?;
    // Outputs 1 and 2 are those for training, which nothing reads.
    Ok(vec![Val::Tensor(y), Val::Nothing, Val::Nothing, Val::Tensor(sum)])
}

/// The norm of the sum of embeddings of words, positions and segments.
fn embed(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let ids = n.tensor(0, i)?;
    let (segments, words, places) = (optional(i, n, 1)?, n.tensor(2, i)?, n.tensor(3, i)?);
    let (segment_table, gamma, beta) = (optional(i, n, 4)?, n.tensor(5, i)?, n.tensor(6, i)?);
    let (mask, positions) = (optional(i, n, 7)?, optional(i, n, 8)?);
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(ids)?;
    let [batch, length] = sizes[..] else {
        return Err(format!("its words are {}, expected rank 2", c.ty(ids)));
    };
    let mut sum = c.gather(words, ids, 0)?;
    let place = match positions {
        Some(p) => c.gather(places, p, 0)?,
        None => c.slice(places, 0, 0, length)?,
    };
    sum = c.binary(Binary::Add, sum, place)?;
    match (segments, segment_table) {
        (Some(s), Some(table)) => {
            let s = c.gather(table, s, 0)?;
            sum = c.binary(Binary::Add, sum, s)?;
        }
        (None, None) => {}
        _ => return Err("segments and their embeddings must be given together".into()),
    }
    let y =
        c.op(Op::LayerNorm(LayerNorm { axis: 2, epsilon: n.float("epsilon", 1e-12) }), &[sum, gamma, beta])?;
    let counts = match mask {
        Some(m) => {
            let there = c.with(Binary::Eq, m, 1.0)?;
            let there = c.cast(there, DType::I32)?;
            c.reduce(ReduceKind::Sum, there, &[1], false)?
        }
        None => c.numbers(DType::I32, &[batch], &vec![0.0; batch])?,
    };
    Ok([y, counts, sum].map(Val::Tensor).to_vec())
}

/// Groups of channels, perhaps of a sum, and SiLU behind them if asked for.
fn group(i: &mut Import<'_>, n: &Node<'_>, skips: bool) -> Result<Vec<Val>, String> {
    let last = n.int("channels_last", 1) != 0;
    let (mut x, gamma, beta) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let dtype = i.ty(x).dtype;
    let rank = i.ty(x).rank();
    if rank < 3 {
        return Err(format!("{} has no places beside its channels", i.ty(x)));
    }
    let channels = |c: &mut Compose<'_, '_>, v: ValueId, batch: usize, count: usize| {
        let mut to = vec![1; rank];
        (to[0], to[if last { rank - 1 } else { 1 }]) = (batch, count);
        c.reshape(v, &to)
    };
    let mut sum = None;
    if skips {
        let (skip, bias) = (n.tensor(3, i)?, optional(i, n, 4)?);
        let mut c = Compose { import: i, name: n.label };
        let skip = match c.sizes(skip)?[..] {
            [batch, count] => channels(&mut c, skip, batch, count)?,
            _ => skip,
        };
        x = c.binary(Binary::Add, x, skip)?;
        if let Some(bias) = bias {
            let count = c.sizes(bias)?.iter().product();
            let bias = channels(&mut c, bias, 1, count)?;
            x = c.binary(Binary::Add, x, bias)?;
        }
        sum = Some(x);
    }
    if last {
        x = fused::channels_first(i, x, n.label)?;
    }
    let groups = usize::try_from(n.int("groups", 0)).ok().filter(|&g| g > 0);
    let groups = groups.ok_or("its number of groups must be positive")?;
    let mut c = Compose { import: i, name: n.label };
    let (gamma, beta) = (c.cast(gamma, dtype)?, c.cast(beta, dtype)?);
    let op = GroupNorm { groups, epsilon: n.float("epsilon", 1e-5) };
    let mut y = c.op(Op::GroupNorm(op), &[x, gamma, beta])?;
    y = match n.int("activation", 0) {
        0 => y,
        1 => {
            let s = c.unary(Unary::Sigmoid, y)?;
            c.binary(Binary::Mul, y, s)?
        }
        other => return Err(format!("its activation is {other}, expected 0 or 1")),
    };
    if last {
        y = conv::transpose(i, y, [0].into_iter().chain(2..rank).chain([1]).collect(), n.label)?;
    }
    Ok([y].into_iter().chain(sum).map(Val::Tensor).collect())
}
