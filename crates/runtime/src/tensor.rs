use std::fmt;

use tactician_types::DType;

/// A tensor in host memory, row-major.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    /// In units of 8 bytes, so that every element type is aligned.
    words: Vec<u64>,
}

/// Rust types that are tensor elements. `bool` tensors are seen as `u8`.
pub trait Element: bytemuck::Pod {
    /// The element type's name on our side.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty = $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
elements!(
    f32 = F32,
    f64 = F64,
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
    /// A tensor of zeros. `None` when its size overflows.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Option<Tensor> {
        let n = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        let bytes = n.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize)?;
        Some(Tensor { dtype, shape: shape.to_vec(), words: vec![0; bytes.div_ceil(8)] })
    }

    /// A tensor from values. `None` when their number is not the product of the sizes.
    ///
    /// ```
    /// use tactician_runtime::Tensor;
    /// let t = Tensor::new(&[2, 2], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    /// assert_eq!(t.values::<f32>().unwrap()[3], 4.0);
    /// assert!(Tensor::new(&[2, 2], &[1.0f32]).is_none());
    /// ```
    pub fn new<T: Element>(shape: &[usize], values: &[T]) -> Option<Tensor> {
        Tensor::from_bytes(T::DTYPE, shape, bytemuck::cast_slice(values))
    }

    /// A tensor from little-endian bytes. `None` when their number does not fit.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<Tensor> {
        let n = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        if n.checked_mul(dtype.size()) != Some(bytes.len()) {
            return None;
        }
        let mut t = Tensor::zeros(dtype, shape)?;
        t.bytes_mut().copy_from_slice(bytes);
        Some(t)
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The same bits as another type of the same size.
    pub(crate) fn set_dtype(&mut self, dtype: DType) {
        debug_assert_eq!(dtype.size(), self.dtype.size());
        self.dtype = dtype;
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.shape.iter().product::<usize>() * self.dtype.size()]
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let n = self.len() * self.dtype.size();
        &mut bytemuck::cast_slice_mut(&mut self.words)[..n]
    }

    /// The elements. `None` when `T` is not their type.
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        let fits = T::DTYPE == self.dtype || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        fits.then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements, to be written. `None` when `T` is not their type.
    pub fn values_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        let fits = T::DTYPE == self.dtype || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        fits.then(|| bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// Type and shape, such as `f32[1,3,224,224]`.
    pub fn describe(&self) -> String {
        describe(self.dtype, self.shape.iter().map(|&d| d as u64))
    }
}

/// `f32[1,3]`.
pub(crate) fn describe(dtype: DType, shape: impl Iterator<Item = u64>) -> String {
    let sizes: Vec<String> = shape.map(|d| d.to_string()).collect();
    format!("{dtype}[{}]", sizes.join(","))
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", self.describe())
    }
}
