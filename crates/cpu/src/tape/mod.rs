//! A pointwise [`Expr`] over `f32`, compiled for evaluation on runs of consecutive elements.
//!
//! ```text
//!  mul($0, sigmoid($0))     ──compile──▶   slot 0: input 0      code:  s1 ← sigmoid s0
//!                                                                     out ← mul s0 s1
//! ```
//!
//! The code is run block by block: each instruction is one vectorised loop over [`BLOCK`] elements that stay in the
//! nearest cache, so the cost of choosing the loop is spread over the block. Slots hold inputs, constants and
//! intermediate values; a slot is used again when its value is dead.

mod eval;
#[cfg(test)]
mod tests;

use tactician_device::Isa;
use tactician_types::{Binary, DType, Expr, ExprNode, Unary};

use crate::kernel::KernelError;
use crate::level::Level;

/// Elements that one instruction handles at a time.
pub(crate) const BLOCK: usize = 256;
/// Most values held at one time: inputs, constants and intermediate results.
pub(crate) const MAX_SLOTS: usize = 48;

/// Where a run of elements of one input comes from.
#[derive(Clone, Copy, Debug)]
pub enum TapeInput<'a> {
    /// Element `i` of the run is element `i` of the slice.
    Stream(&'a [f32]),
    /// Every element is this value.
    Splat(f32),
    /// Element `i` of the run is element `i % len`: a channel vector repeated over pixels.
    Repeat(&'a [f32]),
}

/// A compiled expression. `bool` values are the floats 0 and 1.
#[derive(Clone, Debug)]
pub struct Tape {
    level: Level,
    /// Number of slots used.
    slots: u8,
    /// Slot and number of each input used, by slot.
    inputs: Vec<(u8, u16)>,
    /// Slot and value of each constant.
    consts: Vec<(u8, f32)>,
    /// At least one instruction; the last gives the result.
    code: Vec<Instr>,
}

/// One instruction: `slot d ← op(slot a, slot b, slot c)`. `d` is none of the operands.
#[derive(Clone, Copy, Debug)]
struct Instr {
    op: Op,
    d: u8,
    a: u8,
    b: u8,
    c: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Unary(Unary),
    Binary(Binary),
    /// `if a ≠ 0 { b } else { c }`.
    Select,
    /// 1 where `a` is not 0.
    NonZero,
    Move,
}

impl Tape {
    /// Compiles an expression whose inputs are all `f32` and whose result is `f32`, for `isa` (or plain loops, if
    /// this processor lacks it).
    ///
    /// # Errors
    /// When it is malformed, uses other types than `f32` and `bool`, or holds too many values at one time.
    pub fn compile(expr: &Expr, isa: Isa) -> Result<Tape, KernelError> {
        expr.check()?;
        let nodes = expr.nodes();
        let types = expr.dtypes(&vec![DType::F32; expr.arity()])?;
        if let Some(t) = types.iter().find(|t| !matches!(t, DType::F32 | DType::Bool)) {
            return Err(format!("the expression uses {t}, this kernel computes in f32 only"));
        }
        let root = nodes.len() - 1;
        if types[root] != DType::F32 {
            return Err("the expression gives bool, this kernel gives f32 only".to_owned());
        }
        Compiler::new(nodes, &types).compile(Level::of(isa))
    }

    /// Inputs that [`Tape::run`] must be given: one more than the largest number used.
    pub fn arity(&self) -> usize {
        self.inputs.iter().map(|&(_, i)| i as usize + 1).max().unwrap_or(0)
    }

    /// Evaluates for `out.len()` elements. Allocates nothing.
    ///
    /// # Panics
    /// When inputs are fewer than [`Tape::arity`], a stream is shorter than `out`, or a repeated slice is empty.
    pub fn run(&self, inputs: &[TapeInput<'_>], out: &mut [f32]) {
        eval::run(self, None, inputs, out);
    }

    /// Evaluates with input 0 read from `values` and the result written over it; `others[i]` is input `i + 1`.
    ///
    /// # Panics
    /// As [`Tape::run`].
    pub fn run_in_place(&self, values: &mut [f32], others: &[TapeInput<'_>]) {
        eval::run(self, Some(0), others, values);
    }
}

/// Slot allocation: inputs and constants first, for the whole run; then intermediate values as they come and go.
struct Compiler<'a> {
    nodes: &'a [ExprNode],
    types: &'a [DType],
    /// Index of the last node that uses each node; none for nodes that the result does not need.
    last_use: Vec<Option<usize>>,
    slot: Vec<u8>,
    free: Vec<u8>,
    used: usize,
}

const TOO_MANY: &str = "the expression holds more values at one time than this kernel can: split it";

impl<'a> Compiler<'a> {
    fn new(nodes: &'a [ExprNode], types: &'a [DType]) -> Self {
        let n = nodes.len();
        let mut last_use = vec![None; n];
        last_use[n - 1] = Some(n);
        for i in (0..n).rev() {
            if last_use[i].is_some() {
                for o in nodes[i].operands() {
                    last_use[o as usize].get_or_insert(i);
                }
            }
        }
        Compiler { nodes, types, last_use, slot: vec![0; n], free: Vec::new(), used: 0 }
    }

    fn take(&mut self) -> Result<u8, KernelError> {
        if let Some(s) = self.free.pop() {
            return Ok(s);
        }
        if self.used == MAX_SLOTS {
            return Err(TOO_MANY.to_owned());
        }
        self.used += 1;
        Ok((self.used - 1) as u8)
    }

    fn compile(mut self, level: Level) -> Result<Tape, KernelError> {
        let mut tape = Tape { level, slots: 0, inputs: Vec::new(), consts: Vec::new(), code: Vec::new() };
        for (i, node) in self.nodes.iter().enumerate() {
            if self.last_use[i].is_none() {
                continue;
            }
            match *node {
                ExprNode::Input(n) => {
                    // Equal nodes are usually shared, but a file may hold an input twice.
                    self.slot[i] = match tape.inputs.iter().find(|&&(_, m)| m == n) {
                        Some(&(s, _)) => s,
                        None => {
                            let s = self.take()?;
                            tape.inputs.push((s, n));
                            s
                        }
                    };
                }
                ExprNode::Const(c) => {
                    let value = if c.dtype == DType::Bool {
                        f32::from(u8::from(c.as_i64() != 0))
                    } else {
                        c.as_f64() as f32
                    };
                    self.slot[i] = self.take()?;
                    tape.consts.push((self.slot[i], value));
                }
                _ => {}
            }
        }
        for (i, &node) in self.nodes.iter().enumerate() {
            if self.last_use[i].is_none() {
                continue;
            }
            let is_root = i + 1 == self.nodes.len();
            let at = |o: u16| self.slot[o as usize];
            let (op, a, b, c) = match node {
                ExprNode::Input(_) | ExprNode::Const(_) if is_root => (Op::Move, self.slot[i], 0, 0),
                ExprNode::Input(_) | ExprNode::Const(_) => continue,
                ExprNode::Unary(op, a) => (Op::Unary(op), at(a), 0, 0),
                ExprNode::Binary(Binary::Pow, a, e) if self.is_const(e, 2.0) => {
                    (Op::Binary(Binary::Mul), at(a), at(a), 0)
                }
                ExprNode::Binary(op, a, b) => (Op::Binary(op), at(a), at(b), 0),
                ExprNode::Select(c, a, b) => (Op::Select, at(c), at(a), at(b)),
                ExprNode::Cast(DType::Bool, a) if self.types[a as usize] != DType::Bool => {
                    (Op::NonZero, at(a), 0, 0)
                }
                // Truths are 0 and 1 already.
                ExprNode::Cast(_, a) => (Op::Move, at(a), 0, 0),
            };
            // The result's slot is taken before the operands' are given back, so that it is none of them.
            let d = self.take()?;
            tape.code.push(Instr { op, d, a, b, c });
            self.slot[i] = d;
            let mut operands: Vec<u16> = node.operands().collect();
            operands.sort_unstable();
            operands.dedup();
            for o in operands {
                let leaf = matches!(self.nodes[o as usize], ExprNode::Input(_) | ExprNode::Const(_));
                if self.last_use[o as usize] == Some(i) && !leaf {
                    self.free.push(self.slot[o as usize]);
                }
            }
        }
        tape.slots = self.used as u8;
        Ok(tape)
    }

    fn is_const(&self, id: u16, value: f64) -> bool {
        matches!(self.nodes[id as usize], ExprNode::Const(c) if c.dtype == DType::F32 && c.as_f64() == value)
    }
}
