//! Normalisations.

use tactician_ir::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Lrn, Op, RmsNorm};

use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("BatchNormalization", |i, n| {
        if n.int("training_mode", 0) != 0 {
            return Err("training mode is not supported; export the model for inference".into());
        }
        let inputs = n.tensors(i)?;
        one(i.add(Op::BatchNorm(BatchNorm { epsilon: n.float("epsilon", 1e-5) }), &inputs, n.label)?)
    }),
    ("LayerNormalization", |i, n| {
        if n.proto.output.iter().skip(1).any(|o| !o.is_empty()) {
            return Err("its outputs of statistics are not supported".into());
        }
        let inputs = n.tensors(i)?;
        let axis = n.axis(n.int("axis", -1), i.ty(inputs[0]).rank())?;
        one(i.add(Op::LayerNorm(LayerNorm { axis, epsilon: n.float("epsilon", 1e-5) }), &inputs, n.label)?)
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
    ("GroupNormalization", |i, n| {
        if i.opset < 21 {
            return Err("before opset 21 its parameters are per group, which is not supported".into());
        }
        let inputs = n.tensors(i)?;
        let groups =
            usize::try_from(n.int("num_groups", 1)).map_err(|_| "num_groups must be positive".to_owned())?;
        one(i.add(
            Op::GroupNorm(GroupNorm { groups, epsilon: n.float("epsilon", 1e-5) }),
            &inputs,
            n.label,
        )?)
    }),
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

/// The identity when it is not training; its mask is all true.
fn dropout(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if let Ok(Val::Tensor(mode)) = n.val(2)
        && i.graph.constant(*mode).is_none_or(|t| t.bytes().first() != Some(&0))
    {
        return Err("training mode is not supported; export the model for inference".into());
    }
    if n.proto.output.get(1).is_some_and(|o| !o.is_empty()) {
        return Err("its mask output is not supported".into());
    }
    Ok(vec![n.val(0)?.clone()])
}
