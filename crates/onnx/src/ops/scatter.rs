//! Operators that write by index, and those that sort.

use tactician_ir::{
    Binary, DType, Op, Pad, PadMode, Scalar, ScatterElements, ScatterReduction, TopK, ValueId,
};

use super::compose::Compose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("TopK", top_k),
    ("MaxUnpool", max_unpool),
];

fn reduction(n: &Node<'_>) -> Result<ScatterReduction, String> {
    Ok(match n.text("reduction", "none")?.as_str() {
        "none" => ScatterReduction::Replace,
        "add" => ScatterReduction::Add,
        "mul" => ScatterReduction::Mul,
        "max" => ScatterReduction::Max,
        "min" => ScatterReduction::Min,
        other => return Err(format!("reduction `{other}` is unknown")),
    })
}

fn scatter_elements(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let inputs = [n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?];
    let axis = n.axis(n.int("axis", 0), i.ty(inputs[0]).rank())?;
    one(i.add(Op::ScatterElements(ScatterElements { axis, reduction: reduction(n)? }), &inputs, n.label)?)
}

/// Rows of the flattened leading axes, whose number each index tuple gives.
fn scatter_nd(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, indices, updates) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let reduction = reduction(n)?;
    let mut c = Compose { import: i, name: n.label };
    let (xs, is, us) = (c.sizes(x)?, c.sizes(indices)?, c.sizes(updates)?);
    let [lead @ .., depth] = &is[..] else { return Err("its indices are a scalar".into()) };
    let depth = *depth;
    if depth == 0 || depth > xs.len() || us != [lead, &xs[depth..]].concat() {
        return Err(format!(
            "updates of sizes {us:?} at indices of sizes {is:?} do not fit data of sizes {xs:?}"
        ));
    }
    let (tuples, inner): (usize, usize) = (lead.iter().product(), xs[depth..].iter().product());
    let flat = c.reshape(indices, &[tuples, depth])?;
    let mut at: Option<ValueId> = None;
    for (k, &size) in xs[..depth].iter().enumerate() {
        let part = c.slice(flat, 1, k, 1)?;
        let part = c.counted_from_end(part, size)?;
        at = Some(match at {
            None => part,
            Some(v) => {
                let v = c.with(Binary::Mul, v, size as f64)?;
                c.binary(Binary::Add, v, part)?
            }
        });
    }
    let at = at.ok_or("its index tuples are empty")?;
    let at = c.expand(at, &[tuples, inner])?;
    let rows = c.reshape(x, &[xs[..depth].iter().product(), inner])?;
    let updates = c.reshape(updates, &[tuples, inner])?;
    let v = c.op(Op::ScatterElements(ScatterElements { axis: 0, reduction }), &[rows, at, updates])?;
    one(c.reshape(v, &xs)?)
}

/// Until opset 9 `k` is an attribute. Always sorted, as is allowed where it is not asked for.
fn top_k(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let k = if n.has("k") { vec![n.int("k", 0)] } else { n.known_ints(1, i)?.ok_or("its k is missing")? };
    let [k] = k[..] else { return Err("its k is no single number".into()) };
    let k = usize::try_from(k).map_err(|_| format!("a k of {k}"))?;
    let mut c = Compose { import: i, name: n.label };
    let axis = n.axis(n.int("axis", -1), c.ty(x).rank())?;
    let at = c.op(Op::TopK(TopK { axis, k, largest: n.int("largest", 1) != 0 }), &[x])?;
    let values = c.gather_elements(x, at, axis)?;
    Ok(vec![Val::Tensor(values), Val::Tensor(at)])
}

/// Values go back to the places, in the whole flattened input of a pool, that it took them from; the rest is zero, and
/// so is what an output of given sizes has beyond that input.
fn max_unpool(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, indices) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let given = n.known_ints(2, i)?;
    let axes = n.ints("kernel_shape").ok_or("attribute `kernel_shape` is missing")?.len();
    let (window, strides) = (n.sizes("kernel_shape", axes, 1)?, n.sizes("strides", axes, 1)?);
    let pads = match n.ints("pads") {
        None => vec![0; 2 * axes],
        Some(p) if p.len() == 2 * axes => p.to_vec(),
        Some(p) => return Err(format!("{} pads for {axes} axes", p.len())),
    };
    let mut c = Compose { import: i, name: n.label };
    let xs = c.sizes(x)?;
    if xs.len() != axes + 2 || c.sizes(indices)? != xs {
        return Err(format!("{} and indices {} do not fit a window of {axes} axes", c.ty(x), c.ty(indices)));
    }
    // What the pool read, at least.
    let mut pooled = xs[..2].to_vec();
    for a in 0..axes {
        let full = xs[a + 2].saturating_sub(1).saturating_mul(strides[a]).saturating_add(window[a]);
        let cut = usize::try_from(pads[a].saturating_add(pads[a + axes])).map_err(|_| "negative pads")?;
        pooled.push(full.checked_sub(cut).ok_or("its pads are larger than its output")?);
    }
    let sizes = match given {
        None => pooled.clone(),
        Some(s) => s
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| format!("a size of {d}")))
            .collect::<Result<Vec<_>, _>>()?,
    };
    if sizes.len() != axes + 2 || sizes[..2] != xs[..2] || sizes.iter().zip(&pooled).any(|(s, p)| s < p) {
        return Err(format!("an output of {sizes:?} is smaller than what was pooled, {pooled:?}"));
    }
    let count = sizes
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b))
        .filter(|&n| n <= 1 << 40)
        .ok_or_else(|| format!("an output of {sizes:?} is too large"))?;
    let (from, within): (usize, usize) = (xs.iter().product(), pooled.iter().product());
    if count == 0 {
        return Err("its output is empty".into());
    }
    let dtype = c.dtype(x);
    let zero = c.numbers(DType::F64, &[1], &[0.0])?;
    let zero = c.cast(zero, dtype)?;
    let zeros = c.expand(zero, &[within])?;
    let (at, values) = (c.reshape(indices, &[from])?, c.reshape(x, &[from])?);
    let op = ScatterElements { axis: 0, reduction: ScatterReduction::Replace };
    let v = c.op(Op::ScatterElements(op), &[zeros, at, values])?;
    let v = c.reshape(v, &pooled)?;
    if sizes == pooled {
        return one(v);
    }
    let pads = sizes.iter().zip(&pooled).map(|(s, p)| (0, s - p)).collect();
    one(c.op(Op::Pad(Pad { pads, mode: PadMode::Constant(Scalar::of(dtype, 0.0)) }), &[v])?)
}
