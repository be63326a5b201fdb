//! Steps of optimisers (domain `ai.onnx.preview.training`): plain arithmetic.

use tactician_ir::{Binary, DType, Unary, ValueId};

use super::Importer;
use super::compose::{Compose, Made};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("ai.onnx.preview.training.Adagrad", |i, n| each(i, n, 3, adagrad)),
    ("ai.onnx.preview.training.Adam", |i, n| each(i, n, 4, adam)),
    ("ai.onnx.preview.training.Momentum", |i, n| each(i, n, 3, momentum)),
];

type Step = fn(&mut Compose<'_, '_>, &Node<'_>, ValueId, ValueId, &[ValueId]) -> Result<Vec<ValueId>, String>;

/// Operands: learning rate, update count, then `groups` lists of equal length (weights, gradients, states). Outputs:
/// the same lists without gradients.
fn each(i: &mut Import<'_>, n: &Node<'_>, groups: usize, step: Step) -> Result<Vec<Val>, String> {
    let all = n.tensors(i)?;
    let [rate, count, lists @ ..] = &all[..] else { return Err("its rate and count are missing".into()) };
    if lists.is_empty() || lists.len() % groups != 0 {
        return Err(format!("{} tensors do not divide into {groups} lists", lists.len()));
    }
    let each = lists.len() / groups;
    let mut c = Compose { import: i, name: n.label };
    let mut out = vec![Val::Poison; each * (groups - 1)];
    for k in 0..each {
        let part: Vec<ValueId> = (0..groups).map(|g| lists[g * each + k]).collect();
        for (g, v) in step(&mut c, n, *rate, *count, &part)?.into_iter().enumerate() {
            out[g * each + k] = Val::Tensor(v);
        }
    }
    Ok(out)
}

/// `g + norm·x`.
fn regularised(c: &mut Compose<'_, '_>, n: &Node<'_>, x: ValueId, g: ValueId) -> Made {
    let norm = n.float("norm_coefficient", 0.0);
    if norm == 0.0 {
        return Ok(g);
    }
    let decay = c.with(Binary::Mul, x, f64::from(norm))?;
    c.binary(Binary::Add, g, decay)
}

/// `number^count` in the type of `like`.
fn power(c: &mut Compose<'_, '_>, number: f32, count: ValueId, like: ValueId) -> Made {
    let dtype = c.dtype(like);
    let base = c.numbers(DType::F64, &[], &[f64::from(number)])?;
    let count = c.cast(count, DType::F64)?;
    let v = c.binary(Binary::Pow, base, count)?;
    c.cast(v, dtype)
}

fn adagrad(
    c: &mut Compose<'_, '_>,
    n: &Node<'_>,
    rate: ValueId,
    count: ValueId,
    list: &[ValueId],
) -> Result<Vec<ValueId>, String> {
    let (x, g, h) = (list[0], list[1], list[2]);
    let dtype = c.dtype(x);
    // rate / (1 + count·decay)
    let slower = c.cast(count, dtype)?;
    let slower = c.with(Binary::Mul, slower, f64::from(n.float("decay_factor", 0.0)))?;
    let slower = c.with(Binary::Add, slower, 1.0)?;
    let rate = c.cast(rate, dtype)?;
    let rate = c.binary(Binary::Div, rate, slower)?;
    let g = regularised(c, n, x, g)?;
    let square = c.binary(Binary::Mul, g, g)?;
    let h = c.binary(Binary::Add, h, square)?;
    let root = c.unary(Unary::Sqrt, h)?;
    let root = c.with(Binary::Add, root, f64::from(n.float("epsilon", 1e-6)))?;
    let step = c.binary(Binary::Mul, rate, g)?;
    let step = c.binary(Binary::Div, step, root)?;
    Ok(vec![c.binary(Binary::Sub, x, step)?, h])
}

/// `a·x + b·y`.
fn blend(c: &mut Compose<'_, '_>, a: f32, x: ValueId, b: f32, y: ValueId) -> Made {
    let x = c.with(Binary::Mul, x, f64::from(a))?;
    let y = c.with(Binary::Mul, y, f64::from(b))?;
    c.binary(Binary::Add, x, y)
}

fn adam(
    c: &mut Compose<'_, '_>,
    n: &Node<'_>,
    rate: ValueId,
    count: ValueId,
    list: &[ValueId],
) -> Result<Vec<ValueId>, String> {
    let (x, g, v, h) = (list[0], list[1], list[2], list[3]);
    let (alpha, beta) = (n.float("alpha", 0.9), n.float("beta", 0.999));
    let dtype = c.dtype(x);
    let g = regularised(c, n, x, g)?;
    let v = blend(c, alpha, v, 1.0 - alpha, g)?;
    let square = c.binary(Binary::Mul, g, g)?;
    let h = blend(c, beta, h, 1.0 - beta, square)?;
    let root = c.unary(Unary::Sqrt, h)?;
    let root = c.with(Binary::Add, root, f64::from(n.float("epsilon", 1e-8)))?;
    // After the first update: rate·√(1 − beta^count) / (1 − alpha^count).
    let less = |c: &mut Compose<'_, '_>, number: f32| -> Made {
        let p = power(c, number, count, x)?;
        let p = c.unary(Unary::Neg, p)?;
        c.with(Binary::Add, p, 1.0)
    };
    let (above, below) = (less(c, beta)?, less(c, alpha)?);
    let above = c.unary(Unary::Sqrt, above)?;
    let rate = c.cast(rate, dtype)?;
    let scaled = c.binary(Binary::Mul, rate, above)?;
    let scaled = c.binary(Binary::Div, scaled, below)?;
    let count = c.cast(count, DType::I64)?;
    let later = c.with(Binary::Gt, count, 0.0)?;
    let rate = c.select(later, scaled, rate)?;
    let step = c.binary(Binary::Mul, rate, v)?;
    let step = c.binary(Binary::Div, step, root)?;
    let moved = c.binary(Binary::Sub, x, step)?;
    let post = n.float("norm_coefficient_post", 0.0);
    let moved = c.with(Binary::Mul, moved, f64::from(1.0 - post))?;
    Ok(vec![moved, v, h])
}

fn momentum(
    c: &mut Compose<'_, '_>,
    n: &Node<'_>,
    rate: ValueId,
    count: ValueId,
    list: &[ValueId],
) -> Result<Vec<ValueId>, String> {
    let (x, g, v) = (list[0], list[1], list[2]);
    let (alpha, beta) = (n.float("alpha", 0.0), n.float("beta", 0.0));
    let dtype = c.dtype(x);
    let g = regularised(c, n, x, g)?;
    // The first gradient counts whole.
    let count = c.cast(count, DType::I64)?;
    let later = c.with(Binary::Gt, count, 0.0)?;
    let (damped, whole) = (c.numbers(dtype, &[], &[f64::from(beta)])?, c.numbers(dtype, &[], &[1.0])?);
    let beta = c.select(later, damped, whole)?;
    let old = c.with(Binary::Mul, v, f64::from(alpha))?;
    let new = c.binary(Binary::Mul, g, beta)?;
    let v = c.binary(Binary::Add, old, new)?;
    let step = match n.text("mode", "standard")?.as_str() {
        "nesterov" => {
            let ahead = c.with(Binary::Mul, v, f64::from(alpha))?;
            c.binary(Binary::Add, g, ahead)?
        }
        "standard" => v,
        other => return Err(format!("mode `{other}` is unknown")),
    };
    let rate = c.cast(rate, dtype)?;
    let step = c.binary(Binary::Mul, rate, step)?;
    Ok(vec![c.binary(Binary::Sub, x, step)?, v])
}
