use serde::{Deserialize, Serialize};

use crate::kernel::KernelError;

/// Bound on element counts: products with element sizes stay inside 63 bits.
const MAX_LEN: usize = 1 << 48;

/// Sizes and parameters of attention over dense `q [B, Hq, Sq, D]`, `k [B, Hk, Sk, D]`, `v [B, Hk, Sk, Dv]`, each of which, like
/// the result `[B, Hq, Sq, Dv]`, may have its heads inside the length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttentionShape {
    /// B.
    pub batches: usize,
    /// Hq, a multiple of Hk.
    pub heads: usize,
    /// Hk.
    pub key_heads: usize,
    /// Sq.
    pub queries: usize,
    /// Sk.
    pub keys: usize,
    /// D.
    pub size: usize,
    /// Dv.
    pub value_size: usize,
    /// Which axes of `[B, Hq, Sq, Sk]` the mask has, bit `i` for axis `i`; `None` when there is no mask.
    pub mask: Option<u8>,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Query `i` sees keys up to `i + causal` only.
    pub causal: Option<i64>,
    /// `s` becomes `softcap · tanh(s / softcap)`; 0 for none.
    pub softcap: f32,
    /// Which of `q`, `k`, `v` and the result are `[B, S, H, D]`.
    pub heads_inside: [bool; 4],
    /// Where `q`, `k` and `v` lie in longer operands, and how many elements these have.
    pub within: [Option<(AttentionStrides, usize)>; 3],
}

/// Where an operand begins, and how many elements lie between neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionStrides {
    /// Elements before the first.
    pub offset: usize,
    /// Batches.
    pub batch: usize,
    /// Heads.
    pub head: usize,
    /// Queries or keys.
    pub row: usize,
}

impl AttentionShape {
    /// Elements of each input and of the output, last.
    ///
    /// # Errors
    /// When sizes overflow or heads do not divide.
    pub(crate) fn lens(&self) -> Result<Vec<usize>, KernelError> {
        let product = |sizes: &[usize]| {
            let bound =
                sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b.max(1))).filter(|&n| n <= MAX_LEN);
            bound
                .map(|_| sizes.iter().product::<usize>())
                .ok_or_else(|| format!("sizes {sizes:?} are too large"))
        };
        if self.key_heads == 0 || !self.heads.is_multiple_of(self.key_heads) {
            return Err(format!("{} heads of queries, {} of keys", self.heads, self.key_heads));
        }
        let (b, d) = (self.batches, self.size);
        // Scores are never whole, but their places are counted.
        product(&[b, self.heads, self.queries, self.keys])?;
        let mut lens = vec![
            product(&[b, self.heads, self.queries, d])?,
            product(&[b, self.key_heads, self.keys, d])?,
            product(&[b, self.key_heads, self.keys, self.value_size])?,
        ];
        if let Some(axes) = self.mask {
            if axes >> 4 != 0 {
                return Err(format!("a mask with axes {axes:#b} of four"));
            }
            lens.push(product(&self.mask_sizes(axes))?);
        }
        for (which, (strides, len)) in self.within.iter().enumerate().filter_map(|(i, w)| Some((i, (*w)?))) {
            let (heads, length, size) = self.sizes(which);
            let end = [(b, strides.batch), (heads, strides.head), (length, strides.row)]
                .into_iter()
                .map(|(n, step)| n.saturating_sub(1).checked_mul(step))
                .try_fold(strides.offset, |a, b| a.checked_add(b?))
                .and_then(|last| last.checked_add(size));
            if len > MAX_LEN || end.is_none_or(|end| end > len) {
                return Err(format!("operand {which} lies at {strides:?}, not within {len} elements"));
            }
            lens[which] = len;
        }
        lens.push(product(&[b, self.heads, self.queries, self.value_size])?);
        Ok(lens)
    }

    /// Strides of `q`, `k`, `v` or the result, by its number. Sizes are those that `sizes` of a kernel accepts.
    pub fn strides(&self, which: usize) -> AttentionStrides {
        if let Some(Some((strides, _))) = self.within.get(which) {
            return *strides;
        }
        let (heads, length, size) = self.sizes(which);
        let (head, row) = (length.saturating_mul(size), heads.saturating_mul(size));
        let batch = heads.saturating_mul(head);
        match self.heads_inside[which] {
            true => AttentionStrides { offset: 0, batch, head: size, row },
            false => AttentionStrides { offset: 0, batch, head, row: size },
        }
    }

    /// Heads, length and size of a head of `q`, `k`, `v` or the result, by its number.
    fn sizes(&self, which: usize) -> (usize, usize, usize) {
        let (heads, length) =
            if matches!(which, 0 | 3) { (self.heads, self.queries) } else { (self.key_heads, self.keys) };
        (heads, length, if which < 2 { self.size } else { self.value_size })
    }

    /// Where what a matrix of queries (batch and head) has to do with begins in `q`, `k`, `v` or the result.
    pub(crate) fn start(&self, which: usize, matrix: usize) -> usize {
        let (batch, head) = (matrix / self.heads, matrix % self.heads);
        let head = if matches!(which, 0 | 3) { head } else { head / (self.heads / self.key_heads) };
        let s = self.strides(which);
        s.offset + batch * s.batch + head * s.head
    }

    fn mask_sizes(&self, axes: u8) -> [usize; 4] {
        let all = [self.batches, self.heads, self.queries, self.keys];
        std::array::from_fn(|i| if axes >> i & 1 == 1 { all[i] } else { 1 })
    }

    /// Steps of the mask along `[B, Hq, Sq, Sk]`; zeros without one.
    pub(crate) fn mask_steps(&self) -> [usize; 4] {
        let Some(axes) = self.mask else { return [0; 4] };
        let sizes = self.mask_sizes(axes);
        std::array::from_fn(|i| if axes >> i & 1 == 1 { sizes[i + 1..].iter().product() } else { 0 })
    }

    /// How many keys query `i` may see, from the first on.
    pub(crate) fn seen(&self, i: usize) -> usize {
        match self.causal {
            None => self.keys,
            Some(offset) => (i as i128 + i128::from(offset) + 1).clamp(0, self.keys as i128) as usize,
        }
    }
}
