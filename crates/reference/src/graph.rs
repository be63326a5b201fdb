//! Whole graphs.

use std::collections::BTreeMap;

use tactician_ir::{Graph, Op, Tensor, ValueId};

use crate::error::ReferenceError;
use crate::problem::eval_value;
use crate::value::Value;

fn run(
    graph: &Graph,
    inputs: &BTreeMap<String, Tensor>,
    exact: bool,
) -> Result<BTreeMap<String, Value>, ReferenceError> {
    let mut values: BTreeMap<ValueId, Value> = BTreeMap::new();
    let mut uses: BTreeMap<ValueId, usize> = BTreeMap::new();
    for id in graph.node_ids() {
        for &v in graph.node(id).inputs() {
            *uses.entry(v).or_insert(0) += 1;
        }
    }
    for (_, v) in graph.outputs() {
        *uses.entry(*v).or_insert(0) += 1;
    }
    for id in graph.topo() {
        let node = graph.node(id);
        let value = match &node.op {
            Op::Input => {
                let expected = &node.outputs()[0];
                match inputs.get(&node.name) {
                    Some(t) if t.ty() == *expected => Value::of(t),
                    other => {
                        return Err(ReferenceError::Input {
                            name: node.name.clone(),
                            expected: expected.to_string(),
                            found: other.map_or("nothing".into(), |t| t.ty().to_string()),
                        });
                    }
                }
            }
            op => {
                let operands: Vec<&Value> = node.inputs().iter().map(|v| &values[v]).collect();
                let value = eval_value(op, &operands, exact)?;
                if exact { value } else { value.rounded() }
            }
        };
        for v in node.inputs() {
            if let Some(n) = uses.get_mut(v) {
                *n -= 1;
                if *n == 0 {
                    values.remove(v);
                }
            }
        }
        if uses.contains_key(&id.value()) {
            values.insert(id.value(), value);
        }
    }
    Ok(graph.outputs().iter().map(|(n, v)| (n.clone(), values[v].clone())).collect())
}

/// Computes a graph from its inputs by name, every operation rounded to its type. Returns the outputs by name.
///
/// # Errors
/// When an input is missing or of another type, or an operation fails.
pub fn eval_graph(
    graph: &Graph,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
    Ok(run(graph, inputs, false)?.into_iter().map(|(n, v)| (n, v.to_tensor())).collect())
}

/// Computes a graph in `f64` without rounding in between. Integer outputs are converted.
///
/// # Errors
/// As [`eval_graph`].
pub fn eval_graph_f64(
    graph: &Graph,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Vec<f64>>, ReferenceError> {
    let values = run(graph, inputs, true)?;
    Ok(values
        .into_iter()
        .map(|(n, v)| match v.data {
            crate::value::Data::Float(d) => (n, d),
            crate::value::Data::Int(d) => (n, d.into_iter().map(|x| x as f64).collect()),
        })
        .collect())
}
