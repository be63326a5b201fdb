//! Normalisations.

use tactician_ir::{
    BatchNorm, Binary, DType, GroupNorm, InstanceNorm, LayerNorm, Lrn, Op, ReduceKind, RmsNorm, Tensor,
    Unary, ValueId,
};

use super::compose::Compose;
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("BatchNormalization", |i, n| {
        let epsilon = n.float("epsilon", 1e-5);
        let inputs = n.tensors(i)?;
        if i.opset < 9 && n.int("spatial", 1) == 0 {
            return Err("statistics for every place (spatial = 0) are not supported".into());
        }
        if i.opset < 7 && n.int("is_test", 0) == 0 {
            return Err("training mode (is_test = 0) is not supported; export the model for inference".into());
        }
        if n.int("training_mode", 0) != 0 {
            return batch_statistics(i, n, &inputs, epsilon);
        }
        one(i.add(Op::BatchNorm(BatchNorm { epsilon }), &inputs, n.label)?)
    }),
    ("LayerNormalization", layer_norm),
    ("LpNormalization", |i, n| {
        let x = n.tensor(0, i)?;
        let kind = match n.int("p", 2) {
            1 => ReduceKind::L1,
            2 => ReduceKind::L2,
            p => return Err(format!("p = {p} is not defined, only 1 and 2")),
        };
        let mut c = Compose { import: i, name: n.label };
        let axis = n.axis(n.int("axis", -1), c.ty(x).rank())?;
        let norm = c.reduce(kind, x, &[axis], true)?;
        // Zeros stay zeros.
        let flat = c.with(Binary::Eq, norm, 0.0)?;
        let ones = c.numbers(DType::F64, &[], &[1.0])?;
        let ones = {
            let to = c.dtype(x);
            c.cast(ones, to)?
        };
        let norm = c.select(flat, ones, norm)?;
        one(c.binary(Binary::Div, x, norm)?)
    }),
    ("MeanVarianceNormalization", |i, n| {
        let x = n.tensor(0, i)?;
        let mut c = Compose { import: i, name: n.label };
        let axes = n.axes(n.ints("axes").unwrap_or(&[0, 2, 3]), c.ty(x).rank())?;
        let (centred, _, variance) = moments(&mut c, x, &axes)?;
        let deviation = c.unary(Unary::Sqrt, variance)?;
        let deviation = c.with(Binary::Add, deviation, 1e-9)?;
        one(c.binary(Binary::Div, centred, deviation)?)
    }),
    ("RMSNormalization", |i, n| {
        let inputs = n.tensors(i)?;
        let axis = n.axis(n.int("axis", -1), i.ty(inputs[0]).rank())?;
        one(i.add(Op::RmsNorm(RmsNorm { axis, epsilon: n.float("epsilon", 1e-5) }), &inputs, n.label)?)
    }),
    ("InstanceNormalization", |i, n| {
        let inputs = n.tensors(i)?;
        one(i.add(Op::InstanceNorm(InstanceNorm { epsilon: n.float("epsilon", 1e-5) }), &inputs, n.label)?)
    }),
    ("GroupNormalization", group_norm),
    ("LRN", |i, n| {
        let x = n.tensor(0, i)?;
        let size = usize::try_from(n.int("size", 1)).map_err(|_| "size must be positive".to_owned())?;
        let op = Lrn {
            size,
            alpha: n.float("alpha", 1e-4),
            beta: n.float("beta", 0.75),
            bias: n.float("bias", 1.0),
        };
        one(i.add(Op::Lrn(op), &[x], n.label)?)
    }),
    ("Dropout", dropout),
];

/// `x − mean`, the mean and the (biased) variance over some axes, which stay with size 1.
fn moments(
    c: &mut Compose<'_, '_>,
    x: ValueId,
    axes: &[usize],
) -> Result<(ValueId, ValueId, ValueId), String> {
    let mean = c.reduce(ReduceKind::Mean, x, axes, true)?;
    let centred = c.binary(Binary::Sub, x, mean)?;
    let square = c.binary(Binary::Mul, centred, centred)?;
    let variance = c.reduce(ReduceKind::Mean, square, axes, true)?;
    Ok((centred, mean, variance))
}

/// Normalises by the batch's own statistics, and moves the running ones towards them.
fn batch_statistics(
    i: &mut Import<'_>,
    n: &Node<'_>,
    inputs: &[ValueId],
    epsilon: f32,
) -> Result<Vec<Val>, String> {
    let [x, scale, bias, mean, variance] = inputs[..] else { return Err("it takes five operands".into()) };
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let channels = *sizes.get(1).ok_or_else(|| format!("{} has no channels", c.ty(x)))?;
    let axes: Vec<usize> = (0..sizes.len()).filter(|&a| a != 1).collect();
    let (_, own_mean, own_variance) = moments(&mut c, x, &axes)?;
    let (own_mean, own_variance) = (c.reshape(own_mean, &[channels])?, c.reshape(own_variance, &[channels])?);
    let y = c.op(Op::BatchNorm(BatchNorm { epsilon }), &[x, scale, bias, own_mean, own_variance])?;
    let momentum = f64::from(n.float("momentum", 0.9));
    let mut out = vec![Val::Tensor(y)];
    for (old, new) in [(mean, own_mean), (variance, own_variance)] {
        let old = c.with(Binary::Mul, old, momentum)?;
        let new = c.with(Binary::Mul, new, 1.0 - momentum)?;
        out.push(Val::Tensor(c.binary(Binary::Add, old, new)?));
    }
    Ok(out)
}

/// The further outputs are the mean and one over the deviation, in `f32` for shorter types.
fn layer_norm(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let inputs = n.tensors(i)?;
    let epsilon = n.float("epsilon", 1e-5);
    let rank = i.ty(inputs[0]).rank();
    let axis = n.axis(n.int("axis", -1), rank)?;
    let y = i.add(Op::LayerNorm(LayerNorm { axis, epsilon }), &inputs, n.label)?;
    let mut out = vec![Val::Tensor(y)];
    if n.proto.output.iter().skip(1).any(|o| !o.is_empty()) {
        let mut c = Compose { import: i, name: n.label };
        let to = if c.dtype(inputs[0]) == DType::F64 { DType::F64 } else { DType::F32 };
        let x = c.cast(inputs[0], to)?;
        let axes: Vec<usize> = (axis..rank).collect();
        let (_, mean, variance) = moments(&mut c, x, &axes)?;
        let variance = c.with(Binary::Add, variance, f64::from(epsilon))?;
        let deviation = c.unary(Unary::Sqrt, variance)?;
        out.extend([Val::Tensor(mean), Val::Tensor(c.unary(Unary::Reciprocal, deviation)?)]);
    }
    Ok(out)
}

/// Before opset 21 scale and bias are per group.
fn group_norm(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut inputs = n.tensors(i)?;
    let groups =
        usize::try_from(n.int("num_groups", 1)).map_err(|_| "num_groups must be positive".to_owned())?;
    let epsilon = n.float("epsilon", 1e-5);
    if i.opset < 21 {
        let mut c = Compose { import: i, name: n.label };
        let channels = *c.sizes(inputs[0])?.get(1).ok_or("its operand has no channels")?;
        if groups == 0 || channels % groups != 0 {
            return Err(format!("{channels} channels do not divide into {groups} groups"));
        }
        let of: Vec<i64> = (0..channels).map(|k| (k / (channels / groups)) as i64).collect();
        let of = c.ints(&[channels], &of)?;
        for v in inputs.iter_mut().skip(1) {
            *v = c.gather(*v, of, 0)?;
        }
    }
    one(i.add(Op::GroupNorm(GroupNorm { groups, epsilon }), &inputs, n.label)?)
}

/// The identity when it is not training or drops nothing; its mask is then all true.
fn dropout(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let training = match n.val(2) {
        Ok(Val::Tensor(mode)) => i.graph.constant(*mode).is_none_or(|t| t.bytes().first() != Some(&0)),
        _ => i.opset < 7 && n.int("is_test", 0) == 0,
    };
    // An operand since opset 12; half where it is not given.
    let nothing = n.known_floats(1, i).is_ok_and(|r| r.is_some_and(|r| r.first() == Some(&0.0)));
    if training && !nothing {
        return Err("dropping at random is not supported; export the model for inference".into());
    }
    let mut out = vec![n.val(0)?.clone()];
    if n.proto.output.get(1).is_some_and(|o| !o.is_empty()) {
        let x = n.tensor(0, i)?;
        let mut c = Compose { import: i, name: n.label };
        let sizes = c.sizes(x)?;
        let yes = Tensor::bools(&[], &[true]).map_err(|e| e.to_string())?;
        let yes = c.import.constant(n.label, yes);
        out.push(Val::Tensor(c.expand(yes, &sizes)?));
    }
    Ok(out)
}
