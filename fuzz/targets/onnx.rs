//! Any bytes as an ONNX model: imported, rewritten and fused, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tactician::{Network, passes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(network) = Network::from_onnx_bytes(bytes.to_vec()) else { return };
    let shapes = network
        .inputs()
        .iter()
        .filter_map(|i| {
            let sizes = i.shape.dims().iter().map(|d| d.as_i64().map_or(Some(2), |n| usize::try_from(n).ok()));
            Some((i.name.clone(), sizes.collect::<Option<Vec<_>>>()?))
        })
        .collect();
    let Ok(graph) = network.bind(&shapes) else { return };
    let large = |n: usize| n > 1 << 16;
    let elements = graph.node_ids().flat_map(|n| graph.node(n).outputs()).map(|t| t.elements());
    if elements.into_iter().any(|n| n.is_none_or(large)) {
        return;
    }
    if let Ok((graph, _)) = passes::canonicalize(graph) {
        let regions = passes::FusionPolicy::choose(&passes::Greedy, &graph, &passes::proposals(&graph));
        for r in regions.into_regions() {
            // The name of a problem is the key of its measurements.
            assert!(!r.problem(&graph).to_string().is_empty());
        }
    }
});
