//! Functions that a model defines itself. A call is replaced by the function's nodes, with the call's attributes in the places
//! that refer to them. A model's own function comes before an operator of the same name and domain.

use std::collections::{BTreeSet, HashMap};

use crate::error::ImportError;
use crate::import::{Import, Val, domain};
use crate::model::{LEAST_OPSET, own_opset};
use crate::node::Node;
use crate::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::walk::{Scope, walk};

/// What names a function: domain, name, and which of several under both.
type Key<'m> = (&'m str, &'m str, &'m str);

fn key(f: &FunctionProto) -> Key<'_> {
    (domain(&f.domain), &f.name, &f.overload)
}

/// A model's functions.
pub(crate) struct Functions<'m>(HashMap<Key<'m>, &'m FunctionProto>);

impl<'m> Functions<'m> {
    pub(crate) fn new(list: &'m [FunctionProto]) -> Functions<'m> {
        Functions(list.iter().map(|f| (key(f), f)).collect())
    }

    /// The function that a node calls.
    pub(crate) fn of(&self, n: &NodeProto) -> Option<&'m FunctionProto> {
        self.0.get(&(domain(&n.domain), n.op_type.as_str(), n.overload.as_str())).copied()
    }
}

/// Refuses two functions of one name, and operator sets that are not read.
pub(crate) fn check(list: &[FunctionProto]) -> Result<(), ImportError> {
    let mut seen = BTreeSet::new();
    for f in list {
        if !seen.insert(key(f)) {
            return Err(ImportError::Duplicate { name: f.name.clone() });
        }
        if let Some(found) = own_opset(&f.opset_import).filter(|&v| v < LEAST_OPSET) {
            return Err(ImportError::Opset { found, least: LEAST_OPSET });
        }
    }
    Ok(())
}

/// Imports a call.
pub(crate) fn call<'i>(
    import: &mut Import<'i>,
    f: &'i FunctionProto,
    n: &Node<'_>,
) -> Result<Vec<Val>, String> {
    let name = &f.name;
    if import.active.iter().any(|a| std::ptr::eq(*a, f)) {
        return Err(format!("the function `{name}` calls itself"));
    }
    if n.inputs.len() > f.input.len() {
        return Err(format!("`{name}` takes {} operands and is given {}", f.input.len(), n.inputs.len()));
    }
    let mut attributes: HashMap<&str, &AttributeProto> = HashMap::new();
    for default in &f.attribute_proto {
        attributes.insert(&default.name, n.attribute(&default.name).unwrap_or(default));
    }
    attributes.extend(f.attribute.iter().filter_map(|a| Some((a.as_str(), n.attribute(a)?))));
    if attributes.values().any(|a| a.g.is_some()) {
        return Err(format!("`{name}` has a graph as an attribute, which is not supported"));
    }
    let mut scope = Scope::of_function(attributes);
    for (i, name) in f.input.iter().enumerate() {
        let given = n.inputs.get(i).cloned().flatten();
        scope.names.insert(name, given.unwrap_or(Val::Missing));
    }
    let opset = own_opset(&f.opset_import).unwrap_or(import.opset);
    let outside = std::mem::replace(&mut import.opset, opset);
    import.active.push(f);
    let mut failed = Vec::new();
    let walked = import.inside(f.node.len(), |import| {
        walk(import, &f.node, &mut scope, &mut failed).map_err(|e| e.to_string())
    });
    import.active.pop();
    import.opset = outside;
    let failure = walked.err().or_else(|| failed.first().map(ToString::to_string));
    if let Some(failure) = failure {
        return Err(format!("in the function `{name}`: {failure}"));
    }
    let output = |o: &String| match scope.get(o) {
        Some(Val::Missing) => Err(format!("`{name}` gives its operand `{o}`, which is left out")),
        Some(v) => Ok(v.clone()),
        None => Err(format!("`{name}` does not define its output `{o}`")),
    };
    f.output.iter().map(output).collect()
}
