//! One node of the model: its operands and attributes.

use tactician_ir::{Dim, NarrowFloat, Tensor, ValueId};

use crate::import::{Import, Val};
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::tensor;

/// A node with its operands looked up.
pub(crate) struct Node<'a> {
    pub(crate) proto: &'a NodeProto,
    pub(crate) label: &'a str,
    pub(crate) inputs: &'a [Option<Val>],
    /// By name.
    pub(crate) attributes: &'a [(&'a str, &'a AttributeProto)],
}

impl<'a> Node<'a> {
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.attributes.iter().find(|(n, _)| *n == name).map(|(_, a)| *a)
    }

    /// An attribute that is a graph.
    pub(crate) fn graph(&self, name: &str) -> Result<&'a GraphProto, String> {
        let found = self.attribute(name).and_then(|a| a.g.as_ref());
        found.ok_or_else(|| format!("its attribute `{name}` is missing"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub(crate) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> Result<String, String> {
        match self.attribute(name).and_then(|a| a.s.as_ref()) {
            None => Ok(default.to_owned()),
            Some(b) => String::from_utf8(b.to_vec()).map_err(|_| format!("attribute `{name}` is no text")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(a) = self.attribute(name) else { return Ok(None) };
        let list = a.strings.iter().map(|b| String::from_utf8(b.to_vec())).collect::<Result<_, _>>();
        list.map(Some).map_err(|_| format!("attribute `{name}` is no list of texts"))
    }

    pub(crate) fn tensor_attribute(&self, name: &str, import: &Import<'_>) -> Result<Option<Tensor>, String> {
        match self.attribute(name).and_then(|a| a.t.as_ref()) {
            None => Ok(None),
            Some(t) => tensor::convert(t, import.folder).map(Some).map_err(|e| e.to_string()),
        }
    }

    /// Positive integers: one a spatial axis, or `default` for each.
    pub(crate) fn sizes(&self, name: &str, n: usize, default: usize) -> Result<Vec<usize>, String> {
        match self.ints(name) {
            None => Ok(vec![default; n]),
            Some(l) if l.len() == n => l
                .iter()
                .map(|&v| {
                    usize::try_from(v).ok().filter(|&v| v < 1 << 31).ok_or_else(|| {
                        format!("attribute `{name}` is {l:?}, expected small positive numbers")
                    })
                })
                .collect(),
            Some(l) => Err(format!("attribute `{name}` has {} entries for {n} axes", l.len())),
        }
    }

    /// Whether operand `i` is there.
    pub(crate) fn given(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// Operand `i`, which must be there.
    pub(crate) fn val(&self, i: usize) -> Result<&Val, String> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// Operand `i` as a tensor.
    pub(crate) fn tensor(&self, i: usize, import: &mut Import<'_>) -> Result<ValueId, String> {
        let v = self.val(i)?.clone();
        import.tensor(&v, self.proto.input.get(i).map_or("", String::as_str))
    }

    /// All operands as tensors, of which there are some.
    pub(crate) fn tensors(&self, import: &mut Import<'_>) -> Result<Vec<ValueId>, String> {
        if self.inputs.is_empty() {
            return Err("it has no operands".into());
        }
        (0..self.inputs.len()).map(|i| self.tensor(i, import)).collect()
    }

    /// Operand `i` as sizes known now or later; `None` when it is not given.
    pub(crate) fn dims(&self, i: usize, import: &Import<'_>) -> Result<Option<Vec<Dim>>, String> {
        if !self.given(i) {
            return Ok(None);
        }
        let dims = import.dims(self.val(i)?);
        dims.map(Some).ok_or_else(|| format!("operand {i} must be known when the model is imported; if it is an input, give its value (--value NAME=NUMBERS)"))
    }

    /// Operand `i` as integers.
    pub(crate) fn known_ints(&self, i: usize, import: &Import<'_>) -> Result<Option<Vec<i64>>, String> {
        let Some(dims) = self.dims(i, import)? else { return Ok(None) };
        let known: Option<Vec<i64>> = dims.iter().map(Dim::as_i64).collect();
        known.map(Some).ok_or_else(|| {
            format!("operand {i} depends on open sizes; give the input shapes (--shape NAME=1x3x224x224)")
        })
    }

    /// Operand `i` as floats of a constant.
    pub(crate) fn known_floats(&self, i: usize, import: &Import<'_>) -> Result<Option<Vec<f64>>, String> {
        if !self.given(i) {
            return Ok(None);
        }
        let Val::Tensor(v) = self.val(i)? else { return Err(format!("operand {i} must be a constant")) };
        let Some(t) = import.graph.constant(*v) else {
            import.want(*v);
            return Err(format!("operand {i} must be a constant"));
        };
        let wide = match t.dtype() {
            tactician_ir::DType::F32 => t.values::<f32>().map(|v| v.iter().map(|&x| f64::from(x)).collect()),
            tactician_ir::DType::F64 => t.values::<f64>().map(|v| v.into_owned()),
            tactician_ir::DType::F16 => {
                t.values::<half::f16>().map(|v| v.iter().map(|x| x.to_f64()).collect())
            }
            tactician_ir::DType::BF16 => {
                t.values::<half::bf16>().map(|v| v.iter().map(|x| x.to_f64()).collect())
            }
            tactician_ir::DType::I64 => t.values::<i64>().map(|v| v.iter().map(|&x| x as f64).collect()),
            tactician_ir::DType::I32 => t.values::<i32>().map(|v| v.iter().map(|&x| f64::from(x)).collect()),
            narrow if narrow.is_narrow() => {
                let number = |&b: &u8| match NarrowFloat::of(narrow) {
                    Some(f) => f.value(b),
                    None => narrow.wrapped(i64::from(b)).unwrap_or(0) as f64,
                };
                Some(t.bytes().iter().map(number).collect())
            }
            _ => None,
        };
        wide.map(Some).ok_or_else(|| format!("operand {i} has the type {}, expected numbers", t.dtype()))
    }

    /// An axis, negative ones from the end.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let a = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(a)
            .ok()
            .filter(|&a| a < rank)
            .ok_or_else(|| format!("axis {axis} of a tensor of rank {rank}"))
    }

    /// Axes, ascending, negative ones from the end.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
        let mut out = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        out.sort_unstable();
        if out.windows(2).any(|w| w[0] == w[1]) {
            return Err(format!("axes {axes:?} name one axis twice"));
        }
        Ok(out)
    }
}
