//! The page of operators, against what is imported.

use std::collections::BTreeMap;

use crate::operators;
use crate::ops::CHANGED;

/// `docs/onnx-operators.md`: rows `| `Operator` | first operator set | notes |`.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/onnx-operators.md");

fn rows() -> BTreeMap<String, i64> {
    let text = std::fs::read_to_string(PAGE).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        Some((name, cells.next()?.parse().unwrap_or_else(|_| panic!("`{line}` names no operator set"))))
    };
    let rows: Vec<(String, i64)> = text.lines().filter_map(row).collect();
    let count = rows.len();
    let rows: BTreeMap<String, i64> = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "an operator has two rows");
    rows
}

#[test]
fn the_page_names_every_operator_that_is_imported() {
    let (rows, known) = (rows(), operators());
    let missing: Vec<&&str> = known.iter().filter(|n| !rows.contains_key(**n)).collect();
    assert!(missing.is_empty(), "docs/onnx-operators.md has no rows for {missing:?}");
    let gone: Vec<&String> = rows.keys().filter(|n| !known.contains(&n.as_str())).collect();
    assert!(gone.is_empty(), "docs/onnx-operators.md has rows for {gone:?}, which are not imported");
}

#[test]
fn the_page_says_since_which_operator_set() {
    let rows = rows();
    for (name, since) in CHANGED {
        assert_eq!(rows[*name], *since, "the row of {name}");
    }
}

#[test]
fn no_operator_is_listed_twice() {
    let known = operators();
    let twice: Vec<&str> = known.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
