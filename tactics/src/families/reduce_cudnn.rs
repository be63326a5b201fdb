//! `reduce.cudnn`: means and largest elements of whole channels-last images (a global pool) with what follows them, by
//! the engines of cuDNN.
//!
//! `f32`, `f16` or `bf16`. Other axes are not served: for them cuDNN has engines of `f32` sums at most.

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cudnn::{Call, View, Windows, pool};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ReduceCudnn = ReduceCudnn;

pub(crate) struct ReduceCudnn;

impl Family for ReduceCudnn {
    fn id(&self) -> &'static str {
        "reduce.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        graph(problem).map_or(vec![], |call| call.tactics("reduce.cudnn/nhwc.", problem, device))
    }
}

fn graph(problem: &Problem) -> Option<Call> {
    let Op::Reduce(op) = &problem.anchor else { return None };
    let sizes = problem.operands.first()?.ty.sizes()?;
    if !op.axes.iter().copied().eq(2..sizes.len()) {
        return None;
    }
    let spatial = View::images(sizes.len(), Layout::ChannelsLast)?.rank() - 2;
    // Kept axes have size 1, so that both layouts of the result are one: plain is what every consumer takes.
    let mut axes = vec![0..1, 1..2];
    axes.extend(std::iter::repeat_n(2..2, spatial));
    let view = View { axes, layout: Layout::Plain, channels_last: true };
    pool(problem, Layout::ChannelsLast, view, Windows::whole(op.kind, &sizes)?)
}

#[cfg(test)]
#[path = "reduce_cudnn_tests.rs"]
mod tests;
