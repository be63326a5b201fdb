//! Products and convolutions with an activation behind them, and activations with a bias before them.

use tactician_ir::{Binary, MatMul, Op, Softmax, Unary, ValueId};

use super::super::compose::{Compose, Made};
use super::super::matrices::{minor, square};
use super::super::{Importer, conv, one};
use super::{apply, float, optional};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::proto::AttributeProto;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("com.microsoft.FusedConv", |i, n| {
        let v = fused_conv(i, n, false)?;
        one(v)
    }),
    ("com.microsoft.NhwcConv", |i, n| {
        let v = fused_conv(i, n, true)?;
        one(v)
    }),
    ("com.microsoft.NhwcFusedConv", |i, n| {
        let v = fused_conv(i, n, true)?;
        one(v)
    }),
    ("com.microsoft.ConvTransposeWithDynamicPads", transpose_with_pads),
    ("com.microsoft.FusedMatMul", fused_matmul),
    ("com.microsoft.TransposeMatMul", fused_matmul),
    ("com.microsoft.FusedGemm", |i, n| {
        let v = conv::gemm(i, n)?;
        let v = i.tensor(v.first().ok_or("it gives nothing")?, n.label)?;
        let given = |name: &str| n.has(name).then(|| n.float(name, 0.0));
        let names = ["alpha", "beta", "gamma"];
        let attributes: Vec<AttributeProto> = names
            .iter()
            .filter_map(|name| Some(float(name, given(&format!("activation_{name}"))?)))
            .collect();
        one(activation(i, n, v, &attributes)?)
    }),
    ("com.microsoft.Gelu", |i, n| {
        let x = n.tensor(0, i)?;
        one(apply(i, n.label, "Gelu", &[x], &[])?)
    }),
    ("com.microsoft.BiasGelu", |i, n| {
        let x = biased(i, n)?;
        one(apply(i, n.label, "Gelu", &[x], &[])?)
    }),
    ("com.microsoft.FastGelu", |i, n| {
        let x = biased(i, n)?;
        one(fast_gelu(i, n, x)?)
    }),
    ("com.microsoft.QuickGelu", |i, n| {
        let x = n.tensor(0, i)?;
        let alpha = n.float("alpha", 1.702);
        let mut c = Compose { import: i, name: n.label };
        let v = c.with(Binary::Mul, x, f64::from(alpha))?;
        let v = c.unary(Unary::Sigmoid, v)?;
        one(c.binary(Binary::Mul, x, v)?)
    }),
    ("com.microsoft.BiasSplitGelu", |i, n| {
        let x = biased(i, n)?;
        let mut c = Compose { import: i, name: n.label };
        let sizes = c.sizes(x)?;
        let axis = sizes.len().checked_sub(1).ok_or("its operand is a scalar")?;
        let half = sizes[axis] / 2;
        let (left, right) = (c.slice(x, axis, 0, half)?, c.slice(x, axis, half, half)?);
        let right = apply(i, n.label, "Gelu", &[right], &[])?;
        one(Compose { import: i, name: n.label }.binary(Binary::Mul, left, right)?)
    }),
    ("com.microsoft.BiasAdd", |i, n| {
        let (x, skip) = (biased(i, n)?, n.tensor(2, i)?);
        one(Compose { import: i, name: n.label }.binary(Binary::Add, x, skip)?)
    }),
    ("com.microsoft.BiasSoftmax", bias_softmax),
    ("com.microsoft.Inverse", inverse),
];

/// The sum of operands 0 and 1, the latter perhaps left out.
fn biased(i: &mut Import<'_>, n: &Node<'_>) -> Made {
    let (x, bias) = (n.tensor(0, i)?, optional(i, n, 1)?);
    match bias {
        Some(b) => Compose { import: i, name: n.label }.binary(Binary::Add, x, b),
        None => Ok(x),
    }
}

fn fast_gelu(i: &mut Import<'_>, n: &Node<'_>, x: ValueId) -> Made {
    let tanh = AttributeProto {
        name: "approximate".to_owned(),
        s: Some(bytes::Bytes::from_static(b"tanh")),
        ..AttributeProto::default()
    };
    apply(i, n.label, "Gelu", &[x], &[tanh])
}

/// What the attribute `activation` names, with its parameters.
fn activation(i: &mut Import<'_>, n: &Node<'_>, v: ValueId, attributes: &[AttributeProto]) -> Made {
    let name = n.text("activation", "")?;
    match name.as_str() {
        "" => Ok(v),
        "Relu" | "Tanh" | "Sigmoid" | "LeakyRelu" | "HardSigmoid" | "HardSwish" | "Celu" | "Elu" | "Selu"
        | "Softplus" | "Softsign" | "ThresholdedRelu" | "Gelu" => apply(i, n.label, &name, &[v], attributes),
        other => Err(format!("its activation `{other}` is not supported")),
    }
}

/// `activation(conv(x, w) + bias + z)`; with channels last `x`, `z` and the result have them behind the other axes.
fn fused_conv(i: &mut Import<'_>, n: &Node<'_>, channels_last: bool) -> Made {
    let (mut x, w) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let rank = i.ty(x).rank();
    if channels_last {
        x = channels_first(i, x, n.label)?;
    }
    let mut operands = vec![x, w];
    operands.extend(optional(i, n, 2)?);
    let mut v = conv::convolution(i, n, &operands)?;
    if let Some(mut z) = optional(i, n, 3)? {
        if channels_last {
            z = channels_first(i, z, n.label)?;
        }
        v = Compose { import: i, name: n.label }.binary(Binary::Add, v, z)?;
    }
    let params = n.floats("activation_params").unwrap_or_default();
    v = match (n.text("activation", "")?.as_str(), params) {
        ("Clip", [least, most]) => {
            let mut c = Compose { import: i, name: n.label };
            let v = c.with(Binary::Max, v, f64::from(*least))?;
            c.with(Binary::Min, v, f64::from(*most))?
        }
        ("Clip", _) => return Err(format!("its activation Clip has the parameters {params:?}")),
        _ => {
            let named = ["alpha", "beta"].iter().zip(params).map(|(name, &v)| float(name, v));
            activation(i, n, v, &named.collect::<Vec<_>>())?
        }
    };
    if channels_last {
        let perm = [0].into_iter().chain(2..rank).chain([1]).collect();
        v = conv::transpose(i, v, perm, n.label)?;
    }
    Ok(v)
}

/// `[N, …, C]` as `[N, C, …]`.
pub(super) fn channels_first(i: &mut Import<'_>, v: ValueId, label: &str) -> Made {
    let rank = i.ty(v).rank();
    let last =
        rank.checked_sub(1).filter(|&l| l > 0).ok_or_else(|| format!("{} has no channels", i.ty(v)))?;
    conv::transpose(i, v, [0, last].into_iter().chain(1..last).collect(), label)
}

/// A transposed convolution whose padding is operand 2.
fn transpose_with_pads(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut operands = vec![n.tensor(0, i)?, n.tensor(1, i)?];
    let pads = n.known_ints(2, i)?;
    operands.extend(optional(i, n, 3)?);
    let mut attributes: Vec<AttributeProto> =
        n.attributes.iter().filter(|(name, _)| *name != "pads").map(|(_, a)| (*a).clone()).collect();
    if let Some(ints) = pads {
        attributes.push(AttributeProto { name: "pads".to_owned(), ints, ..AttributeProto::default() });
    }
    one(apply(i, n.label, "ConvTranspose", &operands, &attributes)?)
}

/// `alpha · a · b`, of which each may be transposed, or have its first axis behind the axes of the batch.
fn fused_matmul(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (mut a, mut b) = (n.tensor(0, i)?, n.tensor(1, i)?);
    for (v, name) in [(&mut a, "transBatchA"), (&mut b, "transBatchB")] {
        let rank = i.ty(*v).rank();
        if n.int(name, 0) != 0 && rank > 2 {
            let perm = (1..rank - 1).chain([0, rank - 1]).collect();
            *v = conv::transpose(i, *v, perm, n.label)?;
        }
    }
    let side = |i: &Import<'_>, v: ValueId, name: &str| n.int(name, 0) != 0 && i.ty(v).rank() > 1;
    let (trans_a, trans_b) = (side(i, a, "transA"), side(i, b, "transB"));
    let v = if i.ty(a).rank() > 1 && i.ty(b).rank() > 1 {
        i.add(Op::MatMul(MatMul { trans_a, trans_b }), &[a, b], n.label)?
    } else {
        let mut turned = |v: ValueId, turn: bool| match i.ty(v).rank() {
            rank @ 2.. if turn => {
                conv::transpose(i, v, (0..rank - 2).chain([rank - 1, rank - 2]).collect(), n.label)
            }
            _ => Ok(v),
        };
        let (a, b) = (turned(a, trans_a)?, turned(b, trans_b)?);
        conv::product(i, a, b, n.label)?
    };
    let alpha = n.float("alpha", 1.0);
    let mut c = Compose { import: i, name: n.label };
    one(if alpha == 1.0 { v } else { c.with(Binary::Mul, v, f64::from(alpha))? })
}

/// Softmax of a sum over everything from an axis on.
fn bias_softmax(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let v = biased(i, n)?;
    let mut c = Compose { import: i, name: n.label };
    let rank = c.ty(v).rank();
    let axis = n.axis(n.int("axis", 1), rank)?;
    if axis + 1 == rank {
        return one(c.op(Op::Softmax(Softmax { axis, log: false }), &[v])?);
    }
    let sizes = c.sizes(v)?;
    let flat = c.reshape(v, &[sizes[..axis].iter().product(), sizes[axis..].iter().product()])?;
    let flat = c.op(Op::Softmax(Softmax { axis: 1, log: false }), &[flat])?;
    one(c.reshape(flat, &sizes)?)
}

/// By cofactors: `x⁻¹[j][i] = (-1)^(i+j) · det(x without row i and column j) / det(x)`.
fn inverse(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let (sizes, rows) = square(&mut c, x, "inverses")?;
    let count = sizes[..sizes.len() - 2].iter().product::<usize>();
    let flat = c.reshape(x, &[count, rows * rows])?;
    let all: Vec<usize> = (0..rows).collect();
    let det = minor(&mut c, flat, rows, &all, &all)?;
    let mut parts = Vec::with_capacity(rows * rows);
    for j in 0..rows {
        for i in 0..rows {
            let without = |k: usize| all.iter().copied().filter(|&o| o != k).collect::<Vec<_>>();
            let mut part = match rows {
                1 => c.numbers(tactician_ir::DType::F64, &[1, 1], &[1.0])?,
                _ => minor(&mut c, flat, rows, &without(i), &without(j))?,
            };
            part = {
                let to = c.dtype(x);
                c.cast(part, to)?
            };
            if (i + j) % 2 == 1 {
                part = c.unary(Unary::Neg, part)?;
            }
            parts.push(c.binary(Binary::Div, part, det)?);
        }
    }
    let v = c.concat(1, &parts)?;
    one(c.reshape(v, &sizes)?)
}
