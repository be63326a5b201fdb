use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use serde_json::Value as Json;
use tactician_ir::{DType, WindowFeatures};
use tactician_tune::{Timing, Verdict};
use tactician_types::Layout;

use super::*;

/// What a file may hold: everything that breaks naive writers.
const HOSTILE: &str = "conv \"a\", 'b';\r\n\tnull, \\n =1+1 \u{0} ü 𝄞 \u{feff}";

fn features() -> Features {
    Features {
        op: "conv".into(),
        dtype: DType::F16,
        result: vec![1, 8, 5, 6],
        window: Some(WindowFeatures {
            batch: 1,
            in_channels: 4,
            out_channels: 8,
            groups: 2,
            input: vec![10, 12],
            output: vec![5, 6],
            kernel: vec![3, 1],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            pads: vec![(1, 0), (0, 2)],
        }),
        product: None,
        anchor_flops: u64::MAX,
        epilogue_flops: 240,
        epilogue_ops: 1,
        epilogue_operands: 0,
        bytes_read: 960,
        constant_bytes: 96,
        bytes_written: 480,
    }
}

fn row(verdict: Verdict) -> Row {
    Row {
        inputs: vec![Layout::Plain, Layout::Blocked(16)],
        output: Layout::ChannelsLast,
        workspace: 1 << 20,
        constants: 64,
        verdict,
    }
}

/// A problem with features, timed and failed, and a hostile one without, in another context.
fn sample() -> TacticTable {
    let mut t = TacticTable::new();
    let cpu = t.context(&[
        ("device".into(), "cpu".into()),
        ("name".into(), HOSTILE.into()),
        ("isa".into(), "avx2".into()),
        ("threads".into(), "2".into()),
        ("l2".into(), "many".into()),
    ]);
    let timing = Timing {
        median_us: 12.5,
        min_us: 0.1 + 0.2,
        mad_us: 1e-300,
        samples: 10,
        error_ratio: f64::NAN,
        relative_l2: 1.25e-7,
    };
    t.insert(&cpu, "conv (…)", "conv.cpu.direct/1", row(Verdict::Timed(timing)));
    t.insert(&cpu, "conv (…)", "conv.cpu.gemm/2", row(Verdict::Failed { reason: HOSTILE.into() }));
    t.describe("conv (…)", features());
    let broken = Row { workspace: u64::MAX, ..row(Verdict::Wrong { reason: String::new() }) };
    t.insert("no such context", HOSTILE, HOSTILE, broken);
    t
}

fn written(table: &TacticTable, format: ExportFormat) -> Vec<u8> {
    let mut out = Vec::new();
    let summary = export(table, &ExportOptions::default(), format, &mut out).unwrap();
    assert_eq!(summary.rows, table.len());
    out
}

/// Every value of every row, as the columns say.
fn expected(table: &TacticTable) -> Vec<Vec<Value<'_>>> {
    let list = records(table, &ExportOptions::default());
    list.iter().map(|r| COLUMNS.iter().map(|c| c.value(r)).collect()).collect()
}

fn at(name: &str) -> usize {
    COLUMNS.iter().position(|c| c.name == name).unwrap()
}

#[test]
fn columns_hold_what_was_measured() {
    let t = sample();
    let rows = expected(&t);
    let text = |s: &'static str| Value::Text(s.into());
    let timed = rows.iter().find(|r| r[at("verdict")] == text("timed")).unwrap();
    for (name, value) in [
        ("device", text("cpu")),
        ("device_name", text(HOSTILE)),
        ("architecture", text("avx2")),
        ("threads", Value::Integer(2)),
        ("l2_bytes", Value::Absent),
        ("op", text("conv")),
        ("dtype", text("f16")),
        ("result", text("1x8x5x6")),
        ("groups", Value::Integer(2)),
        ("in_d", Value::Absent),
        ("in_h", Value::Integer(10)),
        ("in_w", Value::Integer(12)),
        ("kernel_h", Value::Integer(3)),
        ("kernel_w", Value::Integer(1)),
        ("pads", text("1:0,0:2")),
        ("m", Value::Absent),
        ("flops", Value::Integer(i64::MAX)),
        ("bytes_read", Value::Integer(960)),
        ("tactic", text("conv.cpu.direct/1")),
        ("family", text("conv.cpu.direct")),
        ("input_layouts", text("plain c16")),
        ("output_layout", text("nhwc")),
        ("workspace", Value::Integer(1 << 20)),
        ("packed_bytes", Value::Integer(64)),
        ("reason", Value::Absent),
        ("median_us", Value::Float(12.5)),
        ("min_us", Value::Float(0.1 + 0.2)),
        ("samples", Value::Integer(10)),
        // Not a number, so nothing.
        ("error_ratio", Value::Absent),
        ("relative_l2", Value::Float(1.25e-7)),
    ] {
        assert_eq!(timed[at(name)], value, "{name}");
    }
    let wrong = rows.iter().find(|r| r[at("verdict")] == text("wrong")).unwrap();
    assert_eq!((&wrong[at("device")], &wrong[at("op")]), (&Value::Absent, &Value::Absent));
    assert_eq!(
        (&wrong[at("workspace")], &wrong[at("median_us")]),
        (&Value::Integer(i64::MAX), &Value::Absent)
    );
}

#[test]
fn csv_reads_back() {
    let t = sample();
    let bytes = written(&t, ExportFormat::Csv);
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let names: Vec<&str> = COLUMNS.iter().map(|c| c.name).collect();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), names);
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), t.len());
    for (row, want) in rows.iter().zip(expected(&t)) {
        for ((field, want), column) in row.iter().zip(want).zip(COLUMNS) {
            match want {
                Value::Absent => assert_eq!(field, "", "{}", column.name),
                Value::Text(w) => assert_eq!(field, w, "{}", column.name),
                Value::Integer(w) => assert_eq!(field.parse(), Ok(w), "{}", column.name),
                Value::Float(w) => assert_eq!(field.parse(), Ok(w), "{}", column.name),
            }
        }
    }
}

#[test]
fn json_reads_back() {
    let t = sample();
    let rows: Vec<serde_json::Map<String, Json>> =
        serde_json::from_slice(&written(&t, ExportFormat::Json)).unwrap();
    assert_eq!(rows.len(), t.len());
    for (row, want) in rows.iter().zip(expected(&t)) {
        assert_eq!(row.len(), COLUMNS.len());
        for (column, want) in COLUMNS.iter().zip(want) {
            let want = match want {
                Value::Absent => Json::Null,
                Value::Text(w) => Json::from(w.as_ref()),
                Value::Integer(w) => Json::from(w),
                Value::Float(w) => Json::from(w),
            };
            assert_eq!(row[column.name], want, "{}", column.name);
        }
    }
}

/// All rows of a Parquet file.
fn parquet_rows(bytes: Vec<u8>) -> Vec<Vec<(String, Field)>> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().num_columns();
    assert_eq!(columns, COLUMNS.len());
    reader.get_row_iter(None).unwrap().map(|r| r.unwrap().into_columns()).collect()
}

#[test]
fn parquet_reads_back() {
    let t = sample();
    let rows = parquet_rows(written(&t, ExportFormat::Parquet));
    assert_eq!(rows.len(), t.len());
    for (row, want) in rows.iter().zip(expected(&t)) {
        for ((column, (name, field)), want) in COLUMNS.iter().zip(row).zip(want) {
            let want = match want {
                Value::Absent => Field::Null,
                Value::Text(w) => Field::Str(w.into_owned()),
                Value::Integer(w) => Field::Long(w),
                Value::Float(w) => Field::Double(w),
            };
            assert_eq!((name.as_str(), field), (column.name, &want));
        }
    }
}

#[test]
fn an_empty_table_is_an_empty_data_set() {
    let t = TacticTable::new();
    assert_eq!(written(&t, ExportFormat::Csv).iter().filter(|&&b| b == b'\n').count(), 1);
    assert_eq!(written(&t, ExportFormat::Json), b"[\n]\n");
    assert!(parquet_rows(written(&t, ExportFormat::Parquet)).is_empty());
}

#[test]
fn options_choose_rows() {
    let t = sample();
    let count = |problem: Option<&str>, tactic: Option<&str>| {
        let options = ExportOptions { problem: problem.map(Into::into), tactic: tactic.map(Into::into) };
        export(&t, &options, ExportFormat::Csv, &mut Vec::new()).unwrap()
    };
    let all = ExportSummary { rows: 3, problems: 2, contexts: 2, without_features: 1 };
    assert_eq!(count(None, None), all);
    assert_eq!(
        count(Some("(…)"), None),
        ExportSummary { rows: 2, problems: 1, contexts: 1, without_features: 0 }
    );
    assert_eq!(count(Some("(…)"), Some("conv.cpu.g")).rows, 1);
    assert_eq!(count(None, Some("cpu")), ExportSummary::default());
}

#[test]
fn files_are_whole_or_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.csv");
    let options = ExportOptions::default();
    save(&sample(), &options, ExportFormat::Csv, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), written(&sample(), ExportFormat::Csv));
    let missing = Path::new("no/such/d.csv");
    let error = save(&sample(), &options, ExportFormat::Csv, missing).unwrap_err().to_string();
    assert!(error.contains("no/such/d.csv") && error.contains("folder"), "{error}");
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(save(&sample(), &options, ExportFormat::Parquet, &folder).is_err());
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["d.csv", "folder"]);
}

#[test]
fn a_full_destination_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Parquet] {
        let e = export(&sample(), &ExportOptions::default(), format, &mut Full).unwrap_err();
        assert!(matches!(e, ExportError::Write(_)), "{e}");
    }
}

#[test]
fn the_book_has_every_column() {
    let book = include_str!("../../docs/research.md");
    let rows: Vec<String> = COLUMNS
        .iter()
        .map(|c| {
            let kind = match c.kind {
                ColumnKind::Text => "text",
                ColumnKind::Integer => "integer",
                ColumnKind::Float => "float",
            };
            format!("| `{}` | {kind} | {} |\n", c.name, c.about)
        })
        .collect();
    assert!(book.contains(&rows.concat()), "docs/research.md needs this table:\n{}", rows.concat());
}
