//! Models whose sizes depend on data, one stage after the other: what can be imported before the next values are known.

mod call;
mod drive;
#[cfg(test)]
mod tests;

pub(crate) use call::can_be_called;
pub use drive::{Backend, Driver, StageError};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{Graph, Tensor, ValueId};

use crate::error::{ImportError, UnsupportedNode};
use crate::function::Functions;
use crate::import::{FOLD_ELEMENTS, Import, Val, label, operator};
use crate::inputs::ShapeBindings;
use crate::model::Model;
use crate::node::Node;
use crate::ops;
use crate::proto::{GraphProto, NodeProto};
use crate::walk::{Scope, captured};

/// Values of the model that earlier stages have computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fed {
    /// By name. The graph has them as inputs, so that it depends on their types alone.
    pub(crate) values: BTreeMap<String, Tensor>,
    /// Those whose values the graph depends on: it has them as constants.
    pub(crate) asked: BTreeSet<String>,
}

/// What can be imported of a model.
pub(crate) enum Stage {
    /// The rest of it.
    Whole(Graph),
    /// What comes before values that must be known.
    Part(Part),
}

/// A stage that others follow.
pub(crate) struct Part {
    /// Computes the values that are wanted and not known yet, under their names; it may have no outputs.
    pub(crate) graph: Graph,
    /// What goes on from there.
    pub(crate) steps: Vec<Step>,
}

/// A node that waits for values.
pub(crate) struct Step {
    /// Its number.
    node: usize,
    /// Values that it cannot do without, by name.
    wanted: Vec<String>,
    /// Operands that are constants, and those that its graphs read from around them.
    constants: BTreeMap<String, Tensor>,
    how: How,
}

/// What is done with a node that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The next stage depends on the values that it wants.
    Asked,
    /// It is computed from its operands' values.
    Computed,
    /// It is computed, or its values are asked for where the result is large. For graphs that run often, each time with other
    /// values: the next stage depends on the result's type alone.
    Tried,
    /// Its graphs are run.
    Called,
}

/// Where an import by stages stands.
pub(crate) struct Staging<'m> {
    fed: &'m Fed,
    steps: Vec<Step>,
    /// Whether the graph is run often, each time with other values.
    often: bool,
}

/// Whether a value has so few elements that what follows from it can be computed at once.
fn is_small(import: &Import<'_>, scope: &Scope<'_, '_>, name: &str) -> bool {
    match scope.get(name) {
        Some(Val::Tensor(id)) => import.graph.ty(*id).elements().is_some_and(|n| n <= FOLD_ELEMENTS),
        Some(v) => import.known(v).is_some(),
        None => false,
    }
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
    pub(crate) fn stage(&self, shapes: &ShapeBindings, fed: &Fed) -> Result<Stage, ImportError> {
        crate::import::stage(self, &shapes.of(self.inputs())?, &shapes.values, fed)
    }

    /// Computes a node whose result has a size that depends on values: gives its outputs by name.
    ///
    /// # Errors
    /// When a value is missing, or does not suit the node.
    fn evaluate(
        &self,
        step: &Step,
        value: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<Vec<(String, Tensor)>, ImportError> {
        let nodes = self.proto.graph.as_ref().map_or(&[][..], |g| &g.node);
        let Some(node) = nodes.get(step.node) else { return Ok(vec![]) };
        let mut import = Import::new(self, "step");
        let name = label(node);
        let mut inputs = Vec::with_capacity(node.input.len());
        for operand in &node.input {
            let known = step.constants.get(operand).cloned().or_else(|| value(operand));
            inputs.push(known.map(|t| Val::Tensor(import.constant(operand, t))));
        }
        let attributes: Vec<_> = node.attribute.iter().map(|a| (a.name.as_str(), a)).collect();
        let n = Node { proto: node, label: &name, inputs: &inputs, attributes: &attributes };
        let fail = |reason: String| ImportError::Unsupported {
            nodes: vec![UnsupportedNode { name: name.clone(), op: operator(node), reason, waits: false }],
        };
        let results = ops::import(&mut import, &n).map_err(fail)?;
        let mut out = Vec::new();
        for (k, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            let known = match results.get(k) {
                Some(Val::Tensor(id)) => import.graph.constant(*id).cloned(),
                Some(_) => None,
                None => return Err(fail(format!("it has no output {k}, which is called `{name}`"))),
            };
            out.push((name.clone(), known.ok_or_else(|| fail("its result is not known".into()))?));
        }
        Ok(out)
    }
}

/// Which node gives a value.
struct Makers<'n>(BTreeMap<&'n str, &'n NodeProto>);

impl<'n> Makers<'n> {
    fn new(nodes: &'n [NodeProto]) -> Makers<'n> {
        Makers(nodes.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect())
    }

    /// A value and the others that its node gives, as far as they are tensors: a node is skipped when all of its results are
    /// there.
    fn with_others(&self, name: &'n str, scope: &Scope<'_, '_>) -> Vec<&'n str> {
        let all = match self.0.get(name) {
            Some(n) => n.output.iter().map(String::as_str).collect(),
            None => vec![name],
        };
        all.into_iter().filter(|o| matches!(scope.names.get(o), Some(Val::Tensor(_)))).collect()
    }
}

impl<'m> Staging<'m> {
    pub(crate) fn new(model: &'m Model, fed: &'m Fed) -> Staging<'m> {
        Staging { fed, steps: Vec::new(), often: model.often }
    }

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
        let node = &nodes[at];
        let op = operator(node);
        let ids = import.wanted.take();
        let Some(staging) = import.staging.as_ref() else { return false };
        if node.output.iter().all(String::is_empty) {
            return true;
        }
        let called = can_be_called(&op, import.opset) && import.functions.of(node).is_none();
        if ids.is_empty() && !called {
            return false;
        }
        if staging.steps.len() >= MOST_STEPS {
            return true;
        }
        let mut read: BTreeSet<&str> =
            node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
        captured(node, &mut read);
        let how = match called {
            true => How::Called,
            false if ops::is_dependent(&op) => How::Computed,
            false if staging.often && read.iter().all(|n| is_small(import, scope, n)) => How::Tried,
            false => How::Asked,
        };
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        if how != How::Called {
            for id in ids {
                let found = scope.names.iter().find(|(_, v)| matches!(v, Val::Tensor(other) if *other == id));
                let Some((name, _)) = found else { return false };
                wanted.insert(name);
            }
        }
        let mut constants = BTreeMap::new();
        if how == How::Asked {
            read = node.input.iter().map(String::as_str).collect();
        }
        for name in read {
            let Some(v) = scope.get(name) else { continue };
            match (import.known(v), v) {
                (Some(t), _) => {
                    constants.insert(name.to_owned(), t);
                }
                (None, Val::Tensor(_)) if how != How::Asked => {
                    wanted.insert(name);
                }
                // A list or an optional value: nothing that has one name.
                (None, _) if how == How::Called => return false,
                (None, _) => {}
            }
        }
        let wanted = wanted.into_iter().map(str::to_owned).collect();
        let step = Step { node: at, wanted, constants, how };
        import.staging.as_mut().is_some_and(|s| {
            s.steps.push(step);
            true
        })
    }

    /// The stage before the steps that were met. It gives what they want, and what any later node reads: nothing is computed
    /// twice.
    pub(crate) fn part(
        import: &mut Import<'m>,
        scope: &Scope<'_, '_>,
        graph: &GraphProto,
        inputs: &BTreeSet<String>,
    ) -> Result<Option<Part>, ImportError> {
        let Some(staging) = import.staging.take().filter(|s| !s.steps.is_empty()) else { return Ok(None) };
        let mut read: BTreeSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        read.extend(staging.steps.iter().flat_map(|s| s.wanted.iter().map(String::as_str)));
        let waits = |n: &&NodeProto| n.output.iter().any(|o| matches!(scope.get(o), Some(Val::Poison)));
        for n in graph.node.iter().filter(waits) {
            read.extend(n.input.iter().map(String::as_str));
            captured(n, &mut read);
        }
        read.retain(
            |name| matches!(scope.get(name), Some(Val::Tensor(id)) if import.graph.constant(*id).is_none()),
        );
        let makers = Makers::new(&graph.node);
        let names: BTreeSet<&str> =
            read.into_iter().flat_map(|name| makers.with_others(name, scope)).collect();
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
            made: 0,
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
