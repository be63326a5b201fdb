//! The columns of the data set, which every format writes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tactician_ir::{Features, ProductFeatures, WindowFeatures};
use tactician_tactics::family_of;
use tactician_tune::{Timing, Verdict};

use super::Record;

/// A column.
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Type of what is present.
    pub kind: ColumnKind,
    /// What it means, in a few words, with its unit.
    pub about: &'static str,
    value: for<'a> fn(&Record<'a>) -> Value<'a>,
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// Whole, 64 bits, signed. What is larger is written as the largest.
    Integer,
    /// 64-bit float. What is no finite number is absent.
    Float,
}

/// What a column holds in one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing: it does not apply, or the table does not say.
    Absent,
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
}

impl Column {
    /// The value in a row.
    pub fn value<'a>(&self, record: &Record<'a>) -> Value<'a> {
        (self.value)(record)
    }
}

const fn text(
    name: &'static str,
    about: &'static str,
    value: for<'a> fn(&Record<'a>) -> Value<'a>,
) -> Column {
    Column { name, kind: ColumnKind::Text, about, value }
}

const fn whole(
    name: &'static str,
    about: &'static str,
    value: for<'a> fn(&Record<'a>) -> Value<'a>,
) -> Column {
    Column { name, kind: ColumnKind::Integer, about, value }
}

const fn real(
    name: &'static str,
    about: &'static str,
    value: for<'a> fn(&Record<'a>) -> Value<'a>,
) -> Column {
    Column { name, kind: ColumnKind::Float, about, value }
}

/// Every column, in order.
pub const COLUMNS: &[Column] = &[
    text(
        "context",
        "id of the device, libraries, sources of kernels and tactics, and timing protocol that the row comes from",
        |r| words(r.context),
    ),
    text("device", "`cpu` or `cuda`", |r| fact(r, "device")),
    text("device_name", "processor or GPU", |r| fact(r, "name")),
    text("architecture", "instruction set or GPU architecture", |r| match fact(r, "isa") {
        Value::Absent => fact(r, "architecture"),
        isa => isa,
    }),
    whole("threads", "CPU threads", |r| number_fact(r, "threads")),
    whole("multiprocessors", "of a GPU", |r| number_fact(r, "multiprocessors")),
    whole("l2_bytes", "level 2 cache", |r| number_fact(r, "l2")),
    text("driver", "CUDA version of the driver", |r| fact(r, "driver")),
    text("nvrtc", "version, or `none`", |r| fact(r, "nvrtc")),
    text("cudnn", "version, or `none`", |r| fact(r, "cudnn")),
    text("cublaslt", "version, or `none`", |r| fact(r, "cublaslt")),
    text("protocol", "how was timed", |r| fact(r, "protocol")),
    text("facts", "all facts of the context, a JSON object", |r| match r.facts {
        Some(f) => Value::Text(as_json(f).into()),
        None => Value::Absent,
    }),
    text("problem", "the problem's text: anchor, attributes, operands, epilogue", |r| words(r.problem)),
    text("op", "the anchor's operation", |r| features(r, |f| words(&f.op))),
    text("dtype", "type of the anchor's result", |r| {
        features(r, |f| Value::Text(f.dtype.to_string().into()))
    }),
    text("result", "sizes of the anchor's result, as `1x64x56x56`", |r| {
        features(r, |f| Value::Text(f.result.iter().map(u64::to_string).collect::<Vec<_>>().join("x").into()))
    }),
    whole("batch", "images of a convolution or pool", |r| window(r, |w| count(w.batch))),
    whole("in_channels", "its input channels", |r| window(r, |w| count(w.in_channels))),
    whole("out_channels", "its output channels", |r| window(r, |w| count(w.out_channels))),
    whole("groups", "its channel groups; of a pool, the channels", |r| window(r, |w| count(w.groups))),
    whole("in_d", "input depth", |r| window(r, |w| axis(&w.input, 2))),
    whole("in_h", "input height", |r| window(r, |w| axis(&w.input, 1))),
    whole("in_w", "input width (a single spatial axis is the width)", |r| window(r, |w| axis(&w.input, 0))),
    whole("out_d", "output depth", |r| window(r, |w| axis(&w.output, 2))),
    whole("out_h", "output height", |r| window(r, |w| axis(&w.output, 1))),
    whole("out_w", "output width", |r| window(r, |w| axis(&w.output, 0))),
    whole("kernel_d", "window depth", |r| window(r, |w| axis(&w.kernel, 2))),
    whole("kernel_h", "window height", |r| window(r, |w| axis(&w.kernel, 1))),
    whole("kernel_w", "window width", |r| window(r, |w| axis(&w.kernel, 0))),
    whole("stride_d", "step between windows", |r| window(r, |w| axis(&w.strides, 2))),
    whole("stride_h", "likewise", |r| window(r, |w| axis(&w.strides, 1))),
    whole("stride_w", "likewise", |r| window(r, |w| axis(&w.strides, 0))),
    whole("dilation_d", "step inside a window", |r| window(r, |w| axis(&w.dilations, 2))),
    whole("dilation_h", "likewise", |r| window(r, |w| axis(&w.dilations, 1))),
    whole("dilation_w", "likewise", |r| window(r, |w| axis(&w.dilations, 0))),
    text("pads", "padding before:after each spatial axis, as `1:1,1:1`", |r| {
        window(r, |w| {
            let pairs: Vec<String> = w.pads.iter().map(|(a, b)| format!("{a}:{b}")).collect();
            Value::Text(pairs.join(",").into())
        })
    }),
    whole("matrices", "products in the batch of a matrix product", |r| product(r, |p| p.matrices)),
    whole("m", "rows of its result", |r| product(r, |p| p.m)),
    whole("n", "columns of its result", |r| product(r, |p| p.n)),
    whole("k", "terms of each sum", |r| product(r, |p| p.k)),
    whole("anchor_flops", "operations of the anchor, a multiply-add two", |r| {
        features(r, |f| count(f.anchor_flops))
    }),
    whole("flops", "operations with the epilogue", |r| features(r, |f| count(f.flops()))),
    whole("bytes_read", "operands but constants", |r| features(r, |f| count(f.bytes_read))),
    whole("constant_bytes", "constant operands: weights, biases", |r| {
        features(r, |f| count(f.constant_bytes))
    }),
    whole("bytes_written", "the output", |r| features(r, |f| count(f.bytes_written))),
    real("intensity", "flops a byte read or written", |r| features(r, |f| finite(f.intensity()))),
    whole("epilogue_ops", "operations of the epilogue on one element", |r| {
        features(r, |f| count(f.epilogue_ops))
    }),
    whole("epilogue_operands", "operands that only the epilogue reads", |r| {
        features(r, |f| count(f.epilogue_operands))
    }),
    text("tactic", "name", |r| words(r.tactic)),
    text("family", "the name up to the slash", |r| words(family_of(r.tactic))),
    text(
        "input_layouts",
        "of each operand, with spaces: `plain`, `nhwc`, or `c16` for channels in blocks of 16",
        |r| Value::Text(r.row.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into()),
    ),
    text("output_layout", "likewise", |r| Value::Text(r.row.output.to_string().into())),
    whole("workspace", "scratch, in bytes", |r| count(r.row.workspace)),
    whole(
        "packed_bytes",
        "packed weights and code that a plan holds for it, in bytes; 0 where that is not known",
        |r| count(r.row.constants),
    ),
    text("verdict", "`timed`; `wrong`: outside the error bound; `failed`: did not run", |r| {
        words(match r.row.verdict {
            Verdict::Timed(_) => "timed",
            Verdict::Wrong { .. } => "wrong",
            _ => "failed",
        })
    }),
    text("reason", "why wrong or failed", |r| match &r.row.verdict {
        Verdict::Wrong { reason } | Verdict::Failed { reason } => words(reason),
        _ => Value::Absent,
    }),
    real("median_us", "median of the samples, microseconds a run", |r| timing(r, |t| t.median_us)),
    real("min_us", "fastest sample", |r| timing(r, |t| t.min_us)),
    real("mad_us", "median absolute deviation of the samples", |r| timing(r, |t| t.mad_us)),
    whole("samples", "number of samples; few where the race was soon lost", |r| match &r.row.verdict {
        Verdict::Timed(t) => count(u64::from(t.samples)),
        _ => Value::Absent,
    }),
    real("noise_us", "standard error of the median", |r| timing(r, Timing::noise_us)),
    real("error_ratio", "largest error over its bound, at most 1", |r| timing(r, |t| t.error_ratio)),
    real("relative_l2", "relative L2 error on random inputs", |r| timing(r, |t| t.relative_l2)),
];

fn words(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn count(n: u64) -> Value<'static> {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn finite(x: f64) -> Value<'static> {
    if x.is_finite() { Value::Float(x) } else { Value::Absent }
}

fn fact<'a>(r: &Record<'a>, name: &str) -> Value<'a> {
    r.facts.and_then(|f| f.get(name)).map_or(Value::Absent, |v| words(v))
}

fn number_fact<'a>(r: &Record<'a>, name: &str) -> Value<'a> {
    let number = r.facts.and_then(|f| f.get(name)).and_then(|v| v.parse().ok());
    number.map_or(Value::Absent, count)
}

fn features<'a>(r: &Record<'a>, value: impl Fn(&'a Features) -> Value<'a>) -> Value<'a> {
    r.features.map_or(Value::Absent, value)
}

fn window<'a>(r: &Record<'a>, value: impl Fn(&'a WindowFeatures) -> Value<'a>) -> Value<'a> {
    r.features.and_then(|f| f.window.as_ref()).map_or(Value::Absent, value)
}

fn product<'a>(r: &Record<'a>, value: impl Fn(&ProductFeatures) -> u64) -> Value<'a> {
    r.features.and_then(|f| f.product.as_ref()).map_or(Value::Absent, |p| count(value(p)))
}

/// The spatial axis so many before the last.
fn axis(list: &[u64], before_last: usize) -> Value<'static> {
    list.iter().rev().nth(before_last).map_or(Value::Absent, |&n| count(n))
}

fn timing<'a>(r: &Record<'a>, value: impl Fn(&Timing) -> f64) -> Value<'a> {
    match &r.row.verdict {
        Verdict::Timed(t) => finite(value(t)),
        _ => Value::Absent,
    }
}

fn as_json(facts: &BTreeMap<String, String>) -> String {
    serde_json::to_string(facts).unwrap_or_default()
}
