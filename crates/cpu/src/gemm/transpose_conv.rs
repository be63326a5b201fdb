//! Transposed convolutions over plain tensors: `conv.transpose` gathers, without scratch; `conv.transpose.gemm`
//! multiplies first and then adds the columns up.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::gemm::blocked::{Product, Split};
use crate::gemm::finish::{Finish, ReadyFinish};
use crate::gemm::pack::{Left, Strided};
use crate::gemm::rows::{Rows, Shape};
use crate::gemm::simd::check_lanes;
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::threads::{SharedMut, Threads};

/// The sizes of a transposed convolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransposeShape {
    /// The convolution that this is the transpose of: it reads what this writes, so its `c` and `input` are this one's
    /// output channels and sizes, its `k` this one's input channels.
    pub forward: ConvGeometry,
    /// Input sizes: the forward convolution's output, or less where padding was added to the output.
    pub input: [usize; 3],
}

impl TransposeShape {
    /// Whether the sizes fit together; for shapes from a file.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        let f = &self.forward;
        f.check()?;
        let most = f.output();
        if (0..3).any(|a| self.input[a] == 0 || self.input[a] > most[a]) {
            return Err(format!("an input of {:?} does not give an output of {:?}", self.input, f.input));
        }
        Ok(())
    }

    fn sizes(&self, finish: &Finish) -> Result<ArgSizes, KernelError> {
        self.check()?;
        let f = &self.forward;
        // No longer than the forward convolution's output, which was checked.
        let x = f.n * f.k * self.pixels();
        let mut inputs = vec![size_of_f32(Some(x))?, size_of_f32(Some(f.weight_len()))?];
        inputs.extend(finish.operand_bytes(f.input_len())?);
        Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(f.input_len()))?], scratch: 0 })
    }

    fn pixels(&self) -> usize {
        self.input.iter().product()
    }
}

/// Transposed convolution in place. Inputs: `x [N, C, spatial]`, `w [C, K/groups, window]`, epilogue operands.
/// No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransposeConv {
    /// The shape.
    pub shape: TransposeShape,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<Ready>,
}

#[derive(Clone, Debug)]
struct Ready {
    finish: ReadyFinish,
    rows: Shape,
}

impl TransposeConv {
    /// The kernel for a shape.
    pub fn new(shape: TransposeShape, finish: Finish) -> TransposeConv {
        TransposeConv { shape, finish, ready: None }
    }
}

impl Kernel for TransposeConv {
    const NAME: &'static str = "conv.transpose";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        self.shape.sizes(&self.finish)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        let rows = Shape::of_transpose(&self.shape.forward, self.shape.input, isa);
        self.ready = Some(Ready { finish: self.finish.ready(isa)?, rows });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        // SAFETY: `sizes` made the arguments as long as the shape needs.
        unsafe { Rows::new(&ready.rows, &ready.finish, args).run(threads) };
    }
}

/// Transposed convolution by a matrix product whose columns are then added up. Inputs: `x [N, C, spatial]`,
/// `w [C, K/groups, window]`, epilogue operands. Scratch: the columns of one image and group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransposeGemmConv {
    /// The shape.
    pub shape: TransposeShape,
    /// Floats in a vector: 16 or 8.
    pub lanes: u8,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<ReadyFinish>,
}

impl TransposeGemmConv {
    /// The kernel for a shape.
    pub fn new(shape: TransposeShape, lanes: u8, finish: Finish) -> TransposeGemmConv {
        TransposeGemmConv { shape, lanes, finish, ready: None }
    }

    /// Rows of the product: filters of a group times window offsets.
    fn rows(&self) -> usize {
        let f = &self.shape.forward;
        f.c / f.groups * f.kernel.iter().product::<usize>()
    }

    /// Adds the columns of one filter up into its output plane.
    fn add_up(&self, columns: &[f32], out: &mut [f32]) {
        let f = &self.shape.forward;
        let [id, ih, iw] = self.shape.input;
        let [od, oh, ow] = f.input;
        let pixels = id * ih * iw;
        let [kd, kh, kw] = f.kernel;
        out.fill(0.0);
        // Where on an axis input `i` goes through window offset `r`.
        let to = |a: usize, i: usize, r: usize| {
            (i * f.strides[a] + r * f.dilations[a]).checked_sub(f.pads[a].0).filter(|&o| o < [od, oh, ow][a])
        };
        for r in 0..kd * kh * kw {
            let (rd, rh, rw) = (r / (kh * kw), r / kw % kh, r % kw);
            // The inputs of a row that fall inside the output.
            let shift = rw * f.dilations[2];
            let first = f.pads[2].0.saturating_sub(shift).div_ceil(f.strides[2]);
            let last = (ow + f.pads[2].0).saturating_sub(shift).div_ceil(f.strides[2]).min(iw);
            if first >= last {
                continue;
            }
            let start = first * f.strides[2] + shift - f.pads[2].0;
            for d in 0..id {
                let Some(o_d) = to(0, d, rd) else { continue };
                for h in 0..ih {
                    let Some(o_h) = to(1, h, rh) else { continue };
                    let from = &columns[r * pixels + (d * ih + h) * iw..][first..last];
                    let line = &mut out[(o_d * oh + o_h) * ow..][..ow];
                    if f.strides[2] == 1 {
                        for (o, v) in line[start..].iter_mut().zip(from) {
                            *o += v;
                        }
                    } else {
                        for (o, v) in line[start..].iter_mut().step_by(f.strides[2]).zip(from) {
                            *o += v;
                        }
                    }
                }
            }
        }
    }
}

impl Kernel for TransposeGemmConv {
    const NAME: &'static str = "conv.transpose.gemm";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        if !matches!(self.lanes, 8 | 16) {
            return Err(format!("vectors of {} floats", self.lanes));
        }
        let mut sizes = self.shape.sizes(&self.finish)?;
        sizes.scratch = size_of_f32(self.rows().checked_mul(self.shape.pixels()))?;
        Ok(sizes)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.lanes as usize)?;
        self.ready = Some(self.finish.ready(isa)?);
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let finish = self.ready.as_ref().expect("prepared");
        let operands = finish.operands(args, 2);
        let f = &self.shape.forward;
        let (m, n, k) = (self.rows(), self.shape.pixels(), f.k / f.groups);
        let filters = f.c / f.groups;
        let plane: usize = f.input.iter().product();
        let (x, w) = (args.input::<f32>(0), args.input::<f32>(1));
        let out = SharedMut::new(args.output::<f32>(0));
        let scratch = SharedMut::new(args.scratch::<f32>());
        let split = Split::new(m, n, self.lanes as usize, 1, threads.count());
        for p in 0..f.n * f.groups {
            let right =
                Strided { at: x.as_ptr().wrapping_add(p * k * n), step: n, column: 1, n, in_place: true };
            threads.for_each(split.parts(), |part| {
                let product = Product {
                    level: threads.level(),
                    lanes: self.lanes as usize,
                    m,
                    n,
                    k,
                    // The weights of a group are stored `[k, m]`.
                    left: Left::Strided {
                        at: w.as_ptr().wrapping_add(p % f.groups * k * m),
                        row: 1,
                        step: m,
                    },
                    right: &right,
                    out: scratch,
                    start: 0,
                    finish: None,
                };
                // SAFETY: `sizes` made arguments and scratch as long as the shape needs; parts have their own
                // results; `prepare` checked the vectors.
                unsafe { product.part(split, part, None) };
            });
            threads.for_each_range(filters, threads.count() * 4, |_, range| {
                for i in range {
                    let columns = m / filters * n;
                    let at = (p * filters + i) * plane;
                    // SAFETY: the product is complete and no longer written; planes of the output are distinct.
                    let (columns, out) =
                        unsafe { (scratch.slice(i * columns, columns), out.slice(at, plane)) };
                    self.add_up(columns, out);
                    finish.apply(at, out, &operands);
                }
            });
        }
    }
}

#[cfg(test)]
#[path = "transpose_conv_tests.rs"]
mod tests;
