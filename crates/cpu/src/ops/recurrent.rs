//! `recurrent`: LSTM, GRU and plain recurrent layers over whole sequences, any float type, in plain layout.
//!
//! The state of a step is read where it was written: in the result. A sequence of one cell depends on no other, so
//! threads share sequences and cells. Sixteen units are worked on together; products run along the rows of the weights.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use tactician_types::{
    DType, GateActivation, GateFunction, Recurrent as Layer, RecurrentKind, RecurrentOperand, bf16_of, f16_of,
};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::level::{Level, per_level};
use crate::threads::{SharedMut, Threads};
use crate::vmath;

/// Units that are worked on together.
const UNITS: usize = 16;
/// Partial sums of a product.
const LANES: usize = 16;

/// A recurrent layer. Inputs: those of [`Layer`], in its order. One output. With [`Recurrent::ahead`] the products with
/// the input are made for all steps before the first, in scratch; else at each step, and there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recurrent {
    /// The layer.
    pub layer: Layer,
    /// Type of all operands but lengths.
    pub dtype: DType,
    /// Steps.
    pub time: usize,
    /// Sequences.
    pub batch: usize,
    /// Elements of the input.
    pub width: usize,
    /// Units.
    pub hidden: usize,
    /// Whether the products with the input are made first.
    pub ahead: bool,
}

/// An element type, and what is computed in.
trait Number: bytemuck::Pod + Send + Sync {
    type Sum: Sum;
    fn load(self) -> Self::Sum;
    fn store(v: Self::Sum) -> Self;
}

trait Sum:
    bytemuck::Pod
    + Send
    + Sync
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
{
    const ONE: Self;
    fn fma<const FMA: bool>(a: Self, b: Self, c: Self) -> Self;
    fn bounded(self, by: f32) -> Self;
    fn activate(level: Level, f: GateActivation, v: &mut [Self; UNITS]);
}

impl Sum for f32 {
    const ONE: f32 = 1.0;
    #[inline(always)]
    fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
        vmath::fma::<FMA>(a, b, c)
    }
    #[inline(always)]
    fn bounded(self, by: f32) -> f32 {
        vmath::max(vmath::min(self, by), -by)
    }
    fn activate(level: Level, f: GateActivation, v: &mut [f32; UNITS]) {
        activate_f32(level, f, v);
    }
}

impl Sum for f64 {
    const ONE: f64 = 1.0;
    #[inline(always)]
    fn fma<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
        if FMA { a.mul_add(b, c) } else { a * b + c }
    }
    #[inline(always)]
    fn bounded(self, by: f32) -> f64 {
        let by = f64::from(by);
        if self > by {
            by
        } else if self < -by {
            -by
        } else {
            self
        }
    }
    fn activate(_: Level, f: GateActivation, v: &mut [f64; UNITS]) {
        v.iter_mut().for_each(|x| *x = f.apply(*x));
    }
}

macro_rules! numbers {
    ($($t:ty: $sum:ty, $to:expr, $from:expr;)*) => {$(
        impl Number for $t {
            type Sum = $sum;
            #[inline(always)]
            fn load(self) -> $sum {
                $to(self)
            }
            #[inline(always)]
            fn store(v: $sum) -> $t {
                $from(v)
            }
        }
    )*};
}

numbers! {
    f32: f32, |x| x, |x| x;
    f64: f64, |x| x, |x| x;
    f16: f32, f16::to_f32, |x: f32| f16_of(f64::from(x));
    bf16: f32, bf16::to_f32, |x: f32| bf16_of(f64::from(x));
}

impl Recurrent {
    fn cells(&self) -> usize {
        self.layer.direction.count()
    }

    /// Rows of the weights of one cell.
    fn rows(&self) -> usize {
        self.layer.kind.gates() * self.hidden
    }

    /// Elements of the products made ahead: `[cells, batch, time, rows]`.
    fn products(&self) -> Option<usize> {
        product(&[self.cells(), self.batch, self.time, self.layer.kind.gates(), self.hidden])
    }

    fn run_typed<T: Number>(&self, args: &Args<'_>, threads: &Threads) {
        let given = |which| self.layer.operand(which).map(|i| args.input::<T>(i));
        let products = self.products().filter(|_| self.ahead).unwrap_or(0);
        let scratch = &mut args.scratch::<T::Sum>()[..products];
        let job = Job {
            kernel: self,
            level: threads.level(),
            x: args.input(0),
            w: args.input(1),
            r: args.input(2),
            bias: given(RecurrentOperand::Bias),
            lengths: self.layer.operand(RecurrentOperand::Lengths).map(|i| args.input::<i32>(i)),
            initial_h: given(RecurrentOperand::InitialH),
            initial_c: given(RecurrentOperand::InitialC),
            peepholes: given(RecurrentOperand::Peepholes),
            products: SharedMut::new(scratch),
            out: SharedMut::new(args.output(0)),
        };
        if self.ahead {
            let blocks = self.rows().div_ceil(UNITS);
            threads.for_each_range(self.cells() * blocks, threads.count() * 4, |_, range| {
                for unit in range {
                    products_of_rows::<T>(&job, unit / blocks, unit % blocks * UNITS);
                }
            });
        }
        threads.for_each(self.cells() * self.batch, |unit| {
            sequence::<T>(&job, unit / self.batch, unit % self.batch);
        });
    }
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s))
}

impl Kernel for Recurrent {
    const NAME: &'static str = "recurrent";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        self.layer.check()?;
        if !self.dtype.is_float() {
            return Err(format!("recurrent layers compute with floats, found {}", self.dtype));
        }
        let (d, g, b, h) = (self.cells(), self.layer.kind.gates(), self.batch, self.hidden);
        let bytes = |sizes: &[usize], each: usize| {
            // Empty axes must not hide that others overflow.
            product(&sizes.iter().map(|&s| s.max(1)).collect::<Vec<_>>())
                .and_then(|n| n.checked_mul(each))
                .filter(|&n| n <= isize::MAX as usize)
                .ok_or_else(|| "sizes overflow".to_owned())?;
            Ok::<u64, KernelError>((sizes.iter().product::<usize>() * each) as u64)
        };
        let size = self.dtype.size();
        let time = self.time.checked_add(2).ok_or("sizes overflow")? - 2 + self.layer.kind.states();
        let mut inputs = vec![
            bytes(&[self.time, b, self.width], size)?,
            bytes(&[d, g, h, self.width], size)?,
            bytes(&[d, g, h, h], size)?,
        ];
        for (which, sizes, each) in [
            (RecurrentOperand::Bias, vec![d, 2, g, h], size),
            (RecurrentOperand::Lengths, vec![b], 4),
            (RecurrentOperand::InitialH, vec![d, b, h], size),
            (RecurrentOperand::InitialC, vec![d, b, h], size),
            (RecurrentOperand::Peepholes, vec![d, 3, h], size),
        ] {
            if self.layer.operand(which).is_some() {
                inputs.push(bytes(&sizes, each)?);
            }
        }
        let sum = if self.dtype == DType::F64 { 8 } else { 4 };
        let scratch = if self.ahead { bytes(&[d, b, self.time, g, h], sum)? } else { 0 };
        Ok(ArgSizes { inputs, outputs: vec![bytes(&[time, d, b, h], size)?], scratch })
    }

    fn run(&self, args: &Args<'_>, threads: &Threads) {
        match self.dtype {
            DType::F64 => self.run_typed::<f64>(args, threads),
            DType::F16 => self.run_typed::<f16>(args, threads),
            DType::BF16 => self.run_typed::<bf16>(args, threads),
            _ => self.run_typed::<f32>(args, threads),
        }
    }
}

/// The arguments of a run.
struct Job<'a, T: Number> {
    kernel: &'a Recurrent,
    level: Level,
    x: &'a [T],
    w: &'a [T],
    r: &'a [T],
    bias: Option<&'a [T]>,
    lengths: Option<&'a [i32]>,
    initial_h: Option<&'a [T]>,
    initial_c: Option<&'a [T]>,
    peepholes: Option<&'a [T]>,
    products: SharedMut<'a, T::Sum>,
    out: SharedMut<'a, T>,
}

/// `Σ a·b`.
#[inline(always)]
fn dot<const FMA: bool, T: Number>(a: &[T], b: &[T]) -> T::Sum {
    let mut sums = [<T::Sum as bytemuck::Zeroable>::zeroed(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] = T::Sum::fma::<FMA>(a[l].load(), b[l].load(), sums[l]);
        }
    }
    for (l, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[l] = T::Sum::fma::<FMA>(a.load(), b.load(), sums[l]);
    }
    let mut n = LANES / 2;
    while n > 0 {
        for l in 0..n {
            sums[l] = sums[l] + sums[l + n];
        }
        n /= 2;
    }
    sums[0]
}

per_level! {
    fn add_products[T: Number](x: &[T], rows: &[T], to: &mut [T::Sum]) = add_products_body[T]
}

/// Adds to each element of `to` the product of `x` with one of the rows, which are as long.
#[inline(always)]
fn add_products_body<const FMA: bool, T: Number>(x: &[T], rows: &[T], to: &mut [T::Sum]) {
    let width = x.len();
    for (i, to) in to.iter_mut().enumerate() {
        *to = *to + dot::<FMA, T>(x, &rows[i * width..][..width]);
    }
}

/// The products of some rows of `w` with every input.
fn products_of_rows<T: Number>(job: &Job<'_, T>, d: usize, from: usize) {
    let k = job.kernel;
    let (rows, width) = (k.rows(), k.width);
    let n = UNITS.min(rows - from);
    for b in 0..k.batch {
        for t in 0..k.time {
            let x = &job.x[(t * k.batch + b) * width..][..width];
            let at = ((d * k.batch + b) * k.time + t) * rows + from;
            // SAFETY: rows are disjoint and inside the scratch, whose length `sizes` gave.
            let to = unsafe { job.products.slice(at, n) };
            to.fill(<T::Sum as bytemuck::Zeroable>::zeroed());
            add_products::<T>(job.level, x, &job.w[(d * rows + from) * width..], to);
        }
    }
}

per_level! {
    fn activate_f32(f: GateActivation, v: &mut [f32; UNITS]) = activate_f32_body
}

#[inline(always)]
fn activate_f32_body<const FMA: bool>(f: GateActivation, v: &mut [f32; UNITS]) {
    match f.function {
        GateFunction::Sigmoid => v.iter_mut().for_each(|x| *x = vmath::sigmoid::<FMA>(*x)),
        GateFunction::Tanh => v.iter_mut().for_each(|x| *x = vmath::tanh::<FMA>(*x)),
        GateFunction::Relu => v.iter_mut().for_each(|x| *x = vmath::relu(*x)),
        _ => v.iter_mut().for_each(|x| *x = f.apply(f64::from(*x)) as f32),
    }
}

/// One sequence of one cell.
fn sequence<T: Number>(job: &Job<'_, T>, d: usize, b: usize) {
    let k = job.kernel;
    let (n, cells) = (k.hidden, k.cells());
    let zero = T::store(<T::Sum as bytemuck::Zeroable>::zeroed());
    // SAFETY: row `row` of this sequence and cell is inside the output, whose length `sizes` gave, and no other
    // sequence or cell touches it; below, rows that are alive at once differ.
    let row = |row: usize| unsafe { job.out.slice(((row * cells + d) * k.batch + b) * n, n) };
    let state = |from: Option<&[T]>, to: &mut [T]| match from {
        Some(v) => to.copy_from_slice(&v[(d * k.batch + b) * n..][..n]),
        None => to.fill(zero),
    };
    let length = job.lengths.map_or(k.time, |l| usize::try_from(l[b]).unwrap_or(0).min(k.time));
    (length..k.time).for_each(|t| row(t).fill(zero));
    if k.layer.kind == RecurrentKind::Lstm {
        state(job.initial_c, row(k.time + 1));
    }
    // Until the end the place of the final state holds the one before the first step, or what a GRU keeps of it.
    state(job.initial_h, row(k.time));
    let mut before = k.time;
    for step in 0..length {
        let t = if k.layer.direction.reversed(d) { length - 1 - step } else { step };
        let cell = Cell { job, d, b, t, known: before != k.time || job.initial_h.is_some() };
        let h: &[T] = row(before);
        match k.layer.kind {
            RecurrentKind::Rnn => cell.rnn(h, row(t)),
            RecurrentKind::Lstm => cell.lstm(h, row(k.time + 1), row(t)),
            RecurrentKind::Gru if k.layer.linear_before_reset => cell.gru(h, None, row(t)),
            RecurrentKind::Gru if before == k.time => {
                // The kept state takes the place of the initial one, which is read from where it came.
                let initial = job.initial_h.map(|v| &v[(d * k.batch + b) * n..][..n]);
                let kept = row(k.time);
                match initial {
                    Some(h) => {
                        cell.keep(h, kept);
                        cell.gru(h, Some(kept), row(t));
                    }
                    // All of it is 0, whatever is kept.
                    None => cell.gru(h, Some(h), row(t)),
                }
            }
            RecurrentKind::Gru => {
                let kept = row(k.time);
                cell.keep(h, kept);
                cell.gru(h, Some(kept), row(t));
            }
        }
        before = t;
    }
    if before != k.time {
        row(k.time).copy_from_slice(row(before));
    }
}

/// One step of one sequence of one cell.
struct Cell<'a, 'j, T: Number> {
    job: &'a Job<'j, T>,
    d: usize,
    b: usize,
    t: usize,
    /// Whether the state may be other than 0.
    known: bool,
}

impl<T: Number> Cell<'_, '_, T> {
    /// Gate `q` of units `from` on: the input's product with its bias.
    fn of_input(&self, q: usize, from: usize, len: usize) -> [T::Sum; UNITS] {
        let (job, k) = (self.job, self.job.kernel);
        let row = q * k.hidden + from;
        let mut out = self.bias(0, row, len);
        if k.ahead {
            let at = ((self.d * k.batch + self.b) * k.time + self.t) * k.rows() + row;
            // SAFETY: inside the scratch, which nobody writes any more.
            let made = unsafe { job.products.slice(at, len) };
            for (o, v) in out.iter_mut().zip(made) {
                *o = *o + *v;
            }
            return out;
        }
        let x = &job.x[(self.t * k.batch + self.b) * k.width..][..k.width];
        add_products::<T>(job.level, x, &job.w[(self.d * k.rows() + row) * k.width..], &mut out[..len]);
        out
    }

    /// The same of the state's product.
    fn of_state(&self, q: usize, from: usize, len: usize, h: &[T]) -> [T::Sum; UNITS] {
        let (job, k) = (self.job, self.job.kernel);
        let row = q * k.hidden + from;
        let mut out = self.bias(1, row, len);
        if self.known {
            add_products::<T>(job.level, h, &job.r[(self.d * k.rows() + row) * k.hidden..], &mut out[..len]);
        }
        out
    }

    fn bias(&self, side: usize, row: usize, len: usize) -> [T::Sum; UNITS] {
        let mut out = [<T::Sum as bytemuck::Zeroable>::zeroed(); UNITS];
        if let Some(bias) = self.job.bias {
            let at = (self.d * 2 + side) * self.job.kernel.rows() + row;
            for (o, v) in out.iter_mut().zip(&bias[at..][..len]) {
                *o = v.load();
            }
        }
        out
    }

    fn gate(&self, q: usize, from: usize, len: usize, h: &[T]) -> [T::Sum; UNITS] {
        let (mut x, h) = (self.of_input(q, from, len), self.of_state(q, from, len, h));
        for (x, h) in x.iter_mut().zip(h) {
            *x = *x + h;
        }
        x
    }

    /// Function `i` of the cell, of clipped values.
    fn apply(&self, i: usize, v: &mut [T::Sum; UNITS]) {
        let layer = &self.job.kernel.layer;
        if let Some(by) = layer.clip {
            v.iter_mut().for_each(|x| *x = x.bounded(by));
        }
        T::Sum::activate(self.job.level, layer.functions[self.d * layer.kind.functions() + i], v);
    }

    /// Adds the product of `c` with peepholes `q`.
    fn peep(&self, q: usize, from: usize, c: &[T::Sum; UNITS], len: usize, v: &mut [T::Sum; UNITS]) {
        let Some(p) = self.job.peepholes else { return };
        let at = (self.d * 3 + q) * self.job.kernel.hidden + from;
        for ((v, c), p) in v.iter_mut().zip(c).zip(&p[at..][..len]) {
            *v = *v + *c * p.load();
        }
    }

    fn rnn(&self, h: &[T], out: &mut [T]) {
        for (part, out) in out.chunks_mut(UNITS).enumerate() {
            let mut v = self.gate(0, part * UNITS, out.len(), h);
            self.apply(0, &mut v);
            put(&v, out);
        }
    }

    fn lstm(&self, h: &[T], c: &mut [T], out: &mut [T]) {
        for (part, (c, out)) in c.chunks_mut(UNITS).zip(out.chunks_mut(UNITS)).enumerate() {
            let (from, len) = (part * UNITS, out.len());
            let old = get(c);
            let mut input = self.gate(0, from, len, h);
            self.peep(0, from, &old, len, &mut input);
            self.apply(0, &mut input);
            let mut forget = input;
            if self.job.kernel.layer.input_forget {
                forget.iter_mut().for_each(|f| *f = T::Sum::ONE - *f);
            } else {
                forget = self.gate(2, from, len, h);
                self.peep(2, from, &old, len, &mut forget);
                self.apply(0, &mut forget);
            }
            let mut new = self.gate(3, from, len, h);
            self.apply(1, &mut new);
            for l in 0..UNITS {
                new[l] = forget[l] * old[l] + input[l] * new[l];
            }
            let mut output = self.gate(1, from, len, h);
            self.peep(1, from, &new, len, &mut output);
            self.apply(0, &mut output);
            put(&new, c);
            self.apply(2, &mut new);
            for l in 0..UNITS {
                output[l] = output[l] * new[l];
            }
            put(&output, out);
        }
    }

    /// What the reset gate keeps of the state.
    fn keep(&self, h: &[T], kept: &mut [T]) {
        for (part, kept) in kept.chunks_mut(UNITS).enumerate() {
            let mut reset = self.gate(1, part * UNITS, kept.len(), h);
            self.apply(0, &mut reset);
            for ((kept, reset), h) in kept.iter_mut().zip(reset).zip(&h[part * UNITS..]) {
                *kept = T::store(reset * h.load());
            }
        }
    }

    /// The rest of a step, `kept` being what the reset gate kept; without it the gate multiplies the product.
    fn gru(&self, h: &[T], kept: Option<&[T]>, out: &mut [T]) {
        for (part, out) in out.chunks_mut(UNITS).enumerate() {
            let (from, len) = (part * UNITS, out.len());
            let mut update = self.gate(0, from, len, h);
            self.apply(0, &mut update);
            let mut new = self.of_input(2, from, len);
            let mut state = self.of_state(2, from, len, kept.unwrap_or(h));
            if kept.is_none() {
                let mut reset = self.gate(1, from, len, h);
                self.apply(0, &mut reset);
                for l in 0..UNITS {
                    state[l] = state[l] * reset[l];
                }
            }
            for l in 0..UNITS {
                new[l] = new[l] + state[l];
            }
            self.apply(1, &mut new);
            let old = get(&h[from..][..len]);
            for l in 0..UNITS {
                new[l] = (T::Sum::ONE - update[l]) * new[l] + update[l] * old[l];
            }
            put(&new, out);
        }
    }
}

fn get<T: Number>(from: &[T]) -> [T::Sum; UNITS] {
    let mut out = [<T::Sum as bytemuck::Zeroable>::zeroed(); UNITS];
    for (o, v) in out.iter_mut().zip(from) {
        *o = v.load();
    }
    out
}

fn put<T: Number>(from: &[T::Sum; UNITS], to: &mut [T]) {
    for (o, v) in to.iter_mut().zip(from) {
        *o = T::store(*v);
    }
}
