//! Operators whose result has as many elements as their operands' values say. They are computed here, from known values: those
//! of constants, or of a stage of the network that has run (see [`crate::Stage`]).

use std::cmp::Ordering;

use tactician_ir::{DType, Tensor};

use crate::import::{Import, Val};
use crate::node::Node;

use super::Importer;
use super::boxes::{Corners, suppressed};

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("NonZero", non_zero),
    ("Unique", unique),
    ("Compress", compress),
    ("NonMaxSuppression", non_max_suppression),
];

/// Whether an operator is one of these.
pub(crate) fn is_dependent(op: &str) -> bool {
    OPERATORS.iter().any(|(name, _)| *name == op)
}

/// Operand `k` as known values; `None` when it is not given.
fn known(i: &mut Import<'_>, n: &Node<'_>, k: usize) -> Result<Option<Tensor>, String> {
    if !n.given(k) {
        return Ok(None);
    }
    let v = n.tensor(k, i)?;
    match i.graph.constant(v) {
        Some(t) => Ok(Some(t.clone())),
        None => {
            i.want(v);
            Err(format!(
                "the size of its result depends on the values of operand {k}; run the model step by step"
            ))
        }
    }
}

/// All operands, known; each is asked for even where an earlier one is not known.
fn all_known(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Option<Tensor>>, String> {
    let list: Vec<Result<Option<Tensor>, String>> = (0..n.inputs.len()).map(|k| known(i, n, k)).collect();
    list.into_iter().collect()
}

fn needed(list: &[Option<Tensor>], k: usize) -> Result<&Tensor, String> {
    list.get(k).and_then(Option::as_ref).ok_or_else(|| format!("operand {k} is missing"))
}

fn made(i: &mut Import<'_>, n: &Node<'_>, sizes: &[usize], values: &[i64]) -> Result<Val, String> {
    let t = Tensor::new(sizes, values).map_err(|e| e.to_string())?;
    Ok(Val::Tensor(i.constant(n.label, t)))
}

/// An element, to be compared.
#[derive(Clone, Copy, PartialEq)]
enum Item {
    Whole(i128),
    Real(f64),
}

impl Item {
    fn order(self, other: Item) -> Ordering {
        match (self, other) {
            (Item::Whole(a), Item::Whole(b)) => a.cmp(&b),
            // Zeros are equal whatever their sign, and one NaN is like another.
            (Item::Real(a), Item::Real(b)) => {
                a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }
            (Item::Whole(_), Item::Real(_)) => Ordering::Less,
            (Item::Real(_), Item::Whole(_)) => Ordering::Greater,
        }
    }
}

fn items(t: &Tensor) -> Result<Vec<Item>, String> {
    macro_rules! list {
        ($t:ty, $f:expr) => {
            t.values::<$t>().map(|v| v.iter().copied().map($f).collect())
        };
    }
    let list: Option<Vec<Item>> = match t.dtype() {
        DType::F32 => list!(f32, |v| Item::Real(f64::from(v))),
        DType::F64 => list!(f64, Item::Real),
        DType::F16 => list!(half::f16, |v| Item::Real(v.to_f64())),
        DType::BF16 => list!(half::bf16, |v| Item::Real(v.to_f64())),
        DType::I8 => list!(i8, |v| Item::Whole(v.into())),
        DType::I16 => list!(i16, |v| Item::Whole(v.into())),
        DType::I32 => list!(i32, |v| Item::Whole(v.into())),
        DType::I64 => list!(i64, |v| Item::Whole(v.into())),
        DType::U8 => list!(u8, |v| Item::Whole(v.into())),
        DType::U16 => list!(u16, |v| Item::Whole(v.into())),
        DType::U32 => list!(u32, |v| Item::Whole(v.into())),
        DType::U64 => list!(u64, |v| Item::Whole(v.into())),
        DType::Bool => Some(t.bytes().iter().map(|&b| Item::Whole(i128::from(b != 0))).collect()),
        #[allow(unreachable_patterns, reason = "types that are only stored may be added")]
        _ => None,
    };
    list.ok_or_else(|| format!("values of {} cannot be compared", t.dtype()))
}

/// Parts of a tensor along an axis: how many lie before it, along it, and elements behind it.
fn split(t: &Tensor, axis: usize) -> (usize, usize, usize) {
    let s = t.sizes();
    (s[..axis].iter().product(), s[axis], s[axis + 1..].iter().product())
}

/// The tensor of some places along an axis.
fn taken(t: &Tensor, axis: usize, places: &[usize]) -> Result<Tensor, String> {
    let (outer, len, inner) = split(t, axis);
    let piece = inner * t.dtype().size();
    let mut bytes = Vec::with_capacity(outer * places.len() * piece);
    for o in 0..outer {
        for &p in places {
            bytes.extend_from_slice(&t.bytes()[(o * len + p) * piece..][..piece]);
        }
    }
    let mut sizes = t.sizes().to_vec();
    sizes[axis] = places.len();
    Tensor::from_bytes(t.dtype(), &sizes, bytes).map_err(|e| e.to_string())
}

/// The same elements in one axis.
fn flat(t: &Tensor) -> Result<Tensor, String> {
    Tensor::from_bytes(t.dtype(), &[t.len()], t.bytes().to_vec()).map_err(|e| e.to_string())
}

fn non_zero(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = all_known(i, n)?;
    let x = needed(&list, 0)?;
    let zero = |v: Item| matches!(v, Item::Whole(0)) || v == Item::Real(0.0);
    let at: Vec<usize> =
        items(x)?.into_iter().enumerate().filter(|(_, v)| !zero(*v)).map(|(k, _)| k).collect();
    let rank = x.sizes().len();
    let mut values = vec![0i64; rank * at.len()];
    for (k, &place) in at.iter().enumerate() {
        let mut rest = place;
        for axis in (0..rank).rev() {
            values[axis * at.len() + k] = (rest % x.sizes()[axis]) as i64;
            rest /= x.sizes()[axis];
        }
    }
    Ok(vec![made(i, n, &[rank, at.len()], &values)?])
}

fn unique(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = all_known(i, n)?;
    let given = needed(&list, 0)?;
    let (x, axis) = match n.has("axis") {
        true => (given.clone(), n.axis(n.int("axis", 0), given.sizes().len())?),
        false => (flat(given)?, 0),
    };
    let (outer, len, inner) = split(&x, axis);
    let all = items(&x)?;
    let part = |p: usize| (0..outer).flat_map(move |o| (0..inner).map(move |k| (o * len + p) * inner + k));
    let order = |a: usize, b: usize| {
        let pairs = part(a).zip(part(b));
        pairs.map(|(a, b)| all[a].order(all[b])).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut places: Vec<usize> = (0..len).collect();
    // Stable: of equal parts the first comes first.
    places.sort_by(|&a, &b| order(a, b));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for p in places {
        match groups.last_mut().filter(|g| order(g[0], p).is_eq()) {
            Some(group) => group.push(p),
            None => groups.push(vec![p]),
        }
    }
    if n.int("sorted", 1) == 0 {
        groups.sort_by_key(|g| g[0]);
    }
    let first: Vec<usize> = groups.iter().map(|g| g[0]).collect();
    let mut inverse = vec![0i64; len];
    for (k, g) in groups.iter().enumerate() {
        g.iter().for_each(|&p| inverse[p] = k as i64);
    }
    let y = taken(&x, axis, &first)?;
    let indices: Vec<i64> = first.iter().map(|&p| p as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
    Ok(vec![
        Val::Tensor(i.constant(n.label, y)),
        made(i, n, &[indices.len()], &indices)?,
        made(i, n, &[len], &inverse)?,
        made(i, n, &[counts.len()], &counts)?,
    ])
}

fn compress(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = all_known(i, n)?;
    let (given, condition) = (needed(&list, 0)?, needed(&list, 1)?);
    let (x, axis) = match n.has("axis") {
        true => (given.clone(), n.axis(n.int("axis", 0), given.sizes().len())?),
        false => (flat(given)?, 0),
    };
    if condition.dtype() != DType::Bool || condition.sizes().len() != 1 || condition.len() > x.sizes()[axis] {
        let (condition, x) = (condition.ty(), x.ty());
        return Err(format!(
            "its condition is {condition}, expected bool and no longer than axis {axis} of {x}"
        ));
    }
    let kept = condition.bytes().iter().enumerate().filter(|(_, b)| **b != 0);
    let places: Vec<usize> = kept.map(|(k, _)| k).collect();
    let y = taken(&x, axis, &places)?;
    Ok(vec![Val::Tensor(i.constant(n.label, y))])
}

fn non_max_suppression(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let list = all_known(i, n)?;
    let (boxes, scores) = (needed(&list, 0)?, needed(&list, 1)?);
    let (&[batch, count, 4], &[batch_too, classes, count_too]) = (boxes.sizes(), scores.sizes()) else {
        return Err(format!(
            "boxes [N,B,4] and scores [N,C,B] are needed, not {} and {}",
            boxes.ty(),
            scores.ty()
        ));
    };
    if (batch, count) != (batch_too, count_too) {
        return Err(format!("boxes {} and scores {} do not fit together", boxes.ty(), scores.ty()));
    }
    let (Some(b), Some(s)) = (boxes.values::<f32>(), scores.values::<f32>()) else {
        return Err(format!(
            "boxes and scores of f32 are needed, not {} and {}",
            boxes.dtype(),
            scores.dtype()
        ));
    };
    let scalar = |k: usize| list.get(k).and_then(Option::as_ref);
    let most = scalar(2).and_then(|t| t.values::<i64>()?.first().copied()).unwrap_or(0).max(0) as usize;
    let real = |k: usize| scalar(k).and_then(|t| t.values::<f32>()?.first().copied());
    let (overlap, least) = (real(3).unwrap_or(0.0), real(4));
    let middle = n.int("center_point_box", 0) == 1;
    let mut chosen: Vec<i64> = Vec::new();
    for at in 0..batch {
        let corners: Vec<Corners> =
            (0..count).map(|k| Corners::new(&b[(at * count + k) * 4..][..4], middle)).collect();
        for class in 0..classes {
            let scores = &s[(at * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|&k| least.is_none_or(|l| scores[k] > l)).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let kept = suppressed(&corners, &order, most, overlap);
            chosen.extend(kept.iter().flat_map(|&k| [at as i64, class as i64, k as i64]));
        }
    }
    Ok(vec![made(i, n, &[chosen.len() / 3, 3], &chosen)?])
}
