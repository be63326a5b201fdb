//! Parquet.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::Record;
use super::columns::{COLUMNS, Column, ColumnKind, Value};

/// Most rows of a row group: readers take in one at a time.
const GROUP: usize = 1 << 16;

/// The file, whole.
pub(super) fn bytes(records: &[Record<'_>]) -> Result<Vec<u8>, ParquetError> {
    let fields = COLUMNS.iter().map(field).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("tactics").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_created_by("tactician".into()).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    for group in records.chunks(GROUP) {
        let mut rows = writer.next_row_group()?;
        let mut columns = COLUMNS.iter();
        while let Some(mut open) = rows.next_column()? {
            if let Some(column) = columns.next() {
                write(column, group, open.untyped())?;
            }
            open.close()?;
        }
        rows.close()?;
    }
    writer.into_inner()
}

/// The declaration of a column.
fn field(column: &Column) -> Result<Arc<Type>, ParquetError> {
    let physical = match column.kind {
        ColumnKind::Text => Physical::BYTE_ARRAY,
        ColumnKind::Integer => Physical::INT64,
        ColumnKind::Float => Physical::DOUBLE,
    };
    let text = (column.kind == ColumnKind::Text).then_some(LogicalType::String);
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(text)
        .build()
        .map(Arc::new)
}

/// Writes a column of some rows: the values present, and of each row whether it has one.
fn write(column: &Column, rows: &[Record<'_>], writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
    let (mut texts, mut integers, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    let mut present = Vec::with_capacity(rows.len());
    for r in rows {
        let value = column.value(r);
        present.push(i16::from(value != Value::Absent));
        match value {
            Value::Absent => {}
            Value::Text(t) => texts.push(ByteArray::from(t.as_bytes().to_vec())),
            Value::Integer(n) => integers.push(n),
            Value::Float(x) => floats.push(x),
        }
    }
    match writer {
        ColumnWriter::ByteArrayColumnWriter(w) => w.write_batch(&texts, Some(&present), None),
        ColumnWriter::Int64ColumnWriter(w) => w.write_batch(&integers, Some(&present), None),
        ColumnWriter::DoubleColumnWriter(w) => w.write_batch(&floats, Some(&present), None),
        _ => Err(ParquetError::General(format!("column {} has another type", column.name))),
    }
    .map(|_| ())
}
