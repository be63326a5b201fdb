//! `move.concat`: inputs joined, row by row.

use serde::{Deserialize, Serialize};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::movement::element::{in_parts, product};
use crate::threads::{SharedMut, Threads};

/// Joins inputs, as many as parts: every row of the output is a row of each input, in order. One output, no scratch.
///
/// A row begins at the joined axis, so this serves every axis and every layout whose blocks stay whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// How many rows.
    pub rows: usize,
    /// Bytes of a row of each input.
    pub parts: Vec<usize>,
}

/// Rows this short are copied without a call.
const SHORT: usize = 32;

impl Concat {
    fn row(&self) -> Result<usize, KernelError> {
        self.parts
            .iter()
            .try_fold(0usize, |a, &b| a.checked_add(b))
            .ok_or_else(|| "the length of a row overflows".into())
    }
}

impl Kernel for Concat {
    const NAME: &'static str = "move.concat";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        // The whole bounds the parts.
        let whole = product([self.rows, self.row()?])?;
        Ok(ArgSizes {
            inputs: self.parts.iter().map(|p| (self.rows * p) as u64).collect(),
            outputs: vec![whole as u64],
            scratch: 0,
        })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let row: usize = self.parts.iter().sum();
        let n = self.rows * row;
        if n == 0 {
            return;
        }
        let out = SharedMut::new(&mut args.output::<u8>(0)[..n]);
        let mut start = 0;
        for (i, &part) in self.parts.iter().enumerate() {
            let x = &args.input::<u8>(i)[..self.rows * part];
            let at = start;
            start += part;
            if part == 0 {
                continue;
            }
            // By bytes rather than rows: a single long row is shared out too.
            in_parts(threads, x.len(), x.len(), |range| {
                let mut from = range.start;
                while from < range.end {
                    let (r, skip) = (from / part, from % part);
                    let len = (part - skip).min(range.end - from);
                    // SAFETY: parts of rows are disjoint and inside the output.
                    let to = unsafe { out.slice(r * row + at + skip, len) };
                    copy(&x[from..from + len], to);
                    from += len;
                }
            });
        }
    }
}

#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        4 => to.copy_from_slice(&from[..4]),
        8 => to.copy_from_slice(&from[..8]),
        n if n < SHORT => to.iter_mut().zip(from).for_each(|(t, &f)| *t = f),
        _ => to.copy_from_slice(from),
    }
}

#[cfg(test)]
#[path = "concat_tests.rs"]
mod tests;
