//! What the families on cuBLASLt share: how a problem becomes one call of the library.
//!
//! The library stores matrices by columns. A row-major `[rows, columns]` tensor is, to it, a matrix of `columns` rows,
//! so every call computes the transpose of the problem's result: rows of D are the result's last axis in memory, which
//! is also the axis that the library's bias runs along.

use tactician_cuda::cublaslt::{Activation, Factor, Gemm, Inputs, MatmulStep, Place, algorithms};
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem, TensorType};
use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, Growth, Layout, Unary};

use crate::Tactic;
use crate::cuda::{DeviceStep, Use, step_tactic};

/// Most scratch in bytes that algorithms are asked for: what the library's own documentation recommends for Hopper.
const WORKSPACE: u64 = 32 << 20;

/// Relative error of a product of two factors cut to the 10 bits of TF32's mantissa: each is off by `2⁻¹⁰` at most.
const TF32_ERROR: f64 = 1.0 / 512.0 + 1.0 / (1 << 20) as f64;

/// A problem as a call: its arguments are the problem's operands, in order, in these layouts, and its output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) gemm: Gemm,
    pub(crate) inputs: Inputs,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) output: Layout,
}

impl Call {
    /// A tactic for each algorithm that the library has on this device, named `family/configuration`; for `f32` also
    /// with TF32, named `….tf32`.
    pub(crate) fn tactics(&self, family: &str, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| c.cublaslt.is_some()) else { return vec![] };
        let kinds: &[(bool, &str)] =
            if self.gemm.dtype == DType::F32 { &[(false, ""), (true, ".tf32")] } else { &[(false, "")] };
        let mut out = Vec::new();
        for &(tf32, suffix) in kinds {
            let gemm = Gemm { tf32, ..self.gemm };
            let growth = Growth { inputs: if tf32 { TF32_ERROR } else { 0.0 }, ..Growth::NONE };
            for algorithm in algorithms(&gemm, cuda, WORKSPACE).iter() {
                let id = format!("{family}/{}{suffix}", algorithm.config);
                let scratch = algorithm.workspace;
                let step = MatmulStep { gemm, inputs: self.inputs, algorithm: algorithm.clone() };
                let Ok(params) = postcard::to_stdvec(&step) else { continue };
                let step = DeviceStep { kernel: MatmulStep::NAME, params, code: None, scratch };
                let uses = self.layouts.iter().map(|&l| Use::As(l)).collect();
                out.extend(step_tactic(id, problem, uses, self.output, growth, step));
            }
        }
        out
    }
}

/// A matrix product over plain tensors: `Dᵀ = op(Bᵀ)·op(Aᵀ)`, a batch where both operands have one. Batches that only
/// the left operand has become rows.
pub(crate) fn matmul(problem: &Problem) -> Option<Call> {
    let Op::MatMul(op) = &problem.anchor else { return None };
    let dtype = one_type(problem)?;
    let (a, b) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let result = problem.result.sizes()?;
    let rank = result.len().checked_sub(2)?;
    let [mut rows, columns] = [result[rank], result[rank + 1]];
    let depth = if op.trans_a { a[a.len() - 2] } else { a[a.len() - 1] };
    let mut batch: usize = result[..rank].iter().product();
    let batch_of = |of: &[usize]| of[..of.len() - 2].iter().product::<usize>();
    let (in_a, in_b) = (batch_of(&a), batch_of(&b));
    // An operand has the whole batch or none of it: parts would need several strides.
    if [in_a, in_b].iter().any(|&n| n != batch && n != 1) {
        return None;
    }
    if in_b == 1 && !op.trans_a && in_a == batch {
        rows = rows.checked_mul(batch)?;
        batch = 1;
    }
    let shared = |own: usize, elements: usize| if own == 1 { 0 } else { elements as u64 };
    let finish = finish(problem, result.len() - 1)?;
    // The library's left factor is our right operand.
    let gemm = Gemm {
        m: columns as u64,
        n: rows as u64,
        k: depth as u64,
        batch: batch as u64,
        a: Factor {
            transposed: op.trans_b,
            place: Place {
                leading: if op.trans_b { depth } else { columns } as u64,
                step: shared(in_b, depth * columns),
            },
        },
        b: Factor {
            transposed: op.trans_a,
            place: Place {
                leading: if op.trans_a { rows } else { depth } as u64,
                step: if batch == 1 { 0 } else { shared(in_a, depth * rows) },
            },
        },
        d: Place { leading: columns as u64, step: if batch == 1 { 0 } else { (rows * columns) as u64 } },
        dtype,
        tf32: false,
        alpha: finish.alpha,
        bias: finish.bias.is_some(),
        residual: finish.residual.is_some(),
        activation: finish.activation,
    };
    let inputs = Inputs { a: 1, b: 0, bias: finish.bias, residual: finish.residual };
    let layouts = vec![Layout::Plain; problem.operands.len()];
    gemm.check().ok()?;
    Some(Call { gemm, inputs, layouts, output: Layout::Plain })
}

/// A 1x1 convolution over channels-last tensors: `Y [pixels, K] = X [pixels, C] · Wᵀ`, the weights `[K, C]` as they are.
pub(crate) fn conv(problem: &Problem) -> Option<Call> {
    let Op::Conv(op) = &problem.anchor else { return None };
    let dtype = one_type(problem)?;
    let (x, w) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    if x.len() < 3 || op.groups != 1 || !op.is_pointwise(&w[2..]) {
        return None;
    }
    let (channels, filters) = (x[1], w[0]);
    let pixels = x[2..].iter().try_fold(x[0], |n, &d| n.checked_mul(d))?;
    let finish = finish(problem, 1)?;
    let by_channel = Place { leading: channels as u64, step: 0 };
    let gemm = Gemm {
        m: filters as u64,
        n: pixels as u64,
        k: channels as u64,
        batch: 1,
        a: Factor { transposed: true, place: by_channel },
        b: Factor { transposed: false, place: by_channel },
        d: Place { leading: filters as u64, step: 0 },
        dtype,
        tf32: false,
        alpha: finish.alpha,
        bias: finish.bias.is_some(),
        residual: finish.residual.is_some(),
        activation: finish.activation,
    };
    let mut layouts = vec![Layout::Plain; problem.operands.len()];
    layouts[0] = Layout::ChannelsLast;
    if let Some(i) = finish.residual {
        layouts[usize::from(i)] = Layout::ChannelsLast;
    }
    let inputs = Inputs { a: 1, b: 0, bias: finish.bias, residual: finish.residual };
    gemm.check().ok()?;
    Some(Call { gemm, inputs, layouts, output: Layout::ChannelsLast })
}

/// The element type, if operands and output all have one that the library multiplies.
fn one_type(problem: &Problem) -> Option<DType> {
    let dtype = problem.output.dtype;
    let known = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    (known && problem.operands.iter().all(|o| o.ty.dtype == dtype)).then_some(dtype)
}

/// An epilogue in the library's terms: `act(alpha · product + residual + bias)`, operands by their number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finish {
    pub(crate) alpha: f32,
    pub(crate) bias: Option<u16>,
    pub(crate) residual: Option<u16>,
    pub(crate) activation: Activation,
}

/// Recognises an epilogue; biases run along axis `axis` of the result.
pub(crate) fn finish(problem: &Problem, axis: usize) -> Option<Finish> {
    let expr = &problem.epilogue;
    let (activation, sum) = match expr.nodes()[usize::from(expr.root())] {
        ExprNode::Unary(Unary::Relu, x) => (Activation::Relu, x),
        _ => match gelu_of(expr) {
            Some(x) => (Activation::Gelu, x),
            None => (Activation::Identity, expr.root()),
        },
    };
    let mut out = Finish { alpha: 1.0, bias: None, residual: None, activation };
    let (mut product, mut addends) = (false, Vec::new());
    let mut open = vec![sum];
    while let Some(id) = open.pop() {
        match expr.nodes()[usize::from(id)] {
            ExprNode::Binary(Binary::Add, x, y) => open.extend([x, y]),
            ExprNode::Input(i) if i > 0 => addends.push(problem.anchor_operands + usize::from(i) - 1),
            _ if !product => {
                out.alpha = scale_of_product(expr, id)?;
                product = true;
            }
            _ => return None,
        }
    }
    // With one row a full operand could be the bias too, a short one could be nothing else.
    let full = |n: usize| problem.operands.get(n).is_some_and(|o| o.ty.shape == problem.result.shape);
    addends.sort_by_key(|&n| full(n));
    for n in addends {
        let number = u16::try_from(n).ok()?;
        if out.bias.is_none() && runs_along(&problem.operands.get(n)?.ty, &problem.result, axis) {
            out.bias = Some(number);
        } else if out.residual.is_none() && full(n) {
            out.residual = Some(number);
        } else {
            return None;
        }
    }
    product.then_some(out)
}

/// The factor of a node that is the anchor's result, perhaps times or over a constant.
fn scale_of_product(expr: &Expr, id: ExprId) -> Option<f32> {
    let nodes = expr.nodes();
    let is_product = |i: ExprId| nodes[usize::from(i)] == ExprNode::Input(0);
    if is_product(id) {
        return Some(1.0);
    }
    let scale = match nodes[usize::from(id)] {
        ExprNode::Binary(Binary::Mul, x, c) if is_product(x) => constant(expr, c)?,
        ExprNode::Binary(Binary::Mul, c, x) if is_product(x) => constant(expr, c)?,
        ExprNode::Binary(Binary::Div, x, c) if is_product(x) => 1.0 / constant(expr, c)?,
        _ => return None,
    };
    let scale = scale as f32;
    (scale.is_finite() && scale != 0.0).then_some(scale)
}

fn constant(expr: &Expr, id: ExprId) -> Option<f64> {
    match expr.nodes()[usize::from(id)] {
        ExprNode::Const(c) => Some(c.as_f64()),
        _ => None,
    }
}

/// What GELU by `tanh` is taken of, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`, if the result is that.
fn gelu_of(expr: &Expr) -> Option<ExprId> {
    let operands = |id: ExprId, op: Binary| match expr.nodes()[usize::from(id)] {
        ExprNode::Binary(o, x, y) if o == op => Some([(x, y), (y, x)]),
        _ => None,
    };
    // The other operand of an operation with this constant.
    let with = |id: ExprId, op: Binary, value: f64| {
        let near = |c: ExprId| constant(expr, c).is_some_and(|c| (c / value - 1.0).abs() < 1e-3);
        operands(id, op)?.into_iter().find(|&(_, c)| near(c)).map(|(x, _)| x)
    };
    let cube_of = |id: ExprId, x: ExprId| {
        let square = |id| operands(id, Binary::Mul).is_some_and(|[(a, b), _]| a == x && b == x);
        operands(id, Binary::Mul).is_some_and(|all| all.into_iter().any(|(s, y)| y == x && square(s)))
    };
    operands(expr.root(), Binary::Mul)?.into_iter().find_map(|(half, rest)| {
        let x = with(half, Binary::Mul, 0.5)?;
        let tanh = with(rest, Binary::Add, 1.0)?;
        let ExprNode::Unary(Unary::Tanh, inner) = expr.nodes()[usize::from(tanh)] else { return None };
        let sum = with(inner, Binary::Mul, (2.0 / std::f64::consts::PI).sqrt())?;
        let (_, cubic) = operands(sum, Binary::Add)?.into_iter().find(|&(y, _)| y == x)?;
        let cube = with(cubic, Binary::Mul, 0.044_715)?;
        cube_of(cube, x).then_some(x)
    })
}

/// Whether an operand has one value for each position of an axis of the result, and nothing else.
fn runs_along(operand: &TensorType, result: &TensorType, axis: usize) -> bool {
    let (Some(o), Some(r)) = (operand.sizes(), result.sizes()) else { return false };
    let Some(lead) = r.len().checked_sub(o.len()) else { return false };
    let along = |i: usize| if i == axis { r[axis] } else { 1 };
    (0..r.len()).all(|i| along(i) == if i < lead { 1 } else { o[i - lead] })
}

#[cfg(test)]
#[path = "cublaslt_tests.rs"]
mod tests;
