use crate::pipeline::canonicalize;
use crate::testing::*;
use tactician_ir::{
    Attention, Concat, DType, Graph, MatMul, Op, Pad, PadMode, Reduce, ReduceKind, Scalar, ScatterElements,
    ScatterReduction, Tensor, TensorType, Transpose, Unary,
};

const NAME: &str = "empty";

/// No operation of the canonical graph reads or gives a tensor without elements.
#[track_caller]
fn none_left(g: &Graph) -> Graph {
    let (after, _) = canonicalize(g.clone()).unwrap();
    let after = after.into_inner();
    for id in after.node_ids() {
        let node = after.node(id);
        if matches!(node.op, Op::Input | Op::Constant(_)) {
            continue;
        }
        let all = node.inputs().iter().copied().chain([id.value()]);
        all.for_each(|v| assert_ne!(after.ty(v).elements(), Some(0), "{}", node.op.name()));
    }
    same_results(g, &after, 0.0);
    after
}

#[test]
fn values_without_elements_are_constants() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 0, 3]);
    let t = g.add(Op::Transpose(Transpose { perm: vec![2, 1, 0] }), &[x], "t").unwrap();
    let y = unary(&mut g, Unary::Exp, t);
    g.mark_output("y", y);
    let after = none_left(&check(NAME, &g));
    assert_eq!(ops(&after), ["const"]);
    assert_eq!(after.inputs().len(), 1);
}

#[test]
fn reductions_over_nothing_give_what_they_start_from() {
    let infinity = f32::INFINITY;
    for (kind, want) in [
        (ReduceKind::Sum, 0.0),
        (ReduceKind::Prod, 1.0),
        (ReduceKind::Max, -infinity),
        (ReduceKind::Min, infinity),
        (ReduceKind::SumSquare, 0.0),
        (ReduceKind::L1, 0.0),
        (ReduceKind::L2, 0.0),
        (ReduceKind::LogSum, -infinity),
        (ReduceKind::LogSumExp, -infinity),
    ] {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 0, 3]);
        let y = g.add(Op::Reduce(Reduce { kind, axes: vec![1], keep_dims: false }), &[x], "y").unwrap();
        g.mark_output("y", y);
        let after = none_left(&check(NAME, &g));
        assert_eq!(ops(&after), ["const", "expand"]);
        assert_eq!(evaluate(&after)[0].values::<f32>().unwrap().as_ref(), [want; 6], "{kind:?}");
    }
}

#[test]
fn the_largest_of_no_integers_is_their_least() {
    for (dtype, kind, want) in [
        (DType::I8, ReduceKind::Max, vec![0x80]),
        (DType::I8, ReduceKind::Min, vec![0x7f]),
        (DType::U16, ReduceKind::Max, vec![0, 0]),
        (DType::U16, ReduceKind::Min, vec![0xff, 0xff]),
        (DType::U64, ReduceKind::Min, vec![0xff; 8]),
        (DType::Bool, ReduceKind::Max, vec![0]),
        (DType::Bool, ReduceKind::Min, vec![1]),
    ] {
        let mut g = Graph::new("t");
        let x = g.add_constant("x", Tensor::from_bytes(dtype, &[0], vec![]).unwrap());
        let y = g.add(Op::Reduce(Reduce { kind, axes: vec![0], keep_dims: false }), &[x], "y").unwrap();
        g.mark_output("y", y);
        assert_eq!(evaluate(&none_left(&g))[0].bytes(), want, "{dtype} {kind:?}");
    }
}

#[test]
fn products_of_no_terms_are_zero() {
    let mut g = Graph::new("t");
    let (a, b) = (input(&mut g, "a", &[2, 0]), input(&mut g, "b", &[0, 3]));
    let y = g.add(Op::MatMul(MatMul::default()), &[a, b], "y").unwrap();
    g.mark_output("y", y);
    let after = none_left(&check(NAME, &g));
    assert_eq!(evaluate(&after)[0].values::<f32>().unwrap().as_ref(), [0.0; 6]);
}

#[test]
fn attention_to_no_key_is_zero() {
    let mut g = Graph::new("t");
    let q = input(&mut g, "q", &[1, 2, 3, 4]);
    let [k, v] = ["k", "v"].map(|n| input(&mut g, n, &[1, 2, 0, 4]));
    let op = Attention::new(1.0);
    let y = g.add(Op::Attention(op), &[q, k, v], "y").unwrap();
    g.mark_output("y", y);
    none_left(&check(NAME, &g));
}

#[test]
fn padding_around_nothing_is_its_value() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[0, 2]);
    let pad = Pad { pads: vec![(1, 2), (0, 0)], mode: PadMode::Constant(Scalar::f32(2.5)) };
    let y = g.add(Op::Pad(pad), &[x], "y").unwrap();
    g.mark_output("y", y);
    let after = none_left(&check(NAME, &g));
    assert_eq!(evaluate(&after)[0].values::<f32>().unwrap().as_ref(), [2.5; 6]);
}

#[test]
fn joining_leaves_empty_parts_out() {
    let mut g = Graph::new("t");
    let parts = [[2, 3], [2, 0], [2, 1]].map(|s| input(&mut g, &format!("x{s:?}"), &s));
    let y = g.add(Op::Concat(Concat { axis: 1 }), &parts, "y").unwrap();
    g.mark_output("y", y);
    let after = none_left(&check(NAME, &g));
    assert_eq!(after.producer(after.outputs()[0].1).inputs().len(), 2);
}

#[test]
fn scattering_nothing_changes_nothing() {
    for read_on in [false, true] {
        let mut g = Graph::new("t");
        let (x, u) = (input(&mut g, "x", &[2, 3]), input(&mut g, "u", &[2, 0]));
        let i = g.add_input("i", TensorType::known(DType::I64, &[2, 0])).unwrap();
        let op = ScatterElements { axis: 1, reduction: ScatterReduction::Replace };
        let mut y = g.add(Op::ScatterElements(op), &[x, i, u], "y").unwrap();
        if read_on {
            y = unary(&mut g, Unary::Exp, y);
        }
        g.mark_output("y", y);
        let after = run(NAME, &g);
        assert_eq!(ops(&after), ["pointwise"]);
        assert_eq!(ops(&canonicalize(after).unwrap().0), ["pointwise"]);
    }
}

#[test]
fn tensors_with_elements_stay() {
    let mut g = Graph::new("t");
    let (a, b) = (input(&mut g, "a", &[2, 1]), input(&mut g, "b", &[2, 3]));
    let y = g.add(Op::Concat(Concat { axis: 1 }), &[a, b], "y").unwrap();
    g.mark_output("y", y);
    unchanged(NAME, &g);
}
