//! NumPy's `.npy` files, versions 1 to 3 (numpy/lib/format.py documents them).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tactician_types::{DType, write_file};
use thiserror::Error;

use crate::tensor::Tensor;

/// A `.npy` file cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The file cannot be read or written.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no `.npy` file that we can use.
    #[error("{path} is no usable .npy file: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy's names of our element types, little-endian or of one byte. For types without a name see [`stand_in`].
const NAMES: [(&str, DType); 14] = [
    ("f4", DType::F32),
    ("f2", DType::F16),
    ("f8", DType::F64),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("b1", DType::Bool),
    // Bytes without a meaning: what NumPy writes for the types of other packages, of the same bits as ours.
    ("V1", DType::U8),
    ("V2", DType::U16),
];

/// What a type that NumPy has no name for is written as: integers of the same bits.
fn stand_in(dtype: DType) -> DType {
    match dtype {
        DType::BF16 => DType::U16,
        t if t.narrow_int().is_some_and(|(_, signed)| signed) => DType::I8,
        t if t.is_narrow() => DType::U8,
        t => t,
    }
}

impl Tensor {
    /// Reads a `.npy` file.
    ///
    /// # Errors
    /// When it cannot be read, is no such file, or holds a type that tensors cannot have.
    pub fn read_npy(path: &Path) -> Result<Tensor, NpyError> {
        let bytes = fs::read(path).map_err(|source| NpyError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Tensor::from_npy(&bytes).map_err(|problem| NpyError::Invalid { path: path.to_owned(), problem })
    }

    /// Decodes the bytes of a `.npy` file.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn from_npy(bytes: &[u8]) -> Result<Tensor, String> {
        if bytes.len() < 10 || !bytes.starts_with(MAGIC) {
            return Err("it does not start as one".into());
        }
        let (start, len): (usize, usize) = match bytes[6] {
            1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
            2 | 3 if bytes.len() >= 12 => {
                (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize)
            }
            v => return Err(format!("version {v} is unknown")),
        };
        let end = start.checked_add(len).filter(|&e| e <= bytes.len()).ok_or("its header is cut off")?;
        let header = std::str::from_utf8(&bytes[start..end]).map_err(|_| "its header is no text")?;
        let name = quoted(header, "descr").ok_or("its header has no element type")?;
        let dtype = name
            .strip_prefix(['<', '|', '='])
            .and_then(|n| NAMES.iter().find(|(k, _)| *k == n))
            .map(|(_, t)| *t)
            .ok_or_else(|| {
                format!("element type `{name}` is not supported (little-endian numbers and bool are)")
            })?;
        let fortran = after(header, "fortran_order").ok_or("its header has no order")?.starts_with("True");
        let text = after(header, "shape")
            .and_then(|t| t.strip_prefix('(')?.split_once(')'))
            .ok_or("its header has no shape")?
            .0;
        let shape = text
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(|t| t.parse::<usize>().map_err(|_| format!("`{t}` is no size")))
            .collect::<Result<Vec<_>, _>>()?;
        let elements = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        let need = elements.and_then(|n| n.checked_mul(dtype.size())).ok_or("its shape is too large")?;
        let data = &bytes[end..];
        if data.len() != need {
            return Err(format!("its shape takes {need} bytes of data, {} are there", data.len()));
        }
        let data = if fortran { from_fortran(data, &shape, dtype.size()) } else { data.to_vec() };
        Tensor::from_bytes(dtype, &shape, &data).ok_or_else(|| "its shape is too large".into())
    }

    /// What was read from a `.npy` file, of the type that is wanted: NumPy has no name for `bf16` and the narrow types, so
    /// their bits come as integers. A tensor that cannot be meant so stays as it is.
    ///
    /// ```
    /// use tactician_runtime::{DType, Tensor};
    /// let bits = Tensor::new(&[2], &[0x7eu8, 0x38]).unwrap();
    /// let t = Tensor::from_npy(&bits.to_npy()).unwrap().of_npy(DType::F8E4M3FN);
    /// assert_eq!(t, Tensor::from_bytes(DType::F8E4M3FN, &[2], &[0x7e, 0x38]).unwrap());
    /// ```
    pub fn of_npy(mut self, wanted: DType) -> Tensor {
        let bits = stand_in(wanted);
        // Bytes without a meaning were taken to be unsigned.
        if bits != wanted && (bits == self.dtype() || bits == DType::I8 && self.dtype() == DType::U8) {
            self.set_dtype(wanted);
        }
        self
    }

    /// The bytes of a `.npy` file (version 1). NumPy has no name for `bf16` and the narrow types: their bits are written as
    /// integers.
    pub fn to_npy(&self) -> Vec<u8> {
        let dtype = stand_in(self.dtype());
        let name = NAMES.iter().find(|(_, t)| *t == dtype).map_or("u1", |(n, _)| n);
        let order = if self.dtype().size() == 1 { '|' } else { '<' };
        let sizes: String = self.shape().iter().map(|d| format!("{d}, ")).collect();
        let mut header =
            format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ({sizes}), }}");
        if self.shape().is_empty() {
            header = header.replace("(, )", "()");
        }
        // The data starts at a multiple of 64.
        while !(header.len() + 11).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut out = MAGIC.to_vec();
        out.extend([1, 0]);
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(self.bytes());
        out
    }

    /// Writes a `.npy` file, aside first, then renamed.
    ///
    /// # Errors
    /// When `path` is there and no regular file, the folder cannot be written or the disk is full.
    pub fn write_npy(&self, path: &Path) -> Result<(), NpyError> {
        write_file(path, |out| out.write_all(&self.to_npy())).map_err(|source| NpyError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }
}

/// What follows `'key':` in the header.
fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))? + key.len() + 2;
    header[at..].trim_start().strip_prefix(':').map(str::trim_start)
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    after(header, key)?.strip_prefix('\'')?.split_once('\'').map(|(v, _)| v)
}

/// First axis fastest to last axis fastest.
fn from_fortran(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = vec![0; data.len()];
    let mut index = vec![0usize; shape.len()];
    for to in out.chunks_exact_mut(size) {
        let mut at = 0;
        for (i, &n) in index.iter().zip(shape).rev() {
            at = at * n + i;
        }
        to.copy_from_slice(&data[at * size..(at + 1) * size]);
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for shape in [&[][..], &[3], &[2, 3], &[0, 4], &[1, 2, 3, 4]] {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| i as f32 - 2.5).collect();
            let t = Tensor::new(shape, &values).unwrap();
            assert_eq!(Tensor::from_npy(&t.to_npy()).unwrap(), t, "{shape:?}");
            assert!((t.to_npy().len() - t.bytes().len()).is_multiple_of(64));
        }
    }

    #[test]
    fn every_type_round_trips() {
        for dtype in DType::ALL {
            let bytes: Vec<u8> = (0..3 * dtype.size()).map(|i| i as u8 & 1).collect();
            let t = Tensor::from_bytes(dtype, &[3], &bytes).unwrap();
            let read = Tensor::from_npy(&t.to_npy()).unwrap();
            assert_eq!(read.clone().of_npy(dtype), t, "{dtype}");
            // Of two types with equal bits the one wanted is not the one there.
            assert_eq!(read.clone().of_npy(DType::F32), read, "{dtype}");
        }
        // What NumPy writes for the types of the package ml_dtypes.
        let t = Tensor::new(&[2], &[7u8, 0xf8]).unwrap();
        let npy = t.to_npy();
        let at = npy.windows(2).position(|w| w == b"u1").unwrap();
        let foreign = [&npy[..at], b"V1", &npy[at + 2..]].concat();
        let read = Tensor::from_npy(&foreign).unwrap().of_npy(DType::I4);
        assert_eq!((read.dtype(), read.bytes()), (DType::I4, &[7, 0xf8][..]));
    }

    #[test]
    fn fortran_order_is_turned() {
        let c = Tensor::new(&[2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap();
        let f = Tensor::new(&[2, 3], &[1i32, 4, 2, 5, 3, 6]).unwrap().to_npy();
        let at = f.windows(5).position(|w| w == b"False").unwrap();
        let turned = [&f[..at], b"True ", &f[at + 5..]].concat();
        assert_eq!(Tensor::from_npy(&turned).unwrap(), c);
    }

    #[test]
    fn damage_is_an_error() {
        let good = Tensor::new(&[2, 3], &[0f32; 6]).unwrap().to_npy();
        for n in 0..good.len() {
            assert!(Tensor::from_npy(&good[..n]).is_err(), "length {n}");
        }
        for i in 0..good.len() {
            for v in [0u8, b'9', 0xFF] {
                let mut bad = good.clone();
                bad[i] = v;
                // Values may change; nothing may panic.
                let _ = Tensor::from_npy(&bad);
            }
        }
    }
}
