//! Walks the model's nodes in topological order and adds their operations to a graph.

use std::collections::BTreeMap;

use tactician_ir::{DType, Dim, Graph, Op, Symbols, Tensor, TensorType, ValueId};
use tactician_reference::eval_op;

use crate::error::{ImportError, UnsupportedNode};
use crate::model::Model;
use crate::proto::NodeProto;
use crate::tensor;
use crate::walk::{Scope, check_operators, walk};

/// Largest result of constant operands that is computed while importing: shape arithmetic stays far below.
const FOLD_ELEMENTS: usize = 1 << 16;

/// What a name in the model stands for.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// A value of the graph.
    Tensor(ValueId),
    /// Sizes, some of them open: `i64[n]`, or a scalar.
    Dims { dims: Vec<Dim>, scalar: bool },
    /// A list of values, whose length is known.
    Sequence(Vec<Val>),
    /// An optional value that is not there.
    Nothing,
    /// The result of a node that could not be imported.
    Poison,
}

/// The graph under construction.
pub(crate) struct Import<'m> {
    pub(crate) graph: Graph,
    pub(crate) opset: i64,
    pub(crate) folder: Option<&'m std::path::Path>,
    /// Nodes inside branches and loops that may still be imported; an unrolled body counts every time.
    pub(crate) nested: usize,
}

/// Most nodes that branches and unrolled loops may have in all.
const NESTED_NODES: usize = 100_000;

impl Import<'_> {
    /// Adds an operation; if all operands are small constants, its value.
    pub(crate) fn add(&mut self, op: Op, inputs: &[ValueId], name: &str) -> Result<ValueId, String> {
        let constants: Option<Vec<Tensor>> =
            inputs.iter().map(|&v| self.graph.constant(v).cloned()).collect();
        let value = self.graph.add(op, inputs, name).map_err(|e| e.to_string())?;
        let small = self.graph.ty(value).elements().is_some_and(|n| n <= FOLD_ELEMENTS);
        let Some(constants) =
            constants.filter(|c| small && !c.is_empty() && c.iter().all(|t| t.len() <= FOLD_ELEMENTS))
        else {
            return Ok(value);
        };
        let list: Vec<&Tensor> = constants.iter().collect();
        let op = self.graph.producer(value).op.clone();
        let folded = eval_op(&op, &list).map_err(|e| e.to_string())?;
        Ok(self.graph.add_constant(name, folded))
    }

    /// A constant.
    pub(crate) fn constant(&mut self, name: &str, t: Tensor) -> ValueId {
        self.graph.add_constant(name, t)
    }

    /// The type of a value.
    pub(crate) fn ty(&self, v: ValueId) -> TensorType {
        self.graph.ty(v).clone()
    }

    /// A value as a tensor: known sizes become a constant.
    pub(crate) fn tensor(&mut self, v: &Val, name: &str) -> Result<ValueId, String> {
        match v {
            Val::Tensor(id) => Ok(*id),
            Val::Poison => Err("an operand was not imported".into()),
            Val::Sequence(_) => Err("an operand is a sequence, a tensor is needed".into()),
            Val::Nothing => Err("an operand is an optional value that is not there".into()),
            Val::Dims { dims, scalar } => {
                let known: Option<Vec<i64>> = dims.iter().map(Dim::as_i64).collect();
                let Some(known) = known else {
                    let text = dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    return Err(format!(
                        "it computes with the open sizes [{text}]; give the input shapes (--shape NAME=1x3x224x224)"
                    ));
                };
                let sizes: &[usize] = if *scalar { &[] } else { &[known.len()] };
                let t = Tensor::new(sizes, &known).map_err(|e| e.to_string())?;
                Ok(self.constant(name, t))
            }
        }
    }

    /// A value as sizes, if it is a known integer vector or scalar.
    pub(crate) fn dims(&self, v: &Val) -> Option<Vec<Dim>> {
        match v {
            Val::Dims { dims, .. } => Some(dims.clone()),
            Val::Tensor(id) => self.ints_of(*id).map(|l| l.into_iter().map(Dim::known).collect()),
            Val::Sequence(_) | Val::Nothing | Val::Poison => None,
        }
    }

    /// Whether a value is known to be true or false.
    pub(crate) fn known_bool(&self, v: &Val) -> Option<bool> {
        let Val::Tensor(id) = v else { return None };
        let t = self.graph.constant(*id).filter(|t| t.dtype() == DType::Bool && t.len() == 1)?;
        Some(t.bytes()[0] != 0)
    }

    /// The integers of a constant.
    pub(crate) fn ints_of(&self, v: ValueId) -> Option<Vec<i64>> {
        let t = self.graph.constant(v)?;
        match t.dtype() {
            DType::I64 => t.values::<i64>().map(|v| v.into_owned()),
            DType::I32 => t.values::<i32>().map(|v| v.iter().map(|&x| i64::from(x)).collect()),
            _ => None,
        }
    }
}

pub(crate) fn run(
    model: &Model,
    symbols: &Symbols,
    values: &BTreeMap<String, Tensor>,
) -> Result<Graph, ImportError> {
    let proto = model.proto.graph.as_ref().expect("checked when the model was read");
    let mut import = Import {
        graph: Graph::new(if proto.name.is_empty() { "network" } else { &proto.name }),
        opset: model.opset,
        folder: model.folder.as_deref(),
        nested: NESTED_NODES,
    };
    check_operators(&proto.node)?;
    if !proto.sparse_initializer.is_empty() {
        return Err(ImportError::Malformed {
            problem: "it has sparse initialisers, which are not supported".into(),
        });
    }

    let mut scope = Scope::new(None);
    for i in model.inputs() {
        if let Some(value) = values.get(&i.name) {
            let constant = import.constant(&i.name, value.clone());
            scope.names.insert(&i.name, Val::Tensor(constant));
            continue;
        }
        let ty = TensorType { dtype: i.dtype, shape: i.shape.bind(symbols) };
        let value = import.graph.add_input(&i.name, ty);
        let value = value.map_err(|e| ImportError::Input { name: i.name.clone(), problem: e.to_string() })?;
        scope.names.insert(&i.name, Val::Tensor(value));
    }
    for t in &proto.initializer {
        let constant = tensor::convert(t, import.folder)?;
        let value = import.constant(&t.name, constant);
        if scope.names.insert(&t.name, Val::Tensor(value)).is_some() {
            return Err(ImportError::Duplicate { name: t.name.clone() });
        }
    }
    let mut failed: Vec<UnsupportedNode> = Vec::new();
    walk(&mut import, &proto.node, &mut scope, &mut failed)?;
    if !failed.is_empty() {
        return Err(ImportError::Unsupported { nodes: failed });
    }
    for o in &proto.output {
        let undefined =
            || ImportError::Undefined { node: "the graph's outputs".into(), value: o.name.clone(), hint: "" };
        let value = scope.get(&o.name).cloned().ok_or_else(undefined)?;
        let value = import.tensor(&value, &o.name);
        let value = value.map_err(|problem| ImportError::Input { name: o.name.clone(), problem })?;
        import.graph.mark_output(&o.name, value);
    }
    import.graph.remove_dead();
    Ok(import.graph)
}

/// A node's name for messages: its own, or its first output's.
pub(crate) fn label(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

/// A node's operator, with its domain unless that is ONNX's own.
pub(crate) fn operator(node: &NodeProto) -> String {
    if node.domain.is_empty() || node.domain == "ai.onnx" {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}
