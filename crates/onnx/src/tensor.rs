//! Tensors of the model as constants.

use std::path::Path;
use std::sync::Arc;

use tactician_ir::{DType, MAX_ELEMENTS, Tensor};

use crate::error::ImportError;
use crate::external;
use crate::proto::{SparseTensorProto, TensorProto};

/// ONNX's numbers of element types (TensorProto.DataType).
pub(crate) fn dtype(number: i32) -> Result<DType, String> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        17 => DType::F8E4M3FN,
        18 => DType::F8E4M3FNUZ,
        19 => DType::F8E5M2,
        20 => DType::F8E5M2FNUZ,
        21 => DType::U4,
        22 => DType::I4,
        23 => DType::F4E2M1,
        24 => DType::F8E8M0,
        25 => DType::U2,
        26 => DType::I2,
        8 => return Err("strings are not supported".into()),
        n => return Err(format!("element type {n} is not supported")),
    })
}

/// Bits of an element in ONNX's form, where several share a byte: the first in the lowest bits.
fn packed_bits(dtype: DType) -> Option<usize> {
    match dtype {
        DType::I4 | DType::U4 | DType::F4E2M1 => Some(4),
        DType::I2 | DType::U2 => Some(2),
        _ => None,
    }
}

/// One byte an element, as the graph has them, of `n` elements of `bits` bits.
fn unpacked(dtype: DType, bits: usize, n: usize, packed: &[u8]) -> Result<Vec<u8>, String> {
    let each = 8 / bits;
    let need = n.div_ceil(each);
    if packed.len() != need {
        return Err(format!("its {n} elements of {bits} bits take {need} bytes, found {}", packed.len()));
    }
    let element = |k: usize| {
        let code = packed[k / each] >> (k % each * bits) & ((1 << bits) - 1);
        dtype.wrapped(i64::from(code)).map_or(code, |v| v as u8)
    };
    Ok((0..n).map(element).collect())
}

/// A tensor; raw data are shared with the model's bytes, external data with their file. Elements of less than 8 bits are
/// unpacked.
pub(crate) fn convert(t: &TensorProto, folder: Option<&Path>) -> Result<Tensor, ImportError> {
    let fail = |problem: String| ImportError::Tensor { name: t.name.clone(), problem };
    let dtype = dtype(t.data_type).map_err(fail)?;
    let mut sizes = Vec::with_capacity(t.dims.len());
    for &d in &t.dims {
        sizes.push(usize::try_from(d).map_err(|_| fail(format!("it has the size {d}")))?);
    }
    let n = sizes
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| fail(format!("sizes {sizes:?} are too large")))?;
    if let Some(bits) = packed_bits(dtype) {
        let bytes = if t.data_location == 1 {
            let (owner, range) = external::map(t, folder, n.div_ceil(8 / bits) as u64)?;
            unpacked(dtype, bits, n, &(*owner).as_ref()[range])
        } else if let Some(raw) = t.raw_data.as_ref().filter(|r| !r.is_empty() || n == 0) {
            unpacked(dtype, bits, n, raw)
        } else {
            unpacked(dtype, bits, n, &t.int32_data.iter().map(|&v| v as u8).collect::<Vec<u8>>())
        };
        return Tensor::from_bytes(dtype, &sizes, bytes.map_err(fail)?).map_err(|e| fail(e.to_string()));
    }
    if t.data_location == 1 {
        let (owner, range) = external::map(t, folder, n as u64 * dtype.size() as u64)?;
        return Tensor::from_shared(dtype, &sizes, owner, range).map_err(|e| fail(e.to_string()));
    }
    if let Some(raw) = t.raw_data.as_ref().filter(|r| !r.is_empty() || n == 0) {
        let len = raw.len();
        return Tensor::from_shared(dtype, &sizes, Arc::new(raw.clone()), 0..len)
            .map_err(|e| fail(e.to_string()));
    }
    macro_rules! bytes {
        ($list:expr, $to:ty) => {
            $list.iter().flat_map(|&v| (v as $to).to_le_bytes()).collect::<Vec<u8>>()
        };
    }
    let bytes = match dtype {
        DType::F32 => bytes!(t.float_data, f32),
        DType::F64 => bytes!(t.double_data, f64),
        DType::I64 => bytes!(t.int64_data, i64),
        DType::U64 => bytes!(t.uint64_data, u64),
        DType::U32 => bytes!(t.uint64_data, u32),
        DType::I32 => bytes!(t.int32_data, i32),
        // The short floats are stored as the bits of a 16-bit integer.
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => bytes!(t.int32_data, u16),
        DType::Bool => t.int32_data.iter().map(|&v| u8::from(v != 0)).collect(),
        // 8 bits, floats as theirs.
        _ => bytes!(t.int32_data, u8),
    };
    Tensor::from_bytes(dtype, &sizes, bytes).map_err(|e| fail(e.to_string()))
}

/// Largest sparse tensor that is filled with zeros: 256 MiB.
const MOST_SPARSE: usize = 1 << 28;

/// The name of a sparse tensor, which is that of its values.
pub(crate) fn sparse_name(t: &SparseTensorProto) -> &str {
    t.values.as_ref().map_or("", |v| v.name.as_str())
}

/// A sparse tensor, filled with zeros.
pub(crate) fn dense(t: &SparseTensorProto, folder: Option<&Path>) -> Result<Tensor, ImportError> {
    let fail = |problem: String| ImportError::Tensor { name: sparse_name(t).to_owned(), problem };
    let (Some(values), Some(indices)) = (&t.values, &t.indices) else {
        return Err(fail("it is sparse and has no values or no indices".into()));
    };
    let (values, indices) = (convert(values, folder)?, convert(indices, folder)?);
    let sizes: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sizes = sizes.ok_or_else(|| fail(format!("it has the sizes {:?}", t.dims)))?;
    let width = values.dtype().size();
    let bytes = sizes.iter().try_fold(width, |a, &b| a.checked_mul(b)).filter(|&b| b <= MOST_SPARSE);
    let mut bytes =
        vec![0; bytes.ok_or_else(|| fail(format!("its sizes {sizes:?} are too large to fill with zeros")))?];
    let at = indices.values::<i64>().ok_or_else(|| fail(format!("its indices are {}", indices.ty())))?;
    let (count, rank) = (values.len(), sizes.len());
    let flat = match indices.sizes() {
        [n] if *n == count => true,
        [n, r] if *n == count && *r == rank => false,
        _ => return Err(fail(format!("it has the indices {} for {count} values", indices.ty()))),
    };
    for (k, value) in values.bytes().chunks_exact(width).enumerate() {
        let place = match flat {
            true => usize::try_from(at[k]).ok(),
            false => at[k * rank..(k + 1) * rank].iter().zip(&sizes).try_fold(0usize, |sum, (&i, &size)| {
                usize::try_from(i).ok().filter(|&i| i < size).map(|i| sum * size + i)
            }),
        };
        let to = place.and_then(|p| p.checked_mul(width)).and_then(|p| bytes.get_mut(p..p + width));
        to.ok_or_else(|| fail(format!("value {k} lies outside {sizes:?}")))?.copy_from_slice(value);
    }
    Tensor::from_bytes(values.dtype(), &sizes, bytes).map_err(|e| fail(e.to_string()))
}
