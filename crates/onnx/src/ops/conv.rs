//! Convolutions and matrix products.

use tactician_ir::{
    Binary, Conv, ConvTranspose, DType, Expr, ExprNode, MatMul, Op, Reshape, Scalar, Shape, Transpose,
    ValueId,
};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] =
    &[("Conv", conv), ("ConvTranspose", conv_transpose), ("Gemm", gemm), ("MatMul", matmul)];

/// Padding before and after each spatial axis. `window` counts dilated elements.
pub(super) fn pads(
    n: &Node<'_>,
    input: &Shape,
    window: &[usize],
    strides: &[usize],
) -> Result<Vec<(usize, usize)>, String> {
    let axes = window.len();
    let auto = n.text("auto_pad", "NOTSET")?;
    match auto.as_str() {
        "VALID" => Ok(vec![(0, 0); axes]),
        "NOTSET" | "" => match n.ints("pads") {
            None => Ok(vec![(0, 0); axes]),
            Some(l) if l.len() == 2 * axes => (0..axes)
                .map(|a| {
                    let side = |v: i64| {
                        usize::try_from(v)
                            .ok()
                            .filter(|&v| v < 1 << 31)
                            .ok_or_else(|| format!("pads {l:?} are not supported"))
                    };
                    Ok((side(l[a])?, side(l[a + axes])?))
                })
                .collect(),
            Some(l) => Err(format!("{} pads for {axes} axes", l.len())),
        },
        "SAME_UPPER" | "SAME_LOWER" => (0..axes)
            .map(|a| {
                let size = input.dims()[2 + a].as_usize().ok_or_else(|| {
                    format!(
                        "auto_pad {auto} needs the size of axis {}; give the input shapes (--shape)",
                        2 + a
                    )
                })?;
                let out = size.div_ceil(strides[a]);
                let total = (out.saturating_sub(1) * strides[a] + window[a]).saturating_sub(size);
                let small = total / 2;
                Ok(if auto == "SAME_UPPER" { (small, total - small) } else { (total - small, small) })
            })
            .collect(),
        other => Err(format!("auto_pad `{other}` is unknown")),
    }
}

/// Spatial window of the weights.
fn window(i: &Import<'_>, w: ValueId) -> Result<Vec<usize>, String> {
    let sizes = i.ty(w).sizes().ok_or("the weights' shape must be known")?;
    if sizes.len() < 3 {
        return Err(format!("weights of rank {}, expected 3 or more", sizes.len()));
    }
    Ok(sizes[2..].to_vec())
}

/// Sizes of windows with their gaps.
pub(super) fn dilated(window: &[usize], dilations: &[usize]) -> Result<Vec<usize>, String> {
    window
        .iter()
        .zip(dilations)
        .map(|(&w, &d)| {
            w.checked_sub(1)
                .and_then(|w| w.checked_mul(d))
                .map(|w| w + 1)
                .ok_or_else(|| "a window is empty or too large".into())
        })
        .collect()
}

fn groups(n: &Node<'_>) -> Result<usize, String> {
    usize::try_from(n.int("group", 1))
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| "the number of groups must be positive".into())
}

fn conv(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let inputs = operands(i, n)?;
    one(convolution(i, n, &inputs)?)
}

/// The convolution of `x, w [, bias]` with the node's attributes.
pub(super) fn convolution(i: &mut Import<'_>, n: &Node<'_>, inputs: &[ValueId]) -> Result<ValueId, String> {
    let window = window(i, inputs[1])?;
    let axes = window.len();
    let (strides, dilations) = (n.sizes("strides", axes, 1)?, n.sizes("dilations", axes, 1)?);
    if i.ty(inputs[0]).rank() != axes + 2 {
        return Err(format!("the input has rank {}, the weights have {}", i.ty(inputs[0]).rank(), axes + 2));
    }
    let pads = pads(n, &i.ty(inputs[0]).shape, &dilated(&window, &dilations)?, &strides)?;
    i.add(Op::Conv(Conv { strides, pads, dilations, groups: groups(n)? }), inputs, n.label)
}

fn operands(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<ValueId>, String> {
    let mut inputs = vec![n.tensor(0, i)?, n.tensor(1, i)?];
    if n.given(2) {
        inputs.push(n.tensor(2, i)?);
    }
    Ok(inputs)
}

fn conv_transpose(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let inputs = operands(i, n)?;
    let window = window(i, inputs[1])?;
    let axes = window.len();
    let (strides, dilations) = (n.sizes("strides", axes, 1)?, n.sizes("dilations", axes, 1)?);
    let mut output_padding = n.sizes("output_padding", axes, 0)?;
    let span = dilated(&window, &dilations)?;
    let ty = i.ty(inputs[0]);
    if ty.rank() != axes + 2 {
        return Err(format!("the input has rank {}, the weights have {}", ty.rank(), axes + 2));
    }
    let auto = n.text("auto_pad", "NOTSET")?;
    let pads = if n.has("output_shape") || auto.starts_with("SAME") {
        let mut out = Vec::new();
        let given = n.ints("output_shape");
        for a in 0..axes {
            let size = ty.shape.dims()[2 + a]
                .as_usize()
                .ok_or("its padding needs known sizes; give the input shapes (--shape)")?;
            let full = size.saturating_sub(1) * strides[a] + output_padding[a] + span[a];
            let want = match given {
                Some(l) if l.len() == axes => {
                    usize::try_from(l[a]).map_err(|_| format!("output_shape {l:?}"))?
                }
                Some(l) if l.len() == axes + 2 => {
                    usize::try_from(l[a + 2]).map_err(|_| format!("output_shape {l:?}"))?
                }
                Some(l) => return Err(format!("output_shape has {} entries for {axes} axes", l.len())),
                None => size * strides[a],
            };
            if want > full {
                // A larger output than the windows reach: the rest is empty.
                output_padding[a] += want - full;
            }
            let total = full.saturating_sub(want);
            let small = total / 2;
            out.push(if auto == "SAME_UPPER" { (small, total - small) } else { (total - small, small) });
        }
        out
    } else {
        pads(n, &ty.shape, &span, &strides)?
    };
    let op = ConvTranspose { strides, pads, dilations, output_padding, groups: groups(n)? };
    one(i.add(Op::ConvTranspose(op), &inputs, n.label)?)
}

/// `alpha·A'·B' + beta·C`.
pub(super) fn gemm(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (a, b) = (n.tensor(0, i)?, n.tensor(1, i)?);
    let op = MatMul { trans_a: n.int("transA", 0) != 0, trans_b: n.int("transB", 0) != 0 };
    let (alpha, beta) = (n.float("alpha", 1.0), n.float("beta", 1.0));
    let mut v = i.add(Op::MatMul(op), &[a, b], n.label)?;
    let ty = i.ty(v).dtype;
    if alpha != 1.0 {
        v = scale(i, v, alpha, ty, n.label)?;
    }
    if n.given(2) && beta != 0.0 {
        let mut c = n.tensor(2, i)?;
        if beta != 1.0 {
            c = scale(i, c, beta, ty, n.label)?;
        }
        v = i.add(Op::Pointwise(Expr::binary(Binary::Add)), &[v, c], n.label)?;
    }
    one(v)
}

fn scale(i: &mut Import<'_>, v: ValueId, by: f32, ty: DType, name: &str) -> Result<ValueId, String> {
    let mut e = Expr::empty();
    let (x, c) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Const(Scalar::of(ty, f64::from(by)))));
    e.push(ExprNode::Binary(Binary::Mul, x, c));
    i.add(Op::Pointwise(e), &[v], name)
}

fn matmul(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let (a, b) = (n.tensor(0, i)?, n.tensor(1, i)?);
    one(product(i, a, b, n.label)?)
}

/// NumPy's product: operands of rank 1 get an axis, which the result loses again.
pub(super) fn product(
    i: &mut Import<'_>,
    mut a: ValueId,
    mut b: ValueId,
    name: &str,
) -> Result<ValueId, String> {
    let (ra, rb) = (i.ty(a).rank(), i.ty(b).rank());
    if ra == 0 || rb == 0 {
        return Err("scalars cannot be multiplied as matrices".into());
    }
    if ra == 1 {
        let mut shape = i.ty(a).shape;
        shape.0.insert(0, 1.into());
        a = i.add(Op::Reshape(Reshape { shape }), &[a], name)?;
    }
    if rb == 1 {
        let mut shape = i.ty(b).shape;
        shape.0.push(1.into());
        b = i.add(Op::Reshape(Reshape { shape }), &[b], name)?;
    }
    let mut v = i.add(Op::MatMul(MatMul::default()), &[a, b], name)?;
    if ra == 1 || rb == 1 {
        let mut shape = i.ty(v).shape;
        let r = shape.rank();
        if rb == 1 {
            shape.0.remove(r - 1);
        }
        if ra == 1 {
            shape.0.remove(r - 2);
        }
        v = i.add(Op::Reshape(Reshape { shape }), &[v], name)?;
    }
    Ok(v)
}

/// A transpose, left out when it changes nothing.
pub(super) fn transpose(
    i: &mut Import<'_>,
    v: ValueId,
    perm: Vec<usize>,
    name: &str,
) -> Result<ValueId, String> {
    i.add(Op::Transpose(Transpose { perm }), &[v], name)
}
