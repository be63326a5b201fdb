use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Its name, or its first output's.
    pub name: String,
    /// Its operator, with the domain unless that is ONNX's own.
    pub op: String,
    /// Why not.
    pub reason: String,
    /// Whether it only lacks values that a run knows: it can be imported when the model is run stage by stage.
    pub waits: bool,
}

impl fmt::Display for UnsupportedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.name, self.op, self.reason)
    }
}

/// A model cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("could not read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no ONNX model.
    #[error("this is no ONNX model: {problem}; it may be truncated or of another format, export it again")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// An operator set outside what is supported.
    #[error(
        "the model uses operator set {found}, supported are {least} and later; convert it with onnx.version_converter"
    )]
    Opset {
        /// The version.
        found: i64,
        /// The least supported.
        least: i64,
    },
    /// Nodes that cannot be imported: all of them.
    #[error("{} of the model's nodes cannot be imported:{}", .nodes.len(), list(.nodes))]
    Unsupported {
        /// The nodes.
        nodes: Vec<UnsupportedNode>,
    },
    /// A tensor's data do not fit its type.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// External data that cannot be used.
    #[error("external data of `{name}`: {problem}")]
    External {
        /// The tensor.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A value that no node gives.
    #[error("node `{node}` reads `{value}`, which nothing defines before it{hint}")]
    Undefined {
        /// The reader.
        node: String,
        /// The value.
        value: String,
        /// More, for cycles.
        hint: &'static str,
    },
    /// Two things of one name.
    #[error("the model defines `{name}` twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A shape given that does not fit.
    #[error("input `{name}` is declared as {declared}; {given:?} does not fit")]
    Shape {
        /// The input.
        name: String,
        /// As declared.
        declared: String,
        /// As given.
        given: Vec<usize>,
    },
    /// An input that cannot be used.
    #[error("input `{name}`: {problem}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

fn list(nodes: &[UnsupportedNode]) -> String {
    const MOST: usize = 50;
    let mut text: String = nodes.iter().take(MOST).map(|n| format!("\n  {n}")).collect();
    if nodes.len() > MOST {
        text += &format!("\n  and {} more", nodes.len() - MOST);
    }
    if nodes.iter().all(|n| n.waits) {
        text +=
            "\nNo plan can be made of it; it may run stage by stage, by `tactician run MODEL` or a `Session`";
    }
    text
}
