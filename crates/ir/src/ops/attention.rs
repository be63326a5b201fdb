//! Scaled dot-product attention.

use crate::dim::Dim;
use crate::ops::check_float;
use crate::ops::conv::known_differ;
use crate::ops::pointwise::broadcast;
use crate::tensor::{Shape, TensorType};

/// `softmax(cap(scale · q·kᵀ) + mask) · v` for every head: `q [B, Hq, Sq, D]`, `k [B, Hk, Sk, D]`, `v [B, Hk, Sk, Dv]` and
/// perhaps a mask that broadcasts to `[B, Hq, Sq, Sk]`, all of one float type; gives `[B, Hq, Sq, Dv]`.
///
/// Query head `h` reads key head `h / (Hq / Hk)`. The softmax runs over the keys; a key that is left out weighs nothing,
/// and a query that may see no key at all gives zeros.
///
/// Any of them may have its heads inside the length, `[B, S, H, D]`, as products with weights give and take them; `q`, `k` and
/// `v` may also lie within larger tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// What the products of queries and keys are multiplied by.
    pub scale: f32,
    /// Query `i` sees keys `0..=i + offset` only; all keys when `None`.
    pub causal: Option<i64>,
    /// `cap(s) = softcap · tanh(s / softcap)`; 0 leaves `s` as it is.
    pub softcap: f32,
    /// Which of `q`, `k`, `v` and the result are `[B, S, H, D]`.
    pub heads_inside: [bool; 4],
    /// Where `q`, `k` and `v` lie in operands of any shape; such a one is not among [`Attention::heads_inside`].
    pub within: [Option<HeadsIn>; 3],
}

/// Where heads lie in a tensor, in elements of it in row-major order. The elements of one head lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadsIn {
    /// Before the first.
    pub offset: usize,
    /// `[B, H, S, D]`.
    pub sizes: [usize; 4],
    /// From one batch, head and query or key to the next.
    pub strides: [usize; 3],
}

impl HeadsIn {
    /// Behind the last element; `None` where it is beyond what can be counted.
    pub fn end(&self) -> Option<usize> {
        if self.sizes.contains(&0) {
            return Some(self.offset);
        }
        let axes = self.sizes[..3].iter().zip(&self.strides);
        let last =
            axes.map(|(n, s)| (n - 1).checked_mul(*s)).try_fold(self.offset, |a, b| a.checked_add(b?))?;
        self.sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        last.checked_add(self.sizes[3])
    }
}

impl Attention {
    /// Attention of all keys, its operands `[B, H, S, D]`.
    pub const fn new(scale: f32) -> Attention {
        Attention { scale, causal: None, softcap: 0.0, heads_inside: [false; 4], within: [None; 3] }
    }

    /// `[B, H, S, D]` of the sizes of `q`, `k`, `v` or the result, by its number; and back.
    pub fn heads_outside<T: Clone>(&self, which: usize, sizes: &[T; 4]) -> [T; 4] {
        let mut out = sizes.clone();
        if self.heads_inside[which] {
            out.swap(1, 2);
        }
        out
    }

    /// The sizes `[B, H, S, D]` of `q`, `k` or `v` in an operand of these sizes. `None` where it has another rank.
    pub fn operand_sizes(&self, which: usize, sizes: &[usize]) -> Option<[usize; 4]> {
        match self.within.get(which)? {
            Some(within) => Some(within.sizes),
            None => Some(self.heads_outside(which, &sizes.try_into().ok()?)),
        }
    }

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
        let dims = |which: usize| {
            let t = inputs[which];
            if let Some(within) = self.within[which] {
                let len = t.sizes().and_then(|s| s.iter().try_fold(1usize, |a, &b| a.checked_mul(b)));
                if self.heads_inside[which] || len.is_none() || within.end().is_none_or(|end| Some(end) > len)
                {
                    return Err(format!("heads {within:?} do not lie within {t}"));
                }
                return Ok(within.sizes.map(Dim::from));
            }
            let dims: Result<[Dim; 4], _> = t.shape.0.to_vec().try_into();
            let dims = dims.map_err(|_| {
                format!("attention needs operands [batch, heads, length, size], found {q}, {k} and {v}")
            })?;
            Ok(self.heads_outside(which, &dims))
        };
        let (of_q, of_k, of_v) = (dims(0)?, dims(1)?, dims(2)?);
        for (what, i, (a, of_a), (b, of_b)) in [
            ("batches", 0, (q, &of_q), (k, &of_k)),
            ("batches", 0, (q, &of_q), (v, &of_v)),
            ("heads", 1, (k, &of_k), (v, &of_v)),
            ("lengths", 2, (k, &of_k), (v, &of_v)),
            ("sizes of heads", 3, (q, &of_q), (k, &of_k)),
        ] {
            if known_differ(&of_a[i], &of_b[i]) {
                return Err(format!("{what} differ: {a} and {b}"));
            }
        }
        if let (Some(hq), Some(hk)) = (of_q[1].as_usize(), of_k[1].as_usize())
            && (hk == 0 && hq != 0 || hk != 0 && hq % hk != 0)
        {
            return Err(format!("{hq} heads of queries do not divide among {hk} of keys"));
        }
        if let Some(mask) = inputs.get(3) {
            let whole: Shape = of_q[..3].iter().chain([&of_k[2]]).cloned().collect();
            if broadcast(&[&whole, &mask.shape])? != whole {
                return Err(format!("mask {mask} does not broadcast to the scores {whole}"));
            }
        }
        let [batch, heads, length, _] = of_q;
        let [.., size] = of_v;
        let shape = self.heads_outside(3, &[batch, heads, length, size]).into_iter().collect();
        Ok(TensorType { dtype: q.dtype, shape })
    }
}
