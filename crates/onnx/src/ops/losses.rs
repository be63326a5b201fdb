//! Losses of classification.

use tactician_ir::{Binary, DType, Op, ReduceKind, Softmax, Unary, ValueId};

use super::Importer;
use super::compose::Compose;
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("NegativeLogLikelihoodLoss", |i, n| {
        let x = n.tensor(0, i)?;
        Ok(vec![Val::Tensor(loss(i, n, x)?)])
    }),
    ("SoftmaxCrossEntropyLoss", |i, n| {
        let x = n.tensor(0, i)?;
        if i.ty(x).rank() < 2 {
            return Err(format!("its scores are {}, expected [N, C, …]", i.ty(x)));
        }
        let log = i.add(Op::Softmax(Softmax { axis: 1, log: true }), &[x], n.label)?;
        Ok(vec![Val::Tensor(loss(i, n, log)?), Val::Tensor(log)])
    }),
];

/// `−weight[t]·x[n, t, …]` of the targets `t`, reduced as asked; ignored targets count nothing. Operands of the node:
/// `x [N, C, …]`, targets `[N, …]`, weights `[C]`.
fn loss(i: &mut Import<'_>, n: &Node<'_>, x: ValueId) -> Result<ValueId, String> {
    let target = n.tensor(1, i)?;
    let weights = if n.given(2) { Some(n.tensor(2, i)?) } else { None };
    let reduction = n.text("reduction", "mean")?;
    let mut c = Compose { import: i, name: n.label };
    let (xs, ts) = (c.sizes(x)?, c.sizes(target)?);
    if xs.len() < 2 || ts.len() + 1 != xs.len() || ts[0] != xs[0] || ts[1..] != xs[2..] {
        return Err(format!("targets {} do not fit {}", c.ty(target), c.ty(x)));
    }
    let dtype = c.dtype(x);
    let target = c.cast(target, DType::I64)?;
    let ignore = n.has("ignore_index").then(|| n.int("ignore_index", 0));
    let (mut at, mut counts) = (target, None);
    if let Some(ignore) = ignore {
        let ignore = c.ints(&[], &[ignore])?;
        let skip = c.binary(Binary::Eq, target, ignore)?;
        let zero = c.ints(&[], &[0])?;
        at = c.select(skip, zero, target)?;
        let keep = c.unary(Unary::Not, skip)?;
        counts = Some(c.cast(keep, dtype)?);
    }
    let mut wide = xs.clone();
    wide[1] = 1;
    let places = c.reshape(at, &wide)?;
    let picked = c.gather_elements(x, places, 1)?;
    let picked = c.reshape(picked, &ts)?;
    let mut value = c.unary(Unary::Neg, picked)?;
    if let Some(w) = weights {
        if c.sizes(w)? != [xs[1]] {
            return Err(format!("weights {} for {} classes", c.ty(w), xs[1]));
        }
        let w = c.gather(w, at, 0)?;
        counts = Some(match counts {
            Some(k) => c.binary(Binary::Mul, k, w)?,
            None => w,
        });
    }
    if let Some(k) = counts {
        value = c.binary(Binary::Mul, value, k)?;
    }
    let all: Vec<usize> = (0..ts.len()).collect();
    match (reduction.as_str(), counts) {
        ("none", _) => Ok(value),
        ("sum", _) => c.reduce(ReduceKind::Sum, value, &all, false),
        ("mean", None) => c.reduce(ReduceKind::Mean, value, &all, false),
        ("mean", Some(k)) => {
            let (sum, total) =
                (c.reduce(ReduceKind::Sum, value, &all, false)?, c.reduce(ReduceKind::Sum, k, &all, false)?);
            c.binary(Binary::Div, sum, total)
        }
        (other, _) => Err(format!("reduction `{other}` is unknown")),
    }
}
