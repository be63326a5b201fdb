//! The steps of `ai.onnx.ml` that stand before and behind linear models.

use tactician_ir::{Binary, DType, ReduceKind, Tensor, Unary, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

/// Largest table of comparisons: 64 Mi.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("ai.onnx.ml.Scaler", scaler),
    ("ai.onnx.ml.Normalizer", normalizer),
    ("ai.onnx.ml.Imputer", imputer),
    ("ai.onnx.ml.LinearRegressor", regressor),
    ("ai.onnx.ml.OneHotEncoder", one_hot),
    ("ai.onnx.ml.FeatureVectorizer", features),
];

/// A list of numbers for the last axis of `x`: one for each place, or one for all.
fn along(c: &mut Compose<'_, '_>, x: ValueId, list: &[f32], what: &str) -> Made {
    let last = c.sizes(x)?.last().copied().unwrap_or(1);
    let sizes: &[usize] = if list.len() == 1 { &[] } else { &[list.len()] };
    if list.len() != 1 && list.len() != last {
        return Err(format!("{} {what} for {last} features", list.len()));
    }
    let t = Tensor::new(sizes, list).map_err(|e| e.to_string())?;
    Ok(c.import.constant(c.name, t))
}

/// `(x − offset) · scale`.
fn scaler(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let mut v = c.cast(x, DType::F32)?;
    for (name, op) in [("offset", Binary::Sub), ("scale", Binary::Mul)] {
        if let Some(list) = n.floats(name).filter(|l| !l.is_empty()) {
            let list = along(&mut c, v, list, name)?;
            v = c.binary(op, v, list)?;
        }
    }
    one(v)
}

/// Rows over their largest number, sum of sizes or length; rows of zeros stay.
fn normalizer(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let kind = match n.text("norm", "MAX")?.as_str() {
        "MAX" => ReduceKind::Max,
        "L1" => ReduceKind::L1,
        "L2" => ReduceKind::L2,
        other => return Err(format!("norm `{other}` is unknown")),
    };
    let mut c = Compose { import: i, name: n.label };
    let v = c.cast(x, DType::F32)?;
    let axis = c.ty(v).rank().checked_sub(1).ok_or("its operand is a scalar")?;
    let norm = c.reduce(kind, v, &[axis], true)?;
    let none = c.with(Binary::Eq, norm, 0.0)?;
    let unit = c.numbers(DType::F32, &[], &[1.0])?;
    let norm = c.select(none, unit, norm)?;
    one(c.binary(Binary::Div, v, norm)?)
}

/// Numbers that stand for missing ones (NaN perhaps) become others.
fn imputer(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let dtype = c.dtype(x);
    let (missing, instead) = if dtype.is_float() {
        let replaced = n.float("replaced_value_float", 0.0);
        let missing = if replaced.is_nan() {
            c.unary(Unary::IsNan, x)?
        } else {
            c.with(Binary::Eq, x, f64::from(replaced))?
        };
        let list = n.floats("imputed_value_floats").filter(|l| !l.is_empty());
        (missing, along(&mut c, x, list.ok_or("imputed_value_floats are missing")?, "values")?)
    } else {
        let replaced = c.ints(&[], &[n.int("replaced_value_int64", 0)])?;
        let replaced = c.cast(replaced, dtype)?;
        let list = n.ints("imputed_value_int64s").filter(|l| !l.is_empty());
        let list = list.ok_or("imputed_value_int64s are missing")?;
        let last = c.sizes(x)?.last().copied().unwrap_or(1);
        if list.len() != 1 && list.len() != last {
            return Err(format!("{} values for {last} features", list.len()));
        }
        let sizes: &[usize] = if list.len() == 1 { &[] } else { &[list.len()] };
        (c.binary(Binary::Eq, x, replaced)?, c.ints(sizes, list)?)
    };
    let instead = c.cast(instead, dtype)?;
    one(c.select(missing, instead, x)?)
}

/// `x · coefficientsᵀ + intercepts`.
fn regressor(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let transform = n.text("post_transform", "NONE")?;
    if transform != "NONE" {
        return Err(format!("post_transform `{transform}` is not supported"));
    }
    let targets =
        usize::try_from(n.int("targets", 1)).ok().filter(|&t| t > 0).ok_or("targets must be positive")?;
    let list = n.floats("coefficients").ok_or("attribute `coefficients` is missing")?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let (rows, width) = match sizes[..] {
        [width] => (1, width),
        [rows, width] => (rows, width),
        _ => return Err(format!("found {}, expected rank 1 or 2", c.ty(x))),
    };
    let w = Tensor::new(&[targets, width], list)
        .map_err(|_| format!("{} coefficients for {targets} targets of {width} features", list.len()))?;
    let w = c.import.constant(n.label, w);
    let w = c.transpose(w, vec![1, 0])?;
    let v = c.cast(x, DType::F32)?;
    let v = c.reshape(v, &[rows, width])?;
    let y = c.matmul(v, w)?;
    one(match n.floats("intercepts").filter(|l| !l.is_empty()) {
        Some(list) => {
            let list = along(&mut c, y, list, "intercepts")?;
            c.binary(Binary::Add, y, list)?
        }
        None => y,
    })
}

/// One for the category that an element is, zeros for all others; one that is of none has zeros.
fn one_hot(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let categories = n.ints("cats_int64s").filter(|l| !l.is_empty());
    let categories = categories.ok_or("its categories are strings, or none; only integers are supported")?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let all = sizes.iter().try_fold(categories.len(), |a, &b| a.checked_mul(b)).filter(|&a| a <= MOST);
    all.ok_or_else(|| format!("{} categories for {sizes:?} elements are too many", categories.len()))?;
    let x = c.cast(x, DType::I64)?;
    let x = c.reshape(x, &[&sizes[..], &[1]].concat())?;
    let categories = c.ints(&[categories.len()], categories)?;
    let same = c.binary(Binary::Eq, x, categories)?;
    one(c.cast(same, DType::F32)?)
}

/// Features side by side, as many of each operand as it says.
fn features(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let operands = n.tensors(i)?;
    let widths = n.ints("inputdimensions").unwrap_or_default();
    if widths.len() != operands.len() || operands.is_empty() {
        return Err(format!("{} inputdimensions for {} operands", widths.len(), operands.len()));
    }
    let mut c = Compose { import: i, name: n.label };
    let mut parts = Vec::new();
    for (&x, &width) in operands.iter().zip(widths) {
        let sizes = c.sizes(x)?;
        let rows = sizes.first().copied().ok_or("an operand is a scalar")?;
        let own = sizes[1..].iter().product::<usize>();
        if usize::try_from(width).ok() != Some(own) {
            return Err(format!("{} has {own} features in a row, inputdimensions say {width}", c.ty(x)));
        }
        let v = c.cast(x, DType::F32)?;
        parts.push(c.reshape(v, &[rows, own])?);
    }
    one(c.concat(1, &parts)?)
}
