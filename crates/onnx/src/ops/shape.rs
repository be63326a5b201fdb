//! Operators that make or describe shapes.

use tactician_ir::{BitCast, DType, Dim, Expand, Op, Reshape, Shape, Tensor};

use super::compose::Compose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

/// Largest constant that these make: 64 Mi elements.
const MOST: usize = 1 << 26;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("Identity", |_, n| Ok(vec![n.val(0)?.clone()])),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Shape", |i, n| {
        let dims = match n.val(0)? {
            Val::Dims { scalar: true, .. } => vec![],
            Val::Dims { dims, .. } => vec![Dim::from(dims.len())],
            v => {
                let v = i.tensor(&v.clone(), n.label)?;
                i.ty(v).shape.0.to_vec()
            }
        };
        let rank = dims.len() as i64;
        let clamp = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
        let (start, end) = (clamp(n.int("start", 0)), clamp(n.int("end", rank)));
        Ok(vec![Val::Dims { dims: dims[start..end.max(start)].to_vec(), scalar: false }])
    }),
    ("Size", |i, n| {
        let v = n.tensor(0, i)?;
        Ok(vec![Val::Dims { dims: vec![i.ty(v).shape.elements()], scalar: true }])
    }),
    ("BitCast", |i, n| {
        let x = n.tensor(0, i)?;
        let to = i32::try_from(n.int("to", 0)).map_err(|_| "attribute `to` is no type".to_owned())?;
        let to = tensor::dtype(to)?;
        one(if i.ty(x).dtype == to { x } else { i.add(Op::BitCast(BitCast { to }), &[x], n.label)? })
    }),
    ("Range", range),
    ("Reshape", reshape),
    ("Flatten", |i, n| {
        let x = n.tensor(0, i)?;
        let shape = i.ty(x).shape;
        let rank = shape.rank();
        let axis = n.int("axis", 1);
        let axis = if axis == rank as i64 { rank } else { n.axis(axis, rank.max(1))? };
        let part = |d: &[Dim]| d.iter().cloned().collect::<Shape>().elements();
        let shape: Shape = [part(&shape.dims()[..axis]), part(&shape.dims()[axis..])].into_iter().collect();
        one(i.add(Op::Reshape(Reshape { shape }), &[x], n.label)?)
    }),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Expand", |i, n| {
        let x = n.tensor(0, i)?;
        let shape: Shape = n.dims(1, i)?.ok_or("its shape is missing")?.into_iter().collect();
        one(i.add(Op::Expand(Expand { shape }), &[x], n.label)?)
    }),
];

fn constant(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let t = if let Some(t) = n.tensor_attribute("value", i)? {
        Ok(t)
    } else if n.has("value_float") {
        Ok(Tensor::scalar(n.float("value_float", 0.0)))
    } else if n.has("value_int") {
        Ok(Tensor::scalar(n.int("value_int", 0)))
    } else if let Some(l) = n.floats("value_floats") {
        Tensor::new(&[l.len()], l)
    } else if let Some(l) = n.ints("value_ints") {
        Tensor::new(&[l.len()], l)
    } else if let Some(t) = n.attribute("sparse_value").and_then(|a| a.sparse_tensor.as_ref()) {
        Ok(tensor::dense(t, i.folder).map_err(|e| e.to_string())?)
    } else {
        return Err("it holds no tensor or number (strings are not supported)".into());
    };
    one(i.constant(n.label, t.map_err(|e| e.to_string())?))
}

fn constant_of_shape(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let sizes = n.known_ints(0, i)?.ok_or("its shape is missing")?;
    let sizes = sizes
        .iter()
        .map(|&s| usize::try_from(s).map_err(|_| format!("a size of {s}")))
        .collect::<Result<Vec<_>, _>>()?;
    let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&c| c <= MOST);
    let count = count.ok_or_else(|| format!("sizes {sizes:?} are too large"))?;
    let value = n.tensor_attribute("value", i)?.unwrap_or(Tensor::scalar(0f32));
    if value.len() != 1 {
        return Err(format!("its value is {}, expected one element", value.ty()));
    }
    let t =
        Tensor::from_bytes(value.dtype(), &sizes, value.bytes().repeat(count)).map_err(|e| e.to_string())?;
    one(i.constant(n.label, t))
}

fn range(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let at = |k: usize| -> Result<f64, String> {
        if let Some(v) = n.dims(k, i).ok().flatten().and_then(|d| d.first().and_then(Dim::as_i64)) {
            return Ok(v as f64);
        }
        n.known_floats(k, i)?.and_then(|l| l.first().copied()).ok_or_else(|| format!("operand {k} is empty"))
    };
    let (start, limit, step) = (at(0)?, at(1)?, at(2)?);
    let ty = match n.val(0)? {
        Val::Tensor(v) => i.ty(*v).dtype,
        _ => DType::I64,
    };
    let count = ((limit - start) / step).ceil().max(0.0);
    if count.is_nan() || count > MOST as f64 {
        return Err(format!("a range from {start} to {limit} by {step}"));
    }
    let values: Vec<f64> = (0..count as usize).map(|k| start + k as f64 * step).collect();
    let t = match ty {
        DType::I64 => Tensor::new(&[values.len()], &values.iter().map(|&v| v as i64).collect::<Vec<_>>()),
        DType::I32 => Tensor::new(&[values.len()], &values.iter().map(|&v| v as i32).collect::<Vec<_>>()),
        DType::F32 => Tensor::new(&[values.len()], &values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
        DType::F64 => Tensor::new(&[values.len()], &values),
        DType::F16 | DType::BF16 => {
            let mut c = Compose { import: i, name: n.label };
            return one(c.numbers(ty, &[values.len()], &values)?);
        }
        other => return Err(format!("a range of {other} is not supported")),
    };
    one(i.constant(n.label, t.map_err(|e| e.to_string())?))
}

/// 0 keeps a size (unless `allowzero`), -1 is what remains.
fn reshape(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let target = match n.ints("shape") {
        Some(s) => s.iter().map(|&v| Dim::known(v)).collect(),
        None => n.dims(1, i)?.ok_or("its shape is missing")?,
    };
    if let Val::Dims { dims, .. } = n.val(0)?
        && dims.len() == 1
    {
        // Sizes as a vector or a scalar.
        return Ok(vec![Val::Dims { dims: dims.clone(), scalar: target.is_empty() }]);
    }
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let zero_is_zero = n.int("allowzero", 0) != 0;
    let mut out: Vec<Dim> = Vec::with_capacity(target.len());
    let mut open = None;
    for (k, d) in target.iter().enumerate() {
        match d.as_i64() {
            Some(-1) if open.is_none() => {
                open = Some(k);
                out.push(Dim::known(1));
            }
            Some(0) if !zero_is_zero => {
                out.push(
                    shape
                        .dims()
                        .get(k)
                        .cloned()
                        .ok_or_else(|| format!("entry {k} keeps a size that {shape} has not"))?,
                );
            }
            Some(v) if v < 0 => return Err(format!("its shape has the entry {v} at {k}")),
            _ => out.push(d.clone()),
        }
    }
    if let Some(k) = open {
        // What both sides share cancels, so that open sizes divide out.
        let mut from: Vec<Dim> = shape.dims().to_vec();
        let mut to: Vec<Dim> = Vec::new();
        for (j, d) in out.iter().enumerate().filter(|(j, _)| *j != k) {
            let _ = j;
            match from.iter().position(|f| f == d) {
                Some(p) => {
                    from.remove(p);
                }
                None => to.push(d.clone()),
            }
        }
        let (from, to) =
            (from.into_iter().collect::<Shape>().elements(), to.into_iter().collect::<Shape>().elements());
        out[k] = match (from.as_i64(), to.as_i64()) {
            (_, Some(1)) => from,
            (Some(0), Some(0)) => Dim::known(0),
            (Some(f), Some(t)) if t > 0 && f % t == 0 => Dim::known(f / t),
            (None, Some(t)) if t > 0 => from.div_floor(&to),
            _ => return Err(format!("{shape} does not divide into the shape asked for")),
        };
    }
    let shape: Shape = out.into_iter().collect();
    one(i.add(Op::Reshape(Reshape { shape }), &[x], n.label)?)
}

/// Axes as an attribute, or since opset 13 as an operand.
fn axes(i: &Import<'_>, n: &Node<'_>) -> Result<Option<Vec<i64>>, String> {
    match n.ints("axes") {
        Some(a) => Ok(Some(a.to_vec())),
        None => n.known_ints(1, i),
    }
}

fn squeeze(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let given = axes(i, n)?;
    if let Val::Dims { dims, .. } = n.val(0)?
        && dims.len() == 1
    {
        return Ok(vec![Val::Dims { dims: dims.clone(), scalar: true }]);
    }
    let x = n.tensor(0, i)?;
    let shape = i.ty(x).shape;
    let axes = match given {
        Some(a) => n.axes(&a, shape.rank())?,
        None => (0..shape.rank()).filter(|&a| shape.dims()[a].is(1)).collect(),
    };
    if let Some(&a) = axes.iter().find(|&&a| shape.dims()[a].as_i64().is_some_and(|d| d != 1)) {
        return Err(format!("axis {a} of {shape} is not 1"));
    }
    let shape: Shape =
        shape.dims().iter().enumerate().filter(|(a, _)| !axes.contains(a)).map(|(_, d)| d.clone()).collect();
    one(i.add(Op::Reshape(Reshape { shape }), &[x], n.label)?)
}

fn unsqueeze(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let given = axes(i, n)?.ok_or("its axes are missing")?;
    if let Val::Dims { dims, scalar: true } = n.val(0)? {
        return Ok(vec![Val::Dims { dims: dims.clone(), scalar: false }]);
    }
    let x = n.tensor(0, i)?;
    let mut shape = i.ty(x).shape;
    for a in n.axes(&given, shape.rank() + given.len())? {
        shape.0.insert(a, Dim::known(1));
    }
    one(i.add(Op::Reshape(Reshape { shape }), &[x], n.label)?)
}
