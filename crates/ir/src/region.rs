//! Regions: parts of a graph that one tactic runs; and problems: regions taken out of their graph.

use std::collections::BTreeMap;
use std::fmt;

use tactician_types::{Binary, DType, Expr, ExprNode};

use crate::dim::Dim;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Op;
use crate::tensor::{Shape, Tensor, TensorType};

/// A connected part of a graph that one tactic computes: an anchor operation and the pointwise nodes behind it; for a
/// convolution or a matrix product perhaps also conversions between float types before it.
///
/// Only [`Region::output`] is visible outside; everything else in it has no other reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The rule that proposed it.
    pub rule: &'static str,
    /// The operation that the rest follows. For pointwise regions the first pointwise node.
    pub anchor: NodeId,
    /// All nodes, operands before users: conversions of the anchor's operands, the anchor, what follows it.
    pub nodes: Vec<NodeId>,
    /// Values read from outside, one an operand of [`Region::problem`], in its order.
    pub inputs: Vec<ValueId>,
    /// The value computed.
    pub output: ValueId,
}

/// A region taken out of its graph: all that a tactic needs to know, and the key of its measurements.
///
/// Computes `epilogue(anchor(operands[..anchor_operands]), operands[anchor_operands..])`: input 0 of the epilogue is
/// the anchor's result, input `i + 1` is operand `anchor_operands + i`, broadcast to the result's shape.
/// A convolution's bias is never an anchor operand here: it is the first epilogue operand, of shape `[K, 1…]`.
/// When the anchor is [`Op::Pointwise`] the epilogue is the identity.
/// Where the anchor is a convolution or a matrix product of floats, operands of it that are stored as another float type
/// are rounded to the result's type first: see [`Problem::read_as`].
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The anchor operation.
    pub anchor: Op,
    /// How many of the operands feed the anchor.
    pub anchor_operands: usize,
    /// All operands. Sizes are known.
    pub operands: Vec<Operand>,
    /// What is done to the anchor's result.
    pub epilogue: Expr,
    /// The anchor's result.
    pub result: TensorType,
    /// The region's output.
    pub output: TensorType,
}

/// An operand of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Element type and sizes.
    pub ty: TensorType,
    /// Whether the values are known at build time, so that they may be packed.
    pub constant: bool,
}

impl Region {
    /// A region of an anchor and pointwise nodes that follow it, its inputs found; `None` when the nodes do not form
    /// a region: not connected through the anchor's result, an inner value read outside, a second output.
    ///
    /// `nodes` are in topological order, the anchor first, but for conversions between float types whose only reader is
    /// a convolution or a matrix product as the anchor.
    pub fn new(rule: &'static str, graph: &Graph, nodes: &[NodeId]) -> Option<Region> {
        let (before, anchor, rest) = split(graph, nodes)?;
        let output = nodes.last()?.value();
        for &n in nodes {
            if graph.node(n).outputs().len() != 1 {
                return None;
            }
            if n.value() != output
                && (graph.is_output(n.value())
                    || graph.users(n.value()).iter().any(|(u, _)| !nodes.contains(u)))
            {
                return None;
            }
        }
        if rest.iter().any(|&n| !matches!(graph.node(n).op, Op::Pointwise(_))) {
            return None;
        }
        let (_, inputs) = extract(graph, before, anchor, rest)?;
        Some(Region { rule, anchor, nodes: nodes.to_vec(), inputs, output })
    }

    /// The region as a problem of its own. Panics on a graph other than the one it was made for.
    pub fn problem(&self, graph: &Graph) -> Problem {
        split(graph, &self.nodes)
            .and_then(|(before, anchor, rest)| extract(graph, before, anchor, rest))
            .expect("a region was checked when it was made")
            .0
    }

    /// The constants among the inputs, as the problem's operands (a bias reshaped to `[K, 1…]`).
    pub fn constants(&self, graph: &Graph) -> Vec<Option<Tensor>> {
        let problem = self.problem(graph);
        self.inputs
            .iter()
            .zip(&problem.operands)
            .map(|(&v, o)| {
                let sizes = o.ty.sizes()?;
                graph.constant(v).and_then(|t| t.reshaped(&sizes).ok())
            })
            .collect()
    }
}

/// Nodes before the anchor, the anchor, nodes behind it. The anchor is the first node, unless conversions lead to a
/// convolution or a matrix product.
fn split<'n>(graph: &Graph, nodes: &'n [NodeId]) -> Option<(&'n [NodeId], NodeId, &'n [NodeId])> {
    let casts = nodes.iter().take_while(|&&n| converts_float(graph, n)).count();
    let at = match nodes.get(casts) {
        Some(&n) if rounds_operands(&graph.node(n).op) => casts,
        _ => 0,
    };
    Some((&nodes[..at], *nodes.get(at)?, &nodes[at + 1..]))
}

/// Whether the node does nothing but to convert one float type to another.
fn converts_float(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let (Op::Pointwise(e), [x]) = (&node.op, node.inputs()) else { return false };
    e.as_cast().is_some_and(DType::is_float) && graph.ty(*x).dtype.is_float()
}

/// Whether a problem of the operation may have operands that it rounds to its result's type.
fn rounds_operands(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_))
}

fn extract(
    graph: &Graph,
    before: &[NodeId],
    anchor: NodeId,
    rest: &[NodeId],
) -> Option<(Problem, Vec<ValueId>)> {
    let node = graph.node(anchor);
    // What is read in place of an anchor operand: what a conversion before the anchor converts.
    let source = |v: ValueId| {
        if before.contains(&v.node()) { graph.producer(v).inputs().first().copied() } else { Some(v) }
    };
    for &n in before {
        let operands = if matches!(node.op, Op::MatMul(_)) { node.inputs().len() } else { 2 };
        let users = graph.users(n.value());
        if users.iter().any(|&(u, i)| u != anchor || i >= operands)
            || graph.constant(source(n.value())?).is_some()
        {
            return None;
        }
    }
    let result = node.outputs()[0].clone();
    let mut op = node.op.clone();
    let mut inputs: Vec<ValueId> = Vec::new();
    let mut operands: Vec<Operand> = Vec::new();
    let mut take = |inputs: &mut Vec<ValueId>, v: ValueId, ty: TensorType| {
        inputs.push(v);
        operands.push(Operand { ty, constant: graph.constant(v).is_some() });
    };

    // Anchor operands. A pointwise anchor that reads one value twice keeps one operand for it.
    let mut bias = None;
    match &op {
        Op::Conv(_) | Op::ConvTranspose(_) => {
            for &v in &node.inputs()[..2] {
                let v = source(v)?;
                take(&mut inputs, v, graph.ty(v).clone());
            }
            bias = node.inputs().get(2).copied();
        }
        Op::Pointwise(e) => {
            let mut rename = Vec::new();
            for &v in node.inputs() {
                let at = inputs.iter().position(|&i| i == v);
                rename.push(at.unwrap_or(inputs.len()) as u16);
                if at.is_none() {
                    take(&mut inputs, v, graph.ty(v).clone());
                }
            }
            op = Op::Pointwise(e.rename_inputs(|i| rename[i as usize]));
        }
        _ => {
            for &v in node.inputs() {
                let v = source(v)?;
                take(&mut inputs, v, graph.ty(v).clone());
            }
        }
    }
    let mut anchor_operands = inputs.len();

    let mut epilogue = Expr::identity();
    if let Some(b) = bias {
        let ty = graph.ty(b);
        let mut shape = Shape::default();
        shape.0.push(ty.shape.0[0].clone());
        shape.0.extend((2..result.rank()).map(|_| Dim::known(1)));
        take(&mut inputs, b, TensorType { dtype: ty.dtype, shape });
        epilogue = Expr::binary(Binary::Add);
    }

    // Compose the pointwise nodes; `exprs` holds each inner value over the region's inputs.
    let mut exprs: BTreeMap<ValueId, Expr> = BTreeMap::from([(anchor.value(), epilogue.clone())]);
    let mut seen: BTreeMap<ValueId, u16> = BTreeMap::new();
    for &n in rest {
        let Op::Pointwise(e) = &graph.node(n).op else { return None };
        if graph.node(n).outputs()[0].shape != result.shape {
            return None;
        }
        let mut with = Vec::new();
        for &v in graph.node(n).inputs() {
            if let Some(inner) = exprs.get(&v) {
                with.push(inner.clone());
                continue;
            }
            let number = match seen.get(&v) {
                Some(&i) => i,
                None => {
                    take(&mut inputs, v, graph.ty(v).clone());
                    let i = (inputs.len() - anchor_operands) as u16;
                    seen.insert(v, i);
                    i
                }
            };
            with.push(Expr::from_nodes(vec![ExprNode::Input(number)]).ok()?);
        }
        epilogue = e.substitute(&with);
        if epilogue.nodes().len() > 256 {
            return None;
        }
        exprs.insert(n.value(), epilogue.clone());
    }
    let last = rest.last().copied().unwrap_or(anchor);
    let output = graph.node(last).outputs()[0].clone();

    // A pointwise anchor swallows what follows: the whole region is one expression.
    if let Op::Pointwise(first) = &op {
        let count = anchor_operands as u16;
        let mut with = vec![first.clone()];
        // Operands after the anchor's keep their place; one that equals an anchor operand reuses it.
        let mut kept: Vec<usize> = (0..anchor_operands).collect();
        for i in anchor_operands..inputs.len() {
            let at = inputs[..anchor_operands].iter().position(|&v| v == inputs[i]);
            let number = at.unwrap_or_else(|| {
                kept.push(i);
                kept.len() - 1
            });
            with.push(Expr::from_nodes(vec![ExprNode::Input(number as u16)]).ok()?);
        }
        debug_assert!(first.arity() <= count as usize);
        op = Op::Pointwise(epilogue.substitute(&with).in_order());
        epilogue = Expr::identity();
        inputs = kept.iter().map(|&i| inputs[i]).collect();
        operands = kept.iter().map(|&i| operands[i].clone()).collect();
        anchor_operands = inputs.len();
        let problem =
            Problem { anchor: op, anchor_operands, operands, epilogue, result: output.clone(), output };
        return Some((problem, inputs));
    }
    // Problems that differ in the order of a sum are one, and are measured once.
    let epilogue = epilogue.in_order();
    Some((Problem { anchor: op, anchor_operands, operands, epilogue, result, output }, inputs))
}

impl Problem {
    /// Operands that feed the anchor.
    pub fn anchor_inputs(&self) -> &[Operand] {
        &self.operands[..self.anchor_operands]
    }

    /// Operands that only the epilogue reads.
    pub fn epilogue_inputs(&self) -> &[Operand] {
        &self.operands[self.anchor_operands..]
    }

    /// The float type that operand `i` is rounded to before the anchor reads it, where it is stored as another: that of
    /// the result of a convolution or a matrix product.
    pub fn read_as(&self, i: usize) -> Option<DType> {
        let (from, to) = (self.operands.get(i)?.ty.dtype, self.result.dtype);
        let rounds = i < self.anchor_operands && rounds_operands(&self.anchor);
        (rounds && from != to && from.is_float() && to.is_float()).then_some(to)
    }
}

/// One line that determines the problem: the text key of its measurements.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.anchor {
            Op::Pointwise(e) => write!(f, "pointwise {{{e}}}")?,
            Op::Constant(t) => write!(f, "const {}", t.ty())?,
            op => write!(f, "{} {}", op.name(), crate::text::attributes(op))?,
        }
        f.write_str(" (")?;
        for (i, o) in self.operands.iter().enumerate() {
            let (comma, star) = (if i > 0 { ", " } else { "" }, if o.constant { "*" } else { "" });
            write!(f, "{comma}{star}{}", o.ty)?;
            if let Some(read) = self.read_as(i) {
                write!(f, " as {read}")?;
            }
        }
        write!(f, ") -> {}", self.output)?;
        if !self.epilogue.is_identity() {
            write!(f, " then {{{}}}", self.epilogue)?;
        }
        Ok(())
    }
}
