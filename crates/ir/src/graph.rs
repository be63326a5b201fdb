//! The graph itself.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;
use thiserror::Error;

use crate::dim::Symbols;
use crate::ops::Op;
use crate::tensor::{MAX_ELEMENTS, MAX_RANK, Tensor, TensorType};

/// A node. Stays valid while the node lives, whatever else is added or removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// One output of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId {
    node: NodeId,
    slot: u32,
}

impl NodeId {
    /// The number in messages and dumps.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The first output.
    pub fn value(self) -> ValueId {
        ValueId { node: self, slot: 0 }
    }

    /// Output `slot`.
    pub fn output(self, slot: usize) -> ValueId {
        ValueId { node: self, slot: slot as u32 }
    }

    fn at(self) -> NodeIndex {
        NodeIndex::new(self.index())
    }

    fn of(at: NodeIndex) -> NodeId {
        NodeId(at.index() as u32)
    }
}

impl ValueId {
    /// The node that produces it.
    pub fn node(self) -> NodeId {
        self.node
    }

    /// Which of the node's outputs it is.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.node.0)?;
        if self.slot > 0 { write!(f, ".{}", self.slot) } else { Ok(()) }
    }
}

/// One operation in its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Name for people: the ONNX node's or output's name, or one made up. Not necessarily unique, not used to find
    /// things.
    pub name: String,
    inputs: SmallVec<[ValueId; 4]>,
    outputs: SmallVec<[TensorType; 1]>,
}

impl Node {
    /// The operands, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The types of the outputs.
    pub fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }

    /// The constant, if this is one.
    pub fn as_constant(&self) -> Option<&Tensor> {
        match &self.op {
            Op::Constant(t) => Some(t),
            _ => None,
        }
    }
}

/// Slots of an edge: which output of the source, which operand of the target.
#[derive(Clone, Copy, Debug)]
struct Use {
    output: u32,
    operand: u32,
}

/// A graph cannot take what it is given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An operation does not accept its operands.
    #[error("node `{name}` ({op}): {problem}")]
    Type {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// A value that the graph does not have.
    #[error("node `{name}` ({op}) uses value {value}, which does not exist")]
    NoValue {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// The value.
        value: String,
    },
    /// A tensor too large to address.
    #[error("node `{name}` ({op}): {ty} is beyond the limits of {MAX_RANK} axes and 2^40 elements")]
    TooLarge {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// The type.
        ty: String,
    },
    /// A replacement of another type.
    #[error("value of type {old} cannot be replaced by one of type {new}")]
    Replacement {
        /// Type of what is there.
        old: String,
        /// Type of what should take its place.
        new: String,
    },
    /// A replacement that would use itself.
    #[error("node `{name}` would depend on itself")]
    Cycle {
        /// The node.
        name: String,
    },
}

/// A network as a directed acyclic graph of operations. See the crate's page for what it promises.
#[derive(Clone, Default)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    nodes: StableDiGraph<Node, Use>,
    inputs: Vec<NodeId>,
    outputs: Vec<(String, ValueId)>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph { name: name.to_owned(), ..Graph::default() }
    }

    /// Adds a network input.
    ///
    /// # Errors
    /// When the type is beyond the limits.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> Result<ValueId, GraphError> {
        let node = self.insert(Op::Input, &[], name, [ty].into_iter().collect())?;
        self.inputs.push(node);
        Ok(node.value())
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let ty = tensor.ty();
        NodeId::of(self.nodes.add_node(Node {
            op: Op::Constant(tensor),
            name: name.to_owned(),
            inputs: SmallVec::new(),
            outputs: [ty].into_iter().collect(),
        }))
        .value()
    }

    /// Adds an operation and infers its type; returns its first output.
    ///
    /// # Errors
    /// When the operation does not accept the operands, or an operand does not exist.
    pub fn add(&mut self, op: Op, inputs: &[ValueId], name: &str) -> Result<ValueId, GraphError> {
        let outputs = self.infer(&op, inputs, name)?;
        Ok(self.insert(op, inputs, name, outputs.into_iter().collect())?.value())
    }

    fn infer(&self, op: &Op, inputs: &[ValueId], name: &str) -> Result<Vec<TensorType>, GraphError> {
        let types = inputs
            .iter()
            .map(|&v| {
                self.try_ty(v).ok_or_else(|| GraphError::NoValue {
                    name: name.to_owned(),
                    op: op.name(),
                    value: format!("{v:?}"),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        op.infer(&types).map_err(|problem| GraphError::Type { name: name.to_owned(), op: op.name(), problem })
    }

    fn insert(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        name: &str,
        outputs: SmallVec<[TensorType; 1]>,
    ) -> Result<NodeId, GraphError> {
        for ty in &outputs {
            let known = ty.shape.dims().iter().filter_map(|d| d.as_i64());
            let product = known.clone().try_fold(1i64, |a, d| a.checked_mul(d));
            let fits = product.is_some_and(|p| p <= MAX_ELEMENTS as i64) && known.clone().all(|d| d >= 0);
            if !fits || ty.rank() > MAX_RANK {
                return Err(GraphError::TooLarge {
                    name: name.to_owned(),
                    op: op.name(),
                    ty: ty.to_string(),
                });
            }
        }
        let node = Node { op, name: name.to_owned(), inputs: inputs.into(), outputs };
        let at = self.nodes.add_node(node);
        for (i, v) in inputs.iter().enumerate() {
            self.nodes.add_edge(v.node.at(), at, Use { output: v.slot, operand: i as u32 });
        }
        Ok(NodeId::of(at))
    }

    /// Makes a value a network output, after those already marked.
    pub fn mark_output(&mut self, name: &str, value: ValueId) {
        self.outputs.push((name.to_owned(), value));
    }

    /// Input nodes, in order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// Output names and values, in order.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// A node. Panics when it was removed: ids come from this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.at()]
    }

    /// Whether the node exists.
    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_node(id.at())
    }

    /// The node that produces a value.
    pub fn producer(&self, value: ValueId) -> &Node {
        self.node(value.node)
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        &self.producer(value).outputs[value.slot()]
    }

    fn try_ty(&self, value: ValueId) -> Option<&TensorType> {
        self.nodes.node_weight(value.node.at())?.outputs.get(value.slot())
    }

    /// The constant behind a value, if it is one.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.producer(value).as_constant()
    }

    /// The operands that read a value: user and operand number, by ascending node then operand.
    pub fn users(&self, value: ValueId) -> Vec<(NodeId, usize)> {
        let mut users: Vec<_> = self
            .nodes
            .edges_directed(value.node.at(), Direction::Outgoing)
            .filter(|e| e.weight().output == value.slot)
            .map(|e| (NodeId::of(e.target()), e.weight().operand as usize))
            .collect();
        users.sort_unstable();
        users
    }

    /// How often a value is read, network outputs included.
    pub fn use_count(&self, value: ValueId) -> usize {
        self.users(value).len() + self.outputs.iter().filter(|(_, v)| *v == value).count()
    }

    /// Whether a value is a network output.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.iter().any(|(_, v)| *v == value)
    }

    /// Number of nodes, inputs and constants included.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, by ascending id.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices().map(NodeId::of)
    }

    /// All nodes, operands before users, lowest id first among those ready. Nodes on a cycle are left out.
    pub fn topo(&self) -> Vec<NodeId> {
        let mut waiting = vec![0usize; self.nodes.node_indices().next_back().map_or(0, |i| i.index() + 1)];
        let mut ready = BinaryHeap::new();
        for i in self.nodes.node_indices() {
            waiting[i.index()] = self.nodes.edges_directed(i, Direction::Incoming).count();
            if waiting[i.index()] == 0 {
                ready.push(Reverse(i.index()));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(i)) = ready.pop() {
            order.push(NodeId(i as u32));
            for e in self.nodes.edges_directed(NodeIndex::new(i), Direction::Outgoing) {
                let t = e.target().index();
                waiting[t] -= 1;
                if waiting[t] == 0 {
                    ready.push(Reverse(t));
                }
            }
        }
        order
    }

    /// Removes nodes that no output needs; network inputs stay. Returns how many went.
    pub fn remove_dead(&mut self) -> usize {
        let mut live: BTreeSet<NodeId> = self.inputs.iter().copied().collect();
        let mut stack: Vec<NodeId> = self.outputs.iter().map(|(_, v)| v.node).collect();
        while let Some(n) = stack.pop() {
            if live.insert(n) {
                stack.extend(self.node(n).inputs.iter().map(|v| v.node));
            }
        }
        let before = self.len();
        self.nodes.retain_nodes(|_, i| live.contains(&NodeId::of(i)));
        before - self.len()
    }

    /// Makes every reader of `old` (network outputs included) read `new`. Types must be equal.
    ///
    /// # Errors
    /// When the types differ, or the result would have a cycle.
    pub fn replace(&mut self, old: ValueId, new: ValueId) -> Result<(), GraphError> {
        if old == new {
            return Ok(());
        }
        if self.ty(old) != self.ty(new) {
            return Err(GraphError::Replacement {
                old: self.ty(old).to_string(),
                new: self.ty(new).to_string(),
            });
        }
        let users = self.users(old);
        // `new` may itself read `old` (a node inserted behind it); any other reader upstream of `new` is a cycle.
        let upstream = self.upstream(new.node);
        for (user, operand) in users {
            if user == new.node {
                continue;
            }
            if upstream.contains(&user) {
                return Err(GraphError::Cycle { name: self.node(user).name.clone() });
            }
            self.set_operand(user, operand, new);
        }
        for (_, v) in &mut self.outputs {
            if *v == old {
                *v = new;
            }
        }
        Ok(())
    }

    fn upstream(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![node];
        while let Some(n) = stack.pop() {
            for v in &self.node(n).inputs {
                if seen.insert(v.node) {
                    stack.push(v.node);
                }
            }
        }
        seen
    }

    fn set_operand(&mut self, user: NodeId, operand: usize, value: ValueId) {
        let edge = self
            .nodes
            .edges_directed(user.at(), Direction::Incoming)
            .find(|e| e.weight().operand as usize == operand)
            .map(|e| e.id());
        if let Some(edge) = edge {
            self.nodes.remove_edge(edge);
        }
        self.nodes.add_edge(value.node.at(), user.at(), Use { output: value.slot, operand: operand as u32 });
        self.nodes[user.at()].inputs[operand] = value;
    }

    /// Names of all symbols in the inputs' shapes.
    pub fn symbols(&self) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        for &i in &self.inputs {
            for d in self.node(i).outputs[0].shape.dims() {
                d.symbols(&mut out);
            }
        }
        out
    }

    /// The same network with numbers for symbols, all shapes inferred anew; ids change.
    ///
    /// # Errors
    /// When an operation does not accept the sizes.
    pub fn bind(&self, symbols: &Symbols) -> Result<Graph, GraphError> {
        let mut out = Graph::new(&self.name);
        let mut map = std::collections::BTreeMap::new();
        for id in self.topo() {
            let node = self.node(id);
            let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
            let new = match &node.op {
                Op::Input => {
                    let ty = &node.outputs[0];
                    let bound = TensorType { dtype: ty.dtype, shape: ty.shape.bind(symbols) };
                    out.insert(Op::Input, &[], &node.name, [bound].into_iter().collect())?.value()
                }
                Op::Constant(t) => out.add_constant(&node.name, t.clone()),
                op => out.add(op.bind(symbols), &inputs, &node.name)?,
            };
            for slot in 0..node.outputs.len() {
                map.insert(id.output(slot), new.node.output(slot));
            }
        }
        out.inputs = self.inputs.iter().map(|i| map[&i.value()].node).collect();
        out.outputs = self.outputs.iter().map(|(n, v)| (n.clone(), map[v])).collect();
        Ok(out)
    }

    /// Whether every size is known.
    pub fn is_bound(&self) -> bool {
        self.node_ids().all(|n| self.node(n).outputs.iter().all(|t| t.sizes().is_some()))
    }

    /// Adds a node with given output types, unchecked; the verifier finds what is wrong. For parsers and tests.
    pub fn add_unchecked(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        name: &str,
        outputs: &[TensorType],
    ) -> NodeId {
        let is_input = op == Op::Input;
        let node = Node {
            op,
            name: name.to_owned(),
            inputs: inputs.into(),
            outputs: outputs.iter().cloned().collect(),
        };
        let at = self.nodes.add_node(node);
        for (i, v) in inputs.iter().enumerate() {
            if self.nodes.contains_node(v.node.at()) {
                self.nodes.add_edge(v.node.at(), at, Use { output: v.slot, operand: i as u32 });
            }
        }
        if is_input {
            self.inputs.push(NodeId::of(at));
        }
        NodeId::of(at)
    }
}
