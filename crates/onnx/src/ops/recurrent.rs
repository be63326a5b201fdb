//! Recurrent layers: LSTM, GRU, RNN.

use tactician_ir::{
    Dim, GateActivation, GateFunction, Op, Recurrent, RecurrentDirection, RecurrentKind, Reshape, Shape,
    Slice, SliceAxis, Transpose, ValueId,
};

use super::Importer;
use crate::import::{Import, Val};
use crate::node::Node;

pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("LSTM", |i, n| recurrent(i, n, RecurrentKind::Lstm)),
    ("GRU", |i, n| recurrent(i, n, RecurrentKind::Gru)),
    ("RNN", |i, n| recurrent(i, n, RecurrentKind::Rnn)),
];

fn recurrent(i: &mut Import<'_>, n: &Node<'_>, kind: RecurrentKind) -> Result<Vec<Val>, String> {
    let direction = match n.text("direction", "forward")?.to_ascii_lowercase().as_str() {
        "forward" => RecurrentDirection::Forward,
        "reverse" => RecurrentDirection::Reverse,
        "bidirectional" => RecurrentDirection::Bidirectional,
        other => return Err(format!("direction is `{other}`, expected forward, reverse or bidirectional")),
    };
    let batch_first = match n.int("layout", 0) {
        0 => false,
        1 => true,
        other => return Err(format!("layout is {other}, expected 0 or 1")),
    };
    let lstm = kind == RecurrentKind::Lstm;
    let mut op = Recurrent::new(kind, direction);
    op.functions = functions(n, kind, direction.count())?;
    op.clip = n.has("clip").then(|| n.float("clip", 0.0));
    op.linear_before_reset = kind == RecurrentKind::Gru && n.int("linear_before_reset", 0) != 0;
    op.input_forget = lstm && n.int("input_forget", 0) != 0;
    (op.bias, op.lengths, op.initial_h) = (n.given(3), n.given(4), n.given(5));
    (op.initial_c, op.peepholes) = (lstm && n.given(6), lstm && n.given(7));

    let mut inputs = Vec::new();
    for at in 0..8 {
        if at < 3 || n.given(at) {
            inputs.push((at, n.tensor(at, i)?));
        }
    }
    let mut operands = Vec::new();
    for (at, v) in inputs {
        let v = match at {
            // [B, T, I] and [B, D, H].
            0 | 5 | 6 if batch_first => {
                i.add(Op::Transpose(Transpose { perm: vec![1, 0, 2] }), &[v], n.label)?
            }
            _ => v,
        };
        operands.push(v);
    }
    let hidden = i.ty(operands[2]).shape.dims().last().and_then(Dim::as_i64);
    if n.has("hidden_size") && hidden.is_some_and(|h| h != n.int("hidden_size", 0)) {
        return Err(format!(
            "hidden_size is {}, its weights have {}",
            n.int("hidden_size", 0),
            i.ty(operands[2])
        ));
    }
    let time = i.ty(operands[0]).shape.dims().first().cloned().ok_or("its operand x has rank 0")?;
    let all = i.add(Op::Recurrent(op), &operands, n.label)?;

    // The result holds all states, then the final ones.
    let steps = rows(i, n, all, Dim::known(0), time.clone())?;
    let mut outputs = vec![match batch_first {
        true => i.add(Op::Transpose(Transpose { perm: vec![2, 0, 1, 3] }), &[steps], n.label)?,
        false => steps,
    }];
    for state in 0..kind.states() {
        let v = rows(i, n, all, time.clone() + Dim::from(state), Dim::known(1))?;
        let shape: Shape = i.ty(v).shape.dims()[1..].iter().cloned().collect();
        let v = i.add(Op::Reshape(Reshape { shape }), &[v], n.label)?;
        outputs.push(match batch_first {
            true => i.add(Op::Transpose(Transpose { perm: vec![1, 0, 2] }), &[v], n.label)?,
            false => v,
        });
    }
    Ok(outputs.into_iter().map(Val::Tensor).collect())
}

fn rows(i: &mut Import<'_>, n: &Node<'_>, v: ValueId, start: Dim, len: Dim) -> Result<ValueId, String> {
    i.add(Op::Slice(Slice { axes: vec![SliceAxis { axis: 0, start, len, step: 1 }] }), &[v], n.label)
}

/// The functions of all cells; parameters are given in a list for those functions that have them.
fn functions(n: &Node<'_>, kind: RecurrentKind, cells: usize) -> Result<Vec<GateActivation>, String> {
    let Some(names) = n.texts("activations")?.filter(|l| !l.is_empty()) else {
        return Ok(Recurrent::usual(kind).repeat(cells));
    };
    let mut alphas = n.floats("activation_alpha").unwrap_or_default().iter().copied();
    let mut betas = n.floats("activation_beta").unwrap_or_default().iter().copied();
    let mut found = Vec::new();
    for name in &names {
        // The function, and the parameters that it has, with their values where none are given.
        let (function, alpha, beta) = match name.to_ascii_lowercase().as_str() {
            "sigmoid" => (GateFunction::Sigmoid, None, None),
            "tanh" => (GateFunction::Tanh, None, None),
            "relu" => (GateFunction::Relu, None, None),
            "affine" => (GateFunction::Affine, Some(1.0), Some(0.0)),
            "leakyrelu" => (GateFunction::LeakyRelu, Some(0.01), None),
            "thresholdedrelu" => (GateFunction::ThresholdedRelu, Some(1.0), None),
            "scaledtanh" => (GateFunction::ScaledTanh, Some(1.0), Some(1.0)),
            "hardsigmoid" => (GateFunction::HardSigmoid, Some(0.2), Some(0.5)),
            "elu" => (GateFunction::Elu, Some(1.0), None),
            "softsign" => (GateFunction::Softsign, None, None),
            "softplus" => (GateFunction::Softplus, None, None),
            _ => return Err(format!("its activation function `{name}` is not supported")),
        };
        let alpha = alpha.map_or(0.0, |usual| alphas.next().unwrap_or(usual));
        let beta = beta.map_or(0.0, |usual| betas.next().unwrap_or(usual));
        found.push(GateActivation { function, alpha, beta });
    }
    Ok(found)
}

#[cfg(test)]
#[path = "recurrent_tests.rs"]
mod tests;
