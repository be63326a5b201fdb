//! How regions grow from an anchor.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use tactician_ir::{DType, ExprNode, Graph, NodeId, Op, Problem, Region};

use super::{MAX_EPILOGUE_OPERANDS, MAX_FUSED_EXPR, Rule, Weight};

/// Most nodes that a region takes in: bounds the search on long chains.
const MAX_NODES: usize = 48;

/// The regions of one anchor, small to large: alone, then with the pointwise nodes that follow, cut at every
/// node through which all readers of the anchor's result pass. Pointwise anchors grow a second time, with
/// pointwise operands of what they take in.
pub(super) fn regions(rule: &dyn Rule, graph: &Graph, order: &[NodeId], anchor: NodeId) -> Vec<Region> {
    let Some(alone) = Region::new(rule.name(), graph, &[anchor]) else { return Vec::new() };
    let mut out = vec![alone];
    if rule.weight() == Weight::Single {
        return out;
    }
    let mut position = vec![0usize; order.iter().map(|n| n.index() + 1).max().unwrap_or(0)];
    for (i, n) in order.iter().enumerate() {
        if let Some(p) = position.get_mut(n.index()) {
            *p = i;
        }
    }
    let sides: &[bool] = if rule.weight() == Weight::Pointwise { &[false, true] } else { &[false] };
    for &with_operands in sides {
        for nodes in chains(graph, order, &position, anchor, with_operands) {
            let Some(region) = Region::new(rule.name(), graph, &nodes) else { continue };
            let problem = region.problem(graph);
            if !fits(&problem) {
                break;
            }
            if homogeneous(&problem) && rule.accepts(&problem) && !out.contains(&region) {
                out.push(region);
            }
        }
    }
    if let Some(cast) = conversion(graph, anchor) {
        let with = |r: &Region| Region::new(rule.name(), graph, &[&[cast], r.nodes.as_slice()].concat());
        let longer: Vec<Region> = out.iter().filter_map(with).collect();
        out.extend(longer);
    }
    out.sort_by_key(|r| r.nodes.len());
    out
}

/// The node that rounds the image of a convolution to 16 bits, when nothing else reads it.
fn conversion(graph: &Graph, anchor: NodeId) -> Option<NodeId> {
    let node = graph.node(anchor);
    let value = *node.inputs().first().filter(|_| matches!(node.op, Op::Conv(_)))?;
    let Op::Pointwise(expr) = &graph.producer(value).op else { return None };
    let rounds = is_short(graph.ty(value).dtype)
        && expr.as_cast().is_some()
        && graph.producer(value).inputs().iter().all(|&x| graph.ty(x).dtype == DType::F32);
    (rounds && graph.use_count(value) == 1).then_some(value.node())
}

/// Sets of nodes from the anchor to each place where its readers meet again, anchor first.
///
/// A heap holds readers not yet taken in, earliest first. When it holds one node, all paths from the anchor
/// lead there, so with it the set has one result. Whatever cannot be taken in ends the search: all later sets
/// contain it.
fn chains(
    graph: &Graph,
    order: &[NodeId],
    position: &[usize],
    anchor: NodeId,
    with_operands: bool,
) -> Vec<Vec<NodeId>> {
    let shape = &graph.ty(anchor.value()).shape;
    let eligible =
        |n: NodeId| matches!(graph.node(n).op, Op::Pointwise(_)) && graph.ty(n.value()).shape == *shape;
    let at = |n: NodeId| position.get(n.index()).copied().unwrap_or(usize::MAX);
    let mut out = Vec::new();
    let mut taken = BTreeSet::new();
    let mut waiting = BinaryHeap::new();
    let mut seen = BTreeSet::new();
    let mut last = anchor;
    loop {
        if graph.is_output(last.value()) {
            return out;
        }
        let users = graph.users(last.value());
        if users.is_empty() {
            return out;
        }
        for (user, _) in users {
            if seen.insert(user) {
                waiting.push(Reverse(at(user)));
            }
        }
        let Some(&next) = waiting.pop().and_then(|Reverse(p)| order.get(p)) else { return out };
        if !eligible(next) || taken.len() >= MAX_NODES {
            return out;
        }
        if with_operands {
            take_operands(graph, &eligible, next, anchor, &mut taken);
        }
        taken.insert(next);
        last = next;
        if waiting.is_empty() {
            let mut nodes: Vec<NodeId> = taken.iter().copied().collect();
            nodes.sort_by_key(|&n| at(n));
            nodes.insert(0, anchor);
            out.push(nodes);
        }
    }
}

/// Adds the eligible operands of a node that nothing else reads, and theirs.
fn take_operands(
    graph: &Graph,
    eligible: &impl Fn(NodeId) -> bool,
    node: NodeId,
    anchor: NodeId,
    taken: &mut BTreeSet<NodeId>,
) {
    let mut stack = vec![node];
    while let Some(n) = stack.pop() {
        for &v in graph.node(n).inputs() {
            let producer = v.node();
            let only_here = !graph.is_output(v) && graph.users(v).iter().all(|&(u, _)| u == n);
            if producer != anchor
                && only_here
                && eligible(producer)
                && taken.len() < MAX_NODES
                && taken.insert(producer)
            {
                stack.push(producer);
            }
        }
    }
}

/// Whether the problem is small enough. Regions only grow, so what does not fit ends the search.
fn fits(problem: &Problem) -> bool {
    let (operands, expr) = match &problem.anchor {
        Op::Pointwise(e) => (problem.operands.len(), e),
        _ => (problem.epilogue_inputs().len(), &problem.epilogue),
    };
    operands <= MAX_EPILOGUE_OPERANDS && expr.nodes().len() <= MAX_FUSED_EXPR
}

/// Whether everything pointwise is of one type, but for `bool` inside: kernels compute in one type. Around 16-bit floats
/// operands may be stored as `f32` and converted first, and the last node may make the output `f32`: kernels convert what
/// they load and store.
fn homogeneous(problem: &Problem) -> bool {
    let (operands, expr) = match &problem.anchor {
        Op::Pointwise(e) => (problem.operands.as_slice(), e),
        _ => (problem.epilogue_inputs(), &problem.epilogue),
    };
    let mut types: Vec<DType> = operands.iter().map(|o| o.ty.dtype).collect();
    if !matches!(problem.anchor, Op::Pointwise(_)) {
        types.insert(0, problem.result.dtype);
    }
    let Ok(all) = expr.dtypes(&types) else { return false };
    let root = usize::from(expr.root());
    let widens = |at: usize| match expr.nodes()[at] {
        ExprNode::Cast(DType::F32, from) => is_short(all[usize::from(from)]),
        _ => false,
    };
    let dtype = match (&problem.anchor, expr.nodes()[root]) {
        (Op::Pointwise(_), ExprNode::Cast(_, from)) if widens(root) => all[usize::from(from)],
        (Op::Pointwise(_), _) => problem.output.dtype,
        _ => problem.result.dtype,
    };
    // Whether the inputs of this number are only converted to the type.
    let narrowed = |input: usize| {
        let reads = |n: &ExprNode| {
            n.operands().any(|o| expr.nodes()[usize::from(o)] == ExprNode::Input(input as u16))
        };
        is_short(dtype)
            && expr
                .nodes()
                .iter()
                .filter(|n| reads(n))
                .all(|n| matches!(n, ExprNode::Cast(to, _) if *to == dtype))
    };
    let operand_fits = |(i, &t): (usize, &DType)| t == dtype || (t == DType::F32 && narrowed(i));
    let output_fits = problem.output.dtype == dtype || widens(root);
    let node_fits = |(at, &t): (usize, &DType)| {
        let input = matches!(expr.nodes()[at], ExprNode::Input(_));
        input || t == dtype || t == DType::Bool || (at == root && widens(at))
    };
    output_fits && types.iter().enumerate().all(operand_fits) && all.iter().enumerate().all(node_fits)
}

fn is_short(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}
