//! What the families on cuDNN share: how a problem becomes an operation graph, and the engines of the graph tactics.
//!
//! ```text
//!  Problem ──family──▶ Description {View, anchor's tensors} ──finish──▶ Call {GraphSpec, passes} ──tactics──▶ [Tactic]
//! ```
//!
//! Each engine configuration that cuDNN's heuristics propose is a tactic: `e41` is its engine, `k2=3` a setting by
//! cuDNN's numbers. Nothing is compiled to list them. `tf32` marks engines that cut `f32` factors to TF32.

mod chain;
mod lower;
mod pool;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub(crate) use chain::Chain;
pub(crate) use pool::{Windows, pool};
use tactician_cuda::cudnn::{self, Candidate, CudnnStep, GraphSpec, NodeSpec, Role, TensorSpec};
use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::Problem;
use tactician_types::{DType, Growth, Layout};

use crate::cuda::{DeviceStep, step_tactic};
use crate::emission::Constants;
use crate::pointwise_cpu::{Pass, pass};
use crate::pointwise_cuda::uses;
use crate::{Ahead, Tactic};

/// What becomes of `f32` inputs on tensor cores: TF32 keeps 10 bits behind the leading one, so each is off by less than
/// 2⁻¹⁰ of itself, whether it is rounded or cut.
pub(crate) const TF32: Growth = Growth { inputs: (2.0 + 1.0 / 1024.0) / 1024.0, ..Growth::NONE };

/// How a graph sees the axes of a problem's result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// For each axis of the graph, the axes of the result that it runs over: none for an axis of size 1.
    pub(crate) axes: Vec<Range<usize>>,
    /// The layout of the result, and of operands like it.
    pub(crate) layout: Layout,
    /// Whether the graph's tensors are described as channels last.
    pub(crate) channels_last: bool,
}

impl View {
    /// Images of one to three spatial axes. cuDNN knows no fewer than two: one more of size 1 makes two of one.
    pub(crate) fn images(rank: usize, layout: Layout) -> Option<View> {
        let mut axes: Vec<Range<usize>> = (0..rank).map(|a| a..a + 1).collect();
        match rank {
            3 => axes.insert(2, 2..2),
            4 | 5 => {}
            _ => return None,
        }
        Some(View { axes, layout, channels_last: layout == Layout::ChannelsLast })
    }

    /// Axes of the graph.
    pub(crate) fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Sizes along the graph's axes of a tensor with the result's axes.
    pub(crate) fn sizes(&self, of: &[usize]) -> Option<Vec<u64>> {
        let product =
            |r: &Range<usize>| of.get(r.clone())?.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        self.axes.iter().map(product).collect()
    }

    /// The same of an operand that is broadcast to the result; `None` when an axis of the graph has a part of it.
    fn spread(&self, operand: &[usize], result: &[usize]) -> Option<Vec<u64>> {
        let (own, whole) = (self.sizes(operand)?, self.sizes(result)?);
        own.iter().zip(&whole).all(|(&o, &r)| o == r || o == 1).then_some(own)
    }

    fn tensor(&self, dtype: DType, sizes: &[u64], role: Role) -> TensorSpec {
        match self.channels_last {
            true => TensorSpec::channels_last(dtype, sizes, role),
            false => TensorSpec::plain(dtype, sizes, role),
        }
    }
}

/// A problem on its way to a graph. Operand `i` is input `i` of the step.
pub(crate) struct Description<'p> {
    pub(crate) problem: &'p Problem,
    pub(crate) dtype: DType,
    pub(crate) graph: GraphSpec,
    view: View,
    /// Sizes of the result along the graph's axes.
    sizes: Vec<u64>,
    passes: Vec<Option<Pass>>,
}

impl<'p> Description<'p> {
    /// An empty graph; `None` when the problem's types are not one that cuDNN computes with here.
    pub(crate) fn new(problem: &'p Problem, view: View) -> Option<Description<'p>> {
        let dtype = problem.output.dtype;
        let mut types = problem.operands.iter().map(|o| o.ty.dtype).chain([problem.result.dtype]);
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) || !types.all(|t| t == dtype) {
            return None;
        }
        Some(Description {
            problem,
            dtype,
            graph: GraphSpec { tensors: vec![], nodes: vec![] },
            sizes: view.sizes(&problem.result.sizes()?)?,
            view,
            passes: vec![None; problem.operands.len()],
        })
    }

    /// Adds a tensor and returns its number.
    pub(crate) fn add(&mut self, tensor: TensorSpec) -> u16 {
        self.graph.tensors.push(tensor);
        (self.graph.tensors.len() - 1) as u16
    }

    /// Adds an operand of the anchor that is passed whole in a layout, as the graph describes it.
    pub(crate) fn operand(&mut self, i: usize, layout: Layout, tensor: TensorSpec) -> Option<u16> {
        self.pass(i, Pass { mask: 0, layout, sizes: self.problem.operands.get(i)?.ty.sizes()? })?;
        Some(self.add(TensorSpec { role: Role::Input(u16::try_from(i).ok()?), ..tensor }))
    }

    /// Adds an operand of the anchor with the axes of the result, in its layout.
    pub(crate) fn image(&mut self, i: usize) -> Option<u16> {
        let sizes = self.view.sizes(&self.problem.operands.get(i)?.ty.sizes()?)?;
        let tensor = self.view.tensor(self.dtype, &sizes, Role::Virtual);
        self.operand(i, self.view.layout, tensor)
    }

    /// Adds an operand that is broadcast to the result as `pass` says, or finds it.
    pub(crate) fn broadcast(&mut self, i: usize, pass: Pass) -> Option<u16> {
        let role = Role::Input(u16::try_from(i).ok()?);
        if let Some(known) = self.graph.tensors.iter().position(|t| t.role == role) {
            return u16::try_from(known).ok();
        }
        let sizes = self.view.spread(&pass.sizes, &self.problem.result.sizes()?)?;
        self.pass(i, pass)?;
        let tensor = self.view.tensor(self.dtype, &sizes, role);
        Some(self.add(tensor))
    }

    /// The same for an operand of the epilogue.
    fn epilogue_operand(&mut self, i: usize) -> Option<u16> {
        let result = self.problem.result.sizes()?;
        let pass = pass(self.problem.operands.get(i)?, &result, self.view.layout)?;
        self.broadcast(i, pass)
    }

    fn pass(&mut self, i: usize, pass: Pass) -> Option<()> {
        *self.passes.get_mut(i)? = Some(pass);
        Some(())
    }

    /// Adds a tensor of the result's sizes; in `f32` if it is virtual.
    fn result(&mut self, role: Role) -> u16 {
        let dtype = if role == Role::Virtual { DType::F32 } else { self.dtype };
        let tensor = self.view.tensor(dtype, &self.sizes, role);
        self.add(tensor)
    }

    /// Whether a tensor has the result's sizes.
    fn is_whole(&self, tensor: u16) -> bool {
        self.graph.tensors[usize::from(tensor)].sizes == self.sizes
    }

    /// Adds the anchor's node, which `anchor` makes from the number of its result, and the epilogue. `None` when cuDNN
    /// has no words for it.
    pub(crate) fn finish(mut self, anchor: impl FnOnce(u16) -> NodeSpec) -> Option<Call> {
        let first = self.result(Role::Virtual);
        self.graph.nodes.push(anchor(first));
        let chain = if self.view.channels_last { Chain::of(self.problem) } else { None };
        let last = match chain {
            Some(chain) => chain.append(&mut self, first)?,
            None => lower::append(&mut self, first)?,
        };
        let output = self.view.tensor(self.dtype, &self.sizes, Role::Output(0));
        *self.graph.tensors.get_mut(usize::from(last))? = output;
        self.graph.check().ok()?;
        let passes = self.passes.into_iter().collect::<Option<Vec<Pass>>>()?;
        Some(Call { graph: self.graph, passes, output: self.view.layout })
    }
}

/// A problem as a graph: its arguments are the problem's operands, in order, passed so, and its output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) graph: GraphSpec,
    pub(crate) passes: Vec<Pass>,
    pub(crate) output: Layout,
}

impl Call {
    /// A tactic for each engine configuration that may be taken, its name behind `prefix`.
    pub(crate) fn tactics(&self, prefix: &str, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda() else { return vec![] };
        if cuda.cudnn.is_none() {
            return vec![];
        }
        let Ok(found) = cudnn::candidates(&self.graph, cuda) else { return vec![] };
        found.iter().filter_map(|c| self.tactic(prefix, problem, cuda, c)).collect()
    }

    /// The tactic of an engine configuration; `None` for those whose results may differ from run to run or whose errors
    /// exceed what summation explains.
    fn tactic(
        &self,
        prefix: &str,
        problem: &Problem,
        cuda: &CudaInfo,
        candidate: &Candidate,
    ) -> Option<Tactic> {
        // Shortened inputs could be of a type with a smaller range.
        if !candidate.is_deterministic() || candidate.sums_loosely() || candidate.shortens_inputs() {
            return None;
        }
        let has = |wanted: fn(&NodeSpec) -> bool| self.graph.nodes.iter().any(wanted);
        // Of cuDNN 9.14: in bf16 it writes outside the output, and wrong values inside (H100); over a whole row of 508 in f32
        // it reads memory that is not there, after which the driver refuses everything (H200).
        if candidate.to_string().starts_with("e3.") && has(|n| matches!(n, NodeSpec::Pool { .. })) {
            return None;
        }
        // Engines that multiply nothing are marked too, and some of products are not: their results are as inexact.
        let products = has(|n| matches!(n, NodeSpec::MatMul { .. }));
        let convolves = has(|n| matches!(n, NodeSpec::Convolution { .. }));
        let tf32 =
            problem.output.dtype == DType::F32 && (products || convolves && candidate.uses_tensor_cores());
        let (suffix, growth) = if tf32 { (".tf32", TF32) } else { ("", Growth::NONE) };
        let cudnn_step = CudnnStep::new(self.graph.clone(), candidate);
        let step = DeviceStep {
            kernel: cudnn::NAME,
            params: encode(&cudnn_step),
            code: None,
            scratch: cudnn_step.scratch(),
        };
        let id = format!("{prefix}{candidate}{suffix}");
        let tactic = step_tactic(id, problem, uses(problem, &self.passes), self.output, growth, step)?;
        Some(if candidate.compiles() { with_plan(tactic, cudnn_step, cuda.clone()) } else { tactic })
    }
}

fn encode(step: &CudnnStep) -> Vec<u8> {
    postcard::to_stdvec(step).expect("plain data always encodes")
}

/// The tactic with its compiled plan kept in the step's parameters. It is compiled once, when it is first emitted; where
/// that fails the parameters stay without, and preparing the step says why.
fn with_plan(tactic: Tactic, step: CudnnStep, cuda: CudaInfo) -> Tactic {
    let inner = tactic.emit.clone();
    let kept: Arc<OnceLock<Vec<u8>>> = Arc::default();
    let params = move || {
        kept.get_or_init(|| {
            let mut step = step.clone();
            // An error leaves the step as it is.
            let _ = step.keep_plan(&cuda);
            encode(&step)
        })
        .clone()
    };
    let ahead = params.clone();
    let emit = move |constants: &Constants<'_>| {
        let params = params();
        let mut emission = inner(constants)?;
        for s in &mut emission.steps {
            s.params.clone_from(&params);
        }
        Ok(emission)
    };
    let ahead = Ahead::Work(Arc::new(move || drop(ahead())));
    Tactic { ahead, emit: Arc::new(emit), ..tactic }
}

#[cfg(test)]
#[path = "cudnn_tests.rs"]
pub(crate) mod tests;
