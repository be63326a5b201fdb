//! Networks built by hand, layer by layer, in the vocabulary of other inference engines' network definitions.
//!
//! Layers are added to a [`NetworkBuilder`], set up by chained calls, and finished by [`Layer::output`]. Nothing
//! fails on the way: what is wrong with a layer is kept, what depends on that layer is passed over, and
//! [`NetworkBuilder::build`] reports all of it.
//!
//! ```
//! use tactician_ir::{DType, NetworkBuilder, Weights};
//!
//! let mut net = NetworkBuilder::new("classic");
//! let data = net.add_input("data", DType::F32, [1, 3, 224, 224]);
//! let conv = net.add_convolution(data, 64, [3, 3], Weights::Seeded(7), None).padding([1, 1]).output();
//! net.mark_output("prob", conv);
//! let graph = net.build()?;
//! assert_eq!(graph.ty(graph.outputs()[0].1).to_string(), "f32[1,64,224,224]");
//! # Ok::<(), tactician_ir::BuildErrors>(())
//! ```

mod activation;
mod affine;
mod convolution;
mod layers;
mod movement;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tactician_types::DType;

pub use activation::{Activation, ActivationKind};
pub use affine::{Normalization, Scale, ScaleMode};
pub use convolution::{Convolution, Deconvolution};
pub use layers::{Concatenation, Constant, MatrixMultiply, Pooling, Simple, SoftMax};
pub use movement::{Padding, Resizing, Shuffle, Slicing};
pub use weights::Weights;

use crate::graph::{Graph, GraphError, ValueId};
use crate::ops::Op;
use crate::tensor::{Shape, Tensor, TensorType};
use crate::verify::check;

/// A shape of numbers and symbols: `shape!["N", 3, 224, 224]`.
#[macro_export]
macro_rules! shape {
    ($($size:expr),* $(,)?) => {
        [$($crate::Dim::from($size)),*].into_iter().collect::<$crate::Shape>()
    };
}

/// Builds a graph layer by layer. See the module's page.
pub struct NetworkBuilder {
    graph: Graph,
    id: u64,
    /// By number of the tensor; `None` when its layer failed, or one before it.
    values: Vec<Option<ValueId>>,
    outputs: BTreeSet<String>,
    names: BTreeMap<String, usize>,
    errors: Vec<LayerError>,
}

/// A tensor of a network that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorRef {
    network: u64,
    index: usize,
}

/// A layer being set up; [`Layer::output`] adds it. `P` holds its parameters and says which setters there are.
#[must_use = "a layer is added by `output()`"]
pub struct Layer<'n, P> {
    net: &'n mut NetworkBuilder,
    inputs: Vec<TensorRef>,
    name: Option<String>,
    params: P,
}

/// What is wrong with one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerError {
    /// The layer's name.
    pub layer: String,
    /// Its kind, such as `convolution`.
    pub kind: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.kind, self.layer, self.problem)
    }
}

impl std::error::Error for LayerError {}

/// Everything that is wrong with a network, in the order of its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildErrors(pub Vec<LayerError>);

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the network cannot be built")?;
        self.0.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl std::error::Error for BuildErrors {}

/// The parameters of a kind of layer: how they become operations.
pub trait LayerKind {
    /// The name in messages, and of layers that are given none.
    fn kind(&self) -> &'static str;

    /// Adds the operations; the message of an error says what does not fit.
    #[doc(hidden)]
    fn lower(self, ctx: &mut Lowering<'_>) -> Result<ValueId, String>;
}

/// Where a layer puts its operations.
#[doc(hidden)]
pub struct Lowering<'g> {
    graph: &'g mut Graph,
    name: String,
    inputs: Vec<ValueId>,
}

impl Lowering<'_> {
    fn input(&self, i: usize) -> Result<ValueId, String> {
        self.inputs.get(i).copied().ok_or_else(|| format!("needs at least {} tensors", i + 1))
    }

    fn ty(&self, v: ValueId) -> TensorType {
        self.graph.ty(v).clone()
    }

    /// Adds an operation under the layer's name and a suffix.
    fn add(&mut self, op: Op, inputs: &[ValueId], suffix: &str) -> Result<ValueId, String> {
        let name = format!("{}{suffix}", self.name);
        self.graph.add(op, inputs, &name).map_err(|e| match e {
            GraphError::Type { problem, .. } => problem,
            e => e.to_string(),
        })
    }

    fn constant(&mut self, tensor: Tensor, suffix: &str) -> ValueId {
        let name = format!("{}{suffix}", self.name);
        self.graph.add_constant(&name, tensor)
    }
}

impl NetworkBuilder {
    /// An empty network.
    pub fn new(name: &str) -> NetworkBuilder {
        static NETWORKS: AtomicU64 = AtomicU64::new(0);
        NetworkBuilder {
            graph: Graph::new(name),
            id: NETWORKS.fetch_add(1, Ordering::Relaxed),
            values: Vec::new(),
            outputs: BTreeSet::new(),
            names: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a network input. Sizes are numbers or symbols: `[1, 3, 224, 224]`, `["N", "C"]`, or mixed
    /// [`shape!["N", 3]`](crate::shape).
    pub fn add_input(&mut self, name: &str, dtype: DType, shape: impl Into<Shape>) -> TensorRef {
        let taken = self.graph.inputs().iter().any(|&i| self.graph.node(i).name == name);
        let added = if taken {
            Err("another input has this name".to_owned())
        } else {
            self.graph.add_input(name, TensorType { dtype, shape: shape.into() }).map_err(|e| e.to_string())
        };
        self.names.entry(name.to_owned()).or_insert(0);
        self.push("input", name, added)
    }

    /// The type of a tensor; `None` when its layer, or one before it, has an error.
    pub fn tensor_type(&self, tensor: TensorRef) -> Option<&TensorType> {
        if tensor.network != self.id {
            return None;
        }
        self.values.get(tensor.index).copied().flatten().map(|v| self.graph.ty(v))
    }

    /// Makes a tensor a network output, after those marked before.
    pub fn mark_output(&mut self, name: &str, tensor: TensorRef) {
        if !self.outputs.insert(name.to_owned()) {
            self.report("output", name, "another output has this name".into());
        } else if tensor.network != self.id {
            self.report("output", name, "the tensor belongs to another network".into());
        } else if let Some(v) = self.values.get(tensor.index).copied().flatten() {
            self.graph.mark_output(name, v);
        }
    }

    /// Errors so far.
    pub fn errors(&self) -> &[LayerError] {
        &self.errors
    }

    /// The finished graph.
    ///
    /// # Errors
    /// Everything that is wrong: layers that do not accept their tensors, names used twice, no output. Layers that
    /// depend on a failed one are not reported.
    pub fn build(mut self) -> Result<Graph, BuildErrors> {
        if self.outputs.is_empty() {
            let name = self.graph.name.clone();
            self.report("network", &name, "no output is marked; call `mark_output`".into());
        }
        if self.errors.is_empty() {
            for e in check(&self.graph) {
                self.report("network", &e.place, e.problem);
            }
        }
        if self.errors.is_empty() { Ok(self.graph) } else { Err(BuildErrors(self.errors)) }
    }

    fn report(&mut self, kind: &'static str, layer: &str, problem: String) {
        self.errors.push(LayerError { layer: layer.to_owned(), kind, problem });
    }

    /// Keeps a layer's result, or its error.
    fn push(&mut self, kind: &'static str, layer: &str, result: Result<ValueId, String>) -> TensorRef {
        let value = match result {
            Ok(v) => Some(v),
            Err(problem) => {
                self.report(kind, layer, problem);
                None
            }
        };
        self.values.push(value);
        TensorRef { network: self.id, index: self.values.len() - 1 }
    }

    fn layer<P: LayerKind>(&mut self, inputs: &[TensorRef], params: P) -> Layer<'_, P> {
        Layer { net: self, inputs: inputs.to_vec(), name: None, params }
    }

    /// A name that no layer has: `base`, or `base_1`, `base_2`, …
    fn unique_name(&mut self, base: &str) -> String {
        loop {
            let count = self.names.entry(base.to_owned()).or_insert(0);
            *count += 1;
            let name = format!("{base}_{count}");
            if !self.names.contains_key(&name) {
                return name;
            }
        }
    }
}

impl<P: LayerKind> Layer<'_, P> {
    /// Names the layer. Others are named after their kind, numbered.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Adds the layer and returns its output.
    pub fn output(self) -> TensorRef {
        let Layer { net, inputs, name, params } = self;
        let kind = params.kind();
        let name = match name {
            Some(name) if net.names.contains_key(&name) => {
                return net.push(kind, &name, Err("another layer has this name".into()));
            }
            Some(name) => name,
            None => net.unique_name(kind),
        };
        net.names.insert(name.clone(), 0);
        if inputs.iter().any(|t| t.network != net.id) {
            return net.push(kind, &name, Err("a tensor belongs to another network".into()));
        }
        let values: Option<Vec<ValueId>> =
            inputs.iter().map(|t| net.values.get(t.index).copied().flatten()).collect();
        let Some(inputs) = values else {
            net.values.push(None);
            return TensorRef { network: net.id, index: net.values.len() - 1 };
        };
        let result = params.lower(&mut Lowering { graph: &mut net.graph, name: name.clone(), inputs });
        net.push(kind, &name, result)
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
