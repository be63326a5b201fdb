//! Any bytes as an ONNX model whose sizes depend on data: imported stage by stage, each computed by the reference interpreter.

#![no_main]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tactician::ir::{DType, Graph, Tensor};
use tactician::reference::eval_graph;
use tactician_onnx::{Backend, Driver, ImportError, Model, StageError, ValueKind};

/// Most elements of a value, so that a run takes little time.
const ELEMENTS: u64 = 1 << 12;

/// Most graphs that are run for one model: a loop may go on for long.
const RUNS: u32 = 16;

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

/// Runs small graphs with the reference interpreter.
struct Reference {
    left: Cell<u32>,
}

/// Why a run ends, which is not looked at.
struct Ended;

impl From<ImportError> for Ended {
    fn from(_: ImportError) -> Ended {
        Ended
    }
}

impl From<StageError> for Ended {
    fn from(e: StageError) -> Ended {
        assert_ne!(e, StageError::NoProgress);
        Ended
    }
}

impl Backend for Reference {
    type Ready = Graph;
    type Error = Ended;

    fn ready(&self, graph: Graph) -> Result<Graph, Ended> {
        is_small(&graph).then_some(graph).ok_or(Ended)
    }

    fn run(
        &self,
        graph: &mut Graph,
        value: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<Vec<(String, Tensor)>, Ended> {
        let left = self.left.get().checked_sub(1).ok_or(Ended)?;
        self.left.set(left);
        let names = graph.inputs().iter().map(|&i| graph.node(i).name.clone());
        let given = names.filter_map(|n| Some((n.clone(), value(&n)?))).collect();
        Ok(eval_graph(graph, &given).map_err(|_| Ended)?.into_iter().collect())
    }
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
    let reference = Reference { left: Cell::new(RUNS) };
    // What it computes is compared elsewhere; here it must end, and without a panic.
    let _ = Driver::new(Arc::new(model), BTreeMap::new()).run(&reference, &given);
});
