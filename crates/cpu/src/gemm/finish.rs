//! Epilogues over plain results: any operand that broadcasts.

use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::Expr;

use crate::epilogue::{Activation, CompiledEpilogue, Epilogue, EpilogueOperand, MAX_OPERANDS};
use crate::kernel::{KernelError, size_of_f32};
use crate::level::{Level, per_level};
use crate::tape::TapeInput;

/// Most axes of a result.
const MAX_AXES: usize = 12;
/// Bound on element counts: sums and products with element sizes stay inside 63 bits.
const MAX_LEN: usize = 1 << 48;

/// The product of sizes, zeros counted as one, if reasonable; checks sizes that come from a file.
pub(crate) fn bounded(sizes: &[usize]) -> Result<usize, KernelError> {
    sizes
        .iter()
        .try_fold(1usize, |a, &b| a.checked_mul(b.max(1)))
        .filter(|&n| n <= MAX_LEN)
        .ok_or_else(|| format!("sizes {sizes:?} are too large"))
}

/// What is done to a plain result before it is final: an expression whose input 0 is the accumulated value and whose
/// input `i + 1` is operand `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The expression, all `f32`.
    pub expr: Expr,
    /// Sizes of the result's axes.
    pub sizes: Vec<usize>,
    /// For each operand the axes that it has, bit `i` for axis `i`; it is dense over these, in their order.
    pub operands: Vec<u16>,
}

impl Finish {
    /// Does nothing to a result of these sizes.
    pub fn none(sizes: Vec<usize>) -> Finish {
        Finish { expr: Expr::identity(), sizes, operands: Vec::new() }
    }

    /// Bytes that each operand must have.
    ///
    /// # Errors
    /// When the result has not `elements` elements, sizes overflow, or the expression is not one for this.
    pub(crate) fn operand_bytes(&self, elements: usize) -> Result<Vec<u64>, KernelError> {
        let rank = self.sizes.len();
        if rank > MAX_AXES {
            return Err(format!("an epilogue covers at most {MAX_AXES} axes"));
        }
        bounded(&self.sizes)?;
        let own: usize = self.sizes.iter().product();
        if own != elements {
            return Err(format!("the epilogue covers {own} elements of {elements}"));
        }
        if self.operands.len() > MAX_OPERANDS {
            return Err(format!("an epilogue takes at most {MAX_OPERANDS} operands"));
        }
        if self.operands.iter().any(|m| m >> rank != 0) {
            return Err(format!("an epilogue operand has an axis beyond the {rank} of the result"));
        }
        let epilogue = self.epilogue();
        epilogue.operand_bytes(1, 1)?;
        // Whether it compiles is the same for every instruction set.
        epilogue.compile(Isa::Portable)?;
        let len = |mask: u16| {
            self.sizes
                .iter()
                .enumerate()
                .filter(|(a, _)| mask >> a & 1 == 1)
                .map(|(_, s)| s)
                .product::<usize>()
        };
        self.operands.iter().map(|&m| size_of_f32(Some(len(m)))).collect()
    }

    /// Operands of the result's shape can be residuals; whatever else is added can be a bias.
    fn epilogue(&self) -> Epilogue {
        let full = (0..self.sizes.len()).filter(|&a| self.sizes[a] != 1).fold(0u16, |m, a| m | 1 << a);
        let kind = |m: &u16| {
            if m & full == full { EpilogueOperand::Full } else { EpilogueOperand::PerChannel }
        };
        Epilogue { expr: self.expr.clone(), operands: self.operands.iter().map(kind).collect() }
    }

    /// Compiles for `isa`.
    pub(crate) fn ready(&self, isa: Isa) -> Result<ReadyFinish, KernelError> {
        let epilogue = self.epilogue().compile(isa)?;
        // Neighbouring axes that every operand has or lacks together become one.
        let mut axes: Vec<(usize, Vec<bool>)> = Vec::new();
        for (axis, &size) in self.sizes.iter().enumerate().filter(|(_, s)| **s != 1) {
            let has: Vec<bool> = self.operands.iter().map(|m| m >> axis & 1 == 1).collect();
            match axes.last_mut() {
                Some((s, h)) if *h == has => *s *= size,
                _ => axes.push((size, has)),
            }
        }
        let (run, spread) = axes.pop().unwrap_or((1, vec![false; self.operands.len()]));
        let operands = (0..self.operands.len())
            .map(|i| {
                let mut step = if spread[i] { run } else { 1 };
                let mut steps = [0; MAX_AXES];
                for (axis, (size, has)) in axes.iter().enumerate().rev() {
                    if has[i] {
                        steps[axis] = step;
                        step *= size;
                    }
                }
                (spread[i], steps)
            })
            .collect();
        let clamp = match epilogue.activation {
            Activation::Identity => None,
            Activation::Clamp(lo, hi) => Some((lo, hi)),
        };
        let quick = epilogue.bias.is_some() || epilogue.residual.is_some() || clamp.is_some();
        Ok(ReadyFinish {
            nothing: !quick && epilogue.rest.is_none(),
            quick,
            clamp: clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY)),
            epilogue,
            level: Level::of(isa),
            outer: axes.iter().map(|a| a.0).collect(),
            run,
            operands,
        })
    }
}

/// The operands of an epilogue in one run.
pub(crate) type Operands<'a> = [&'a [f32]; MAX_OPERANDS];

/// A compiled [`Finish`].
#[derive(Clone, Debug)]
pub(crate) struct ReadyFinish {
    nothing: bool,
    quick: bool,
    clamp: (f32, f32),
    epilogue: CompiledEpilogue,
    level: Level,
    /// Axes outside a run of consecutive elements that read each operand in one way.
    outer: Vec<usize>,
    run: usize,
    /// Whether a run streams the operand (else it reads one value), and steps along the outer axes.
    operands: Vec<(bool, [usize; MAX_AXES])>,
}

impl ReadyFinish {
    /// The operands: the kernel's inputs from number `from` on.
    pub(crate) fn operands<'a>(&self, args: &crate::Args<'a>, from: usize) -> Operands<'a> {
        let mut list: Operands<'a> = [&[]; MAX_OPERANDS];
        for (i, o) in list.iter_mut().enumerate().take(self.operands.len()) {
            *o = args.input(from + i);
        }
        list
    }

    /// Whether it leaves values as they are.
    pub(crate) fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Finishes `values`, the result's elements from number `start` on.
    pub(crate) fn apply(&self, start: usize, values: &mut [f32], operands: &Operands<'_>) {
        if self.nothing {
            return;
        }
        let mut done = 0;
        while done < values.len() {
            let (mut index, offset) = ((start + done) / self.run, (start + done) % self.run);
            let len = (self.run - offset).min(values.len() - done);
            let mut bases = [0; MAX_OPERANDS];
            for (axis, &size) in self.outer.iter().enumerate().rev() {
                let i = index % size;
                index /= size;
                for (base, (_, steps)) in bases.iter_mut().zip(&self.operands) {
                    *base += i * steps[axis];
                }
            }
            let read = |i: usize| {
                if self.operands[i].0 {
                    TapeInput::Stream(&operands[i][bases[i] + offset..bases[i] + offset + len])
                } else {
                    TapeInput::Splat(operands[i][bases[i]])
                }
            };
            let part = &mut values[done..done + len];
            if self.quick {
                let bias = self.epilogue.bias.map_or(TapeInput::Splat(0.0), read);
                let residual = self.epilogue.residual.map(read);
                quick(self.level, part, bias, residual, self.clamp);
            }
            self.epilogue.finish(part, |i, _| read(i));
            done += len;
        }
    }
}

per_level! {
    /// `values ← clamp(values + bias + residual)`.
    fn quick(values: &mut [f32], bias: TapeInput<'_>, residual: Option<TapeInput<'_>>, clamp: (f32, f32)) = quick_body
}

#[inline(always)]
fn quick_body<const FMA: bool>(
    values: &mut [f32],
    bias: TapeInput<'_>,
    residual: Option<TapeInput<'_>>,
    (lo, hi): (f32, f32),
) {
    let clamp = |x: f32| {
        let x = if x < lo { lo } else { x };
        if x > hi { hi } else { x }
    };
    match (bias, residual) {
        (TapeInput::Stream(b), Some(TapeInput::Stream(r))) => {
            for ((v, b), r) in values.iter_mut().zip(b).zip(r) {
                *v = clamp(*v + b + r);
            }
        }
        (TapeInput::Stream(b), _) => {
            for (v, b) in values.iter_mut().zip(b) {
                *v = clamp(*v + b);
            }
        }
        (TapeInput::Splat(b), Some(TapeInput::Stream(r))) => {
            for (v, r) in values.iter_mut().zip(r) {
                *v = clamp(*v + b + r);
            }
        }
        (TapeInput::Splat(b), Some(TapeInput::Splat(r))) => {
            for v in values {
                *v = clamp(*v + b + r);
            }
        }
        (TapeInput::Splat(b), _) => {
            for v in values {
                *v = clamp(*v + b);
            }
        }
        // The compiled epilogue reads operands in the two ways above only.
        (TapeInput::Repeat(_), _) => {}
    }
}
