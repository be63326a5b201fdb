//! Random numbers. The standard leaves the generator free, so each of these is a constant: the numbers of SplitMix64 (Steele, Lea
//! and Flood, "Fast splittable pseudorandom number generators", 2014) from the seed that the node gives, else from its name. Every
//! build and every run has the same, and different nodes have different ones.

use tactician_ir::{Binary, DType, Op, ReduceKind, Softmax, Tensor, ValueId};

use super::compose::{Compose, Made};
use super::{Importer, one};
use crate::import::{Import, Val};
use crate::node::Node;
use crate::tensor;

/// Most numbers that a node makes: they are stored in the plan.
const MOST: usize = 1 << 24;

/// Most classes that are drawn from.
const MOST_CLASSES: usize = 1 << 12;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("RandomUniform", |i, n| {
        let sizes = given(n)?;
        filled(i, n, &sizes, DType::F32, uniform)
    }),
    ("RandomNormal", |i, n| {
        let sizes = given(n)?;
        filled(i, n, &sizes, DType::F32, normal)
    }),
    ("RandomUniformLike", |i, n| {
        let (sizes, like) = like(i, n)?;
        filled(i, n, &sizes, like, uniform)
    }),
    ("RandomNormalLike", |i, n| {
        let (sizes, like) = like(i, n)?;
        filled(i, n, &sizes, like, normal)
    }),
    ("Bernoulli", bernoulli),
    ("Multinomial", multinomial),
];

struct Generator(u64);

impl Generator {
    /// From the bits of the attribute `seed`, or from the node's name (FNV-1a).
    fn of(n: &Node<'_>) -> Generator {
        if n.has("seed") {
            return Generator(u64::from(n.float("seed", 0.0).to_bits()));
        }
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        Generator(n.label.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`, of 24 bits, so that no float type but the short ones rounds it to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1u64 << 24) as f64
    }
}

fn uniform(n: &Node<'_>, g: &mut Generator) -> f64 {
    let (low, high) = (f64::from(n.float("low", 0.0)), f64::from(n.float("high", 1.0)));
    low + (high - low) * g.unit()
}

/// By the method of Box and Muller.
fn normal(n: &Node<'_>, g: &mut Generator) -> f64 {
    let (mean, deviation) = (f64::from(n.float("mean", 0.0)), f64::from(n.float("scale", 1.0)));
    let radius = (-2.0 * (1.0 - g.unit()).ln()).sqrt();
    mean + deviation * radius * (std::f64::consts::TAU * g.unit()).cos()
}

fn given(n: &Node<'_>) -> Result<Vec<usize>, String> {
    let shape = n.ints("shape").ok_or("attribute `shape` is missing")?;
    shape.iter().map(|&v| usize::try_from(v).map_err(|_| format!("attribute `shape` is {shape:?}"))).collect()
}

fn like(i: &mut Import<'_>, n: &Node<'_>) -> Result<(Vec<usize>, DType), String> {
    let x = n.tensor(0, i)?;
    let c = Compose { import: i, name: n.label };
    Ok((c.sizes(x)?, c.dtype(x)))
}

fn type_of(n: &Node<'_>, default: DType) -> Result<DType, String> {
    match i32::try_from(n.int("dtype", 0)) {
        Ok(0) => Ok(default),
        Ok(t) => tensor::dtype(t),
        Err(_) => Err("attribute `dtype` is no type".into()),
    }
}

fn many(sizes: &[usize]) -> Result<usize, String> {
    let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= MOST);
    count.ok_or_else(|| format!("random numbers of sizes {sizes:?} are too many"))
}

fn filled(
    i: &mut Import<'_>,
    n: &Node<'_>,
    sizes: &[usize],
    default: DType,
    draw: fn(&Node<'_>, &mut Generator) -> f64,
) -> Result<Vec<Val>, String> {
    let (count, dtype) = (many(sizes)?, type_of(n, default)?);
    if !dtype.is_float() {
        return Err(format!("random numbers of type {dtype}"));
    }
    let mut g = Generator::of(n);
    let values: Vec<f64> = (0..count).map(|_| draw(n, &mut g)).collect();
    one(Compose { import: i, name: n.label }.numbers(dtype, sizes, &values)?)
}

/// Numbers in `[0, 1)`.
fn units(c: &mut Compose<'_, '_>, n: &Node<'_>, dtype: DType, sizes: &[usize]) -> Made {
    let mut g = Generator::of(n);
    let values: Vec<f64> = (0..many(sizes)?).map(|_| g.unit()).collect();
    c.numbers(dtype, sizes, &values)
}

/// Ones with the probabilities that its operand says.
fn bernoulli(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let mut c = Compose { import: i, name: n.label };
    let (sizes, dtype) = (c.sizes(x)?, c.dtype(x));
    let to = type_of(n, dtype)?;
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (u, p) = (units(&mut c, n, wide, &sizes)?, c.cast(x, wide)?);
    let hit = c.binary(Binary::Lt, u, p)?;
    one(c.cast(hit, to)?)
}

/// Classes, of which each row of its operand has logarithms of probabilities: how many of their sums the number drawn is
/// beyond.
fn multinomial(i: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.tensor(0, i)?;
    let draws = usize::try_from(n.int("sample_size", 1)).map_err(|_| "sample_size must not be negative")?;
    let to = type_of(n, DType::I32)?;
    let mut c = Compose { import: i, name: n.label };
    let sizes = c.sizes(x)?;
    let &[batch, classes] = sizes.as_slice() else {
        return Err(format!("found {}, expected rank 2", c.ty(x)));
    };
    if classes == 0 || classes > MOST_CLASSES || !to.is_int() {
        return Err(format!("drawing {to} out of {classes} classes is not supported"));
    }
    let x = c.cast(x, DType::F32)?;
    let p = c.op(Op::Softmax(Softmax { axis: 1, log: false }), &[x])?;
    let sums = running_sums(&mut c, p, classes)?;
    let sums = c.reshape(sums, &[batch, 1, classes])?;
    many(&[batch, draws, classes])?;
    let u = units(&mut c, n, DType::F32, &[batch, draws, 1])?;
    let beyond = c.binary(Binary::Ge, u, sums)?;
    let beyond = c.cast(beyond, DType::I64)?;
    let class = c.reduce(ReduceKind::Sum, beyond, &[2], false)?;
    // Rounding may leave the last sum below 1.
    let class = c.with(Binary::Min, class, classes as f64 - 1.0)?;
    one(c.cast(class, to)?)
}

fn running_sums(c: &mut Compose<'_, '_>, p: ValueId, classes: usize) -> Made {
    let mut ones = vec![0f32; classes * classes];
    (0..classes).for_each(|row| ones[row * classes + row..(row + 1) * classes].fill(1.0));
    let ones = Tensor::new(&[classes, classes], &ones).map_err(|e| e.to_string())?;
    let ones = c.import.constant(c.name, ones);
    c.matmul(p, ones)
}

#[cfg(test)]
#[path = "random_tests.rs"]
mod tests;
