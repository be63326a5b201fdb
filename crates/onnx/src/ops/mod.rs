//! Operators, one file a family. Each gives its outputs, or why it cannot be imported.

mod arithmetic;
mod conv;
mod movement;
mod norm;
mod pool;
mod reduce;
mod resize;
mod shape;

use crate::import::{Import, Val};
use crate::node::Node;

type Importer = fn(&mut Import<'_>, &Node<'_>) -> Result<Vec<Val>, String>;

/// The importer of an operator of ONNX's own domain.
fn importer(op: &str) -> Option<Importer> {
    let lists: [&[(&str, Importer)]; 8] = [
        arithmetic::OPERATORS,
        conv::OPERATORS,
        movement::OPERATORS,
        norm::OPERATORS,
        pool::OPERATORS,
        reduce::OPERATORS,
        resize::OPERATORS,
        shape::OPERATORS,
    ];
    lists.into_iter().flatten().find(|(name, _)| *name == op).map(|(_, f)| *f)
}

/// Whether an operator can be imported.
pub(crate) fn known(op: &str) -> bool {
    importer(op).is_some()
}

/// Imports a node.
pub(crate) fn import(import: &mut Import<'_>, node: &Node<'_>) -> Result<Vec<Val>, String> {
    importer(&node.proto.op_type).ok_or("this operator is not supported")?(import, node)
}

/// One output.
fn one(v: tactician_ir::ValueId) -> Result<Vec<Val>, String> {
    Ok(vec![Val::Tensor(v)])
}
