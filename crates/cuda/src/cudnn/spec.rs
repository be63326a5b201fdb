//! What one region computes, in the terms of cuDNN's operation graphs: the part of a step that is kept in plans.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tactician_types::DType;

/// An operation graph. Node order is execution order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphSpec {
    /// Every tensor, virtual ones included; nodes name them by index.
    pub tensors: Vec<TensorSpec>,
    /// The operations.
    pub nodes: Vec<NodeSpec>,
}

/// A tensor of an operation graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Elements along each axis, in logical order (`N, C, spatial…`).
    pub sizes: Vec<u64>,
    /// Elements from one to the next along each axis.
    pub strides: Vec<u64>,
    /// Where it comes from.
    pub role: Role,
}

/// Where a tensor of an operation graph comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Input `i` of the step.
    Input(u16),
    /// Output `i` of the step.
    Output(u16),
    /// Never in memory.
    Virtual,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeSpec {
    /// Cross-correlation of `x [N, C, …]` with `w [K, C/groups, …]`; the sizes say how many groups.
    Convolution {
        /// Input tensor.
        x: u16,
        /// Weights.
        w: u16,
        /// Result.
        y: u16,
        /// Zeros before and after each spatial axis.
        pads: Vec<(u32, u32)>,
        /// Step between windows.
        strides: Vec<u32>,
        /// Step inside a window.
        dilations: Vec<u32>,
    },
    /// A function of the elements at each position.
    Pointwise {
        /// The function.
        function: Function,
        /// First operand, of the result's sizes.
        x: u16,
        /// Second operand of functions of two, each size the result's or 1.
        b: Option<u16>,
        /// Result.
        y: u16,
    },
}

/// Pointwise functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Function {
    /// `x + b`.
    Add,
    /// `x · b`.
    Mul,
    /// `max(x, 0)`, and no more than `upper` if that is given.
    Relu {
        /// Upper bound.
        upper: Option<f64>,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Swish,
}

impl Function {
    /// Whether it takes two operands.
    pub const fn is_binary(self) -> bool {
        matches!(self, Function::Add | Function::Mul)
    }
}

/// Bytes that every tensor in memory is aligned to, as graphs promise to cuDNN.
pub const TENSOR_ALIGNMENT: u64 = 16;

/// Most tensors, and most nodes, of a graph.
const MOST: usize = 64;

/// Sizes, strides and window parameters stay below this, products below its square: nothing overflows `i64`.
const LIMIT: u64 = 1 << 31;

impl TensorSpec {
    /// A tensor whose channels (axis 1) lie innermost, without gaps.
    pub fn channels_last(dtype: DType, sizes: &[u64], role: Role) -> TensorSpec {
        let mut strides = vec![1; sizes.len()];
        let mut step = sizes.get(1).copied().unwrap_or(1);
        for axis in (2..sizes.len()).rev() {
            strides[axis] = step;
            step = step.saturating_mul(sizes[axis]);
        }
        if let Some(first) = strides.first_mut() {
            *first = step;
        }
        TensorSpec { dtype, sizes: sizes.to_vec(), strides, role }
    }

    /// Bytes from its first to behind its last element; `None` when the sizes are out of bounds.
    pub fn bytes(&self) -> Option<u64> {
        let mut last = 0u64;
        let mut count = 1u64;
        for (&n, &s) in self.sizes.iter().zip(&self.strides) {
            if n == 0 || n >= LIMIT || s >= LIMIT * LIMIT / 4 {
                return None;
            }
            count = count.checked_mul(n)?;
            last = last.checked_add((n - 1).checked_mul(s)?)?;
        }
        let bytes = (last + 1).checked_mul(self.dtype.size() as u64)?;
        (count < 1 << 48 && bytes < 1 << 50).then_some(bytes)
    }
}

/// Bytes that each input and each output of a step must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgBytes {
    /// Of the inputs, in order.
    pub inputs: Vec<u64>,
    /// Of the outputs, in order.
    pub outputs: Vec<u64>,
}

impl GraphSpec {
    /// Checks a graph that may come from a hostile file: sizes in bounds and fitting together, every tensor written
    /// before it is read and at most once. Returns the bytes that the step's arguments must hold.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn check(&self) -> Result<ArgBytes, String> {
        if self.tensors.is_empty()
            || self.nodes.is_empty()
            || self.tensors.len() > MOST
            || self.nodes.len() > MOST
        {
            return Err(format!(
                "a graph has 1 to {MOST} tensors and nodes, found {} and {}",
                self.tensors.len(),
                self.nodes.len()
            ));
        }
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (i, t) in self.tensors.iter().enumerate() {
            if !matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16) {
                return Err(format!("tensor {i} is {}, expected f32, f16 or bf16", t.dtype));
            }
            if !(3..=5).contains(&t.sizes.len()) || t.strides.len() != t.sizes.len() {
                return Err(format!("tensor {i} needs 3 to 5 sizes and as many strides"));
            }
            let bytes = t.bytes().ok_or_else(|| format!("the sizes of tensor {i} are out of bounds"))?;
            match t.role {
                Role::Input(n) => inputs.push((n, bytes)),
                Role::Output(n) => outputs.push((n, bytes)),
                Role::Virtual => {}
            }
        }
        let args = ArgBytes { inputs: in_order(inputs, "input")?, outputs: in_order(outputs, "output")? };
        let mut ready: BTreeSet<usize> =
            (0..self.tensors.len()).filter(|&i| matches!(self.tensors[i].role, Role::Input(_))).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let fail = |problem: String| format!("node {at}: {problem}");
            let (reads, y) = node.tensors();
            for r in reads {
                if !ready.contains(&r) {
                    return Err(fail(format!("reads tensor {r}, which nothing has written")));
                }
            }
            if y >= self.tensors.len() || !ready.insert(y) {
                return Err(fail(format!("writes tensor {y}, which it must not")));
            }
            self.check_node(node).map_err(fail)?;
        }
        match (0..self.tensors.len()).find(|i| !ready.contains(i)) {
            Some(i) => Err(format!("nothing writes tensor {i}")),
            None => Ok(args),
        }
    }

    /// The node's tensors exist.
    fn check_node(&self, node: &NodeSpec) -> Result<(), String> {
        let tensor = |i: u16| &self.tensors[i as usize];
        match node {
            NodeSpec::Convolution { x, w, y, pads, strides, dilations } => {
                check_convolution(
                    &tensor(*x).sizes,
                    &tensor(*w).sizes,
                    &tensor(*y).sizes,
                    (pads, strides, dilations),
                )?;
                if tensor(*x).dtype != tensor(*w).dtype {
                    return Err("the weights are of another type than the input".into());
                }
                Ok(())
            }
            NodeSpec::Pointwise { function, x, b, y } => {
                if b.is_some() != function.is_binary() {
                    return Err(format!("{function:?} has the wrong number of operands"));
                }
                let result = &tensor(*y).sizes;
                if &tensor(*x).sizes != result {
                    return Err("the first operand has other sizes than the result".into());
                }
                if let Function::Relu { upper: Some(u) } = function
                    && !(u.is_finite() && *u > 0.0)
                {
                    return Err(format!("an upper bound of {u}"));
                }
                let Some(b) = b else { return Ok(()) };
                let b = &tensor(*b).sizes;
                if b.len() != result.len() || b.iter().zip(result).any(|(b, r)| b != r && *b != 1) {
                    return Err("the second operand does not spread over the result".into());
                }
                Ok(())
            }
        }
    }
}

impl NodeSpec {
    /// Indices of what it reads, and of what it writes.
    pub(crate) fn tensors(&self) -> (Vec<usize>, usize) {
        match self {
            NodeSpec::Convolution { x, w, y, .. } => (vec![*x as usize, *w as usize], *y as usize),
            NodeSpec::Pointwise { x, b, y, .. } => {
                ([Some(*x), *b].into_iter().flatten().map(usize::from).collect(), *y as usize)
            }
        }
    }
}

/// The lengths by number, which must run from 0 without gaps.
fn in_order(mut list: Vec<(u16, u64)>, what: &str) -> Result<Vec<u64>, String> {
    list.sort_unstable();
    match list.iter().enumerate().find(|(i, (n, _))| *i != usize::from(*n)) {
        Some((i, _)) => Err(format!("{what} {i} must appear exactly once")),
        None => Ok(list.into_iter().map(|(_, bytes)| bytes).collect()),
    }
}

/// All sizes are between 1 and [`LIMIT`].
fn check_convolution(
    x: &[u64],
    w: &[u64],
    y: &[u64],
    (pads, strides, dilations): (&[(u32, u32)], &[u32], &[u32]),
) -> Result<(), String> {
    let axes = x.len() - 2;
    if w.len() != x.len()
        || y.len() != x.len()
        || [pads.len(), strides.len(), dilations.len()].iter().any(|&n| n != axes)
    {
        return Err(format!("a convolution over {axes} axes has tensors or attributes of another rank"));
    }
    if !x[1].is_multiple_of(w[1]) || !w[0].is_multiple_of(x[1] / w[1]) {
        return Err(format!("{} channels and weights {w:?} do not divide into groups", x[1]));
    }
    if y[0] != x[0] || y[1] != w[0] {
        return Err("the result has another batch or other channels".into());
    }
    for i in 0..axes {
        let (stride, dilation) = (u64::from(strides[i]), u64::from(dilations[i]));
        let (before, after) = (u64::from(pads[i].0), u64::from(pads[i].1));
        if [stride, dilation, before + 1, after + 1].iter().any(|&v| v == 0 || v >= LIMIT) {
            return Err(format!("strides, dilations or pads of axis {i} are out of bounds"));
        }
        let span = (w[2 + i] - 1) * dilation + 1;
        let padded = x[2 + i] + before + after;
        if padded < span || y[2 + i] != (padded - span) / stride + 1 {
            return Err(format!("the window, the strides and the result disagree along axis {i}"));
        }
    }
    Ok(())
}
