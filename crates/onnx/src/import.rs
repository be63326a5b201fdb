//! Walks the model's nodes in topological order and adds their operations to a graph.

use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{DType, Dim, Graph, Op, Tensor, TensorType, ValueId};
use tactician_reference::eval_op;

use crate::error::{ImportError, UnsupportedNode};
use crate::function::Functions;
use crate::inputs::{Given, element};
use crate::model::Model;
use crate::proto::{FunctionProto, NodeProto};
use crate::stages::{Fed, Stage, Staging, Wanted};
use crate::tensor;
use crate::walk::{Scope, check_operators, walk};

/// Largest result of constant operands that is computed while importing: shape arithmetic stays far below.
pub(crate) const FOLD_ELEMENTS: usize = 1 << 16;

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
    /// Inside a function: an operand that the call leaves out.
    Missing,
    /// The result of a node that could not be imported.
    Poison,
}

/// The graph under construction.
pub(crate) struct Import<'m> {
    pub(crate) graph: Graph,
    pub(crate) opset: i64,
    pub(crate) folder: Option<&'m std::path::Path>,
    /// The model's own functions, and those that are being imported, outermost first.
    pub(crate) functions: Functions<'m>,
    pub(crate) active: Vec<&'m FunctionProto>,
    /// Nodes inside branches, loops and functions that may still be imported; each counts whenever it is.
    pub(crate) nested: usize,
    /// Bytes of constants that are not part of the model's file.
    pub(crate) made: u64,
    /// How deep the present graph is nested.
    pub(crate) depth: usize,
    /// Values that the present node would have to know.
    pub(crate) wanted: Wanted,
    /// For an import by stages.
    pub(crate) staging: Option<Staging<'m>>,
}

/// Most nodes that branches, unrolled loops and functions may have in all.
pub(crate) const NESTED_NODES: usize = 100_000;

/// Most bytes of constants that are made while a graph is imported, such as those of `Range` in each step of a loop.
pub(crate) const MADE_BYTES: u64 = if cfg!(any(test, fuzzing)) { 64 << 20 } else { 4 << 30 };

/// How deep graphs and functions may be nested.
const MOST_DEPTH: usize = 64;

impl Import<'_> {
    /// Imports a graph or function of so many nodes that stands for a node.
    pub(crate) fn inside<T>(
        &mut self,
        nodes: usize,
        body: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let left = self.nested.checked_sub(nodes + 1);
        self.nested = left.ok_or("its loops, branches and functions have too many nodes in all")?;
        if self.depth == MOST_DEPTH {
            return Err(format!("its graphs and functions are nested deeper than {MOST_DEPTH}"));
        }
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        result
    }

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
        if !t.is_shared() {
            self.made = self.made.saturating_add(t.bytes().len() as u64);
        }
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
            Val::Missing => Err("an operand is left out".into()),
            Val::Sequence(_) => Err("an operand is a sequence, a tensor is needed".into()),
            Val::Nothing => Err("an operand is an optional value that is not there".into()),
            Val::Dims { dims, scalar } => {
                let Some(t) = sizes_tensor(dims, *scalar) else {
                    let text = dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    return Err(format!(
                        "it computes with the open sizes [{text}]; give the input shapes (--shape NAME=1x3x224x224)"
                    ));
                };
                Ok(self.constant(name, t))
            }
        }
    }

    /// A value whose elements are known.
    pub(crate) fn known(&self, v: &Val) -> Option<Tensor> {
        match v {
            Val::Tensor(id) => self.graph.constant(*id).cloned(),
            Val::Dims { dims, scalar } => sizes_tensor(dims, *scalar),
            Val::Sequence(_) | Val::Nothing | Val::Missing | Val::Poison => None,
        }
    }

    /// A value as sizes, if it is a known integer vector or scalar.
    pub(crate) fn dims(&self, v: &Val) -> Option<Vec<Dim>> {
        match v {
            Val::Dims { dims, .. } => Some(dims.clone()),
            Val::Tensor(id) if self.graph.ty(*id).rank() < 2 => {
                self.ints_of(*id).map(|l| l.into_iter().map(Dim::known).collect())
            }
            Val::Tensor(_) | Val::Sequence(_) | Val::Nothing | Val::Missing | Val::Poison => None,
        }
    }

    /// Whether a value is known to be true or false.
    pub(crate) fn known_bool(&self, v: &Val) -> Option<bool> {
        let Val::Tensor(id) = v else { return None };
        let Some(t) = self.graph.constant(*id) else {
            self.want(*id);
            return None;
        };
        (t.dtype() == DType::Bool && t.len() == 1).then(|| t.bytes()[0] != 0)
    }

    /// The integers of a constant.
    pub(crate) fn ints_of(&self, v: ValueId) -> Option<Vec<i64>> {
        let Some(t) = self.graph.constant(v) else {
            if matches!(self.graph.ty(v).dtype, DType::I64 | DType::I32) {
                self.want(v);
            }
            return None;
        };
        match t.dtype() {
            DType::I64 => t.values::<i64>().map(|v| v.into_owned()),
            DType::I32 => t.values::<i32>().map(|v| v.iter().map(|&x| i64::from(x)).collect()),
            _ => None,
        }
    }
}

/// Sizes as a tensor, if all are known.
fn sizes_tensor(dims: &[Dim], scalar: bool) -> Option<Tensor> {
    let known: Vec<i64> = dims.iter().map(Dim::as_i64).collect::<Option<_>>()?;
    let sizes: &[usize] = if scalar { &[] } else { &[known.len()] };
    Tensor::new(sizes, &known).ok()
}

/// Imports a model as a whole.
pub(crate) fn run(
    model: &Model,
    given: &[Given],
    values: &BTreeMap<String, Tensor>,
) -> Result<Graph, ImportError> {
    match all(model, given, values, None)? {
        Stage::Whole(graph) => Ok(graph),
        // Nothing was asked to be put off.
        Stage::Part(part) => Ok(part.graph),
    }
}

/// Imports what can be before more values are known.
pub(crate) fn stage(
    model: &Model,
    given: &[Given],
    values: &BTreeMap<String, Tensor>,
    fed: &Fed,
) -> Result<Stage, ImportError> {
    all(model, given, values, Some(fed))
}

fn all(
    model: &Model,
    given: &[Given],
    values: &BTreeMap<String, Tensor>,
    fed: Option<&Fed>,
) -> Result<Stage, ImportError> {
    let proto = model.proto.graph.as_ref().expect("checked when the model was read");
    let mut import = Import::new(model, if proto.name.is_empty() { "network" } else { &proto.name });
    import.staging = fed.map(|fed| Staging::new(model, fed));
    check_operators(&proto.node, &import.functions)?;

    let mut scope = Scope::new(None);
    let mut taken = BTreeSet::new();
    for (i, given) in model.inputs().iter().zip(given) {
        let mut one = |name: &str, ty: &TensorType| {
            if !taken.insert(name.to_owned()) {
                return Err(ImportError::Duplicate { name: name.to_owned() });
            }
            if let Some(value) = values.get(name) {
                return Ok(Val::Tensor(import.constant(name, value.clone())));
            }
            let value = import.graph.add_input(name, ty.clone()).map(Val::Tensor);
            value.map_err(|e| ImportError::Input { name: name.to_owned(), problem: e.to_string() })
        };
        let value = match given {
            Given::Tensor(ty) => one(&i.name, ty)?,
            Given::Sequence(list) => {
                let parts = list.iter().enumerate().map(|(k, ty)| one(&element(&i.name, k), ty));
                Val::Sequence(parts.collect::<Result<_, _>>()?)
            }
            Given::Nothing => Val::Nothing,
        };
        scope.names.insert(&i.name, value);
    }
    for t in &proto.initializer {
        let constant = tensor::convert(t, import.folder)?;
        let value = import.constant(&t.name, constant);
        if scope.names.insert(&t.name, Val::Tensor(value)).is_some() {
            return Err(ImportError::Duplicate { name: t.name.clone() });
        }
    }
    for t in &proto.sparse_initializer {
        let name = tensor::sparse_name(t);
        let value = import.constant(name, tensor::dense(t, import.folder)?);
        if scope.names.insert(name, Val::Tensor(value)).is_some() {
            return Err(ImportError::Duplicate { name: name.to_owned() });
        }
    }
    let mut failed: Vec<UnsupportedNode> = Vec::new();
    walk(&mut import, &proto.node, &mut scope, &mut failed)?;
    if !failed.is_empty() {
        return Err(ImportError::Unsupported { nodes: failed });
    }
    if let Some(part) = Staging::part(&mut import, &scope, proto, &taken)? {
        return Ok(Stage::Part(part));
    }
    for o in &proto.output {
        let undefined =
            || ImportError::Undefined { node: "the graph's outputs".into(), value: o.name.clone(), hint: "" };
        let mut one = |name: &str, value: &Val| {
            let value = import.tensor(value, name);
            let value = value.map_err(|problem| ImportError::Input { name: name.to_owned(), problem })?;
            import.graph.mark_output(name, value);
            Ok(())
        };
        match scope.get(&o.name).ok_or_else(undefined)? {
            Val::Nothing => {}
            Val::Sequence(list) => {
                list.iter().enumerate().try_for_each(|(k, v)| one(&element(&o.name, k), v))?;
            }
            value => one(&o.name, value)?,
        }
    }
    import.graph.remove_dead();
    Ok(Stage::Whole(import.graph))
}

/// A node's name for messages: its own, or its first output's.
pub(crate) fn label(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

/// A domain, empty if it is ONNX's own.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// A node's operator, with its domain unless that is ONNX's own.
pub(crate) fn operator(node: &NodeProto) -> String {
    match domain(&node.domain) {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}
