//! Tensor types and constant tensors.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit};
use smallvec::SmallVec;
use tactician_types::DType;

use crate::dim::{Dim, Symbols};

/// The sizes of a tensor's axes, outermost first.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Shape(pub SmallVec<[Dim; 4]>);

/// Most axes that a tensor may have.
pub const MAX_RANK: usize = 8;

/// Most elements that a tensor may have: keeps byte sizes and index arithmetic inside 63 bits.
pub const MAX_ELEMENTS: usize = 1 << 40;

impl Shape {
    /// A shape of known sizes.
    pub fn known(sizes: &[usize]) -> Shape {
        Shape(sizes.iter().map(|&n| Dim::from(n)).collect())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The axes.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The sizes, if all are known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::as_usize).collect()
    }

    /// Number of elements, symbolic if need be.
    pub fn elements(&self) -> Dim {
        self.0.iter().cloned().fold(Dim::known(1), |a, b| a * b)
    }

    /// Puts numbers for symbols.
    pub fn bind(&self, symbols: &Symbols) -> Shape {
        Shape(self.0.iter().map(|d| d.bind(symbols)).collect())
    }
}

impl<D: Into<Dim>> FromIterator<D> for Shape {
    fn from_iter<I: IntoIterator<Item = D>>(iter: I) -> Shape {
        Shape(iter.into_iter().map(Into::into).collect())
    }
}

impl<D: Into<Dim> + Clone, const N: usize> From<[D; N]> for Shape {
    fn from(dims: [D; N]) -> Shape {
        dims.into_iter().collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Element type and shape: `f32[1,64,56,56]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType {
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Shape,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// A type of known sizes.
    pub fn known(dtype: DType, sizes: &[usize]) -> TensorType {
        TensorType { dtype, shape: Shape::known(sizes) }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The sizes, if all are known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.sizes()
    }

    /// Number of elements, if known.
    pub fn elements(&self) -> Option<usize> {
        self.shape.elements().as_usize()
    }

    /// Size in bytes in plain layout, if known and no more than a `u64` holds.
    pub fn bytes(&self) -> Option<u64> {
        self.elements().and_then(|n| (n as u64).checked_mul(self.dtype.size() as u64))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A constant tensor: known sizes, row-major little-endian bytes, cheap to clone. The bytes may belong to a mapped
/// file and need not be aligned. Elements of narrow types take a byte each (see [`DType`]).
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    sizes: Arc<[usize]>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Owned(Arc<Vec<u8>>),
    Shared { owner: Arc<dyn AsRef<[u8]> + Send + Sync>, start: usize, len: usize },
}

/// A tensor's bytes do not match its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {dtype} tensor of sizes {sizes:?} takes {expected} bytes, found {found}")]
pub struct TensorSizeError {
    dtype: DType,
    sizes: Vec<usize>,
    expected: String,
    found: usize,
}

/// Rust types that are tensor elements.
pub trait Element: AnyBitPattern + NoUninit + Send + Sync {
    /// The element type's name on our side.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty = $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
elements!(
    f32 = F32,
    f64 = F64,
    half::f16 = F16,
    half::bf16 = BF16,
    i8 = I8,
    i16 = I16,
    i32 = I32,
    i64 = I64,
    u8 = U8,
    u16 = U16,
    u32 = U32,
    u64 = U64
);

impl Tensor {
    fn checked(dtype: DType, sizes: &[usize], found: usize) -> Result<(), TensorSizeError> {
        let bytes = sizes
            .iter()
            .try_fold(1usize, |a, &b| a.checked_mul(b))
            .filter(|&n| n <= MAX_ELEMENTS)
            .map(|n| n * dtype.size());
        if bytes == Some(found) {
            return Ok(());
        }
        let expected = bytes.map_or_else(|| "too many".to_owned(), |b| b.to_string());
        Err(TensorSizeError { dtype, sizes: sizes.to_vec(), expected, found })
    }

    /// A tensor from row-major values.
    ///
    /// # Errors
    /// When the number of values is not the product of the sizes.
    pub fn new<T: Element>(sizes: &[usize], values: &[T]) -> Result<Tensor, TensorSizeError> {
        Tensor::from_bytes(T::DTYPE, sizes, bytemuck::cast_slice(values).to_vec())
    }

    /// A tensor from row-major little-endian bytes.
    ///
    /// # Errors
    /// When the length does not fit the type.
    pub fn from_bytes(dtype: DType, sizes: &[usize], bytes: Vec<u8>) -> Result<Tensor, TensorSizeError> {
        Tensor::checked(dtype, sizes, bytes.len())?;
        Ok(Tensor { dtype, sizes: sizes.into(), data: Data::Owned(Arc::new(bytes)) })
    }

    /// A tensor over bytes that something else owns, such as a mapped file.
    ///
    /// # Errors
    /// When the length does not fit the type or the range lies outside the owner.
    pub fn from_shared(
        dtype: DType,
        sizes: &[usize],
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: std::ops::Range<usize>,
    ) -> Result<Tensor, TensorSizeError> {
        let found = (*owner).as_ref().get(range.clone()).map_or(0, <[u8]>::len);
        Tensor::checked(dtype, sizes, found)?;
        Ok(Tensor {
            dtype,
            sizes: sizes.into(),
            data: Data::Shared { owner, start: range.start, len: found },
        })
    }

    /// Whether the bytes belong to something else, such as a mapped file.
    pub fn is_shared(&self) -> bool {
        matches!(self.data, Data::Shared { .. })
    }

    /// A scalar (rank 0).
    pub fn scalar<T: Element>(value: T) -> Tensor {
        let bytes = bytemuck::bytes_of(&value).to_vec();
        Tensor { dtype: T::DTYPE, sizes: Arc::from([]), data: Data::Owned(Arc::new(bytes)) }
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType::known(self.dtype, &self.sizes)
    }

    /// The bytes, row-major, little-endian.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Owned(v) => v,
            Data::Shared { owner, start, len } => &(**owner).as_ref()[*start..*start + *len],
        }
    }

    /// The elements, borrowed if alignment allows. `None` when `T` is not the element type (`bool` reads as `u8`).
    pub fn values<T: Element>(&self) -> Option<Cow<'_, [T]>> {
        let fits = T::DTYPE == self.dtype || (T::DTYPE == DType::U8 && self.dtype == DType::Bool);
        fits.then(|| match bytemuck::try_cast_slice(self.bytes()) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => Cow::Owned(
                self.bytes().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect(),
            ),
        })
    }

    /// The same bytes under other sizes.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshaped(&self, sizes: &[usize]) -> Result<Tensor, TensorSizeError> {
        Tensor::checked(self.dtype, sizes, self.bytes().len())?;
        Ok(Tensor { dtype: self.dtype, sizes: sizes.into(), data: self.data.clone() })
    }

    /// A `bool` tensor from bytes 0 and 1.
    ///
    /// # Errors
    /// When the number of values is not the product of the sizes.
    pub fn bools(sizes: &[usize], values: &[bool]) -> Result<Tensor, TensorSizeError> {
        Tensor::from_bytes(DType::Bool, sizes, values.iter().map(|&b| u8::from(b)).collect())
    }
}

/// Equal type and bytes.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype && self.sizes == other.sizes && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", self.ty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_shared_bytes_read_right() {
        let mut raw = vec![0u8];
        raw.extend([1.0f32, 2.5].iter().flat_map(|v| v.to_le_bytes()));
        let t = Tensor::from_shared(DType::F32, &[2], Arc::new(raw), 1..9).unwrap();
        assert_eq!(t.values::<f32>().unwrap().as_ref(), &[1.0, 2.5]);
        assert!(t.values::<f64>().is_none());
    }

    #[test]
    fn sizes_must_fit() {
        assert!(Tensor::new(&[2, 3], &[0f32; 5]).is_err());
        assert!(Tensor::from_bytes(DType::F32, &[usize::MAX, 2], vec![]).is_err());
        assert!(Tensor::from_shared(DType::U8, &[4], Arc::new(vec![0u8; 2]), 0..4).is_err());
    }
}
