//! Operators between quantised numbers: dequantised, computed in `f32`, and quantised again; products stay integers.

use tactician_ir::{Binary, DType, ReduceKind, Softmax, Unary, ValueId};
use tactician_ir::{MatMul, Op};

use super::super::compose::{Compose, Made};
use super::super::quantize::{
    centred, dynamic_quantize, for_columns, for_rows, product, qlinear_conv, saturated,
};
use super::super::{Importer, conv, importer, one};
use super::{apply, fused, int, optional};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::proto::AttributeProto;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("com.microsoft.QLinearAdd", |i, n| of_two(i, n, Binary::Add)),
    ("com.microsoft.QLinearMul", |i, n| of_two(i, n, Binary::Mul)),
    ("com.microsoft.QLinearSigmoid", |i, n| of_one(i, n, &|c, v| c.unary(Unary::Sigmoid, v))),
    ("com.microsoft.QLinearLeakyRelu", |i, n| {
        let alpha = f64::from(n.float("alpha", 0.01));
        of_one(i, n, &|c, v| {
            let negative = c.with(Binary::Lt, v, 0.0)?;
            let less = c.with(Binary::Mul, v, alpha)?;
            c.select(negative, less, v)
        })
    }),
    ("com.microsoft.QLinearSoftmax", |i, n| {
        let (given, old) = (n.int("axis", -1), n.int("opset", 13) < 13);
        of_one(i, n, &|c, v| {
            let sizes = c.sizes(v)?;
            let axis = n.axis(given, sizes.len())?;
            if !old || axis + 1 == sizes.len() {
                return c.op(Op::Softmax(Softmax { axis, log: false }), &[v]);
            }
            let flat = c.reshape(v, &[sizes[..axis].iter().product(), sizes[axis..].iter().product()])?;
            let flat = c.op(Op::Softmax(Softmax { axis: 1, log: false }), &[flat])?;
            c.reshape(flat, &sizes)
        })
    }),
    ("com.microsoft.QLinearReduceMean", |i, n| {
        let keep = n.int("keepdims", 1) != 0;
        of_one(i, n, &|c, v| {
            let rank = c.ty(v).rank();
            let axes = match n.ints("axes") {
                Some(a) => n.axes(a, rank)?,
                None => (0..rank).collect(),
            };
            c.reduce(ReduceKind::Mean, v, &axes, keep)
        })
    }),
    ("com.microsoft.QLinearGlobalAveragePool", |i, n| {
        let last = n.int("channels_last", 0) != 0;
        of_one(i, n, &|c, v| {
            let rank = c.ty(v).rank();
            let axes: Vec<usize> = if last { 1..rank.saturating_sub(1) } else { 2..rank }.collect();
            c.reduce(ReduceKind::Mean, v, &axes, true)
        })
    }),
    ("com.microsoft.QLinearAveragePool", average_pool),
    ("com.microsoft.QLinearConcat", concat),
    ("com.microsoft.QLinearWhere", choose),
    ("com.microsoft.QLinearConv", convolution),
    ("com.microsoft.QGemm", gemm),
    ("com.microsoft.MatMulIntegerToFloat", matmul_to_float),
    ("com.microsoft.DynamicQuantizeMatMul", dynamic_matmul),
    ("com.microsoft.DynamicQuantizeLSTM", lstm),
    ("com.microsoft.MatMulNBits", matmul_bits),
];

/// Scale and zero point of a whole tensor: operands `at` and `at + 1`, the latter perhaps left out.
fn parameters(i: &mut Import<'_>, n: &Node<'_>, at: usize) -> Result<(ValueId, Option<ValueId>), String> {
    let (scale, zero) = (n.tensor(at, i)?, optional(i, n, at + 1)?);
    let mut c = Compose { import: i, name: n.label };
    let mut single = |v: ValueId| match c.sizes(v)?.iter().product() {
        1usize => c.reshape(v, &[]),
        count => Err(format!("{count} scales or zero points for one tensor")),
    };
    Ok((single(scale)?, zero.map(single).transpose()?))
}

/// `(x − zero) · scale`.
fn plain(c: &mut Compose<'_, '_>, x: ValueId, (scale, zero): (ValueId, Option<ValueId>)) -> Made {
    let v = centred(c, x, zero)?;
    let v = c.cast(v, DType::F32)?;
    c.binary(Binary::Mul, v, scale)
}

/// `saturate(round(v / scale) + zero)`.
fn quantised(
    c: &mut Compose<'_, '_>,
    v: ValueId,
    (scale, zero): (ValueId, Option<ValueId>),
    to: DType,
) -> Made {
    let v = c.binary(Binary::Div, v, scale)?;
    saturated(c, v, zero, to)
}

fn of_one(
    i: &mut Import<'_>,
    n: &Node<'_>,
    f: &dyn Fn(&mut Compose<'_, '_>, ValueId) -> Made,
) -> Result<Vec<Val>, String> {
    let (x, from, to) = (n.tensor(0, i)?, parameters(i, n, 1)?, parameters(i, n, 3)?);
    let mut c = Compose { import: i, name: n.label };
    let dtype = c.dtype(x);
    let v = plain(&mut c, x, from)?;
    let v = f(&mut c, v)?;
    one(quantised(&mut c, v, to, dtype)?)
}

fn of_two(i: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<Val>, String> {
    let (a, a_by, b, b_by) = (n.tensor(0, i)?, parameters(i, n, 1)?, n.tensor(3, i)?, parameters(i, n, 4)?);
    let to = parameters(i, n, 6)?;
    let mut c = Compose { import: i, name: n.label };
    let dtype = c.dtype(a);
    let (a, b) = (plain(&mut c, a, a_by)?, plain(&mut c, b, b_by)?);
    let v = c.binary(op, a, b)?;
    one(quantised(&mut c, v, to, dtype)?)
}

fn average_pool(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (x, from, to) = (n.tensor(0, i)?, parameters(i, n, 1)?, parameters(i, n, 3)?);
    let last = n.int("channels_last", 0) != 0;
    let (dtype, rank) = (i.ty(x).dtype, i.ty(x).rank());
    let mut v = plain(&mut Compose { import: i, name: n.label }, x, from)?;
    if last {
        v = fused::channels_first(i, v, n.label)?;
    }
    let attributes: Vec<AttributeProto> = n.attributes.iter().map(|(_, a)| (*a).clone()).collect();
    v = apply(i, n.label, "AveragePool", &[v], &attributes)?;
    if last {
        v = conv::transpose(i, v, [0].into_iter().chain(2..rank).chain([1]).collect(), n.label)?;
    }
    one(quantised(&mut Compose { import: i, name: n.label }, v, to, dtype)?)
}

/// Operands are the result's scale and zero point, then tensors, each with its own.
fn concat(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let to = parameters(i, n, 0)?;
    let dtype = i.ty(to.1.ok_or("its zero point is missing")?).dtype;
    let mut parts = Vec::new();
    for at in (2..n.inputs.len()).step_by(3) {
        let (x, from) = (n.tensor(at, i)?, parameters(i, n, at + 1)?);
        let mut c = Compose { import: i, name: n.label };
        let v = plain(&mut c, x, from)?;
        parts.push(quantised(&mut c, v, to, dtype)?);
    }
    one(apply(i, n.label, "Concat", &parts, &[int("axis", n.int("axis", 0))])?)
}

fn choose(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (condition, x, x_by) = (n.tensor(0, i)?, n.tensor(1, i)?, parameters(i, n, 2)?);
    let (y, y_by, to) = (n.tensor(4, i)?, parameters(i, n, 5)?, parameters(i, n, 7)?);
    let mut c = Compose { import: i, name: n.label };
    let dtype = c.dtype(x);
    let (x, y) = (plain(&mut c, x, x_by)?, plain(&mut c, y, y_by)?);
    let v = c.select(condition, x, y)?;
    one(quantised(&mut c, v, to, dtype)?)
}

fn convolution(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if n.int("channels_last", 0) == 0 {
        return qlinear_conv(i, n);
    }
    let x = n.tensor(0, i)?;
    let rank = i.ty(x).rank();
    let x = fused::channels_first(i, x, n.label)?;
    let mut inputs = n.inputs.to_vec();
    inputs[0] = Some(Val::Tensor(x));
    let y = qlinear_conv(i, &Node { inputs: &inputs, ..*n })?;
    let y = i.tensor(y.first().ok_or("it gives nothing")?, n.label)?;
    one(conv::transpose(i, y, [0].into_iter().chain(2..rank).chain([1]).collect(), n.label)?)
}

/// `alpha · (a · b + c)` with the scales of both, quantised where a scale of the result is given.
fn gemm(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (mut a, a_by, mut b) = (n.tensor(0, i)?, parameters(i, n, 1)?, n.tensor(3, i)?);
    let (b_scale, b_zero) = (n.tensor(4, i)?, optional(i, n, 5)?);
    for (v, name) in [(&mut a, "transA"), (&mut b, "transB")] {
        if n.int(name, 0) != 0 {
            *v = conv::transpose(i, *v, vec![1, 0], n.label)?;
        }
    }
    let mut sum = product(i, n.label, (a, a_by.1), (b, b_zero))?;
    let bias = optional(i, n, 6)?;
    let to = if n.given(7) { Some(parameters(i, n, 7)?) } else { None };
    let alpha = n.float("alpha", 1.0);
    let mut c = Compose { import: i, name: n.label };
    if let Some(bias) = bias {
        sum = c.binary(Binary::Add, sum, bias)?;
    }
    let b_scale = for_columns(&mut c, b_scale, sum)?;
    let v = scaled(&mut c, sum, a_by.0, b_scale, alpha)?;
    let Some(to) = to else { return one(v) };
    let dtype = c.dtype(to.1.ok_or("the zero point of its result is missing")?);
    one(quantised(&mut c, v, to, dtype)?)
}

/// `sum · a · b · alpha`.
fn scaled(c: &mut Compose<'_, '_>, sum: ValueId, a: ValueId, b: ValueId, alpha: f32) -> Made {
    let mut scale = c.binary(Binary::Mul, a, b)?;
    if alpha != 1.0 {
        scale = c.with(Binary::Mul, scale, f64::from(alpha))?;
    }
    let to = c.dtype(scale);
    let sum = c.cast(sum, to)?;
    c.binary(Binary::Mul, sum, scale)
}

fn matmul_to_float(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (a, b, a_scale, b_scale) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?, n.tensor(3, i)?);
    let (a_zero, b_zero, bias) = (optional(i, n, 4)?, optional(i, n, 5)?, optional(i, n, 6)?);
    let sum = product(i, n.label, (a, a_zero), (b, b_zero))?;
    let mut c = Compose { import: i, name: n.label };
    let (a_scale, b_scale) = (for_rows(&mut c, a_scale, a)?, for_columns(&mut c, b_scale, b)?);
    let v = scaled(&mut c, sum, a_scale, b_scale, 1.0)?;
    one(match bias {
        Some(bias) => c.binary(Binary::Add, v, bias)?,
        None => v,
    })
}

/// `a` is quantised by its own range.
fn dynamic_matmul(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let numbers = dynamic_quantize(i, n)?;
    let numbers = numbers.iter().map(|v| i.tensor(v, n.label)).collect::<Result<Vec<_>, _>>()?;
    let [a, a_scale, a_zero] = numbers[..] else { return Err("it quantises to nothing".into()) };
    let (b, b_scale, b_zero) = (n.tensor(1, i)?, n.tensor(2, i)?, optional(i, n, 3)?);
    let bias = optional(i, n, 4)?;
    let sum = product(i, n.label, (a, Some(a_zero)), (b, b_zero))?;
    let mut c = Compose { import: i, name: n.label };
    let b_scale = for_columns(&mut c, b_scale, b)?;
    let v = scaled(&mut c, sum, a_scale, b_scale, 1.0)?;
    one(match bias {
        Some(bias) => c.binary(Binary::Add, v, bias)?,
        None => v,
    })
}

/// An LSTM in floats, of dequantised weights: more exact than quantising its inputs and states at every step.
fn lstm(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut inputs = n.inputs.to_vec();
    for (at, scale) in [(1, 8), (2, 10)] {
        let (w, by, zero) = (n.tensor(at, i)?, n.tensor(scale, i)?, n.tensor(scale + 1, i)?);
        let mut c = Compose { import: i, name: n.label };
        let sizes = c.sizes(w)?;
        let &[cells, _, gates] = sizes.as_slice() else { return Err(format!("its weights are {}", c.ty(w))) };
        let mut wide = |v: ValueId| {
            let count = c.sizes(v)?.iter().product::<usize>();
            match (count == cells, count == cells * gates) {
                (true, _) => c.reshape(v, &[cells, 1, 1]),
                (_, true) => c.reshape(v, &[cells, 1, gates]),
                _ => Err(format!("{count} scales or zero points for {sizes:?}")),
            }
        };
        let (by, zero) = (wide(by)?, wide(zero)?);
        let v = plain(&mut c, w, (by, Some(zero)))?;
        inputs[at] = Some(Val::Tensor(c.transpose(v, vec![0, 2, 1])?));
    }
    inputs.truncate(8);
    importer("LSTM").ok_or("`LSTM` is unknown")?(i, &Node { inputs: &inputs, ..*n })
}

/// `a · bᵀ + bias`, of `b [N, K]` stored by blocks of a row, each with its scale and zero point, two numbers of 4 bits a byte or
/// one of 8.
fn matmul_bits(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (a, b, scales) = (n.tensor(0, i)?, n.tensor(1, i)?, n.tensor(2, i)?);
    let (zeros, bias) = (optional(i, n, 3)?, optional(i, n, 5)?);
    if n.given(4) {
        return Err("an order of groups (g_idx) is not supported".into());
    }
    let size = |name: &str| {
        let v = n.int(name, 0);
        usize::try_from(v).ok().filter(|&v| v > 0 && v < 1 << 31).ok_or(format!("attribute `{name}` is {v}"))
    };
    let (rows, width, block) = (size("N")?, size("K")?, size("block_size")?);
    let a_byte = match n.int("bits", 4) {
        4 => 2,
        8 => 1,
        other => return Err(format!("numbers of {other} bits are not supported, only of 4 and 8")),
    };
    let blocks = width.div_ceil(block);
    let mut c = Compose { import: i, name: n.label };
    let dtype = c.dtype(a);
    let number = c.reshape(b, &[rows, blocks, block / a_byte])?;
    let number = numbers(&mut c, number, a_byte)?;
    let number = c.cast(number, dtype)?;
    let zero = match zeros {
        None => c.numbers(dtype, &[], &[if a_byte == 2 { 8.0 } else { 128.0 }])?,
        Some(z) if c.dtype(z) == DType::U8 => {
            let bytes = blocks.div_ceil(a_byte);
            let z = c.reshape(z, &[rows, 1, bytes])?;
            let z = numbers(&mut c, z, a_byte)?;
            let z = c.slice(z, 2, 0, blocks)?;
            let z = c.reshape(z, &[rows, blocks, 1])?;
            c.cast(z, dtype)?
        }
        Some(z) => c.reshape(z, &[rows, blocks, 1])?,
    };
    let v = c.binary(Binary::Sub, number, zero)?;
    let scales = c.reshape(scales, &[rows, blocks, 1])?;
    let v = c.binary(Binary::Mul, v, scales)?;
    let v = c.reshape(v, &[rows, blocks * block])?;
    let b = c.slice(v, 1, 0, width)?;
    let y = if c.ty(a).rank() > 1 {
        c.op(Op::MatMul(MatMul { trans_a: false, trans_b: true }), &[a, b])?
    } else {
        let b = c.transpose(b, vec![1, 0])?;
        conv::product(i, a, b, n.label)?
    };
    one(match bias {
        Some(bias) => Compose { import: i, name: n.label }.binary(Binary::Add, y, bias)?,
        None => y,
    })
}

/// Bytes `[A, B, C]` as the numbers that they hold, the lower half first: `[A, B, C·count]`.
fn numbers(c: &mut Compose<'_, '_>, bytes: ValueId, count: usize) -> Made {
    if count == 1 {
        return Ok(bytes);
    }
    let sizes = c.sizes(bytes)?;
    let (low, high) = (c.with(Binary::BitAnd, bytes, 15.0)?, c.with(Binary::Shr, bytes, 4.0)?);
    let apart = [sizes[0], sizes[1], sizes[2], 1];
    let (low, high) = (c.reshape(low, &apart)?, c.reshape(high, &apart)?);
    let v = c.concat(3, &[low, high])?;
    c.reshape(v, &[sizes[0], sizes[1], 2 * sizes[2]])
}
