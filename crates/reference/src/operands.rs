//! Seeded operands for a problem.

use tactician_ir::{DType, Op, Problem, RecurrentOperand, Tensor};

use crate::error::ReferenceError;
use crate::problem::failed;
use crate::value::{Value, narrow, wrap};

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, deviation 1: a sum of four uniform values.
    fn normal(&mut self) -> f64 {
        ((0..4).map(|_| self.unit()).sum::<f64>() - 2.0) * 3f64.sqrt()
    }
}

/// What an operand must look like.
enum Kind {
    Any,
    /// Scaled so that sums of this many products keep their size.
    Weights(usize),
    Positive,
    Indices(usize),
    /// From 0 to this.
    Lengths(usize),
}

fn kind(problem: &Problem, i: usize) -> Kind {
    let sizes = |i: usize| problem.operands[i].ty.sizes().unwrap_or_default();
    match (&problem.anchor, i) {
        (Op::Conv(_), 1) => Kind::Weights(sizes(1)[1..].iter().product()),
        (Op::ConvTranspose(_), 1) => Kind::Weights(sizes(1)[0].max(1)),
        (Op::MatMul(_), 1) => {
            let n = sizes(0).iter().rev().take(2).max().copied();
            Kind::Weights(n.unwrap_or(1))
        }
        (Op::BatchNorm(_), 4) => Kind::Positive,
        // Weights from state to state so small that errors do not grow from step to step beyond what can be checked.
        (Op::Recurrent(_), 2) => Kind::Weights(sizes(2)[2].pow(2).max(1)),
        (Op::Recurrent(_), 1) => Kind::Weights(sizes(1)[2].max(1)),
        (Op::Recurrent(o), i) if o.operand(RecurrentOperand::Lengths) == Some(i) => {
            Kind::Lengths(sizes(0)[0])
        }
        (Op::Gather(g), 1) => Kind::Indices(sizes(0)[g.axis]),
        (Op::GatherElements(g), 1) => Kind::Indices(sizes(0)[g.axis]),
        (Op::ScatterElements(s), 1) => Kind::Indices(sizes(0)[s.axis]),
        _ => Kind::Any,
    }
}

fn operands(
    problem: &Problem,
    seed: u64,
    draw: impl Fn(&mut Random, usize) -> f64,
) -> Result<Vec<Tensor>, ReferenceError> {
    let mut out = Vec::new();
    for (i, o) in problem.operands.iter().enumerate() {
        let sizes =
            o.ty.sizes().ok_or_else(|| failed(&problem.anchor, format!("operand {i} has open sizes")))?;
        let n: usize = sizes.iter().product();
        let mut r =
            Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(i as u64 * 0x1234_5678_9ABC_DEF1));
        let dtype = o.ty.dtype;
        let value = match kind(problem, i) {
            Kind::Indices(n_axis) => {
                let n_axis = n_axis.max(1) as i64;
                Value::int(
                    dtype,
                    sizes,
                    (0..n).map(|_| (r.next() % (2 * n_axis) as u64) as i64 - n_axis).collect(),
                )
            }
            Kind::Lengths(most) => {
                let draw = |_| (r.next() % (most as u64 + 1)) as i64;
                Value::int(dtype, sizes, (0..n).map(draw).collect())
            }
            kind if dtype.is_float() => {
                let scale = match kind {
                    Kind::Weights(fan_in) => 1.0 / (fan_in as f64).sqrt(),
                    _ => 1.0,
                };
                let values = (0..n).map(|at| {
                    let v = draw(&mut r, at) * scale;
                    if matches!(kind, Kind::Positive) { v.abs() + 0.1 } else { v }
                });
                Value::float(dtype, sizes, values.collect())
            }
            // Scales are positive.
            _ if dtype == DType::F8E8M0 => {
                let draw = |at| narrow(dtype, draw(&mut r, at).abs());
                Value::int(dtype, sizes, (0..n).map(draw).collect())
            }
            _ if dtype.narrow_int().is_some() => {
                Value::int(dtype, sizes, (0..n).map(|_| wrap(dtype, r.next() as i64)).collect())
            }
            _ if dtype.is_narrow() => {
                Value::int(dtype, sizes, (0..n).map(|at| narrow(dtype, draw(&mut r, at))).collect())
            }
            _ if dtype == DType::Bool => {
                Value::int(dtype, sizes, (0..n).map(|_| (r.next() & 1) as i64).collect())
            }
            _ if dtype.is_signed_int() => {
                Value::int(dtype, sizes, (0..n).map(|_| (r.next() % 41) as i64 - 20).collect())
            }
            _ => Value::int(dtype, sizes, (0..n).map(|_| (r.next() % 41) as i64).collect()),
        };
        out.push(value.to_tensor());
    }
    Ok(out)
}

/// Roughly normal values, weights scaled so that results keep their size; valid indices; positive variances. Equal
/// problems and seeds give equal operands.
///
/// # Errors
/// When a size is open.
pub fn random_operands(problem: &Problem, seed: u64) -> Result<Vec<Tensor>, ReferenceError> {
    operands(problem, seed, |r, _| r.normal())
}

/// Values that break careless kernels: magnitudes from 2⁻⁸ to 2⁸ (2³ where there is `f16`, which sums of products of
/// larger ones would overflow) side by side, exact and negative zeros, runs of equal
/// values, runs below zero (which padding with zero would win).
///
/// # Errors
/// When a size is open.
pub fn adversarial_operands(problem: &Problem, seed: u64) -> Result<Vec<Tensor>, ReferenceError> {
    let types = problem.operands.iter().map(|o| o.ty.dtype).chain([problem.output.dtype]);
    let exponents = if types.into_iter().any(|t| t == DType::F16) { 12 } else { 17 };
    operands(problem, seed ^ 0x00AD_5E25_A1A1_0000, |r, at| {
        let v = r.normal();
        let pick = r.next();
        match (at / 61 % 4, pick % 16) {
            (0, 0) => 0.0,
            (0, 1) => -0.0,
            (0, _) => v * 2f64.powi((pick >> 8) as i32 % exponents - 8),
            (1, _) => -v.abs() - 0.5,
            (2, _) => 0.75,
            _ => v,
        }
    })
}
