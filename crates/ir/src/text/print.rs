//! Writes graphs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::attributes::attributes;
use super::constant::{Values, constant_text, is_aside};
use super::dims::type_text;
use super::lexer::{in_value, is_word, quote};
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Op;
use crate::tensor::Tensor;

/// Longest identifier made from a name.
const MAX_IDENT: usize = 80;

/// The graph as text that [`super::parse`] reads back.
pub fn print(graph: &Graph) -> String {
    write(graph, Values::Full)
}

/// The graph as text, with the values of long constants aside: these come back in the text's order, and
/// [`super::parse_aside`] takes them so.
pub fn print_aside(graph: &Graph) -> (String, Vec<Tensor>) {
    let aside = |n: &NodeId| match &graph.node(*n).op {
        Op::Constant(t) if is_aside(t) => Some(t.clone()),
        _ => None,
    };
    (write(graph, Values::Aside), order(graph).iter().filter_map(aside).collect())
}

/// The graph as text for people: values of large constants are left out.
pub fn abbreviated(graph: &Graph) -> String {
    write(graph, Values::Abbreviated)
}

/// The text form; with `#` the abbreviated one.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(self, if f.alternate() { Values::Abbreviated } else { Values::Full }))
    }
}

/// The abbreviated text form.
impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&abbreviated(self))
    }
}

/// Whether an identifier is one of those given to nodes without a name.
pub(super) fn anonymous(ident: &str) -> bool {
    ident.strip_prefix('_').is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

/// Inputs first, in their order; then the rest, operands before users. Nodes on a cycle come last.
fn order(graph: &Graph) -> Vec<NodeId> {
    let mut order: Vec<NodeId> = graph.inputs().iter().copied().filter(|&i| graph.contains(i)).collect();
    let mut seen: BTreeSet<NodeId> = order.iter().copied().collect();
    order.extend(graph.topo().into_iter().chain(graph.node_ids()).filter(|&n| seen.insert(n)));
    order
}

/// An identifier for each node, unique, as close to its name as possible.
fn identifiers(graph: &Graph, order: &[NodeId]) -> BTreeMap<NodeId, String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = BTreeMap::new();
    let mut unnamed = 0;
    for &n in order {
        let name = &graph.node(n).name;
        let ident = if name.is_empty() {
            unnamed += 1;
            format!("_{}", unnamed - 1)
        } else {
            let base: String =
                name.chars().take(MAX_IDENT).map(|c| if in_value(c) { c } else { '_' }).collect();
            let base = if anonymous(&base) { format!("v{base}") } else { base };
            let mut ident = base.clone();
            let count = next.entry(base.clone()).or_insert(0);
            while taken.contains(&ident) {
                *count += 1;
                ident = format!("{base}_{count}");
            }
            ident
        };
        taken.insert(ident.clone());
        out.insert(n, ident);
    }
    out
}

fn write(graph: &Graph, values: Values) -> String {
    let order = order(graph);
    let idents = identifiers(graph, &order);
    // Values that do not exist are written so that they do not read back.
    let value = |v: ValueId| match (idents.get(&v.node()), v.slot()) {
        (Some(ident), 0) => format!("%{ident}"),
        (Some(ident), slot) => format!("%{ident}#{slot}"),
        (None, _) => format!("%?{v:?}"),
    };
    let mut filled = 0;
    let mut out = format!(
        "graph {} {{\n",
        if is_word(&graph.name) { graph.name.clone() } else { quote(&graph.name, '"') }
    );
    for &n in &order {
        let node = graph.node(n);
        let ident = &idents[&n];
        let types: Vec<String> = node.outputs().iter().map(type_text).collect();
        out.push_str(&format!("  %{ident}: {} = {}", types.join(", "), node.op.name()));
        match &node.op {
            Op::Input => {}
            Op::Constant(t) => {
                out.push(' ');
                out.push_str(&constant_text(t, values, &mut filled));
            }
            op => {
                let operands: Vec<String> = node.inputs().iter().map(|&v| value(v)).collect();
                out.push_str(&format!("({})", operands.join(", ")));
                let attributes = attributes(op);
                if !attributes.is_empty() {
                    out.push(' ');
                    out.push_str(&attributes);
                }
            }
        }
        let implied = *ident == node.name || node.name.is_empty();
        if !implied || node.op == Op::Input {
            out.push(' ');
            out.push_str(&quote(&node.name, '"'));
        }
        out.push('\n');
    }
    for (name, v) in graph.outputs() {
        out.push_str(&format!("  output {} {}\n", quote(name, '"'), value(*v)));
    }
    out.push_str("}\n");
    out
}
