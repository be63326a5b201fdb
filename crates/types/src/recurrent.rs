use serde::{Deserialize, Serialize};

/// A family of recurrent cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecurrentKind {
    /// `h' = f(W x + R h + b)`.
    Rnn,
    /// Gated recurrent unit; gates in the order update, reset, hidden.
    Gru,
    /// Long short-term memory; gates in the order input, output, forget, cell.
    Lstm,
}

impl RecurrentKind {
    /// Gates: blocks of rows in the weights.
    pub fn gates(self) -> usize {
        match self {
            RecurrentKind::Rnn => 1,
            RecurrentKind::Gru => 3,
            RecurrentKind::Lstm => 4,
        }
    }

    /// Activation functions of one direction: `f`, then `g`, then `h`.
    pub fn functions(self) -> usize {
        match self {
            RecurrentKind::Rnn => 1,
            RecurrentKind::Gru => 2,
            RecurrentKind::Lstm => 3,
        }
    }

    /// Final states of the result: `h`, and `c` of an LSTM.
    pub fn states(self) -> usize {
        if self == RecurrentKind::Lstm { 2 } else { 1 }
    }
}

/// The order in which time steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecurrentDirection {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
    /// Two cells: one forward, one in reverse.
    Bidirectional,
}

impl RecurrentDirection {
    /// Number of cells.
    pub fn count(self) -> usize {
        if self == RecurrentDirection::Bidirectional { 2 } else { 1 }
    }

    /// Whether cell `d` runs from last to first.
    pub fn reversed(self, d: usize) -> bool {
        self == RecurrentDirection::Reverse || d == 1
    }
}

/// A function of a gate; `a` and `b` are the parameters of [`GateActivation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GateFunction {
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `tanh x`.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `a x + b`.
    Affine,
    /// `x` where positive, else `a x`.
    LeakyRelu,
    /// `x` where at least `a`, else 0.
    ThresholdedRelu,
    /// `a tanh(b x)`.
    ScaledTanh,
    /// `min(max(a x + b, 0), 1)`.
    HardSigmoid,
    /// `x` where positive, else `a (e^x - 1)`.
    Elu,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + e^x)`.
    Softplus,
}

/// A function of a gate with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateActivation {
    /// The function.
    pub function: GateFunction,
    /// Its first parameter; 0 where it has none.
    pub alpha: f32,
    /// Its second parameter; 0 where it has none.
    pub beta: f32,
}

impl GateActivation {
    /// A function without parameters.
    pub const fn plain(function: GateFunction) -> GateActivation {
        GateActivation { function, alpha: 0.0, beta: 0.0 }
    }

    /// The value at `x`.
    pub fn apply(self, x: f64) -> f64 {
        let (a, b) = (f64::from(self.alpha), f64::from(self.beta));
        match self.function {
            GateFunction::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            GateFunction::Tanh => x.tanh(),
            GateFunction::Relu => x.max(0.0),
            GateFunction::Affine => a * x + b,
            GateFunction::LeakyRelu => {
                if x >= 0.0 {
                    x
                } else {
                    a * x
                }
            }
            GateFunction::ThresholdedRelu => {
                if x >= a {
                    x
                } else {
                    0.0
                }
            }
            GateFunction::ScaledTanh => a * (b * x).tanh(),
            GateFunction::HardSigmoid => (a * x + b).clamp(0.0, 1.0),
            GateFunction::Elu => {
                if x >= 0.0 {
                    x
                } else {
                    a * x.exp_m1()
                }
            }
            GateFunction::Softsign => x / (1.0 + x.abs()),
            GateFunction::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// A recurrent layer over a whole sequence: `x, w, r [, bias] [, lengths] [, initial h] [, initial c] [, peepholes]`.
///
/// With `T` steps, batch `B`, `I` inputs, `H` hidden units, `D` cells and `G` gates: `x [T, B, I]`, `w [D, G·H, I]`,
/// `r [D, G·H, H]`, `bias [D, 2·G·H]` (for `w`, then for `r`), `lengths i32[B]`, initial states `[D, B, H]`, peepholes
/// `[D, 3·H]` (gates input, output, forget). The result is `[T + 1, D, B, H]`, of an LSTM `[T + 2, D, B, H]`: the state
/// `h` after every step (0 behind a sequence's length), then the final `h`, then the final `c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recurrent {
    /// The cell.
    pub kind: RecurrentKind,
    /// The order of steps.
    pub direction: RecurrentDirection,
    /// Functions of each cell in turn, [`RecurrentKind::functions`] a cell.
    pub functions: Vec<GateActivation>,
    /// Bounds what functions are applied to, from both sides.
    pub clip: Option<f32>,
    /// GRU: whether the reset gate multiplies `R h + b` rather than `h`.
    pub linear_before_reset: bool,
    /// LSTM: whether the forget gate is 1 less the input gate.
    pub input_forget: bool,
    /// Whether there is an operand `bias`.
    pub bias: bool,
    /// Whether there is an operand `lengths`. Numbers outside `0..=T` count as the nearer end.
    pub lengths: bool,
    /// Whether there is an operand for the initial `h`; else it is 0.
    pub initial_h: bool,
    /// LSTM: whether there is an operand for the initial `c`; else it is 0.
    pub initial_c: bool,
    /// LSTM: whether there is an operand `peepholes`.
    pub peepholes: bool,
}

/// An operand of a [`Recurrent`] that may be left out, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentOperand {
    /// Biases.
    Bias,
    /// Lengths of the sequences.
    Lengths,
    /// Initial `h`.
    InitialH,
    /// Initial `c`.
    InitialC,
    /// Weights from `c` to gates.
    Peepholes,
}

impl Recurrent {
    /// The layer with the usual functions and no optional operand.
    pub fn new(kind: RecurrentKind, direction: RecurrentDirection) -> Recurrent {
        Recurrent {
            kind,
            direction,
            functions: Recurrent::usual(kind).repeat(direction.count()),
            clip: None,
            linear_before_reset: false,
            input_forget: false,
            bias: false,
            lengths: false,
            initial_h: false,
            initial_c: false,
            peepholes: false,
        }
    }

    /// The functions that a cell has unless told otherwise.
    pub fn usual(kind: RecurrentKind) -> Vec<GateActivation> {
        let [sigmoid, tanh] = [GateFunction::Sigmoid, GateFunction::Tanh].map(GateActivation::plain);
        match kind {
            RecurrentKind::Rnn => vec![tanh],
            RecurrentKind::Gru => vec![sigmoid, tanh],
            RecurrentKind::Lstm => vec![sigmoid, tanh, tanh],
        }
    }

    fn present(&self) -> [(RecurrentOperand, bool); 5] {
        [
            (RecurrentOperand::Bias, self.bias),
            (RecurrentOperand::Lengths, self.lengths),
            (RecurrentOperand::InitialH, self.initial_h),
            (RecurrentOperand::InitialC, self.initial_c),
            (RecurrentOperand::Peepholes, self.peepholes),
        ]
    }

    /// How many operands there are.
    pub fn operands(&self) -> usize {
        3 + self.present().iter().filter(|(_, there)| *there).count()
    }

    /// The number of an operand, if it is there.
    pub fn operand(&self, which: RecurrentOperand) -> Option<usize> {
        let mut at = 3;
        for (o, there) in self.present() {
            if o == which {
                return there.then_some(at);
            }
            at += usize::from(there);
        }
        None
    }

    /// Checks what does not depend on sizes.
    ///
    /// # Errors
    /// A clause that says what does not fit.
    pub fn check(&self) -> Result<(), String> {
        let want = self.direction.count() * self.kind.functions();
        if self.functions.len() != want {
            return Err(format!(
                "a recurrent layer of this kind and direction has {want} activation functions, found {}",
                self.functions.len()
            ));
        }
        if self.kind != RecurrentKind::Lstm && (self.initial_c || self.peepholes || self.input_forget) {
            return Err("only an lstm has an initial c, peepholes or a coupled forget gate".into());
        }
        if self.kind != RecurrentKind::Gru && self.linear_before_reset {
            return Err("only a gru has a reset gate behind its product".into());
        }
        match self.clip {
            Some(c) if c.is_nan() || c <= 0.0 => {
                Err(format!("the clip bound is {c}, expected a positive number"))
            }
            _ => Ok(()),
        }
    }
}
