//! `If`, `Loop`, `Scan` and `SequenceMap`, whose bodies are graphs: a condition that is known chooses its branch, another one chooses
//! between the results of both; loops are unrolled.
//!
//! Nothing in a graph has side effects, so both branches may be computed.

use tactician_ir::{
    Concat, Dim, Expand, Expr, ExprNode, Op, Reshape, Shape, Slice, SliceAxis, Tensor, TensorType, ValueId,
};

use crate::flex::flex_attention;
use crate::import::{Import, NESTED_NODES, Val};
use crate::node::Node;
use crate::proto::GraphProto;
use crate::walk::{Scope, walk};

/// Imports a node with nested graphs, which see the names of the scope.
pub(crate) type ControlImporter =
    for<'m> fn(&mut Import<'_>, &Node<'m>, &Scope<'_, 'm>) -> Result<Vec<Val>, String>;

/// The operators with nested graphs.
pub(crate) const OPERATORS: &[(&str, ControlImporter)] = &[
    ("If", branches),
    ("Loop", unrolled_loop),
    ("Scan", unrolled_scan),
    ("SequenceMap", sequence_map),
    ("ai.onnx.preview.FlexAttention", flex_attention),
];

/// Most nodes that a loop becomes where it can also be run step by step.
const UNROLLED_NODES: usize = 4000;

/// The importer of an operator with nested graphs.
pub(crate) fn importer(op: &str) -> Option<ControlImporter> {
    OPERATORS.iter().find(|(name, _)| *name == op).map(|(_, f)| *f)
}

/// Imports a nested graph once, for these values of its inputs; gives its outputs.
pub(crate) fn body<'m>(
    import: &mut Import<'_>,
    graph: &'m GraphProto,
    scope: &Scope<'_, 'm>,
    inputs: Vec<Val>,
) -> Result<Vec<Val>, String> {
    if graph.input.len() != inputs.len() {
        return Err(format!("its graph has {} inputs and is given {}", graph.input.len(), inputs.len()));
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
    for t in &graph.sparse_initializer {
        let constant = crate::tensor::dense(t, import.folder).map_err(|e| e.to_string())?;
        let name = crate::tensor::sparse_name(t);
        let value = import.constant(name, constant);
        inner.names.insert(name, Val::Tensor(value));
    }
    let mut failed = Vec::new();
    import.inside(graph.node.len(), |import| {
        walk(import, &graph.node, &mut inner, &mut failed).map_err(|e| format!("in its graph: {e}"))
    })?;
    if let Some(first) = failed.first() {
        return Err(format!("in its graph: {first}"));
    }
    let output = |name: &str| {
        inner.get(name).cloned().ok_or_else(|| format!("its graph does not define its output `{name}`"))
    };
    graph.output.iter().map(|o| output(&o.name)).collect()
}

fn branches<'m>(import: &mut Import<'_>, n: &Node<'m>, scope: &Scope<'_, 'm>) -> Result<Vec<Val>, String> {
    let condition = n.val(0)?.clone();
    let (yes, no) = (n.graph("then_branch")?, n.graph("else_branch")?);
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
                 condition must be known (if an input decides it, give the input its value: --value NAME=NUMBERS), \
                 or the model be run step by step"
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
    n: &Node<'m>,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let inner = n.graph("body")?;
    let most = match n.known_ints(0, import)? {
        Some(l) => *l.first().ok_or("its number of steps is an empty tensor")?,
        None if n.given(0) => {
            return Err("its number of steps depends on data; run the model step by step".into());
        }
        None => i64::MAX,
    };
    let unknown = "whether it goes on depends on data; only loops whose steps can be counted at import are unrolled, \
        others need the model to be run step by step";
    let mut go = match n.given(1) {
        true => import.known_bool(n.val(1)?).ok_or(unknown)?,
        false => true,
    };
    let carried = n.inputs.len().saturating_sub(2);
    let mut state: Vec<Val> = n.inputs.iter().skip(2).map(|v| v.clone().unwrap_or(Val::Nothing)).collect();
    let collected = (inner.output.len()).checked_sub(1 + carried).ok_or("its graph has too few outputs")?;
    let mut steps: Vec<Vec<ValueId>> = vec![Vec::new(); collected];
    let mut step = 0;
    let most_nodes = most_nodes(import, n);
    let one_step = |import: &mut Import<'_>, step: i64, state: Vec<Val>| {
        let constant = |import: &mut Import<'_>, t| Val::Tensor(import.constant(n.label, t));
        let number = constant(import, Tensor::scalar(step));
        let always = constant(import, Tensor::bools(&[], &[true]).map_err(|e| e.to_string())?);
        let inputs = [number, always].into_iter().chain(state).collect();
        body(import, inner, scope, inputs).map(Vec::into_iter)
    };
    while go && step < most {
        if (step as usize + 1).saturating_mul(inner.node.len()) > most_nodes {
            return Err(format!("its steps have more than {most_nodes} nodes in all"));
        }
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

/// Most nodes that a loop may become: fewer where it can also be run step by step, which is quicker for a long one.
fn most_nodes(import: &Import<'_>, n: &Node<'_>) -> usize {
    let has_lists = n.inputs.iter().flatten().any(|v| matches!(v, Val::Sequence(_) | Val::Nothing));
    let can_be_called = crate::stages::can_be_called(&n.proto.op_type, import.opset);
    match import.staging.is_some() && import.active.is_empty() && can_be_called && !has_lists {
        true => UNROLLED_NODES,
        false => NESTED_NODES,
    }
}

fn tensors(
    import: &mut Import<'_>,
    values: impl Iterator<Item = Val>,
    name: &str,
) -> Result<Vec<ValueId>, String> {
    values.map(|v| import.tensor(&v, name)).collect()
}

/// What a scan walks along.
struct Walk {
    values: ValueId,
    shape: Shape,
    axis: usize,
    backward: bool,
}

/// How a scan collects.
struct Collect {
    axis: i64,
    backward: bool,
}

fn unrolled_scan<'m>(
    import: &mut Import<'_>,
    n: &Node<'m>,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let inner = n.graph("body")?;
    // Until operator set 8 there is a batch axis in front of everything, and operand 0 are lengths.
    let batched = import.opset < 9;
    if batched && n.given(0) {
        return Err("lengths of its sequences are not supported".into());
    }
    let operands = &n.inputs[usize::from(batched).min(n.inputs.len())..];
    let over = usize::try_from(n.int("num_scan_inputs", 0)).ok().filter(|&k| k > 0 && k <= operands.len());
    let over = over.ok_or("`num_scan_inputs` does not fit its operands")?;
    let carried = operands.len() - over;
    let collected = inner.output.len().checked_sub(carried).ok_or("its graph has too few outputs")?;
    let number = |name: &str, k: usize| n.ints(name).and_then(|l| l.get(k)).copied().unwrap_or(0);
    let mut inputs = Vec::with_capacity(over);
    for (k, v) in operands[carried..].iter().enumerate() {
        let v = import.tensor(v.as_ref().ok_or("an operand is missing")?, n.label)?;
        let shape = import.ty(v).shape;
        inputs.push(match batched {
            true => Walk { values: v, shape, axis: 0, backward: number("directions", k) != 0 },
            false => {
                let axis = n.axis(number("scan_input_axes", k), shape.rank())?;
                Walk { values: v, shape, axis, backward: number("scan_input_directions", k) != 0 }
            }
        });
    }
    let collect = |k: usize| match batched {
        true => Collect { axis: 0, backward: false },
        false => Collect {
            axis: number("scan_output_axes", k),
            backward: number("scan_output_directions", k) != 0,
        },
    };
    let collects: Vec<Collect> = (0..collected).map(collect).collect();
    let state: Vec<Val> = operands[..carried].iter().map(|v| v.clone().unwrap_or(Val::Nothing)).collect();
    if !batched {
        return scan(import, n, inner, scope, state, &inputs, &collects);
    }
    let batch = inputs.first().and_then(|w| w.shape.dims().first()).and_then(Dim::as_usize);
    let batch = batch.ok_or("its batch is open or missing; give the input shapes (--shape)")?;
    let mut results: Vec<Vec<ValueId>> = vec![Vec::new(); inner.output.len()];
    for b in 0..batch {
        let part = |import: &mut Import<'_>, v: ValueId| -> Result<ValueId, String> {
            let mut shape = import.ty(v).shape;
            if shape.dims().first().and_then(Dim::as_usize) != Some(batch) {
                return Err(format!("its operands have other batches than {batch}"));
            }
            shape.0.remove(0);
            let axes = vec![SliceAxis { axis: 0, start: Dim::from(b), len: Dim::known(1), step: 1 }];
            let v = import.add(Op::Slice(Slice { axes }), &[v], n.label)?;
            import.add(Op::Reshape(Reshape { shape }), &[v], n.label)
        };
        let inputs = inputs.iter().map(|w| {
            let mut shape = w.shape.clone();
            shape.0.remove(0);
            Ok(Walk { values: part(import, w.values)?, shape, ..*w })
        });
        let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
        let mut given = Vec::with_capacity(state.len());
        for v in &state {
            let v = import.tensor(v, n.label)?;
            given.push(Val::Tensor(part(import, v)?));
        }
        for (list, v) in results.iter_mut().zip(scan(import, n, inner, scope, given, &inputs, &collects)?) {
            list.push(import.tensor(&v, n.label)?);
        }
    }
    let join = |list: &Vec<ValueId>| {
        let like = *list.first().ok_or("its batch is empty")?;
        stacked(import, list, like, 0, n.label)
    };
    results.iter().map(join).collect()
}

/// One scan: its last state, then what it collected.
fn scan<'m>(
    import: &mut Import<'_>,
    n: &Node<'_>,
    inner: &'m GraphProto,
    scope: &Scope<'_, 'm>,
    mut state: Vec<Val>,
    inputs: &[Walk],
    collects: &[Collect],
) -> Result<Vec<Val>, String> {
    let carried = state.len();
    let mut count = None;
    for w in inputs {
        let len = w.shape.dims().get(w.axis).ok_or("it walks along a scalar")?.as_i64();
        let len = len.ok_or("the axis that it walks along is open; give the input shapes (--shape)")?;
        if *count.get_or_insert(len) != len {
            return Err(format!("it walks along axes of {} and {len} elements", count.unwrap_or(0)));
        }
    }
    let count = count.unwrap_or(0);
    let (nodes, most_nodes) = ((count as usize).saturating_mul(inner.node.len()), most_nodes(import, n));
    if nodes > most_nodes {
        return Err(format!("its steps have more than {most_nodes} nodes in all"));
    }
    let mut steps: Vec<Vec<ValueId>> = vec![Vec::new(); collects.len()];
    for step in 0..count {
        let mut given = state;
        for w in inputs {
            let at = if w.backward { count - 1 - step } else { step };
            let axes = vec![SliceAxis { axis: w.axis, start: Dim::known(at), len: Dim::known(1), step: 1 }];
            let part = import.add(Op::Slice(Slice { axes }), &[w.values], n.label)?;
            let mut shape = w.shape.clone();
            shape.0.remove(w.axis);
            given.push(Val::Tensor(import.add(Op::Reshape(Reshape { shape }), &[part], n.label)?));
        }
        let mut results = body(import, inner, scope, given)?.into_iter();
        state = results.by_ref().take(carried).collect();
        for (list, v) in steps.iter_mut().zip(results) {
            list.push(import.tensor(&v, n.label)?);
        }
    }
    // As for loops, a step that is not taken tells types.
    let like = match (collects.len(), count) {
        (0, _) | (_, 1..) => steps.iter().filter_map(|l| l.first().copied()).collect(),
        _ => {
            let mut given = state.clone();
            for w in inputs {
                let (dtype, mut shape) = (import.ty(w.values).dtype, w.shape.clone());
                shape.0.remove(w.axis);
                given.push(zeros(import, TensorType { dtype, shape }, n.label)?);
            }
            let results = body(import, inner, scope, given)?.into_iter();
            tensors(import, results.skip(carried), n.label)?
        }
    };
    for ((list, &like), c) in steps.iter_mut().zip(&like).zip(collects) {
        if c.backward {
            list.reverse();
        }
        state.push(stacked(import, list, like, c.axis, n.label)?);
    }
    Ok(state)
}

/// Imports its graph for every element of a sequence.
fn sequence_map<'m>(
    import: &mut Import<'_>,
    n: &Node<'m>,
    scope: &Scope<'_, 'm>,
) -> Result<Vec<Val>, String> {
    let inner = n.graph("body")?;
    let Val::Sequence(first) = n.val(0)? else { return Err("operand 0 is no sequence".into()) };
    let mut out = vec![Vec::with_capacity(first.len()); inner.output.len()];
    for k in 0..first.len() {
        let at = |v: &Option<Val>| match v {
            Some(Val::Sequence(list)) if list.len() == first.len() => Ok(list[k].clone()),
            Some(Val::Sequence(list)) => {
                Err(format!("it walks along sequences of {} and {} tensors", first.len(), list.len()))
            }
            Some(v) => Ok(v.clone()),
            None => Err("an operand is missing".to_owned()),
        };
        let given = n.inputs.iter().map(at).collect::<Result<Vec<_>, _>>()?;
        for (list, v) in out.iter_mut().zip(body(import, inner, scope, given)?) {
            if matches!(v, Val::Sequence(_)) {
                return Err("its graph gives a sequence, which would be one inside a sequence".into());
            }
            list.push(v);
        }
    }
    Ok(out.into_iter().map(Val::Sequence).collect())
}
