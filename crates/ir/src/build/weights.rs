//! Weights of layers.

use half::{bf16, f16};
use tactician_types::DType;

use super::{Lowering, TensorRef};
use crate::graph::ValueId;
use crate::tensor::Tensor;
use crate::text::noise;

/// Most values made from a seed for one layer.
const MAX_SEEDED: usize = 1 << 30;

/// Where a layer's weights come from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Given values, in the shape that the layer wants or flat.
    Values(Tensor),
    /// Random values of the layer's type and a sensible scale, the same for the same seed.
    Seeded(u64),
    /// Computed by the network.
    Tensor(TensorRef),
}

impl From<Tensor> for Weights {
    fn from(t: Tensor) -> Weights {
        Weights::Values(t)
    }
}

impl From<TensorRef> for Weights {
    fn from(t: TensorRef) -> Weights {
        Weights::Tensor(t)
    }
}

/// Weights with tensors turned into numbers of the layer's inputs.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Values(Tensor),
    Seeded(u64),
    Input(usize),
}

impl Source {
    /// Adds a computed tensor to the layer's inputs.
    pub(super) fn of(weights: Weights, inputs: &mut Vec<TensorRef>) -> Source {
        match weights {
            Weights::Values(t) => Source::Values(t),
            Weights::Seeded(s) => Source::Seeded(s),
            Weights::Tensor(t) => {
                inputs.push(t);
                Source::Input(inputs.len() - 1)
            }
        }
    }
}

impl Lowering<'_> {
    /// Weights as a value of the given sizes. `limit` bounds seeded ones.
    pub(super) fn weights(
        &mut self,
        source: Source,
        dtype: DType,
        sizes: Result<Vec<usize>, String>,
        limit: f32,
        suffix: &str,
    ) -> Result<ValueId, String> {
        let tensor = match source {
            Source::Input(i) => return self.input(i),
            Source::Seeded(seed) => seeded(dtype, &sizes?, seed, limit)?,
            Source::Values(t) => match sizes {
                Ok(sizes) if t.sizes() == sizes => t,
                Ok(sizes) if t.sizes().len() == 1 => t
                    .reshaped(&sizes)
                    .map_err(|_| format!("needs weights of sizes {sizes:?}, found {} values", t.len()))?,
                Ok(sizes) => {
                    return Err(format!("needs weights of sizes {sizes:?}, found {:?}", t.sizes()));
                }
                // The sizes depend on a symbol: the operation checks what it can.
                Err(_) => t,
            },
        };
        Ok(self.constant(tensor, suffix))
    }
}

fn seeded(dtype: DType, sizes: &[usize], seed: u64, limit: f32) -> Result<Tensor, String> {
    let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= MAX_SEEDED);
    let Some(count) = count else {
        return Err(format!("weights of sizes {sizes:?} are beyond the limit of {MAX_SEEDED} values"));
    };
    let mut state = seed;
    let mut next = || ((noise(&mut state) >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * limit;
    let tensor = match dtype {
        DType::F32 => Tensor::new(sizes, &(0..count).map(|_| next()).collect::<Vec<_>>()),
        DType::F64 => Tensor::new(sizes, &(0..count).map(|_| f64::from(next())).collect::<Vec<_>>()),
        DType::F16 => Tensor::new(sizes, &(0..count).map(|_| f16::from_f32(next())).collect::<Vec<_>>()),
        DType::BF16 => Tensor::new(sizes, &(0..count).map(|_| bf16::from_f32(next())).collect::<Vec<_>>()),
        other => return Err(format!("weights of type {other} cannot be seeded")),
    };
    tensor.map_err(|e| e.to_string())
}
