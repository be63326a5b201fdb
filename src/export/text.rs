//! CSV and JSON.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::columns::{COLUMNS, Value};
use super::{ExportError, Record};

/// Writes a header and the rows.
pub(super) fn csv(records: &[Record<'_>], out: &mut dyn Write) -> Result<(), ExportError> {
    let failed = |e: csv::Error| match e.into_kind() {
        csv::ErrorKind::Io(e) => ExportError::Write(e),
        other => ExportError::Write(io::Error::other(format!("{other:?}"))),
    };
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS.iter().map(|c| c.name)).map_err(failed)?;
    for r in records {
        for c in COLUMNS {
            let field = match c.value(r) {
                Value::Absent => "".into(),
                Value::Text(t) => t,
                Value::Integer(n) => n.to_string().into(),
                // The shortest form that reads back the same.
                Value::Float(x) => format!("{x:?}").into(),
            };
            writer.write_field(field.as_bytes()).map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    Ok(writer.flush()?)
}

/// Writes an array of objects, one a line.
pub(super) fn json(records: &[Record<'_>], out: &mut dyn Write) -> Result<(), ExportError> {
    out.write_all(b"[")?;
    for (i, r) in records.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &Object(r)).map_err(io::Error::from)?;
    }
    Ok(out.write_all(b"\n]\n")?)
}

struct Object<'a>(&'a Record<'a>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(COLUMNS.iter().map(|c| (c.name, c.value(self.0))))
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Absent => s.serialize_none(),
            Value::Text(t) => s.serialize_str(t),
            Value::Integer(n) => s.serialize_i64(*n),
            Value::Float(x) => s.serialize_f64(*x),
        }
    }
}
