//! How far a correct evaluation in working precision may be from the exact value.
//!
//! Higham, "Accuracy and Stability of Numerical Algorithms" (2nd ed.), chapter 3: a sum of `n` products computed in
//! any order with unit roundoff `u` is off by at most `γₙ Σ|aᵢ||bᵢ|`, `γₙ = n·u/(1 − n·u)`. The anchor's bound is
//! that formula with the sum of absolute values evaluated in `f64`; the epilogue then carries value and bound
//! through every node, each adding its own rounding.

use rayon::prelude::*;
use smallvec::SmallVec;
use tactician_ir::{
    Binary, DType, ExprNode, Op, PoolKind, Problem, ReduceKind, ScatterReduction, Tensor, Unary,
};
use tactician_types::{Growth, NarrowFloat};

use crate::error::ReferenceError;
use crate::expr::{Number, apply, decoded};
use crate::ops::attention::{rows, sizes};
use crate::ops::recurrent::{self, Roundings};
use crate::problem::{eval_both, eval_value, failed, read};
use crate::value::{Data, Value, advance, broadcast_strides, narrow, offset, round};

/// Roundings in a library or vector function: a few units in the last place.
const FUNCTION_ULPS: f64 = 8.0;

/// Elements of a part that one thread bounds.
const PART: usize = 4096;

/// Error of values so small that they are flushed or rounded absolutely rather than relatively.
fn tiny(dtype: DType) -> f64 {
    if dtype == DType::F16 { 2f64.powi(-24) } else { 1e-37 }
}

fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// Short floats are accumulated in `f32`.
fn accumulator_unit(dtype: DType) -> f64 {
    if dtype == DType::F64 { unit(DType::F64) } else { unit(DType::F32) }
}

/// A problem with a float output computed in `f64` without any rounding in between, and the means to bound the error
/// of evaluations in working precision.
pub struct Exact {
    problem: Problem,
    /// The anchor's result; for a pointwise anchor the output.
    result: Value,
    output: Vec<f64>,
    sizes: Vec<usize>,
    /// What the expression reads: all operands of a pointwise anchor, else those of the epilogue.
    operands: Vec<Value>,
    /// The anchor's bound for a plain summation.
    anchor: Vec<f64>,
    /// Rounding unit times number of terms, where the anchor sums products.
    summation: Option<f64>,
}

impl Exact {
    /// Computes a problem.
    ///
    /// # Errors
    /// When the operands do not fit the problem, or its output is no float.
    pub fn new(problem: &Problem, operands: &[&Tensor]) -> Result<Exact, ReferenceError> {
        if !problem.output.dtype.is_float() {
            return Err(failed(&problem.anchor, format!("its output is {}, no float", problem.output.dtype)));
        }
        let mut values = read(problem, operands);
        let list: Vec<&Value> = values.iter().collect();
        let (result, output) = eval_both(problem, &list, true)?;
        let (mut anchor, mut summation) = (Vec::new(), None);
        if !matches!(problem.anchor, Op::Pointwise(_)) {
            let inputs = &list[..problem.anchor_operands];
            anchor = anchor_bound(problem, inputs, &result)?;
            summation = terms(&problem.anchor, inputs)
                .map(|n| (n + 4) as f64 * accumulator_unit(problem.result.dtype));
            values.drain(..problem.anchor_operands);
        }
        let (sizes, output) = (output.sizes.clone(), output.floats().to_vec());
        Ok(Exact { problem: problem.clone(), result, output, sizes, operands: values, anchor, summation })
    }

    /// The output's sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The output, in plain order.
    pub fn values(&self) -> &[f64] {
        &self.output
    }

    /// A bound on the error of each output element of a correct evaluation: in any order of summation, in the working
    /// precision of the types, with each function off by a few units in the last place. `growth` concerns the anchor's
    /// part.
    ///
    /// # Errors
    /// When the epilogue does not fit the problem.
    pub fn bound(&self, growth: Growth) -> Result<Vec<f64>, ReferenceError> {
        let (problem, result) = (&self.problem, &self.result);
        let bad = |p| failed(&problem.anchor, p);
        if let Op::Pointwise(e) = &problem.anchor {
            let list: Vec<&Value> = self.operands.iter().collect();
            let zero: Vec<Vec<f64>> = list.iter().map(|v| vec![0.0; v.len()]).collect();
            return propagate(e, &list, &zero, &result.sizes).map_err(bad);
        }
        let mut anchor = self.anchor.clone();
        // The plain bound is `summation` times the sum of absolute products, which rounded factors err in proportion to.
        let rounded = self.summation.map_or(0.0, |s| growth.inputs / s);
        grow(&mut anchor, &result.sizes, growth.factor + rounded, growth.tile);
        let own = if problem.result.dtype.is_float() { unit(problem.result.dtype) } else { 0.0 };
        let moves = moves_only(&problem.anchor);
        if !moves {
            for (b, v) in anchor.iter_mut().zip(result.floats()) {
                *b += own * v.abs() + tiny(problem.result.dtype);
            }
        }
        if problem.epilogue.is_identity() {
            return Ok(anchor);
        }
        let mut inputs = vec![result];
        inputs.extend(&self.operands);
        if let Some(factor) = self.summation {
            for i in addends(&problem.epilogue) {
                add_scaled(&mut anchor, inputs[i], &result.sizes, growth.factor * factor);
            }
        }
        let mut errors = vec![anchor];
        errors.extend(self.operands.iter().map(|v| vec![0.0; v.len()]));
        propagate(&problem.epilogue, &inputs, &errors, &result.sizes).map_err(bad)
    }
}

/// Multiplies the bounds of outputs of these sizes, and gives each tile the largest of its bounds.
fn grow(bounds: &mut [f64], sizes: &[usize], factor: f64, tile: usize) {
    if factor != 1.0 {
        bounds.iter_mut().for_each(|b| *b *= factor);
    }
    let [.., height, width] = *sizes else { return };
    if tile <= 1 || height * width == 0 {
        return;
    }
    for plane in bounds.chunks_mut(height * width) {
        for y in (0..height).step_by(tile) {
            for x in (0..width).step_by(tile) {
                let (rows, columns) = (y..(y + tile).min(height), x..(x + tile).min(width));
                let mut top = 0.0f64;
                for r in rows.clone() {
                    for v in &plane[r * width..][columns.clone()] {
                        top = top.max(*v);
                    }
                }
                for r in rows {
                    plane[r * width..][columns.clone()].fill(top);
                }
            }
        }
    }
}

/// How many products an element of a convolution or matrix product sums.
fn terms(op: &Op, x: &[&Value]) -> Option<usize> {
    match op {
        Op::Conv(_) => Some(x[1].sizes[1..].iter().product()),
        Op::ConvTranspose(_) => Some(x[1].len() / x[1].sizes[1].max(1)),
        Op::MatMul(m) => Some(x[0].sizes[x[0].sizes.len() - if m.trans_a { 2 } else { 1 }]),
        _ => None,
    }
}

/// Inputs of an epilogue that are added straight to the anchor's result: a kernel may sum them in any order with the
/// products, for example start from the bias.
fn addends(epilogue: &tactician_ir::Expr) -> Vec<usize> {
    let nodes = epilogue.nodes();
    let input = |n: u16| match nodes[n as usize] {
        ExprNode::Input(i) => Some(i as usize),
        _ => None,
    };
    let mut found = Vec::new();
    let Some(mut sum) = nodes.iter().position(|n| matches!(n, ExprNode::Input(0))) else { return found };
    for (at, node) in nodes.iter().enumerate() {
        if let ExprNode::Binary(Binary::Add, a, b) = *node {
            let other = match (a as usize == sum, b as usize == sum) {
                (true, false) => input(b),
                (false, true) => input(a),
                _ => None,
            };
            if let Some(i) = other.filter(|&i| i != 0) {
                found.push(i);
                sum = at;
            }
        }
    }
    found
}

/// Adds `factor` times the absolute value of what broadcasts to `sizes`.
fn add_scaled(to: &mut [f64], value: &Value, sizes: &[usize], factor: f64) {
    let steps = broadcast_strides(&value.sizes, sizes);
    let floats = value.floats();
    let mut index = vec![0; sizes.len()];
    for t in to {
        *t += factor * floats[offset(&index, &steps)].abs();
        advance(&mut index, sizes);
    }
}

fn moves_only(op: &Op) -> bool {
    match op {
        Op::Pool(p) => p.kind == PoolKind::Max,
        Op::Reduce(r) => {
            matches!(r.kind, ReduceKind::Max | ReduceKind::Min)
                || r.axes.is_empty() && r.kind == ReduceKind::Sum
        }
        Op::Resize(r) => matches!(r.mode, tactician_ir::ResizeMode::Nearest(_)),
        Op::ScatterElements(s) => !matches!(s.reduction, ScatterReduction::Add | ScatterReduction::Mul),
        Op::Reshape(_)
        | Op::BitCast(_)
        | Op::Transpose(_)
        | Op::Expand(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Gather(_)
        | Op::GatherElements(_) => true,
        _ => false,
    }
}

/// The bound of the anchor's own evaluation.
fn anchor_bound(problem: &Problem, x: &[&Value], result: &Value) -> Result<Vec<f64>, ReferenceError> {
    let op = &problem.anchor;
    let u = accumulator_unit(problem.result.dtype);
    let gamma = |n: usize| (n + 4) as f64 * u;
    let absolute = || -> Result<Value, ReferenceError> {
        let abs: Vec<Value> = x.iter().map(|v| v.abs()).collect();
        eval_value(op, &abs.iter().collect::<Vec<_>>(), true)
    };
    let relative = |factor: f64| result.floats().iter().map(|v| factor * v.abs()).collect::<Vec<f64>>();
    let scaled = |v: Value, factor: f64| v.floats().iter().map(|m| factor * m).collect::<Vec<f64>>();
    let group = |axes: &[usize]| axes.iter().map(|&a| x[0].sizes[a]).product::<usize>();
    Ok(match op {
        _ if moves_only(op) => vec![0.0; result.len()],
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => {
            scaled(absolute()?, gamma(terms(op, x).unwrap_or(0)))
        }
        Op::Pool(p) => {
            let n: usize = p.window.iter().product();
            scaled(
                absolute()?,
                if matches!(p.kind, PoolKind::Lp { .. }) { gamma(n) + 64.0 * u } else { gamma(n) },
            )
        }
        Op::Reduce(r) => {
            let n = group(&r.axes);
            match r.kind {
                ReduceKind::Sum | ReduceKind::Mean => scaled(absolute()?, gamma(n)),
                ReduceKind::LogSum => {
                    // The logarithm turns the sum's relative error into an absolute one.
                    let mut sum = r.clone();
                    sum.kind = ReduceKind::Sum;
                    let of = |x: &Value| eval_value(&Op::Reduce(sum.clone()), &[x], true);
                    let (s, m) = (of(x[0])?, of(&x[0].abs())?);
                    s.floats()
                        .iter()
                        .zip(m.floats())
                        .zip(result.floats())
                        .map(|((s, m), v)| gamma(n) * m / s.abs() * 2.0 + FUNCTION_ULPS * u * (1.0 + v.abs()))
                        .collect()
                }
                ReduceKind::LogSumExp => {
                    let top = x[0].floats().iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    result
                        .floats()
                        .iter()
                        .map(|v| (gamma(n) + FUNCTION_ULPS * u) * (1.0 + v.abs() + 2.0 * top))
                        .collect()
                }
                _ => relative(2.0 * gamma(n) + FUNCTION_ULPS * u),
            }
        }
        Op::Softmax(s) => {
            let n = group(&[s.axis]);
            let top = x[0].floats().iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let c = 2.0 * gamma(n) + (FUNCTION_ULPS * 2.0 + 4.0 * top) * u;
            if s.log { result.floats().iter().map(|v| c * (1.0 + v.abs())).collect() } else { relative(c) }
        }
        Op::Attention(a) => attention_bound(a, x, result, problem.result.dtype),
        Op::ScatterElements(s) => {
            // At most a whole line of updates meets one element, each rounded to its type.
            let n = (x[1].sizes[s.axis] + 4) as f64 * unit(problem.result.dtype);
            if s.reduction == ScatterReduction::Add {
                scaled(absolute_scatter(op, x)?, n)
            } else {
                relative(2.0 * n)
            }
        }
        Op::BatchNorm(b) => {
            let plane: usize = x[0].sizes[2..].iter().product();
            let channels = x[0].sizes[1];
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| x[i].floats());
            x[0].floats()
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    let c = i / plane % channels;
                    let root = (variance[c] + f64::from(b.epsilon)).sqrt();
                    16.0 * u * (scale[c].abs() * (v.abs() + mean[c].abs()) / root + bias[c].abs())
                })
                .collect()
        }
        Op::LayerNorm(n) => norm_bound(x, result, x[0].sizes[n.axis..].iter().product(), n.epsilon, u),
        Op::RmsNorm(n) => relative(4.0 * gamma(x[0].sizes[n.axis..].iter().product()) + FUNCTION_ULPS * u),
        Op::InstanceNorm(n) => norm_bound(x, result, x[0].sizes[2..].iter().product(), n.epsilon, u),
        Op::GroupNorm(n) => {
            norm_bound(x, result, x[0].sizes[1..].iter().product::<usize>() / n.groups, n.epsilon, u)
        }
        Op::Lrn(l) => relative((l.size as f64 + 8.0) * 2.0 * u * f64::from(l.beta.abs().max(1.0)) + 64.0 * u),
        Op::Resize(r) => {
            // Coordinates are computed in f32 too: a weight may be off by a rounding of the coordinate.
            let size = r.axes.iter().map(|a| x[0].sizes[a.axis]).max().unwrap_or(1) as f64;
            let top = x[0].floats().iter().fold(0.0f64, |m, v| m.max(v.abs()));
            vec![(32.0 * size * unit(DType::F32) + 64.0 * u) * top * r.axes.len().max(1) as f64; result.len()]
        }
        Op::Recurrent(o) => {
            let errors = Roundings {
                sum: u,
                function: FUNCTION_ULPS * u,
                store: unit(problem.result.dtype),
                tiny: tiny(problem.result.dtype),
            };
            recurrent::bound(o, x, &result.sizes, &errors)
        }
        _ => relative(64.0 * u),
    })
}

/// Attention. A score is off by `γ_D` of its absolute products, of which the cap passes on no more, and by roundings in
/// proportion to itself; kernels for short floats may round the scaled query once more, and the weights. An error `e` of
/// the scores scales a weight by `exp(e)` at most, and their sum by the mean of that; the sum over keys adds `γ_Sk`.
fn attention_bound(op: &tactician_ir::Attention, x: &[&Value], result: &Value, dtype: DType) -> Vec<f64> {
    let (u, own) = (accumulator_unit(dtype), unit(dtype));
    let short = if own > u { own } else { 0.0 };
    let ([.., d], [_, _, keys, _], [.., dv]) = (sizes(op, x, 0), sizes(op, x, 1), sizes(op, x, 2));
    let (cap, terms) = (f64::from(op.softcap), |n: usize| (n + 8) as f64 * u);
    let mut out = vec![0.0; result.len()];
    rows(op, x, |row| {
        let error = |(s, size): (&f64, &f64)| {
            // Between zero and the sum that cap and mask make, roundings are relative.
            let rounding = FUNCTION_ULPS * u * (s.abs() + cap + size);
            if s.is_finite() { (terms(d) + short) * size + rounding } else { 0.0 }
        };
        let errors = || row.scores.iter().zip(row.sizes).map(error);
        let sum: f64 = row.weights.iter().zip(errors()).map(|(w, e)| w * e.exp_m1().min(1e9)).sum();
        let rest = terms(keys) + FUNCTION_ULPS * 2.0 * u + 2.0 * short;
        for (j, (w, e)) in row.weights.iter().zip(errors()).enumerate() {
            // Weights lie between 0 and 1, so none is off by more.
            let grown = if sum < 1.0 { (e.exp() / (1.0 - sum) - 1.0) * w } else { 1.0 };
            let off = grown.min(1.0) + rest * w + tiny(dtype);
            for (o, v) in out[row.at..row.at + dv].iter_mut().zip(&row.values[j * dv..]) {
                *o += off * v.abs();
            }
        }
    });
    out
}

/// The sum of absolute values at each element; indices stay as they are.
fn absolute_scatter(op: &Op, x: &[&Value]) -> Result<Value, ReferenceError> {
    let (a, u) = (x[0].abs(), x[2].abs());
    eval_value(op, &[&a, x[1], &u], true)
}

/// Normalisation with computed statistics over runs of `n`: the mean is off by `γₙ·mean|x|`, the variance by its own
/// relative `γₙ` and the square of the mean's error.
fn norm_bound(x: &[&Value], result: &Value, n: usize, epsilon: f32, u: f64) -> Vec<f64> {
    let gamma = (n + 16) as f64 * u;
    let largest = |i: usize| {
        x.get(i)
            .map_or(if i == 1 { 1.0 } else { 0.0 }, |v| v.floats().iter().fold(0.0f64, |m, v| m.max(v.abs())))
    };
    let (scale, bias) = (largest(1), largest(2));
    let mut out = Vec::with_capacity(result.len());
    for run in x[0].floats().chunks(n.max(1)) {
        let mean = run.iter().sum::<f64>() / run.len() as f64;
        let size = run.iter().map(|v| v.abs()).sum::<f64>() / run.len() as f64;
        let variance = run.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / run.len() as f64;
        let root = (variance + f64::from(epsilon)).sqrt();
        let shift = gamma * size / root;
        out.extend(run.iter().map(|v| {
            scale
                * (gamma * (v.abs() + size) / root
                    + (v - mean).abs() / root * (gamma + shift + shift * shift))
                + 4.0 * u * bias
        }));
    }
    out
}

/// Carries errors through an expression: every node is evaluated at the ends of its operands' intervals and rounded.
fn propagate(
    expr: &tactician_ir::Expr,
    inputs: &[&Value],
    errors: &[Vec<f64>],
    sizes: &[usize],
) -> Result<Vec<f64>, String> {
    let types: Vec<DType> = inputs.iter().map(|v| v.dtype).collect();
    let types = expr.dtypes(&types)?;
    let steps: Vec<Vec<usize>> = inputs.iter().map(|v| broadcast_strides(&v.sizes, sizes)).collect();
    let nodes = expr.nodes();
    let root = expr.root() as usize;
    let mut out = vec![0.0; sizes.iter().product()];
    out.par_chunks_mut(PART).enumerate().for_each(|(part, out)| {
        let mut index = index_of(part * PART, sizes);
        let mut values = vec![Number::I(0); nodes.len()];
        let mut bounds = vec![0.0f64; nodes.len()];
        for o in out {
            for (at, node) in nodes.iter().enumerate() {
                if let ExprNode::Input(i) = *node {
                    let place = offset(&index, &steps[i as usize]);
                    values[at] = match &inputs[i as usize].data {
                        Data::Float(d) => Number::F(d[place]),
                        Data::Int(d) => Number::I(d[place]),
                    };
                    bounds[at] = errors[i as usize][place];
                    continue;
                }
                let v = apply(node, &types, at, |o| values[o as usize]);
                values[at] = v;
                bounds[at] = node_bound(node, &types, at, &values, &bounds, v);
            }
            *o = bounds[root];
            advance(&mut index, sizes);
        }
    });
    Ok(out)
}

/// The index of an element in row-major order.
fn index_of(mut at: usize, sizes: &[usize]) -> Vec<usize> {
    let mut index = vec![0; sizes.len()];
    for (i, &n) in index.iter_mut().zip(sizes).rev() {
        *i = at % n;
        at /= n;
    }
    index
}

fn float(v: Number) -> f64 {
    match v {
        Number::F(x) => x,
        Number::I(x) => x as f64,
    }
}

fn node_bound(
    node: &ExprNode,
    types: &[DType],
    at: usize,
    values: &[Number],
    bounds: &[f64],
    v: Number,
) -> f64 {
    let mut spread = 0.0f64;
    let uncertain: SmallVec<[usize; 3]> =
        node.operands().map(|o| o as usize).filter(|&o| bounds[o] > 0.0).collect();
    // The corners of the box of operands; for these functions the extremes lie there or the extra terms cover them.
    for mask in 0..3usize.pow(uncertain.len() as u32) {
        let shift = |o: usize| {
            let Some(i) = uncertain.iter().position(|&x| x == o) else { return 0.0 };
            bounds[o] * ((mask / 3usize.pow(i as u32) % 3) as f64 - 1.0)
        };
        let moved = apply(node, types, at, |o| {
            let o = o as usize;
            match values[o] {
                Number::F(x) => Number::F(x + shift(o)),
                Number::I(x) if shift(o) != 0.0 && types[o] == DType::Bool => {
                    Number::I(i64::from((x as f64 + shift(o)) > 0.5))
                }
                Number::I(x) if shift(o) != 0.0 && NarrowFloat::of(types[o]).is_some() => {
                    let near = float(decoded(types[o], Number::I(x))) + shift(o);
                    Number::I(narrow(types[o], near))
                }
                Number::I(x) => Number::I(x.saturating_add(shift(o) as i64)),
            }
        });
        let difference = (float(decoded(types[at], moved)) - float(decoded(types[at], v))).abs();
        spread = spread.max(if difference.is_nan() {
            if uncertain.is_empty() { 0.0 } else { f64::INFINITY }
        } else {
            difference
        });
    }
    if let ExprNode::Unary(Unary::Sin | Unary::Cos | Unary::Abs, a) = node {
        spread = spread.max(bounds[*a as usize]);
    }
    if !types[at].is_float() {
        return spread;
    }
    let u = unit(types[at]);
    let x = float(v).abs();
    let own = match node {
        // A short float may not have the constant.
        ExprNode::Const(_) => (round(types[at], float(v)) - float(v)).abs(),
        ExprNode::Select(..) => 0.0,
        ExprNode::Unary(
            Unary::Neg | Unary::Abs | Unary::Relu | Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round,
            _,
        ) => 0.0,
        ExprNode::Binary(tactician_ir::Binary::Max | tactician_ir::Binary::Min, ..) => 0.0,
        ExprNode::Unary(
            Unary::Sigmoid | Unary::Tanh | Unary::Erf | Unary::Softplus | Unary::Sin | Unary::Cos,
            _,
        ) => FUNCTION_ULPS * u * x.max(0.05),
        ExprNode::Unary(..) => {
            FUNCTION_ULPS * u * (x + if matches!(node, ExprNode::Unary(Unary::Log, _)) { 0.1 } else { 0.0 })
        }
        ExprNode::Binary(tactician_ir::Binary::Pow, ..) => 64.0 * u * x * (1.0 + x.ln().abs().min(200.0)),
        ExprNode::Binary(..) | ExprNode::Cast(..) | ExprNode::Input(_) => 2.0 * u * x,
    };
    let own = if own.is_nan() { 0.0 } else { own };
    spread + own + if own > 0.0 { tiny(types[at]) } else { 0.0 }
}
