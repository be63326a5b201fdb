//! Values in files of their own: the `.pb` files of ONNX's test data.

use bytes::Bytes;
use prost::Message;
use tactician_ir::Tensor;

use crate::error::ImportError;
use crate::inputs::ValueKind;
use crate::proto::{OptionalProto, SequenceProto, TensorProto};
use crate::tensor::convert;

/// A value that a model takes or gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// Some tensors.
    Sequence(Vec<Tensor>),
    /// An optional value that is not there.
    Nothing,
}

/// Reads a value in ONNX's own form: a serialised `TensorProto`, `SequenceProto` or `OptionalProto`. Gives its name too.
///
/// # Errors
/// When the bytes are no value of that kind, its elements have a type that is not supported, or its data lie in another file.
pub fn read_value(bytes: &[u8], kind: ValueKind) -> Result<(String, Value), ImportError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let malformed = |e: prost::DecodeError| ImportError::Malformed { problem: e.to_string() };
    Ok(match kind {
        ValueKind::Tensor => {
            let t = TensorProto::decode(bytes).map_err(malformed)?;
            (t.name.clone(), Value::Tensor(convert(&t, None)?))
        }
        ValueKind::Sequence => {
            let s = SequenceProto::decode(bytes).map_err(malformed)?;
            (s.name.clone(), sequence(&s)?)
        }
        ValueKind::Optional | ValueKind::OptionalSequence => {
            let o = OptionalProto::decode(bytes).map_err(malformed)?;
            let value = match (&o.tensor_value, &o.sequence_value) {
                (Some(t), _) => Value::Tensor(convert(t, None)?),
                (None, Some(s)) => sequence(s)?,
                (None, None) => Value::Nothing,
            };
            (o.name, value)
        }
    })
}

fn sequence(s: &SequenceProto) -> Result<Value, ImportError> {
    s.tensor_values.iter().map(|t| convert(t, None)).collect::<Result<_, _>>().map(Value::Sequence)
}
