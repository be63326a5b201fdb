//! Models whose sizes depend on data, one stage after the other: what can be imported before the next values are known.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{Graph, Tensor, ValueId};

use crate::error::{ImportError, UnsupportedNode};
use crate::function::Functions;
use crate::import::{Import, Val, label, operator};
use crate::inputs::ShapeBindings;
use crate::model::Model;
use crate::node::Node;
use crate::ops;
use crate::proto::NodeProto;
use crate::walk::Scope;

/// Values of the model that earlier stages have computed.
#[derive(Clone, Debug, Default)]
pub struct Fed {
    /// By name. The graph has them as inputs, so that it depends on their types alone.
    pub values: BTreeMap<String, Tensor>,
    /// Those whose values the graph depends on: it has them as constants.
    pub asked: BTreeSet<String>,
}

/// What can be imported of a model.
pub enum Stage {
    /// The rest of it.
    Whole(Graph),
    /// What comes before values that must be known.
    Part(Part),
}

/// A stage that others follow.
pub struct Part {
    /// Computes the values that are wanted and not known yet, under their names; it may have no outputs.
    pub graph: Graph,
    /// What goes on from there.
    pub steps: Vec<Step>,
}

/// A node that waits for values.
pub struct Step {
    /// Its number.
    node: usize,
    /// The values, by name.
    pub wanted: Vec<String>,
    /// Operands that are constants.
    constants: BTreeMap<String, Tensor>,
    /// Whether [`Model::evaluate`] computes it from them. Otherwise the next stage depends on the values themselves.
    pub evaluated: bool,
}

/// Where an import by stages stands.
pub(crate) struct Staging<'m> {
    pub(crate) fed: &'m Fed,
    pub(crate) steps: Vec<Step>,
}

/// Most steps behind one stage; nodes beyond them wait for a later one. It bounds the time that looking for names takes.
const MOST_STEPS: usize = 256;

/// Values that a node would have to know.
pub(crate) type Wanted = RefCell<BTreeSet<ValueId>>;

impl Model {
    /// Imports as much as can be, with the sizes of all inputs given, and the values that earlier stages have computed.
    ///
    /// # Errors
    /// As [`Model::graph`]: what other values would not help with.
    pub fn stage(&self, shapes: &ShapeBindings, fed: &Fed) -> Result<Stage, ImportError> {
        crate::import::stage(self, &shapes.of(self.inputs())?, &shapes.values, fed)
    }

    /// Computes a node whose result has a size that depends on values: gives its outputs by name.
    ///
    /// # Errors
    /// When a value is missing, or does not suit the node.
    pub fn evaluate(
        &self,
        step: &Step,
        values: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<(String, Tensor)>, ImportError> {
        let nodes = self.proto.graph.as_ref().map_or(&[][..], |g| &g.node);
        let Some(node) = nodes.get(step.node) else { return Ok(vec![]) };
        let mut import = Import::new(self, "step");
        let name = label(node);
        let mut inputs = Vec::with_capacity(node.input.len());
        for operand in &node.input {
            let value = step.constants.get(operand).or_else(|| values.get(operand));
            inputs.push(value.map(|t| Val::Tensor(import.constant(operand, t.clone()))));
        }
        let attributes: Vec<_> = node.attribute.iter().map(|a| (a.name.as_str(), a)).collect();
        let n = Node { proto: node, label: &name, inputs: &inputs, attributes: &attributes };
        let fail = |reason: String| ImportError::Unsupported {
            nodes: vec![UnsupportedNode { name: name.clone(), op: operator(node), reason }],
        };
        let results = ops::import(&mut import, &n).map_err(fail)?;
        let mut out = Vec::new();
        for (name, v) in node.output.iter().zip(results).filter(|(n, _)| !n.is_empty()) {
            let Val::Tensor(id) = v else { continue };
            let t = import.graph.constant(id).cloned();
            out.push((name.clone(), t.ok_or_else(|| fail("its result is not known".into()))?));
        }
        Ok(out)
    }
}

impl<'m> Staging<'m> {
    /// The results of a node that an earlier stage has computed.
    pub(crate) fn results(import: &mut Import<'m>, node: &NodeProto) -> Option<Result<Vec<Val>, String>> {
        let fed = import.staging.as_ref()?.fed;
        let named = || node.output.iter().filter(|o| !o.is_empty());
        if named().next().is_none() || !named().all(|o| fed.values.contains_key(o)) {
            return None;
        }
        let mut one = |name: &String| {
            let Some(t) = fed.values.get(name) else { return Ok(Val::Missing) };
            match fed.asked.contains(name) {
                true => Ok(Val::Tensor(import.constant(name, t.clone()))),
                false => import.graph.add_input(name, t.ty()).map(Val::Tensor).map_err(|e| e.to_string()),
            }
        };
        Some(node.output.iter().map(&mut one).collect())
    }

    /// Makes a node that could not be imported a step of its own, if it only lacks values that have names.
    pub(crate) fn step(
        import: &mut Import<'m>,
        nodes: &[NodeProto],
        at: usize,
        scope: &Scope<'_, '_>,
    ) -> bool {
        let ids = import.wanted.take();
        let Some(staging) = import.staging.as_ref().filter(|_| !ids.is_empty()) else { return false };
        if staging.steps.len() >= MOST_STEPS {
            return true;
        }
        let mut wanted = BTreeSet::new();
        for id in ids {
            let found = scope.names.iter().find(|(_, v)| matches!(v, Val::Tensor(other) if *other == id));
            let Some((name, _)) = found else { return false };
            // A node is skipped when all of its results are there.
            let maker = nodes.iter().find(|n| n.output.iter().any(|o| o == name));
            let all = maker.map_or(vec![(*name).to_owned()], |n| n.output.clone());
            wanted.extend(
                all.into_iter().filter(|o| matches!(scope.names.get(o.as_str()), Some(Val::Tensor(_)))),
            );
        }
        let constant = |name: &String| Some((name.clone(), import.known(scope.get(name)?)?));
        let node = &nodes[at];
        let step = Step {
            node: at,
            wanted: wanted.into_iter().collect(),
            constants: node.input.iter().filter_map(constant).collect(),
            evaluated: ops::is_dependent(&operator(node)),
        };
        import.staging.as_mut().is_some_and(|s| {
            s.steps.push(step);
            true
        })
    }

    /// The stage before the steps that were met.
    pub(crate) fn part(
        import: &mut Import<'m>,
        scope: &Scope<'_, '_>,
        inputs: &BTreeSet<String>,
    ) -> Result<Option<Part>, ImportError> {
        let Some(staging) = import.staging.take().filter(|s| !s.steps.is_empty()) else { return Ok(None) };
        let names: BTreeSet<&String> = staging.steps.iter().flat_map(|s| &s.wanted).collect();
        for name in names.into_iter().filter(|n| !inputs.contains(*n) && !staging.fed.values.contains_key(*n))
        {
            if let Some(Val::Tensor(id)) = scope.get(name) {
                import.graph.mark_output(name, *id);
            }
        }
        import.graph.remove_dead();
        Ok(Some(Part { graph: std::mem::replace(&mut import.graph, Graph::new("")), steps: staging.steps }))
    }
}

/// The functions of a model, and an import of it that has not begun.
impl<'m> Import<'m> {
    pub(crate) fn new(model: &'m Model, name: &str) -> Import<'m> {
        Import {
            graph: Graph::new(name),
            opset: model.opset,
            folder: model.folder.as_deref(),
            functions: Functions::new(&model.proto.functions),
            active: Vec::new(),
            nested: crate::import::NESTED_NODES,
            depth: 0,
            wanted: Wanted::default(),
            staging: None,
        }
    }

    /// Notes that a node would have to know a value.
    pub(crate) fn want(&self, v: ValueId) {
        self.wanted.borrow_mut().insert(v);
    }
}
