//! Which algorithms the library has for a product.

use std::ffi::c_void;
use std::sync::Arc;

use tactician_cublaslt_sys::{
    HeuristicResult, Preference, PreferenceAttribute, ReductionScheme, Status, library,
};
use tactician_device::DeviceError;
use tactician_types::{DType, Memo};

use super::config::Config;
use super::descriptors::{ADDRESS_ALIGNMENT, Descriptors, check};
use super::gemm::{Algorithm, Gemm};
use super::handle::{Ready, ready, version};

/// Most algorithms that the library is asked for at once.
const WANTED: usize = 64;

/// The algorithms of the library for a product on GPU number `ordinal` that need no more scratch than `workspace`
/// bytes, likely fast ones first, those that need none included; each configuration once. None when the product, the
/// library or the GPU cannot be used. The library is asked once a process.
pub fn algorithms(gemm: &Gemm, ordinal: usize, workspace: u64) -> Arc<[Algorithm]> {
    // By GPU and product.
    static KNOWN: Memo<(usize, Vec<u8>), Arc<[Algorithm]>> = Memo::new();
    // The library chooses whatever the scale.
    let Ok(mut key) = postcard::to_stdvec(&Gemm { alpha: 1.0, ..*gemm }) else { return Arc::new([]) };
    key.extend(workspace.to_le_bytes());
    KNOWN.get((ordinal, key), || list(gemm, ordinal, workspace).unwrap_or_default().into())
}

/// Version of the library, such as 130002.
///
/// # Errors
/// Why it cannot be used: it is not there, or too old.
pub fn library_version() -> Result<u64, String> {
    library().map(version).map_err(|e| e.to_string())
}

fn list(gemm: &Gemm, ordinal: usize, workspace: u64) -> Result<Vec<Algorithm>, DeviceError> {
    if gemm.check().is_err() {
        return Ok(Vec::new());
    }
    let ready = ready(ordinal)?;
    let descriptors = Descriptors::new(ready.library, gemm)?;
    let mut out: Vec<Algorithm> = Vec::new();
    // Asked for all at once, the library may give only algorithms that need scratch.
    for cap in [workspace, 0] {
        for found in ask(&ready, &descriptors, gemm.dtype, cap)? {
            if out.iter().all(|a| a.config != found.config) {
                out.push(found);
            }
        }
        if workspace == 0 {
            break;
        }
    }
    Ok(out)
}

fn ask(ready: &Ready, d: &Descriptors, dtype: DType, cap: u64) -> Result<Vec<Algorithm>, DeviceError> {
    let library = ready.library;
    let mut preference = Preference([0; 8]);
    // SAFETY: a live value of the size given.
    let status = unsafe { (library.preference_init)(&mut preference, size_of::<Preference>()) };
    check("cublasLtMatmulPreferenceInit", status)?;
    let mut set = |attribute, value: *const c_void, bytes| {
        // SAFETY: the value is live and as long as the header says.
        let status = unsafe { (library.preference_set)(&mut preference, attribute, value, bytes) };
        check("cublasLtMatmulPreferenceSetAttribute", status)
    };
    set(PreferenceAttribute::MAX_WORKSPACE_BYTES, (&raw const cap).cast(), size_of::<u64>())?;
    let schemes = reductions(dtype);
    set(PreferenceAttribute::REDUCTION_SCHEME_MASK, (&raw const schemes).cast(), size_of::<u32>())?;
    let alignment = ADDRESS_ALIGNMENT as u32;
    for attribute in [
        PreferenceAttribute::MIN_ALIGNMENT_A_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_B_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_C_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_D_BYTES,
    ] {
        set(attribute, (&raw const alignment).cast(), size_of::<u32>())?;
    }
    let mut results = [HeuristicResult::EMPTY; WANTED];
    let mut count = 0i32;
    // SAFETY: all pointers are to live values of the library's types, and there is room for as many results as asked
    // for.
    let status = unsafe {
        (library.heuristic)(
            ready.handle,
            &d.desc,
            &d.a,
            &d.b,
            &d.d,
            &d.d,
            &preference,
            WANTED as i32,
            results.as_mut_ptr(),
            &mut count,
        )
    };
    // Having no algorithm is an answer.
    if status == Status::NOT_SUPPORTED {
        return Ok(Vec::new());
    }
    check("cublasLtMatmulAlgoGetHeuristic", status)?;
    let library_version = version(library);
    let count = usize::try_from(count).unwrap_or(0).min(WANTED);
    let usable = results[..count].iter().filter(|r| r.state == Status::SUCCESS && r.workspace as u64 <= cap);
    Ok(usable
        .filter_map(|r| {
            Some(Algorithm {
                bytes: r.algo,
                library: library_version,
                config: Config::read(library, &r.algo)?,
                workspace: r.workspace as u64,
            })
        })
        .collect())
}

/// How the parts of split sums may meet: never in a type shorter than `f32`.
fn reductions(dtype: DType) -> u32 {
    if dtype == DType::F32 {
        ReductionScheme::IN_PLACE.0 | ReductionScheme::COMPUTE_TYPE.0 | ReductionScheme::OUTPUT_TYPE.0
    } else {
        ReductionScheme::COMPUTE_TYPE.0
    }
}
