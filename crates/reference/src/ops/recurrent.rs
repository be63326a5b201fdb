use rayon::prelude::*;
use tactician_ir::{GateActivation, GateFunction, Recurrent, RecurrentKind, RecurrentOperand};

use crate::value::Value;

/// The operands of a layer and its sizes.
struct Layer<'a> {
    op: &'a Recurrent,
    inputs: &'a [&'a Value],
    time: usize,
    batch: usize,
    width: usize,
    hidden: usize,
}

impl<'a> Layer<'a> {
    /// The layer whose result has these sizes.
    fn new(op: &'a Recurrent, inputs: &'a [&'a Value], sizes: &[usize]) -> Layer<'a> {
        let x = &inputs[0].sizes;
        Layer { op, inputs, time: x[0], batch: x[1], width: x[2], hidden: sizes[3] }
    }

    fn given(&self, which: RecurrentOperand) -> Option<&[f64]> {
        self.op.operand(which).map(|i| self.inputs[i].floats())
    }

    fn length(&self, b: usize) -> usize {
        let Some(i) = self.op.operand(RecurrentOperand::Lengths) else { return self.time };
        self.inputs[i].ints()[b].clamp(0, self.time as i64) as usize
    }

    /// An element of the initial states, 0 where there are none.
    fn initial(&self, which: RecurrentOperand, d: usize, b: usize, j: usize) -> f64 {
        self.given(which).map_or(0.0, |v| v[(d * self.batch + b) * self.hidden + j])
    }

    /// Where an element of the result is.
    fn at(&self, row: usize, d: usize, b: usize, j: usize) -> usize {
        ((row * self.op.direction.count() + d) * self.batch + b) * self.hidden + j
    }

    /// Row of gate `q` and unit `j` in the weights of cell `d`.
    fn row(&self, d: usize, q: usize, j: usize) -> usize {
        (d * self.op.kind.gates() + q) * self.hidden + j
    }

    /// Bias of the input's or (1) the state's product.
    fn bias(&self, d: usize, side: usize, q: usize, j: usize) -> f64 {
        let gates = self.op.kind.gates();
        self.given(RecurrentOperand::Bias).map_or(0.0, |b| b[((d * 2 + side) * gates + q) * self.hidden + j])
    }

    fn function(&self, d: usize, i: usize) -> GateActivation {
        self.op.functions[d * self.op.kind.functions() + i]
    }
}

/// A value and how far an evaluation may be from it.
#[derive(Clone, Copy, Debug, Default)]
struct Bounded {
    value: f64,
    error: f64,
}

/// Relative errors of one sum, of a function, and of storing a state; and what storing a tiny state may add.
#[derive(Default)]
pub(crate) struct Roundings {
    pub(crate) sum: f64,
    pub(crate) function: f64,
    pub(crate) store: f64,
    pub(crate) tiny: f64,
}

/// Arithmetic that carries bounds along: running error analysis (Higham, "Accuracy and Stability of Numerical
/// Algorithms", 2nd ed., section 3.3).
struct Math<'r>(&'r Roundings);

impl Math<'_> {
    fn add(&self, a: Bounded, b: Bounded) -> Bounded {
        let value = a.value + b.value;
        let own = 2.0 * self.0.sum * (a.value.abs() + b.value.abs());
        Bounded { value, error: a.error + b.error + own }
    }

    fn mul(&self, a: Bounded, b: Bounded) -> Bounded {
        let value = a.value * b.value;
        let spread = a.value.abs() * b.error + b.value.abs() * a.error + a.error * b.error;
        Bounded { value, error: spread + 2.0 * self.0.sum * value.abs() }
    }

    /// `Σ w·v`, in any order.
    fn dot(&self, weights: &[f64], values: impl Iterator<Item = Bounded>) -> Bounded {
        let (mut value, mut size, mut carried) = (0.0, 0.0, 0.0);
        for (w, v) in weights.iter().zip(values) {
            value += w * v.value;
            size += w.abs() * (v.value.abs() + v.error);
            carried += w.abs() * v.error;
        }
        Bounded { value, error: carried + (weights.len() + 4) as f64 * self.0.sum * size }
    }

    /// The function of a clipped value: furthest at the ends of the interval, or where its pieces meet.
    fn apply(&self, f: GateActivation, clip: Option<f32>, x: Bounded) -> Bounded {
        let bound = |v: f64| clip.map_or(v, |c| v.clamp(-f64::from(c), f64::from(c)));
        let of = |v: f64| f.apply(bound(v));
        let value = of(x.value);
        let (low, high) = (x.value - x.error, x.value + x.error);
        let mut spread = 0.0f64;
        // Unlike `clamp`, these take an interval that is no number.
        let inside = |v: f64| v.max(low).min(high);
        for p in [low, high, inside(0.0), inside(f64::from(f.alpha))] {
            spread = spread.max((of(p) - value).abs());
        }
        // Cancellation inside the function is relative to what it subtracts.
        let size = match f.function {
            GateFunction::Affine | GateFunction::HardSigmoid => {
                (f64::from(f.alpha) * bound(x.value)).abs() + f64::from(f.beta).abs() + value.abs()
            }
            GateFunction::Elu => value.abs() + f64::from(f.alpha).abs(),
            GateFunction::Relu | GateFunction::LeakyRelu | GateFunction::ThresholdedRelu => value.abs(),
            _ => value.abs().max(0.05),
        };
        Bounded { value, error: spread + self.0.function * size }
    }

    /// As it is stored between two steps.
    fn store(&self, v: Bounded) -> Bounded {
        Bounded { error: v.error + self.0.store * v.value.abs() + self.0.tiny, ..v }
    }
}

/// Runs one sequence of one cell; gives every state to `put`.
fn sequence(l: &Layer<'_>, math: &Math<'_>, d: usize, b: usize, put: &mut impl FnMut(usize, usize, Bounded)) {
    let (op, n) = (l.op, l.hidden);
    let (w, r) = (l.inputs[1].floats(), l.inputs[2].floats());
    let exact = |value: f64| Bounded { value, error: 0.0 };
    let mut h: Vec<Bounded> = (0..n).map(|j| exact(l.initial(RecurrentOperand::InitialH, d, b, j))).collect();
    let mut c: Vec<Bounded> = (0..n).map(|j| exact(l.initial(RecurrentOperand::InitialC, d, b, j))).collect();
    let length = l.length(b);
    for step in 0..length {
        let t = if op.direction.reversed(d) { length - 1 - step } else { step };
        let x = &l.inputs[0].floats()[(t * l.batch + b) * l.width..][..l.width];
        let from_x = |q: usize, j: usize| {
            let row = &w[l.row(d, q, j) * l.width..][..l.width];
            math.add(math.dot(row, x.iter().map(|&v| exact(v))), exact(l.bias(d, 0, q, j)))
        };
        let from_h = |q: usize, j: usize, h: &[Bounded]| {
            let row = &r[l.row(d, q, j) * n..][..n];
            math.add(math.dot(row, h.iter().copied()), exact(l.bias(d, 1, q, j)))
        };
        let gate = |q: usize, j: usize| math.add(from_x(q, j), from_h(q, j, &h));
        let f = |i: usize, v: Bounded| math.apply(l.function(d, i), op.clip, v);
        let rest = |v: Bounded| math.add(exact(1.0), Bounded { value: -v.value, error: v.error });
        let next: Vec<Bounded> = match op.kind {
            RecurrentKind::Rnn => (0..n).map(|j| f(0, gate(0, j))).collect(),
            RecurrentKind::Gru => {
                let reset: Vec<Bounded> = (0..n).map(|j| f(0, gate(1, j))).collect();
                let kept: Vec<Bounded> = (0..n).map(|j| math.store(math.mul(reset[j], h[j]))).collect();
                let hidden = |j: usize| {
                    let state = if op.linear_before_reset {
                        math.mul(reset[j], from_h(2, j, &h))
                    } else {
                        from_h(2, j, &kept)
                    };
                    f(1, math.add(from_x(2, j), state))
                };
                let unit = |j: usize| {
                    let z = f(0, gate(0, j));
                    math.add(math.mul(rest(z), hidden(j)), math.mul(z, h[j]))
                };
                (0..n).map(unit).collect()
            }
            RecurrentKind::Lstm => {
                let peephole = |q: usize, j: usize, c: Bounded| {
                    let weights = l.given(RecurrentOperand::Peepholes);
                    weights.map_or(exact(0.0), |p| math.mul(exact(p[(d * 3 + q) * n + j]), c))
                };
                let unit = |j: usize, c: &mut Bounded| {
                    let input = f(0, math.add(gate(0, j), peephole(0, j, *c)));
                    let forget = if op.input_forget {
                        rest(input)
                    } else {
                        f(0, math.add(gate(2, j), peephole(2, j, *c)))
                    };
                    let cell = f(1, gate(3, j));
                    *c = math.store(math.add(math.mul(forget, *c), math.mul(input, cell)));
                    let output = f(0, math.add(gate(1, j), peephole(1, j, *c)));
                    math.mul(output, f(2, *c))
                };
                c.iter_mut().enumerate().map(|(j, c)| unit(j, c)).collect()
            }
        };
        h = next.into_iter().map(|v| math.store(v)).collect();
        for (j, v) in h.iter().enumerate() {
            put(t, j, *v);
        }
    }
    for (j, v) in h.iter().enumerate() {
        put(l.time, j, *v);
    }
    if op.kind == RecurrentKind::Lstm {
        for (j, v) in c.iter().enumerate() {
            put(l.time + 1, j, *v);
        }
    }
}

fn run(op: &Recurrent, inputs: &[&Value], sizes: &[usize], roundings: &Roundings) -> Vec<Bounded> {
    let l = Layer::new(op, inputs, sizes);
    let cells: Vec<(usize, usize)> =
        (0..op.direction.count()).flat_map(|d| (0..l.batch).map(move |b| (d, b))).collect();
    let found: Vec<Vec<(usize, Bounded)>> = cells
        .into_par_iter()
        .map(|(d, b)| {
            let mut states = Vec::new();
            sequence(&l, &Math(roundings), d, b, &mut |row, j, v| states.push((l.at(row, d, b, j), v)));
            states
        })
        .collect();
    let mut out = vec![Bounded::default(); sizes.iter().product()];
    found.into_iter().flatten().for_each(|(at, v)| out[at] = v);
    out
}

/// All states, then the final ones.
pub(crate) fn recurrent(op: &Recurrent, inputs: &[&Value], sizes: &[usize]) -> Value {
    let out = run(op, inputs, sizes, &Roundings::default());
    Value::float(inputs[0].dtype, sizes.to_vec(), out.into_iter().map(|v| v.value).collect())
}

/// How far states may be off: every step carries the error of the one before through its weights and functions.
pub(crate) fn bound(op: &Recurrent, inputs: &[&Value], sizes: &[usize], roundings: &Roundings) -> Vec<f64> {
    run(op, inputs, sizes, roundings).into_iter().map(|v| v.error).collect()
}
