//! Operators of the domain `com.microsoft`, which ONNX Runtime defines (docs/ContribOperators.md of its repository) and whose
//! optimisers and quantisers write into models.

mod attention;
mod cache;
mod fused;
mod norm;
mod quantized;

use tactician_ir::ValueId;

use super::compose::Made;
use super::{Importer, importer};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::proto::{AttributeProto, NodeProto};

/// The operators of all files.
pub(super) const LISTS: &[&[(&str, Importer)]] =
    &[attention::OPERATORS, fused::OPERATORS, norm::OPERATORS, quantized::OPERATORS, SAME];

/// Operators that are those of ONNX under another domain.
const SAME: &[(&str, Importer)] = &[
    ("com.microsoft.LayerNormalization", |i, n| same(i, n, "LayerNormalization")),
    ("com.microsoft.QuantizeLinear", |i, n| same(i, n, "QuantizeLinear")),
    ("com.microsoft.DequantizeLinear", |i, n| same(i, n, "DequantizeLinear")),
    ("com.microsoft.GatherND", |i, n| same(i, n, "GatherND")),
    ("com.microsoft.GridSample", |i, n| same(i, n, "GridSample")),
    ("com.microsoft.Pad", |i, n| same(i, n, "Pad")),
    ("com.microsoft.Range", |i, n| same(i, n, "Range")),
    ("com.microsoft.Trilu", |i, n| same(i, n, "Trilu")),
    ("com.microsoft.ExpandDims", |i, n| same(i, n, "Unsqueeze")),
];

/// The operator set whose forms of ONNX's operators these are made of.
const FORMS: i64 = 22;

fn same(i: &mut Import<'_>, n: &Node<'_>, op: &str) -> Result<Vec<Val>, String> {
    let import = importer(op).ok_or_else(|| format!("`{op}` is unknown"))?;
    let outside = std::mem::replace(&mut i.opset, FORMS);
    let results = import(i, n);
    i.opset = outside;
    results
}

/// The first result of an operator of ONNX, as a part of another node.
fn apply(
    i: &mut Import<'_>,
    label: &str,
    op: &str,
    inputs: &[ValueId],
    attributes: &[AttributeProto],
) -> Made {
    let proto = NodeProto { op_type: op.to_owned(), output: vec![label.to_owned()], ..NodeProto::default() };
    let inputs: Vec<Option<Val>> = inputs.iter().map(|&v| Some(Val::Tensor(v))).collect();
    let attributes: Vec<_> = attributes.iter().map(|a| (a.name.as_str(), a)).collect();
    let n = Node { proto: &proto, label, inputs: &inputs, attributes: &attributes };
    let result = same(i, &n, op)?.into_iter().next();
    i.tensor(&result.ok_or_else(|| format!("`{op}` gives nothing"))?, label)
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: Some(value), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: Some(value), ..AttributeProto::default() }
}

/// An operand that may be left out.
fn optional(i: &mut Import<'_>, n: &Node<'_>, at: usize) -> Result<Option<ValueId>, String> {
    if n.given(at) { n.tensor(at, i).map(Some) } else { Ok(None) }
}

/// Whether output `at` is asked for.
fn wanted(n: &Node<'_>, at: usize) -> bool {
    n.proto.output.get(at).is_some_and(|o| !o.is_empty())
}

#[cfg(test)]
mod tests;
