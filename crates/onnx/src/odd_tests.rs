//! Every operator with operands that it does not expect: it may be refused, and must not panic.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ShapeBindings;
use crate::control_tests::{nested, with_graph};
use crate::proto::{NodeProto, ValueInfo};
use crate::tests::*;

fn of_type(name: &str, sizes: &[&str], elem_type: i32) -> ValueInfo {
    let mut v = value(name, sizes);
    v.r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = elem_type;
    v
}

/// A node of an operator, all of its nested graphs one that hands its first input on.
fn of(op: &str, inputs: &[&str], outputs: usize) -> NodeProto {
    let (domain, name) = op.rsplit_once('.').unwrap_or(("", op));
    let mut n = node(name, inputs, "y");
    n.domain = domain.into();
    n.output.extend((1..outputs).map(|k| format!("y{k}")));
    for graph in ["then_branch", "else_branch", "body"] {
        n = with_graph(n, graph, nested(vec![], &["a", "b"], &["a"]));
    }
    n
}

const SHAPES: [&[&str]; 6] = [&[], &["0"], &["2"], &["2", "3"], &["1", "2", "3"], &["1", "2", "4", "4"]];

/// What operands are declared as.
type Declared = (&'static [&'static str], i32);

/// Imports a node whose first operand is one thing and the others another; what it was if that panics.
fn panics(
    op: &str,
    count: usize,
    first: Declared,
    others: Declared,
    opset: i64,
    outputs: usize,
) -> Option<String> {
    let names: Vec<String> = (0..count).map(|k| format!("x{k}")).collect();
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let declared = |(k, n): (usize, &&str)| {
        let (sizes, elem_type) = if k == 0 { first } else { others };
        of_type(n, sizes, elem_type)
    };
    let given = inputs.iter().enumerate().map(declared).collect();
    let mut m = model(given, vec![], vec![of(op, &inputs, outputs)], "y");
    m.opset_import[0].version = opset;
    let import = || drop(graph(&m, ShapeBindings::default()));
    let what = || format!("{op}: {count} operands, {first:?} and {others:?}, set {opset}");
    catch_unwind(AssertUnwindSafe(import)).err().map(|_| what())
}

#[test]
fn no_operator_panics() {
    let mut bad = Vec::new();
    for op in crate::operators() {
        for sizes in SHAPES {
            for (elem_type, outputs) in [(1, 1), (7, 2), (9, 4), (3, 1), (10, 3)] {
                let all = (sizes, elem_type);
                let each = (0..=7).flat_map(|count| [9, 20, 27].map(|opset| (count, opset)));
                bad.extend(each.filter_map(|(count, opset)| panics(op, count, all, all, opset, outputs)));
            }
            for (others, elem_type) in SHAPES.iter().flat_map(|&s| [(s, 1), (s, 7)]) {
                let each = [2, 3, 4, 6].into_iter();
                let of = |count| panics(op, count, (sizes, 1), (others, elem_type), 20, 2);
                bad.extend(each.filter_map(of));
            }
        }
    }
    let ops: BTreeSet<&str> = bad.iter().filter_map(|b| b.split(':').next()).collect();
    assert!(bad.is_empty(), "{ops:?}, such as {:#?}", &bad[..bad.len().min(20)]);
}
