//! `cublaslt.matmul`: a step that is one call of the library.

use std::ffi::c_void;
use std::ptr;

use tactician_cublaslt_sys::HeuristicResult;
use tactician_device::{DeviceError, Executable, Span, StepDesc, Stream};

use super::config::Config;
use super::descriptors::{ADDRESS_ALIGNMENT, Descriptors, WORKSPACE_ALIGNMENT, check, set_bias};
use super::gemm::MatmulStep;
use super::handle::{Ready, ready, version};
use crate::stream::CudaStream;

/// A product made ready on one GPU.
struct Matmul {
    ready: Ready,
    step: MatmulStep,
    descriptors: Descriptors,
}

fn bad(problem: String) -> DeviceError {
    DeviceError::BadStep { kernel: MatmulStep::NAME.to_owned(), problem }
}

/// The parameters of a step, checked as far as that goes without the library.
pub(super) fn decode(step: &StepDesc<'_>) -> Result<MatmulStep, DeviceError> {
    let (matmul, rest): (MatmulStep, &[u8]) = postcard::take_from_bytes(step.params)
        .map_err(|e| bad(format!("its parameters do not decode ({e})")))?;
    if !rest.is_empty() {
        return Err(bad(format!("its parameters are followed by {} stray bytes", rest.len())));
    }
    matmul.check(step.inputs, step.outputs, step.scratch).map_err(bad)?;
    Ok(matmul)
}

/// Checks and prepares a `cublaslt.matmul` step for GPU number `ordinal`. The step is untrusted: its sizes are held
/// against the lengths in `step`, and its algorithm must be of the library's version, read back as the configuration
/// that it claims, and pass the library's own check.
///
/// # Errors
/// When something does not fit, or the library or the GPU cannot be used.
pub fn prepare(step: &StepDesc<'_>, ordinal: usize) -> Result<Box<dyn Executable>, DeviceError> {
    let matmul = decode(step)?;
    let ready = ready(ordinal)?;
    let (have, want) = (version(ready.library), matmul.algorithm.library);
    if have != want {
        return Err(bad(format!(
            "the plan was built with cuBLASLt {want}, this machine has {have}, whose algorithms differ: \
             build the plan again here"
        )));
    }
    let algorithm = &matmul.algorithm;
    if Config::read(ready.library, &algorithm.bytes) != Some(algorithm.config) {
        return Err(bad(format!(
            "its algorithm is not the {} that it claims to be: build the plan again",
            algorithm.config
        )));
    }
    let descriptors = Descriptors::new(ready.library, &matmul.gemm)?;
    let mut result = HeuristicResult::EMPTY;
    // SAFETY: all pointers are to live values of the library's types.
    let status = unsafe {
        (ready.library.algo_check)(
            ready.handle,
            &descriptors.desc,
            &descriptors.a,
            &descriptors.b,
            &descriptors.d,
            &descriptors.d,
            &algorithm.bytes,
            &mut result,
        )
    };
    if let Err(e) = check("cublasLtMatmulAlgoCheck", status) {
        return Err(bad(format!(
            "{e}: algorithm {} cannot run here, build the plan again",
            algorithm.config
        )));
    }
    if result.workspace as u64 > step.scratch {
        return Err(bad(format!(
            "its algorithm takes {} bytes of scratch here, the step has {}: build the plan again",
            result.workspace, step.scratch
        )));
    }
    Ok(Box::new(Matmul { ready, step: matmul, descriptors }))
}

impl Executable for Matmul {
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let stream = CudaStream::of(stream)?.raw();
        let step = &self.step;
        let at = |i: u16| args[usize::from(i)].address;
        let (a, b) = (at(step.inputs.a), at(step.inputs.b));
        let [.., d, scratch] = args else { return Err(bad(format!("it got {} arguments", args.len()))) };
        let c = step.inputs.residual.map_or(d.address, at);
        for address in [a, b, c, d.address] {
            aligned(address, ADDRESS_ALIGNMENT)?;
        }
        let mut desc = self.descriptors.desc;
        if let Some(i) = step.inputs.bias {
            aligned(at(i), ADDRESS_ALIGNMENT)?;
            set_bias(self.ready.library, &mut desc, at(i))?;
        }
        let bytes = step.algorithm.workspace;
        let workspace = if bytes == 0 { 0 } else { scratch.address };
        aligned(workspace, WORKSPACE_ALIGNMENT)?;
        let alpha = step.gemm.alpha;
        let beta = if step.gemm.residual { 1.0f32 } else { 0.0 };
        let pointer = |address: u64| ptr::without_provenance::<c_void>(address as usize);
        // SAFETY: `prepare` held the reach of A, B, C, D and bias against the lengths of the arguments, which are live
        // memory of the stream's GPU by contract; D and the workspace overlap nothing, and C is D only where it is
        // not read. The descriptors describe the same product that the library checked the algorithm for.
        let status = unsafe {
            (self.ready.library.matmul)(
                self.ready.handle,
                &desc,
                &alpha,
                pointer(a),
                &self.descriptors.a,
                pointer(b),
                &self.descriptors.b,
                &beta,
                pointer(c),
                &self.descriptors.d,
                pointer(d.address).cast_mut(),
                &self.descriptors.d,
                &step.algorithm.bytes,
                pointer(workspace).cast_mut(),
                bytes as usize,
                stream.cast(),
            )
        };
        check("cublasLtMatmul", status)
    }
}

/// Refuses an address that the algorithm cannot access. Only inputs and outputs of the network that the caller places
/// can have one.
fn aligned(address: u64, alignment: u64) -> Result<(), DeviceError> {
    if address.is_multiple_of(alignment) {
        return Ok(());
    }
    Err(DeviceError::Failed {
        call: "cublasLtMatmul".into(),
        reason: format!("the address {address:#x} is no multiple of {alignment}: bind aligned memory"),
    })
}
