//! `conv.cudnn`: convolutions with what follows them, by the engines of cuDNN.
//!
//! Channels last, `f32`, `f16` or `bf16`, over one to three spatial axes. A residual, a bias and an activation, each of
//! which may be missing, are done by engines that are compiled already; other epilogues by engines that cuDNN compiles.

use tactician_cuda::cudnn::NodeSpec;
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cudnn::{Call, Description, View};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ConvCudnn = ConvCudnn;

pub(crate) struct ConvCudnn;

impl Family for ConvCudnn {
    fn id(&self) -> &'static str {
        "conv.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        graph(problem).map_or(vec![], |call| call.tactics("conv.cudnn/", problem, device))
    }
}

fn graph(problem: &Problem) -> Option<Call> {
    let Op::Conv(conv) = &problem.anchor else { return None };
    let rank = problem.result.rank();
    let mut d = Description::new(problem, View::images(rank, Layout::ChannelsLast)?)?;
    let number = |n: usize| u32::try_from(n).ok();
    let numbers = |list: &[usize]| list.iter().map(|&n| number(n)).collect::<Option<Vec<u32>>>();
    let pads = conv.pads.iter().map(|&(a, b)| Some((number(a)?, number(b)?))).collect::<Option<Vec<_>>>();
    let (mut pads, mut strides, mut dilations) = (pads?, numbers(&conv.strides)?, numbers(&conv.dilations)?);
    // One spatial axis has become two.
    if rank == 3 {
        pads.insert(0, (0, 0));
        strides.insert(0, 1);
        dilations.insert(0, 1);
    }
    let (x, w) = (d.image(0)?, d.image(1)?);
    d.finish(|y| NodeSpec::Convolution { x, w, y, pads, strides, dilations })
}

#[cfg(test)]
#[path = "conv_cudnn_tests.rs"]
mod tests;
