//! Which algorithms the library has for a product.

use std::ffi::c_void;
use std::sync::Arc;

use tactician_cublaslt_sys::{
    HeuristicResult, Preference, PreferenceAttribute, ReductionScheme, Status, library,
};
use tactician_device::{CudaInfo, DeviceError};
use tactician_types::{DType, Memo};

use super::config::Config;
use super::descriptors::{ADDRESS_ALIGNMENT, Descriptors, check};
use super::gemm::{Algorithm, Gemm};
use super::handle::{Ready, ready, version};
use crate::device::CudaDevice;

/// Most algorithms that the library is asked for at once.
const WANTED: usize = 64;

/// A product and the scratch allowed, encoded, and the description of a GPU.
type Question = (Vec<u8>, String);

static KNOWN: Memo<Question, Arc<[Algorithm]>> = Memo::new();

/// The library chooses whatever the scale.
pub(super) fn question(gemm: &Gemm, info: &CudaInfo, workspace: u64) -> Question {
    let product = (Gemm { alpha: 1.0, ..*gemm }, workspace);
    (postcard::to_stdvec(&product).expect("plain data always encodes"), format!("{info:?}"))
}

/// The algorithms that the GPU's version of the library has for a product, with no more scratch than `workspace` bytes, likely
/// fast ones first, those that need none included; each configuration once. None when the product cannot be computed so, or
/// the library or a GPU of that kind is not here. The library is asked once a process, and not at all where [`answers`] were
/// kept and [recalled](recall).
pub fn algorithms(gemm: &Gemm, info: &CudaInfo, workspace: u64) -> Arc<[Algorithm]> {
    KNOWN.get(question(gemm, info, workspace), || {
        let here = library().map_or(0, version);
        if info.cublaslt.map(u64::from) != Some(here) {
            return Arc::new([]);
        }
        // Only a GPU can say what the library has for it.
        let found = CudaDevice::find(&info.architecture()).map(|ordinal| list(gemm, ordinal, workspace));
        found.and_then(Result::ok).unwrap_or_default().into()
    })
}

/// All that the library has answered so far in this process, encoded. That there is nothing may have had passing reasons, and
/// is left out.
pub fn answers() -> Vec<u8> {
    let found: Vec<(Question, Arc<[Algorithm]>)> =
        KNOWN.entries().into_iter().filter(|(_, found)| !found.is_empty()).collect();
    postcard::to_stdvec(&found).unwrap_or_default()
}

/// Takes over what [`answers`] gave in another process. What does not read is left out.
pub fn recall(answers: &[u8]) {
    let known: Vec<(Question, Vec<Algorithm>)> = postcard::from_bytes(answers).unwrap_or_default();
    known.into_iter().for_each(|(question, found)| KNOWN.put(question, found.into()));
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
