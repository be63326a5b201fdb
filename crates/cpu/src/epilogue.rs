//! What is done to accumulated values before they are stored.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::{Binary, Expr, ExprId, ExprNode, Unary};

use crate::kernel::KernelError;
use crate::tape::{Tape, TapeInput};

/// How an epilogue operand spreads over the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EpilogueOperand {
    /// One value an output channel (for matrix products: a column); padded with zeros to the channel block in blocked
    /// layouts.
    PerChannel,
    /// Same shape and layout as the output.
    Full,
    /// One value.
    Scalar,
}

/// An expression over the accumulator (input 0) and operands (operand `i` is input `i + 1`), all `f32`. The operands
/// are the kernel's last inputs, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epilogue {
    /// The expression.
    pub expr: Expr,
    /// How each operand spreads.
    pub operands: Vec<EpilogueOperand>,
}

/// Activations that kernels apply in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// None.
    Identity,
    /// `min(max(x, lo), hi)`; ReLU is `(0, ∞)`. NaN stays NaN.
    Clamp(f32, f32),
}

/// An epilogue split into what kernels do in registers and a rest that runs over the stored values while they are in
/// cache: `rest(activation(accumulator + bias + residual))`.
#[derive(Clone, Debug)]
pub struct CompiledEpilogue {
    /// Operand added per channel.
    pub bias: Option<usize>,
    /// Operand of the output's shape that is added.
    pub residual: Option<usize>,
    /// Applied after the sums.
    pub activation: Activation,
    /// What remains; input 0 is the value so far, input `i + 1` operand `i`.
    pub rest: Option<Tape>,
    operands: Vec<EpilogueOperand>,
}

/// Most operands.
pub const MAX_OPERANDS: usize = 8;

impl Default for Epilogue {
    fn default() -> Self {
        Epilogue { expr: Expr::identity(), operands: Vec::new() }
    }
}

impl Epilogue {
    /// Bytes that each operand must have, given output channels (padded as stored) and stored output elements.
    ///
    /// # Errors
    /// When sizes overflow, there are too many operands, or the expression uses others.
    pub fn operand_bytes(&self, channels: usize, output: usize) -> Result<Vec<u64>, KernelError> {
        self.expr.check()?;
        if self.operands.len() > MAX_OPERANDS {
            return Err(format!("an epilogue takes at most {MAX_OPERANDS} operands"));
        }
        if self.expr.arity() > self.operands.len() + 1 {
            return Err("the epilogue uses an operand that it does not have".into());
        }
        self.operands
            .iter()
            .map(|o| {
                crate::size_of_f32(Some(match o {
                    EpilogueOperand::PerChannel => channels,
                    EpilogueOperand::Full => output,
                    EpilogueOperand::Scalar => 1,
                }))
            })
            .collect()
    }

    /// Splits the expression for an instruction set.
    ///
    /// # Errors
    /// When the expression is malformed or not all `f32`.
    pub fn compile(&self, isa: Isa) -> Result<CompiledEpilogue, KernelError> {
        self.expr.check()?;
        let nodes = self.expr.nodes();
        let mut out = CompiledEpilogue {
            bias: None,
            residual: None,
            activation: Activation::Identity,
            rest: None,
            operands: self.operands.clone(),
        };
        let root = self.expr.root();
        let Some(start) = nodes.iter().position(|n| *n == ExprNode::Input(0)) else {
            out.rest = Some(Tape::compile(&self.expr, isa)?);
            return Ok(out);
        };
        let mut at = start as ExprId;
        while at != root {
            let users: Vec<usize> =
                (0..nodes.len()).filter(|&i| nodes[i].operands().any(|o| o == at)).collect();
            let [user] = users[..] else { break };
            let other = match nodes[user] {
                ExprNode::Binary(_, a, b) if a == at && b != at => Some(nodes[b as usize]),
                ExprNode::Binary(_, a, b) if b == at && a != at => Some(nodes[a as usize]),
                _ => None,
            };
            let sums = out.activation == Activation::Identity;
            match (nodes[user], other) {
                (ExprNode::Binary(Binary::Add, ..), Some(ExprNode::Input(i))) if sums && i > 0 => {
                    let operand = i as usize - 1;
                    match self.operands.get(operand) {
                        Some(EpilogueOperand::PerChannel) if out.bias.is_none() => out.bias = Some(operand),
                        Some(EpilogueOperand::Full) if out.residual.is_none() => out.residual = Some(operand),
                        _ => break,
                    }
                }
                (ExprNode::Unary(Unary::Relu, _), _) => match clamped(out.activation, 0.0, f32::INFINITY) {
                    Some(a) => out.activation = a,
                    None => break,
                },
                (ExprNode::Binary(op @ (Binary::Max | Binary::Min), ..), Some(ExprNode::Const(c))) => {
                    let c = c.as_f64() as f32;
                    let (lo, hi) =
                        if op == Binary::Max { (c, f32::INFINITY) } else { (f32::NEG_INFINITY, c) };
                    match clamped(out.activation, lo, hi) {
                        Some(a) if !c.is_nan() => out.activation = a,
                        _ => break,
                    }
                }
                _ => break,
            }
            at = user as ExprId;
        }
        if at != root {
            out.rest = Some(Tape::compile(&replace(&self.expr, at), isa)?);
        }
        Ok(out)
    }
}

/// A clamp after a clamp, where that is a clamp.
fn clamped(before: Activation, lo: f32, hi: f32) -> Option<Activation> {
    match before {
        Activation::Identity => Some(Activation::Clamp(lo, hi)),
        Activation::Clamp(l, h) => {
            let (l, h) = (l.max(lo).min(hi), h.min(hi).max(lo));
            (l <= h).then_some(Activation::Clamp(l, h))
        }
    }
}

/// The expression with node `at` as input 0.
fn replace(expr: &Expr, at: ExprId) -> Expr {
    let mut out = Expr::empty();
    let mut map: Vec<ExprId> = Vec::with_capacity(expr.nodes().len());
    for (i, n) in expr.nodes().iter().enumerate() {
        let m = |o: ExprId| map[o as usize];
        let node = match *n {
            _ if i == at as usize => ExprNode::Input(0),
            ExprNode::Unary(op, a) => ExprNode::Unary(op, m(a)),
            ExprNode::Binary(op, a, b) => ExprNode::Binary(op, m(a), m(b)),
            ExprNode::Select(c, a, b) => ExprNode::Select(m(c), m(a), m(b)),
            ExprNode::Cast(t, a) => ExprNode::Cast(t, m(a)),
            leaf => leaf,
        };
        map.push(out.push(node));
    }
    out.finish(map[expr.root() as usize])
}

impl CompiledEpilogue {
    /// Runs the rest over `values`, stored values of consecutive outputs. `input(i)` gives operand `i` for them.
    pub fn finish<'a>(&self, values: &mut [f32], input: impl Fn(usize, EpilogueOperand) -> TapeInput<'a>) {
        let Some(rest) = &self.rest else { return };
        let mut list = [TapeInput::Splat(0.0); MAX_OPERANDS];
        for (i, o) in self.operands.iter().enumerate() {
            list[i] = input(i, *o);
        }
        rest.run_in_place(values, &list[..self.operands.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_types::Scalar;

    fn compiled(build: impl Fn(&mut Expr) -> ExprId) -> CompiledEpilogue {
        let mut e = Expr::empty();
        let id = build(&mut e);
        let operands = vec![EpilogueOperand::PerChannel, EpilogueOperand::Full];
        Epilogue { expr: e.finish(id), operands }.compile(Isa::Portable).unwrap()
    }

    fn sum(e: &mut Expr) -> ExprId {
        let (x, b, r) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)), e.push(ExprNode::Input(2)));
        let t = e.push(ExprNode::Binary(Binary::Add, x, b));
        e.push(ExprNode::Binary(Binary::Add, r, t))
    }

    #[test]
    fn sums_and_relu_stay_in_registers() {
        let c = compiled(|e| {
            let t = sum(e);
            e.push(ExprNode::Unary(Unary::Relu, t))
        });
        assert_eq!(
            (c.bias, c.residual, c.activation),
            (Some(0), Some(1), Activation::Clamp(0.0, f32::INFINITY))
        );
        assert!(c.rest.is_none());
    }

    #[test]
    fn clip_is_one_clamp() {
        let c = compiled(|e| {
            let t = sum(e);
            let (lo, hi) =
                (e.push(ExprNode::Const(Scalar::f32(0.0))), e.push(ExprNode::Const(Scalar::f32(6.0))));
            let t = e.push(ExprNode::Binary(Binary::Max, t, lo));
            e.push(ExprNode::Binary(Binary::Min, t, hi))
        });
        assert_eq!(c.activation, Activation::Clamp(0.0, 6.0));
        assert!(c.rest.is_none());
    }

    #[test]
    fn a_value_used_twice_is_left_to_the_rest() {
        let c = compiled(|e| {
            let t = sum(e);
            let s = e.push(ExprNode::Unary(Unary::Sigmoid, t));
            e.push(ExprNode::Binary(Binary::Mul, t, s))
        });
        assert_eq!((c.bias, c.residual, c.activation), (Some(0), Some(1), Activation::Identity));
        assert!(c.rest.is_some());
    }
}
