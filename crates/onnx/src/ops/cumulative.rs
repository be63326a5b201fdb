//! Running sums and products, in `⌈log₂ n⌉` rounds that each add what lies `1, 2, 4, …` places before: any length
//! and type, in parallel, and with rounding errors that grow with the logarithm of the length.

use tactician_ir::{Binary, Op, Pad, PadMode, Scalar, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] =
    &[("CumSum", |i, n| cumulative(i, n, Binary::Add)), ("CumProd", |i, n| cumulative(i, n, Binary::Mul))];

/// Moves by `by` places along an axis of `n`, towards the end or (`reverse`) the start; `neutral` comes in.
fn shift(
    c: &mut Compose<'_, '_>,
    v: ValueId,
    axis: usize,
    n: usize,
    by: usize,
    reverse: bool,
    neutral: f64,
) -> Made {
    let part = c.slice(v, axis, if reverse { by } else { 0 }, n - by)?;
    let mut pads = vec![(0, 0); c.ty(v).rank()];
    pads[axis] = if reverse { (0, by) } else { (by, 0) };
    let fill = Scalar::of(c.dtype(v), neutral);
    c.op(Op::Pad(Pad { pads, mode: PadMode::Constant(fill) }), &[part])
}

fn cumulative(i: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let axis = n.known_ints(1, i)?.ok_or("its axis is missing")?;
    let [axis] = axis[..] else { return Err("its axis is no scalar".into()) };
    let (exclusive, reverse) = (n.int("exclusive", 0) != 0, n.int("reverse", 0) != 0);
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let axis = n.axis(axis, sizes.len())?;
    let size = sizes[axis];
    let neutral = if op == Binary::Mul { 1.0 } else { 0.0 };
    let mut v = x;
    if exclusive && size > 0 {
        v = shift(&mut c, v, axis, size, 1, reverse, neutral)?;
    }
    let mut by = 1;
    while by < size {
        let moved = shift(&mut c, v, axis, size, by, reverse, neutral)?;
        v = c.binary(op, v, moved)?;
        by *= 2;
    }
    one(v)
}
