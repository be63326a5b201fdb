//! `conv.cudnn`: convolutions with what follows them, by the engines of cuDNN.
//!
//! Channels last, `f32`, `f16` or `bf16`, over one to three spatial axes; the epilogue is a residual, a bias and an
//! activation, each of which may be missing. Each engine configuration that cuDNN's heuristics propose is a tactic:
//! `e41` is its engine, `k2=3` a setting by cuDNN's numbers. Nothing is compiled to list them. `tf32` marks engines that
//! cut `f32` inputs to TF32.

use std::sync::OnceLock;

use tactician_cuda::cudnn::{self, Candidate, CudnnStep, GraphSpec, NodeSpec, Role, TensorSpec};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_types::{DType, Growth, Layout};

use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::cudnn::{Chain, TF32};
use crate::{Emission, Family, Tactic};

pub(crate) static FAMILY: Cudnn = Cudnn;

pub(crate) struct Cudnn;

impl Family for Cudnn {
    fn id(&self) -> &'static str {
        "conv.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda() else { return vec![] };
        // Engine lists are facts about a version: another one's would be about another device.
        if cuda.cudnn.is_none() || cuda.cudnn != cudnn::version() {
            return vec![];
        }
        let Some((graph, chain)) = graph(problem) else { return vec![] };
        let Ok(found) = cudnn::candidates(&graph, cuda) else { return vec![] };
        found.iter().filter_map(|c| tactic(problem, cuda, &graph, &chain, c)).collect()
    }
}

/// The operation graph of a problem, with operand `i` as input `i`, and its epilogue.
fn graph(problem: &Problem) -> Option<(GraphSpec, Chain)> {
    let Op::Conv(conv) = &problem.anchor else { return None };
    let dtype = problem.output.dtype;
    let one_type = problem.operands.iter().map(|o| o.ty.dtype).chain([problem.result.dtype]);
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) || !one_type.into_iter().all(|t| t == dtype) {
        return None;
    }
    let chain = Chain::of(problem)?;
    // cuDNN convolves over two or three axes: one more of size 1 makes two of one.
    let axes = problem.result.rank().checked_sub(2).filter(|n| (1..=3).contains(n))?;
    let spread = axes == 1;
    let sizes = |sizes: Vec<usize>| -> Vec<u64> {
        let mut sizes: Vec<u64> = sizes.into_iter().map(|n| n as u64).collect();
        if spread {
            sizes.insert(2, 1);
        }
        sizes
    };
    let number = |n: usize| u32::try_from(n).ok();
    let each = |list: &[usize], fill: u32| -> Option<Vec<u32>> {
        spread.then_some(Some(fill)).into_iter().chain(list.iter().map(|&n| number(n))).collect()
    };
    let pads = spread
        .then_some(Some((0, 0)))
        .into_iter()
        .chain(conv.pads.iter().map(|&(a, b)| Some((number(a)?, number(b)?))))
        .collect::<Option<Vec<_>>>()?;
    let (strides, dilations) = (each(&conv.strides, 1)?, each(&conv.dilations, 1)?);
    let input = |i: u16| -> Option<TensorSpec> {
        let of = sizes(problem.operands[usize::from(i)].ty.sizes()?);
        Some(TensorSpec::channels_last(dtype, &of, Role::Input(i)))
    };
    let mut graph = GraphSpec { tensors: vec![input(0)?, input(1)?], nodes: vec![] };
    chain.append(&mut graph, dtype, &sizes(problem.result.sizes()?), |y| NodeSpec::Convolution {
        x: 0,
        w: 1,
        y,
        pads,
        strides,
        dilations,
    });
    graph.check().ok()?;
    Some((graph, chain))
}

/// The tactic of an engine configuration; `None` for those whose results may differ from run to run or whose errors
/// exceed what summation explains.
fn tactic(
    problem: &Problem,
    cuda: &CudaInfo,
    graph: &GraphSpec,
    chain: &Chain,
    candidate: &Candidate,
) -> Option<Tactic> {
    // Shortened inputs could be of a type with a smaller range.
    if !candidate.is_deterministic() || candidate.sums_loosely() || candidate.shortens_inputs() {
        return None;
    }
    let tf32 = problem.output.dtype == DType::F32 && candidate.uses_tensor_cores();
    let (suffix, growth) = if tf32 { (".tf32", TF32) } else { ("", Growth::NONE) };
    let mut uses = vec![Use::As(Layout::ChannelsLast), Use::As(Layout::ChannelsLast)];
    uses.extend(chain.uses(problem)?);
    let cudnn_step = CudnnStep::new(graph.clone(), candidate);
    let step = DeviceStep {
        kernel: cudnn::NAME,
        params: encode(&cudnn_step),
        code: None,
        scratch: candidate.workspace,
    };
    let id = format!("conv.cudnn/{candidate}{suffix}");
    let tactic = step_tactic(id, problem, uses, Layout::ChannelsLast, growth, step)?;
    Some(if candidate.compiles() { with_plan(tactic, cudnn_step, cuda.clone()) } else { tactic })
}

fn encode(step: &CudnnStep) -> Vec<u8> {
    postcard::to_stdvec(step).expect("plain data always encodes")
}

/// The tactic with its compiled plan kept in the step's parameters. It is compiled once, when it is first emitted; where
/// that fails the parameters stay without, and preparing the step says why.
fn with_plan(tactic: Tactic, step: CudnnStep, cuda: CudaInfo) -> Tactic {
    let inner = tactic.emit.clone();
    let compiled: OnceLock<Vec<u8>> = OnceLock::new();
    let emit = move |constants: &[Option<tactician_ir::Tensor>]| {
        let params = compiled.get_or_init(|| {
            let mut step = step.clone();
            // An error leaves the step as it is.
            let _ = step.keep_plan(&cuda);
            encode(&step)
        });
        let mut emission: Emission = inner(constants)?;
        for s in &mut emission.steps {
            s.params.clone_from(params);
        }
        Ok(emission)
    };
    Tactic { emit: std::sync::Arc::new(emit), ..tactic }
}

#[cfg(test)]
#[path = "conv_cudnn_tests.rs"]
mod tests;
