//! Pools over the whole image are reductions.

use tactician_ir::{Change, Graph, NodeId, Op, Patch, PoolKind, Reduce, ReduceKind};

use crate::pipeline::Rewrite;
use crate::util::size;

/// An unpadded pool whose window is the whole image becomes a reduction over all spatial axes that keeps
/// them: the one form of global pools.
#[derive(Debug)]
pub struct GlobalPoolToReduce;

impl Rewrite for GlobalPoolToReduce {
    fn name(&self) -> &'static str {
        "global_pool_to_reduce"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let (Op::Pool(pool), &[x]) = (&node.op, node.inputs()) else { return None };
        let ty = graph.ty(x);
        let whole = pool.window.iter().enumerate().all(|(i, &w)| size(ty, i + 2) == Some(w));
        let plain = pool.pads.iter().all(|&p| p == (0, 0)) && pool.dilations.iter().all(|&d| d == 1);
        if !whole || !plain {
            return None;
        }
        let kind = match pool.kind {
            PoolKind::Max => ReduceKind::Max,
            PoolKind::Average { .. } => ReduceKind::Mean,
            PoolKind::Lp { p: 1 } => ReduceKind::L1,
            PoolKind::Lp { p: 2 } => ReduceKind::L2,
            PoolKind::Lp { .. } => return None,
        };
        let axes = (2..ty.rank()).collect();
        let mut patch = Patch::new(graph);
        let new =
            patch.add(Op::Reduce(Reduce { kind, axes, keep_dims: true }), &[x.into()], &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::Pool;

    fn pooled(kind: PoolKind, window: usize, pad: usize) -> Graph {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3, 5, 5]);
        let pool = Pool {
            kind,
            window: vec![window; 2],
            strides: vec![2; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            ceil: false,
        };
        let y = g.add(Op::Pool(pool), &[x], "p").unwrap();
        g.mark_output("y", y);
        g
    }

    #[test]
    fn global_pools_are_reductions() {
        for (kind, want) in [
            (PoolKind::Average { count_pad: false }, ReduceKind::Mean),
            (PoolKind::Average { count_pad: true }, ReduceKind::Mean),
            (PoolKind::Max, ReduceKind::Max),
            (PoolKind::Lp { p: 1 }, ReduceKind::L1),
            (PoolKind::Lp { p: 2 }, ReduceKind::L2),
        ] {
            let after = check("global_pool_to_reduce", &pooled(kind, 5, 0));
            let Op::Reduce(r) = &after.producer(after.outputs()[0].1).op else { panic!() };
            assert_eq!((r.kind, r.axes.as_slice(), r.keep_dims), (want, &[2, 3][..], true));
        }
    }

    #[test]
    fn other_pools_stay() {
        unchanged("global_pool_to_reduce", &pooled(PoolKind::Max, 4, 0));
        unchanged("global_pool_to_reduce", &pooled(PoolKind::Average { count_pad: true }, 5, 1));
        unchanged("global_pool_to_reduce", &pooled(PoolKind::Lp { p: 3 }, 5, 0));
    }
}
