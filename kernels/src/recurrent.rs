//! The kernels of recurrent layers: what each is compiled with.

use std::fmt::Write;

use tactician_device::CodeSource;
use tactician_types::{
    DType, Expr, GateActivation, GateFunction, Recurrent, RecurrentDirection, RecurrentKind, RecurrentOperand,
};

use crate::gemm::{MmaPlan, MmaTile, Split};
use crate::gemm_epilogue::{matrix_epilogue, stored_type, strided_index};
use crate::{existing, source};

/// What a kernel of recurrent layers is compiled for besides its tile.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentCode {
    /// The layer.
    pub layer: Recurrent,
    /// Element type: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Whether rows of `w` and `x` are multiples of 16 bytes.
    pub whole_w: bool,
    /// Whether rows of `r` and of states are multiples of 16 bytes.
    pub whole_r: bool,
    /// The kernel that makes the products with the input for all steps before the first; without it each step makes its
    /// own.
    pub ahead: Option<InputProduct>,
}

/// A kernel of matrix products that stores its sums in `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputProduct {
    /// The entry: `gemm_mma` or `gemm_simt`.
    pub entry: &'static str,
    prelude: String,
    defines: Vec<String>,
}

impl InputProduct {
    /// `gemm/mma.cu`, of 16-bit floats whose rows are multiples of 16 bytes. `plan` uses no scratch.
    pub fn mma(plan: &MmaPlan, dtype: DType, vector: u32, constant_w: bool) -> Option<InputProduct> {
        let mut defines = plan.defines(dtype, vector);
        defines.extend(["A_ALONG_M=0".into(), "B_ALONG_N=0".into()]);
        defines.push(format!("CONSTANT_B={}", u32::from(constant_w)));
        let prelude = format!("{}{}", sums()?, plan.prelude(dtype));
        Some(InputProduct { entry: "gemm_mma", prelude, defines })
    }

    /// `gemm/simt.cu`, with the macros of its tile.
    pub fn simt(tile: Vec<String>) -> Option<InputProduct> {
        let mut defines = tile;
        defines.extend(["A_ALONG_M=0".into(), "B_ALONG_N=0".into()]);
        let one = |name| strided_index(name, &[], &[]).ok();
        let prelude = format!("{}{}{}", sums()?, one("batch_a")?, one("batch_b")?);
        Some(InputProduct { entry: "gemm_simt", prelude, defines })
    }

    fn path(&self) -> &'static str {
        if self.entry == "gemm_mma" { "gemm/mma.cu" } else { "gemm/simt.cu" }
    }
}

/// The epilogue that stores sums as they are.
fn sums() -> Option<String> {
    matrix_epilogue(&Expr::identity(), DType::F32, &[], DType::F32).ok().map(|e| e.prelude)
}

/// The tile of `recurrent/step.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTile {
    /// Sequences: 1, 2, 4, 8 or 16 of `f32`, else 8, 16 or 32.
    pub sequences: u32,
    /// Warps, which share the depth.
    pub warps: u32,
}

impl StepTile {
    /// Shared memory of a block in bytes: the sums of each warp.
    pub fn shared(&self, kind: RecurrentKind) -> u32 {
        let sums = if kind == RecurrentKind::Rnn { 1 } else { 4 };
        self.warps * sums * (self.sequences / 4).max(1) * 128
    }
}

/// How blocks share a layer in `recurrent/layer.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTile {
    /// Sequences, as of [`StepTile`].
    pub sequences: u32,
    /// Blocks that share the units: 1, or those of a cluster.
    pub blocks: u32,
    /// Whether each block holds its part of `r` in shared memory.
    pub held: bool,
}

impl LayerTile {
    /// Warps of a block, at most: fewer where each has more sums in registers.
    pub fn warps(&self, dtype: DType) -> u32 {
        let many = if dtype == DType::F32 { 2 } else { 8 };
        if self.sequences > many { 8 } else { 16 }
    }

    /// Units of a block, rounded up to a multiple of 8.
    pub fn units(&self, hidden: usize) -> usize {
        hidden.div_ceil(8).div_ceil(self.blocks as usize) * 8
    }

    /// Shared memory of a block in bytes.
    pub fn shared(&self, layer: &Recurrent, dtype: DType, hidden: usize) -> u64 {
        let (units, sequences) = (self.units(hidden) as u64, u64::from(self.sequences));
        let row = (hidden * dtype.size()).next_multiple_of(128) as u64;
        let gates = layer.kind.gates() as u64;
        let (lstm, copies) = (layer.kind == RecurrentKind::Lstm, if two_phases(layer) { 3 } else { 2 });
        let held = if self.held { gates * units * row } else { 0 };
        let of_unit = [
            (lstm, sequences),
            (layer.bias, if layer.kind == RecurrentKind::Rnn { 1 } else { 4 }),
            (layer.peepholes, 3),
        ];
        let floats: u64 = of_unit.iter().filter(|(there, _)| *there).map(|(_, n)| n).sum();
        held + copies * sequences * (row + 64) + floats * units * 4
    }
}

/// Whether a step has two phases: a GRU's reset gate multiplies the state before the product.
pub fn two_phases(layer: &Recurrent) -> bool {
    layer.kind == RecurrentKind::Gru && !layer.linear_before_reset
}

/// `recurrent/step.cu`, entry `recurrent_step`; of two phases also `recurrent_keep` and `recurrent_end`.
pub fn step(code: &RecurrentCode, tile: StepTile) -> Option<CodeSource> {
    let defines = [("SEQUENCES", tile.sequences), ("WARPS", tile.warps)];
    code.source("recurrent/step.cu", &defines)
}

/// `recurrent/layer.cu`, entry `recurrent_layer`. `constant_r`: whether `r` is constant.
pub fn layer(code: &RecurrentCode, tile: LayerTile, constant_r: bool) -> Option<CodeSource> {
    let defines = [
        ("SEQUENCES", tile.sequences),
        ("BLOCKS", tile.blocks),
        ("HELD", u32::from(tile.held)),
        ("WARPS", tile.warps(code.dtype)),
        ("CONSTANT_R", u32::from(constant_r)),
    ];
    code.source("recurrent/layer.cu", &defines)
}

impl RecurrentCode {
    fn source(&self, path: &str, tile: &[(&str, u32)]) -> Option<CodeSource> {
        let l = &self.layer;
        let mut list = match &self.ahead {
            Some(product) => product.defines.clone(),
            None => vec![format!("ELEMENT={}", stored_type(self.dtype)?)],
        };
        let kind = match l.kind {
            RecurrentKind::Rnn => 0,
            RecurrentKind::Gru => 1,
            RecurrentKind::Lstm => 2,
        };
        let there = |which| u32::from(l.operand(which).is_some());
        let own = [
            ("KIND", kind),
            ("CELLS", l.direction.count() as u32),
            ("REVERSE", u32::from(l.direction == RecurrentDirection::Reverse)),
            ("LINEAR", u32::from(l.linear_before_reset)),
            ("COUPLED", u32::from(l.input_forget)),
            ("BIAS", there(RecurrentOperand::Bias)),
            ("LENGTHS", there(RecurrentOperand::Lengths)),
            ("INITIAL_H", there(RecurrentOperand::InitialH)),
            ("INITIAL_C", there(RecurrentOperand::InitialC)),
            ("PEEPHOLES", there(RecurrentOperand::Peepholes)),
            ("MADE_AHEAD", u32::from(self.ahead.is_some())),
            ("WHOLE_W", u32::from(self.whole_w)),
            ("WHOLE_R", u32::from(self.whole_r)),
        ];
        list.extend(own.iter().chain(tile).map(|(name, value)| format!("{name}={value}")));
        let mut prelude = functions(l);
        if let Some(product) = &self.ahead {
            prelude += &product.prelude;
            prelude += existing(product.path());
        }
        Some(source(path, &prelude, &list))
    }
}

/// `gate_0` to `gate_2`: the functions of a cell, of clipped sums.
fn functions(layer: &Recurrent) -> String {
    let each = layer.kind.functions();
    let mut text = String::from("#include \"types.cuh\"\nnamespace recurrent {\n");
    for i in 0..3 {
        // Functions that the kind does not have are named, never called.
        let of = |d: usize| layer.functions.get(d * each + i).filter(|_| i < each);
        let _ = writeln!(text, "__device__ __forceinline__ float gate_{i}(int d, float x) {{");
        if let Some(clip) = layer.clip {
            let _ = writeln!(text, "  x = op_max(op_min(x, {}), {});", literal(clip), literal(-clip));
        }
        match (of(0), of(1)) {
            (Some(a), Some(b)) if a != b => {
                let _ = writeln!(text, "  if (d == 1) return {};", function(b));
                let _ = writeln!(text, "  return {};\n}}", function(a));
            }
            (Some(a), _) => {
                let _ = writeln!(text, "  return {};\n}}", function(a));
            }
            _ => text += "  return x;\n}\n",
        }
    }
    text + "}\n"
}

/// A float, bit by bit.
fn literal(v: f32) -> String {
    format!("__int_as_float({:#x})", v.to_bits())
}

/// A function of `x`.
fn function(f: &GateActivation) -> String {
    let (a, b) = (literal(f.alpha), literal(f.beta));
    match f.function {
        GateFunction::Sigmoid => "op_sigmoid(x)".into(),
        GateFunction::Tanh => "tanhf(x)".into(),
        GateFunction::Relu => "op_relu(x)".into(),
        GateFunction::Affine => format!("{a} * x + {b}"),
        GateFunction::LeakyRelu => format!("x >= 0.0f ? x : {a} * x"),
        GateFunction::ThresholdedRelu => format!("x >= {a} ? x : 0.0f"),
        GateFunction::ScaledTanh => format!("{a} * tanhf({b} * x)"),
        GateFunction::HardSigmoid => format!("op_min(op_max({a} * x + {b}, 0.0f), 1.0f)"),
        GateFunction::Elu => format!("x >= 0.0f ? x : {a} * expm1f(x)"),
        GateFunction::Softsign => "x / (1.0f + fabsf(x))".into(),
        GateFunction::Softplus => "op_softplus(x)".into(),
    }
}

/// Some of each kind, for checks.
pub(crate) fn all() -> Vec<CodeSource> {
    use GateFunction::*;
    let functions = [
        [Sigmoid, Tanh, Relu, HardSigmoid, Softsign, Softplus],
        [Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, Elu, Tanh],
    ];
    let mut out = Vec::new();
    let mut turn = 0usize;
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        let plain = Recurrent::new(kind, RecurrentDirection::Forward);
        let lstm = kind == RecurrentKind::Lstm;
        let mut full = Recurrent::new(kind, RecurrentDirection::Bidirectional);
        for (i, f) in full.functions.iter_mut().enumerate() {
            *f = GateActivation { function: functions[kind.gates() % 2][i], alpha: 0.3, beta: 0.4 };
        }
        full = Recurrent { clip: Some(2.0), bias: true, lengths: true, initial_h: true, ..full };
        (full.initial_c, full.peepholes) = (lstm, lstm);
        let mut other = Recurrent { direction: RecurrentDirection::Reverse, bias: true, ..plain.clone() };
        (other.linear_before_reset, other.input_forget) = (kind == RecurrentKind::Gru, lstm);
        for layer in [&plain, &full, &other] {
            for dtype in [DType::F32, if turn.is_multiple_of(2) { DType::F16 } else { DType::BF16 }] {
                tiles(layer, dtype, turn, &mut out);
                turn += 1;
            }
        }
    }
    out
}

fn tiles(of: &Recurrent, dtype: DType, turn: usize, out: &mut Vec<CodeSource>) {
    let float = dtype == DType::F32;
    let code = |ahead| RecurrentCode {
        layer: of.clone(),
        dtype,
        whole_w: !turn.is_multiple_of(3),
        whole_r: turn % 4 < 2,
        ahead,
    };
    let product = if float {
        let tile = [
            ("TILE_M", 64),
            ("TILE_N", 64),
            ("TILE_K", 16),
            ("THREAD_M", 4),
            ("THREAD_N", 4),
            ("ELEMENT", 0),
            ("VECTOR", 4),
            ("PARTIAL", 0),
        ];
        InputProduct::simt(tile.map(|(name, value)| format!("{name}={value}")).to_vec())
    } else {
        let (groups, split) = if turn % 4 == 1 { (true, Split::None) } else { (false, Split::Cluster(2)) };
        let warps = if groups { (4, 1) } else { (2, 2) };
        let tile = MmaTile { m: 64, n: 64, row: 128, warps, stages: 4, groups };
        InputProduct::mma(&MmaPlan { tile, split }, dtype, 8, turn.is_multiple_of(3))
    };
    let steps: &[u32] = if float { &[1, 2, 4, 8, 16] } else { &[8, 16, 32] };
    for (i, &sequences) in steps.iter().enumerate().skip(turn % 2).step_by(2) {
        let ahead = product.clone().filter(|_| i == 0 || turn.is_multiple_of(3));
        let warps = if i % 2 == 0 { 8 } else { 4 };
        out.extend(step(&code(ahead), StepTile { sequences, warps }));
    }
    let layers: &[(u32, u32, bool)] = if float {
        &[(1, 1, true), (2, 8, false), (2, 1, false), (4, 4, true), (8, 1, true), (8, 8, false), (8, 4, true)]
    } else {
        &[(8, 1, true), (8, 8, false), (16, 4, true), (16, 1, false)]
    };
    for (i, &(sequences, blocks, held)) in layers.iter().enumerate().skip(turn / 2 % 2).step_by(2) {
        let ahead = product.clone().filter(|_| !(i + turn).is_multiple_of(3));
        out.extend(layer(&code(ahead), LayerTile { sequences, blocks, held }, turn.is_multiple_of(2)));
    }
}
