//! CUDA kernel sources of `tactician`, embedded: `cuda/<operation>/<variant>.cu`, shared code in `cuda/include/*.cuh`.
//!
//! A private dependency of the public crate. Sources include no header but ours; [`source`] puts those in place, so
//! that the compiler sees one text and its hash says everything.

mod arguments;
pub mod attention;
mod expr;
pub mod gemm;
pub mod gemm_epilogue;
mod gemm_sources;
mod grid;
pub mod recurrent;
pub mod sources;
pub mod tma;

use std::sync::Arc;

pub use arguments::{Arguments, Divisor};
pub use expr::{compute_type, expr_function, storage_type};
pub use grid::{Grid, MAX_OPERANDS, grid_text};

use tactician_device::CodeSource;

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// One of each kind of text that the families compile, for checks that all of it compiles for every architecture.
pub fn all() -> Vec<CodeSource> {
    let mut all = sources::all();
    all.extend(gemm_sources::all());
    all.extend(attention::all());
    all.extend(recurrent::all());
    all
}

/// The text of a source file by its path below `kernels/cuda`.
fn file(path: &str) -> Option<&'static str> {
    FILES.binary_search_by(|(p, _)| (*p).cmp(path)).ok().map(|i| FILES[i].1)
}

/// A kernel's source with its includes in place. `prelude` is put before it, for generated code such as epilogues; it
/// may include our headers too. `defines` are `NAME=VALUE`.
///
/// # Panics
/// When there is no such file, or it includes one that is not there: a mistake that every compile check finds.
pub fn source(path: &str, prelude: &str, defines: &[String]) -> CodeSource {
    let mut text = String::new();
    let mut seen = Vec::new();
    expand(prelude, &mut seen, &mut text);
    expand(existing(path), &mut seen, &mut text);
    let options = defines.iter().map(|d| format!("-D{d}")).collect();
    CodeSource { name: path.to_owned(), text: Arc::from(text), options }
}

fn existing(path: &str) -> &'static str {
    file(path).unwrap_or_else(|| panic!("there is no kernel source `{path}`"))
}

/// Appends a text, each include replaced by its file the first time.
fn expand(text: &str, seen: &mut Vec<String>, out: &mut String) {
    for line in text.lines() {
        let included = line.trim().strip_prefix("#include \"").and_then(|l| l.strip_suffix('"'));
        match included {
            Some(name) if seen.iter().any(|s| s == name) => {}
            Some(name) => {
                seen.push(name.to_owned());
                expand(existing(&format!("include/{name}")), seen, out);
            }
            None if line.trim() == "#pragma once" => {}
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
}
