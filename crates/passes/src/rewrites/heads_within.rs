//! Attention reads its operands out of the tensors that they were cut and turned out of.

use tactician_ir::{
    Attention, Binary, Change, Concat, Expr, Graph, HeadsIn, MatMul, NodeId, Op, Patch, PatchValue, Reshape,
    Shape, ValueId,
};

use crate::pipeline::Rewrite;
use crate::util::{is_binary, op_of, pointwise, read_once};
use crate::views::{View, row_major};

/// `attention` of a `q`, `k` or `v` that slices, transposes and reshapes took out of a larger tensor reads that tensor itself,
/// where heads lie in it at even distances. The steps stay for other readers, if any.
#[derive(Debug)]
pub struct HeadsWithin;

impl Rewrite for HeadsWithin {
    fn name(&self) -> &'static str {
        "heads_within"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let Op::Attention(old) = &node.op else { return None };
        let mut op = *old;
        let mut inputs: Vec<PatchValue> = node.inputs().iter().map(|&v| v.into()).collect();
        for which in 0..3 {
            let of = sizes(graph, old, node.inputs(), which)?;
            let mut view = operand(graph, old, node.inputs(), which)?;
            let mut found = None;
            let mut moved = false;
            while let Some(before) = view.before(graph) {
                moved |= !matches!(op_of(graph, view.value), Op::Reshape(_));
                view = before;
                // Only what moves elements is worth to read past.
                if let (true, Some(within)) = (moved, heads(&view, &of)) {
                    found = Some((view.value, within));
                }
            }
            if let Some((value, within)) = found {
                (op.within[which], op.heads_inside[which], inputs[which]) =
                    (Some(within), false, value.into());
            }
        }
        if op == *old {
            return None;
        }
        let mut patch = Patch::new(graph);
        let new = patch.add(Op::Attention(op), &inputs, &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// Two or three of `q`, `k` and `v` that are products of one tensor with constants become parts of one product, whose rows
/// attention reads them out of: one larger product takes less time than several small ones.
#[derive(Debug)]
pub struct ProductsOfHeads;

impl Rewrite for ProductsOfHeads {
    fn name(&self) -> &'static str {
        "products_of_heads"
    }

    fn find(&self, graph: &Graph, id: NodeId) -> Option<Change> {
        let node = graph.node(id);
        let Op::Attention(old) = &node.op else { return None };
        let all: Vec<Option<Product>> = (0..3).map(|i| product(graph, old, node.inputs(), i)).collect();
        let alike = |a: &Option<Product>, b: &Product| a.as_ref().is_some_and(|a| a.alike(b));
        let first = all.iter().flatten().find(|&p| all.iter().filter(|a| alike(a, p)).count() > 1)?;
        let members: Vec<(usize, &Product)> = all
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((i, p.as_ref().filter(|p| p.alike(first))?)))
            .collect();
        let width: usize = members.iter().map(|(_, p)| p.columns).sum();

        let mut patch = Patch::new(graph);
        let name = &graph.producer(first.product).name;
        let join = |patch: &mut Patch<'_>, parts: Vec<PatchValue>, axis: usize| {
            patch.add(Op::Concat(Concat { axis }), &parts, name).ok()
        };
        let weights = members.iter().map(|(_, p)| p.weights.into()).collect();
        let weights = join(&mut patch, weights, usize::from(!first.trans_b))?;
        let op = MatMul { trans_a: false, trans_b: first.trans_b };
        let mut y = patch.add(Op::MatMul(op), &[first.x.into(), weights], name).ok()?;
        if first.bias.is_some() {
            let mut parts = Vec::with_capacity(members.len());
            for (_, p) in &members {
                let flat = Reshape { shape: Shape::known(&[p.columns]) };
                parts.push(patch.add(Op::Reshape(flat), &[p.bias?.into()], name).ok()?);
            }
            let bias = join(&mut patch, parts, 0)?;
            y = patch.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, bias], name).ok()?;
        }
        let mut inputs: Vec<PatchValue> = node.inputs().iter().map(|&v| v.into()).collect();
        let (mut op, mut before) = (*old, 0);
        for (which, p) in members {
            let mut steps = row_major(&p.sizes)?;
            let last = steps.len() - 1;
            // Rows are longer now.
            steps[..last].iter_mut().for_each(|s| *s = *s / p.columns * width);
            let view = p.view.moved(p.view.value, &p.sizes, before, &steps)?;
            let within = heads(&view, &sizes(graph, old, node.inputs(), which)?)?;
            (op.within[which], op.heads_inside[which], inputs[which]) = (Some(within), false, y);
            before += p.columns;
        }
        let new = patch.add(Op::Attention(op), &inputs, &node.name).ok()?;
        patch.replace(id.value(), new).ok()?;
        Some(patch.finish())
    }
}

/// `[B, H, S, D]` of an operand, where known.
fn sizes(graph: &Graph, op: &Attention, inputs: &[ValueId], which: usize) -> Option<[usize; 4]> {
    op.operand_sizes(which, &graph.ty(*inputs.get(which)?).sizes()?)
}

/// An operand's own elements along `[B, H, S, D]`.
fn operand(graph: &Graph, op: &Attention, inputs: &[ValueId], which: usize) -> Option<View> {
    let value = *inputs.get(which)?;
    let of = sizes(graph, op, inputs, which)?;
    if let Some(HeadsIn { offset, strides: [b, h, s], .. }) = op.within[which] {
        let axes = [(of[0], b), (of[1], h), (of[2], s), (of[3], 1)];
        return Some(View::new(value, &axes).starting_at(offset));
    }
    let strides: [usize; 4] = row_major(&graph.ty(value).sizes()?)?.try_into().ok()?;
    let strides = op.heads_outside(which, &strides);
    let axes: Vec<(usize, usize)> = of.into_iter().zip(strides).collect();
    Some(View::new(value, &axes))
}

/// A view of `[B, H, S, D]` as attention takes it.
fn heads(view: &View, sizes: &[usize; 4]) -> Option<HeadsIn> {
    let [b, h, s, d]: [usize; 4] = view.strides()?.try_into().ok()?;
    if d != 1 && sizes[3] != 1 {
        return None;
    }
    // Along an axis of size 1 any stride will do: that of heads inside the length.
    let dense = [sizes[2] * sizes[1] * sizes[3], sizes[3], sizes[1] * sizes[3]];
    let given = [b, h, s];
    let strides: [usize; 3] = std::array::from_fn(|i| if sizes[i] == 1 { dense[i] } else { given[i] });
    // Kernels read eight elements at a time, which must not end with it.
    let whole = |n: usize| n.is_multiple_of(8);
    if whole(sizes[3]) && !(whole(view.offset) && strides.into_iter().all(whole)) {
        return None;
    }
    Some(HeadsIn { offset: view.offset, sizes: *sizes, strides })
}

/// An operand that is a product of a tensor with a constant, perhaps plus a constant, which nothing else reads.
struct Product {
    /// Of the matrices alone.
    product: ValueId,
    x: ValueId,
    weights: ValueId,
    trans_b: bool,
    bias: Option<ValueId>,
    /// Columns of the product.
    columns: usize,
    /// Sizes of the product.
    sizes: Vec<usize>,
    /// Where the operand lies in it.
    view: View,
}

impl Product {
    fn alike(&self, other: &Product) -> bool {
        self.x == other.x && self.trans_b == other.trans_b && self.bias.is_some() == other.bias.is_some()
    }
}

fn product(graph: &Graph, op: &Attention, inputs: &[ValueId], which: usize) -> Option<Product> {
    let alone = |v: ValueId| read_once(graph, v) && !graph.is_output(v);
    let mut view = operand(graph, op, inputs, which)?;
    while matches!(op_of(graph, view.value), Op::Reshape(_) | Op::Transpose(_)) {
        if !alone(view.value) {
            return None;
        }
        view = view.before(graph)?;
    }
    if !alone(view.value) {
        return None;
    }
    let sizes = graph.ty(view.value).sizes()?;
    let &columns = sizes.last()?;
    let (mut at, mut bias) = (view.value, None);
    if let Some(e) = pointwise(graph, at.node()) {
        let &[a, b] = graph.producer(at).inputs() else { return None };
        if !is_binary(e, Binary::Add) {
            return None;
        }
        let row = |v: ValueId| {
            graph.constant(v).is_some_and(|t| {
                t.sizes().iter().product::<usize>() == columns && t.sizes().last() == Some(&columns)
            })
        };
        let (sum, constant) = if row(b) { (a, b) } else { (b, a) };
        if !row(constant) || !alone(sum) || graph.ty(sum) != graph.ty(at) {
            return None;
        }
        (at, bias) = (sum, Some(constant));
    }
    let (Op::MatMul(m), &[x, weights]) = (op_of(graph, at), graph.producer(at).inputs()) else { return None };
    let plain = !m.trans_a && graph.constant(weights).is_some_and(|w| w.sizes().len() == 2);
    plain.then_some(Product { product: at, x, weights, trans_b: m.trans_b, bias, columns, sizes, view })
}

#[cfg(test)]
#[path = "heads_within_tests.rs"]
mod tests;
