//! Operators, one file a family. Each gives its outputs, or why it cannot be imported.

mod arithmetic;
mod attention;
mod boxes;
mod compose;
mod contrib;
mod conv;
mod cumulative;
mod deform;
mod dependent;
mod einsum;
mod indexing;
mod learning;
mod losses;
mod matrices;
mod movement;
mod narrow;
mod norm;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod regions;
mod resize;
mod sampling;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod states;
mod tables;
mod taps;
mod training;

pub(crate) use attention::repeated_heads;

use crate::import::{Import, Val, operator};
use crate::node::Node;

pub(crate) use dependent::is_dependent;

type Importer = fn(&mut Import<'_>, &Node<'_>) -> Result<Vec<Val>, String>;

/// Every operator without nested graphs, named with its domain unless that is ONNX's own.
fn all() -> impl Iterator<Item = &'static (&'static str, Importer)> {
    const LISTS: &[&[(&str, Importer)]] = &[
        arithmetic::OPERATORS,
        attention::OPERATORS,
        conv::OPERATORS,
        cumulative::OPERATORS,
        deform::OPERATORS,
        dependent::OPERATORS,
        einsum::OPERATORS,
        indexing::OPERATORS,
        learning::OPERATORS,
        losses::OPERATORS,
        matrices::OPERATORS,
        movement::OPERATORS,
        norm::OPERATORS,
        pool::OPERATORS,
        quantize::OPERATORS,
        random::OPERATORS,
        recurrent::OPERATORS,
        reduce::OPERATORS,
        regions::OPERATORS,
        resize::OPERATORS,
        sampling::OPERATORS,
        sequence::OPERATORS,
        scatter::OPERATORS,
        shape::OPERATORS,
        signal::OPERATORS,
        states::OPERATORS,
        tables::OPERATORS,
        training::OPERATORS,
    ];
    LISTS.iter().chain(contrib::LISTS).copied().flatten()
}

/// The names of [`all`].
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| *name)
}

/// The importer of an operator.
fn importer(op: &str) -> Option<Importer> {
    all().find(|(name, _)| *name == op).map(|(_, f)| *f)
}

/// Whether an operator can be imported.
pub(crate) fn known(op: &str) -> bool {
    importer(op).is_some()
}

/// Operators whose forms before some operator set, of those that are read, are not supported.
pub(crate) const CHANGED: &[(&str, i64)] = &[
    ("Cast", 6),
    ("Clip", 6),
    ("Concat", 4),
    ("GRU", 3),
    ("GlobalLpPool", 2),
    ("LpPool", 2),
    ("Pad", 2),
    ("Selu", 6),
    ("Split", 2),
    ("Tile", 6),
    ("Upsample", 6),
];

/// Imports a node.
pub(crate) fn import(import: &mut Import<'_>, node: &Node<'_>) -> Result<Vec<Val>, String> {
    let op = operator(node.proto);
    if CHANGED.iter().any(|(name, since)| *name == op && import.opset < *since) {
        return Err(format!(
            "its form of operator set {} is not supported; convert the model with onnx.version_converter",
            import.opset
        ));
    }
    importer(&op).ok_or("this operator is not supported")?(import, node)
}

/// One output.
fn one(v: tactician_ir::ValueId) -> Result<Vec<Val>, String> {
    Ok(vec![Val::Tensor(v)])
}
