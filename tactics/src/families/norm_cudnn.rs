//! `norm.cudnn`: layer, root-mean-square and instance normalisation, by the engines of cuDNN.
//!
//! `f32`, `f16` or `bf16`; scale and bias have an element for each one that is normalised together, or for each channel.

use tactician_cuda::cudnn::{NodeSpec, NormKind, TensorSpec};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::cudnn::{Call, Description, View};
use crate::pointwise_cpu::{pass, pass_channels};
use crate::{Family, Tactic};

pub(crate) static FAMILY: NormCudnn = NormCudnn;

pub(crate) struct NormCudnn;

impl Family for NormCudnn {
    fn id(&self) -> &'static str {
        "norm.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        let serve = |name: String, call: Option<Call>| {
            let prefix = format!("norm.cudnn/{name}.");
            let list = call.map_or(vec![], |c| c.tactics(&prefix, problem, device));
            list.into_iter().filter(|t| !from_run_to_run(&t.id)).collect()
        };
        match &problem.anchor {
            Op::LayerNorm(o) => serve("layer".to_owned(), tail(problem, NormKind::Layer, o.axis, o.epsilon)),
            Op::RmsNorm(o) => serve("rms".to_owned(), tail(problem, NormKind::Rms, o.axis, o.epsilon)),
            Op::InstanceNorm(o) => [Layout::ChannelsLast, Layout::Plain]
                .into_iter()
                .flat_map(|l| serve(format!("instance-{l}"), instance(problem, l, o.epsilon)))
                .collect(),
            _ => vec![],
        }
    }
}

/// Engine 4, which passes alone, but behind other kernels gives other results from run to run (seen with cuDNN 9.14 on an
/// H200, ViT-B/16 at batch 8).
fn from_run_to_run(id: &str) -> bool {
    id.split(['/', '.']).any(|part| part == "e4")
}

/// Over all axes from `axis` on: rows of channels, to cuDNN.
fn tail(problem: &Problem, kind: NormKind, axis: usize, epsilon: f32) -> Option<Call> {
    let rank = problem.result.rank();
    let axes = vec![0..axis, axis..rank, rank..rank, rank..rank];
    graph(problem, kind, epsilon, View { axes, layout: Layout::Plain, channels_last: false })
}

/// Over the pixels of each channel.
fn instance(problem: &Problem, layout: Layout, epsilon: f32) -> Option<Call> {
    graph(problem, NormKind::Instance, epsilon, View::images(problem.result.rank(), layout)?)
}

fn graph(problem: &Problem, kind: NormKind, epsilon: f32, view: View) -> Option<Call> {
    let (result, layout, rank) = (problem.result.sizes()?, view.layout, view.rank());
    let mut d = Description::new(problem, view)?;
    let x = d.image(0)?;
    let mut parameter = |i: usize| {
        let operand = problem.operands.get(i)?;
        let pass = match kind {
            NormKind::Instance => pass_channels(operand, &result, layout)?,
            NormKind::Layer | NormKind::Rms => pass(operand, &result, layout)?,
        };
        d.broadcast(i, pass)
    };
    let scale = parameter(1)?;
    let bias = if problem.anchor_operands > 2 { Some(parameter(2)?) } else { None };
    let epsilon = d.add(TensorSpec::value(rank, epsilon));
    d.finish(|y| NodeSpec::Normalize { kind, x, scale, bias, epsilon, y })
}

#[cfg(test)]
#[path = "norm_cudnn_tests.rs"]
mod tests;
