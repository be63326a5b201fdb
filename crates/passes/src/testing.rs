//! Small graphs and comparisons for tests.

use std::collections::BTreeMap;

use tactician_ir::{Binary, Conv, DType, Expr, Graph, Op, Tensor, TensorType, Unary, ValueId};
use tactician_reference::eval_op;

use crate::pipeline::{GRAPH_PASSES, PIPELINE, run_named};
use crate::util::floats;

/// Numbers in (-1, 1), always the same for a seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..8).for_each(|_| {
        next();
    });
    (0..count).map(|_| next()).collect()
}

pub(crate) fn input(g: &mut Graph, name: &str, sizes: &[usize]) -> ValueId {
    g.add_input(name, TensorType::known(DType::F32, sizes)).unwrap()
}

pub(crate) fn constant(g: &mut Graph, sizes: &[usize], seed: u64) -> ValueId {
    let values = noise(seed + 100, sizes.iter().product());
    g.add_constant("k", Tensor::new(sizes, &values).unwrap())
}

/// A constant of one value.
pub(crate) fn filled(g: &mut Graph, sizes: &[usize], value: f32) -> ValueId {
    g.add_constant("k", Tensor::new(sizes, &vec![value; sizes.iter().product()]).unwrap())
}

pub(crate) fn unary(g: &mut Graph, op: Unary, x: ValueId) -> ValueId {
    g.add(Op::Pointwise(Expr::unary(op)), &[x], op.name()).unwrap()
}

pub(crate) fn binary(g: &mut Graph, op: Binary, a: ValueId, b: ValueId) -> ValueId {
    g.add(Op::Pointwise(Expr::binary(op)), &[a, b], op.name()).unwrap()
}

/// A convolution over two axes to `k` channels with constant weights, padded to keep odd windows' sizes.
pub(crate) fn conv(g: &mut Graph, x: ValueId, k: usize, window: usize, bias: bool) -> ValueId {
    let channels = g.ty(x).sizes().unwrap()[1];
    let mut operands = vec![x, constant(g, &[k, channels, window, window], 50)];
    if bias {
        operands.push(constant(g, &[k], 51));
    }
    let op = Conv { pads: vec![(window / 2, window / 2); 2], ..Conv::unit(2) };
    g.add(Op::Conv(op), &operands, "conv").unwrap()
}

/// Operations in execution order, inputs left out.
pub(crate) fn ops(g: &Graph) -> Vec<&'static str> {
    let mut names: Vec<_> = g.topo().iter().map(|&n| g.node(n).op.name()).filter(|&n| n != "input").collect();
    // Constants may come anywhere before their readers.
    names.sort_by_key(|&n| n != "const");
    names
}

/// Runs a pass, which must be known and leave the graph valid.
pub(crate) fn run(name: &str, g: &Graph) -> Graph {
    run_named(name, g.clone()).expect("no such pass").unwrap()
}

/// Runs a pass that must change the graph and keep its results.
#[track_caller]
pub(crate) fn check(name: &str, g: &Graph) -> Graph {
    assert!(applies(name, g), "{name} does not apply");
    let after = run(name, g);
    assert!(!applies(name, &after), "{name} is not done");
    same_results(g, &after, 1e-5);
    after
}

/// Asserts that a pass finds nothing to do.
#[track_caller]
pub(crate) fn unchanged(name: &str, g: &Graph) {
    assert!(!applies(name, g), "{name} applies");
}

fn applies(name: &str, g: &Graph) -> bool {
    if let Some(p) = PIPELINE.iter().find(|p| p.name() == name) {
        return g.topo().iter().any(|&n| p.find(g, n).is_some());
    }
    let p = GRAPH_PASSES.iter().find(|p| p.name() == name).expect("no such pass");
    p.run(&mut g.clone()) > 0
}

/// Values of inputs, seeded, and constants.
pub(crate) fn leaves(g: &Graph) -> BTreeMap<ValueId, Tensor> {
    let mut values = BTreeMap::new();
    for id in g.node_ids() {
        let node = g.node(id);
        if let Some(t) = node.as_constant() {
            values.insert(id.value(), t.clone());
        }
        if let Some(seed) = g.inputs().iter().position(|&i| i == id) {
            let ty = &node.outputs()[0];
            let noise = noise(seed as u64, ty.elements().unwrap());
            values.insert(id.value(), Tensor::new(&ty.sizes().unwrap(), &noise).unwrap());
        }
    }
    values
}

/// The outputs for seeded inputs, by the reference interpreter.
pub(crate) fn evaluate(g: &Graph) -> Vec<Tensor> {
    let mut values = leaves(g);
    for id in g.topo() {
        let node = g.node(id);
        if !values.contains_key(&id.value()) {
            let operands: Vec<&Tensor> = node.inputs().iter().map(|v| &values[v]).collect();
            let result = eval_op(&node.op, &operands).unwrap();
            values.insert(id.value(), result);
        }
    }
    g.outputs().iter().map(|(_, v)| values[v].clone()).collect()
}

/// Asserts that two graphs of the same inputs have the same outputs: names, types, values up to rounding.
#[track_caller]
pub(crate) fn same_results(a: &Graph, b: &Graph, tolerance: f64) {
    assert_eq!(a.inputs().len(), b.inputs().len());
    assert_eq!(a.outputs().len(), b.outputs().len());
    for (x, y) in a.outputs().iter().zip(b.outputs()) {
        assert_eq!((&x.0, a.ty(x.1)), (&y.0, b.ty(y.1)));
    }
    assert_close(&evaluate(a), &evaluate(b), tolerance);
}

/// Asserts that tensors are equal up to rounding, relative for large values.
#[track_caller]
pub(crate) fn assert_close(a: &[Tensor], b: &[Tensor], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (output, (s, t)) in a.iter().zip(b).enumerate() {
        assert_eq!(s.ty(), t.ty());
        if !s.dtype().is_float() {
            assert_eq!(s, t);
            continue;
        }
        for (i, (p, q)) in floats(s).unwrap().iter().zip(&floats(t).unwrap()).enumerate() {
            let close = (p - q).abs() <= tolerance * p.abs().max(1.0) || p == q || (p.is_nan() && q.is_nan());
            assert!(close, "output {output} differs at {i}: {p} and {q}");
        }
    }
}
