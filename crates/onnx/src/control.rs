//! `If`, `Loop` and `Scan`, whose bodies are graphs: a condition that is known chooses its branch, another one chooses
//! between the results of both; loops are unrolled.
//!
//! Nothing in a graph has side effects, so both branches may be computed.

use tactician_ir::{
    Concat, Dim, Expand, Expr, ExprNode, Op, Reshape, Shape, Slice, SliceAxis, Tensor, TensorType, ValueId,
};

use crate::import::{Import, Val};
use crate::node::Node;
use crate::proto::{GraphProto, NodeProto};
use crate::walk::{Scope, walk};

/// Imports a node with nested graphs, which see the names of the scope.
pub(crate) type ControlImporter =
    for<'m> fn(&mut Import<'_>, &Node<'_>, &'m NodeProto, &Scope<'_, 'm>) -> Result<Vec<Val>, String>;

/// The importer of an operator with nested graphs.
pub(crate) fn importer(op: &str) -> Option<ControlImporter> {
    match op {
        "If" => Some(branches),
        "Loop" => Some(unrolled_loop),
        "Scan" => Some(unrolled_scan),
        _ => None,
    }
}

fn graph<'m>(node: &'m NodeProto, name: &str) -> Result<&'m GraphProto, String> {
    let found = node.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
    found.ok_or_else(|| format!("its attribute `{name}` is missing"))
}

/// Imports a nested graph once, for these values of its inputs; gives its outputs.
fn body<'m>(
    import: &mut Import<'_>,
    graph: &'m GraphProto,
    scope: &Scope<'_, 'm>,
    inputs: Vec<Val>,
) -> Result<Vec<Val>, String> {
    let cost = graph.node.len() + 1;
    import.nested =
        import.nested.checked_sub(cost).ok_or("its loops and branches have too many nodes in all")?;
    if graph.input.len() != inputs.len() {
        return Err(format!("its graph has {} inputs and is given {}", graph.input.len(), inputs.len()));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("its graph has sparse initialisers".into());
    }
    let mut inner = Scope::new(Some(scope));
    for (i, value) in graph.input.iter().zip(inputs) {
        inner.names.insert(&i.name, value);
    }
    for t in &graph.initializer {
        let constant = crate::tensor::convert(t, import.folder).map_err(|e| e.to_string())?;
        let value = import.constant(&t.name, constant);
        inner.names.insert(&t.name, Val::Tensor(value));
    }
    let mut failed = Vec::new();
    walk(import, &graph.node, &mut inner, &mut failed).map_err(|e| format!("in its graph: {e}"))?;
    if let Some(first) = failed.first() {
        return Err(format!("in its graph: {first}"));
    }
    let output = |name: &str| {
        inner.get(name).cloned().ok_or_else(|| format!("its graph does not define its output `{name}`"))
    };
    graph.output.iter().map(|o| output(&o.name)).collect()
}

fn branches<'m>(
    import: &mut Import<'_>,
    n: &Node<'_>,
    proto: &'m NodeProto,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let condition = n.val(0)?.clone();
    let (yes, no) = (graph(proto, "then_branch")?, graph(proto, "else_branch")?);
    if let Some(known) = import.known_bool(&condition) {
        return body(import, if known { yes } else { no }, scope, vec![]);
    }
    let c = import.tensor(&condition, n.label)?;
    let c = import.add(Op::Reshape(Reshape { shape: Shape::default() }), &[c], n.label)?;
    let (yes, no) = (body(import, yes, scope, vec![])?, body(import, no, scope, vec![])?);
    if yes.len() != no.len() {
        return Err(format!("its branches have {} and {} outputs", yes.len(), no.len()));
    }
    let mut out = Vec::with_capacity(yes.len());
    for (yes, no) in yes.iter().zip(&no) {
        let (a, b) = (import.tensor(yes, n.label)?, import.tensor(no, n.label)?);
        let (ta, tb) = (import.ty(a), import.ty(b));
        if ta != tb {
            return Err(format!(
                "its condition depends on data, and its branches give {ta} and {tb}; they must agree, or the \
                 condition must be known (an input can be given its value)"
            ));
        }
        let mut e = Expr::empty();
        let [c_, a_, b_] = [0, 1, 2].map(|k| e.push(ExprNode::Input(k)));
        e.push(ExprNode::Select(c_, a_, b_));
        out.push(Val::Tensor(import.add(Op::Pointwise(e), &[c, a, b], n.label)?));
    }
    Ok(out)
}

/// Values of the steps of a loop, joined along a new axis. `like` is what a step gives: that of a loop of no steps are none
/// of its type.
fn stacked(
    import: &mut Import<'_>,
    steps: &[ValueId],
    like: ValueId,
    axis: i64,
    name: &str,
) -> Result<Val, String> {
    let TensorType { dtype, mut shape } = import.ty(like);
    let rank = shape.rank() as i64 + 1;
    let at = if axis < 0 { axis + rank } else { axis };
    if !(0..rank).contains(&at) {
        return Err(format!("an output axis of {axis} for results of rank {rank}"));
    }
    if steps.is_empty() {
        shape.0.insert(at as usize, Dim::known(0));
        return zeros(import, TensorType { dtype, shape }, name);
    }
    shape.0.insert(at as usize, Dim::known(1));
    let mut parts = Vec::with_capacity(steps.len());
    for &v in steps {
        parts.push(import.add(Op::Reshape(Reshape { shape: shape.clone() }), &[v], name)?);
    }
    Ok(Val::Tensor(import.add(Op::Concat(Concat { axis: at as usize }), &parts, name)?))
}

/// Zeros of a type, whose sizes may be open.
fn zeros(import: &mut Import<'_>, ty: TensorType, name: &str) -> Result<Val, String> {
    let zero = Tensor::from_bytes(ty.dtype, &[], vec![0; ty.dtype.size()]).map_err(|e| e.to_string())?;
    let zero = import.constant(name, zero);
    Ok(Val::Tensor(import.add(Op::Expand(Expand { shape: ty.shape }), &[zero], name)?))
}

fn unrolled_loop<'m>(
    import: &mut Import<'_>,
    n: &Node<'_>,
    proto: &'m NodeProto,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let inner = graph(proto, "body")?;
    let most = match n.known_ints(0, import)? {
        Some(l) => *l.first().ok_or("its number of steps is an empty tensor")?,
        None if n.given(0) => return Err("its number of steps depends on data".into()),
        None => i64::MAX,
    };
    let unknown =
        "whether it goes on depends on data; only loops whose steps can be counted at import are unrolled";
    let mut go = match n.given(1) {
        true => import.known_bool(n.val(1)?).ok_or(unknown)?,
        false => true,
    };
    let carried = n.inputs.len().saturating_sub(2);
    let mut state: Vec<Val> = n.inputs.iter().skip(2).map(|v| v.clone().unwrap_or(Val::Nothing)).collect();
    let collected = (inner.output.len()).checked_sub(1 + carried).ok_or("its graph has too few outputs")?;
    let mut steps: Vec<Vec<ValueId>> = vec![Vec::new(); collected];
    let mut step = 0;
    let one_step = |import: &mut Import<'_>, step: i64, state: Vec<Val>| {
        let constant = |import: &mut Import<'_>, t| Val::Tensor(import.constant(n.label, t));
        let number = constant(import, Tensor::scalar(step));
        let always = constant(import, Tensor::bools(&[], &[true]).map_err(|e| e.to_string())?);
        let inputs = [number, always].into_iter().chain(state).collect();
        body(import, inner, scope, inputs).map(Vec::into_iter)
    };
    while go && step < most {
        let mut results = one_step(import, step, state)?;
        let condition = results.next().ok_or("its graph has no outputs")?;
        go = import.known_bool(&condition).ok_or(unknown)?;
        state = results.by_ref().take(carried).collect();
        for (list, v) in steps.iter_mut().zip(results) {
            list.push(import.tensor(&v, n.label)?);
        }
        step += 1;
    }
    // The types of what a loop of no steps collects are those that a step would give.
    let like = match (collected, step) {
        (0, _) | (_, 1..) => steps.iter().filter_map(|l| l.first().copied()).collect(),
        _ => {
            let results = one_step(import, 0, state.clone())?;
            tensors(import, results.skip(1 + carried), n.label)?
        }
    };
    for (list, &like) in steps.iter().zip(&like) {
        state.push(stacked(import, list, like, 0, n.label)?);
    }
    Ok(state)
}

fn tensors(
    import: &mut Import<'_>,
    values: impl Iterator<Item = Val>,
    name: &str,
) -> Result<Vec<ValueId>, String> {
    values.map(|v| import.tensor(&v, name)).collect()
}

fn unrolled_scan<'m>(
    import: &mut Import<'_>,
    n: &Node<'_>,
    proto: &'m NodeProto,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    if import.opset < 9 {
        return Err("its form before operator set 9, with a batch axis, is not supported".into());
    }
    let inner = graph(proto, "body")?;
    let over = usize::try_from(n.int("num_scan_inputs", 0)).ok().filter(|&k| k > 0 && k <= n.inputs.len());
    let over = over.ok_or("`num_scan_inputs` does not fit its operands")?;
    let carried = n.inputs.len() - over;
    let collected = inner.output.len().checked_sub(carried).ok_or("its graph has too few outputs")?;
    let number = |name: &str, k: usize| n.ints(name).and_then(|l| l.get(k)).copied().unwrap_or(0);
    let mut inputs = Vec::with_capacity(over);
    let mut count = None;
    for k in 0..over {
        let v = n.tensor(carried + k, import)?;
        let shape = import.ty(v).shape;
        let axis = n.axis(number("scan_input_axes", k), shape.rank())?;
        let len = shape.dims()[axis].as_i64();
        let len = len.ok_or("the axis that it walks along is open; give the input shapes (--shape)")?;
        if *count.get_or_insert(len) != len {
            return Err(format!("it walks along axes of {} and {len} elements", count.unwrap_or(0)));
        }
        inputs.push((v, shape, axis));
    }
    let count = count.unwrap_or(0);
    let mut state: Vec<Val> =
        n.inputs.iter().take(carried).map(|v| v.clone().unwrap_or(Val::Nothing)).collect();
    let mut steps: Vec<Vec<ValueId>> = vec![Vec::new(); collected];
    for step in 0..count {
        let mut given = state;
        for (k, (v, shape, axis)) in inputs.iter().enumerate() {
            let at = if number("scan_input_directions", k) == 0 { step } else { count - 1 - step };
            let axes = vec![SliceAxis { axis: *axis, start: Dim::known(at), len: Dim::known(1), step: 1 }];
            let part = import.add(Op::Slice(Slice { axes }), &[*v], n.label)?;
            let mut shape = shape.clone();
            shape.0.remove(*axis);
            given.push(Val::Tensor(import.add(Op::Reshape(Reshape { shape }), &[part], n.label)?));
        }
        let mut results = body(import, inner, scope, given)?.into_iter();
        state = results.by_ref().take(carried).collect();
        for (list, v) in steps.iter_mut().zip(results) {
            list.push(import.tensor(&v, n.label)?);
        }
    }
    // As for loops, a step that is not taken tells types.
    let like = match (collected, count) {
        (0, _) | (_, 1..) => steps.iter().filter_map(|l| l.first().copied()).collect(),
        _ => {
            let mut given = state.clone();
            for (v, shape, axis) in &inputs {
                let (dtype, mut shape) = (import.ty(*v).dtype, shape.clone());
                shape.0.remove(*axis);
                given.push(zeros(import, TensorType { dtype, shape }, n.label)?);
            }
            let results = body(import, inner, scope, given)?.into_iter();
            tensors(import, results.skip(carried), n.label)?
        }
    };
    for (k, (list, &like)) in steps.iter_mut().zip(&like).enumerate() {
        if number("scan_output_directions", k) != 0 {
            list.reverse();
        }
        state.push(stacked(import, list, like, number("scan_output_axes", k), n.label)?);
    }
    Ok(state)
}
