//! Sequences and optional values, which exist at import only: what is in them is known, so they leave tensors behind.

use tactician_ir::{Concat, Dim, Op, Reshape, Slice, SliceAxis, Tensor};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Longest sequence.
const MOST: usize = 1 << 16;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("SequenceEmpty", |_, _| Ok(vec![Val::Sequence(vec![])])),
    ("SequenceConstruct", |_, n| {
        let values = n.inputs.iter().flatten().cloned().map(element).collect::<Result<_, _>>()?;
        Ok(vec![Val::Sequence(values)])
    }),
    ("SequenceLength", |i, n| {
        let length = sequence(n)?.len() as i64;
        one(i.constant(n.label, Tensor::scalar(length)))
    }),
    ("SequenceAt", |i, n| {
        let list = sequence(n)?;
        let at = place(i, n, 1, list.len(), 0)?;
        Ok(vec![list[at].clone()])
    }),
    ("SequenceInsert", |i, n| {
        let mut list = sequence(n)?.to_vec();
        let value = element(n.val(1)?.clone())?;
        let at = if n.given(2) { place(i, n, 2, list.len(), 1)? } else { list.len() };
        if list.len() >= MOST {
            return Err(format!("a sequence of more than {MOST} values"));
        }
        list.insert(at, value);
        Ok(vec![Val::Sequence(list)])
    }),
    ("SequenceErase", |i, n| {
        let mut list = sequence(n)?.to_vec();
        let last = list.len().checked_sub(1).ok_or("it takes a value from an empty sequence")?;
        let at = if n.given(1) { place(i, n, 1, list.len(), 0)? } else { last };
        list.remove(at);
        Ok(vec![Val::Sequence(list)])
    }),
    ("SplitToSequence", split),
    ("ConcatFromSequence", concat),
    ("Optional", |_, n| Ok(vec![if n.given(0) { n.val(0)?.clone() } else { Val::Nothing }])),
    ("OptionalHasElement", |i, n| {
        let there = n.given(0) && !matches!(n.val(0)?, Val::Nothing);
        one(i.constant(n.label, Tensor::bools(&[], &[there]).map_err(|e| e.to_string())?))
    }),
    ("OptionalGetElement", |_, n| match n.val(0)? {
        Val::Nothing => Err("the optional value that it takes is not there".into()),
        v => Ok(vec![v.clone()]),
    }),
];

/// A value as an element: sequences hold tensors, so that they cannot double at every node.
fn element(v: Val) -> Result<Val, String> {
    if matches!(v, Val::Sequence(_)) { Err("a sequence inside a sequence".into()) } else { Ok(v) }
}

fn sequence<'a>(n: &'a Node<'_>) -> Result<&'a [Val], String> {
    match n.val(0)? {
        Val::Sequence(list) => Ok(list),
        _ => Err("operand 0 is no sequence".into()),
    }
}

/// Operand `k` as a place in a sequence, counted from the end where negative; `more` places behind it are allowed too.
fn place(i: &Import<'_>, n: &Node<'_>, k: usize, len: usize, more: i64) -> Result<usize, String> {
    let at = n.known_ints(k, i)?.and_then(|l| l.first().copied()).ok_or("its position is missing")?;
    let len = len as i64;
    let from_start = if at < 0 { at.saturating_add(len) } else { at };
    if !(0..len + more).contains(&from_start) {
        return Err(format!("position {at} of a sequence of {len}"));
    }
    Ok(from_start as usize)
}

fn split(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let axis = n.axis(n.int("axis", 0), shape.rank())?;
    let size = shape.dims()[axis].as_i64();
    let size = size.ok_or_else(|| format!("axis {axis} is open; give the input shapes (--shape)"))?;
    let single = n.given(1) && {
        let v = n.tensor(1, i)?;
        i.ty(v).rank() == 0
    };
    let keep = n.given(1) || n.int("keepdims", 1) != 0;
    let lengths = match n.known_ints(1, i)? {
        None => vec![1; usize::try_from(size).unwrap_or(0).min(MOST + 1)],
        Some(l) if !single => l,
        Some(l) => {
            let each = l.first().copied().filter(|&e| e > 0).ok_or("parts of no elements")?;
            let whole = (size / each).min(MOST as i64 + 1) as usize;
            let rest = size % each;
            std::iter::repeat_n(each, whole).chain((rest > 0).then_some(rest)).collect()
        }
    };
    if lengths.len() > MOST {
        return Err(format!("a sequence of more than {MOST} values"));
    }
    let mut sum = 0i64;
    let mut parts = Vec::with_capacity(lengths.len());
    for len in lengths {
        let end = sum.checked_add(len).filter(|&e| len >= 0 && e <= size);
        let end = end.ok_or_else(|| format!("its parts do not fit the {size} elements of axis {axis}"))?;
        let axes = vec![SliceAxis { axis, start: Dim::known(sum), len: Dim::known(len), step: 1 }];
        let mut part = i.add(Op::Slice(Slice { axes }), &[x], n.label)?;
        if !keep {
            let mut shape = shape.clone();
            shape.0.remove(axis);
            part = i.add(Op::Reshape(Reshape { shape }), &[part], n.label)?;
        }
        parts.push(Val::Tensor(part));
        sum = end;
    }
    if sum != size {
        return Err(format!("its parts have {sum} of the {size} elements of axis {axis}"));
    }
    Ok(vec![Val::Sequence(parts)])
}

fn concat(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = sequence(n)?.to_vec();
    let mut parts = list.iter().map(|v| i.tensor(v, n.label)).collect::<Result<Vec<_>, _>>()?;
    let rank = i.ty(*parts.first().ok_or("it joins an empty sequence")?).rank();
    let new = n.int("new_axis", 0) != 0;
    let axis = n.axis(n.int("axis", 0), rank + usize::from(new))?;
    if new {
        for part in &mut parts {
            let mut shape = i.ty(*part).shape;
            if shape.rank() < axis {
                return Err(format!("it joins {shape} along axis {axis}"));
            }
            shape.0.insert(axis, Dim::known(1));
            *part = i.add(Op::Reshape(Reshape { shape }), &[*part], n.label)?;
        }
    }
    one(i.add(Op::Concat(Concat { axis }), &parts, n.label)?)
}
