//! Running a tape: one loop an instruction and block, compiled for each instruction set.

use std::mem::MaybeUninit;

use tactician_types::{Binary, Unary};

use super::{BLOCK, Instr, MAX_SLOTS, Op, Tape, TapeInput};
use crate::level::per_level;
use crate::vmath;

/// Loops run over whole multiples of this many elements.
const LANES: usize = 16;

/// Storage for the slots.
#[repr(C, align(64))]
struct Slots<const N: usize>([[MaybeUninit<f32>; BLOCK]; N]);

/// Slots of short tapes, such as most epilogues, which run on a few hundred elements at a time: with more than a page or two
/// of storage every call would touch each page first.
const FEW_SLOTS: usize = 6;

/// Evaluates `tape` into `out`. With `in_place` that input is `out` itself, and `inputs` are those after it.
pub(super) fn run(tape: &Tape, in_place: Option<u16>, inputs: &[TapeInput<'_>], out: &mut [f32]) {
    let shift = usize::from(in_place.is_some());
    for &(_, i) in &tape.inputs {
        if in_place == Some(i) {
            continue;
        }
        match inputs[i as usize - shift] {
            TapeInput::Stream(s) => assert!(s.len() >= out.len(), "input {i} is shorter than the output"),
            TapeInput::Splat(_) => {}
            TapeInput::Repeat(s) => assert!(!s.is_empty() || out.is_empty(), "input {i} repeats nothing"),
        }
    }
    if out.is_empty() {
        return;
    }
    match usize::from(tape.slots) <= FEW_SLOTS {
        true => run_at_level::<FEW_SLOTS>(tape.level, tape, in_place, inputs, out),
        false => run_at_level::<MAX_SLOTS>(tape.level, tape, in_place, inputs, out),
    }
}

per_level! {
    fn run_at_level[const N: usize](tape: &Tape, in_place: Option<u16>, inputs: &[TapeInput<'_>], out: &mut [f32]) = run_body[N]
}

/// Runs a tape of at most `N` slots.
#[inline(always)]
fn run_body<const FMA: bool, const N: usize>(
    tape: &Tape,
    in_place: Option<u16>,
    inputs: &[TapeInput<'_>],
    out: &mut [f32],
) {
    assert!(usize::from(tape.slots) <= N, "a tape of more slots");
    let mut slots = MaybeUninit::<Slots<N>>::uninit();
    let base: *mut f32 = slots.as_mut_ptr().cast();
    // SAFETY: `s` is below `N` (the compiler of the tape gives out no others than it counts), so inside the block.
    let slot = |s: u8| unsafe { base.add(s as usize * BLOCK) };
    let mut at: [*const f32; N] = [base; N];
    for (s, p) in at[..usize::from(tape.slots)].iter_mut().enumerate() {
        *p = slot(s as u8);
    }
    let n = out.len();
    let width = n.next_multiple_of(LANES).min(BLOCK);
    let fill = |s: u8, v: f32| {
        // SAFETY: a slot is `BLOCK ≥ width` floats long and nothing else points into it.
        let slot = unsafe { std::slice::from_raw_parts_mut(slot(s).cast::<MaybeUninit<f32>>(), width) };
        slot.fill(MaybeUninit::new(v));
    };
    for &(s, v) in &tape.consts {
        fill(s, v);
    }
    let shift = usize::from(in_place.is_some());
    for &(s, i) in &tape.inputs {
        if in_place == Some(i) {
            continue;
        }
        match inputs[i as usize - shift] {
            TapeInput::Splat(v) => fill(s, v),
            TapeInput::Repeat(r) if BLOCK.is_multiple_of(r.len()) => repeat(slot(s), r, 0, width),
            _ => {}
        }
    }
    let out_start = out.as_mut_ptr();
    let mut o = 0;
    while o < n {
        let m = (n - o).min(BLOCK);
        let w = m.next_multiple_of(LANES);
        for &(s, i) in &tape.inputs {
            let source = if in_place == Some(i) {
                // SAFETY: inside `out`.
                unsafe { out_start.add(o).cast_const() }
            } else {
                match inputs[i as usize - shift] {
                    TapeInput::Stream(x) => x[o..].as_ptr(),
                    TapeInput::Repeat(r) if !BLOCK.is_multiple_of(r.len()) => {
                        repeat(slot(s), r, o % r.len(), w);
                        continue;
                    }
                    _ => continue,
                }
            };
            if m == w {
                at[s as usize] = source;
            } else {
                // The loops read whole vectors: the ragged end gets zeros to go with it.
                // SAFETY: `m` elements remain in the source (its length was checked), `w ≤ BLOCK` fit the slot.
                unsafe {
                    std::ptr::copy_nonoverlapping(source, slot(s), m);
                    std::slice::from_raw_parts_mut(slot(s).cast::<MaybeUninit<f32>>().add(m), w - m)
                        .fill(MaybeUninit::new(0.0));
                }
                at[s as usize] = slot(s);
            }
        }
        let (last, first) = tape.code.split_last().expect("a tape has code");
        for instr in first {
            // SAFETY: the operands were written before (inputs and constants above, others by earlier code), hold
            // `w` floats each, and are not slot `d`.
            unsafe { exec::<FMA, N>(*instr, &at, slot(instr.d), w) };
        }
        // SAFETY: as above; `m == w` floats remain in `out`, which only an in-place input overlaps.
        unsafe {
            let target = out_start.add(o);
            if m == w && in_place.is_none() {
                exec::<FMA, N>(*last, &at, target, w);
            } else {
                exec::<FMA, N>(*last, &at, slot(last.d), w);
                std::ptr::copy_nonoverlapping(slot(last.d), target, m);
            }
        }
        o += m;
    }
}

/// Writes `r[phase], r[phase + 1], …`, round and round, `len` elements.
#[inline(always)]
fn repeat(to: *mut f32, r: &[f32], phase: usize, len: usize) {
    let (mut done, mut from) = (0, phase);
    while done < len {
        let part = (r.len() - from).min(len - done);
        // SAFETY: `to` is a slot of at least `len` floats, disjoint from `r`.
        unsafe { std::ptr::copy_nonoverlapping(r[from..].as_ptr(), to.add(done), part) };
        done += part;
        from = 0;
    }
}

macro_rules! map1 {
    ($a:ident, $d:ident, |$x:ident| $e:expr) => {
        for (d, &$x) in $d.iter_mut().zip($a) {
            d.write($e);
        }
    };
}

macro_rules! map2 {
    ($a:ident, $b:ident, $d:ident, |$x:ident, $y:ident| $e:expr) => {
        for ((d, &$x), &$y) in $d.iter_mut().zip($a).zip($b) {
            d.write($e);
        }
    };
}

/// What an instruction writes: nothing was there before.
type Target = [MaybeUninit<f32>];

/// Runs one instruction on `w` elements, a multiple of [`LANES`] up to [`BLOCK`].
///
/// # Safety
/// The operand slots hold `w` initialised floats, `d` has room for as many, which are initialised afterwards; it overlaps none
/// of the operands.
#[inline(always)]
unsafe fn exec<const FMA: bool, const N: usize>(instr: Instr, at: &[*const f32; N], d: *mut f32, w: usize) {
    let w = w.min(BLOCK) / LANES * LANES;
    // SAFETY: by contract.
    let d: &mut Target = unsafe { std::slice::from_raw_parts_mut(d.cast(), w) };
    // SAFETY: by contract.
    let a = unsafe { std::slice::from_raw_parts(at[instr.a as usize], w) };
    match instr.op {
        Op::Unary(op) => unary::<FMA>(op, a, d),
        Op::Binary(op) => {
            // SAFETY: by contract.
            let b = unsafe { std::slice::from_raw_parts(at[instr.b as usize], w) };
            binary::<FMA>(op, a, b, d);
        }
        Op::Select => {
            // SAFETY: by contract.
            let (b, c) = unsafe {
                (
                    std::slice::from_raw_parts(at[instr.b as usize], w),
                    std::slice::from_raw_parts(at[instr.c as usize], w),
                )
            };
            for i in 0..w {
                d[i].write(if a[i] != 0.0 { b[i] } else { c[i] });
            }
        }
        Op::NonZero => map1!(a, d, |x| truth(x != 0.0)),
        Op::Move => map1!(a, d, |x| x),
    }
}

#[inline(always)]
fn truth(b: bool) -> f32 {
    if b { 1.0 } else { 0.0 }
}

#[inline(always)]
fn unary<const FMA: bool>(op: Unary, a: &[f32], d: &mut Target) {
    match op {
        Unary::Neg => map1!(a, d, |x| -x),
        Unary::Abs => map1!(a, d, |x| x.abs()),
        // NaN and zeros stay.
        Unary::Sign => map1!(a, d, |x| if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            x
        }),
        Unary::Reciprocal => map1!(a, d, |x| 1.0 / x),
        Unary::Sqrt => map1!(a, d, |x| x.sqrt()),
        Unary::Exp => map1!(a, d, |x| vmath::exp::<FMA>(x)),
        Unary::Log => map1!(a, d, |x| vmath::log::<FMA>(x)),
        Unary::Relu => map1!(a, d, |x| vmath::relu(x)),
        Unary::Sigmoid => map1!(a, d, |x| vmath::sigmoid::<FMA>(x)),
        Unary::Tanh => map1!(a, d, |x| vmath::tanh::<FMA>(x)),
        Unary::Erf => map1!(a, d, |x| vmath::erf::<FMA>(x)),
        Unary::Softplus => map1!(a, d, |x| vmath::softplus::<FMA>(x)),
        Unary::Floor => map1!(a, d, |x| x.floor()),
        Unary::Ceil => map1!(a, d, |x| x.ceil()),
        Unary::Round => map1!(a, d, |x| x.round_ties_even()),
        Unary::Sin => map1!(a, d, |x| x.sin()),
        Unary::Cos => map1!(a, d, |x| x.cos()),
        Unary::Tan => map1!(a, d, |x| x.tan()),
        Unary::Asin => map1!(a, d, |x| x.asin()),
        Unary::Acos => map1!(a, d, |x| x.acos()),
        Unary::Atan => map1!(a, d, |x| x.atan()),
        Unary::Sinh => map1!(a, d, |x| x.sinh()),
        Unary::Cosh => map1!(a, d, |x| x.cosh()),
        Unary::Asinh => map1!(a, d, |x| f64::from(x).asinh() as f32),
        Unary::Acosh => map1!(a, d, |x| f64::from(x).acosh() as f32),
        Unary::Atanh => map1!(a, d, |x| f64::from(x).atanh() as f32),
        Unary::Not => map1!(a, d, |x| truth(x == 0.0)),
        Unary::IsNan => map1!(a, d, |x| truth(x.is_nan())),
        Unary::IsInf => map1!(a, d, |x| truth(x.is_infinite())),
        // Integers only: the type check refuses it.
        Unary::BitNot => d.fill(MaybeUninit::new(f32::NAN)),
    }
}

#[inline(always)]
fn binary<const FMA: bool>(op: Binary, a: &[f32], b: &[f32], d: &mut Target) {
    match op {
        Binary::Add => map2!(a, b, d, |x, y| x + y),
        Binary::Sub => map2!(a, b, d, |x, y| x - y),
        Binary::Mul => map2!(a, b, d, |x, y| x * y),
        Binary::Div => map2!(a, b, d, |x, y| x / y),
        Binary::Mod => map2!(a, b, d, |x, y| {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        }),
        Binary::Fmod => map2!(a, b, d, |x, y| x % y),
        Binary::Pow => map2!(a, b, d, |x, y| vmath::pow::<FMA>(x, y)),
        Binary::Max => map2!(a, b, d, |x, y| vmath::max(x, y)),
        Binary::Min => map2!(a, b, d, |x, y| vmath::min(x, y)),
        Binary::Eq => map2!(a, b, d, |x, y| truth(x == y)),
        Binary::Lt => map2!(a, b, d, |x, y| truth(x < y)),
        Binary::Le => map2!(a, b, d, |x, y| truth(x <= y)),
        Binary::Gt => map2!(a, b, d, |x, y| truth(x > y)),
        Binary::Ge => map2!(a, b, d, |x, y| truth(x >= y)),
        Binary::And => map2!(a, b, d, |x, y| x * y),
        Binary::Or => map2!(a, b, d, |x, y| if x > y { x } else { y }),
        Binary::Xor => map2!(a, b, d, |x, y| truth(x != y)),
        // Integers only: the type check refuses them.
        Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::Shl | Binary::Shr => {
            d.fill(MaybeUninit::new(f32::NAN))
        }
    }
}
