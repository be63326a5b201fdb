//! `pointwise.any`: an expression over operands of any types that broadcast, interpreted.

use std::mem::MaybeUninit;

use serde::{Deserialize, Serialize};
use tactician_device::Isa;
use tactician_types::{DType, Expr, ExprNode, MAX_EXPR_NODES};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::ops::cell;
use crate::ops::grid::{Collapsed, Grid, MAX_GRID_AXES};
use crate::ops::pointwise::for_each_part;
use crate::threads::{SharedMut, Threads};

/// Evaluates an expression for every element of a grid, in plain layout. Inputs: its operands. One output, no scratch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointwiseAny {
    /// The expression; input `i` is operand `i`.
    pub expr: Expr,
    /// Types of the operands.
    pub types: Vec<DType>,
    /// The grid.
    pub grid: Grid,
    /// Made by `prepare`.
    #[serde(skip)]
    pub ready: Option<AnyReady>,
}

/// What `prepare` makes.
#[derive(Clone, Debug)]
pub struct AnyReady {
    /// Type of each node.
    types: Vec<DType>,
    axes: Vec<usize>,
    strides: Vec<[usize; MAX_GRID_AXES]>,
}

/// Cells for all nodes: the fewer nodes, the more elements at a time.
const CELLS: usize = 8192;
/// Most elements at a time.
const MOST: usize = 128;

const _: () = assert!(CELLS >= MAX_EXPR_NODES);

/// Bytes of `n` elements.
pub(crate) fn size_of_any(t: DType, n: usize) -> Result<u64, KernelError> {
    let bytes = n.checked_mul(t.size()).filter(|&b| b <= isize::MAX as usize);
    bytes.map(|b| b as u64).ok_or_else(|| "sizes overflow".to_owned())
}

impl PointwiseAny {
    /// The kernel of an expression over operands of these types.
    pub fn new(expr: Expr, types: Vec<DType>, grid: Grid) -> Self {
        PointwiseAny { expr, types, grid, ready: None }
    }
}

impl Kernel for PointwiseAny {
    const NAME: &'static str = "pointwise.any";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        let lens = self.grid.operand_lens()?;
        self.expr.check()?;
        let types = self.expr.dtypes(&self.types)?;
        if lens.len() != self.types.len() {
            return Err(format!("{} operands have {} types", lens.len(), self.types.len()));
        }
        let out = types[types.len() - 1];
        Ok(ArgSizes {
            inputs: lens
                .iter()
                .zip(&self.types)
                .map(|(&n, &t)| size_of_any(t, n))
                .collect::<Result<_, _>>()?,
            outputs: vec![size_of_any(out, self.grid.elements()?)?],
            scratch: 0,
        })
    }

    fn prepare(&mut self, _isa: Isa) -> Result<(), KernelError> {
        let axes = Collapsed::new(&self.grid);
        self.ready = Some(AnyReady {
            types: self.expr.dtypes(&self.types)?,
            strides: (0..self.types.len()).map(|i| axes.strides(i)).collect(),
            axes: axes.sizes,
        });
        Ok(())
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        let ready = self.ready.as_ref().expect("prepared");
        let n: usize = self.grid.sizes.iter().product();
        let size = ready.types[self.expr.nodes().len() - 1].size();
        let out = SharedMut::new(args.output::<u8>(0));
        for_each_part(threads, n, |start, end| {
            // SAFETY: parts are disjoint and inside the output, whose length `sizes` gave.
            let out = unsafe { out.slice(start * size, (end - start) * size) };
            self.part(ready, start, out, &|i| args.input::<u8>(i));
        });
    }
}

impl PointwiseAny {
    /// Evaluates elements from `start` on.
    fn part<'a>(&self, ready: &AnyReady, start: usize, out: &mut [u8], operand: &dyn Fn(usize) -> &'a [u8]) {
        let mut cells = [const { MaybeUninit::<u64>::uninit() }; CELLS];
        let nodes = self.expr.nodes();
        let block = (CELLS / nodes.len()).min(MOST);
        let types = &ready.types;
        let result = types[nodes.len() - 1];
        let count = out.len() / result.size();
        let mut done = 0;
        while done < count {
            let len = block.min(count - done);
            for (i, node) in nodes.iter().enumerate() {
                let (before, here) = cells.split_at_mut(i * block);
                let here = &mut here[..len];
                here.fill(MaybeUninit::new(0));
                // SAFETY: the line above wrote them.
                let here = unsafe { &mut *(here as *mut [MaybeUninit<u64>] as *mut [u64]) };
                let at = |node: u16| {
                    let cells = &before[node as usize * block..][..len];
                    // SAFETY: nodes use earlier ones only, and these were written in this round.
                    unsafe { &*(cells as *const [MaybeUninit<u64>] as *const [u64]) }
                };
                let of = |node: u16| types[node as usize];
                match *node {
                    ExprNode::Input(k) => {
                        let k = k as usize;
                        ready.read(k, self.types[k], operand(k), start + done, here);
                    }
                    ExprNode::Const(c) => {
                        let bits = if c.dtype.is_float() { c.as_f64().to_bits() } else { c.as_i64() as u64 };
                        here.fill(cell::normal(c.dtype, bits));
                    }
                    ExprNode::Unary(op, a) => cell::unary(op, of(a), at(a), here),
                    ExprNode::Binary(op, a, b) => cell::binary(op, of(a), at(a), at(b), here),
                    ExprNode::Select(c, a, b) => {
                        let (c, a, b) = (at(c), at(a), at(b));
                        for (l, h) in here.iter_mut().enumerate() {
                            *h = if c[l] != 0 { a[l] } else { b[l] };
                        }
                    }
                    ExprNode::Cast(t, a) => cell::cast_run(of(a), t, at(a), here),
                }
            }
            let last = &cells[(nodes.len() - 1) * block..][..len];
            // SAFETY: the last node's cells were written above.
            let last = unsafe { &*(last as *const [MaybeUninit<u64>] as *const [u64]) };
            cell::store_run(result, out, done, last);
            done += len;
        }
    }
}

impl AnyReady {
    /// Reads operand `k` for elements from `start` on, run by run along the last axis.
    fn read(&self, k: usize, t: DType, bytes: &[u8], start: usize, out: &mut [u64]) {
        let (axes, strides) = (&self.axes, &self.strides[k]);
        let Some(last) = axes.len().checked_sub(1) else { return out.fill(cell::load(t, bytes, 0)) };
        let mut index = [0; MAX_GRID_AXES];
        let (mut rest, mut at) = (start, 0);
        for axis in (0..=last).rev() {
            index[axis] = rest % axes[axis];
            rest /= axes[axis];
            at += index[axis] * strides[axis];
        }
        let mut done = 0;
        while done < out.len() {
            let len = (axes[last] - index[last]).min(out.len() - done);
            cell::load_run(t, bytes, at, strides[last], &mut out[done..done + len]);
            done += len;
            at += len * strides[last];
            index[last] += len;
            for axis in (1..=last).rev() {
                if index[axis] < axes[axis] {
                    break;
                }
                at -= axes[axis] * strides[axis];
                index[axis] = 0;
                index[axis - 1] += 1;
                at += strides[axis - 1];
            }
        }
    }
}

#[cfg(test)]
#[path = "pointwise_any_tests.rs"]
mod tests;
