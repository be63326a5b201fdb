//! Scaled dot-product attention.

use crate::ops::check_float;
use crate::ops::conv::known_differ;
use crate::ops::pointwise::broadcast;
use crate::tensor::{Shape, TensorType};

/// `softmax(cap(scale · q·kᵀ) + mask) · v` for every head: `q [B, Hq, Sq, D]`, `k [B, Hk, Sk, D]`, `v [B, Hk, Sk, Dv]` and
/// perhaps a mask that broadcasts to `[B, Hq, Sq, Sk]`, all of one float type; gives `[B, Hq, Sq, Dv]`.
///
/// Query head `h` reads key head `h / (Hq / Hk)`. The softmax runs over the keys; a key that is left out weighs nothing,
/// and a query that may see no key at all gives zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// What the products of queries and keys are multiplied by.
    pub scale: f32,
    /// Query `i` sees keys `0..=i + offset` only; all keys when `None`.
    pub causal: Option<i64>,
    /// `cap(s) = softcap · tanh(s / softcap)`; 0 leaves `s` as it is.
    pub softcap: f32,
}

impl Attention {
    pub(crate) fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        check_float(q)?;
        if let Some(other) = inputs.iter().find(|t| t.dtype != q.dtype) {
            return Err(format!("attention mixes {} and {}", q.dtype, other.dtype));
        }
        if !self.scale.is_finite() || !self.softcap.is_finite() || self.softcap < 0.0 {
            let (scale, cap) = (self.scale, self.softcap);
            return Err(format!(
                "a scale of {scale} and a softcap of {cap} must be finite, the latter not negative"
            ));
        }
        if [q, k, v].iter().any(|t| t.rank() != 4) {
            return Err(format!(
                "attention needs operands [batch, heads, length, size], found {q}, {k} and {v}"
            ));
        }
        let dim = |t: &TensorType, i: usize| t.shape.0[i].clone();
        for (what, a, b) in [
            ("batches", (q, 0), (k, 0)),
            ("batches", (q, 0), (v, 0)),
            ("heads", (k, 1), (v, 1)),
            ("lengths", (k, 2), (v, 2)),
            ("sizes of heads", (q, 3), (k, 3)),
        ] {
            if known_differ(&dim(a.0, a.1), &dim(b.0, b.1)) {
                return Err(format!("{what} differ: {} and {}", a.0, b.0));
            }
        }
        if let (Some(hq), Some(hk)) = (dim(q, 1).as_usize(), dim(k, 1).as_usize())
            && (hk == 0 && hq != 0 || hk != 0 && hq % hk != 0)
        {
            return Err(format!("{hq} heads of queries do not divide among {hk} of keys"));
        }
        if let Some(mask) = inputs.get(3) {
            let whole: Shape = [dim(q, 0), dim(q, 1), dim(q, 2), dim(k, 2)].into_iter().collect();
            if broadcast(&[&whole, &mask.shape])? != whole {
                return Err(format!("mask {mask} does not broadcast to the scores {whole}"));
            }
        }
        let shape: Shape = [dim(q, 0), dim(q, 1), dim(q, 2), dim(v, 3)].into_iter().collect();
        Ok(TensorType { dtype: q.dtype, shape })
    }
}
