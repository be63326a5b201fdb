//! `conv.plain`: convolution over plain tensors as they are: no packing, no scratch, any geometry, any epilogue.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;

use crate::conv::ConvGeometry;
use crate::gemm::finish::{Finish, ReadyFinish};
use crate::gemm::rows::{Rows, Shape};
use crate::kernel::{ArgSizes, Args, Kernel, KernelError, size_of_f32};
use crate::threads::Threads;

/// Plain convolution. Inputs: `x [N, C, spatial]`, `w [K, C/groups, window]`, epilogue operands. No scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlainConv {
    /// The shape.
    pub geometry: ConvGeometry,
    /// What is done to the result.
    pub finish: Finish,
    #[serde(skip)]
    ready: Option<Ready>,
}

#[derive(Clone, Debug)]
struct Ready {
    finish: ReadyFinish,
    shape: Shape,
}

impl PlainConv {
    /// The kernel for a shape.
    pub fn new(geometry: ConvGeometry, finish: Finish) -> PlainConv {
        PlainConv { geometry, finish, ready: None }
    }
}

/// The same convolution with the image as one row, where windows are single pixels one step apart.
pub(crate) fn flattened(g: &ConvGeometry) -> ConvGeometry {
    let mut flat = g.clone();
    if is_pointwise(g) {
        flat.input = [1, 1, g.input.iter().product()];
    }
    flat
}

/// Whether windows are single pixels one step apart.
pub(crate) fn is_pointwise(g: &ConvGeometry) -> bool {
    g.kernel == [1; 3] && g.strides == [1; 3] && g.pads == [(0, 0); 3]
}

/// Lengths of the arguments of a convolution of plain tensors.
pub(crate) fn plain_sizes(g: &ConvGeometry, finish: &Finish) -> Result<ArgSizes, KernelError> {
    g.check()?;
    let mut inputs = vec![size_of_f32(Some(g.input_len()))?, size_of_f32(Some(g.weight_len()))?];
    inputs.extend(finish.operand_bytes(g.output_len())?);
    Ok(ArgSizes { inputs, outputs: vec![size_of_f32(Some(g.output_len()))?], scratch: 0 })
}

impl Kernel for PlainConv {
    const NAME: &'static str = "conv.plain";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        plain_sizes(&self.geometry, &self.finish)
    }

    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        let shape = Shape::of_conv(&flattened(&self.geometry), isa);
        self.ready = Some(Ready { finish: self.finish.ready(isa)?, shape });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        // SAFETY: `sizes` made the arguments as long as the geometry needs.
        unsafe { Rows::new(&ready.shape, &ready.finish, args).run(threads) };
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
