//! A graph as a plan keeps it: the length of its text (`u64`, little-endian), the text, and the values of its long
//! constants behind it, each at a multiple of 64 bytes.

use std::sync::Arc;

use tactician_ir::text::{parse_aside, print_aside};
use tactician_ir::{Graph, Tensor};
use tactician_plan::Section;

use crate::error::BuildError;

const ALIGNMENT: usize = 64;

/// Writes a graph.
pub(crate) fn write(graph: &Graph) -> Vec<u8> {
    let (text, constants) = print_aside(graph);
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    for t in &constants {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend_from_slice(t.bytes());
    }
    out
}

/// Reads a graph; its long constants stay where they are.
///
/// # Errors
/// When the section is cut short or holds no graph.
pub(crate) fn read(section: Arc<Section>) -> Result<Graph, BuildError> {
    let fail = |what: &str| BuildError::Kept { what: what.to_owned() };
    let bytes = section.bytes();
    let len = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    let text = len.and_then(|n| bytes[8..].get(..usize::try_from(n).ok()?));
    let text = text.ok_or_else(|| fail("it is shorter than it says"))?;
    let mut at = 8 + text.len();
    let text = std::str::from_utf8(text).map_err(|_| fail("its text is not UTF-8"))?;
    let graph = parse_aside(text, |ty| {
        let start = at.checked_next_multiple_of(ALIGNMENT)?;
        let end = start.checked_add(usize::try_from(ty.bytes()?).ok()?)?;
        at = end;
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = section.clone();
        Tensor::from_shared(ty.dtype, &ty.sizes()?, owner, start..end).ok()
    });
    graph.map_err(|e| fail(&e.to_string()))
}
