//! Recurrent layers.

use super::*;

/// Layers of every kind: sizes that fill vectors and that do not, every optional operand, every function of a gate.
fn recurrent_layers() -> Vec<Problem> {
    use GateFunction::*;
    let functions = [
        Sigmoid,
        Tanh,
        Relu,
        Affine,
        LeakyRelu,
        ThresholdedRelu,
        ScaledTanh,
        HardSigmoid,
        Elu,
        Softsign,
        Softplus,
    ];
    let mut list = Vec::new();
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        let lstm = kind == RecurrentKind::Lstm;
        let mut turn = 0;
        for direction in
            [RecurrentDirection::Forward, RecurrentDirection::Reverse, RecurrentDirection::Bidirectional]
        {
            let d = direction.count();
            for (time, batch, width, hidden) in
                [(1, 1, 3, 5), (7, 3, 20, 16), (4, 2, 33, 35), (0, 2, 3, 4), (2, 3, 5, 1), (3, 17, 8, 24)]
            {
                let rows = kind.gates() * hidden;
                let (x, w, r) = ([time, batch, width], [d, rows, width], [d, rows, hidden]);
                let mut operands: Vec<Given<'_>> = vec![(&x, F, false), (&w, F, true), (&r, F, true)];
                let plain = Recurrent::new(kind, direction);
                list.push(problem(Op::Recurrent(plain.clone()), &operands, &[]));
                let (b, l, state, p) = ([d, 2 * rows], [batch], [d, batch, hidden], [d, 3 * hidden]);
                operands.extend([(&b[..], F, true), (&l, DType::I32, false), (&state, F, false)]);
                if lstm {
                    operands.extend([(&state[..], F, false), (&p, F, true)]);
                }
                turn += 1;
                let mut full = Recurrent {
                    clip: (turn % 2 == 0).then_some(0.75),
                    linear_before_reset: kind == RecurrentKind::Gru && turn % 3 != 0,
                    input_forget: lstm && turn % 3 == 0,
                    bias: true,
                    lengths: true,
                    initial_h: true,
                    initial_c: lstm,
                    peepholes: lstm,
                    ..plain
                };
                list.push(problem(Op::Recurrent(full.clone()), &operands, &[]));
                // Functions without bounds would let states grow out of the range of short floats.
                full.clip = Some(2.0);
                for f in &mut full.functions {
                    turn += 1;
                    *f =
                        GateActivation { function: functions[turn % functions.len()], alpha: 0.3, beta: 0.4 };
                }
                list.push(problem(Op::Recurrent(full), &operands, &[]));
            }
        }
    }
    list
}

#[test]
fn recurrent() {
    let list = recurrent_layers();
    on_cpu(&list);
    // A GPU's kernels are compiled for each layer: some of every kind and size will do.
    on_gpu(&list.into_iter().step_by(7).collect::<Vec<_>>());
}

/// Sizes of real layers: units that clusters share, whose weights fit into shared memory or do not, batches of several
/// tiles.
#[test]
fn recurrent_layers_on_the_gpu() {
    let mut list = Vec::new();
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        for (i, [time, batch, width, hidden]) in
            [[40, 33, 31, 128], [9, 1, 64, 256], [6, 9, 24, 200], [3, 12, 512, 640], [12, 2, 0, 72]]
                .into_iter()
                .enumerate()
        {
            let (direction, gru) = (
                [RecurrentDirection::Bidirectional, RecurrentDirection::Reverse, RecurrentDirection::Forward]
                    [i % 3],
                kind == RecurrentKind::Gru,
            );
            let layer = Recurrent {
                bias: true,
                lengths: i % 2 == 0,
                initial_h: i != 1,
                linear_before_reset: gru && i % 2 == 1,
                ..Recurrent::new(kind, direction)
            };
            let (d, rows) = (direction.count(), kind.gates() * hidden);
            let (x, w, r, b) = ([time, batch, width], [d, rows, width], [d, rows, hidden], [d, 2 * rows]);
            let (lengths, state) = ([batch], [d, batch, hidden]);
            let mut operands: Vec<Given<'_>> =
                vec![(&x, F, false), (&w, F, true), (&r, F, i != 2), (&b, F, true)];
            if layer.lengths {
                operands.push((&lengths, DType::I32, false));
            }
            if layer.initial_h {
                operands.push((&state, F, false));
            }
            list.push(problem(Op::Recurrent(layer), &operands, &[]));
        }
    }
    on_gpu(&list);
}

/// Other types of floats, on the CPU; `all_pass` does the short ones on a GPU.
#[test]
fn recurrent_of_every_float_type() {
    let device = CpuDevice::new(Some(2)).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let list: Vec<Problem> = recurrent_layers().iter().map(|p| with_floats(p, dtype)).collect();
        pass_on(&device, &list, TacticFilter::default(), &dtype.to_string());
    }
}
