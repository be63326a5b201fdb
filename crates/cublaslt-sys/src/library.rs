//! Finding the library and its functions.

use std::ffi::c_void;
use std::sync::OnceLock;

use thiserror::Error;

use crate::types::{
    AlgoBytes, AlgoConfig, ComputeType, CudaType, DescAttribute, Handle, HeuristicResult, LayoutAttribute,
    MatmulDesc, MatrixLayout, Preference, PreferenceAttribute, Status,
};

/// File names that are tried, in this order.
#[cfg(not(windows))]
pub const NAMES: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];
/// File names that are tried, in this order.
#[cfg(windows)]
pub const NAMES: [&str; 2] = ["cublasLt64_13.dll", "cublasLt64_12.dll"];

/// cuBLASLt cannot be used on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No file of any of the names can be loaded.
    #[error("cuBLASLt is not installed or not on the loader's path: {tried}")]
    Missing {
        /// Each name with the loader's answer.
        tried: String,
    },
    /// The file lacks a function.
    #[error("{file} has no function `{function}`: it is too old, install cuBLAS 12 or 13")]
    Function {
        /// The file.
        file: String,
        /// The function.
        function: String,
    },
}

/// Declares the functions: the field, the C name, the signature.
macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:literal: fn($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The library's functions, named as in C without the prefix. Each is as unsafe to call as it is in C: pointers
        /// must be good for what the header says, sizes must be those of what they point to.
        pub struct Library {
            $($(#[$doc])* pub $field: unsafe extern "C" fn($($arg: $ty),*) -> $ret,)*
            /// The file that was loaded.
            pub file: String,
            /// Keeps the functions in memory.
            _library: libloading::Library,
        }

        impl Library {
            fn bind(file: &str, library: libloading::Library) -> Result<Library, LoadError> {
                let missing = |symbol: &[u8]| {
                    let function = String::from_utf8_lossy(symbol).trim_end_matches('\0').to_owned();
                    LoadError::Function { file: file.to_owned(), function }
                };
                $(
                    // SAFETY: the symbol is the C function of that name, whose signature in the header is this one;
                    // the pointer lives as long as the library, which the result keeps.
                    let $field = unsafe {
                        *library
                            .get::<unsafe extern "C" fn($($arg: $ty),*) -> $ret>($symbol)
                            .map_err(|_| missing($symbol))?
                    };
                )*
                Ok(Library { $($field,)* file: file.to_owned(), _library: library })
            }
        }
    };
}

functions! {
    /// `cublasLtCreate`. Needs a device.
    create = b"cublasLtCreate\0": fn(handle: *mut Handle) -> Status;
    /// `cublasLtDestroy`.
    destroy = b"cublasLtDestroy\0": fn(handle: Handle) -> Status;
    /// `cublasLtGetVersion`, such as 130002.
    version = b"cublasLtGetVersion\0": fn() -> usize;
    /// `cublasLtMatmul`. `alpha` and `beta` are host pointers.
    matmul = b"cublasLtMatmul\0": fn(
        handle: Handle, desc: *const MatmulDesc, alpha: *const f32, a: *const c_void,
        a_layout: *const MatrixLayout, b: *const c_void, b_layout: *const MatrixLayout, beta: *const f32,
        c: *const c_void, c_layout: *const MatrixLayout, d: *mut c_void, d_layout: *const MatrixLayout,
        algo: *const AlgoBytes, workspace: *mut c_void, workspace_bytes: usize, stream: *mut c_void
    ) -> Status;
    /// `cublasLtMatmulDescInit`.
    desc_init = b"cublasLtMatmulDescInit_internal\0": fn(
        desc: *mut MatmulDesc, bytes: usize, compute: ComputeType, scale: CudaType
    ) -> Status;
    /// `cublasLtMatmulDescSetAttribute`.
    desc_set = b"cublasLtMatmulDescSetAttribute\0": fn(
        desc: *mut MatmulDesc, attribute: DescAttribute, value: *const c_void, bytes: usize
    ) -> Status;
    /// `cublasLtMatrixLayoutInit`.
    layout_init = b"cublasLtMatrixLayoutInit_internal\0": fn(
        layout: *mut MatrixLayout, bytes: usize, of: CudaType, rows: u64, columns: u64, leading: i64
    ) -> Status;
    /// `cublasLtMatrixLayoutSetAttribute`.
    layout_set = b"cublasLtMatrixLayoutSetAttribute\0": fn(
        layout: *mut MatrixLayout, attribute: LayoutAttribute, value: *const c_void, bytes: usize
    ) -> Status;
    /// `cublasLtMatmulPreferenceInit`.
    preference_init = b"cublasLtMatmulPreferenceInit_internal\0": fn(
        preference: *mut Preference, bytes: usize
    ) -> Status;
    /// `cublasLtMatmulPreferenceSetAttribute`.
    preference_set = b"cublasLtMatmulPreferenceSetAttribute\0": fn(
        preference: *mut Preference, attribute: PreferenceAttribute, value: *const c_void, bytes: usize
    ) -> Status;
    /// `cublasLtMatmulAlgoGetHeuristic`.
    heuristic = b"cublasLtMatmulAlgoGetHeuristic\0": fn(
        handle: Handle, desc: *const MatmulDesc, a: *const MatrixLayout, b: *const MatrixLayout,
        c: *const MatrixLayout, d: *const MatrixLayout, preference: *const Preference, wanted: i32,
        results: *mut HeuristicResult, found: *mut i32
    ) -> Status;
    /// `cublasLtMatmulAlgoCheck`.
    algo_check = b"cublasLtMatmulAlgoCheck\0": fn(
        handle: Handle, desc: *const MatmulDesc, a: *const MatrixLayout, b: *const MatrixLayout,
        c: *const MatrixLayout, d: *const MatrixLayout, algo: *const AlgoBytes, result: *mut HeuristicResult
    ) -> Status;
    /// `cublasLtMatmulAlgoConfigGetAttribute`.
    algo_config = b"cublasLtMatmulAlgoConfigGetAttribute\0": fn(
        algo: *const AlgoBytes, attribute: AlgoConfig, value: *mut c_void, bytes: usize, written: *mut usize
    ) -> Status;
}

impl Library {
    /// Loads the first of the files that there is.
    ///
    /// # Errors
    /// When there is none, or it lacks a function.
    pub fn open(names: &[&str]) -> Result<Library, LoadError> {
        let mut tried = Vec::new();
        for &name in names {
            // SAFETY: NVIDIA's library runs no code of ours when it is loaded and asks nothing of the caller.
            match unsafe { libloading::Library::new(name) } {
                Ok(library) => return Library::bind(name, library),
                Err(e) => tried.push(format!("{name}: {e}")),
            }
        }
        Err(LoadError::Missing { tried: tried.join("; ") })
    }
}

/// The library, looked for once a process and never unloaded.
///
/// # Errors
/// As [`Library::open`], the same every time.
pub fn library() -> Result<&'static Library, &'static LoadError> {
    static LIBRARY: OnceLock<Result<Library, LoadError>> = OnceLock::new();
    LIBRARY.get_or_init(|| Library::open(&NAMES)).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_says_what_was_tried() {
        let e = Library::open(&["libcublasLt.so.0"]).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("not installed") && e.contains("libcublasLt.so.0"), "{e}");
    }

    /// Loads a library that is on every Linux machine and no cuBLAS.
    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_refused() {
        let e = Library::open(&["libc.so.6"]).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("libc.so.6") && e.contains("`cublasLtCreate`"), "{e}");
    }

    /// What can be tried without a GPU, where the library is there.
    #[test]
    fn descriptors_are_made_without_a_device() {
        let Ok(l) = library() else { return };
        let mut desc = MatmulDesc([0; 32]);
        let mut layout = MatrixLayout([0; 8]);
        let mut preference = Preference([0; 8]);
        // SAFETY: each pointer is to a live value of the size given with it.
        let made = unsafe {
            [
                (l.desc_init)(&mut desc, size_of::<MatmulDesc>(), ComputeType::F32, CudaType::R_32F),
                (l.layout_init)(&mut layout, size_of::<MatrixLayout>(), CudaType::R_16F, 8, 4, 8),
                (l.preference_init)(&mut preference, size_of::<Preference>()),
            ]
        };
        assert_eq!(made, [Status::SUCCESS; 3]);
        // SAFETY: takes nothing.
        assert!(unsafe { (l.version)() } >= 120_000);
    }
}
