//! Writes attributes.

use std::fmt::{Display, Write};

use super::constant::{constant_key, f32_text};
use super::dims::{dim_text, shape_text};
use super::expr::expr_text;
use crate::ops::*;

/// The attributes of an operation on one line: `strides=[2,2] pads=[(3,3),(3,3)]`. Those that have their default are
/// left out; the rest determines the operation, so the text may serve as a key.
pub fn attributes(op: &Op) -> String {
    let mut w = Writer(String::new());
    match op {
        Op::Input => {}
        Op::Constant(t) => w.flag(true, &constant_key(t)),
        Op::Conv(o) => {
            w.window(&o.strides, &o.pads, &o.dilations);
            w.unless(o.groups == 1, "groups", o.groups);
        }
        Op::ConvTranspose(o) => {
            w.window(&o.strides, &o.pads, &o.dilations);
            w.unless(o.output_padding.iter().all(|&p| p == 0), "output_padding", list(&o.output_padding));
            w.unless(o.groups == 1, "groups", o.groups);
        }
        Op::MatMul(o) => {
            w.flag(o.trans_a, "trans_a");
            w.flag(o.trans_b, "trans_b");
        }
        Op::Pointwise(e) => w.flag(true, &format!("{{{}}}", expr_text(e))),
        Op::Pool(o) => {
            match o.kind {
                PoolKind::Max => w.flag(true, "max"),
                PoolKind::Average { count_pad } => {
                    w.flag(true, "average");
                    w.flag(count_pad, "count_pad");
                }
                PoolKind::Lp { p } => w.put("lp", p),
            }
            w.put("window", list(&o.window));
            w.window(&o.strides, &o.pads, &o.dilations);
            w.flag(o.ceil, "ceil");
        }
        Op::Reduce(o) => {
            w.flag(true, reduce_name(o.kind));
            w.put("axes", list(&o.axes));
            w.flag(o.keep_dims, "keep_dims");
        }
        Op::ArgReduce(o) => {
            w.flag(true, if o.largest { "max" } else { "min" });
            w.put("axis", o.axis);
            w.flag(o.keep_dims, "keep_dims");
            w.flag(o.last, "last");
        }
        Op::Softmax(o) => {
            w.put("axis", o.axis);
            w.flag(o.log, "log");
        }
        Op::Attention(o) => {
            w.put("scale", f32_text(o.scale));
            if let Some(offset) = o.causal {
                w.put("causal", offset);
            }
            w.unless(o.softcap.to_bits() == 0, "softcap", f32_text(o.softcap));
            let inside: Vec<usize> = (0..4).filter(|&i| o.heads_inside[i]).collect();
            w.unless(inside.is_empty(), "heads_inside", list(&inside));
            for (key, within) in HEADS_IN.into_iter().zip(o.within) {
                if let Some(HeadsIn { offset, sizes, strides }) = within {
                    w.put(key, list(&[&[offset][..], &sizes, &strides].concat()));
                }
            }
        }
        Op::BatchNorm(BatchNorm { epsilon }) | Op::InstanceNorm(InstanceNorm { epsilon }) => {
            w.put("epsilon", f32_text(*epsilon));
        }
        Op::LayerNorm(LayerNorm { axis, epsilon }) | Op::RmsNorm(RmsNorm { axis, epsilon }) => {
            w.put("axis", axis);
            w.put("epsilon", f32_text(*epsilon));
        }
        Op::GroupNorm(o) => {
            w.put("groups", o.groups);
            w.put("epsilon", f32_text(o.epsilon));
        }
        Op::Lrn(o) => {
            w.put("size", o.size);
            w.put("alpha", f32_text(o.alpha));
            w.put("beta", f32_text(o.beta));
            w.put("bias", f32_text(o.bias));
        }
        Op::Reshape(Reshape { shape }) | Op::Expand(Expand { shape }) => w.put("shape", shape_text(shape)),
        Op::Transpose(o) => w.put("perm", list(&o.perm)),
        Op::Concat(Concat { axis })
        | Op::Gather(Gather { axis })
        | Op::GatherElements(GatherElements { axis }) => w.put("axis", axis),
        Op::Slice(o) => w.put("axes", joined(o.axes.iter().map(slice_axis))),
        Op::Pad(o) => {
            w.put("pads", pairs(&o.pads));
            match o.mode {
                PadMode::Constant(c) => w.put("constant", c),
                PadMode::Reflect => w.flag(true, "reflect"),
                PadMode::Edge => w.flag(true, "edge"),
                PadMode::Wrap => w.flag(true, "wrap"),
            }
        }
        Op::ScatterElements(o) => {
            w.put("axis", o.axis);
            w.flag(true, name_of(&SCATTERS, o.reduction));
        }
        Op::BitCast(o) => w.put("to", o.to),
        Op::TopK(o) => {
            w.flag(true, if o.largest { "max" } else { "min" });
            w.put("axis", o.axis);
            w.put("k", o.k);
        }
        Op::Resize(o) => resize(o, &mut w),
        Op::Recurrent(o) => recurrent(o, &mut w),
    }
    w.0
}

/// The names of reductions.
pub(super) const REDUCTIONS: [(&str, ReduceKind); 10] = [
    ("sum", ReduceKind::Sum),
    ("mean", ReduceKind::Mean),
    ("max", ReduceKind::Max),
    ("min", ReduceKind::Min),
    ("prod", ReduceKind::Prod),
    ("sum_square", ReduceKind::SumSquare),
    ("l1", ReduceKind::L1),
    ("l2", ReduceKind::L2),
    ("log_sum", ReduceKind::LogSum),
    ("log_sum_exp", ReduceKind::LogSumExp),
];

/// The names of what updates do.
pub(super) const SCATTERS: [(&str, ScatterReduction); 5] = [
    ("replace", ScatterReduction::Replace),
    ("add", ScatterReduction::Add),
    ("mul", ScatterReduction::Mul),
    ("max", ScatterReduction::Max),
    ("min", ScatterReduction::Min),
];

/// The names of coordinate mappings.
pub(super) const COORDINATES: [(&str, CoordinateMode); 6] = [
    ("half_pixel", CoordinateMode::HalfPixel),
    ("half_pixel_symmetric", CoordinateMode::HalfPixelSymmetric),
    ("pytorch_half_pixel", CoordinateMode::PytorchHalfPixel),
    ("align_corners", CoordinateMode::AlignCorners),
    ("asymmetric", CoordinateMode::Asymmetric),
    ("tf_crop_and_resize", CoordinateMode::TfCropAndResize),
];

/// The names of roundings.
pub(super) const ROUNDINGS: [(&str, NearestMode); 4] = [
    ("round_prefer_floor", NearestMode::RoundPreferFloor),
    ("round_prefer_ceil", NearestMode::RoundPreferCeil),
    ("floor", NearestMode::Floor),
    ("ceil", NearestMode::Ceil),
];

/// The names of where `q`, `k` and `v` of an attention lie: an offset, `[B, H, S, D]` and the strides of the first three.
pub(super) const HEADS_IN: [&str; 3] = ["q_in", "k_in", "v_in"];

/// The names of recurrent cells.
pub(super) const CELLS: [(&str, RecurrentKind); 3] =
    [("rnn", RecurrentKind::Rnn), ("gru", RecurrentKind::Gru), ("lstm", RecurrentKind::Lstm)];

/// The names of orders of time steps.
pub(super) const DIRECTIONS: [(&str, RecurrentDirection); 3] = [
    ("forward", RecurrentDirection::Forward),
    ("reverse", RecurrentDirection::Reverse),
    ("bidirectional", RecurrentDirection::Bidirectional),
];

/// The names of functions of gates.
pub(super) const GATE_FUNCTIONS: [(&str, GateFunction); 11] = [
    ("sigmoid", GateFunction::Sigmoid),
    ("tanh", GateFunction::Tanh),
    ("relu", GateFunction::Relu),
    ("affine", GateFunction::Affine),
    ("leaky_relu", GateFunction::LeakyRelu),
    ("thresholded_relu", GateFunction::ThresholdedRelu),
    ("scaled_tanh", GateFunction::ScaledTanh),
    ("hard_sigmoid", GateFunction::HardSigmoid),
    ("elu", GateFunction::Elu),
    ("softsign", GateFunction::Softsign),
    ("softplus", GateFunction::Softplus),
];

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, v)| *v == value).map_or("unknown", |(n, _)| n)
}

fn reduce_name(kind: ReduceKind) -> &'static str {
    name_of(&REDUCTIONS, kind)
}

fn slice_axis(a: &SliceAxis) -> String {
    let step = if a.step == 1 { String::new() } else { format!(",{}", a.step) };
    format!("({},{},{}{step})", a.axis, dim_text(&a.start), dim_text(&a.len))
}

fn resize(o: &Resize, w: &mut Writer) {
    w.put(
        "axes",
        joined(o.axes.iter().map(|a| {
            let roi = match a.roi {
                (0.0, 1.0) if a.roi.0.is_sign_positive() => String::new(),
                (from, to) => format!(",({},{})", f32_text(from), f32_text(to)),
            };
            format!("({},{},{}{roi})", a.axis, dim_text(&a.size), f32_text(a.scale))
        })),
    );
    match o.mode {
        ResizeMode::Nearest(rounding) => w.put("nearest", name_of(&ROUNDINGS, rounding)),
        ResizeMode::Linear { antialias } => {
            w.flag(true, "linear");
            w.flag(antialias, "antialias");
        }
        ResizeMode::Cubic { coefficient, exclude_outside, antialias } => {
            w.put("cubic", f32_text(coefficient));
            w.flag(exclude_outside, "exclude_outside");
            w.flag(antialias, "antialias");
        }
    }
    let coordinates = name_of(&COORDINATES, o.coordinates);
    w.unless(o.coordinates == CoordinateMode::HalfPixel, "coordinates", coordinates);
    w.unless(o.extrapolation.to_bits() == 0, "extrapolation", f32_text(o.extrapolation));
}

fn recurrent(o: &Recurrent, w: &mut Writer) {
    w.flag(true, name_of(&CELLS, o.kind));
    w.put("direction", name_of(&DIRECTIONS, o.direction));
    let function = |a: &GateActivation| {
        format!("({},{},{})", name_of(&GATE_FUNCTIONS, a.function), f32_text(a.alpha), f32_text(a.beta))
    };
    let usual = Recurrent::new(o.kind, o.direction).functions;
    let same = usual.len() == o.functions.len()
        && usual.iter().zip(&o.functions).all(|(a, b)| function(a) == function(b));
    w.unless(same, "functions", joined(o.functions.iter().map(function)));
    if let Some(clip) = o.clip {
        w.put("clip", f32_text(clip));
    }
    w.flag(o.linear_before_reset, "linear_before_reset");
    w.flag(o.input_forget, "input_forget");
    w.flag(o.bias, "bias");
    w.flag(o.lengths, "lengths");
    w.flag(o.initial_h, "initial_h");
    w.flag(o.initial_c, "initial_c");
    w.flag(o.peepholes, "peepholes");
}

struct Writer(String);

impl Writer {
    fn put(&mut self, key: &str, value: impl Display) {
        self.flag(true, key);
        let _ = write!(self.0, "={value}");
    }

    fn unless(&mut self, default: bool, key: &str, value: impl Display) {
        if !default {
            self.put(key, value);
        }
    }

    fn flag(&mut self, set: bool, text: &str) {
        if set {
            self.0.push_str(if self.0.is_empty() { "" } else { " " });
            self.0.push_str(text);
        }
    }

    fn window(&mut self, strides: &[usize], pads: &[(usize, usize)], dilations: &[usize]) {
        self.unless(strides.iter().all(|&s| s == 1), "strides", list(strides));
        self.unless(pads.iter().all(|&p| p == (0, 0)), "pads", pairs(pads));
        self.unless(dilations.iter().all(|&d| d == 1), "dilations", list(dilations));
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn list(values: &[usize]) -> String {
    joined(values.iter().map(usize::to_string))
}

fn pairs(values: &[(usize, usize)]) -> String {
    joined(values.iter().map(|(a, b)| format!("({a},{b})")))
}
