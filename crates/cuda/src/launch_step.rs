//! Runs `cuda.launch` steps.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{
    self, CUfunction_attribute, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue,
    CUlaunchConfig, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave,
    CUtensorMapL2promotion, CUtensorMapSwizzle,
};
use tactician_device::{DeviceError, Executable, Span, StepDesc, Stream};

use crate::driver::{Context, check};
use crate::launch::{Launch, LaunchArg, TensorMap, WindowMap};
use crate::launch_check::{Limits, MAX_ARGS, MAX_MAPS, MAX_RANK, decode, parameter_bytes};
use crate::module::{Function, Module, Modules};
use crate::stream::CudaStream;

/// A checked step with its kernels.
pub(crate) struct LaunchStep {
    context: Arc<Context>,
    launches: Vec<(Function, Launch)>,
    arguments: usize,
    /// Whether launches may overlap: GPUs before Hopper run them one after the other.
    overlap: bool,
    /// Keeps the kernels loaded.
    _module: Arc<Module>,
}

impl LaunchStep {
    /// Decodes, checks and loads a step.
    ///
    /// # Errors
    /// A clause about the first thing that does not fit.
    pub(crate) fn prepare(
        step: &StepDesc<'_>,
        context: &Arc<Context>,
        modules: &Modules,
        limits: Limits,
    ) -> Result<LaunchStep, String> {
        let launches = decode(step, limits)?;
        let code = step.code.ok_or("it has no code")?;
        let module = modules.get(context, code)?;
        let mut list = Vec::with_capacity(launches.0.len());
        for l in launches.0 {
            let f = kernel(&module, &l, limits).map_err(|e| format!("`{}`: {e}", l.entry))?;
            list.push((f, l));
        }
        Ok(LaunchStep {
            context: context.clone(),
            launches: list,
            arguments: step.inputs.len() + step.outputs.len() + 1,
            overlap: limits.capability.0 >= 9,
            _module: module,
        })
    }
}

/// Finds a launch's kernel and checks the launch against it.
fn kernel(module: &Module, l: &Launch, limits: Limits) -> Result<Function, String> {
    use CUfunction_attribute::*;
    let text = |e: DeviceError| e.to_string();
    let f = module.function(&l.entry).map_err(text)?.ok_or("its code has no such kernel")?;
    let wanted: Vec<usize> = module.parameters(f).map_err(text)?;
    let given: Vec<usize> = l.args.iter().map(parameter_bytes).collect();
    if wanted != given {
        return Err(format!("it takes parameters of {wanted:?} bytes, the plan passes {given:?}"));
    }
    let fixed = module.fact(f, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES).map_err(text)?;
    if u64::from(fixed) + u64::from(l.shared) > limits.shared_bytes {
        return Err(format!(
            "{fixed} and {} bytes of shared memory are more than the GPU's {}",
            l.shared, limits.shared_bytes
        ));
    }
    let threads = l.block.iter().product::<u32>();
    let most = module.fact(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK).map_err(text)?;
    if threads > most {
        return Err(format!("it takes at most {most} threads a block, the plan has {threads}"));
    }
    if l.shared > 0 {
        module.raise(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, l.shared).map_err(text)?;
    }
    // One division of cache and shared memory for all kernels: a multiprocessor must be empty to change it, so that the
    // next kernel could not start early.
    module.raise(f, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100).map_err(text)?;
    if l.cluster.iter().product::<u32>() > 8 {
        module.raise(f, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1).map_err(text)?;
    }
    Ok(f)
}

impl Executable for LaunchStep {
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let s = CudaStream::of(stream)?;
        if args.len() < self.arguments || *s.context() != self.context {
            return Err(DeviceError::Failed {
                call: "launching a step".into(),
                reason: "it was prepared for other arguments or another GPU".into(),
            });
        }
        self.launches.iter().try_for_each(|(f, l)| launch(*f, l, args, s, self.overlap))
    }
}

/// Launches one kernel. Everything that the driver reads lives on the stack.
fn launch(
    f: Function,
    l: &Launch,
    args: &[Span],
    stream: &CudaStream,
    overlap: bool,
) -> Result<(), DeviceError> {
    let mut maps = [const { MaybeUninit::<CUtensorMap>::uninit() }; MAX_MAPS];
    let mut pointers: [*mut c_void; MAX_ARGS] = [ptr::null_mut(); MAX_ARGS];
    let mut used = 0;
    // `decode` has made sure that there are no more parameters and maps than places, and that every argument exists.
    for (pointer, arg) in pointers.iter_mut().zip(&l.args) {
        *pointer = match arg {
            LaunchArg::Span(i) => ptr::from_ref(&args[usize::from(*i)].address).cast_mut().cast(),
            LaunchArg::Bytes(b) => b.as_ptr().cast_mut().cast(),
            LaunchArg::TensorMap(map) => {
                let place = next_place(&mut maps, &mut used);
                encode(map, args[usize::from(map.span)], place)?;
                place.cast()
            }
            LaunchArg::WindowMap(map) => {
                let place = next_place(&mut maps, &mut used);
                encode_windows(map, args[usize::from(map.span)], place)?;
                place.cast()
            }
        }
    }
    let mut attributes = [attribute(); 2];
    let mut count = 0;
    if l.cluster != [1, 1, 1] {
        attributes[count].id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        let [x, y, z] = l.cluster;
        attributes[count].value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y, z };
        count += 1;
    }
    if l.overlaps && overlap {
        attributes[count].id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attributes[count].value.programmaticStreamSerializationAllowed = 1;
        count += 1;
    }
    let config = CUlaunchConfig {
        gridDimX: l.grid[0],
        gridDimY: l.grid[1],
        gridDimZ: l.grid[2],
        blockDimX: l.block[0],
        blockDimY: l.block[1],
        blockDimZ: l.block[2],
        sharedMemBytes: l.shared,
        hStream: stream.raw(),
        attrs: attributes.as_mut_ptr(),
        numAttrs: count as u32,
    };
    // SAFETY: the kernel is loaded in the stream's context, which is current, and `prepare` has found that it takes
    // parameters of exactly these sizes. The driver copies them, as it does the attributes, before it returns.
    check("cuLaunchKernelEx", unsafe {
        sys::cuLaunchKernelEx(&config, f.0, pointers.as_mut_ptr(), ptr::null_mut())
    })
}

/// An attribute that says nothing.
fn attribute() -> CUlaunchAttribute {
    CUlaunchAttribute {
        id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_IGNORE,
        pad: [0; 4],
        value: CUlaunchAttributeValue { pad: [0; 64] },
    }
}

/// The place for one more tensor map.
fn next_place(maps: &mut [MaybeUninit<CUtensorMap>; MAX_MAPS], used: &mut usize) -> *mut CUtensorMap {
    *used += 1;
    maps[*used - 1].as_mut_ptr()
}

fn element(bytes: u8) -> CUtensorMapDataType {
    match bytes {
        1 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        2 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        _ => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
    }
}

fn swizzle(bytes: u8) -> CUtensorMapSwizzle {
    match bytes {
        32 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        64 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        128 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        _ => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
    }
}

/// Makes a tensor map over a span.
fn encode(map: &TensorMap, span: Span, place: *mut CUtensorMap) -> Result<(), DeviceError> {
    let each = [1u32; MAX_RANK];
    // SAFETY: the place is a tensor map's, aligned as one; `decode` has made sure that the lists have `rank`, `rank - 1`
    // and `rank` entries, at most `MAX_RANK`.
    check("cuTensorMapEncodeTiled", unsafe {
        sys::cuTensorMapEncodeTiled(
            place,
            element(map.element),
            map.sizes.len() as u32,
            span.address as usize as *mut c_void,
            map.sizes.as_ptr(),
            map.steps.as_ptr(),
            map.tile.as_ptr(),
            each.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle(map.swizzle),
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    })
}

/// Makes a tensor map of windows over a span.
fn encode_windows(map: &WindowMap, span: Span, place: *mut CUtensorMap) -> Result<(), DeviceError> {
    // `decode` has made sure that no product overflows.
    let [channels, columns, rows, _] = map.sizes;
    let pixel = channels * u64::from(map.element);
    let steps = [pixel, pixel * columns, pixel * columns * rows];
    let strides = [1, map.strides[0], map.strides[1], 1];
    // SAFETY: the place is a tensor map's, aligned as one; a map of rank 4 has 4 sizes and strides, 3 steps and corners in
    // 2 axes.
    check("cuTensorMapEncodeIm2col", unsafe {
        sys::cuTensorMapEncodeIm2col(
            place,
            element(map.element),
            4,
            span.address as usize as *mut c_void,
            map.sizes.as_ptr(),
            steps.as_ptr(),
            map.first.as_ptr(),
            map.last.as_ptr(),
            map.channels,
            map.pixels,
            strides.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle(map.swizzle),
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    })
}

/// The size that the driver's interface gives a flag in an attribute.
const _: () = assert!(size_of::<c_int>() == 4 && size_of::<CUtensorMap>() == 128);
