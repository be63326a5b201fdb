//! Pools, and means and largest elements of whole images, which are pools too.

use tactician_cuda::cudnn::{NodeSpec, PoolKind};
use tactician_ir::{Pool, Problem, ReduceKind};
use tactician_types::Layout;

use super::{Call, Description, View};

/// What is pooled how.
pub(crate) struct Windows {
    kind: PoolKind,
    window: Vec<u32>,
    pads: Vec<(u32, u32)>,
    strides: Vec<u32>,
}

impl Windows {
    /// A pool of `x` to `y`; `None` for kinds that cuDNN lacks.
    pub(crate) fn of(op: &Pool, x: &[usize], y: &[usize]) -> Option<Windows> {
        let kind = match op.kind {
            tactician_ir::PoolKind::Max => PoolKind::Max,
            tactician_ir::PoolKind::Average { count_pad } => PoolKind::Mean { count_pad },
            tactician_ir::PoolKind::Lp { .. } => return None,
        };
        if op.dilations.iter().any(|&d| d != 1) {
            return None;
        }
        let mut pads = Vec::with_capacity(op.pads.len());
        for (i, &(before, after)) in op.pads.iter().enumerate() {
            // Where the last window reaches beyond the padding there is more of it.
            let reach =
                y.get(2 + i)?.checked_sub(1)?.checked_mul(op.strides[i])?.checked_add(op.window[i])?;
            let needed = reach.saturating_sub(x.get(2 + i)?.checked_add(before)?);
            // Beyond the padding there is nothing that could count.
            if needed > after && kind == (PoolKind::Mean { count_pad: true }) {
                return None;
            }
            pads.push((number(before)?, number(needed.max(after))?));
        }
        let numbers = |list: &[usize]| list.iter().map(|&n| number(n)).collect::<Option<Vec<u32>>>();
        Some(Windows { kind, window: numbers(&op.window)?, pads, strides: numbers(&op.strides)? })
    }

    /// One window over all spatial axes.
    pub(crate) fn whole(kind: ReduceKind, x: &[usize]) -> Option<Windows> {
        let kind = match kind {
            ReduceKind::Mean => PoolKind::Mean { count_pad: false },
            ReduceKind::Max => PoolKind::Max,
            _ => return None,
        };
        let window = x.get(2..)?.iter().map(|&n| number(n)).collect::<Option<Vec<u32>>>()?;
        Some(Windows { kind, pads: vec![(0, 0); window.len()], strides: vec![1; window.len()], window })
    }
}

fn number(n: usize) -> Option<u32> {
    u32::try_from(n).ok()
}

/// The graph of a pool of operand 0, stored in `layout`, to a result that `view` describes.
pub(crate) fn pool(problem: &Problem, layout: Layout, view: View, mut windows: Windows) -> Option<Call> {
    let sizes = problem.operands.first()?.ty.sizes()?;
    let images = View::images(sizes.len(), layout)?;
    // One spatial axis has become two.
    if sizes.len() == 3 {
        windows.window.insert(0, 1);
        windows.pads.insert(0, (0, 0));
        windows.strides.insert(0, 1);
    }
    let mut d = Description::new(problem, view)?;
    let tensor = images.tensor(d.dtype, &images.sizes(&sizes)?, tactician_cuda::cudnn::Role::Virtual);
    let x = d.operand(0, layout, tensor)?;
    let Windows { kind, window, pads, strides } = windows;
    d.finish(|y| NodeSpec::Pool { kind, x, y, window, pads, strides })
}
