//! The model as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;
use prost::Message;
use tactician_ir::{DType, Graph, Tensor};

use crate::error::ImportError;
use crate::import::domain;
use crate::inputs::{self, ModelInput, ShapeBindings, ValueKind};
use crate::proto::{GraphProto, ModelProto, OperatorSetId, TensorProto, ValueInfo};
use crate::{external, function, import, tensor};

/// Oldest operator set that is read.
pub(crate) const LEAST_OPSET: i64 = 1;

/// The version of ONNX's own operators in a list.
pub(crate) fn own_opset(list: &[OperatorSetId]) -> Option<i64> {
    list.iter().find(|o| domain(&o.domain).is_empty()).map(|o| o.version)
}

/// An ONNX model, read but not yet imported.
pub struct Model {
    /// What it was read from.
    bytes: Bytes,
    pub(crate) proto: ModelProto,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) opset: i64,
    inputs: Vec<ModelInput>,
    /// Whether it is run often, each time with other values: it is the graph of a loop.
    pub(crate) often: bool,
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

    /// Reads a model from bytes that something else owns; its weights are read there. External data are refused.
    ///
    /// # Errors
    /// When the bytes are no ONNX model.
    pub fn from_owner(bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Model, ImportError> {
        Model::decode(Bytes::from_owner(bytes), None)
    }

    /// The model in one piece: its bytes, with the weights that lie in other files put in, and with values that inputs have
    /// once and for all, so that it has no such inputs.
    ///
    /// # Errors
    /// When another file cannot be read.
    pub fn whole(&self, values: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, ImportError> {
        let mut proto = self.proto.clone();
        let mut bytes = match external::embed(&mut proto, self.folder.as_deref())? {
            true => proto.encode_to_vec(),
            false => self.bytes.to_vec(),
        };
        let declared = self.proto.graph.iter().flat_map(|g| &g.input);
        let initializer = declared.filter_map(|i| {
            let (value, ty) = (values.get(&i.name)?, i.r#type.as_ref()?.tensor.as_ref()?);
            Some(TensorProto {
                name: i.name.clone(),
                data_type: ty.elem_type,
                dims: value.sizes().iter().map(|&n| n as i64).collect(),
                raw_data: Some(value.bytes().to_vec().into()),
                ..TensorProto::default()
            })
        });
        // Fields of a message that comes twice are joined: the graph has these initialisers too.
        let graph = GraphProto { initializer: initializer.collect(), ..GraphProto::default() };
        if !graph.initializer.is_empty() {
            bytes.extend(ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
        }
        Ok(bytes)
    }

    fn decode(bytes: Bytes, folder: Option<PathBuf>) -> Result<Model, ImportError> {
        let malformed = |problem: String| ImportError::Malformed { problem };
        let proto = ModelProto::decode(bytes.clone()).map_err(|e| malformed(e.to_string()))?;
        let Some(graph) = &proto.graph else { return Err(malformed("it has no graph".into())) };
        if graph.node.is_empty() && graph.output.is_empty() {
            return Err(malformed("its graph is empty".into()));
        }
        // Without a version of ONNX's own operators a model has only those of other domains.
        let opset = own_opset(&proto.opset_import).unwrap_or(LEAST_OPSET);
        if opset < LEAST_OPSET {
            return Err(ImportError::Opset { found: opset, least: LEAST_OPSET });
        }
        let sparse = graph.sparse_initializer.iter().map(tensor::sparse_name);
        let initialised: BTreeSet<&str> =
            graph.initializer.iter().map(|t| t.name.as_str()).chain(sparse).collect();
        let mut inputs: Vec<ModelInput> = Vec::new();
        for i in graph.input.iter().filter(|i| !initialised.contains(i.name.as_str())) {
            if inputs.iter().any(|o| o.name == i.name) {
                return Err(ImportError::Duplicate { name: i.name.clone() });
            }
            inputs.push(inputs::input(i)?);
        }
        function::check(&proto.functions)?;
        Ok(Model { bytes, folder, opset, inputs, proto, often: false })
    }

    /// A nested graph as a model of its own: what it is given and what it reads from around it are its inputs, of these types.
    pub(crate) fn nested(
        &self,
        graph: &GraphProto,
        types: BTreeMap<String, DType>,
        output: Vec<ValueInfo>,
        is_loop: bool,
    ) -> Model {
        let graph = GraphProto { input: Vec::new(), output, ..graph.clone() };
        let input = |(name, dtype)| ModelInput { name, kind: ValueKind::Tensor, dtype, shape: None };
        Model {
            bytes: Bytes::new(),
            proto: ModelProto {
                graph: Some(graph),
                functions: self.proto.functions.clone(),
                opset_import: self.proto.opset_import.clone(),
                ..ModelProto::default()
            },
            folder: self.folder.clone(),
            opset: self.opset,
            inputs: types.into_iter().map(input).collect(),
            often: self.often || is_loop,
        }
    }

    /// The names of its outputs, in order, and what they are.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, ValueKind)> {
        let outputs = self.proto.graph.iter().flat_map(|g| &g.output);
        outputs.map(|o| (o.name.as_str(), inputs::kind(o)))
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
    /// The tensors of a sequence are inputs `NAME.0`, `NAME.1` and so on of the graph, as many as sizes are given for; those of a
    /// sequence that the model gives are outputs of such names. An optional value that the model does not give is no output.
    ///
    /// # Errors
    /// When a shape does not fit, a tensor is damaged, or nodes are not supported (all are listed).
    pub fn graph(&self, shapes: &ShapeBindings) -> Result<Graph, ImportError> {
        import::run(self, &shapes.of(&self.inputs)?, &shapes.values)
    }
}
