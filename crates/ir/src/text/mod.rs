//! The text form of graphs: written by [`print()`], read by [`parse`].
//!
//! ```text
//! graph resnet {
//!   %x: f32[N,3,224,224] = input "x"
//!   %w: f32[64,3,7,7] = const seed 7
//!   %b: f32[2] = const {0.5, -1e-7}
//!   %c1: f32[N,64,112,112] = conv(%x, %w) strides=[2,2] pads=[(3,3),(3,3)]
//!   %r: f32[N,64,112,112] = pointwise(%c1) {relu($0)}
//!   output "y" %r
//! }
//! ```
//!
//! One statement a node: the value, its type, the operation, its operands, its attributes, and the node's name in
//! quotes where the value is not called the same. Types are checked against inference. Attributes that have their
//! default are left out. `//` starts a comment.
//!
//! - Sizes are integer polynomials in symbols: `4*N + 1`, `floor(H - 1, 2)`; a symbol that is no word stands in
//!   single quotes.
//! - Constants are `const {…}` (values in row-major order), `const fill v` (all equal), `const hex "…"` (the bytes,
//!   little-endian), `const aside` (in order, beside the text: [`parse_aside`]) or, to be read only, `const seed n`
//!   (reproducible noise). A number `0x…` is an element's bits.
//! - Axes of `slice` are `(axis, start, length[, step])`, those of `resize` are `(axis, size, scale[, (from, to)])`.
//! - Values without a name are `%_0`, `%_1`, …
//!
//! `print(parse(print(g)))` equals `print(g)`. The abbreviated form (`{:#}`, [`abbreviated`]) leaves the values of
//! large constants out and cannot be read back.

mod attributes;
mod constant;
mod dims;
mod expr;
mod families;
mod lexer;
mod ops;
mod parse;
mod print;

pub use attributes::attributes;
pub(crate) use constant::noise;
pub use dims::parse_dim;
pub use expr::parse_expr;
pub use parse::{parse, parse_aside};
pub use print::{abbreviated, print, print_aside};

/// Most nodes that a text may define.
pub const MAX_NODES: usize = 1 << 20;

/// Most operands that a node in a text may have.
pub const MAX_OPERANDS: usize = 4096;

/// Most bytes that all constants together may take whose values are not spelled out (`fill` and `seed`).
pub const MAX_FILLED: usize = 1 << 30;

/// What sort of mistake a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextErrorKind {
    /// The text does not follow the grammar.
    Syntax,
    /// A value, operation, attribute or function of that name does not exist.
    Unknown,
    /// A name is defined twice.
    Duplicate,
    /// An operation does not accept its operands, or the type written is not the one inferred.
    Type,
    /// A number is outside its range, or a constant has the wrong number of values.
    Value,
    /// Something is larger than what is accepted.
    Limit,
}

/// A text is no graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: found {found}, expected {expected}")]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The sort of mistake.
    pub kind: TextErrorKind,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "random_tests.rs"]
mod random_tests;
