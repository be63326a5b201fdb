//! Where the elements of a value lie in one that it was cut and turned out of.

use tactician_ir::{Graph, Op, Slice, ValueId};

/// An axis that steps through a tensor: how many elements, and how far from one to the next.
type Run = (usize, usize);

/// Axes over a tensor's elements in row-major order. Each is a list of runs, outermost first, that are walked like the digits
/// of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The tensor.
    pub(crate) value: ValueId,
    /// Elements before the first.
    pub(crate) offset: usize,
    axes: Vec<Vec<Run>>,
}

impl View {
    /// A value's own elements along axes of these sizes and strides.
    pub(crate) fn new(value: ValueId, axes: &[Run]) -> View {
        View { value, offset: 0, axes: axes.iter().map(|&a| vec![a]).collect() }
    }

    /// The same from another first element on.
    pub(crate) fn starting_at(self, offset: usize) -> View {
        View { offset, ..self }
    }

    /// The stride of each axis; `None` where an axis has several.
    pub(crate) fn strides(&self) -> Option<Vec<usize>> {
        let stride = |runs: &Vec<Run>| {
            let mut inner: Option<Run> = None;
            for &(n, s) in runs.iter().rev().filter(|r| r.0 != 1) {
                inner = match inner {
                    None => Some((n, s)),
                    Some((m, t)) if m.checked_mul(t) == Some(s) => Some((m.checked_mul(n)?, t)),
                    Some(_) => return None,
                };
            }
            Some(inner.map_or(0, |r| r.1))
        };
        self.axes.iter().map(stride).collect()
    }

    /// The same elements in what a value was made of, if it was only taken apart, cut or turned.
    pub(crate) fn before(&self, graph: &Graph) -> Option<View> {
        let node = graph.producer(self.value);
        let &from = node.inputs().first()?;
        let (old, new) = (graph.ty(self.value).sizes()?, graph.ty(from).sizes()?);
        let strides = row_major(&new)?;
        // For each axis of the value the step that one along it is in what it was made of.
        let (start, steps) = match &node.op {
            // Elements keep their order.
            Op::Reshape(_) => return Some(View { value: from, ..self.clone() }),
            Op::Transpose(t) => (0, t.perm.iter().map(|&p| strides[p]).collect()),
            Op::Slice(s) => cut(s, &strides)?,
            _ => return None,
        };
        self.moved(from, &old, start, &steps)
    }

    /// The same elements where element 0 of the value lies at `start` of another, and one step along axis `i`, of size
    /// `sizes[i]`, is `steps[i]` there.
    pub(crate) fn moved(
        &self,
        value: ValueId,
        sizes: &[usize],
        start: usize,
        steps: &[usize],
    ) -> Option<View> {
        let strides = row_major(sizes)?;
        // How far along each axis of the value the view reaches.
        let mut reach: Vec<usize> =
            sizes.iter().zip(&strides).map(|(n, s)| self.offset / s % n.max(&1)).collect();
        let mut first = reach.iter().zip(steps).map(|(i, s)| i.checked_mul(*s));
        let offset = first.try_fold(start, |a, b| a.checked_add(b?))?;
        let mut axes = Vec::with_capacity(self.axes.len());
        for runs in &self.axes {
            let mut moved = Vec::with_capacity(runs.len());
            for &(n, s) in runs {
                for (axis, count, by) in digits(n, s, sizes, &strides)? {
                    reach[axis] = reach[axis].checked_add((count - 1).checked_mul(by)?)?;
                    moved.push((count, by.checked_mul(steps[axis])?));
                }
            }
            axes.push(moved);
        }
        // Nowhere does a step carry over into the next axis.
        let inside = reach.iter().zip(sizes).all(|(r, n)| r < n);
        inside.then_some(View { value, offset, axes })
    }
}

/// The runs along single axes of a tensor that `n` steps of `s` elements are, outermost first: axis, count, and how far along
/// it one step goes.
fn digits(
    mut n: usize,
    mut s: usize,
    sizes: &[usize],
    strides: &[usize],
) -> Option<Vec<(usize, usize, usize)>> {
    let mut out = Vec::new();
    while n > 1 {
        // The innermost axis on which a step is a whole number of elements, and fewer than it has.
        let axis = (0..sizes.len())
            .rev()
            .find(|&i| sizes[i] > 1 && s.is_multiple_of(strides[i]) && s / strides[i] < sizes[i])?;
        let by = s / strides[axis];
        let left = sizes[axis] / by;
        if n <= left {
            out.push((axis, n, by));
            break;
        }
        if !sizes[axis].is_multiple_of(by) || !n.is_multiple_of(left) {
            return None;
        }
        out.push((axis, left, by));
        n /= left;
        s = s.checked_mul(left)?;
    }
    out.reverse();
    Some(out)
}

/// Where a slice begins, and what a step along each axis is.
fn cut(slice: &Slice, strides: &[usize]) -> Option<(usize, Vec<usize>)> {
    let (mut start, mut steps) = (0usize, strides.to_vec());
    for a in &slice.axes {
        start = start.checked_add(a.start.as_usize()?.checked_mul(strides[a.axis])?)?;
        // Backwards there is nothing to gain.
        steps[a.axis] = steps[a.axis].checked_mul(usize::try_from(a.step).ok()?)?;
    }
    Some((start, steps))
}

/// Strides of a tensor without gaps; `None` where it is empty.
pub(crate) fn row_major(sizes: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1usize; sizes.len()];
    for i in (1..sizes.len()).rev() {
        strides[i - 1] = strides[i].checked_mul(sizes[i])?;
    }
    (!sizes.contains(&0)).then_some(strides)
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
