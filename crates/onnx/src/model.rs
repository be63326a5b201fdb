//! The model as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;
use prost::Message;
use tactician_ir::{DType, Dim, Graph, MAX_RANK, Shape, Tensor};

use crate::error::ImportError;
use crate::import;
use crate::proto::{ModelProto, ValueInfo};
use crate::tensor;

/// Oldest operator set that is read.
const LEAST_OPSET: i64 = 6;

/// An ONNX model, read but not yet imported.
pub struct Model {
    pub(crate) proto: ModelProto,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) opset: i64,
    inputs: Vec<ModelInput>,
}

/// An input that is no initialiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInput {
    /// Its name.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Its sizes; open ones are symbols.
    pub shape: Shape,
}

/// Sizes and values given for inputs.
#[derive(Clone, Debug, Default)]
pub struct ShapeBindings {
    sizes: BTreeMap<String, Vec<usize>>,
    pub(crate) values: BTreeMap<String, Tensor>,
}

impl ShapeBindings {
    /// Gives the sizes of an input.
    pub fn shape(mut self, name: &str, sizes: &[usize]) -> Self {
        self.sizes.insert(name.to_owned(), sizes.to_vec());
        self
    }

    /// Gives the value of an input, such as the shape that a `Reshape` reads: a constant of the graph then, which has no
    /// such input.
    pub fn value(mut self, name: &str, value: Tensor) -> Self {
        self.sizes.insert(name.to_owned(), value.sizes().to_vec());
        self.values.insert(name.to_owned(), value);
        self
    }
}

impl Model {
    /// Reads a model. The file stays mapped as long as its weights are in use; changing it meanwhile changes them.
    ///
    /// # Errors
    /// When the file cannot be read or is no ONNX model.
    pub fn open(path: &Path) -> Result<Model, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(ImportError::Malformed { problem: "it is empty".into() });
        }
        // SAFETY: mapped for reading; see above for what changing the file does.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Model::decode(Bytes::from_owner(map), Some(folder.to_owned()))
    }

    /// Reads a model from memory; external data are refused.
    ///
    /// # Errors
    /// When the bytes are no ONNX model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Model, ImportError> {
        Model::decode(bytes.into(), None)
    }

    fn decode(bytes: Bytes, folder: Option<PathBuf>) -> Result<Model, ImportError> {
        let malformed = |problem: String| ImportError::Malformed { problem };
        let proto = ModelProto::decode(bytes).map_err(|e| malformed(e.to_string()))?;
        let Some(graph) = &proto.graph else { return Err(malformed("it has no graph".into())) };
        if graph.node.is_empty() && graph.output.is_empty() {
            return Err(malformed("its graph is empty".into()));
        }
        let opset = proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
        // Without a version of ONNX's own operators a model has only those of other domains.
        let opset = opset.map_or(LEAST_OPSET, |o| o.version);
        if opset < LEAST_OPSET {
            return Err(ImportError::Opset { found: opset, least: LEAST_OPSET });
        }
        let initialised: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let mut inputs: Vec<ModelInput> = Vec::new();
        for i in graph.input.iter().filter(|i| !initialised.contains(i.name.as_str())) {
            if inputs.iter().any(|o| o.name == i.name) {
                return Err(ImportError::Duplicate { name: i.name.clone() });
            }
            inputs.push(input(i)?);
        }
        Ok(Model { folder, opset, inputs, proto })
    }

    /// The names of its outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.proto.graph.iter().flat_map(|g| g.output.iter().map(|o| o.name.as_str()))
    }

    /// Its operators, each once, with the domain unless that is ONNX's own.
    pub fn operators(&self) -> BTreeSet<String> {
        self.proto.graph.iter().flat_map(|g| g.node.iter().map(import::operator)).collect()
    }

    /// Its inputs, initialisers left out.
    pub fn inputs(&self) -> &[ModelInput] {
        &self.inputs
    }

    /// Imports the graph, with sizes given for some inputs. A symbol that is bound by one input is bound everywhere.
    ///
    /// # Errors
    /// When a shape does not fit, a tensor is damaged, or nodes are not supported (all are listed).
    pub fn graph(&self, shapes: &ShapeBindings) -> Result<Graph, ImportError> {
        let mut symbols = BTreeMap::new();
        for i in &self.inputs {
            let Some(given) = shapes.sizes.get(&i.name) else { continue };
            let fail = || ImportError::Shape {
                name: i.name.clone(),
                declared: i.shape.to_string(),
                given: given.clone(),
            };
            if given.len() != i.shape.rank() {
                return Err(fail());
            }
            for (d, &n) in i.shape.dims().iter().zip(given) {
                let mut names = BTreeSet::new();
                d.symbols(&mut names);
                for name in names {
                    symbols.entry(name).or_insert(n);
                }
            }
            let bound = i.shape.bind(&symbols).sizes();
            if bound.as_ref() != Some(given) {
                return Err(fail());
            }
            if let Some(value) = shapes.values.get(&i.name).filter(|v| v.dtype() != i.dtype) {
                let problem = format!("it takes {}, the value given is {}", i.dtype, value.ty());
                return Err(ImportError::Input { name: i.name.clone(), problem });
            }
        }
        import::run(self, &symbols, &shapes.values)
    }
}

fn input(i: &ValueInfo) -> Result<ModelInput, ImportError> {
    let fail = |problem: String| ImportError::Input { name: i.name.clone(), problem };
    let Some(t) = i.r#type.as_ref().and_then(|t| t.tensor.as_ref()) else {
        return Err(fail("it is no tensor".into()));
    };
    let dtype = tensor::dtype(t.elem_type).map_err(fail)?;
    let Some(shape) = &t.shape else { return Err(fail("its rank is not declared".into())) };
    if shape.dim.len() > MAX_RANK {
        return Err(fail(format!("rank {} is above the limit of {MAX_RANK}", shape.dim.len())));
    }
    let mut dims = Vec::new();
    for (at, d) in shape.dim.iter().enumerate() {
        dims.push(match (&d.value, &d.param) {
            (Some(n), _) if *n > 0 => Dim::known(*n),
            // Exporters also write `?` for a size that they do not know, several times and not for one size.
            (Some(0) | None, Some(name)) if name.contains(char::is_alphanumeric) => {
                tactician_ir::text::parse_dim(name).unwrap_or_else(|_| Dim::symbol(name))
            }
            // Exporters write 0 and -1 for sizes that they do not know.
            (Some(0 | -1) | None, _) => Dim::symbol(&format!("{}_{at}", i.name)),
            (Some(n), _) => return Err(fail(format!("it has the size {n}"))),
        });
    }
    Ok(ModelInput { name: i.name.clone(), dtype, shape: dims.into_iter().collect() })
}
