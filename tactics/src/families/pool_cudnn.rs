//! `pool.cudnn`: largest elements and means of windows with what follows them, by the engines of cuDNN.
//!
//! `f32`, `f16` or `bf16`, over one to three spatial axes, without dilation. `nhwc` engines do any epilogue, `plain` ones
//! none.

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cudnn::{Call, View, Windows, pool};
use crate::{Family, Tactic};

pub(crate) static FAMILY: PoolCudnn = PoolCudnn;

pub(crate) struct PoolCudnn;

impl Family for PoolCudnn {
    fn id(&self) -> &'static str {
        "pool.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        let serve = |layout: Layout| {
            let prefix = format!("pool.cudnn/{layout}.");
            graph(problem, layout).map_or(vec![], |call| call.tactics(&prefix, problem, device))
        };
        [Layout::ChannelsLast, Layout::Plain].into_iter().flat_map(serve).collect()
    }
}

fn graph(problem: &Problem, layout: Layout) -> Option<Call> {
    let Op::Pool(op) = &problem.anchor else { return None };
    let windows = Windows::of(op, &problem.operands.first()?.ty.sizes()?, &problem.result.sizes()?)?;
    pool(problem, layout, View::images(problem.result.rank(), layout)?, windows)
}

#[cfg(test)]
#[path = "pool_cudnn_tests.rs"]
mod tests;
