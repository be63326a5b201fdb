//! `attention.cudnn`: scaled dot-product attention as the chain of operations in which cuDNN knows its fused kernels.
//!
//! `f32`, `f16` or `bf16`, with any mask, cap and shared key heads; causal where every query sees a key, since cuDNN has no
//! word for a query that sees none.
//!
//! ```text
//!  q·kᵀ ▶ ·scale ▶ cap ▶ +mask ▶ causal ▶ max, −, exp, Σ ▶ ÷ ▶ ·v
//!                                              └▶ log Σ + max: without it cuDNN 9.14 has no kernel for a scale; discarded
//! ```

use tactician_cpu::attention::AttentionShape;
use tactician_cuda::cudnn::{Function, GraphSpec, NodeSpec, ReduceKind, Role, TensorSpec};
use tactician_device::DeviceInfo;
use tactician_ir::Problem;
use tactician_types::{DType, Layout};

use crate::attention_cpu::shape;
use crate::cudnn::Call;
use crate::pointwise_cpu::{Pass, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: AttentionCudnn = AttentionCudnn;

pub(crate) struct AttentionCudnn;

impl Family for AttentionCudnn {
    fn id(&self) -> &'static str {
        "attention.cudnn"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        graph(problem).map_or(vec![], |call| call.tactics("attention.cudnn/", problem, device))
    }
}

/// A graph under construction. All tensors have four axes.
struct Chain {
    dtype: DType,
    graph: GraphSpec,
    /// Sizes of the scores.
    scores: [u64; 4],
}

impl Chain {
    fn add(&mut self, tensor: TensorSpec) -> u16 {
        self.graph.tensors.push(tensor);
        // There are no more than a few dozen.
        (self.graph.tensors.len() - 1) as u16
    }

    fn inner(&mut self, dtype: DType, sizes: [u64; 4]) -> u16 {
        self.add(TensorSpec::plain(dtype, &sizes, Role::Virtual))
    }

    fn value(&mut self, v: f32) -> u16 {
        self.add(TensorSpec::value(4, v))
    }

    /// A function of every score.
    fn apply(&mut self, function: Function, x: u16, b: Option<u16>) -> u16 {
        let dtype = match function {
            Function::Index { .. } => DType::I32,
            Function::AtLeast => DType::Bool,
            // Positions stay whole numbers.
            _ => match self.graph.tensors[usize::from(x)].dtype {
                DType::I32 => DType::I32,
                _ => DType::F32,
            },
        };
        let y = self.inner(dtype, self.scores);
        self.graph.nodes.push(NodeSpec::Pointwise { function, x, b, y });
        y
    }

    /// One number for each query.
    fn reduce(&mut self, kind: ReduceKind, x: u16) -> u16 {
        let [b, h, queries, _] = self.scores;
        let y = self.inner(DType::F32, [b, h, queries, 1]);
        self.graph.nodes.push(NodeSpec::Reduce { kind, x, y });
        y
    }

    /// Leaves query `i` the keys up to `i + offset`.
    fn causal(&mut self, scores: u16, offset: i32) -> u16 {
        let mut row = self.apply(Function::Index { axis: 2 }, scores, None);
        if offset != 0 {
            let offset = self.add(TensorSpec::integer(4, offset));
            row = self.apply(Function::Add, row, Some(offset));
        }
        let column = self.apply(Function::Index { axis: 3 }, scores, None);
        let condition = self.apply(Function::AtLeast, row, Some(column));
        let b = self.value(f32::NEG_INFINITY);
        let y = self.inner(DType::F32, self.scores);
        self.graph.nodes.push(NodeSpec::Select { x: scores, b, condition, y });
        y
    }

    /// The weights of the keys.
    fn softmax(&mut self, scores: u16) -> u16 {
        let largest = self.reduce(ReduceKind::Max, scores);
        let below = self.apply(Function::Sub, scores, Some(largest));
        let powers = self.apply(Function::Exp, below, None);
        let sum = self.reduce(ReduceKind::Sum, powers);
        let [b, h, queries, _] = self.scores;
        let log = self.inner(DType::F32, [b, h, queries, 1]);
        self.graph.nodes.push(NodeSpec::Pointwise { function: Function::Log, x: sum, b: None, y: log });
        let y = self.add(TensorSpec::plain(DType::F32, &[b, h, queries, 1], Role::Discarded));
        self.graph.nodes.push(NodeSpec::Pointwise { function: Function::Add, x: largest, b: Some(log), y });
        // What meets the values is of their type.
        let weights = self.inner(self.dtype, self.scores);
        self.graph.nodes.push(NodeSpec::Pointwise {
            function: Function::Div,
            x: powers,
            b: Some(sum),
            y: weights,
        });
        weights
    }
}

fn graph(problem: &Problem) -> Option<Call> {
    let s = shape(problem)?;
    let dtype = problem.result.dtype;
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return None;
    }
    // Of a single query in f32, cuDNN 9.14 on an H200 gives NaN for some heads.
    if dtype == DType::F32 && s.queries == 1 {
        return None;
    }
    let causal = causal(&s)?;
    let [batch, heads, shared] = [s.batches, s.heads, s.key_heads].map(|n| n as u64);
    let [queries, keys, size, value_size] = [s.queries, s.keys, s.size, s.value_size].map(|n| n as u64);
    let mut c = Chain {
        dtype,
        graph: GraphSpec { tensors: vec![], nodes: vec![] },
        scores: [batch, heads, queries, keys],
    };
    // Sizes in one order, whatever the order of their strides.
    let tensor = |which: usize, sizes: [u64; 4], role: Role| {
        let strides = s.strides(which);
        let offset = strides.offset as u64;
        let strides = [strides.batch, strides.head, strides.row, 1].map(|n| n as u64).to_vec();
        TensorSpec { strides, offset, ..TensorSpec::plain(dtype, &sizes, role) }
    };
    let q = c.add(tensor(0, [batch, heads, queries, size], Role::Input(0)));
    let mut k = tensor(1, [batch, shared, keys, size], Role::Input(1));
    k.sizes.swap(2, 3);
    k.strides.swap(2, 3);
    let k = c.add(k);
    let v = c.add(tensor(2, [batch, shared, keys, value_size], Role::Input(2)));
    let mut scores = c.inner(DType::F32, c.scores);
    c.graph.nodes.push(NodeSpec::MatMul { a: q, b: k, y: scores });
    let scale = c.value(s.scale);
    scores = c.apply(Function::Mul, scores, Some(scale));
    if s.softcap > 0.0 {
        let cap = c.value(s.softcap);
        scores = c.apply(Function::Div, scores, Some(cap));
        scores = c.apply(Function::Tanh, scores, None);
        scores = c.apply(Function::Mul, scores, Some(cap));
    }
    if let Some(mask) = problem.operands.get(3) {
        let given = mask.ty.sizes()?;
        let sizes: Vec<u64> =
            std::iter::repeat_n(1, 4 - given.len()).chain(given.iter().map(|&n| n as u64)).collect();
        let mask = c.add(TensorSpec::plain(dtype, &sizes, Role::Input(3)));
        scores = c.apply(Function::Add, scores, Some(mask));
    }
    if let Some(offset) = causal {
        scores = c.causal(scores, offset);
    }
    let weights = c.softmax(scores);
    let y = c.add(tensor(3, [batch, heads, queries, value_size], Role::Output(0)));
    c.graph.nodes.push(NodeSpec::MatMul { a: weights, b: v, y });
    c.graph.check().ok()?;
    let passes: Option<Vec<Pass>> = problem.operands.iter().map(|o| whole(o, Layout::Plain)).collect();
    Some(Call { graph: c.graph, passes: passes?, output: Layout::Plain })
}

/// The offset of a causal attention, none where it leaves nothing out. `None` where a query sees no key.
fn causal(s: &AttentionShape) -> Option<Option<i32>> {
    match s.causal {
        Some(offset) if offset < 0 => None,
        Some(offset) => {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            // The first query is the one that sees least.
            Some(i32::try_from(offset).ok().filter(|_| offset.saturating_add(1) < s.keys))
        }
        None => Some(None),
    }
}

#[cfg(test)]
#[path = "attention_cudnn_tests.rs"]
mod tests;
