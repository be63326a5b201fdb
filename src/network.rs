//! A network as people hand it over: an ONNX model or a graph built by hand, sizes perhaps still open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tactician_ir::{DType, Expr, ExprNode, Graph, Op, Shape, Symbols, Tensor, TensorType};
use tactician_onnx::{ImportError, Model, ModelInput, ShapeBindings};
use tactician_plan::{NetworkForm, Plan, Section};

use crate::dynamic::kept;
use crate::error::BuildError;

/// A network: from an ONNX file, or built by hand.
#[derive(Clone)]
pub struct Network {
    source: Source,
    values: Values,
}

#[derive(Clone)]
enum Source {
    Onnx(Arc<Model>),
    Graph(Arc<Graph>),
}

/// Shapes given at build time, by input name.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// Values given to inputs, by input name.
pub(crate) type Values = BTreeMap<String, Vec<f64>>;

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
        Ok(Network::of(Source::Onnx(Arc::new(Model::open(path.as_ref())?))))
    }

    /// Reads an ONNX model from memory. External data is refused.
    ///
    /// # Errors
    /// When the bytes are no ONNX model.
    pub fn from_onnx_bytes(bytes: Vec<u8>) -> Result<Network, ImportError> {
        Ok(Network::of(Source::Onnx(Arc::new(Model::from_bytes(bytes)?))))
    }

    /// Reads the network that a plan for open shapes keeps.
    pub(crate) fn from_plan(plan: &Plan) -> Result<Network, BuildError> {
        let section = plan.network().clone();
        Ok(match plan.meta.network_form {
            NetworkForm::Onnx => {
                let model = Model::from_owner(Kept(section))?;
                Network::of(Source::Onnx(Arc::new(model)))
            }
            NetworkForm::Graph => Network::from_graph(kept::read(section)?),
            NetworkForm::None => return Err(BuildError::FixedShapes { network: plan.meta.network.clone() }),
        })
    }

    /// The network as a plan for open shapes keeps it.
    pub(crate) fn for_plan(&self) -> Result<(NetworkForm, Vec<u8>), BuildError> {
        Ok(match &self.source {
            Source::Onnx(m) => (NetworkForm::Onnx, m.whole(&self.tensors(m)?)?),
            Source::Graph(g) => (NetworkForm::Graph, kept::write(g)),
        })
    }

    /// The ONNX model that it is; `None` for one built by hand.
    pub(crate) fn model(&self) -> Option<&Arc<Model>> {
        match &self.source {
            Source::Onnx(m) => Some(m),
            Source::Graph(_) => None,
        }
    }

    /// A network from a graph, such as `NetworkBuilder` makes.
    pub fn from_graph(graph: Graph) -> Network {
        Network::of(Source::Graph(Arc::new(graph)))
    }

    fn of(source: Source) -> Network {
        Network { source, values: Values::new() }
    }

    /// Gives an input of an ONNX model its value once and for all, so that the network has no such input: for a shape, an
    /// axis, a sampling rate or whatever else decides what the graph is. One number is a scalar or a vector of one, as
    /// the model declares it; more are a vector.
    ///
    /// # Errors
    /// When there is no such input, its rank is above 1 or its sizes differ, or its type cannot hold a number exactly.
    pub fn with_value(mut self, input: &str, numbers: &[f64]) -> Result<Network, BuildError> {
        let Source::Onnx(model) = &self.source else {
            let problem = "only ONNX models take values; leave the input out of the graph".into();
            return Err(BuildError::Value { name: input.to_owned(), problem });
        };
        let Some(declared) = model.inputs().iter().find(|i| i.name == input) else {
            let names: Vec<&str> = model.inputs().iter().map(|i| i.name.as_str()).collect();
            return Err(no_input(input, &names));
        };
        constant(declared, numbers)
            .map_err(|problem| BuildError::Value { name: input.to_owned(), problem })?;
        self.values.insert(input.to_owned(), numbers.to_vec());
        Ok(self)
    }

    /// The values given so far, as the model declares them.
    pub(crate) fn tensors(&self, model: &Model) -> Result<BTreeMap<String, Tensor>, BuildError> {
        let given = model.inputs().iter().filter_map(|i| Some((i, self.values.get(&i.name)?)));
        let tensor = |(i, numbers): (&ModelInput, &Vec<f64>)| match constant(i, numbers) {
            Ok(value) => Ok((i.name.clone(), value)),
            Err(problem) => Err(BuildError::Value { name: i.name.clone(), problem }),
        };
        given.map(tensor).collect()
    }

    /// The values given so far.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Its inputs, without those that were given values. Of an ONNX model those are left out too whose form only the caller
    /// can give ([`Network::bind`]): sequences, and tensors of no declared rank.
    pub fn inputs(&self) -> Vec<InputInfo> {
        match &self.source {
            Source::Onnx(m) => m
                .inputs()
                .iter()
                .filter(|i| !i.is_sequence() && !self.values.contains_key(&i.name))
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
            return Err(no_input(name, &names));
        }
        match &self.source {
            Source::Onnx(m) => {
                let mut bindings = ShapeBindings::default();
                for (name, shape) in shapes {
                    bindings = bindings.shape(name, shape);
                }
                for (name, value) in self.tensors(m)? {
                    bindings = bindings.value(&name, value);
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

fn no_input(name: &str, names: &[&str]) -> BuildError {
    let known = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    BuildError::NoInput { name: name.to_owned(), known }
}

/// Numbers as the value of an input; each must be one of its type's own.
fn constant(declared: &ModelInput, numbers: &[f64]) -> Result<Tensor, String> {
    let dtype = declared.dtype;
    let text = declared.shape.as_ref().map_or("a tensor of any rank".to_owned(), ToString::to_string);
    let sizes: &[usize] = match declared.shape.as_ref().map(Shape::rank) {
        _ if declared.is_sequence() => {
            return Err("it is a sequence; only scalars and vectors take values".into());
        }
        Some(0) | None if numbers.len() == 1 => &[],
        Some(1) | None if !numbers.is_empty() => &[numbers.len()],
        Some(0 | 1) | None => {
            return Err(format!("it is declared as {text} and given {} numbers", numbers.len()));
        }
        Some(_) => return Err(format!("it is declared as {text}; only scalars and vectors take values")),
    };
    let cast = |t: &Tensor, to| {
        let mut e = Expr::empty();
        let input = e.push(ExprNode::Input(0));
        e.push(ExprNode::Cast(to, input));
        tactician_reference::eval_op(&Op::Pointwise(e), &[t]).map_err(|e| e.to_string())
    };
    let given = Tensor::new(sizes, numbers).map_err(|e| e.to_string())?;
    let value = cast(&given, dtype)?;
    let back = cast(&value, DType::F64)?;
    let back = back.values::<f64>().ok_or("a conversion to f64 gave another type")?;
    // A float may round: 0.1 is meant as the nearest.
    let same = |a: f64, b: f64| a == b || (dtype.is_float() && (a - b).abs() <= a.abs() * 1e-2);
    match numbers.iter().zip(back.iter()).find(|&(&a, &b)| !same(a, b)) {
        Some((number, _)) => Err(format!("it takes {dtype}, which has no {number}")),
        None => Ok(value),
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
