//! cuBLASLt as `tactician` needs it: a thin, faithful foreign interface, found at run time.
//!
//! A private dependency of the public crate. Nothing is linked: [`library`] looks for the shared library once and
//! says what it missed. Every C enum is an integer newtype with named constants, so that a value of a newer library is
//! a number that we do not know and never undefined behaviour. Descriptors are values of fixed size, initialised in
//! place; the library keeps no pointer to them.

mod library;
mod types;

pub use library::{Library, LoadError, NAMES, library};
pub use types::{
    AlgoBytes, AlgoConfig, ComputeType, CudaType, DescAttribute, Epilogue, Handle, HeuristicResult,
    LayoutAttribute, MatmulDesc, MatrixLayout, Operation, Preference, PreferenceAttribute, ReductionScheme,
    Status,
};
