//! The kernels that are no matrix products: what each is compiled with.

use tactician_device::CodeSource;
use tactician_types::{Binary, DType, Expr, ExprNode, Unary};

use crate::{Grid, grid_text, source, storage_type};

/// The entry of [`pointwise`].
pub const POINTWISE: &str = "pointwise";
/// The entry of [`pool`].
pub const POOL: &str = "pool";
/// The entry of [`check_output`].
pub const CHECK_OUTPUT: &str = "check_output";
/// The entry of [`reduce`] with lanes.
pub const REDUCE_ROWS: &str = "reduce_rows";
/// The entry of [`reduce`] without lanes.
pub const REDUCE_COLUMNS: &str = "reduce_columns";
/// The entry of [`arg_reduce`].
pub const ARG_REDUCE: &str = "arg";
/// The entry of [`softmax`] with lanes.
pub const SOFTMAX_ROWS: &str = "softmax_rows";
/// The entry of [`softmax`] without lanes.
pub const SOFTMAX_COLUMNS: &str = "softmax_columns";
/// The entry of [`norm`].
pub const NORM: &str = "norm_rows";
/// The entry of [`lrn`].
pub const LRN: &str = "lrn";
/// The entry of [`resize`].
pub const RESIZE: &str = "resize";
/// The entry of [`strided`].
pub const STRIDED: &str = "strided";
/// The entry of [`transpose`].
pub const TRANSPOSE: &str = "transpose";
/// The entry of [`interleave`] from plain order to channels last.
pub const INTERLEAVE: &str = "interleave";
/// The entry of [`interleave`] from channels last to plain order.
pub const DEINTERLEAVE: &str = "deinterleave";
/// The entry of [`fn@concat`].
pub const CONCAT: &str = "concat";
/// The entry of [`pad`].
pub const PAD: &str = "pad";
/// The entry of [`gather`].
pub const GATHER: &str = "gather";
/// The entry of [`gather_elements`].
pub const GATHER_ELEMENTS: &str = "gather_elements";

fn defines(list: &[(&str, &dyn std::fmt::Display)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn storage(dtype: DType) -> &'static str {
    storage_type(dtype).unwrap_or("u8")
}

/// `pointwise/grid.cu`: `text` is the expression over a grid, of which a thread computes `vector` elements.
pub fn pointwise(text: &str, vector: u32) -> CodeSource {
    source("pointwise/grid.cu", text, &defines(&[("V", &vector)]))
}

/// `pool/window.cu`: `kind` 0 max, 1 mean inside, 2 mean with padding, 3 p-norm; `text` the epilogue. `window`: a small
/// window that is loaded at once; `turned`: the output has the inner elements outside, `vector` is 1.
pub fn pool(
    text: &str,
    dtype: DType,
    kind: u32,
    vector: u32,
    window: Option<[u32; 3]>,
    turned: bool,
) -> CodeSource {
    let mut list = defines(&[
        ("ELEMENT", &storage(dtype)),
        ("KIND", &kind),
        ("V", &vector),
        ("TURNED", &u32::from(turned)),
    ]);
    if let Some([z, y, x]) = window {
        list.extend(defines(&[("WINDOW_Z", &z), ("WINDOW_Y", &y), ("WINDOW_X", &x)]));
    }
    source("pool/window.cu", text, &list)
}

/// `reduce/axes.cu` over so many kept and reduced axes: rows of `lanes` threads, or columns. `kind` as numbered there.
pub fn reduce(
    text: &str,
    dtype: DType,
    kind: u32,
    axes: (usize, usize),
    vector: u32,
    lanes: Option<u32>,
) -> CodeSource {
    let mut list = defines(&[
        ("ELEMENT", &storage(dtype)),
        ("KIND", &kind),
        ("KEPT", &axes.0),
        ("REDUCED", &axes.1),
        ("V", &vector),
    ]);
    list.extend(lanes.map(|n| format!("LANES={n}")));
    source("reduce/axes.cu", text, &list)
}

/// `reduce/arg.cu`.
pub fn arg_reduce(dtype: DType, largest: bool, last: bool) -> CodeSource {
    let list = defines(&[
        ("ELEMENT", &storage(dtype)),
        ("LARGEST", &i32::from(largest)),
        ("LAST", &i32::from(last)),
    ]);
    source("reduce/arg.cu", "", &list)
}

/// `softmax/axis.cu`: rows of `lanes` threads, or columns.
pub fn softmax(text: &str, dtype: DType, log: bool, vector: u32, lanes: Option<u32>) -> CodeSource {
    let mut list = defines(&[("ELEMENT", &storage(dtype)), ("LOGARITHM", &i32::from(log)), ("V", &vector)]);
    list.extend(lanes.map(|n| format!("LANES={n}")));
    source("softmax/axis.cu", text, &list)
}

/// `check/output.cu`; `None` for types that are no wide floats.
pub fn check_output(dtype: DType) -> Option<CodeSource> {
    let largest = match dtype {
        DType::F16 => "65504.0",
        DType::BF16 => "3.3895313892515355e38",
        DType::F32 => "3.4028234663852886e38",
        DType::F64 => "inf_f64()",
        _ => return None,
    };
    Some(source("check/output.cu", "", &defines(&[("ELEMENT", &storage(dtype)), ("LARGEST", &largest)])))
}

/// `norm/rows.cu`: `centre` subtracts the mean, `together` says that a group of elements lies together.
pub fn norm(text: &str, dtype: DType, centre: bool, together: bool, vector: u32, lanes: u32) -> CodeSource {
    let list = defines(&[
        ("ELEMENT", &storage(dtype)),
        ("CENTRE", &i32::from(centre)),
        ("TOGETHER", &i32::from(together)),
        ("V", &vector),
        ("LANES", &lanes),
    ]);
    source("norm/rows.cu", text, &list)
}

/// `norm/lrn.cu`.
pub fn lrn(text: &str, dtype: DType) -> CodeSource {
    source("norm/lrn.cu", text, &defines(&[("ELEMENT", &storage(dtype))]))
}

/// `resize/taps.cu` over `axes` stored axes, those resized as bits.
pub fn resize(dtype: DType, axes: usize, resized: u32, nearest: bool, vector: u32) -> CodeSource {
    let list = defines(&[
        ("ELEMENT", &storage(dtype)),
        ("AXES", &axes),
        ("RESIZED", &resized),
        ("NEAREST", &i32::from(nearest)),
        ("V", &vector),
    ]);
    source("resize/taps.cu", "", &list)
}

/// `move/strided.cu` in units of so many bytes.
pub fn strided(unit: u32, axes: usize) -> CodeSource {
    source("move/strided.cu", "", &defines(&[("UNIT", &unit), ("AXES", &axes)]))
}

/// `move/transpose.cu`: elements of `unit` bytes, `pack` at a time, `batch` axes that stay.
pub fn transpose(unit: u32, pack: u32, batch: usize) -> CodeSource {
    source("move/transpose.cu", "", &defines(&[("UNIT", &unit), ("PACK", &pack), ("BATCH", &batch)]))
}

/// `move/interleave.cu`: `pixels` pixels of `channels` channels a thread.
pub fn interleave(unit: u32, channels: u32, pixels: u32) -> CodeSource {
    let list = defines(&[("UNIT", &unit), ("CHANNELS", &channels), ("PIXELS", &pixels)]);
    source("move/interleave.cu", "", &list)
}

/// `move/concat.cu` of so many operands.
pub fn concat(unit: u32, count: usize) -> CodeSource {
    let parameters: String = (0..count).map(|i| format!("const Unit* __restrict__ p{i}, ")).collect();
    let pointers: String = (0..count).map(|i| format!("p{i}, ")).collect();
    let text = format!("#define PARAMETERS {parameters}\n#define POINTERS {pointers}\n");
    source("move/concat.cu", &text, &defines(&[("UNIT", &unit), ("COUNT", &count)]))
}

/// `move/pad.cu`: `mode` 0 constant, 1 reflect, 2 edge, 3 wrap.
pub fn pad(unit: u32, axes: usize, mode: u32) -> CodeSource {
    source("move/pad.cu", "", &defines(&[("UNIT", &unit), ("AXES", &axes), ("MODE", &mode)]))
}

/// `move/gather.cu` of whole parts; `index` is the type of indices.
pub fn gather(unit: u32, index: DType) -> CodeSource {
    source("move/gather.cu", "", &defines(&[("UNIT", &unit), ("INDEX", &storage(index))]))
}

/// `move/gather.cu` of elements.
pub fn gather_elements(unit: u32, index: DType, axes: usize) -> CodeSource {
    let list = defines(&[("UNIT", &unit), ("INDEX", &storage(index)), ("AXES", &axes)]);
    source("move/gather.cu", "", &list)
}

/// One of each kind of text that kernels of this module compile: for checks.
pub(crate) fn all() -> Vec<CodeSource> {
    let mut out = Vec::new();
    for t in [DType::F32, DType::F16, DType::BF16] {
        floats(t, &mut out);
    }
    others(&mut out);
    moves(&mut out);
    out
}

fn floats(t: DType, out: &mut Vec<CodeSource>) {
    let wide = if t == DType::F32 { 4 } else { 8 };
    let finish = epilogue(&[t; 2], &[0b01]);
    let plain = epilogue(&[t], &[]);
    for (masks, v) in [(&[0b11u16, 0b01, 0][..], wide), (&[0b11, 0b10], 1)] {
        out.push(pointwise(&every_function(t, masks), v));
    }
    out.push(lrn(&finish, t));
    out.push(resize(t, 3, 0b010, false, wide));
    out.push(resize(t, 4, 0b0110, true, wide));
    out.push(arg_reduce(t, true, false));
    // What follows treats both short floats alike.
    let kinds: &[u32] = if t == DType::BF16 { &[0, 9] } else { &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] };
    for &kind in kinds {
        out.push(reduce(&finish, t, kind, (1, 1), wide, Some(32)));
        if matches!(kind, 0 | 2 | 9) {
            out.push(reduce(&finish, t, kind, (2, 2), wide, None));
            out.push(reduce(&plain, t, kind, (2, 1), 1, Some(256)));
        }
        if kind < 4 {
            out.push(pool(&finish, t, kind, wide, None, false));
            out.push(pool(&finish, t, kind, wide, Some([1, 3, 3]), false));
            out.push(pool(&plain, t, kind, 1, Some([1, 2, 2]), true));
        }
    }
    for log in [false, true] {
        out.push(softmax(&finish, t, log, wide, Some(32)));
    }
    out.push(softmax(&finish, t, false, wide, Some(256)));
    out.push(softmax(&finish, t, false, 1, None));
    for (centre, together, lanes) in [(true, true, 32), (false, true, 256), (true, false, 256)] {
        out.push(norm(&finish, t, centre, together, wide, lanes));
    }
    if t != DType::BF16 {
        out.push(resize(t, 4, 0b0110, false, 1));
    }
}

fn others(out: &mut Vec<CodeSource>) {
    use DType::*;
    for t in [F64, I8, I16, I32, I64, U8, U16, U32, U64, Bool] {
        out.push(pointwise(&casts(t), 4));
        let plain = epilogue(&[t], &[]);
        out.push(reduce(&plain, t, 2, (1, 1), 1, Some(32)));
        if matches!(t, F64 | I64 | U8) {
            out.extend([pool(&plain, t, 0, 1, None, false), reduce(&plain, t, 1, (2, 1), 1, None)]);
            out.extend([resize(t, 4, 0b1100, true, 1), arg_reduce(t, false, true)]);
        }
    }
    let plain = epilogue(&[F64], &[]);
    out.push(reduce(&plain, F64, 9, (1, 1), 2, Some(256)));
    out.push(softmax(&plain, F64, false, 2, Some(256)));
    out.push(norm(&plain, F64, true, true, 2, 256));
}

fn moves(out: &mut Vec<CodeSource>) {
    use DType::{I32, I64};
    for unit in [1, 2, 4, 8, 16] {
        out.extend([strided(unit, 4), concat(unit, 2), pad(unit, 3, 0), gather(unit, I64)]);
    }
    out.extend([1, 2, 8].map(|axes| strided(2, axes)));
    out.extend([1, 2, 3].map(|mode| pad(2, 4, mode)));
    out.extend([concat(4, 16), gather(2, I32)]);
    for unit in [1, 2, 4, 8] {
        out.extend([transpose(unit, 1, 1), gather_elements(unit, I64, 3), interleave(unit, 3, 16 / unit)]);
    }
    out.extend([interleave(2, 1, 8), interleave(4, 4, 4), interleave(8, 8, 2)]);
    out.extend([transpose(2, 2, 1), transpose(2, 1, 3), transpose(1, 4, 1)]);
    out.extend([DType::F16, DType::BF16, DType::F32, DType::F64].into_iter().filter_map(check_output));
}

/// `relu(x + operands)` over a grid of two axes.
fn epilogue(inputs: &[DType], masks: &[u16]) -> String {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for i in 1..inputs.len() as u16 {
        let operand = e.push(ExprNode::Input(i));
        at = e.push(ExprNode::Binary(Binary::Add, at, operand));
    }
    if inputs.len() > 1 {
        e.push(ExprNode::Unary(Unary::Relu, at));
    }
    generated(&e, inputs, true, masks)
}

fn generated(e: &Expr, inputs: &[DType], epilogue: bool, masks: &[u16]) -> String {
    let text = Grid::new(&[6, 16], masks).map(|g| grid_text(e, inputs, epilogue, &g));
    text.and_then(Result::ok).unwrap_or_else(|| "#error the expression does not fit\n".into())
}

/// An expression that uses every float function.
fn every_function(t: DType, masks: &[u16]) -> String {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for &op in Unary::ALL {
        if !matches!(op, Unary::Not | Unary::BitNot | Unary::IsNan | Unary::IsInf) {
            at = e.push(ExprNode::Unary(op, at));
        }
    }
    for i in 1..masks.len() as u16 {
        let operand = e.push(ExprNode::Input(i));
        use Binary::*;
        for op in [Add, Sub, Mul, Div, Mod, Fmod, Pow, Max, Min] {
            at = e.push(ExprNode::Binary(op, at, operand));
        }
        let less = e.push(ExprNode::Binary(Lt, at, operand));
        at = e.push(ExprNode::Select(less, at, operand));
    }
    generated(&e, &vec![t; masks.len()], false, masks)
}

/// An expression that converts a type to every other and back, and uses every integer function on integers.
fn casts(t: DType) -> String {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for to in DType::ALL.into_iter().filter(|t| !t.is_narrow()) {
        let other = e.push(ExprNode::Cast(to, at));
        let back = e.push(ExprNode::Cast(t, other));
        at = back;
    }
    let operand = e.push(ExprNode::Input(1));
    if t.is_int() {
        for &op in Unary::ALL {
            if matches!(op, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu | Unary::BitNot) {
                at = e.push(ExprNode::Unary(op, at));
            }
        }
        for &op in Binary::ALL {
            if !op.compares() && !matches!(op, Binary::And | Binary::Or | Binary::Xor) {
                at = e.push(ExprNode::Binary(op, at, operand));
            }
        }
    }
    e.push(ExprNode::Binary(Binary::Eq, at, operand));
    generated(&e, &[t; 2], false, &[0b11, 0b01])
}
