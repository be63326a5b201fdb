//! Finding the library.

use std::sync::OnceLock;

use libloading::Library;
use thiserror::Error;

use crate::Cudnn;

/// The library of the major version that this crate speaks to.
const LIBRARY: &str = "libcudnn.so.9";

/// Oldest version whose interface has all that is used here: graphs and plans without a handle.
const OLDEST: usize = 90800;

/// cuDNN cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The library is not on the loader path.
    #[error("cuDNN 9 was not found ({reason}): put libcudnn.so.9 on the loader path, or build without cuDNN")]
    Missing {
        /// What the loader said.
        reason: String,
    },
    /// cuDNN is there, but not the cuBLASLt without which it aborts the process.
    #[error("cuDNN needs {library}, which was not found ({reason}): put it on the loader path")]
    MissingCublasLt {
        /// The file name.
        library: String,
        /// What the loader said.
        reason: String,
    },
    /// The library lacks a function.
    #[error("{LIBRARY} has no function `{symbol}`")]
    MissingSymbol {
        /// The C name.
        symbol: &'static str,
    },
    /// The library is too old.
    #[error("cuDNN {found} is older than {OLDEST}, the oldest that can be used")]
    TooOld {
        /// The version found, such as 91400.
        found: usize,
    },
}

impl Cudnn {
    /// The library, loaded at the first call and kept for the life of the process.
    ///
    /// # Errors
    /// When it or something that it needs is missing; the same answer at every call.
    pub fn get() -> Result<&'static Cudnn, LoadError> {
        static CUDNN: OnceLock<Result<Cudnn, LoadError>> = OnceLock::new();
        CUDNN.get_or_init(|| load(LIBRARY)).as_ref().map_err(Clone::clone)
    }
}

pub(crate) fn load(file: &str) -> Result<Cudnn, LoadError> {
    // SAFETY: the initialisers of cuDNN only set up its own data.
    let library = unsafe { Library::new(file) }.map_err(|e| LoadError::Missing { reason: reason(&e) })?;
    // Kept loaded: its functions are used from now on, and it does not unload cleanly.
    let library: &'static Library = Box::leak(Box::new(library));
    macro_rules! symbol {
        ($name:literal) => {{
            // SAFETY: `Cudnn` declares each function as the header of cuDNN 9 does.
            let found = unsafe { library.get(concat!($name, "\0").as_bytes()) };
            *found.map_err(|_| LoadError::MissingSymbol { symbol: $name })?
        }};
    }
    let cudnn = Cudnn {
        create: symbol!("cudnnCreate"),
        destroy: symbol!("cudnnDestroy"),
        set_stream: symbol!("cudnnSetStream"),
        get_version: symbol!("cudnnGetVersion"),
        get_cudart_version: symbol!("cudnnGetCudartVersion"),
        get_error_string: symbol!("cudnnGetErrorString"),
        get_last_error_string: symbol!("cudnnGetLastErrorString"),
        backend_create_descriptor: symbol!("cudnnBackendCreateDescriptor"),
        backend_destroy_descriptor: symbol!("cudnnBackendDestroyDescriptor"),
        backend_finalize: symbol!("cudnnBackendFinalize"),
        backend_set_attribute: symbol!("cudnnBackendSetAttribute"),
        backend_get_attribute: symbol!("cudnnBackendGetAttribute"),
        backend_execute: symbol!("cudnnBackendExecute"),
    };
    let found = cudnn.version();
    if found < OLDEST {
        return Err(LoadError::TooOld { found });
    }
    // SAFETY: takes nothing and returns a number.
    let cuda_major = unsafe { (cudnn.get_cudart_version)() } / 1000;
    let name = format!("libcublasLt.so.{cuda_major}");
    // SAFETY: the initialisers of cuBLASLt only set up its own data.
    let cublaslt = unsafe { Library::new(&name) }
        .map_err(|e| LoadError::MissingCublasLt { library: name, reason: reason(&e) })?;
    Box::leak(Box::new(cublaslt));
    Ok(cudnn)
}

/// What the loader said: the error's innermost cause.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl Cudnn {
    /// The version as a number: 91400 is 9.14.0.
    pub fn version(&self) -> usize {
        // SAFETY: takes nothing and returns a number.
        unsafe { (self.get_version)() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        let e = load("libcudnn-that-is-not-there.so.9").unwrap_err();
        assert!(matches!(e, LoadError::Missing { .. }), "{e}");
        let text = e.to_string();
        assert!(text.contains("libcudnn.so.9") && text.contains("loader path"), "{text}");
        // Some library that is always there and is not cuDNN.
        if let Err(e) = load("libc.so.6") {
            assert_eq!(e, LoadError::MissingSymbol { symbol: "cudnnCreate" });
        }
    }
}
