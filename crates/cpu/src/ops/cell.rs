//! Elements of every type as 64-bit cells, and all operations on them: slow, and right.
//!
//! A cell holds a float as the bits of an `f64`, an integer as `i64` (`u64` as its bits), `bool` as 0 or 1, a narrow float
//! as its code. Results are brought back to their type after each operation, so that they round and wrap as that type does.

use half::{bf16, f16};
use tactician_types::{Binary, DType, NarrowFloat, Unary, bf16_of, f16_of, narrow_integer};

/// Reads element `i`.
#[inline(always)]
pub(crate) fn load(t: DType, bytes: &[u8], i: usize) -> u64 {
    macro_rules! get {
        ($t:ty) => {{
            let n = size_of::<$t>();
            bytemuck::pod_read_unaligned::<$t>(&bytes[i * n..(i + 1) * n])
        }};
    }
    match t {
        DType::F32 => f64::from(get!(f32)).to_bits(),
        DType::F16 => get!(f16).to_f64().to_bits(),
        DType::BF16 => get!(bf16).to_f64().to_bits(),
        DType::F64 => get!(u64),
        DType::I8 => i64::from(get!(i8)) as u64,
        DType::I16 => i64::from(get!(i16)) as u64,
        DType::I32 => i64::from(get!(i32)) as u64,
        DType::I64 | DType::U64 => get!(u64),
        DType::U8 => u64::from(get!(u8)),
        DType::U16 => u64::from(get!(u16)),
        DType::U32 => u64::from(get!(u32)),
        t if t.is_narrow() => normal(t, u64::from(get!(u8))),
        // `bool`.
        _ => u64::from(get!(u8) != 0),
    }
}

/// Writes element `i`: the inverse of [`load`].
#[inline(always)]
pub(crate) fn store(t: DType, bytes: &mut [u8], i: usize, cell: u64) {
    let float = f64::from_bits(cell);
    let raw = match t {
        DType::F32 => u64::from((float as f32).to_bits()),
        DType::F16 => u64::from(f16_of(float).to_bits()),
        DType::BF16 => u64::from(bf16_of(float).to_bits()),
        _ => cell,
    };
    let n = t.size();
    bytes[i * n..(i + 1) * n].copy_from_slice(&raw.to_le_bytes()[..n]);
}

/// Evaluates `$body`, a loop over cells, with the type known outside of it: compiled once for each type that is not narrow.
macro_rules! by_type {
    ($t:ident => $body:expr) => {
        by_type!($t => $body; F32, F16, BF16, F64, I8, I16, I32, I64, U8, U16, U32, U64, Bool)
    };
    ($t:ident => $body:expr; $($one:ident),*) => {
        match $t {
            $(DType::$one => { let $t = DType::$one; $body })*
            _ => $body,
        }
    };
}

/// Reads elements from `at` on, one for each cell, `stride` apart.
pub(crate) fn load_run(t: DType, bytes: &[u8], at: usize, stride: usize, out: &mut [u64]) {
    if stride == 0 {
        return out.fill(load(t, bytes, at));
    }
    by_type!(t => run(out, |i| load(t, bytes, at + i * stride)));
}

/// Writes a cell to each element from `at` on.
pub(crate) fn store_run(t: DType, bytes: &mut [u8], at: usize, cells: &[u64]) {
    let bytes = &mut bytes[at * t.size()..][..cells.len() * t.size()];
    by_type!(t => cells.iter().enumerate().for_each(|(i, &c)| store(t, bytes, i, c)));
}

/// Converts each cell, as [`cast`] does.
pub(crate) fn cast_run(from: DType, to: DType, a: &[u64], out: &mut [u64]) {
    // Of integers but `u64` all cells are `i64`.
    let small = from.is_int() && !from.is_narrow() && from != DType::U64 || from == DType::Bool;
    match (from, to) {
        (from, to) if from == to => out.copy_from_slice(a),
        (_, DType::F32) if small => map1(a, out, |a| f64::from(a as i64 as f32).to_bits()),
        (_, DType::F64) if small => map1(a, out, |a| (a as i64 as f64).to_bits()),
        (_, DType::I64) if small => out.copy_from_slice(a),
        (_, DType::I32) if small => map1(a, out, |a| normal(DType::I32, a)),
        (_, DType::Bool) if small => map1(a, out, |a| u64::from(a != 0)),
        (DType::F32, DType::F64) => out.copy_from_slice(a),
        (DType::F64, DType::F32) => map1(a, out, |a| normal(DType::F32, a)),
        (DType::F32, DType::I64) => map1(a, out, |a| f64::from_bits(a) as i64 as u64),
        (DType::F32, DType::I32) => map1(a, out, |a| i64::from(f64::from_bits(a) as i32) as u64),
        (DType::F32 | DType::F64, DType::Bool) => map1(a, out, |a| u64::from(f64::from_bits(a) != 0.0)),
        _ => map1(a, out, |a| cast(from, to, a)),
    }
}

/// Brings all cells into the range or precision of their type.
fn normal_run(t: DType, cells: &mut [u64]) {
    by_type!(t => cells.iter_mut().for_each(|c| *c = normal(t, *c)));
}

#[inline(always)]
fn run(out: &mut [u64], f: impl Fn(usize) -> u64) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
}

/// A cell brought into the range or precision of its type.
#[inline(always)]
pub(crate) fn normal(t: DType, cell: u64) -> u64 {
    let float = f64::from_bits(cell);
    match t {
        DType::F32 => f64::from(float as f32).to_bits(),
        DType::F16 => f16_of(float).to_f64().to_bits(),
        DType::BF16 => bf16_of(float).to_f64().to_bits(),
        DType::I8 => i64::from(cell as i8) as u64,
        DType::I16 => i64::from(cell as i16) as u64,
        DType::I32 => i64::from(cell as i32) as u64,
        DType::U8 => u64::from(cell as u8),
        DType::U16 => u64::from(cell as u16),
        DType::U32 => u64::from(cell as u32),
        DType::F64 | DType::I64 | DType::U64 => cell,
        t if t.is_narrow() => t.wrapped(cell as i64).map_or(cell & 0xff, |v| v as u64),
        _ => u64::from(cell != 0),
    }
}

/// Conversion: floats truncate toward zero and stop at the ends of the integer's range, integers wrap, non-zero is
/// true; to narrow types as [`NarrowFloat::code`] and [`narrow_integer`] say.
pub(crate) fn cast(from: DType, to: DType, cell: u64) -> u64 {
    if from.is_narrow() || to.is_narrow() {
        return cast_narrow(from, to, cell);
    }
    let float = f64::from_bits(cell);
    if from.is_float() {
        return match to {
            t if t.is_float() => normal(to, cell),
            DType::I8 => i64::from(float as i8) as u64,
            DType::I16 => i64::from(float as i16) as u64,
            DType::I32 => i64::from(float as i32) as u64,
            DType::I64 => float as i64 as u64,
            DType::U8 => u64::from(float as u8),
            DType::U16 => u64::from(float as u16),
            DType::U32 => u64::from(float as u32),
            DType::U64 => float as u64,
            _ => u64::from(float != 0.0),
        };
    }
    let unsigned = from == DType::U64;
    match to {
        // Straight, so that it rounds once.
        DType::F32 => f64::from(if unsigned { cell as f32 } else { cell as i64 as f32 }).to_bits(),
        t if t.is_float() => normal(to, if unsigned { cell as f64 } else { cell as i64 as f64 }.to_bits()),
        _ => normal(to, cell),
    }
}

fn cast_narrow(from: DType, to: DType, cell: u64) -> u64 {
    if from == to {
        return cell;
    }
    if let Some(t) = NarrowFloat::of(from) {
        return cast(DType::F64, to, t.value(cell as u8).to_bits());
    }
    if from.narrow_int().is_some() {
        return cast(DType::I64, to, cell);
    }
    if let Some(t) = NarrowFloat::of(to) {
        return u64::from(t.code(f64::from_bits(cast(from, DType::F64, cell))));
    }
    let float = from.is_float().then(|| narrow_integer(to, f64::from_bits(cell))).flatten();
    float.map_or_else(|| normal(to, cell), |v| v as u64)
}

/// Calls `f` for every element of `a`.
#[inline(always)]
fn map1(a: &[u64], out: &mut [u64], f: impl Fn(u64) -> u64) {
    for (o, &a) in out.iter_mut().zip(a) {
        *o = f(a);
    }
}

#[inline(always)]
fn map2(a: &[u64], b: &[u64], out: &mut [u64], f: impl Fn(u64, u64) -> u64) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = f(a, b);
    }
}

/// A function of cells of type `t`.
pub(crate) fn unary(op: Unary, t: DType, a: &[u64], out: &mut [u64]) {
    let float = |out: &mut [u64], f: fn(f64) -> f64| {
        map1(a, out, |a| normal(t, f(f64::from_bits(a)).to_bits()));
    };
    let truth = |out: &mut [u64], f: fn(f64) -> bool| map1(a, out, |a| u64::from(f(f64::from_bits(a))));
    if t.is_float() {
        return match op {
            Unary::Neg => float(out, |x| -x),
            Unary::Abs => float(out, f64::abs),
            Unary::Sign => float(out, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
            Unary::Reciprocal => float(out, |x| 1.0 / x),
            Unary::Sqrt => float(out, f64::sqrt),
            Unary::Exp => float(out, f64::exp),
            Unary::Log => float(out, f64::ln),
            Unary::Relu => float(out, |x| if 0.0 > x { 0.0 } else { x }),
            Unary::Sigmoid => float(out, |x| 1.0 / (1.0 + (-x).exp())),
            Unary::Tanh => float(out, f64::tanh),
            Unary::Erf => float(out, erf),
            Unary::Softplus => float(out, |x| if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }),
            Unary::Floor => float(out, f64::floor),
            Unary::Ceil => float(out, f64::ceil),
            Unary::Round => float(out, f64::round_ties_even),
            Unary::Sin => float(out, f64::sin),
            Unary::Cos => float(out, f64::cos),
            Unary::Tan => float(out, f64::tan),
            Unary::Asin => float(out, f64::asin),
            Unary::Acos => float(out, f64::acos),
            Unary::Atan => float(out, f64::atan),
            Unary::Sinh => float(out, f64::sinh),
            Unary::Cosh => float(out, f64::cosh),
            Unary::Asinh => float(out, f64::asinh),
            Unary::Acosh => float(out, f64::acosh),
            Unary::Atanh => float(out, f64::atanh),
            Unary::IsNan => truth(out, f64::is_nan),
            Unary::IsInf => truth(out, f64::is_infinite),
            // The type check refuses them.
            Unary::Not | Unary::BitNot => out.fill(0),
        };
    }
    let signed = t.is_signed_int();
    match op {
        Unary::Neg => map1(a, out, |a| normal(t, a.wrapping_neg())),
        Unary::Abs if signed => map1(a, out, |a| normal(t, (a as i64).wrapping_abs() as u64)),
        Unary::Sign if signed => map1(a, out, |a| (a as i64).signum() as u64),
        Unary::Sign => map1(a, out, |a| u64::from(a != 0)),
        Unary::Relu if signed => map1(a, out, |a| (a as i64).max(0) as u64),
        Unary::Not => map1(a, out, |a| u64::from(a == 0)),
        Unary::BitNot => map1(a, out, |a| normal(t, !a)),
        _ => out.copy_from_slice(a),
    }
}

/// A function of two cells of type `t`.
pub(crate) fn binary(op: Binary, t: DType, a: &[u64], b: &[u64], out: &mut [u64]) {
    if t.is_float() {
        float_binary(op, t, a, b, out);
    } else if t == DType::U64 {
        integer_binary(op, t, a, b, out, |x| x, i128::from);
    } else {
        integer_binary(op, t, a, b, out, |x| x as i64, |x| i128::from(x as i64));
    }
}

fn float_binary(op: Binary, t: DType, a: &[u64], b: &[u64], out: &mut [u64]) {
    /// Functions are known inside the loop, so that it can be vectorised.
    macro_rules! float {
        ($f:expr) => {{
            map2(a, b, out, |a, b| $f(f64::from_bits(a), f64::from_bits(b)).to_bits());
            normal_run(t, out)
        }};
    }
    macro_rules! truth {
        ($f:expr) => {
            map2(a, b, out, |a, b| u64::from($f(&f64::from_bits(a), &f64::from_bits(b))))
        };
    }
    let extreme = |out: &mut [u64], f: fn(f64, f64) -> f64| {
        map2(a, b, out, |a, b| {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            if x.is_nan() {
                a
            } else if y.is_nan() {
                b
            } else {
                f(x, y).to_bits()
            }
        });
    };
    match op {
        Binary::Add => float!(|x: f64, y: f64| x + y),
        Binary::Sub => float!(|x: f64, y: f64| x - y),
        Binary::Mul => float!(|x: f64, y: f64| x * y),
        Binary::Div => float!(|x: f64, y: f64| x / y),
        Binary::Fmod => float!(|x: f64, y: f64| x % y),
        Binary::Mod => float!(|x: f64, y: f64| {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        }),
        Binary::Pow => float!(f64::powf),
        Binary::Max => extreme(out, f64::max),
        Binary::Min => extreme(out, f64::min),
        Binary::Eq => truth!(f64::eq),
        Binary::Lt => truth!(f64::lt),
        Binary::Le => truth!(f64::le),
        Binary::Gt => truth!(f64::gt),
        Binary::Ge => truth!(f64::ge),
        // The type check refuses the rest.
        _ => out.fill(0),
    }
}

/// `order` gives the cell's number to compare, `wide` to compute with what does not wrap as the type does; 128 bits hold every
/// result before it wraps.
#[inline(always)]
fn integer_binary<N: Ord>(
    op: Binary,
    t: DType,
    a: &[u64],
    b: &[u64],
    out: &mut [u64],
    order: impl Fn(u64) -> N,
    wide: impl Fn(u64) -> i128,
) {
    let number = |out: &mut [u64], f: fn(i128, i128) -> i128| {
        map2(a, b, out, |a, b| normal(t, f(wide(a), wide(b)) as u64));
    };
    /// Sums and products wrap alike in 64 bits and in fewer.
    macro_rules! wrapping {
        ($f:ident) => {{
            map2(a, b, out, |a, b| a.$f(b));
            normal_run(t, out)
        }};
    }
    let width = i128::from(t.size() as u8) * 8;
    match op {
        Binary::Add => wrapping!(wrapping_add),
        Binary::Sub => wrapping!(wrapping_sub),
        Binary::Mul => wrapping!(wrapping_mul),
        Binary::Div => number(out, |x, y| x.checked_div(y).unwrap_or(0)),
        Binary::Fmod => number(out, |x, y| x.checked_rem(y).unwrap_or(0)),
        Binary::Mod => number(out, |x, y| {
            let r = x.checked_rem(y).unwrap_or(0);
            if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
        }),
        Binary::Pow => number(out, power),
        Binary::Max => map2(a, b, out, |a, b| if order(a) < order(b) { b } else { a }),
        Binary::Min => map2(a, b, out, |a, b| if order(b) < order(a) { b } else { a }),
        Binary::Eq => map2(a, b, out, |a, b| u64::from(a == b)),
        Binary::Lt => map2(a, b, out, |a, b| u64::from(order(a) < order(b))),
        Binary::Le => map2(a, b, out, |a, b| u64::from(order(a) <= order(b))),
        Binary::Gt => map2(a, b, out, |a, b| u64::from(order(a) > order(b))),
        Binary::Ge => map2(a, b, out, |a, b| u64::from(order(a) >= order(b))),
        Binary::And | Binary::BitAnd => map2(a, b, out, |a, b| a & b),
        Binary::Or | Binary::BitOr => map2(a, b, out, |a, b| a | b),
        Binary::Xor | Binary::BitXor => map2(a, b, out, |a, b| a ^ b),
        Binary::Shl => {
            map2(a, b, out, |a, b| if (0..width).contains(&wide(b)) { normal(t, a << b) } else { 0 })
        }
        Binary::Shr => map2(a, b, out, |a, b| {
            let by = wide(b);
            // A negative count is a huge one.
            let by = if (0..width).contains(&by) { by as u32 } else { 127 };
            (wide(a) >> by) as u64
        }),
    }
}

/// Integer power, wrapping; a negative exponent truncates to 0 unless the base is 1 or -1.
fn power(x: i128, y: i128) -> i128 {
    match (x, y) {
        (_, 0..) => {
            let (mut base, mut left, mut product) = (x, y, 1i128);
            while left > 0 {
                if left & 1 == 1 {
                    product = product.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            product
        }
        (1, _) => 1,
        (-1, _) => 1 - 2 * (y & 1),
        _ => 0,
    }
}

/// The error function: Taylor series, or one minus the continued fraction of its complement; good to 1e-13.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    if a > 7.0 {
        return 1f64.copysign(x);
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            let next = term / f64::from(2 * n + 1);
            sum += next;
            if next.abs() < 1e-17 * sum.abs() {
                break;
            }
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..100).rev().fold(a, |t, n| a + f64::from(n) / 2.0 / t);
    (1.0 - (-a * a).exp() / tail / std::f64::consts::PI.sqrt()).copysign(x)
}
