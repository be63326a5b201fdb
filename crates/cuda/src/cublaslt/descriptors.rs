//! A product in the library's own descriptors.

use std::ffi::c_void;

use tactician_cublaslt_sys::{
    ComputeType, CudaType, DescAttribute, Epilogue, LayoutAttribute, Library, MatmulDesc, MatrixLayout,
    Operation, Status,
};
use tactician_device::DeviceError;
use tactician_types::DType;

use super::gemm::{Activation, Gemm, Place};

/// Alignment in bytes of the addresses that a product is given: what the library's widest accesses ask for.
pub(super) const ADDRESS_ALIGNMENT: u64 = 16;

/// Alignment in bytes of the workspace.
pub(super) const WORKSPACE_ALIGNMENT: u64 = 256;

/// Everything that the library must know of a product but its addresses. Plain values: a copy serves another thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    pub(super) desc: MatmulDesc,
    pub(super) a: MatrixLayout,
    pub(super) b: MatrixLayout,
    /// Of C and D.
    pub(super) d: MatrixLayout,
}

/// A status as a result.
pub(super) fn check(call: &'static str, status: Status) -> Result<(), DeviceError> {
    if status == Status::SUCCESS {
        return Ok(());
    }
    Err(DeviceError::Failed { call: call.to_owned(), reason: status.to_string() })
}

impl Descriptors {
    /// Describes a product that [`Gemm::check`] accepts.
    pub(super) fn new(library: &Library, gemm: &Gemm) -> Result<Descriptors, DeviceError> {
        let compute = if gemm.tf32 { ComputeType::F32_FAST_TF32 } else { ComputeType::F32 };
        let mut desc = MatmulDesc([0; 32]);
        // SAFETY: a live value of the size given.
        let status =
            unsafe { (library.desc_init)(&mut desc, size_of::<MatmulDesc>(), compute, CudaType::R_32F) };
        check("cublasLtMatmulDescInit", status)?;
        let operation = |transposed| if transposed { Operation::TRANSPOSE } else { Operation::NONE };
        set(library, &mut desc, DescAttribute::TRANSA, operation(gemm.a.transposed).0)?;
        set(library, &mut desc, DescAttribute::TRANSB, operation(gemm.b.transposed).0)?;
        set(library, &mut desc, DescAttribute::EPILOGUE, epilogue(gemm).0)?;
        if gemm.bias {
            // Never read: its value only tells how real biases are aligned.
            set_bias(library, &mut desc, ADDRESS_ALIGNMENT)?;
        }
        let kind = data_type(gemm.dtype);
        Ok(Descriptors {
            desc,
            a: layout(library, kind, gemm.a_sizes(), gemm.a.place, gemm.batch)?,
            b: layout(library, kind, gemm.b_sizes(), gemm.b.place, gemm.batch)?,
            d: layout(library, kind, (gemm.m, gemm.n), gemm.d, gemm.batch)?,
        })
    }
}

/// Puts the address of the bias into a descriptor.
pub(super) fn set_bias(library: &Library, desc: &mut MatmulDesc, address: u64) -> Result<(), DeviceError> {
    set(library, desc, DescAttribute::BIAS_POINTER, address)
}

fn set<T>(
    library: &Library,
    desc: &mut MatmulDesc,
    attribute: DescAttribute,
    value: T,
) -> Result<(), DeviceError> {
    let from = (&raw const value).cast::<c_void>();
    // SAFETY: both pointers are to live values, and the size is that of the value.
    let status = unsafe { (library.desc_set)(desc, attribute, from, size_of::<T>()) };
    check("cublasLtMatmulDescSetAttribute", status)
}

fn layout(
    library: &Library,
    kind: CudaType,
    (rows, columns): (u64, u64),
    place: Place,
    batch: u64,
) -> Result<MatrixLayout, DeviceError> {
    let mut out = MatrixLayout([0; 8]);
    // SAFETY: a live value of the size given. The numbers were checked to fit 63 bits.
    let status = unsafe {
        (library.layout_init)(&mut out, size_of::<MatrixLayout>(), kind, rows, columns, place.leading as i64)
    };
    check("cublasLtMatrixLayoutInit", status)?;
    if batch > 1 {
        let mut set = |attribute, value: *const c_void, bytes| {
            // SAFETY: the value is live and as long as the header says.
            let status = unsafe { (library.layout_set)(&mut out, attribute, value, bytes) };
            check("cublasLtMatrixLayoutSetAttribute", status)
        };
        let (count, step) = (batch as i32, place.step as i64);
        set(LayoutAttribute::BATCH_COUNT, (&raw const count).cast(), size_of::<i32>())?;
        set(LayoutAttribute::STRIDED_BATCH_OFFSET, (&raw const step).cast(), size_of::<i64>())?;
    }
    Ok(out)
}

fn data_type(dtype: DType) -> CudaType {
    match dtype {
        DType::F16 => CudaType::R_16F,
        DType::BF16 => CudaType::R_16BF,
        _ => CudaType::R_32F,
    }
}

fn epilogue(gemm: &Gemm) -> Epilogue {
    match (gemm.activation, gemm.bias) {
        (Activation::Identity, false) => Epilogue::DEFAULT,
        (Activation::Identity, true) => Epilogue::BIAS,
        (Activation::Relu, false) => Epilogue::RELU,
        (Activation::Relu, true) => Epilogue::RELU_BIAS,
        (Activation::Gelu, false) => Epilogue::GELU,
        (Activation::Gelu, true) => Epilogue::GELU_BIAS,
    }
}
