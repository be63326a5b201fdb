//! The shape of a convolution, shared by all its kernels.

use serde::{Deserialize, Serialize};

use crate::kernel::KernelError;

/// A convolution's sizes. Always three spatial axes; leading ones are 1 for images and sequences.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Batch.
    pub n: usize,
    /// Input channels.
    pub c: usize,
    /// Output channels.
    pub k: usize,
    /// Input sizes.
    pub input: [usize; 3],
    /// Window sizes.
    pub kernel: [usize; 3],
    /// Steps between windows.
    pub strides: [usize; 3],
    /// Zeros before and after.
    pub pads: [(usize, usize); 3],
    /// Steps inside a window.
    pub dilations: [usize; 3],
    /// Channel groups.
    pub groups: usize,
}

/// Largest size of anything: keeps products of a few inside 63 bits.
const LIMIT: usize = 1 << 31;

impl ConvGeometry {
    /// An image convolution: `[n,c,h,w]` with a `k`-filter window `kernel`, equal stride and padding, one group.
    pub fn image(
        n: usize,
        c: usize,
        [h, w]: [usize; 2],
        k: usize,
        kernel: [usize; 2],
        stride: usize,
        pad: usize,
    ) -> Self {
        ConvGeometry {
            n,
            c,
            k,
            input: [1, h, w],
            kernel: [1, kernel[0], kernel[1]],
            strides: [1, stride, stride],
            pads: [(0, 0), (pad, pad), (pad, pad)],
            dilations: [1; 3],
            groups: 1,
        }
    }

    /// Output sizes. Meaningful after [`ConvGeometry::check`].
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|i| {
            let span = (self.kernel[i] - 1) * self.dilations[i] + 1;
            (self.input[i] + self.pads[i].0 + self.pads[i].1 - span) / self.strides[i] + 1
        })
    }

    /// Whether sizes are positive, bounded and fit together; for geometry from a file.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn check(&self) -> Result<(), KernelError> {
        let sizes = [self.n, self.c, self.k, self.groups];
        let all =
            sizes.iter().chain(&self.input).chain(&self.kernel).chain(&self.strides).chain(&self.dilations);
        if all.clone().any(|&s| s == 0 || s > LIMIT) || self.pads.iter().any(|p| p.0.max(p.1) > LIMIT) {
            return Err(format!("sizes must be between 1 and {LIMIT}"));
        }
        if !self.c.is_multiple_of(self.groups) || !self.k.is_multiple_of(self.groups) {
            return Err(format!(
                "{} and {} channels do not divide into {} groups",
                self.c, self.k, self.groups
            ));
        }
        for i in 0..3 {
            let span = (self.kernel[i] - 1) * self.dilations[i] + 1;
            if self.input[i] + self.pads[i].0 + self.pads[i].1 < span {
                return Err(format!("a window spanning {span} does not fit axis {i}"));
            }
        }
        let product =
            |l: &[usize]| l.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&p| p < 1 << 48);
        let fits = product(&[self.n, self.c])
            .is_some_and(|p| product(&[p, self.input[0], self.input[1], self.input[2]]).is_some());
        let [d, h, w] = self.output();
        let fits = fits && product(&[self.n, self.k, d]).is_some_and(|p| product(&[p, h, w]).is_some());
        let [a, b, c] = self.kernel;
        let fits = fits && product(&[self.k, self.c, a]).is_some_and(|p| product(&[p, b, c]).is_some());
        if fits { Ok(()) } else { Err("the tensors are too large".into()) }
    }

    /// Multiplications of the plain algorithm.
    pub fn multiplications(&self) -> u64 {
        let out: usize = self.output().iter().product();
        let window: usize = self.kernel.iter().product();
        self.n as u64 * self.k as u64 * out as u64 * (self.c / self.groups) as u64 * window as u64
    }

    /// Plain input elements.
    pub fn input_len(&self) -> usize {
        self.n * self.c * self.input.iter().product::<usize>()
    }

    /// Plain output elements.
    pub fn output_len(&self) -> usize {
        self.n * self.k * self.output().iter().product::<usize>()
    }

    /// Weights, `[K, C/groups, window…]`.
    pub fn weight_len(&self) -> usize {
        self.k * (self.c / self.groups) * self.kernel.iter().product::<usize>()
    }
}
