//! A network as people hand it over: an ONNX model or a graph built by hand, sizes perhaps still open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tactician_ir::{DType, Graph, Shape, Symbols, TensorType};
use tactician_onnx::{ImportError, Model, ShapeBindings};
use tactician_plan::{NetworkForm, Plan, Section};

use crate::dynamic::kept;
use crate::error::BuildError;

/// A network: from an ONNX file, or built by hand.
#[derive(Clone)]
pub struct Network {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Onnx(Arc<Model>),
    Graph(Arc<Graph>),
}

/// Shapes given at build time, by input name.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// An input of a network: name, element type, shape with open sizes as symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes; open ones are symbols.
    pub shape: Shape,
}

impl Network {
    /// Reads an ONNX model. Weights stay in the mapped file until a plan is made.
    ///
    /// # Errors
    /// When the file cannot be read or is no ONNX model.
    pub fn from_onnx(path: impl AsRef<Path>) -> Result<Network, ImportError> {
        Ok(Network { source: Source::Onnx(Arc::new(Model::open(path.as_ref())?)) })
    }

    /// Reads an ONNX model from memory. External data is refused.
    ///
    /// # Errors
    /// When the bytes are no ONNX model.
    pub fn from_onnx_bytes(bytes: Vec<u8>) -> Result<Network, ImportError> {
        Ok(Network { source: Source::Onnx(Arc::new(Model::from_bytes(bytes)?)) })
    }

    /// Reads the network that a plan for open shapes keeps.
    pub(crate) fn from_plan(plan: &Plan) -> Result<Network, BuildError> {
        let section = plan.network().clone();
        Ok(match plan.meta.network_form {
            NetworkForm::Onnx => {
                let model = Model::from_owner(Kept(section))?;
                Network { source: Source::Onnx(Arc::new(model)) }
            }
            NetworkForm::Graph => Network::from_graph(kept::read(section)?),
            NetworkForm::None => return Err(BuildError::FixedShapes { network: plan.meta.network.clone() }),
        })
    }

    /// The network as a plan for open shapes keeps it.
    pub(crate) fn for_plan(&self) -> Result<(NetworkForm, Vec<u8>), BuildError> {
        Ok(match &self.source {
            Source::Onnx(m) => (NetworkForm::Onnx, m.whole()?),
            Source::Graph(g) => (NetworkForm::Graph, kept::write(g)),
        })
    }

    /// A network from a graph, such as `NetworkBuilder` makes.
    pub fn from_graph(graph: Graph) -> Network {
        Network { source: Source::Graph(Arc::new(graph)) }
    }

    /// Its inputs. Of an ONNX model those are left out whose form only the caller can give ([`Network::bind`]): sequences, and
    /// tensors of no declared rank.
    pub fn inputs(&self) -> Vec<InputInfo> {
        match &self.source {
            Source::Onnx(m) => m
                .inputs()
                .iter()
                .filter(|i| !i.is_sequence())
                .filter_map(|i| Some((i, i.shape.clone()?)))
                .map(|(i, shape)| InputInfo { name: i.name.clone(), dtype: i.dtype, shape })
                .collect(),
            Source::Graph(g) => g
                .inputs()
                .iter()
                .map(|&i| {
                    let TensorType { dtype, shape } = g.node(i).outputs()[0].clone();
                    InputInfo { name: g.node(i).name.clone(), dtype, shape }
                })
                .collect(),
        }
    }

    /// The graph with its declared shapes.
    ///
    /// # Errors
    /// When an ONNX model cannot be imported, or needs shapes that only [`Network::bind`] can give.
    pub fn graph(&self) -> Result<Graph, BuildError> {
        self.bind(&Shapes::new())
    }

    /// The graph with shapes given for inputs; sizes not given stay open if they were. The tensors of an input that is a
    /// sequence are called `NAME.0`, `NAME.1` and so on: it has as many as are given shapes.
    ///
    /// # Errors
    /// When a shape contradicts the network, or the model cannot be imported.
    pub fn bind(&self, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Graph, BuildError> {
        let inputs = self.inputs();
        let (has, names): (Box<dyn Fn(&str) -> bool>, Vec<&str>) = match &self.source {
            Source::Onnx(m) => (
                Box::new(|n| m.inputs().iter().any(|i| i.has(n))),
                m.inputs().iter().map(|i| i.name.as_str()).collect(),
            ),
            Source::Graph(_) => (
                Box::new(|n| inputs.iter().any(|i| i.name == n)),
                inputs.iter().map(|i| i.name.as_str()).collect(),
            ),
        };
        if let Some(name) = shapes.keys().find(|n| !has(n)) {
            let known = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            return Err(BuildError::NoInput { name: name.clone(), known });
        }
        match &self.source {
            Source::Onnx(m) => {
                let mut bindings = ShapeBindings::default();
                for (name, shape) in shapes {
                    bindings = bindings.shape(name, shape);
                }
                Ok(m.graph(&bindings)?)
            }
            Source::Graph(g) => {
                let mut symbols = Symbols::new();
                for i in &inputs {
                    if let Some(shape) = shapes.get(&i.name) {
                        match_shape(i, shape, &mut symbols)?;
                    }
                }
                Ok(g.bind(&symbols)?)
            }
        }
    }
}

/// A plan's section as an owner of bytes.
struct Kept(Arc<Section>);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Collects the symbols that make `declared` equal to `given`.
fn match_shape(declared: &InputInfo, given: &[usize], symbols: &mut Symbols) -> Result<(), BuildError> {
    let fail = || BuildError::Shape {
        name: declared.name.clone(),
        declared: declared.shape.to_string(),
        given: Shape::known(given).to_string(),
    };
    if declared.shape.rank() != given.len() {
        return Err(fail());
    }
    for (d, &n) in declared.shape.dims().iter().zip(given) {
        let bound = d.bind(symbols);
        match bound.as_usize() {
            Some(known) if known == n => {}
            Some(_) => return Err(fail()),
            None => {
                let mut names = std::collections::BTreeSet::new();
                bound.symbols(&mut names);
                let Some(name) = names.pop_first().filter(|_| names.is_empty()) else { return Err(fail()) };
                symbols.insert(name, n);
                if bound.bind(symbols).as_usize() != Some(n) {
                    return Err(fail());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_ir::{Expr, Op, Unary};

    fn open_batch() -> Network {
        let mut g = Graph::new("g");
        let shape: Shape = ["N", "C"].into_iter().collect();
        let x = g.add_input("x", TensorType { dtype: DType::F32, shape }).unwrap();
        let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[x], "relu").unwrap();
        g.mark_output("y", y);
        Network::from_graph(g)
    }

    #[test]
    fn open_sizes_are_bound_by_input() {
        let net = open_batch();
        assert!(!net.graph().unwrap().is_bound());
        let g = net.bind(&Shapes::from([("x".into(), vec![4, 3])])).unwrap();
        assert!(g.is_bound());
        assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[4,3]");
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let net = open_batch();
        let text = net.bind(&Shapes::from([("x".into(), vec![4])])).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("[N,C]") && text.contains("[4]"), "{text}");
        let text = net.bind(&Shapes::from([("z".into(), vec![4])])).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("`z`") && text.contains("`x`"), "{text}");
    }
}
