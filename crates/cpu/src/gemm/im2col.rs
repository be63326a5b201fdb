//! `conv.im2col`: convolution as a product of the weights with columns of input values, one column an output pixel.
//!
//! ```text
//!  weights [K/g, C/g·window]  ·  columns [C/g·window, pixels]  =  output [K/g, pixels]
//! ```

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::gemm::blocked::{Product, STEPS, Split};
use crate::gemm::columns::Columns;
use crate::gemm::finish::{Finish, Operands, ReadyFinish};
use crate::gemm::pack::{Left, Panels, Right, Strided, pack_left, packed_len, panel};
use crate::gemm::plain::{flattened, is_pointwise, plain_sizes};
use crate::gemm::simd::check_lanes;
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::threads::{SharedMut, Threads};

/// Where columns are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnsForm {
    /// All columns of an image (and group) in scratch.
    Whole,
    /// So many pixels' columns at a time, in scratch of each thread.
    Tile(u16),
    /// A panel at a time on the stack. No scratch.
    Panel,
    /// The input as it is: windows must be single pixels one step apart. No scratch.
    InPlace,
}

/// Convolution by matrix products over plain tensors. Inputs: `x [N, C, spatial]`, weights, epilogue operands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Im2colConv {
    /// The shape.
    pub geometry: ConvGeometry,
    /// Floats in a vector: 16 or 8.
    pub lanes: u8,
    /// Where columns are made.
    pub columns: ColumnsForm,
    /// Whether the weights were packed by [`Im2colConv::pack`]; else they are plain.
    pub packed: bool,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<Ready>,
}

#[derive(Clone, Debug)]
struct Ready {
    finish: ReadyFinish,
    flat: ConvGeometry,
}

impl Im2colConv {
    /// The kernel for a shape.
    pub fn new(
        geometry: ConvGeometry,
        lanes: u8,
        columns: ColumnsForm,
        packed: bool,
        finish: Finish,
    ) -> Im2colConv {
        Im2colConv { geometry, lanes, columns, packed, finish, ready: None }
    }

    /// Rows, columns and length of the sums of one product.
    fn product_sizes(&self) -> (usize, usize, usize) {
        let g = &self.geometry;
        let window: usize = g.kernel.iter().product();
        (g.k / g.groups, g.output().iter().product(), g.c / g.groups * window)
    }

    /// The weights in tiles of rows.
    ///
    /// # Errors
    /// When there are not as many as the geometry says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.geometry.check()?;
        if weights.len() != self.geometry.weight_len() {
            return Err(format!("{} weights, not {}", weights.len(), self.geometry.weight_len()));
        }
        let (m, _, k) = self.product_sizes();
        Ok(weights.chunks_exact(m * k).flat_map(|w| pack_left(w, m, k, k, 1, self.lanes as usize)).collect())
    }

    fn run_all<'a, R: Right>(
        &'a self,
        args: &Args<'a>,
        threads: &Threads,
        products: std::ops::Range<usize>,
        right: impl Fn(usize) -> R + Sync,
        buffers: Option<(SharedMut<'_, f32>, usize)>,
        out: SharedMut<'a, f32>,
    ) {
        let ready = self.ready.as_ref().expect("prepared");
        let operands: Operands<'a> = ready.finish.operands(args, 2);
        let w = args.input::<f32>(1);
        let (m, n, k) = self.product_sizes();
        let lanes = self.lanes as usize;
        let split = Split::new(m, n, lanes, products.len(), threads.count());
        let parts = match buffers {
            Some(_) => threads.count(),
            None => threads.count() * 4,
        };
        threads.for_each_range(products.len() * split.parts(), parts, |part, range| {
            for unit in range {
                let (p, piece) = (products.start + unit / split.parts(), unit % split.parts());
                let right = right(p);
                let weights = w.as_ptr().wrapping_add(p % self.geometry.groups * m * k);
                let left = match self.packed {
                    true => Left::Packed(weights),
                    false => Left::Strided { at: weights, row: k, step: 1 },
                };
                let product = Product {
                    level: threads.level(),
                    lanes,
                    m,
                    n,
                    k,
                    left,
                    right: &right,
                    out,
                    start: p * m * n,
                    finish: Some((&ready.finish, &operands)),
                };
                // SAFETY: `sizes` made the arguments as long as the geometry needs; parts have their own outputs and
                // buffers; `prepare` checked the vectors.
                unsafe {
                    let buffer = buffers.as_ref().map(|(b, len)| b.slice(part * len, *len));
                    product.part(split, piece, buffer);
                }
            }
        });
    }
}

impl Kernel for Im2colConv {
    const NAME: &'static str = "conv.im2col";

    fn sizes(&self, threads: usize) -> Result<ArgSizes, KernelError> {
        let lanes = self.lanes as usize;
        if !matches!(lanes, 8 | 16) {
            return Err(format!("vectors of {lanes} floats"));
        }
        let mut sizes = plain_sizes(&self.geometry, &self.finish)?;
        let (_, n, k) = self.product_sizes();
        let scratch = match self.columns {
            ColumnsForm::Whole => packed_len(k, n, lanes),
            ColumnsForm::Tile(pixels) => {
                let pixels = pixels as usize;
                if pixels == 0 || !pixels.is_multiple_of(panel(lanes)) {
                    return Err(format!("tiles of {pixels} pixels are no panels of {}", panel(lanes)));
                }
                threads.checked_mul(STEPS * pixels)
            }
            ColumnsForm::InPlace if !is_pointwise(&self.geometry) => {
                return Err("the windows are more than single pixels one step apart".into());
            }
            ColumnsForm::Panel | ColumnsForm::InPlace => Some(0),
        };
        sizes.scratch = size_of_f32(scratch)?;
        Ok(sizes)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        check_lanes(isa, self.lanes as usize)?;
        self.ready = Some(Ready { finish: self.finish.ready(isa)?, flat: flattened(&self.geometry) });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        let g = &ready.flat;
        let (_, n, k) = self.product_sizes();
        let plane: usize = g.input.iter().product();
        let channels = g.c / g.groups;
        let x = args.input::<f32>(0);
        let products = g.n * g.groups;
        let columns = |p: usize| Columns::new(g, x.as_ptr().wrapping_add(p * channels * plane));
        // Once a run: two slices of the output would alias.
        let out = SharedMut::new(args.output::<f32>(0));
        match self.columns {
            ColumnsForm::Panel => self.run_all(args, threads, 0..products, columns, None, out),
            ColumnsForm::InPlace => {
                let right = |p: usize| Strided {
                    at: x.as_ptr().wrapping_add(p * channels * plane),
                    step: plane,
                    column: 1,
                    n,
                    in_place: true,
                };
                self.run_all(args, threads, 0..products, right, None, out);
            }
            ColumnsForm::Tile(pixels) => {
                let buffers = (SharedMut::new(args.scratch::<f32>()), STEPS * pixels as usize);
                self.run_all(args, threads, 0..products, columns, Some(buffers), out);
            }
            ColumnsForm::Whole => {
                let width = panel(self.lanes as usize);
                let scratch = args.scratch::<f32>();
                for p in 0..products {
                    let shared = SharedMut::new(&mut *scratch);
                    let columns = columns(p);
                    threads.for_each_range(n.div_ceil(width), threads.count() * 4, |_, range| {
                        for i in range {
                            let j = i * width;
                            // SAFETY: a panel of its own inside the scratch, which holds all.
                            unsafe {
                                let to = shared.ptr(i * width * k);
                                columns.pack(0, k, j, (n - j).min(width), width, to);
                            }
                        }
                    });
                    let at = scratch.as_ptr();
                    let right = Pointer(at);
                    self.run_all(args, threads, p..p + 1, move |_| Panels { at: right.get(), k }, None, out);
                }
            }
        }
    }
}

/// A pointer that threads share to read.
#[derive(Clone, Copy)]
struct Pointer(*const f32);

// SAFETY: only read.
unsafe impl Sync for Pointer {}

impl Pointer {
    fn get(&self) -> *const f32 {
        self.0
    }
}

/// Pixels of the tiles worth trying on a device with vectors of `lanes` floats.
pub fn im2col_tiles(lanes: usize) -> [u16; 3] {
    [2, 4, 16].map(|panels| (panels * panel(lanes)) as u16)
}

#[cfg(test)]
#[path = "im2col_tests.rs"]
mod tests;
