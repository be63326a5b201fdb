//! A model's inputs, and what the caller says about them.

use std::collections::{BTreeMap, BTreeSet};

use tactician_ir::{DType, Dim, MAX_RANK, Shape, Symbols, Tensor, TensorType};

use crate::error::ImportError;
use crate::proto::{TypeProto, ValueInfo};
use crate::tensor;

/// What a model takes or gives under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A tensor.
    Tensor,
    /// Some tensors.
    Sequence,
    /// A tensor, or nothing.
    Optional,
    /// Some tensors, or nothing.
    OptionalSequence,
}

/// An input that is no initialiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInput {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ValueKind,
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes of the tensor, or of each of the sequence's; open ones are symbols. `None` where not even the rank is declared: the
    /// shape must be given then.
    pub shape: Option<Shape>,
}

impl ModelInput {
    /// Whether it is a sequence, perhaps an optional one.
    pub fn is_sequence(&self) -> bool {
        matches!(self.kind, ValueKind::Sequence | ValueKind::OptionalSequence)
    }

    /// Whether sizes can be given under a name: its own, or that of one of its tensors, `NAME.0` and so on.
    pub fn has(&self, name: &str) -> bool {
        match name.strip_prefix(&self.name) {
            Some("") => !self.is_sequence(),
            Some(rest) if self.is_sequence() => rest
                .strip_prefix('.')
                .is_some_and(|k| k.parse().is_ok_and(|k: usize| k.to_string() == rest[1..])),
            _ => false,
        }
    }
}

/// Sizes and values given for inputs.
#[derive(Clone, Debug, Default)]
pub struct ShapeBindings {
    sizes: BTreeMap<String, Vec<usize>>,
    nothing: BTreeSet<String>,
    pub(crate) values: BTreeMap<String, Tensor>,
}

/// What an input is in the graph.
pub(crate) enum Given {
    Tensor(TensorType),
    Sequence(Vec<TensorType>),
    Nothing,
}

impl ShapeBindings {
    /// Gives the sizes of an input. The tensors of a sequence are called `NAME.0`, `NAME.1` and so on; it has as many as are
    /// given sizes.
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

    /// Says that an optional input is not there, or that a sequence is empty. An optional tensor is there unless this is said.
    pub fn nothing(mut self, name: &str) -> Self {
        self.nothing.insert(name.to_owned());
        self
    }

    /// The types of all inputs.
    pub(crate) fn of(&self, inputs: &[ModelInput]) -> Result<Vec<Given>, ImportError> {
        let mut symbols = Symbols::new();
        for i in inputs.iter().filter(|i| !i.is_sequence()) {
            let (Some(given), Some(shape)) = (self.sizes.get(&i.name), &i.shape) else { continue };
            if given.len() != shape.rank() {
                return Err(misfit(i, &i.name, given));
            }
            bind(shape, given, &mut symbols);
        }
        inputs.iter().map(|i| self.one(i, &symbols)).collect()
    }

    fn one(&self, i: &ModelInput, symbols: &Symbols) -> Result<Given, ImportError> {
        let fail = |problem: &str| ImportError::Input { name: i.name.clone(), problem: problem.into() };
        if self.nothing.contains(&i.name) {
            return match i.kind {
                ValueKind::Tensor => Err(fail("it is a tensor, which cannot be nothing")),
                ValueKind::Sequence => Ok(Given::Sequence(vec![])),
                ValueKind::Optional | ValueKind::OptionalSequence => Ok(Given::Nothing),
            };
        }
        if !i.is_sequence() {
            let shape = match (self.sizes.get(&i.name), &i.shape) {
                (Some(given), Some(declared)) => {
                    // Exporters use one symbol for sizes that differ from input to input: it binds within one of them.
                    let mut own = Symbols::new();
                    bind(declared, given, &mut own);
                    let differs = |(d, n): (&Dim, &usize)| d.as_usize().is_some_and(|d| d != *n);
                    if declared.rank() != given.len()
                        || declared.bind(&own).dims().iter().zip(given).any(differs)
                    {
                        return Err(misfit(i, &i.name, given));
                    }
                    Shape::known(given)
                }
                (Some(given), None) => self.ranked(i, &i.name, given)?,
                (None, Some(declared)) => declared.bind(symbols),
                (None, None) => return Err(fail("its rank is not declared; give its shape (--shape)")),
            };
            self.check_value(i, &i.name)?;
            return Ok(Given::Tensor(TensorType { dtype: i.dtype, shape }));
        }
        let mut tensors = Vec::new();
        loop {
            let name = element(&i.name, tensors.len());
            let Some(given) = self.sizes.get(&name) else { break };
            // Symbols stand for a size each in every tensor.
            let differ = |s: &Shape| {
                let differs = |(d, n): (&Dim, &usize)| d.as_usize().is_some_and(|d| d != *n);
                s.rank() != given.len() || s.dims().iter().zip(given).any(differs)
            };
            if i.shape.as_ref().is_some_and(differ) {
                return Err(misfit(i, &name, given));
            }
            self.check_value(i, &name)?;
            tensors.push(TensorType { dtype: i.dtype, shape: self.ranked(i, &name, given)? });
        }
        if tensors.is_empty() {
            let name = &i.name;
            return Err(fail(&format!(
                "it is a sequence; give the shape of each of its tensors (--shape {name}.0=1x3 --shape {name}.1=2x3)"
            )));
        }
        Ok(Given::Sequence(tensors))
    }

    fn ranked(&self, i: &ModelInput, name: &str, given: &[usize]) -> Result<Shape, ImportError> {
        if given.len() > MAX_RANK {
            return Err(misfit(i, name, given));
        }
        Ok(Shape::known(given))
    }

    fn check_value(&self, i: &ModelInput, name: &str) -> Result<(), ImportError> {
        match self.values.get(name).filter(|v| v.dtype() != i.dtype) {
            None => Ok(()),
            Some(v) => {
                let problem = format!("it takes {}, the value given is {}", i.dtype, v.ty());
                Err(ImportError::Input { name: name.to_owned(), problem })
            }
        }
    }
}

/// Binds the symbols that are sizes by themselves; the first size that a symbol is given counts.
fn bind(shape: &Shape, given: &[usize], symbols: &mut Symbols) {
    for (d, &n) in shape.dims().iter().zip(given) {
        let mut names = BTreeSet::new();
        d.symbols(&mut names);
        for name in names.into_iter().filter(|name| *d == Dim::symbol(name)) {
            symbols.entry(name).or_insert(n);
        }
    }
}

/// The name of a sequence's tensor as an input or output of the graph.
pub(crate) fn element(name: &str, at: usize) -> String {
    format!("{name}.{at}")
}

fn misfit(i: &ModelInput, name: &str, given: &[usize]) -> ImportError {
    let declared = i.shape.as_ref().map_or_else(|| format!("at most {MAX_RANK} axes"), ToString::to_string);
    ImportError::Shape { name: name.to_owned(), declared, given: given.to_vec() }
}

/// What is declared under a name. What declares no type is a tensor.
pub(crate) fn kind(v: &ValueInfo) -> ValueKind {
    let is_sequence = |t: Option<&TypeProto>| t.is_some_and(|t| t.sequence.is_some());
    let ty = v.r#type.as_ref();
    match ty.and_then(|t| t.optional.as_ref()) {
        Some(o) if is_sequence(o.elem_type.as_deref()) => ValueKind::OptionalSequence,
        Some(_) => ValueKind::Optional,
        None if is_sequence(ty) => ValueKind::Sequence,
        None => ValueKind::Tensor,
    }
}

/// Reads an input's declaration.
pub(crate) fn input(i: &ValueInfo) -> Result<ModelInput, ImportError> {
    let fail = |problem: String| ImportError::Input { name: i.name.clone(), problem };
    let mut ty = i.r#type.as_ref();
    if let Some(o) = ty.and_then(|t| t.optional.as_ref()) {
        ty = o.elem_type.as_deref();
    }
    if let Some(s) = ty.and_then(|t| t.sequence.as_ref()) {
        ty = s.elem_type.as_deref();
    }
    let Some(t) = ty.and_then(|t| t.tensor.as_ref()) else {
        return Err(fail("it is no tensor and no sequence of tensors".into()));
    };
    let dtype = tensor::dtype(t.elem_type).map_err(fail)?;
    let (name, kind) = (i.name.clone(), kind(i));
    let Some(shape) = &t.shape else { return Ok(ModelInput { name, kind, dtype, shape: None }) };
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
    Ok(ModelInput { name, kind, dtype, shape: Some(dims.into_iter().collect()) })
}
