//! Einstein sums, as transposes, reductions and matrix products, operand by operand.

use tactician_ir::{Dim, Op, ReduceKind, Slice, SliceAxis, ValueId};

use super::compose::Compose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[("Einsum", einsum)];

/// Names an axis: a letter, or a place in the ellipsis counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// A term as labels; `hidden` axes stand for the dots.
fn labels(term: &str, hidden: usize) -> Result<Vec<Label>, String> {
    let mut out = Vec::new();
    let mut rest = term;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if out.iter().any(|l| matches!(l, Label::Ellipsis(_))) {
                return Err(format!("the term `{term}` has two ellipses"));
            }
            out.extend((0..hidden).rev().map(Label::Ellipsis));
            rest = after;
        } else if c.is_ascii_alphabetic() {
            out.push(Label::Letter(c));
            rest = &rest[1..];
        } else {
            return Err(format!("the term `{term}` has the character `{c}`"));
        }
    }
    Ok(out)
}

/// A value whose axes have names.
struct Named {
    value: ValueId,
    labels: Vec<Label>,
}

fn einsum(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let equation: String = n.text("equation", "")?.split_whitespace().collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation.as_str(), None),
    };
    let inputs = n.tensors(i)?;
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != inputs.len() {
        return Err(format!("equation `{equation}` has {} terms for {} operands", terms.len(), inputs.len()));
    }
    let mut c = Compose { import: i, name: n.label };
    let mut list: Vec<Named> = Vec::new();
    let mut most_hidden = 0;
    for (term, &v) in terms.iter().zip(&inputs) {
        let letters = term.chars().filter(char::is_ascii_alphabetic).count();
        let rank = c.ty(v).rank();
        let hidden = rank.checked_sub(letters).filter(|&h| h == 0 || term.contains("..."));
        let hidden =
            hidden.ok_or_else(|| format!("the term `{term}` does not name the axes of {}", c.ty(v)))?;
        most_hidden = most_hidden.max(hidden);
        list.push(diagonal(&mut c, Named { value: v, labels: labels(term, hidden)? })?);
    }
    let out = match right {
        Some(r) => labels(r, most_hidden)?,
        None => {
            // The dots, then the letters that occur once, by the alphabet.
            let letters = |l: char| left.chars().filter(|&x| x == l).count();
            let mut once: Vec<char> =
                left.chars().filter(|&l| l.is_ascii_alphabetic() && letters(l) == 1).collect();
            once.sort_unstable();
            (0..most_hidden).rev().map(Label::Ellipsis).chain(once.into_iter().map(Label::Letter)).collect()
        }
    };
    if (1..out.len()).any(|k| out[..k].contains(&out[k]))
        || !out.iter().all(|l| list.iter().any(|t| t.labels.contains(l)))
    {
        return Err(format!("the output of `{equation}` names an axis twice, or one that no operand has"));
    }
    let mut rest = list.into_iter();
    let first = rest.next().ok_or("it has no operands")?;
    let mut rest: Vec<Named> = rest.collect();
    rest.reverse();
    let mut at = first;
    loop {
        let later = |l: &Label, rest: &[Named]| out.contains(l) || rest.iter().any(|t| t.labels.contains(l));
        let keep: Vec<Label> = at.labels.iter().copied().filter(|l| later(l, &rest)).collect();
        at = summed(&mut c, at, &keep)?;
        let Some(next) = rest.pop() else { break };
        let own: Vec<Label> =
            next.labels.iter().copied().filter(|l| at.labels.contains(l) || later(l, &rest)).collect();
        let next = summed(&mut c, next, &own)?;
        let keep = |l: &Label| later(l, &rest);
        at = product(&mut c, at, next, keep)?;
    }
    let perm = out
        .iter()
        .map(|l| at.labels.iter().position(|x| x == l).ok_or_else(|| format!("axis {l:?} is lost")))
        .collect::<Result<_, _>>()?;
    one(c.transpose(at.value, perm)?)
}

/// Axes of one name become their diagonal.
fn diagonal(c: &mut Compose<'_, '_>, mut t: Named) -> Result<Named, String> {
    loop {
        let twice = (1..t.labels.len())
            .find_map(|k| t.labels[..k].iter().position(|l| *l == t.labels[k]).map(|first| (first, k)));
        let Some((first, second)) = twice else { return Ok(t) };
        let sizes = c.sizes(t.value)?;
        let size = sizes[first];
        if sizes[second] != size {
            return Err(format!("axes of one name have the sizes {size} and {}", sizes[second]));
        }
        let mut perm: Vec<usize> = (0..sizes.len()).filter(|&a| a != first && a != second).collect();
        let label = t.labels[first];
        let mut labels: Vec<Label> = perm.iter().map(|&a| t.labels[a]).collect();
        let mut flat: Vec<usize> = perm.iter().map(|&a| sizes[a]).collect();
        perm.extend([first, second]);
        flat.push(size * size);
        labels.push(label);
        let v = c.transpose(t.value, perm)?;
        let v = c.reshape(v, &flat)?;
        let axis = flat.len() - 1;
        let part = SliceAxis { axis, start: Dim::known(0), len: Dim::from(size), step: size as i64 + 1 };
        t = Named { value: c.op(Op::Slice(Slice { axes: vec![part] }), &[v])?, labels };
    }
}

/// Sums over all axes but those to keep.
fn summed(c: &mut Compose<'_, '_>, t: Named, keep: &[Label]) -> Result<Named, String> {
    let axes: Vec<usize> = (0..t.labels.len()).filter(|&a| !keep.contains(&t.labels[a])).collect();
    if axes.is_empty() {
        return Ok(t);
    }
    let value = c.reduce(ReduceKind::Sum, t.value, &axes, false)?;
    Ok(Named { value, labels: t.labels.into_iter().filter(|l| keep.contains(l)).collect() })
}

/// `[batch, own of a, shared] · [batch, shared, own of b]`, the shared axes summed.
fn product(
    c: &mut Compose<'_, '_>,
    a: Named,
    b: Named,
    keep: impl Fn(&Label) -> bool,
) -> Result<Named, String> {
    let (sa, sb) = (c.sizes(a.value)?, c.sizes(b.value)?);
    let in_both = |l: &Label| a.labels.contains(l) && b.labels.contains(l);
    let batch: Vec<Label> = a.labels.iter().copied().filter(|l| in_both(l) && keep(l)).collect();
    let shared: Vec<Label> = a.labels.iter().copied().filter(|l| in_both(l) && !keep(l)).collect();
    let own_a: Vec<Label> = a.labels.iter().copied().filter(|l| !in_both(l)).collect();
    let own_b: Vec<Label> = b.labels.iter().copied().filter(|l| !in_both(l)).collect();
    let place = |t: &[Label], l: &Label| t.iter().position(|x| x == l).unwrap_or(0);
    // Sizes of 1 stretch.
    let size = |l: &Label| {
        let of = |labels: &[Label], sizes: &[usize]| labels.iter().position(|x| x == l).map(|p| sizes[p]);
        match (of(&a.labels, &sa), of(&b.labels, &sb)) {
            (Some(x), Some(y)) if x == y || y == 1 => Ok(x),
            (Some(1), Some(y)) | (None, Some(y)) => Ok(y),
            (Some(x), None) => Ok(x),
            (x, y) => Err(format!("axis {l:?} has the sizes {x:?} and {y:?}")),
        }
    };
    let count = |l: &[Label]| l.iter().map(size).product::<Result<usize, String>>();
    let (nb, ns, na, nc) = (count(&batch)?, count(&shared)?, count(&own_a)?, count(&own_b)?);
    let arrange = |c: &mut Compose<'_, '_>, t: &Named, order: Vec<Label>, to: [usize; 3]| {
        let v = c.transpose(t.value, order.iter().map(|l| place(&t.labels, l)).collect())?;
        let wide = order.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let v = if c.sizes(v)? == wide { v } else { c.expand(v, &wide)? };
        c.reshape(v, &to)
    };
    let left = arrange(c, &a, [&batch[..], &own_a, &shared].concat(), [nb, na, ns])?;
    let right = arrange(c, &b, [&batch[..], &shared, &own_b].concat(), [nb, ns, nc])?;
    let v = c.matmul(left, right)?;
    let labels = [&batch[..], &own_a, &own_b].concat();
    let sizes = labels.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    Ok(Named { value: c.reshape(v, &sizes)?, labels })
}
