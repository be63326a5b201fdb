//! Quantised operators, composed of what the graph has: their short integers and floats stay its types.

use tactician_ir::{Binary, DType, NarrowFloat, ReduceKind, Unary, ValueId};

use super::compose::{Compose, Made};
use super::narrow::{self, Conversion};
use super::{Importer, conv};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic_quantize),
    ("MatMulInteger", matmul_integer),
    ("QLinearMatMul", qlinear_matmul),
    ("ConvInteger", conv_integer),
    ("QLinearConv", qlinear_conv),
];

/// Least and largest number of a type that values are quantised to.
pub(super) fn limits(dtype: DType) -> Result<(f64, f64), String> {
    Ok(match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32_768.0, 32_767.0),
        DType::U16 => (0.0, 65_535.0),
        DType::I4 => (-8.0, 7.0),
        DType::U4 => (0.0, 15.0),
        DType::I2 => (-2.0, 1.0),
        DType::U2 => (0.0, 3.0),
        t => {
            return Err(format!(
                "numbers quantised to {t} are not supported, only integers of 2 to 16 bits are"
            ));
        }
    })
}

/// The format of floats that numbers are quantised to; scales, of `float8e8m0`, are not.
fn quantised_float(dtype: DType) -> Option<NarrowFloat> {
    NarrowFloat::of(dtype).filter(|&t| t != NarrowFloat::E8M0)
}

/// Refuses types other than quantised integers, and zero points of another type.
fn check_types(c: &Compose<'_, '_>, x: ValueId, zero: Option<ValueId>) -> Result<(), String> {
    limits(c.dtype(x))?;
    check_zero(c.dtype(x), zero.map(|z| c.dtype(z)))
}

fn check_zero(ty: DType, zero: Option<DType>) -> Result<(), String> {
    match zero {
        Some(z) if z != ty => Err(format!("its zero point has the type {z}, its numbers are {ty}")),
        _ => Ok(()),
    }
}

/// A scale or zero point made to broadcast against `sizes`: one number, one a place of `axis`, or one a block of `block`
/// places of it.
fn spread(c: &mut Compose<'_, '_>, p: ValueId, sizes: &[usize], axis: i64, block: i64) -> Made {
    let own = c.sizes(p)?;
    if own.len() < 2 && own.iter().product::<usize>() == 1 && block == 0 {
        return if own.is_empty() { Ok(p) } else { c.reshape(p, &[]) };
    }
    let rank = sizes.len();
    let a = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&a| a < rank);
    let a = a.ok_or_else(|| format!("axis {axis} of a tensor of rank {rank}"))?;
    let wrong = || format!("a scale or zero point of sizes {own:?} does not fit {sizes:?} along axis {a}");
    if block == 0 {
        if own != [sizes[a]] {
            return Err(wrong());
        }
        let mut to = vec![1; rank - a];
        to[0] = sizes[a];
        return c.reshape(p, &to);
    }
    let block = usize::try_from(block).map_err(|_| format!("block_size is {block}"))?.min(sizes[a]);
    let fits = own.len() == rank
        && block > 0
        && (0..rank).all(|k| own[k] == if k == a { sizes[a].div_ceil(block) } else { sizes[k] });
    if !fits {
        return Err(wrong());
    }
    let mut apart = own.clone();
    apart.insert(a + 1, 1);
    let v = c.reshape(p, &apart)?;
    apart[a + 1] = block;
    let v = c.expand(v, &apart)?;
    let mut whole = own;
    whole[a] *= block;
    let v = c.reshape(v, &whole)?;
    c.slice(v, a, 0, sizes[a])
}

/// `saturate(round(v) + zero)`, halves to even; `v` is `f32`.
pub(super) fn saturated(c: &mut Compose<'_, '_>, v: ValueId, zero: Option<ValueId>, to: DType) -> Made {
    let (least, most) = limits(to)?;
    let mut v = c.unary(Unary::Round, v)?;
    if let Some(zero) = zero {
        let zero = c.cast(zero, DType::F32)?;
        v = c.binary(Binary::Add, v, zero)?;
    }
    let v = c.with(Binary::Max, v, least)?;
    let v = c.with(Binary::Min, v, most)?;
    c.cast(v, to)
}

/// `v − zero` in `i32`, where products cannot overflow; of floats in `f32`.
pub(super) fn centred(c: &mut Compose<'_, '_>, v: ValueId, zero: Option<ValueId>) -> Made {
    let wide = if quantised_float(c.dtype(v)).is_some() { DType::F32 } else { DType::I32 };
    let v = c.cast(v, wide)?;
    let Some(zero) = zero else { return Ok(v) };
    let zero = c.cast(zero, wide)?;
    c.binary(Binary::Sub, v, zero)
}

/// An operand that may be left out.
fn optional(i: &mut Import<'_>, n: &Node<'_>, at: usize) -> Result<Option<ValueId>, String> {
    if n.given(at) { n.tensor(at, i).map(Some) } else { Ok(None) }
}

fn type_attribute(n: &Node<'_>, name: &str) -> Result<Option<DType>, String> {
    match i32::try_from(n.int(name, 0)) {
        Ok(0) => Ok(None),
        Ok(number) => tensor::dtype(number).map(Some),
        Err(_) => Err(format!("attribute `{name}` is no type")),
    }
}

fn quantize(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, scale, zero) = (n.tensor(0, i)?, n.tensor(1, i)?, optional(i, n, 2)?);
    let mut c = Compose { import: i, name: n.label };
    let asked = type_attribute(n, "output_dtype")?;
    let to = zero.map(|z| c.dtype(z)).or(asked).unwrap_or(DType::U8);
    if asked.is_some_and(|t| t != to) {
        return Err(format!("its zero point has the type {to}, its attribute output_dtype says otherwise"));
    }
    let float = quantised_float(to);
    if float.is_none() {
        limits(to)?;
    }
    let (sizes, axis, block) = (c.sizes(x)?, n.int("axis", 1), n.int("block_size", 0));
    let scale = widened_scale(&mut c, scale)?;
    let precision = type_attribute(n, "precision")?.unwrap_or(c.dtype(scale));
    if !precision.is_float() {
        return Err(format!("its scale has the type {precision}, expected a float"));
    }
    let scale = spread(&mut c, scale, &sizes, axis, block)?;
    let zero = zero.map(|z| spread(&mut c, z, &sizes, axis, block)).transpose()?;
    let (x, scale) = (c.cast(x, precision)?, c.cast(scale, precision)?);
    let v = c.binary(Binary::Div, x, scale)?;
    let mut v = c.cast(v, DType::F32)?;
    let Some(float) = float else { return super::one(saturated(&mut c, v, zero, to)?) };
    if let Some(zero) = zero {
        let zero = c.cast(zero, DType::F32)?;
        v = c.binary(Binary::Add, v, zero)?;
    }
    super::one(narrow::cast(&mut c, v, float, Conversion::of(n)?)?)
}

/// A scale that is a power of two of 8 bits as what can be computed with.
fn widened_scale(c: &mut Compose<'_, '_>, scale: ValueId) -> Made {
    if c.dtype(scale) == DType::F8E8M0 { c.cast(scale, DType::F32) } else { Ok(scale) }
}

fn dequantize(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, scale, zero) = (n.tensor(0, i)?, n.tensor(1, i)?, optional(i, n, 2)?);
    let mut c = Compose { import: i, name: n.label };
    match c.dtype(x) {
        // Sums of products are dequantised too, without a zero point.
        DType::I32 => {}
        t if quantised_float(t).is_some() => check_zero(t, zero.map(|z| c.dtype(z)))?,
        _ => check_types(&c, x, zero)?,
    }
    let to = type_attribute(n, "output_dtype")?.unwrap_or(c.dtype(scale));
    let scale = widened_scale(&mut c, scale)?;
    if !c.dtype(scale).is_float() {
        return Err(format!("its scale has the type {}, expected a float", c.dtype(scale)));
    }
    if !to.is_float() {
        return Err(format!("it cannot give {to}: set output_dtype to a float type"));
    }
    let (sizes, axis, block) = (c.sizes(x)?, n.int("axis", 1), n.int("block_size", 0));
    let scale = spread(&mut c, scale, &sizes, axis, block)?;
    let zero = zero.map(|z| spread(&mut c, z, &sizes, axis, block)).transpose()?;
    let v = centred(&mut c, x, zero)?;
    let (v, scale) = (c.cast(v, DType::F32)?, c.cast(scale, DType::F32)?);
    let v = c.binary(Binary::Mul, v, scale)?;
    super::one(c.cast(v, to)?)
}

/// To `u8`, with scale and zero point from the least and the largest number, zero among them.
pub(super) fn dynamic_quantize(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    if c.dtype(x) != DType::F32 {
        return Err(format!("it quantises f32, found {}", c.dtype(x)));
    }
    let axes: Vec<usize> = (0..c.ty(x).rank()).collect();
    let least = c.reduce(ReduceKind::Min, x, &axes, false)?;
    let most = c.reduce(ReduceKind::Max, x, &axes, false)?;
    let (least, most) = (c.with(Binary::Min, least, 0.0)?, c.with(Binary::Max, most, 0.0)?);
    let range = c.binary(Binary::Sub, most, least)?;
    let scale = c.with(Binary::Div, range, 255.0)?;
    // Nothing but zeros: any scale will do.
    let none = c.with(Binary::Eq, scale, 0.0)?;
    let unit = c.numbers(DType::F32, &[], &[1.0])?;
    let scale = c.select(none, unit, scale)?;
    let zero = c.binary(Binary::Div, least, scale)?;
    let zero = c.unary(Unary::Neg, zero)?;
    let zero = saturated(&mut c, zero, None, DType::U8)?;
    let v = c.binary(Binary::Div, x, scale)?;
    let v = saturated(&mut c, v, Some(zero), DType::U8)?;
    Ok([v, scale, zero].map(Val::Tensor).to_vec())
}

/// Numbers for rows of a matrix: a vector gets an axis for the columns.
pub(super) fn for_rows(c: &mut Compose<'_, '_>, p: ValueId, matrix: ValueId) -> Made {
    let (own, sizes) = (c.sizes(p)?, c.sizes(matrix)?);
    match own[..] {
        [1] => c.reshape(p, &[]),
        [m] if sizes.len() >= 2 && sizes[sizes.len() - 2] == m => c.reshape(p, &[m, 1]),
        [m] => Err(format!("{m} scales or zero points for the rows of {sizes:?}")),
        _ => Ok(p),
    }
}

/// Numbers for columns of a matrix, as they broadcast anyway.
pub(super) fn for_columns(c: &mut Compose<'_, '_>, p: ValueId, matrix: ValueId) -> Made {
    let (own, sizes) = (c.sizes(p)?, c.sizes(matrix)?);
    match own[..] {
        [1] => c.reshape(p, &[]),
        [m] if sizes.len() < 2 || sizes[sizes.len() - 1] != m => {
            Err(format!("{m} scales or zero points for the columns of {sizes:?}"))
        }
        _ => Ok(p),
    }
}

/// The product of two matrices of quantised numbers, in `i32`.
pub(super) fn product(
    i: &mut Import<'_>,
    name: &str,
    (a, a_zero): (ValueId, Option<ValueId>),
    (b, b_zero): (ValueId, Option<ValueId>),
) -> Made {
    let mut c = Compose { import: i, name };
    check_types(&c, a, a_zero)?;
    check_types(&c, b, b_zero)?;
    let a_zero = a_zero.map(|z| for_rows(&mut c, z, a)).transpose()?;
    let b_zero = b_zero.map(|z| for_columns(&mut c, z, b)).transpose()?;
    let (a, b) = (centred(&mut c, a, a_zero)?, centred(&mut c, b, b_zero)?);
    conv::product(i, a, b, name)
}

fn matmul_integer(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let a = (n.tensor(0, i)?, optional(i, n, 2)?);
    let b = (n.tensor(1, i)?, optional(i, n, 3)?);
    super::one(product(i, n.label, a, b)?)
}

/// `saturate(round(sum · a · b / y) + zero)`.
fn requantized(
    c: &mut Compose<'_, '_>,
    sum: ValueId,
    (a, b, y): (ValueId, ValueId, ValueId),
    zero: ValueId,
) -> Made {
    let [a, b, y] = [c.cast(a, DType::F32)?, c.cast(b, DType::F32)?, c.cast(y, DType::F32)?];
    let scale = c.binary(Binary::Mul, a, b)?;
    let scale = c.binary(Binary::Div, scale, y)?;
    let sum = c.cast(sum, DType::F32)?;
    let v = c.binary(Binary::Mul, sum, scale)?;
    let to = c.dtype(zero);
    saturated(c, v, Some(zero), to)
}

fn qlinear_matmul(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = n.tensors(i)?[..] else {
        return Err("it takes eight operands".into());
    };
    let sum = product(i, n.label, (a, Some(a_zero)), (b, Some(b_zero)))?;
    let mut c = Compose { import: i, name: n.label };
    let (a_scale, b_scale) = (for_rows(&mut c, a_scale, a)?, for_columns(&mut c, b_scale, b)?);
    let (y_scale, y_zero) = (for_rows(&mut c, y_scale, sum)?, for_rows(&mut c, y_zero, sum)?);
    super::one(requantized(&mut c, sum, (a_scale, b_scale, y_scale), y_zero)?)
}

/// The convolution of quantised numbers, in `f64`, where its sums are exact: they stay below 2^53.
fn convolution(
    i: &mut Import<'_>,
    n: &Node<'_>,
    (x, x_zero): (ValueId, Option<ValueId>),
    (w, w_zero): (ValueId, Option<ValueId>),
    bias: Option<ValueId>,
) -> Made {
    let mut c = Compose { import: i, name: n.label };
    check_types(&c, x, x_zero)?;
    check_types(&c, w, w_zero)?;
    let (x_sizes, w_sizes) = (c.sizes(x)?, c.sizes(w)?);
    // One number: channels have no zero points of their own.
    let x_zero = match x_zero {
        Some(z) if c.ty(z).elements() == Some(1) => Some(spread(&mut c, z, &x_sizes, 1, 0)?),
        Some(z) => return Err(format!("its zero point is {}, expected one number", c.ty(z))),
        None => None,
    };
    let w_zero = w_zero.map(|z| spread(&mut c, z, &w_sizes, 0, 0)).transpose()?;
    let (x, w) = (centred(&mut c, x, x_zero)?, centred(&mut c, w, w_zero)?);
    let mut operands = vec![c.cast(x, DType::F64)?, c.cast(w, DType::F64)?];
    if let Some(bias) = bias {
        operands.push(c.cast(bias, DType::F64)?);
    }
    conv::convolution(i, n, &operands)
}

fn conv_integer(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = (n.tensor(0, i)?, optional(i, n, 2)?);
    let w = (n.tensor(1, i)?, optional(i, n, 3)?);
    let sum = convolution(i, n, x, w, None)?;
    super::one(Compose { import: i, name: n.label }.cast(sum, DType::I32)?)
}

pub(super) fn qlinear_conv(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut at = |k: usize| n.tensor(k, i);
    let [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero] =
        [at(0)?, at(1)?, at(2)?, at(3)?, at(4)?, at(5)?, at(6)?, at(7)?];
    let bias = optional(i, n, 8)?;
    let sum = convolution(i, n, (x, Some(x_zero)), (w, Some(w_zero)), bias)?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(sum)?;
    let [x_scale, w_scale, y_scale, y_zero] =
        [x_scale, w_scale, y_scale, y_zero].map(|p| spread(&mut c, p, &sizes, 1, 0));
    super::one(requantized(&mut c, sum, (x_scale?, w_scale?, y_scale?), y_zero?)?)
}
