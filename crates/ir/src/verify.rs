//! The verifier.
//!
//! Checks, all of them, each failure reported:
//!
//! 1. operands exist and come from nodes that are not downstream (no cycle);
//! 2. every operation accepts its operands, and its recorded output types are those it infers;
//! 3. network outputs exist, and input and output names are unique;
//! 4. shapes are inside the limits of [`MAX_RANK`] and [`MAX_ELEMENTS`].

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::tensor::{MAX_ELEMENTS, MAX_RANK, TensorType};

/// Something that passed the verifier. Later stages take nothing else.
#[derive(Clone)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Verified<T> {
    /// Gives up the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// One thing wrong with a graph: a bug in whatever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The node, if one is to blame.
    pub node: Option<NodeId>,
    /// Its name and operation, for messages.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for VerifyError {}

/// Every error, in node order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyErrors(pub Vec<VerifyError>);

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the graph is invalid")?;
        self.0.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl std::error::Error for VerifyErrors {}

/// Checks a graph.
///
/// # Errors
/// Everything that is wrong.
pub fn verify(graph: Graph) -> Result<Verified<Graph>, VerifyErrors> {
    let errors = check(&graph);
    if errors.is_empty() { Ok(Verified(graph)) } else { Err(VerifyErrors(errors)) }
}

/// What is wrong with a graph, in node order.
pub fn check(graph: &Graph) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    let sorted: BTreeSet<NodeId> = graph.topo().into_iter().collect();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let mut report = |problem: String| {
            let place = format!("{id:?} `{}` ({})", node.name, node.op.name());
            errors.push(VerifyError { node: Some(id), place, problem });
        };
        if !sorted.contains(&id) {
            report("is on or behind a cycle".into());
        }
        for ty in node.outputs() {
            check_size(ty, &mut report);
        }
        let missing = node
            .inputs()
            .iter()
            .find(|v| !graph.contains(v.node()) || v.slot() >= graph.node(v.node()).outputs().len());
        if let Some(v) = missing {
            report(format!("uses {v:?}, which does not exist"));
            continue;
        }
        if node.op == Op::Input {
            if node.outputs().len() != 1 || !graph.inputs().contains(&id) {
                report("is no registered input with one output".into());
            }
            continue;
        }
        let types: Vec<&TensorType> = node.inputs().iter().map(|&v| graph.ty(v)).collect();
        match node.op.infer(&types) {
            Err(problem) => report(problem),
            Ok(types) if types != node.outputs() => {
                report(format!("is recorded as {:?} but infers {types:?}", node.outputs()));
            }
            Ok(_) => {}
        }
    }
    check_ports(graph, &mut errors);
    errors
}

fn check_size(ty: &TensorType, report: &mut impl FnMut(String)) {
    let known = || ty.shape.dims().iter().filter_map(|d| d.as_i64());
    let elements = known().try_fold(1i64, |a, d| a.checked_mul(d));
    if ty.rank() > MAX_RANK {
        report(format!("{ty} has more than {MAX_RANK} axes"));
    } else if known().any(|d| d < 0) {
        report(format!("{ty} has a negative size"));
    } else if elements.is_none_or(|n| n > MAX_ELEMENTS as i64) {
        report(format!("{ty} has more than {MAX_ELEMENTS} elements"));
    }
}

fn check_ports(graph: &Graph, errors: &mut Vec<VerifyError>) {
    let mut report = |place: String, problem: &str| {
        errors.push(VerifyError { node: None, place, problem: problem.to_owned() });
    };
    let mut names = BTreeSet::new();
    for &i in graph.inputs() {
        let name = &graph.node(i).name;
        if !names.insert(name.clone()) {
            report(format!("input `{name}`"), "has the name of another input");
        }
    }
    names.clear();
    for (name, v) in graph.outputs() {
        if !graph.contains(v.node()) || v.slot() >= graph.node(v.node()).outputs().len() {
            report(format!("output `{name}`"), "is a value that does not exist");
        }
        if !names.insert(name.clone()) {
            report(format!("output `{name}`"), "has the name of another output");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_types::{DType, Expr, Unary};

    #[test]
    fn reports_every_error() {
        let mut g = Graph::new("bad");
        let x = g.add_input("x", TensorType::known(DType::F32, &[2, 3])).unwrap();
        let relu = Op::Pointwise(Expr::unary(Unary::Relu));
        let wrong = g.add_unchecked(relu.clone(), &[x], "a", &[TensorType::known(DType::F32, &[3, 2])]);
        let ghost = g.add_unchecked(relu, &[wrong.output(4)], "b", &[TensorType::known(DType::F32, &[2, 3])]);
        g.mark_output("y", ghost.value());
        g.mark_output("y", x);
        let text = verify(g).err().unwrap().to_string();
        for part in ["recorded as", "does not exist", "name of another output"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
