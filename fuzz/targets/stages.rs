//! Any bytes as an ONNX model whose sizes depend on data: imported stage by stage, each computed by the reference interpreter.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tactician::ir::{DType, Graph, Tensor};
use tactician::reference::eval_graph;
use tactician_onnx::{Fed, Model, ShapeBindings, Stage, ValueKind};

/// Stages of one model that are looked at.
const STAGES: usize = 6;

/// Most elements of a value, so that a run takes little time.
const ELEMENTS: u64 = 1 << 12;

/// 0, 1, 2, 0, 1, 2 and so on; zeros in types that are neither `f32` nor integers.
fn counting(dtype: DType, sizes: &[usize]) -> Option<Tensor> {
    let n = sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).filter(|&n| n as u64 <= ELEMENTS)?;
    let mut bytes = vec![0; n * dtype.size()];
    for (i, element) in bytes.chunks_exact_mut(dtype.size()).enumerate() {
        match dtype {
            DType::F32 => element.copy_from_slice(&((i % 3) as f32).to_le_bytes()),
            DType::Bool => element[0] = (i % 2) as u8,
            t if t.is_int() && !t.is_narrow() => element[0] = (i % 3) as u8,
            _ => {}
        }
    }
    Tensor::from_bytes(dtype, sizes, bytes).ok()
}

fn is_small(graph: &Graph) -> bool {
    let mut types = graph.node_ids().flat_map(|n| graph.node(n).outputs());
    graph.node_ids().count() <= 200 && types.all(|t| t.elements().is_some_and(|n| n as u64 <= ELEMENTS))
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::from_bytes(bytes.to_vec()) else { return };
    let mut given = BTreeMap::new();
    for i in model.inputs().iter().filter(|i| i.kind == ValueKind::Tensor) {
        let Some(shape) = &i.shape else { return };
        let size = |n: Option<i64>| n.map_or(Some(2), |n| usize::try_from(n).ok());
        let sizes: Option<Vec<usize>> = shape.dims().iter().map(|d| size(d.as_i64())).collect();
        let Some(t) = sizes.and_then(|s| counting(i.dtype, &s)) else { return };
        given.insert(i.name.clone(), t);
    }
    let mut fed = Fed::default();
    for _ in 0..STAGES {
        let mut shapes = ShapeBindings::default();
        for (name, t) in &given {
            shapes = match fed.asked.contains(name) {
                true => shapes.value(name, t.clone()),
                false => shapes.shape(name, t.sizes()),
            };
        }
        let part = match model.stage(&shapes, &fed) {
            Ok(Stage::Part(part)) => part,
            Ok(Stage::Whole(graph)) => return drop(tactician::ir::verify(graph)),
            Err(_) => return,
        };
        if !is_small(&part.graph) {
            return;
        }
        let known = given.iter().chain(&fed.values).map(|(n, t)| (n.clone(), t.clone())).collect();
        let Ok(outputs) = eval_graph(&part.graph, &known) else { return };
        let before = (fed.values.len(), fed.asked.len());
        fed.values.extend(outputs);
        for step in &part.steps {
            let mut operands = fed.values.clone();
            for name in &step.wanted {
                operands.extend(given.get(name).map(|t| (name.clone(), t.clone())));
            }
            if step.evaluated {
                let Ok(results) = model.evaluate(step, &operands) else { return };
                fed.values.extend(results);
            } else {
                let wanted = step.wanted.iter().filter_map(|n| Some((n.clone(), operands.get(n)?.clone())));
                fed.values.extend(wanted);
                fed.asked.extend(step.wanted.iter().cloned());
            }
        }
        if before == (fed.values.len(), fed.asked.len()) {
            return;
        }
    }
});
