use thiserror::Error;

/// The reference cannot compute something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// An operation does not accept its operands.
    #[error("the reference cannot compute `{op}`: {problem}")]
    Op {
        /// The operation.
        op: String,
        /// What is wrong.
        problem: String,
    },
    /// A graph input was not given, or is of another type.
    #[error("input `{name}` must be {expected}, found {found}")]
    Input {
        /// Its name.
        name: String,
        /// Its declared type.
        expected: String,
        /// What was given.
        found: String,
    },
}
