//! `matmul`: products of `f32` matrices over batches that broadcast.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::gemm::blocked::{COLUMNS, Product, STEPS, Split};
use crate::gemm::finish::{Finish, Operands, ReadyFinish, bounded};
use crate::gemm::pack::{Left, Panels, Right, Strided, pack_right, packed_len, panel};
use crate::gemm::simd::check_lanes;
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::threads::{SharedMut, Threads};

/// Sizes of a product `[batch, m, k] · [batch, k, n]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatShape {
    /// Leading axes of the result.
    pub batch: Vec<usize>,
    /// Which of these the left operand has, bit `i` for axis `i`.
    pub a_axes: u16,
    /// Which of these the right operand has.
    pub b_axes: u16,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Whether the left operand is stored `[…, k, m]`.
    pub trans_a: bool,
    /// Whether the right operand is stored `[…, n, k]`.
    pub trans_b: bool,
}

impl MatShape {
    /// Elements of the left and right operand and the result.
    ///
    /// # Errors
    /// When sizes overflow or axes are missing.
    pub(crate) fn lens(&self) -> Result<[usize; 3], KernelError> {
        let rank = self.batch.len();
        if rank > 12 || (self.a_axes | self.b_axes) >> rank != 0 {
            return Err(format!(
                "{rank} leading axes, operands with masks {} and {}",
                self.a_axes, self.b_axes
            ));
        }
        for (x, y) in [(self.m, self.k), (self.k, self.n), (self.m, self.n)] {
            bounded(&[&self.batch[..], &[x, y]].concat())?;
        }
        Ok([
            self.products_of(self.a_axes) * self.m * self.k,
            self.products_of(self.b_axes) * self.k * self.n,
            self.products() * self.m * self.n,
        ])
    }

    /// Products in a batch.
    pub(crate) fn products(&self) -> usize {
        self.batch.iter().product()
    }

    /// Matrices of an operand with these axes.
    pub(crate) fn products_of(&self, axes: u16) -> usize {
        self.batch.iter().enumerate().filter(|(i, _)| axes >> i & 1 == 1).map(|(_, s)| s).product()
    }

    /// Which of an operand's matrices product `p` reads.
    pub(crate) fn matrix(&self, axes: u16, mut p: usize) -> usize {
        let (mut at, mut step) = (0, 1);
        for (i, &size) in self.batch.iter().enumerate().rev() {
            if axes >> i & 1 == 1 {
                at += p % size * step;
                step *= size;
            }
            p /= size;
        }
        at
    }

    /// Steps from row to row and along a row of the left operand.
    pub(crate) fn a_steps(&self) -> (usize, usize) {
        if self.trans_a { (1, self.m) } else { (self.k, 1) }
    }

    /// Steps from row to row and along a row of the right operand.
    pub(crate) fn b_steps(&self) -> (usize, usize) {
        if self.trans_b { (1, self.k) } else { (self.n, 1) }
    }
}

/// How the right operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RightForm {
    /// Packed at build, by [`MatMul::pack`].
    Packed,
    /// Packed whole into scratch, then multiplied.
    Whole,
    /// Packed block by block into scratch of each thread.
    Blocks,
    /// Read in place, or packed panel by panel on the stack. No scratch.
    Direct,
}

/// Matrix product. Inputs: left, right, epilogue operands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MatMul {
    /// The sizes.
    pub shape: MatShape,
    /// Floats in a vector: 16 or 8.
    pub lanes: u8,
    /// How the right operand is read.
    pub right: RightForm,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<ReadyFinish>,
}

impl MatMul {
    /// The kernel for a shape.
    pub fn new(shape: MatShape, lanes: u8, right: RightForm, finish: Finish) -> MatMul {
        MatMul { shape, lanes, right, finish, ready: None }
    }

    /// The right operand for [`RightForm::Packed`].
    ///
    /// # Errors
    /// When `b` has another length than the shape says.
    pub fn pack(&self, b: &[f32]) -> Result<Vec<f32>, KernelError> {
        let s = &self.shape;
        let [_, len, _] = s.lens()?;
        if b.len() != len {
            return Err(format!("{} values for a right operand of {len}", b.len()));
        }
        let (step, column) = s.b_steps();
        let mut out = Vec::new();
        for b in b.chunks_exact((s.k * s.n).max(1)) {
            let from = Strided { at: b.as_ptr(), step, column, n: s.n, in_place: false };
            out.extend(pack_right(&from, s.k, self.lanes as usize));
        }
        Ok(out)
    }

    /// Floats of the right operand when packed.
    fn packed_len(&self) -> Option<usize> {
        let s = &self.shape;
        packed_len(s.k, s.n, self.lanes as usize)?.checked_mul(s.products_of(s.b_axes))
    }

    /// Multiplies with the right matrices that `right` gives; `buffers` holds one block for each part.
    fn multiply<'a, R: Right>(
        &'a self,
        args: &Args<'a>,
        threads: &Threads,
        right: impl Fn(usize) -> R + Sync,
        buffers: Option<SharedMut<'_, f32>>,
    ) {
        let s = &self.shape;
        let finish = self.ready.as_ref().expect("prepared");
        let operands: Operands<'a> = finish.operands(args, 2);
        let a = args.input::<f32>(0);
        let out = SharedMut::new(args.output::<f32>(0));
        let (row, step) = s.a_steps();
        let products = s.products();
        let split = Split::new(s.m, s.n, self.lanes as usize, products, threads.count());
        if s.m == 0 || s.n == 0 {
            return;
        }
        let parts = match buffers {
            Some(_) => threads.count(),
            None => threads.count() * 4,
        };
        threads.for_each_range(products * split.parts(), parts, |part, range| {
            for unit in range {
                let (p, piece) = (unit / split.parts(), unit % split.parts());
                let right = right(s.matrix(s.b_axes, p));
                let product = Product {
                    level: threads.level(),
                    lanes: self.lanes as usize,
                    m: s.m,
                    n: s.n,
                    k: s.k,
                    left: Left::Strided {
                        at: a.as_ptr().wrapping_add(s.matrix(s.a_axes, p) * s.m * s.k),
                        row,
                        step,
                    },
                    right: &right,
                    out,
                    start: p * s.m * s.n,
                    finish: Some((finish, &operands)),
                };
                let block = STEPS * COLUMNS;
                // SAFETY: `sizes` made the arguments as long as the shape needs; parts have their own outputs and
                // buffers; `prepare` checked the vectors.
                unsafe {
                    let buffer = buffers.as_ref().map(|b| b.slice(part * block, block));
                    product.part(split, piece, buffer);
                }
            }
        });
    }
}

impl Kernel for MatMul {
    const NAME: &'static str = "matmul";

    fn sizes(&self, threads: usize) -> Result<ArgSizes, KernelError> {
        if !matches!(self.lanes, 8 | 16) {
            return Err(format!("vectors of {} floats", self.lanes));
        }
        let [a, b, out] = self.shape.lens()?;
        let packed = self.packed_len();
        let b = if self.right == RightForm::Packed { packed } else { Some(b) };
        let scratch = match self.right {
            RightForm::Packed | RightForm::Direct => Some(0),
            RightForm::Whole => packed,
            RightForm::Blocks => threads.checked_mul(STEPS * COLUMNS),
        };
        let mut inputs = vec![size_of_f32(Some(a))?, size_of_f32(b)?];
        inputs.extend(self.finish.operand_bytes(out)?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(out))?], scratch: size_of_f32(scratch)? })
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.lanes as usize)?;
        self.ready = Some(self.finish.ready(isa)?);
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let s = &self.shape;
        let b = args.input::<f32>(1);
        let (step, column) = s.b_steps();
        let strided = |i: usize, in_place: bool| Strided {
            at: b.as_ptr().wrapping_add(i * s.k * s.n),
            step,
            column,
            n: s.n,
            in_place,
        };
        let width = panel(self.lanes as usize);
        let panels = s.n.div_ceil(width);
        let matrix = panels * width * s.k;
        let packed = |from: &[f32], i: usize| Panels { at: from.as_ptr().wrapping_add(i * matrix), k: s.k };
        match self.right {
            RightForm::Packed => self.multiply(args, threads, |i| packed(b, i), None),
            RightForm::Direct => self.multiply(args, threads, |i| strided(i, true), None),
            RightForm::Blocks => {
                let scratch = SharedMut::new(args.scratch::<f32>());
                self.multiply(args, threads, |i| strided(i, false), Some(scratch));
            }
            RightForm::Whole => {
                let scratch = args.scratch::<f32>();
                let shared = SharedMut::new(&mut *scratch);
                let units = panels * s.products_of(s.b_axes);
                threads.for_each_range(units, threads.count() * 4, |_, range| {
                    for unit in range {
                        let (i, j) = (unit / panels, unit % panels * width);
                        // SAFETY: panels of their own inside the scratch, which holds all; columns inside `b`.
                        unsafe {
                            let to = shared.ptr(unit * width * s.k);
                            strided(i, false).pack(0, s.k, j, (s.n - j).min(width), width, to);
                        }
                    }
                });
                self.multiply(args, threads, |i| packed(scratch, i), None);
            }
        }
    }
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;
