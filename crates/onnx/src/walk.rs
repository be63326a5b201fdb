//! Walks nodes in topological order, those of nested graphs inside the scope that they are nested in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{ImportError, UnsupportedNode};
use crate::function::{self, Functions};
use crate::import::{Import, MADE_BYTES, Val, label, operator};
use crate::node::Node;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use crate::stages::{Staging, can_be_called};
use crate::tensor::sparse_name;
use crate::{control, ops};

/// The names that a graph defines, and those of the graphs around it.
pub(crate) struct Scope<'s, 'm> {
    pub(crate) names: HashMap<&'m str, Val>,
    outer: Option<&'s Scope<'s, 'm>>,
    /// Of a function: its attributes.
    attributes: HashMap<&'m str, &'m AttributeProto>,
}

impl<'s, 'm> Scope<'s, 'm> {
    pub(crate) fn new(outer: Option<&'s Scope<'s, 'm>>) -> Self {
        Scope { names: HashMap::new(), outer, attributes: HashMap::new() }
    }

    /// The scope of a function, which sees nothing around it.
    pub(crate) fn of_function(attributes: HashMap<&'m str, &'m AttributeProto>) -> Self {
        Scope { attributes, ..Scope::new(None) }
    }

    /// An attribute of the function around.
    fn attribute(&self, name: &str) -> Option<&'m AttributeProto> {
        self.attributes.get(name).copied().or_else(|| self.outer.and_then(|o| o.attribute(name)))
    }

    /// A node's attributes by name. Those that refer to a function's have its value, or are not there.
    fn attributes(&self, node: &'m NodeProto) -> Vec<(&'m str, &'m AttributeProto)> {
        let value = |a: &'m AttributeProto| match a.ref_attr_name.as_str() {
            "" => Some(a),
            name => self.attribute(name),
        };
        node.attribute.iter().filter_map(|a| Some((a.name.as_str(), value(a)?))).collect()
    }

    /// What a name stands for, the innermost definition first.
    pub(crate) fn get(&self, name: &str) -> Option<&Val> {
        self.names.get(name).or_else(|| self.outer.and_then(|o| o.get(name)))
    }
}

/// Imports nodes. Those that cannot be imported are added to `failed`, and so are not the nodes that read their results.
pub(crate) fn walk<'m>(
    import: &mut Import<'_>,
    nodes: &'m [NodeProto],
    scope: &mut Scope<'_, 'm>,
    failed: &mut Vec<UnsupportedNode>,
) -> Result<(), ImportError> {
    for at in order(nodes, scope)? {
        let node = &nodes[at];
        let label = label(node);
        let there = |v: &&Val| !matches!(v, Val::Missing);
        let named =
            |name: &String| if name.is_empty() { None } else { scope.get(name).filter(there).cloned() };
        let inputs: Vec<Option<Val>> = node.input.iter().map(named).collect();
        let (outermost, made) = (import.depth == 0, import.made);
        import.wanted.take();
        let mut around = BTreeSet::new();
        captured(node, &mut around);
        let around = around.into_iter().filter_map(|name| scope.get(name));
        let poisoned = inputs.iter().flatten().chain(around).any(|v| matches!(v, Val::Poison));
        let results = if let Some(known) =
            Some(()).filter(|_| outermost).and_then(|_| Staging::results(import, node))
        {
            known
        } else if poisoned {
            Ok(vec![])
        } else {
            let attributes = scope.attributes(node);
            let n = Node { proto: node, label: &label, inputs: &inputs, attributes: &attributes };
            match (import.functions.of(node), control::importer(&operator(node))) {
                (Some(f), _) => function::call(import, f, &n),
                (None, Some(f)) => f(import, &n, scope),
                (None, None) => ops::import(import, &n),
            }
        };
        let results = match import.made > MADE_BYTES {
            true => Err(format!("the constants made until here take more than {} MiB", MADE_BYTES >> 20)),
            false => results,
        };
        let mut results = match results {
            Ok(r) => r.into_iter(),
            Err(_) if outermost && Staging::step(import, nodes, at, scope) => {
                // What was made for it belongs to nothing.
                import.made = made;
                vec![].into_iter()
            }
            Err(reason) => {
                let op = operator(node);
                let lacks = !import.wanted.take().is_empty() || can_be_called(&op, import.opset);
                let waits = outermost && import.staging.is_none() && lacks;
                failed.push(UnsupportedNode { name: label, op, reason, waits });
                vec![].into_iter()
            }
        };
        for name in node.output.iter() {
            let value = results.next().unwrap_or(Val::Poison);
            if !name.is_empty() && scope.names.insert(name, value).is_some() {
                return Err(ImportError::Duplicate { name: name.clone() });
            }
        }
    }
    Ok(())
}

/// Adds the names that the graphs nested in a node read from outside of them.
pub(crate) fn captured<'m>(node: &'m NodeProto, out: &mut BTreeSet<&'m str>) {
    for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        out.append(&mut captured_by(graph));
    }
}

/// The names that a nested graph reads from outside.
pub(crate) fn captured_by(graph: &GraphProto) -> BTreeSet<&str> {
    let mut read: BTreeSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    for n in &graph.node {
        read.extend(n.input.iter().map(String::as_str).filter(|n| !n.is_empty()));
        captured(n, &mut read);
    }
    let made = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    let given = graph.input.iter().map(|i| i.name.as_str());
    let sparse = graph.sparse_initializer.iter().map(sparse_name);
    let constants = graph.initializer.iter().map(|t| t.name.as_str()).chain(sparse);
    made.chain(given).chain(constants).for_each(|name| {
        read.remove(name);
    });
    read
}

/// Refuses all nodes with unknown operators at once, those of the functions that are called included.
pub(crate) fn check_operators(nodes: &[NodeProto], functions: &Functions<'_>) -> Result<(), ImportError> {
    let mut unknown = Vec::new();
    let mut called: Vec<&FunctionProto> = Vec::new();
    let mut list = nodes;
    let mut next = 0;
    loop {
        for n in list {
            let op = operator(n);
            match functions.of(n) {
                Some(f) if called.iter().any(|c| std::ptr::eq(*c, f)) => {}
                Some(f) => called.push(f),
                None if ops::known(&op) || control::importer(&op).is_some() => {}
                None => unknown.push(UnsupportedNode {
                    name: label(n),
                    op,
                    reason: "this operator is not supported".into(),
                    waits: false,
                }),
            }
        }
        let Some(f) = called.get(next) else { break };
        (list, next) = (&f.node, next + 1);
    }
    if unknown.is_empty() { Ok(()) } else { Err(ImportError::Unsupported { nodes: unknown }) }
}

/// Nodes in an order in which operands come first. Stable: nodes stay where they are if they can.
fn order<'m>(nodes: &'m [NodeProto], scope: &Scope<'_, 'm>) -> Result<Vec<usize>, ImportError> {
    let mut producer: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, n) in nodes.iter().enumerate() {
        for o in n.output.iter().filter(|o| !o.is_empty()) {
            if producer.insert(o, i).is_some() || scope.names.contains_key(o.as_str()) {
                return Err(ImportError::Duplicate { name: o.clone() });
            }
        }
    }
    let mut waiting: Vec<usize> = vec![0; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        let mut read: BTreeSet<&str> = n.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
        captured(n, &mut read);
        for name in read {
            let undefined = || ImportError::Undefined { node: label(n), value: name.to_owned(), hint: "" };
            let from = match producer.get(name) {
                Some(&from) => from,
                None if scope.get(name).is_some() => continue,
                None => return Err(undefined()),
            };
            waiting[i] += 1;
            readers[from].push(i);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&i| waiting[i] == 0).collect();
    let mut out = Vec::with_capacity(nodes.len());
    while let Some(i) = ready.pop_first() {
        out.push(i);
        for &r in &readers[i] {
            waiting[r] -= 1;
            if waiting[r] == 0 {
                ready.insert(r);
            }
        }
    }
    if let Some(i) = (0..nodes.len()).find(|&i| waiting[i] > 0) {
        let value = nodes[i].input.first().cloned().unwrap_or_default();
        return Err(ImportError::Undefined {
            node: label(&nodes[i]),
            value,
            hint: ": its nodes form a cycle",
        });
    }
    Ok(out)
}
