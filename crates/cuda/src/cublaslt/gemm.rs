//! One matrix product as cuBLASLt is asked for it, and the plan step that runs it.

use serde::{Deserialize, Serialize};
use tactician_types::DType;

use super::config::Config;

/// Most rows, columns or matrices: the library counts them in 32 bits.
const MOST: u64 = i32::MAX as u64;

/// `D = act(alpha · op(A) · op(B) + C + bias)` over a batch of matrices stored by columns: element `(i, j)` of matrix
/// `b` lies at `b·step + j·leading + i`.
///
/// `op(A)` is m x k, `op(B)` is k x n, C and D are m x n; the bias has one value a row of D.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gemm {
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Products in each sum.
    pub k: u64,
    /// Matrices in the batch.
    pub batch: u64,
    /// The left factor.
    pub a: Factor,
    /// The right factor.
    pub b: Factor,
    /// Where C and D lie, each in its own memory.
    pub d: Place,
    /// Type of everything stored: `f32`, `f16` or `bf16`. Sums are kept in `f32`.
    pub dtype: DType,
    /// Whether `f32` factors may be rounded to TF32.
    pub tf32: bool,
    /// Scales the product.
    pub alpha: f32,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a C.
    pub residual: bool,
    /// What is done to the sum.
    pub activation: Activation,
}

/// A stored factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// Whether its transpose is multiplied.
    pub transposed: bool,
    /// Where it lies.
    pub place: Place,
}

/// Strides of stored matrices, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From one column to the next.
    pub leading: u64,
    /// From one matrix of the batch to the next; 0 for a factor that all share.
    pub step: u64,
}

/// Functions that the library applies to the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// None.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// GELU by its `tanh` approximation.
    Gelu,
}

/// Bytes that a product touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Of A.
    pub a: u64,
    /// Of B.
    pub b: u64,
    /// Of D, and of C if there is one.
    pub d: u64,
    /// Of the bias, 0 if there is none.
    pub bias: u64,
}

impl Gemm {
    /// Rows and columns of A as it is stored.
    pub fn a_sizes(&self) -> (u64, u64) {
        if self.a.transposed { (self.k, self.m) } else { (self.m, self.k) }
    }

    /// Rows and columns of B as it is stored.
    pub fn b_sizes(&self) -> (u64, u64) {
        if self.b.transposed { (self.n, self.k) } else { (self.k, self.n) }
    }

    /// Whether the numbers make sense, and how far they reach.
    ///
    /// # Errors
    /// A clause that says what does not fit.
    pub fn check(&self) -> Result<Extents, String> {
        for (name, n) in [("m", self.m), ("n", self.n), ("k", self.k), ("the batch", self.batch)] {
            if n == 0 || n > MOST {
                return Err(format!("{name} is {n}, it must lie between 1 and {MOST}"));
            }
        }
        if !matches!(self.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(format!("it multiplies f32, f16 and bf16, not {}", self.dtype));
        }
        if self.tf32 && self.dtype != DType::F32 {
            return Err(format!("TF32 stands for f32, not for {}", self.dtype));
        }
        let size = self.dtype.size() as u64;
        let reach = |name: &str, (rows, columns): (u64, u64), place: Place, apart: bool| {
            if place.leading < rows {
                return Err(format!("{name} has {rows} rows in a leading dimension of {}", place.leading));
            }
            let one = place.leading.checked_mul(columns - 1).and_then(|n| n.checked_add(rows));
            let too_far = || format!("{name} reaches beyond what can be addressed");
            let one = one.ok_or_else(too_far)?;
            if apart && self.batch > 1 && place.step < one {
                return Err(format!("matrices of {name} overlap: {one} elements {} apart", place.step));
            }
            let all = place.step.checked_mul(self.batch - 1).and_then(|n| n.checked_add(one));
            all.and_then(|n| n.checked_mul(size)).filter(|&n| n <= i64::MAX as u64).ok_or_else(too_far)
        };
        Ok(Extents {
            a: reach("A", self.a_sizes(), self.a.place, false)?,
            b: reach("B", self.b_sizes(), self.b.place, false)?,
            d: reach("D", (self.m, self.n), self.d, true)?,
            bias: if self.bias { self.m * size } else { 0 },
        })
    }
}

/// An algorithm of the library for one product on one kind of device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Algorithm {
    /// The library's own form. Means something to one version of it only.
    pub bytes: [u64; 8],
    /// That version, such as 130002.
    pub library: u64,
    /// What is in the bytes, as the library reads it back.
    pub config: Config,
    /// Scratch that it needs, in bytes.
    pub workspace: u64,
}

/// Parameters of a `cublaslt.matmul` step. Its output is D.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatmulStep {
    /// The product.
    pub gemm: Gemm,
    /// Which inputs of the step are what.
    pub inputs: Inputs,
    /// How it is computed.
    pub algorithm: Algorithm,
}

impl MatmulStep {
    /// The kernel name of such steps.
    pub const NAME: &'static str = "cublaslt.matmul";
}

/// Numbers of inputs of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// A.
    pub a: u16,
    /// B.
    pub b: u16,
    /// The bias, if the product has one.
    pub bias: Option<u16>,
    /// C, if the product has one.
    pub residual: Option<u16>,
}

impl MatmulStep {
    /// Checks everything that does not need the library: that all it touches lies within inputs, outputs and scratch
    /// of these byte lengths.
    ///
    /// # Errors
    /// A clause that says what does not fit.
    pub fn check(&self, inputs: &[u64], outputs: &[u64], scratch: u64) -> Result<Extents, String> {
        let extents = self.gemm.check()?;
        let (gemm, at) = (&self.gemm, &self.inputs);
        if (gemm.bias, gemm.residual) != (at.bias.is_some(), at.residual.is_some()) {
            return Err("the product and its inputs disagree on bias or residual".into());
        }
        let needs = [
            ("A", Some(at.a), extents.a),
            ("B", Some(at.b), extents.b),
            ("the bias", at.bias, extents.bias),
            ("C", at.residual, extents.d),
        ];
        for (name, index, needed) in needs {
            let Some(index) = index else { continue };
            let have = inputs
                .get(usize::from(index))
                .ok_or_else(|| format!("{name} is input {index} of {}", inputs.len()))?;
            if *have < needed {
                return Err(format!("{name} takes {needed} bytes, input {index} has {have}"));
            }
        }
        match *outputs {
            [have] if have >= extents.d => {}
            [have] => return Err(format!("D takes {} bytes, the output has {have}", extents.d)),
            _ => return Err(format!("it has one output, not {}", outputs.len())),
        }
        if self.algorithm.workspace > scratch {
            return Err(format!(
                "its algorithm takes {} bytes of scratch, the step has {scratch}",
                self.algorithm.workspace
            ));
        }
        Ok(extents)
    }
}
