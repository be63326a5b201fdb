//! Matrix products.

use crate::ops::check_not_narrow;
use crate::ops::conv::known_differ;
use crate::ops::pointwise::broadcast;
use crate::tensor::{Shape, TensorType};

/// Matrix product over the last two axes, leading axes broadcast, as NumPy's `matmul`: `[…,M,K] · […,K,N]`.
/// Operands of rank 1 are not accepted (the importer inserts and removes the axis).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// Whether `a` is stored as `[…, K, M]`.
    pub trans_a: bool,
    /// Whether `b` is stored as `[…, N, K]`.
    pub trans_b: bool,
}

impl MatMul {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (a, b) = (inputs[0], inputs[1]);
        if a.dtype != b.dtype {
            return Err(format!("matmul mixes {} and {}", a.dtype, b.dtype));
        }
        check_not_narrow(a)?;
        if a.dtype == tactician_types::DType::Bool {
            return Err("matmul does not apply to bool".into());
        }
        if a.rank() < 2 || b.rank() < 2 {
            return Err(format!("matmul needs operands of rank 2 or more, found {a} and {b}"));
        }
        let (ra, rb) = (a.rank(), b.rank());
        let swap = |t: &TensorType, swapped: bool| {
            let r = t.rank();
            let (x, y) = (t.shape.0[r - 2].clone(), t.shape.0[r - 1].clone());
            if swapped { (y, x) } else { (x, y) }
        };
        let (m, ka) = swap(a, self.trans_a);
        let (kb, n) = swap(b, self.trans_b);
        if known_differ(&ka, &kb) {
            return Err(format!("inner sizes differ: {ka} of {a} and {kb} of {b}"));
        }
        let lead = |t: &TensorType, r: usize| Shape(t.shape.0[..r - 2].iter().cloned().collect());
        let mut shape = broadcast(&[&lead(a, ra), &lead(b, rb)])?;
        shape.0.push(m);
        shape.0.push(n);
        Ok(TensorType { dtype: a.dtype, shape })
    }
}
