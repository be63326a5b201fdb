//! What a rewrite returns: new nodes and the values they replace.

use crate::graph::{Graph, GraphError, ValueId};
use crate::ops::Op;
use crate::tensor::{Tensor, TensorType};

/// A value in a patch: one of the graph's, or the output of one of the patch's new nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchValue {
    /// A value of the graph.
    Old(ValueId),
    /// The output of new node number `i`.
    New(usize),
}

impl From<ValueId> for PatchValue {
    fn from(v: ValueId) -> PatchValue {
        PatchValue::Old(v)
    }
}

#[derive(Clone, Debug)]
struct NewNode {
    op: Op,
    inputs: Vec<PatchValue>,
    name: String,
    ty: TensorType,
}

/// A change to a graph, made without touching it. Types are checked as it is built, so that a rule can give up.
#[derive(Clone)]
pub struct Patch<'g> {
    graph: &'g Graph,
    nodes: Vec<NewNode>,
    replacements: Vec<(ValueId, PatchValue)>,
}

/// A finished patch, free of the graph it was made from.
#[derive(Clone, Debug)]
pub struct Change {
    nodes: Vec<NewNode>,
    replacements: Vec<(ValueId, PatchValue)>,
}

impl<'g> Patch<'g> {
    /// A patch that does nothing yet.
    pub fn new(graph: &'g Graph) -> Patch<'g> {
        Patch { graph, nodes: Vec::new(), replacements: Vec::new() }
    }

    /// The type of a value.
    pub fn ty(&self, value: PatchValue) -> &TensorType {
        match value {
            PatchValue::Old(v) => self.graph.ty(v),
            PatchValue::New(i) => &self.nodes[i].ty,
        }
    }

    /// Adds an operation with one output.
    ///
    /// # Errors
    /// When it does not accept the operands.
    pub fn add(&mut self, op: Op, inputs: &[PatchValue], name: &str) -> Result<PatchValue, GraphError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let ty = op
            .infer(&types)
            .map_err(|problem| GraphError::Type { name: name.to_owned(), op: op.name(), problem })?
            .swap_remove(0);
        self.nodes.push(NewNode { op, inputs: inputs.to_vec(), name: name.to_owned(), ty });
        Ok(PatchValue::New(self.nodes.len() - 1))
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> PatchValue {
        let ty = tensor.ty();
        self.nodes.push(NewNode { op: Op::Constant(tensor), inputs: vec![], name: name.to_owned(), ty });
        PatchValue::New(self.nodes.len() - 1)
    }

    /// Makes readers of `old` read `new`.
    ///
    /// # Errors
    /// When the types differ.
    pub fn replace(&mut self, old: ValueId, new: impl Into<PatchValue>) -> Result<(), GraphError> {
        let new = new.into();
        if self.graph.ty(old) != self.ty(new) {
            return Err(GraphError::Replacement {
                old: self.graph.ty(old).to_string(),
                new: self.ty(new).to_string(),
            });
        }
        self.replacements.push((old, new));
        Ok(())
    }

    /// The change, ready to apply.
    pub fn finish(self) -> Change {
        Change { nodes: self.nodes, replacements: self.replacements }
    }
}

impl Graph {
    /// Applies a change that was made for this graph. Dead nodes stay until [`Graph::remove_dead`].
    ///
    /// # Errors
    /// When a replacement would make a cycle; the graph then keeps the new nodes, unused.
    pub fn apply(&mut self, change: Change) -> Result<(), GraphError> {
        let mut made: Vec<ValueId> = Vec::with_capacity(change.nodes.len());
        let resolve = |made: &[ValueId], v: PatchValue| match v {
            PatchValue::Old(v) => v,
            PatchValue::New(i) => made[i],
        };
        for n in change.nodes {
            let inputs: Vec<ValueId> = n.inputs.iter().map(|&v| resolve(&made, v)).collect();
            made.push(match n.op {
                Op::Constant(t) => self.add_constant(&n.name, t),
                op => self.add(op, &inputs, &n.name)?,
            });
        }
        for (old, new) in change.replacements {
            self.replace(old, resolve(&made, new))?;
        }
        Ok(())
    }
}
